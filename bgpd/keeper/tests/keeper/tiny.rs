//! A speaker for these tests: it keeps one session through the keeper and can die in the middle of
//! things. It runs as a child of the test, which is this same program started again.

use keeper::bfd::{Hops, Key, Settings, Spec};
use keeper::client::{Answer, Client, HeldSession, SessionRings, generation_of_now};
use keeper::keeper::SessionId;
use keeper::layout::Sizes;
use keeper::os::clock;
use keeper::snapshot::{Snapshot, Timing};
use keeper::walk::{KEEPALIVE, message_len};
use mainstay_tests::proc::Proc;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

pub const AS: u16 = 65002;
pub const ME: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
const HOLD: u16 = 9;

/// What the child does once its new session is up.
pub const IDLE: &str = "idle";
/// Announce a second prefix, hand the kernel ten bytes of that message, and hang before saying so.
pub const HANG_MID_MESSAGE: &str = "mid-message";
/// Append UPDATEs until the kernel takes no more, and hang.
pub const HANG_FULL: &str = "full";

/// How many prefixes a speaker that fills its buffers announces, a hundred a message.
pub const MANY: u16 = 40_000;

#[derive(Clone, Copy)]
pub struct Setting<'a> {
    pub run_dir: &'a Path,
    pub peer: &'a str,
    pub after: &'a str,
    pub graceful: bool,
    /// TCP MD5 (RFC 2385); the speaker that takes over never knows it.
    pub password: &'a str,
}

/// Starts the child. `command` runs a program where the speaker is to live.
pub fn start(mut command: Command, setting: Setting<'_>, log: &Path) -> Proc {
    command
        .args(["tiny_speaker", "--exact", "--nocapture", "--test-threads=1"])
        .env("TINY_RUN", setting.run_dir)
        .env("TINY_PEER", setting.peer)
        .env("TINY_AFTER", setting.after)
        .env("TINY_PASSWORD", setting.password)
        .env("TINY_GRACEFUL", if setting.graceful { "1" } else { "0" });
    Proc::start("tiny speaker", command, log)
}

/// The child's whole life; without the environment it is a test that passes.
pub fn main() {
    let Some(run_dir) = std::env::var_os("TINY_RUN") else { return };
    let var = |key| std::env::var(key).unwrap();
    let mut client = Client::connect(Path::new(&run_dir)).unwrap();
    let max_orphan = std::env::var("TINY_MAX_ORPHAN").ok();
    let max_orphan = max_orphan.map(|s| Duration::from_secs(s.parse().unwrap()));
    let limit = Duration::from_secs(10);
    let mut attached = client.attach(generation_of_now(), max_orphan, limit).unwrap();
    for report in &attached.bfd {
        println!("bfd at attach: {report:?}");
    }
    if let Ok(text) = std::env::var("TINY_BFD") {
        client.set_bfd(&specs(&text)).unwrap();
    }
    for lost in &attached.lost {
        println!("lost {} {}", lost.peer, lost.why);
    }
    let mut speaker = match attached.sessions.pop() {
        Some(held) => Speaker::resumed(client, held),
        None => Speaker::fresh(client, var("TINY_PEER").parse().unwrap(), &var("TINY_AFTER")),
    };
    speaker.run();
}

/// `peer local min_tx_ms multiplier single|multi interface|-`, separated by `;`.
pub fn specs(text: &str) -> Vec<Spec> {
    text.split(';').filter(|t| !t.is_empty()).map(spec).collect()
}

fn spec(text: &str) -> Spec {
    let words: Vec<_> = text.split_whitespace().collect();
    let [peer, local, ms, multiplier, hops, interface] = words[..] else { panic!("{text}") };
    let hops = if hops == "multi" { Hops::Multi { min_ttl: 1 } } else { Hops::Single };
    let interface = interface.trim_matches('-').to_owned();
    let local = Some(local.parse().unwrap());
    let interval = Duration::from_millis(ms.parse().unwrap());
    let multiplier = multiplier.parse().unwrap();
    let settings = Settings { min_tx: interval, min_rx: interval, multiplier, admin_down: false };
    Spec { key: Key { peer: peer.parse().unwrap(), local, interface, hops }, settings }
}

struct Speaker {
    client: Client,
    socket: OwnedFd,
    rings: SessionRings,
    session: Option<SessionId>,
    prefixes: u8,
}

impl Speaker {
    fn resumed(client: Client, held: HeldSession) -> Self {
        let HeldSession { id, socket, rings, snapshot, resume } = held;
        let cut = resume.sent - rings.positions().tx_boundary;
        println!("resumed {} {resume:?}, {cut} bytes into a message", snapshot.peer);
        assert_eq!(snapshot.timing, Timing::new(HOLD, 0).unwrap());
        let mut speaker = Self { client, socket, rings, session: Some(id), prefixes: 200 };
        let next = speaker.prefixes;
        speaker.say(&update(next));
        speaker
    }

    fn fresh(client: Client, peer: SocketAddr, after: &str) -> Self {
        let stream = connect(peer);
        let (local, remote) = (stream.local_addr().unwrap(), stream.peer_addr().unwrap());
        let socket = OwnedFd::from(stream);
        let sizes = Sizes { tx: 1 << 20, ..Sizes::default() };
        let rings = SessionRings::create(&socket, sizes, generation_of(&client)).unwrap();
        let mut speaker = Self { client, socket, rings, session: None, prefixes: 0 };
        let open_sent = open();
        speaker.say(&open_sent);
        let open_received = speaker.hear(1);
        speaker.say(&KEEPALIVE);
        speaker.hear(4);
        let timing = Timing::new(HOLD, 0).unwrap();
        let negotiated = b"whatever the speaker likes".to_vec();
        let peer = "the peer".to_owned();
        let snapshot =
            Snapshot { peer, local, remote, timing, open_sent, open_received, negotiated };
        speaker.rings.write_snapshot(&snapshot).unwrap();
        speaker.hold();
        speaker.say(&update(0));
        println!("established");
        speaker.then(after);
        speaker
    }

    fn hold(&mut self) {
        let token = self.client.hold(&self.socket, &self.rings).unwrap();
        loop {
            match self.client.next_within(Duration::from_secs(5)).unwrap() {
                Answer::Held { token: t, session } if t == token => self.session = Some(session),
                Answer::Bfd(_) | Answer::BfdSet { .. } => continue,
                other => panic!("{other:?}"),
            }
            break;
        }
        println!("held");
    }

    fn then(&mut self, after: &str) {
        match after {
            HANG_MID_MESSAGE => {
                self.flush();
                let message = update(1);
                self.rings.append(&message).unwrap();
                let flags = rustix::net::SendFlags::empty();
                rustix::net::send(&self.socket, &message[..10], flags).unwrap();
                println!("hanging");
                std::thread::sleep(Duration::from_secs(600));
            }
            HANG_FULL => {
                rustix::net::sockopt::set_socket_send_buffer_size(&self.socket, 8192).unwrap();
                std::fs::write(flag("ready"), "").unwrap();
                while !flag("go").exists() {
                    self.turn();
                }
                for n in (0..MANY).step_by(100) {
                    self.rings.append(&many(n)).unwrap();
                }
                while self.rings.send(&self.socket, clock::now()).is_ok_and(|n| n > 0) {}
                println!("hanging with {} bytes unsent", self.rings.unsent());
                std::fs::write(flag("full"), "").unwrap();
                std::thread::sleep(Duration::from_secs(600));
            }
            _ => {}
        }
    }

    fn run(&mut self) {
        let mut next = clock::now() + Duration::from_secs(3);
        loop {
            if clock::now() >= next && self.rings.unsent() == 0 {
                self.say(&KEEPALIVE);
                next = clock::now() + Duration::from_secs(3);
            }
            self.turn();
        }
    }

    /// Reads and writes what there is, for 20 ms.
    fn turn(&mut self) {
        self.flush();
        self.read();
        while let Some((_, len)) = self.message() {
            self.rings.applied(len).unwrap();
        }
        match self.client.next() {
            Ok(Some(answer)) => println!("keeper: {answer:?}"),
            Ok(None) => {}
            // As bgpd does: the session does not need the keeper to go on.
            Err(_) => self.connect_again(),
        }
        std::thread::sleep(Duration::from_millis(20));
    }

    fn connect_again(&mut self) {
        let run_dir = std::env::var_os("TINY_RUN").unwrap();
        let Ok(mut client) = Client::connect(Path::new(&run_dir)) else { return };
        let generation = self.rings.generation();
        let attached = client.attach(generation, None, Duration::from_secs(5)).unwrap();
        println!("attached again, {} sessions", attached.sessions.len());
        self.client = client;
        if attached.sessions.is_empty() {
            self.hold();
        }
    }

    fn say(&mut self, messages: &[u8]) {
        let n = self
            .rings
            .append_with(|room| {
                room[..messages.len()].copy_from_slice(messages);
                messages.len()
            })
            .unwrap();
        assert_eq!(n, messages.len());
        self.flush();
    }

    fn flush(&mut self) {
        match self.rings.send(&self.socket, clock::now()) {
            Err(e) if e.kind() != ErrorKind::WouldBlock => panic!("send: {e}"),
            _ => {}
        }
    }

    fn read(&mut self) {
        match self.rings.recv(&self.socket, clock::now()) {
            Ok(0) => panic!("the peer has closed the session"),
            Err(e) if e.kind() != ErrorKind::WouldBlock => panic!("recv: {e}"),
            _ => {}
        }
    }

    fn message(&self) -> Option<(u8, usize)> {
        let header = self.rings.unapplied().first_chunk()?;
        let len = message_len(header).expect("a message");
        if header[18] == 3 {
            panic!("NOTIFICATION {:?}", self.rings.unapplied());
        }
        (self.rings.unapplied().len() >= len).then_some((header[18], len))
    }

    /// Waits for a message of this kind and applies it.
    fn hear(&mut self, kind: u8) -> Vec<u8> {
        loop {
            if let Some((k, len)) = self.message() {
                let bytes = self.rings.unapplied()[..len].to_vec();
                self.rings.applied(len).unwrap();
                if k == kind {
                    return bytes;
                }
            }
            self.read();
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn connect(peer: SocketAddr) -> TcpStream {
    let password = std::env::var("TINY_PASSWORD").unwrap_or_default();
    loop {
        if let Ok(stream) = try_connect(peer, password.as_bytes()) {
            return stream;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn try_connect(peer: SocketAddr, password: &[u8]) -> std::io::Result<TcpStream> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    if !password.is_empty() {
        sign(&socket, peer, password)?;
    }
    connect(&socket, &peer)?;
    Ok(TcpStream::from(socket))
}

/// `struct tcp_md5sig` of linux/tcp.h, for an IPv4 peer.
fn sign(socket: &OwnedFd, peer: SocketAddr, password: &[u8]) -> std::io::Result<()> {
    let SocketAddr::V4(peer) = peer else { panic!("IPv4 only") };
    let mut sig = [0u8; 216];
    sig[..2].copy_from_slice(&2u16.to_ne_bytes());
    sig[4..8].copy_from_slice(&peer.ip().octets());
    sig[130..132].copy_from_slice(&u16::try_from(password.len()).unwrap().to_ne_bytes());
    sig[136..136 + password.len()].copy_from_slice(password);
    let len = libc::socklen_t::try_from(sig.len()).unwrap();
    let (tcp, md5) = (libc::IPPROTO_TCP, libc::TCP_MD5SIG);
    // SAFETY: the kernel reads `len` bytes of the array.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), tcp, md5, sig.as_ptr().cast(), len) };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

pub fn flag(name: &str) -> std::path::PathBuf {
    Path::new(&std::env::var_os("TINY_RUN").unwrap()).join(name)
}

fn generation_of(client: &Client) -> u64 {
    client.ask_status().unwrap();
    loop {
        match client.next_within(Duration::from_secs(5)).unwrap() {
            Answer::Status(status) => return status.generation,
            Answer::Bfd(_) | Answer::BfdSet { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let len = u16::try_from(19 + body.len()).unwrap();
    [&[0xff; 16], len.to_be_bytes().as_slice(), &[kind], body].concat()
}

fn open() -> Vec<u8> {
    let graceful = std::env::var("TINY_GRACEFUL").is_ok_and(|v| v == "1");
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 2, 0, 65, 4, 0, 0];
    capabilities.extend(AS.to_be_bytes());
    if graceful {
        capabilities.extend([64, 6, 0x00, 120, 0, 1, 1, 0x80]);
    }
    let len = u8::try_from(capabilities.len()).unwrap();
    let mut body = vec![4];
    body.extend(AS.to_be_bytes());
    body.extend(HOLD.to_be_bytes());
    body.extend(ME.octets());
    body.extend([len + 2, 2, len]);
    body.extend(capabilities);
    message(1, &body)
}

fn announce(nlri: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0, 0, 20, 0x40, 1, 1, 0, 0x40, 2, 6, 2, 1, 0, 0];
    body.extend(AS.to_be_bytes());
    body.extend([0x40, 3, 4]);
    body.extend(ME.octets());
    body.extend(nlri);
    message(2, &body)
}

/// Announces [`prefix`] n.
fn update(n: u8) -> Vec<u8> {
    announce(&[24, 203, 0, n])
}

pub fn prefix(n: u8) -> String {
    format!("203.0.{n}.0/24")
}

fn many(from: u16) -> Vec<u8> {
    let nlri = (from..from + 100).flat_map(|n| {
        let [high, low] = n.to_be_bytes();
        [24, 10, high, low]
    });
    announce(&nlri.collect::<Vec<_>>())
}

/// So that it is used in every test program that includes this file.
pub fn program() -> Command {
    Command::new(std::env::current_exe().unwrap())
}
