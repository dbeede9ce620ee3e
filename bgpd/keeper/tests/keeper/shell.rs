//! The keeper as a process: killed, upgraded, doubled, lied to. The peer is a thread that reads.

#![allow(unsafe_code)]

use crate::tiny::{self, HANG_MID_MESSAGE, IDLE, Setting};
use keeper::client::{Answer, Client, ClientError, SOCKET, SessionRings, generation_of_now};
use keeper::keeper::{Release, SessionId};
use keeper::layout::Sizes;
use keeper::os::packet;
use keeper::snapshot::{Snapshot, Timing};
use keeper::walk::{KEEPALIVE, message_len, whole_messages};
use mainstay_tests::proc::Proc;
use mainstay_tests::scratch::Scratch;
use mainstay_tests::state_file;
use mainstay_tests::wait::until;
use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(10);
const KEEPER: &str = env!("CARGO_BIN_EXE_mainstay-keeper");

/// Establishes one session and records every byte of it.
struct Peer {
    address: String,
    seen: Arc<Mutex<Seen>>,
    close: Arc<AtomicBool>,
}

#[derive(Default)]
struct Seen {
    bytes: Vec<u8>,
    ended: bool,
}

impl Peer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::<Mutex<Seen>>::default();
        let record = seen.clone();
        let close = Arc::<AtomicBool>::default();
        let closed = close.clone();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut writer = stream.try_clone().unwrap();
            // An OPEN is whatever the tiny speaker takes for one.
            let mut open = KEEPALIVE.to_vec();
            open[18] = 1;
            writer.write_all(&open).unwrap();
            std::thread::spawn(move || {
                let mut turn = 0;
                while !closed.load(Ordering::Relaxed) {
                    // Every other second.
                    if turn % 20 == 0 && writer.write_all(&KEEPALIVE).is_err() {
                        return;
                    }
                    turn += 1;
                    std::thread::sleep(Duration::from_millis(100));
                }
                writer.shutdown(std::net::Shutdown::Write).unwrap();
            });
            let mut bytes = [0; 4096];
            loop {
                let n = stream.read(&mut bytes).unwrap_or(0);
                let mut seen = record.lock().unwrap();
                seen.bytes.extend(&bytes[..n]);
                if n == 0 {
                    seen.ended = true;
                    return;
                }
            }
        });
        Self { address, seen, close }
    }

    /// The kinds of all messages so far; the stream must consist of whole ones.
    fn messages(&self) -> Vec<u8> {
        let seen = self.seen.lock().unwrap();
        let whole = whole_messages(&seen.bytes).expect("a stream of messages");
        let mut kinds = Vec::new();
        let mut rest = &seen.bytes[..whole];
        while let Some(header) = rest.first_chunk() {
            kinds.push(header[18]);
            rest = &rest[message_len(header).unwrap()..];
        }
        kinds
    }

    fn updates(&self) -> usize {
        self.messages().iter().filter(|kind| **kind == 2).count()
    }

    fn ended(&self) -> bool {
        self.seen.lock().unwrap().ended
    }
}

fn start_keeper(dir: &Scratch, options: &[&str]) -> Proc {
    let mut command = Command::new(KEEPER);
    command.arg("--run-dir").arg(dir.path()).args(options);
    started(command, dir)
}

fn started(command: Command, dir: &Scratch) -> Proc {
    let log = dir.path().join("keeper.log");
    let served = || std::fs::read_to_string(&log).unwrap_or_default().matches("serving in").count();
    let before = served();
    let keeper = Proc::start("keeper", command, &log);
    until(5, "the keeper serves", || served() > before);
    keeper
}

fn start_speaker(dir: &Scratch, peer: &Peer, after: &str, log: &str) -> Proc {
    let (run_dir, graceful, password) = (dir.path(), false, "");
    let setting = Setting { run_dir, peer: &peer.address, after, graceful, password };
    tiny::start(tiny::program(), setting, &dir.path().join(log))
}

fn log_has(proc: &Proc, text: &str) {
    until(10, text, || proc.log().contains(text));
}

#[test]
fn a_second_keeper_is_refused_and_harms_nothing() {
    let dir = Scratch::new("keeper");
    let keeper = start_keeper(&dir, &[]);
    let out = Command::new(KEEPER).arg("--run-dir").arg(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains(&format!("pid {}", keeper.pid())), "{said}");
    Client::connect(dir.path()).unwrap();
    let mode = std::fs::metadata(dir.path().join(SOCKET)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn readiness_is_told_and_sigterm_ends_it() {
    let dir = Scratch::new("keeper");
    let (mut ready, tell) = std::io::pipe().unwrap();
    let mut command = Command::new(KEEPER);
    let fd = tell.as_raw_fd();
    command.arg("--run-dir").arg(dir.path()).args(["--ready-fd", &fd.to_string()]);
    let flags = rustix::io::FdFlags::empty();
    // SAFETY: one system call on a descriptor that the closure owns.
    unsafe {
        command.pre_exec(move || Ok(rustix::io::fcntl_setfd(&tell, flags)?));
    }
    let mut keeper = Proc::start("keeper", command, &dir.path().join("keeper.log"));
    let mut said = String::new();
    ready.read_to_string(&mut said).unwrap();
    assert_eq!(said, "ready\n");
    keeper.signal(Signal::HUP);
    std::thread::sleep(Duration::from_millis(100));
    assert!(keeper.running(), "a hangup is nothing to it");
    assert!(keeper.terminate().success());
}

#[test]
fn a_session_outlives_ten_speakers_killed_one_after_the_other() {
    let dir = Scratch::new("keeper");
    let _keeper = start_keeper(&dir, &[]);
    let peer = Peer::start();
    let mut speaker = start_speaker(&dir, &peer, HANG_MID_MESSAGE, "first.log");
    log_has(&speaker, "hanging");
    for n in 0..10 {
        speaker.kill();
        speaker = start_speaker(&dir, &peer, IDLE, &format!("{n}.log"));
        until(10, "one more UPDATE", || peer.updates() == 3 + n);
    }
    assert!(!peer.ended());
    let kinds = peer.messages();
    assert_eq!(kinds[..2], [1, 4]);
    assert!(kinds[2..].iter().all(|kind| matches!(kind, 2 | 4)), "{kinds:?}");
}

#[test]
fn a_living_speaker_goes_on_when_the_keeper_is_killed_and_is_held_again() {
    let dir = Scratch::new("keeper");
    let mut keeper = start_keeper(&dir, &[]);
    let peer = Peer::start();
    let mut speaker = start_speaker(&dir, &peer, IDLE, "speaker.log");
    log_has(&speaker, "established");
    let held = |n| until(10, "it is held", || speaker.log().matches("held").count() == n);
    keeper.kill();
    keeper = start_keeper(&dir, &[]);
    held(2);
    assert!(keeper.terminate().success());
    keeper = start_keeper(&dir, &[]);
    held(3);
    speaker.kill();
    log_has(&keeper, "kept alive");
    let _next = start_speaker(&dir, &peer, IDLE, "next.log");
    until(10, "its UPDATE", || peer.updates() == 2);
    assert!(!peer.ended());
}

#[test]
fn a_newer_speaker_gets_the_session_once_the_older_one_is_dead() {
    let dir = Scratch::new("keeper");
    let _keeper = start_keeper(&dir, &[]);
    let peer = Peer::start();
    let mut older = start_speaker(&dir, &peer, HANG_MID_MESSAGE, "older.log");
    log_has(&older, "hanging");
    older.signal(Signal::STOP);
    let newer = start_speaker(&dir, &peer, IDLE, "newer.log");
    log_has(&newer, "resumed");
    assert_eq!(older.wait(Duration::from_secs(5)).signal(), Some(9), "fenced");
    until(10, "all UPDATEs", || peer.updates() == 3);
    assert!(!peer.ended());
}

#[test]
fn on_sigterm_without_a_store_an_orphan_is_let_go_at_once() {
    let dir = Scratch::new("keeper");
    let mut keeper = start_keeper(&dir, &[]);
    let peer = Peer::start();
    let mut speaker = start_speaker(&dir, &peer, IDLE, "speaker.log");
    log_has(&speaker, "established");
    speaker.kill();
    log_has(&keeper, "kept alive");
    assert!(!peer.ended());
    assert!(keeper.terminate().success());
    until(2, "the peer sees the end", || peer.ended());
    assert!(peer.messages().iter().all(|kind| *kind != 3), "and no NOTIFICATION");
}

#[test]
fn a_peer_that_closes_is_let_go_and_the_next_speaker_hears_of_it() {
    let dir = Scratch::new("keeper");
    let keeper = start_keeper(&dir, &[]);
    let peer = Peer::start();
    let mut speaker = start_speaker(&dir, &peer, IDLE, "speaker.log");
    log_has(&speaker, "established");
    speaker.kill();
    log_has(&keeper, "kept alive");
    peer.close.store(true, Ordering::Relaxed);
    log_has(&keeper, "let go: the peer has closed it");
    until(2, "nothing holds it open", || peer.ended());
    let mut client = Client::connect(dir.path()).unwrap();
    let attached = client.attach(generation_of_now(), None, Duration::from_secs(5)).unwrap();
    assert!(attached.sessions.is_empty());
    assert_eq!(attached.lost[0].peer, "the peer");
}

/// A service manager as far as its descriptor store goes.
pub struct Manager {
    socket: UnixDatagram,
    path: std::path::PathBuf,
    store: Vec<(String, OwnedFd)>,
    beats: usize,
}

impl Manager {
    pub fn new(dir: &Scratch) -> Self {
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, path, store: Vec::new(), beats: 0 }
    }

    pub fn read(&mut self) {
        while let Ok(Some(packet)) = packet::receive(self.socket.as_fd(), 4096) {
            let text = String::from_utf8(packet.bytes).unwrap();
            let name =
                text.lines().find_map(|l| l.strip_prefix("FDNAME=")).unwrap_or("").to_owned();
            if text.starts_with("FDSTORE=1") {
                assert!(text.contains("FDPOLL=0"), "{text}");
                self.store.extend(packet.fds.into_iter().map(|fd| (name.clone(), fd)));
            } else if text.starts_with("FDSTOREREMOVE=1") {
                self.store.retain(|(n, _)| *n != name);
            } else if text == "WATCHDOG=1" {
                self.beats += 1;
            }
        }
    }

    fn names(&self) -> Vec<&str> {
        self.store.iter().map(|(name, _)| name.as_str()).collect()
    }

    /// A keeper that gets what is stored, as systemd passes it.
    pub fn start(&self, dir: &Scratch) -> Proc {
        self.start_by(Command::new("sh"), dir)
    }

    /// `command` runs `sh` where the keeper is to live.
    pub fn start_by(&self, mut command: Command, dir: &Scratch) -> Proc {
        command.args(["-c", r#"LISTEN_PID=$$ exec "$0" "$@""#, KEEPER, "--run-dir"]);
        command.arg(dir.path()).env("NOTIFY_SOCKET", &self.path);
        command.env("LISTEN_FDS", self.store.len().to_string());
        command.env("LISTEN_FDNAMES", self.names().join(":"));
        let fds: Vec<_> = self.store.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
        // SAFETY: only system calls; numbers from 200 on are free, those from 3 on are the
        // child's to overwrite.
        unsafe {
            command.pre_exec(move || {
                for (n, fd) in (200..).zip(&fds) {
                    libc::dup2(*fd, n);
                }
                for n in 0..i32::try_from(fds.len()).unwrap_or(0) {
                    libc::dup2(200 + n, 3 + n);
                    libc::close(200 + n);
                }
                Ok(())
            });
        }
        started(command, dir)
    }
}

#[test]
fn an_orphan_outlives_the_keeper_in_the_service_managers_store() {
    let dir = Scratch::new("keeper");
    let mut manager = Manager::new(&dir);
    let mut keeper = manager.start(&dir);
    let peer = Peer::start();
    let mut speaker = start_speaker(&dir, &peer, HANG_MID_MESSAGE, "speaker.log");
    log_has(&speaker, "hanging");
    manager.read();
    assert_eq!(manager.store.len(), 4, "{:?}", manager.names());
    // Both die at once; nobody but the store has the session.
    keeper.kill();
    speaker.kill();
    until(5, "the kernel delivers what it was given", || peer.updates() == 1);
    let mut second = manager.start(&dir);
    until(5, "the second keeper finishes the message", || peer.updates() == 2);
    let before = peer.messages().len();
    std::thread::sleep(Duration::from_secs(4));
    assert!(peer.messages().len() > before, "and keeps the session alive");
    // The upgrade: this time it is asked to stop.
    assert!(second.terminate().success());
    manager.read();
    let _third = manager.start(&dir);
    let next = start_speaker(&dir, &peer, IDLE, "next.log");
    log_has(&next, "resumed");
    until(5, "its UPDATE", || peer.updates() == 3);
    assert!(!peer.ended());
}

#[test]
fn the_watchdog_hears_of_a_keeper_that_works_and_nothing_of_one_that_hangs() {
    let dir = Scratch::new("keeper");
    let mut manager = Manager::new(&dir);
    let mut command = Command::new("sh");
    command.env("WATCHDOG_USEC", "300000");
    let keeper = manager.start_by(command, &dir);
    let told = |manager: &mut Manager| {
        manager.beats = 0;
        until(20, "the watchdog is told", || {
            manager.read();
            manager.beats >= 3
        });
    };
    told(&mut manager);
    keeper.signal(Signal::STOP);
    until(20, "it stands still", || {
        std::fs::read_to_string(format!("/proc/{}/stat", keeper.pid()))
            .is_ok_and(|stat| stat.contains(") T "))
    });
    manager.read();
    manager.beats = 0;
    std::thread::sleep(Duration::from_millis(500));
    manager.read();
    assert_eq!(manager.beats, 0);
    keeper.signal(Signal::CONT);
    told(&mut manager);
}

#[test]
fn how_long_to_hold_is_the_speakers_word_and_outlives_the_keeper() {
    let dir = Scratch::new("keeper");
    let mut manager = Manager::new(&dir);
    let mut keeper = manager.start(&dir);
    let peer = Peer::start();
    let (run_dir, password) = (dir.path(), "");
    let setting = Setting { run_dir, peer: &peer.address, after: IDLE, graceful: false, password };
    let mut command = tiny::program();
    command.env("TINY_MAX_ORPHAN", "3");
    let mut speaker = tiny::start(command, setting, &dir.path().join("speaker.log"));
    log_has(&speaker, "established");
    manager.read();
    assert!(manager.names().contains(&"state-0"), "{:?}", manager.names());
    assert!(keeper.terminate().success());
    // Without the speaker's word it would be the default of ten minutes.
    let second = manager.start(&dir);
    log_has(&speaker, "attached again, 1 sessions");
    speaker.kill();
    log_has(&second, "let go: no speaker came back in time");
    manager.read();
    until(2, "the peer sees the end", || peer.ended());
}

#[test]
fn a_restored_keeper_does_not_write_while_the_speaker_lives() {
    let dir = Scratch::new("keeper");
    let mut manager = Manager::new(&dir);
    let mut keeper = manager.start(&dir);
    let peer = Peer::start();
    let mut speaker = start_speaker(&dir, &peer, IDLE, "speaker.log");
    log_has(&speaker, "established");
    manager.read();
    keeper.kill();
    let second = manager.start(&dir);
    log_has(&speaker, "attached again, 1 sessions");
    assert!(second.log().contains("is restored") && !second.log().contains("kept alive"));
    speaker.kill();
    log_has(&second, "kept alive");
    let _next = start_speaker(&dir, &peer, IDLE, "next.log");
    until(10, "its UPDATE", || peer.updates() == 2);
    // What is let go leaves the store, or the peer would never see the end of it.
    manager.read();
    assert_eq!(manager.store.iter().filter(|(n, _)| n.starts_with("speaker")).count(), 1);
}

#[test]
fn a_released_session_leaves_the_store_and_ends_as_asked() {
    let dir = Scratch::new("keeper");
    let mut manager = Manager::new(&dir);
    let _keeper = manager.start(&dir);
    let peer = Peer::start();
    let mut speaker = start_speaker(&dir, &peer, IDLE, "speaker.log");
    log_has(&speaker, "established");
    speaker.kill();
    let mut client = Client::connect(dir.path()).unwrap();
    let limit = Duration::from_secs(5);
    let mut attached = client.attach(generation_of_now(), None, limit).unwrap();
    let held = attached.sessions.pop().unwrap();
    client.release(held.id, Release::Shutdown).unwrap();
    assert_eq!(client.next_within(limit).unwrap(), Answer::Released { session: held.id });
    until(2, "the peer sees the end, whoever has descriptors", || peer.ended());
    manager.read();
    assert_eq!(manager.names().len(), 2, "{:?}", manager.names());
}

/// What a session needs beside its socket; this process is the speaker.
fn established(socket: &TcpStream, generation: u64) -> SessionRings {
    let rings = SessionRings::create(socket, Sizes::default(), generation).unwrap();
    let snapshot = Snapshot {
        peer: socket.peer_addr().unwrap().to_string(),
        local: socket.local_addr().unwrap(),
        remote: socket.peer_addr().unwrap(),
        timing: Timing::new(90, 30).unwrap(),
        open_sent: KEEPALIVE.to_vec(),
        open_received: KEEPALIVE.to_vec(),
        negotiated: Vec::new(),
    };
    rings.write_snapshot(&snapshot).unwrap();
    rings
}

#[test]
fn hundreds_of_sessions_are_held_and_passed_on() {
    const SESSIONS: usize = 300;
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    let dir = Scratch::new("keeper");
    let _keeper = start_keeper(&dir, &[]);
    let limit = Duration::from_secs(10);
    let mut client = Client::connect(dir.path()).unwrap();
    let generation = generation_of_now();
    client.attach(generation, None, limit).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut sessions = Vec::new();
    for n in 0..SESSIONS {
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut rings = established(&socket, generation);
        // Each stands elsewhere, all in mid-message.
        rings.append(&[KEEPALIVE; 4].concat()).unwrap();
        rustix::net::send(&socket, &[0xff; 16][..1 + n % 16], rustix::net::SendFlags::empty())
            .unwrap();
        let token = client.hold(&socket, &rings).unwrap();
        let answer = client.next_within(limit).unwrap();
        assert!(matches!(answer, Answer::Held { token: t, .. } if t == token), "{answer:?}");
        sessions.push((socket, listener.accept().unwrap().0));
    }
    drop(client);
    let mut client = Client::connect(dir.path()).unwrap();
    let attached = client.attach(generation_of_now(), None, limit).unwrap();
    assert_eq!((attached.sessions.len(), attached.lost.len()), (SESSIONS, 0));
    for (n, held) in attached.sessions.iter().enumerate() {
        assert_eq!(held.resume.sent, 1 + n as u64 % 16, "{}", held.snapshot.peer);
    }
}

#[test]
fn a_damaged_session_is_lost_alone_and_the_others_go_on() {
    let dir = Scratch::new("keeper");
    let _keeper = start_keeper(&dir, &[]);
    let limit = Duration::from_secs(10);
    let mut client = Client::connect(dir.path()).unwrap();
    let generation = generation_of_now();
    client.attach(generation, None, limit).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut peers = Vec::new();
    for n in 0..3 {
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        peers.push(listener.accept().unwrap().0);
        let rings = established(&socket, generation);
        client.hold(&socket, &rings).unwrap();
        assert!(matches!(client.next_within(limit).unwrap(), Answer::Held { .. }));
        if n == 1 {
            // Sent past the rings: nobody can say any more where the stream stands.
            let none = rustix::net::SendFlags::empty();
            rustix::net::send(&socket, b"stray", none).unwrap();
        }
    }
    drop(client);
    let mut client = Client::connect(dir.path()).unwrap();
    let attached = client.attach(generation_of_now(), None, limit).unwrap();
    assert_eq!(attached.sessions.len(), 2);
    assert_eq!(attached.lost.len(), 1);
    let why = &attached.lost[0].why;
    assert!(why.contains("sent 5 bytes, only 0"), "{why}");
    let mut bytes = [0; 16];
    let _ = peers[1].read(&mut bytes);
    assert!(matches!(peers[1].read(&mut bytes), Ok(0) | Err(_)), "reset");
}

#[test]
fn where_no_descriptor_is_left_that_session_alone_is_refused_and_says_why() {
    let dir = Scratch::new("keeper");
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -n 16; exec "$0" "$@""#, KEEPER, "--run-dir"]);
    command.arg(dir.path());
    let _keeper = started(command, &dir);
    let limit = Duration::from_secs(10);
    let mut client = Client::connect(dir.path()).unwrap();
    let generation = generation_of_now();
    client.attach(generation, None, limit).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut held = Vec::new();
    let refused = loop {
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let rings = established(&socket, generation);
        let token = client.hold(&socket, &rings).unwrap();
        match client.next_within(limit).unwrap() {
            Answer::Held { session, .. } => held.push((session, socket, rings)),
            Answer::Refused { token: t, why } if t == token => break why,
            other => panic!("{other:?}"),
        }
        assert!(held.len() < 16);
    };
    assert!(refused.contains("too many files are open"), "{refused}");
    // One goes, and there is room again.
    let (session, ..) = held.pop().unwrap();
    client.release(session, Release::Forget).unwrap();
    assert_eq!(client.next_within(limit).unwrap(), Answer::Released { session });
    let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let rings = established(&socket, generation);
    client.hold(&socket, &rings).unwrap();
    assert!(matches!(client.next_within(limit).unwrap(), Answer::Held { .. }));
    client.ask_status().unwrap();
    let Answer::Status(status) = client.next_within(limit).unwrap() else { panic!("no status") };
    assert_eq!((status.held as usize, status.orphaned), (held.len() + 1, 0));
    assert!(status.memory_bytes > 0 && status.version.to_string() == env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_session_of_the_next_release_is_kept_if_it_can_be_read_and_lost_alone_if_not() {
    let dir = Scratch::new("keeper");
    let keeper = start_keeper(&dir, &[]);
    let limit = Duration::from_secs(10);
    let mut client = Client::connect(dir.path()).unwrap();
    let generation = generation_of_now();
    client.attach(generation, None, limit).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let hold = |client: &mut Client| {
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let rings = established(&socket, client_generation(client));
        client.hold(&socket, &rings).unwrap();
        assert!(matches!(client.next_within(limit).unwrap(), Answer::Held { .. }));
        socket
    };
    let first = hold(&mut client);
    assert_eq!(state_file::write_version(&state_file::fds(keeper.pid()), 2, 1), 1);
    let mut client = Client::connect(dir.path()).unwrap();
    let attached = client.attach(generation_of_now(), None, limit).unwrap();
    assert_eq!((attached.sessions.len(), attached.lost.len()), (1, 0), "version 2, from 1 on");
    // What it says now only a later release understands; a session of ours beside it goes on.
    assert_eq!(state_file::write_version(&state_file::fds(keeper.pid()), 3, 2), 1);
    let second = hold(&mut client);
    let mut client = Client::connect(dir.path()).unwrap();
    let attached = client.attach(generation_of_now(), None, limit).unwrap();
    assert_eq!((attached.sessions.len(), attached.lost.len()), (1, 1));
    let why = &attached.lost[0].why;
    assert!(why.contains("version 3, readable from 2 on; this is 1"), "{why}");
    drop((first, second));
}

fn client_generation(client: &Client) -> u64 {
    client.ask_status().unwrap();
    match client.next_within(Duration::from_secs(5)).unwrap() {
        Answer::Status(status) => status.generation,
        other => panic!("{other:?}"),
    }
}

#[test]
fn another_user_is_refused_also_where_the_socket_would_let_it_in() {
    let dir = Scratch::new("keeper");
    let keeper = start_keeper(&dir, &[]);
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    open(dir.path(), 0o755);
    open(&dir.path().join(SOCKET), 0o666);
    // This program lies where another user may not look.
    let socket = dir.path().join(SOCKET);
    let stranger = std::thread::spawn(move || {
        // SAFETY: a system call on this thread alone, which ends with it.
        assert_eq!(unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) }, 0);
        Client::connect(socket.parent().unwrap())
            .and_then(|mut c| c.attach(generation_of_now(), None, Duration::from_secs(5)).map(drop))
            .unwrap_err()
            .to_string()
    });
    let why = stranger.join().unwrap();
    assert!(why.contains("closed"), "{why}");
    log_has(&keeper, "user 65534 is not this keeper's");
    Client::connect(dir.path()).unwrap().attach(generation_of_now(), None, LIMIT).unwrap();
}

#[test]
fn nonsense_is_refused_and_no_session_notices() {
    let dir = Scratch::new("keeper");
    let keeper = start_keeper(&dir, &[]);
    let peer = Peer::start();
    let mut speaker = start_speaker(&dir, &peer, IDLE, "speaker.log");
    log_has(&speaker, "established");

    let stranger = Client::connect(dir.path()).unwrap();
    let limit = Duration::from_secs(5);
    let refused = |text: &str| match stranger.next_within(limit).unwrap() {
        Answer::Refused { why, .. } => assert!(why.contains(text), "{why}"),
        other => panic!("{other:?}"),
    };
    let say = |bytes: &[u8], fds: &[_]| packet::send(&stranger, bytes, fds).unwrap();
    say(b"GET / HTTP/1.1", &[]);
    refused("not a packet");
    say(&[b'M', b'K', 9, 1], &[]);
    refused("version 9");
    say(&[b'x'; 5000], &[]);
    refused("too long");
    say(b"MK\x01\x02\0\0\0\x07", &[]);
    refused("two descriptors");
    let null = std::fs::File::open("/dev/null").unwrap();
    say(b"MK\x01\x02\0\0\0\x07", &[null.as_fd(), null.as_fd()]);
    refused("its socket");
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    say(b"MK\x01\x02\0\0\0\x07", &[socket.as_fd(), null.as_fd()]);
    refused("not sealed");
    stranger.release(SessionId(1), Release::Abort).unwrap();
    refused("attach first");

    let mut stale = Client::connect(dir.path()).unwrap();
    match stale.attach(7, None, limit) {
        Err(ClientError::Refused(why)) => assert!(why.contains("has been here"), "{why}"),
        other => panic!("{other:?}"),
    }
    // More than are served.
    let crowd: Vec<_> = (0..40).map(|_| Client::connect(dir.path())).collect();
    log_has(&keeper, "one is refused");
    drop(crowd);
    assert!(speaker.running());
    speaker.kill();
    log_has(&keeper, "kept alive");
    let _next = start_speaker(&dir, &peer, IDLE, "next.log");
    until(10, "the session goes on", || peer.updates() == 2);
}
