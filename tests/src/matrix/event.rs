//! What happens to us, and how it is made to happen.

use super::net::{Net, OURS, Plan, prefix, stands};
use super::promise::Tier;
use crate::bird::Bird;
use crate::daemons::Daemon;
use crate::memcg::Memcg;
use crate::peers::Peer;
use crate::proc::Proc;
use crate::state_file::{self, fds};
use crate::wait::{eventually, until};
use rustix::process::Signal;
use std::fmt::Write;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Event {
    Terminate,
    Kill,
    OutOfMemory,
    /// Another release takes over, which wrote another version of the state and can read ours.
    OtherVersion,
    /// One that cannot.
    UnreadableVersion,
    Reload,
    MidMessage,
    UnreadInput,
    TenCrashes,
    KeeperKilled,
    KeeperRestarted,
    DownPastHoldTime,
    DownPastKeeper,
    BothKilled,
    PeerCloses,
    /// Drained, killed, started, undrained.
    Drain,
    /// Left, and started again.
    Leave,
}

/// What an event works on.
pub(super) struct Bench<'a> {
    pub net: &'a Net,
    pub plan: &'a Plan,
    pub peer: &'a dyn Peer,
    pub behind: &'a Bird,
    pub bgpd: Proc,
    pub keeper: Proc,
}

/// Blocks that the node announces of a sudden, to fill every buffer on the way.
const BLOCKS: u32 = 30_000;

impl Event {
    pub const ALL: [Self; 17] = [
        Self::Terminate,
        Self::Kill,
        Self::OutOfMemory,
        Self::OtherVersion,
        Self::UnreadableVersion,
        Self::Reload,
        Self::MidMessage,
        Self::UnreadInput,
        Self::TenCrashes,
        Self::KeeperKilled,
        Self::KeeperRestarted,
        Self::DownPastHoldTime,
        Self::DownPastKeeper,
        Self::BothKilled,
        Self::PeerCloses,
        Self::Drain,
        Self::Leave,
    ];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM, started again",
            Self::Kill => "SIGKILL, started again",
            Self::OutOfMemory => "killed for lack of memory",
            Self::OtherVersion => "replaced by another release, state readable",
            Self::UnreadableVersion => "replaced by another release, state unreadable",
            Self::Reload => "configuration reloaded",
            Self::MidMessage => "SIGKILL in mid-message, send buffer full",
            Self::UnreadInput => "SIGKILL with unread input",
            Self::TenCrashes => "ten crashes in a row",
            Self::KeeperKilled => "keeper killed, later the speaker",
            Self::KeeperRestarted => "keeper restarted, later the speaker",
            Self::DownPastHoldTime => "down for longer than the hold time",
            Self::DownPastKeeper => "down for longer than the keeper holds",
            Self::BothKilled => "speaker and keeper killed",
            Self::PeerCloses => "peer closes while we are down",
            Self::Drain => "drained, SIGKILL, undrained",
            Self::Leave => "left, started again",
        }
    }

    #[must_use]
    pub const fn tier(self) -> Tier {
        match self {
            Self::UnreadableVersion | Self::DownPastKeeper | Self::BothKilled => {
                Tier::GracefulRestart
            }
            Self::PeerCloses | Self::Leave => Tier::Lost,
            Self::Drain => Tier::Drained,
            _ => Tier::Session,
        }
    }

    pub(super) const fn hold_time(self) -> u16 {
        match self {
            Self::DownPastHoldTime => 3,
            // The peer is stopped for some seconds.
            Self::MidMessage => 60,
            _ => 9,
        }
    }

    pub(super) const fn keeper(self) -> &'static str {
        match self {
            Self::DownPastKeeper => "keeper: {max_orphan: 2s}\n",
            _ => "",
        }
    }

    /// How long the world is watched after all is well again.
    pub(super) const fn aftermath(self) -> Duration {
        match self.tier() {
            // The next KEEPALIVEs of either side (a third of 9 s) are within.
            Tier::Session | Tier::Drained => Duration::from_millis(3500),
            Tier::GracefulRestart | Tier::Lost => Duration::from_secs(3),
        }
    }

    /// Before anything is started.
    pub(super) fn prepare(self, net: &Net) {
        if self == Self::MidMessage {
            // So that 30,000 routes are more than all buffers between the two take.
            net.node.host.sysctl("net/ipv4/tcp_wmem", "4096 16384 32768");
            net.switch.sysctl("net/ipv4/tcp_rmem", "4096 16384 32768");
        }
    }

    /// Whether what the event announced on the way is where it belongs.
    pub(super) fn has_arrived(self, bench: &Bench<'_>, more: u32) -> bool {
        let Bench { net, peer, behind, .. } = bench;
        match self {
            Self::MidMessage if has_blocks(net) => peer.route_count() >= BLOCKS as usize,
            Self::UnreadInput if behind.has_route(&prefix(60, 0)) => {
                let kernel = net.kernel();
                stands(&kernel, &prefix(60, 0)) && stands(&kernel, &prefix(60, more - 1))
            }
            _ => true,
        }
    }

    pub(super) fn happen(self, bench: &mut Bench<'_>) {
        match self {
            Self::Terminate => {
                let status = bench.bgpd.terminate();
                assert!(status.success(), "bgpd ended with {status}");
                bench.away(700);
            }
            Self::Kill => bench.crash(700),
            Self::OutOfMemory => bench.starve(),
            Self::OtherVersion => bench.change_version(2, 1),
            Self::UnreadableVersion => bench.change_version(1000, 1000),
            Self::Reload => bench.reload(),
            Self::MidMessage => bench.crash_in_mid_message(),
            Self::UnreadInput => bench.crash_with_unread_input(),
            Self::TenCrashes => bench.crash_ten_times(),
            Self::KeeperKilled => bench.replace_keeper(Proc::kill),
            Self::KeeperRestarted => {
                bench.replace_keeper(|keeper| assert!(keeper.terminate().success()));
            }
            Self::DownPastHoldTime => bench.crash(7000),
            Self::DownPastKeeper => bench.crash(4000),
            Self::BothKilled => {
                bench.bgpd.kill();
                bench.keeper.kill();
                bench.keeper = bench.net.start_keeper();
                bench.away(700);
            }
            Self::Drain => bench.drain(),
            Self::Leave => bench.leave(),
            Self::PeerCloses => {
                bench.bgpd.kill();
                std::thread::sleep(Duration::from_millis(200));
                bench.peer.reset();
                bench.away(500);
            }
        }
    }
}

impl Bench<'_> {
    /// Nobody there for so long; then a new speaker.
    fn away(&mut self, millis: u64) {
        std::thread::sleep(Duration::from_millis(millis));
        self.bgpd = self.net.node.start(Daemon::Bgpd);
    }

    fn crash(&mut self, millis: u64) {
        self.bgpd.kill();
        self.away(millis);
    }

    fn starve(&mut self) {
        let group = Memcg::new();
        group.take_in(self.bgpd.pid());
        group.starve();
        // The next page that it needs is its last: let it answer questions until it needs one.
        eventually(20, "the kernel kills bgpd for lack of memory", || {
            let _ = self.net.node.cli(&["-o", "json", "bgp", "routes"]);
            let running = self.bgpd.running();
            if group.kills() > 0 && !running { Ok(()) } else { Err("it lives") }
        });
        self.away(700);
    }

    fn change_version(&mut self, version: u32, readable_from: u32) {
        self.bgpd.kill();
        let files = state_file::write_version(&fds(self.keeper.pid()), version, readable_from);
        assert!(files > 0, "the keeper holds no session");
        self.away(300);
    }

    fn reload(&self) {
        self.net.reconfigure(self.plan);
        self.bgpd.signal(Signal::HUP);
        until(10, "the switch has the route that is new", || self.peer.has_route("198.18.9.0/24"));
    }

    fn crash_in_mid_message(&mut self) {
        self.peer.pause(true);
        announce_blocks(self.net);
        let mut last = 0;
        eventually(10, "the buffers towards the peer are full", || {
            std::thread::sleep(Duration::from_millis(100));
            let (_, waits) = self.net.queues();
            let full = waits > 10_000 && waits == last;
            last = waits;
            if full { Ok(()) } else { Err(format!("{waits} bytes wait")) }
        });
        self.bgpd.kill();
        std::thread::sleep(Duration::from_millis(300));
        self.peer.pause(false);
        self.away(300);
    }

    fn crash_with_unread_input(&mut self) {
        self.bgpd.signal(Signal::STOP);
        self.behind.ask("enable more_4").expect("birdc enable");
        until(10, "input waits to be read", || self.net.queues().0 > 1000);
        self.crash(500);
    }

    fn drain(&mut self) {
        self.ask(&["drain", "--wait", "1s"]);
        until(10, "the switch has lost the node's routes", || !self.peer.has_route(OURS[0]));
        self.crash(300);
        std::thread::sleep(Duration::from_secs(1));
        assert!(!self.peer.has_route(OURS[0]), "the next process does not know that it is drained");
        self.ask(&["undrain"]);
    }

    fn leave(&mut self) {
        self.ask(&["leave", "--wait", "1s"]);
        let status = self.bgpd.wait(Duration::from_secs(10));
        assert!(status.success(), "bgpd ended with {status}");
        assert_eq!(self.net.kernel(), "", "its routes are still in the kernel");
        // What was said last is acted on when the switch comes to it.
        until(10, "the switch has lost the node's routes", || !self.peer.has_route(OURS[0]));
        self.away(300);
    }

    fn ask(&self, words: &[&str]) {
        let out = self.net.node.cli(words);
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "mainstay {words:?}: {}: {said}", out.status);
    }

    /// At ten moments of a start.
    fn crash_ten_times(&mut self) {
        self.bgpd.kill();
        for n in 0..9 {
            let mut bgpd = self.net.node.begin(Daemon::Bgpd);
            std::thread::sleep(Duration::from_millis(n * 12));
            bgpd.kill();
        }
        self.away(50);
    }

    fn replace_keeper(&mut self, end: impl Fn(&mut Proc)) {
        end(&mut self.keeper);
        std::thread::sleep(Duration::from_millis(300));
        self.keeper = self.net.start_keeper();
        // The speaker finds the new one and hands its sessions over again.
        let pid = self.keeper.pid();
        eventually(10, "the new keeper holds the sessions", || {
            match state_file::session_files(&fds(pid)).len() {
                0 => Err("it holds none"),
                _ => Ok(()),
            }
        });
        self.crash(700);
    }
}

fn announce_blocks(net: &Net) {
    let batch = (0..BLOCKS).fold(String::new(), |mut text, n| {
        let [_, a, b, c] = (n << 4).to_be_bytes();
        let _ = writeln!(text, "route add blackhole 100.{}.{b}.{c}/28 proto 97", 64 + u32::from(a));
        text
    });
    let file = net.node.dir.write("blocks", &batch);
    net.node.host.ip(&format!("-batch {}", file.display()));
}

fn has_blocks(net: &Net) -> bool {
    net.node.dir.path().join("blocks").exists()
}
