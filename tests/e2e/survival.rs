//! Sessions outlive the speaker, and what keeps one from it costs that one alone.
//!
//! Every way of ending, with every peer, is in the matrix (`restart_matrix`, docs/restart.md).

use crate::pair::{BIRD, Pair, tor};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, sample};
use mainstay_tests::proc::Proc;
use mainstay_tests::wait::{eventually, until};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, prlimit};
use std::os::unix::fs::{FileExt, symlink};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// BIRD without graceful restart: a session that ends takes all its routes with it.
fn bird_without_restart(pair: &Pair) -> Bird {
    let config = BIRD.replace("  connect delay", "  graceful restart off;\n  connect delay");
    Bird::start(&pair.peer, &config)
}

/// A node whose session with BIRD is held.
fn held(pair: &Pair) -> (Bird, Proc, Proc) {
    let keeper = pair.node.start(Daemon::Keeper);
    let bird = bird_without_restart(pair);
    let bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    survives(pair, "tier0");
    (bird, keeper, bgpd)
}

#[track_caller]
fn survives(pair: &Pair, how: &str) {
    eventually(10, &format!("the session would survive by: {how}"), || {
        let tor = pair.tor()?;
        let said = tor["survival"].as_str().unwrap_or_default();
        if said.contains(how) { Ok(()) } else { Err(tor.to_string()) }
    });
}

/// The memory files of sessions that a process has open.
fn memory(proc: &Proc) -> Vec<std::fs::File> {
    let fds = std::fs::read_dir(format!("/proc/{}/fd", proc.pid())).unwrap();
    let paths = fds.map(|entry| entry.unwrap().path());
    let ours = paths.filter(|path| {
        std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("/memfd:"))
    });
    ours.map(|path| std::fs::File::options().read(true).write(true).open(path).unwrap()).collect()
}

#[test]
fn a_keeper_that_comes_late_or_comes_back_holds_the_sessions_that_are_up() {
    let pair = Pair::with_peer("import: all");
    let bird = bird_without_restart(&pair);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    let since = bird.since("peer");
    survives(&pair, "graceful-restart: no keeper");
    let mut keeper = pair.node.start(Daemon::Keeper);
    survives(&pair, "tier0");
    keeper.kill();
    survives(&pair, "graceful-restart");
    let _keeper = pair.node.start(Daemon::Keeper);
    survives(&pair, "tier0");
    bgpd.kill();
    let _bgpd = pair.node.start(Daemon::Bgpd);
    survives(&pair, "tier0");
    assert_eq!(bird.since("peer"), since, "BIRD saw its session end");
}

#[test]
fn a_keeper_that_comes_back_is_found_though_nothing_else_happens() {
    let pair = Pair::with_peer("import: all");
    let (_bird, mut keeper, _bgpd) = held(&pair);
    // All that comes with a new session is over; the next KEEPALIVE is half a minute away, and nobody
    // asks the speaker anything.
    std::thread::sleep(Duration::from_secs(3));
    keeper.kill();
    let said = keeper.log().len();
    let keeper = pair.node.start(Daemon::Keeper);
    until(15, "the session is handed over again", || {
        keeper.log().get(said..).is_some_and(|log| log.contains("is held"))
    });
}

#[test]
fn a_session_that_is_handed_over_while_the_speaker_stops_goes_on() {
    let pair = Pair::with_peer("import: all");
    let keeper = pair.node.start(Daemon::Keeper);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    until(10, "the keeper knows the speaker", || keeper.log().contains("is attached"));
    keeper.signal(Signal::STOP);
    let bird = bird_without_restart(&pair);
    bird.established("peer", 20);
    let since = bird.since("peer");
    bgpd.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(500));
    keeper.signal(Signal::CONT);
    assert!(bgpd.wait(Duration::from_secs(20)).success());
    let _bgpd = pair.node.start(Daemon::Bgpd);
    survives(&pair, "tier0");
    assert_eq!(bird.since("peer"), since, "BIRD saw its session end");
}

#[test]
fn a_damaged_log_costs_the_session_and_nothing_else() {
    let pair = Pair::with_peer("import: all");
    let (bird, keeper, mut bgpd) = held(&pair);
    let since = bird.since("peer");
    // All that follows takes 20 ms, and the next session is to be told by when it came up.
    std::thread::sleep(Duration::from_millis(500));
    bgpd.kill();
    let [file] = &memory(&keeper)[..] else { panic!("one session, one file") };
    // Behind header, snapshot and rings.
    file.write_all_at(&[0x5a; 1 << 20], 1 << 18).unwrap();
    let _bgpd = pair.node.start(Daemon::Bgpd);
    eventually(20, "a new session, by itself", || {
        let (now, up) = (bird.since("peer"), bird.ask("show protocols peer")?);
        if up.contains("Established") && now != since { Ok(()) } else { Err(up) }
    });
    let status = pair.node.json(&["status"]).unwrap().to_string();
    assert!(status.contains("\"lost\":1"), "{status}");
    survives(&pair, "tier0");
}

#[test]
fn a_keeper_that_talks_nonsense_or_hangs_harms_no_session() {
    let pair = Pair::with_peer("import: all, hold_time: 3s");
    let run = pair.node.run_dir();
    std::fs::create_dir_all(&run).unwrap();
    let listener = rustix::net::socket(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
        None,
    )
    .unwrap();
    let address = rustix::net::SocketAddrUnix::new(run.join("keeper.sock")).unwrap();
    rustix::net::bind(&listener, &address).unwrap();
    rustix::net::listen(&listener, 8).unwrap();
    let liar = std::thread::spawn(move || {
        let mut silent = Vec::new();
        for n in 0..2 {
            let stream = rustix::net::accept(&listener).unwrap();
            if n == 0 {
                let _ = rustix::net::send(&stream, &[0xa5; 100], rustix::net::SendFlags::NOSIGNAL);
            }
            silent.push(stream);
        }
        (listener, silent)
    });
    let bird = bird_without_restart(&pair);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    let since = bird.since("peer");
    let _still = liar.join().unwrap();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(bird.since("peer"), since, "the session suffered from the keeper");
    assert!(bgpd.running());
    survives(&pair, "graceful-restart: no keeper");
}

#[test]
fn without_a_keeper_wanted_sessions_have_memory_of_their_own() {
    let pair = Pair::new(&tor("import: all"));
    let text = std::fs::read_to_string(pair.node.config()).unwrap();
    pair.node.configure(&format!("{text}keeper: {{max_orphan: 0s}}\n"));
    let _keeper = pair.node.start(Daemon::Keeper);
    let bird = bird_without_restart(&pair);
    let bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    survives(&pair, "keeper.max_orphan is 0");
    until(10, "routes go both ways", || {
        bird.has_route("198.18.7.0/24") && pair.kernel().contains("198.51.100.0/24")
    });
    assert!(memory(&bgpd).is_empty(), "private buffers lie in no file");
}

#[test]
fn sessions_that_are_to_be_held_no_more_are_given_back_and_go_on_until_the_speaker_ends() {
    let pair = Pair::with_peer("import: all");
    let (bird, keeper, mut bgpd) = held(&pair);
    let since = bird.since("peer");
    let wanted = std::fs::read_to_string(pair.node.config()).unwrap();
    let unwanted = format!("{wanted}keeper: {{max_orphan: 0s}}\n");
    let given_back = || {
        survives(&pair, "keeper.max_orphan is 0");
        until(10, "the keeper holds nothing", || memory(&keeper).is_empty());
        assert_eq!(bird.since("peer"), since, "BIRD saw its session end");
    };
    // By a restart ...
    bgpd.kill();
    pair.node.configure(&unwanted);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    given_back();
    pair.node.configure(&wanted);
    pair.node.json(&["reload"]).unwrap();
    survives(&pair, "tier0");
    // ... and by a reload.
    pair.node.configure(&unwanted);
    pair.node.json(&["reload"]).unwrap();
    given_back();
    bgpd.kill();
    until(10, "the session has ended with the speaker", || {
        bird.ask("show protocols peer").is_ok_and(|up| !up.contains("Established"))
    });
}

/// Sets a limit of a running process.
pub(super) fn limit(proc: &Proc, resource: Resource, value: u64) {
    let pid = Pid::from_raw(proc.pid().cast_signed());
    let new = Rlimit { current: Some(value), ..getrlimit(resource) };
    prlimit(pid, resource, new).unwrap();
}

#[test]
fn a_session_for_which_no_memory_can_be_shared_is_alone_in_not_outliving_the_speaker() {
    let two = "    - {name: two, address: 192.0.2.3, asn: 65001}\n";
    let pair = Pair::new(&(tor("import: all") + two));
    pair.peer.ip("addr add 192.0.2.3/24 dev eth0");
    let _keeper = pair.node.start(Daemon::Keeper);
    let _netmon = pair.node.start(Daemon::Netmon);
    let config = BIRD.replace("connect delay", "graceful restart off; strict bind; connect delay");
    let bird = Bird::start(&pair.peer, &config);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    survives(&pair, "tier0");
    let since = bird.since("peer");

    // From here on no file that it makes may grow to the size of a session's memory.
    limit(&bgpd, Resource::Fsize, 1 << 20);
    let session =
        config.split_once("protocol bgp").unwrap().1.replace("192.0.2.1 as", "192.0.2.3 as");
    let second = format!("router id 192.0.2.3;\nprotocol device {{}}\nprotocol bgp{session}");
    let second = Bird::start(&pair.peer, &second);
    second.established("peer", 20);
    until(10, "it has our route", || second.has_route("198.18.7.0/24"));
    let log = bgpd.log();
    assert!(
        log.contains("no memory that the keeper could hold") && log.contains("too large"),
        "{log}"
    );
    let two = || Ok::<_, String>(pair.node.json(&["bgp", "peers"])?["peers"][1].clone());
    let how = two().unwrap()["survival"].to_string();
    assert!(how.contains("graceful-restart: there was no memory that could be shared"), "{how}");
    survives(&pair, "tier0");
    eventually(20, "it is counted", || {
        let page = pair.node.metrics("127.0.0.1:9474")?;
        match sample(&page, "mainstay_bgp_connections_unshared_total") {
            Some(n) if n >= 1.0 => Ok(()),
            other => Err(format!("{other:?}\n{page}")),
        }
    });

    let second_since = second.since("peer");
    bgpd.kill();
    let _bgpd = pair.node.start(Daemon::Bgpd);
    eventually(20, "the one session is new and held now", || {
        let two = two()?;
        let new = two["survival"] == "tier0" && second.since("peer") != second_since;
        if new { Ok(()) } else { Err(two.to_string()) }
    });
    survives(&pair, "tier0");
    assert_eq!(bird.since("peer"), since, "the other one was touched");
}

#[test]
fn a_speaker_out_of_descriptors_keeps_its_sessions_and_answers_when_it_has_some_again() {
    let pair = Pair::with_peer("import: all");
    let (bird, _keeper, bgpd) = held(&pair);
    let since = bird.since("peer");
    limit(&bgpd, Resource::Nofile, 3);
    let _waits = UnixStream::connect(pair.node.run_dir().join("bgpd.sock")).unwrap();
    let (before, _) = bgpd.usage();
    std::thread::sleep(Duration::from_secs(3));
    let used = bgpd.usage().0 - before;
    assert!(used < Duration::from_secs(1), "it spins: {used:?}");
    limit(&bgpd, Resource::Nofile, 1024);
    survives(&pair, "tier0");
    assert_eq!(bird.since("peer"), since);
}

/// Whatever bgpd writes from here on meets a disk without room.
fn fill_disk(pair: &Pair) {
    let state = pair.node.dir.path().join("state/bgpd");
    let _ = std::fs::remove_file(state.join("running"));
    for name in ["running.new", "intent.new"] {
        symlink("/dev/full", state.join(name)).unwrap();
    }
}

#[test]
fn a_full_disk_keeps_no_session_from_going_on_and_is_told_of() {
    let pair = Pair::with_peer("import: all");
    let (bird, mut keeper, mut bgpd) = held(&pair);
    until(10, "their route is in our kernel", || pair.kernel().contains("198.51.100.0/24"));
    let since = bird.since("peer");
    fill_disk(&pair);
    bgpd.kill();
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    survives(&pair, "tier0");
    let status = pair.node.json(&["status"]).unwrap()["bgpd"]["warnings"].to_string();
    for said in [status, bgpd.log()] {
        assert!(said.contains("cannot keep the restart marker"), "{said}");
        assert!(said.contains("No space left on device"), "{said}");
    }
    let out = pair.node.cli(&["drain", "--wait", "1s"]);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("No space left on device"), "{said}");
    assert!(bird.has_route("198.18.7.0/24"), "what is not on disk is not acted upon");
    assert_eq!(bird.since("peer"), since, "BIRD saw its session end");

    // Without the keeper as well, the routes in the kernel tell that somebody has been here.
    keeper.kill();
    bgpd.kill();
    let bgpd = pair.node.start(Daemon::Bgpd);
    let log = bgpd.log();
    assert!(log.contains("restarting=true"), "{log}");
    let state = pair.node.dir.path().join("state/bgpd");
    std::fs::remove_file(state.join("running.new")).unwrap();
    until(30, "the disk has taken the marker", || state.join("running").exists());
    until(10, "nothing is to be told any more", || {
        pair.node.json(&["status"]).is_ok_and(|s| !s.to_string().contains("restart marker"))
    });
}
