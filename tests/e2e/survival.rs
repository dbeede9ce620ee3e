//! Sessions outlive the speaker, and what keeps one from it costs that one alone.
//!
//! Every way of ending, with every peer, is in the matrix (`restart_matrix`, docs/restart.md).

use crate::pair::{BIRD, Pair, tor};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::proc::Proc;
use mainstay_tests::wait::{eventually, until};
use std::os::unix::fs::FileExt;
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
fn a_damaged_log_costs_the_session_and_nothing_else() {
    let pair = Pair::with_peer("import: all");
    let (bird, keeper, mut bgpd) = held(&pair);
    let since = bird.since("peer");
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
