//! Sessions that outlive the process.

use super::*;
use crate::event::{InstalledRoute, Resumed};
use crate::told::{Record, Said};
use crate::wire::{Capability, RefreshMark};

const V4: Family = Family::Ipv4Unicast;
const BLOCK: &str = "10.244.0.0/26";

/// What stays of a process: per session the survivor and the log, and the kernel's routes.
struct Estate {
    sessions: Vec<(u8, Resumed)>,
    installed: Vec<InstalledRoute>,
}

impl Lab {
    /// Everything that is on its way to the peer now, as bytes.
    fn bytes(&mut self, conn: ConnId) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.speaker.pull(conn, self.now, 4096, &mut bytes) {}
        bytes
    }

    /// What is left of a session with 192.0.2.`n` and this log.
    fn leave(&self, n: u8, conn: ConnId, log: Vec<Record>) -> (u8, Resumed) {
        let survivor = self.speaker.survivor(conn).unwrap();
        let (open_sent, open_received) = (survivor.open_sent, survivor.open_received);
        let (age, silent) = (seconds(1000), seconds(3));
        let heard = self.speaker.log(conn).into_iter().filter(|r| matches!(r, Record::Heard(_)));
        let log = log.into_iter().chain(heard).collect();
        (n, Resumed { link: link(n), open_sent, open_received, age, silent, log })
    }

    /// The next process, with the given blocks, told of everything in the shell's order.
    fn succeed(config: SpeakerConfig, estate: Estate, blocks: &[&str]) -> (Self, Vec<ConnId>) {
        let how = Start::again(true);
        let now = start() + seconds(500);
        let speaker = Speaker::new(config, how, now);
        let mut lab = Self { speaker, now, actions: Vec::new(), next_conn: 0 };
        lab.tell(Event::Adopted(estate.installed));
        lab.tell(Event::Blocks(blocks.iter().map(|b| prefix(b)).collect()));
        let mut conns = Vec::new();
        for (_, session) in estate.sessions {
            lab.next_conn += 1;
            let conn = ConnId(lab.next_conn);
            lab.tell(Event::Resumed { conn, session: Box::new(session) });
            conns.push(conn);
        }
        (lab, conns)
    }

    fn mark(&mut self, conn: ConnId, mark: RefreshMark) {
        self.receive(conn, |out| wire::refresh_mark(V4.into(), mark, out));
    }
}

fn route(p: &str, via: u8) -> InstalledRoute {
    InstalledRoute {
        prefix: prefix(p),
        next_hops: vec![NextHop::V4([192, 0, 2, via].into()).into()],
    }
}

/// AS 64512 with these peers, of which everything is let in and passed on.
fn open_config(peers: &[(u8, u32)]) -> SpeakerConfig {
    let mut config = config(peers);
    for peer in &mut config.peers {
        peer.session.export = crate::config::PolicyName::All;
        peer.session.import = crate::config::PolicyName::All;
    }
    config
}

/// One peer that was told [`BLOCK`] and has told 10.1.0.0/16, in a process that is gone.
fn orphan() -> Estate {
    let mut lab = Lab::new(open_config(&[(1, 65001)]));
    lab.tell(Event::Blocks([prefix(BLOCK)].into()));
    let conn = lab.establish(1, 65001);
    lab.announce(conn, &[65001], 1, &["10.1.0.0/16"]);
    let sent = lab.bytes(conn);
    let session = lab.leave(1, conn, vec![Record::Sent(sent)]);
    Estate { sessions: vec![session], installed: vec![route("10.1.0.0/16", 1)] }
}

#[test]
fn a_session_goes_on_and_nothing_is_said() {
    let (mut lab, conns) = Lab::succeed(open_config(&[(1, 65001)]), orphan(), &[BLOCK]);
    let peer = lab.peer(1);
    assert_eq!((peer.state, peer.in_state), ("Established", seconds(1000)));
    assert_eq!(peer.hold_time, seconds(90));
    assert!(peer.families.iter().all(|f| f.eor_sent), "the EoR was sent before");
    assert_eq!((peer.families[0].advertised, peer.families[0].accepted), (1, 1));
    assert_eq!(lab.sent(conns[0]), Vec::<String>::new());
    assert_eq!(lab.fib(), Vec::<String>::new());
    assert!(lab.actions.contains(&Action::Established { conn: conns[0] }), "held again");
    assert!(lab.reports().contains(&Report::Restarted), "nobody is waited for");
    lab.withdraw(conns[0], &["10.1.0.0/16"]);
    assert_eq!(lab.fib(), ["10.1.0.0/16 gone"]);
}

/// What decides whether a log is worth writing anew.
#[test]
fn a_table_that_grows_outdates_nothing_and_one_that_changes_does() {
    let mut lab = Lab::new(open_config(&[(1, 65001)]));
    lab.tell(Event::Blocks([prefix(BLOCK)].into()));
    let conn = lab.establish(1, 65001);
    lab.announce(conn, &[65001], 1, &["10.1.0.0/16", "10.2.0.0/16"]);
    lab.bytes(conn);
    assert_eq!(lab.speaker.said(conn), Said { routes: 3, outdated: 0 }, "two heard, one told");
    lab.announce(conn, &[65001, 65009], 1, &["10.1.0.0/16"]);
    assert_eq!(lab.speaker.said(conn), Said { routes: 3, outdated: 1 });
    lab.tell(Event::Blocks([].into()));
    lab.bytes(conn);
    assert_eq!(lab.speaker.said(conn), Said { routes: 2, outdated: 2 });
}

#[test]
fn what_no_log_knows_of_leaves_the_kernel() {
    let mut estate = orphan();
    estate.installed.push(route("10.9.0.0/16", 1));
    let (mut lab, _) = Lab::succeed(open_config(&[(1, 65001)]), estate, &[BLOCK]);
    assert_eq!(lab.fib(), ["10.9.0.0/16 gone"]);
    assert!(lab.reports().iter().any(|r| matches!(r, Report::FibSwept { routes: 1, .. })));
}

#[test]
fn a_second_crash_in_the_middle_of_a_restart_still_waits_for_the_end_of_rib() {
    let mut lab = Lab::starting(open_config(&[(1, 65001)]), Start::again(true));
    let conn = lab.establish(1, 65001);
    lab.announce(conn, &[65001], 1, &["10.1.0.0/16"]);
    let sent = lab.bytes(conn);
    let sessions = vec![lab.leave(1, conn, vec![Record::Sent(sent)])];
    let installed = vec![route("10.1.0.0/16", 1), route("10.2.0.0/16", 1)];
    let estate = Estate { sessions, installed };
    let (mut lab, conns) = Lab::succeed(open_config(&[(1, 65001)]), estate, &[]);
    assert_eq!(lab.fib(), Vec::<String>::new());
    lab.receive(conns[0], |out| wire::end_of_rib(V4, out));
    assert_eq!(lab.fib(), ["10.2.0.0/16 gone"]);
}

#[test]
fn a_refresh_of_the_peers_that_was_under_way_ends_where_it_should() {
    let mut lab = Lab::new(open_config(&[(1, 65001)]));
    let conn = lab.establish(1, 65001);
    lab.announce(conn, &[65001], 1, &["10.1.0.0/16", "10.2.0.0/16"]);
    lab.receive(conn, |out| wire::end_of_rib(V4, out));
    lab.mark(conn, RefreshMark::Begin);
    lab.announce(conn, &[65001], 1, &["10.1.0.0/16"]);
    let sessions = vec![lab.leave(1, conn, Vec::new())];
    let installed = vec![route("10.1.0.0/16", 1), route("10.2.0.0/16", 1)];
    let estate = Estate { sessions, installed };
    let (mut lab, conns) = Lab::succeed(open_config(&[(1, 65001)]), estate, &[]);
    assert_eq!(lab.peer(1).families[0].received, 2);
    assert_eq!(lab.fib(), Vec::<String>::new());
    lab.mark(conns[0], RefreshMark::End);
    assert_eq!(lab.fib(), ["10.2.0.0/16 gone"]);
}

#[test]
fn only_what_has_changed_is_told() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let blocks = ["10.244.0.0/26", "10.244.0.64/26"].map(prefix);
    lab.tell(Event::Blocks(blocks.into()));
    let conn = lab.establish(1, 65001);
    let sent = lab.bytes(conn);
    let sessions = vec![lab.leave(1, conn, vec![Record::Sent(sent)])];
    let estate = Estate { sessions, installed: Vec::new() };
    let now = ["10.244.0.64/26", "10.244.0.128/26"];
    let (mut lab, conns) = Lab::succeed(config(&[(1, 65001)]), estate, &now);
    let said = lab.sent(conns[0]);
    assert_eq!(said, ["+10.244.0.128/26 [64512]", "-10.244.0.0/26"]);
}

#[test]
fn what_the_process_was_about_to_say_is_said_and_its_own_log_is_enough() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let many: Vec<String> = (0..200).map(|n| format!("10.244.{n}.0/26")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    lab.tell(Event::Blocks(many.iter().map(|b| prefix(b)).collect()));
    lab.tell(Event::Configure(Box::new(SpeakerConfig {
        originate: vec![prefix("2001:db8:1::/48")],
        ..config(&[(1, 65001)])
    })));
    let conn = lab.establish(1, 65001);
    // The OPEN and a little more; the rest is grouped, and waits.
    let mut bytes = Vec::new();
    assert!(lab.speaker.pull(conn, lab.now, 100, &mut bytes));
    let told = lab.speaker.log(conn);
    assert!(told.iter().any(|r| matches!(r, Record::Unsure(_))), "{told:?}");
    let sessions = vec![lab.leave(1, conn, told)];
    let estate = Estate { sessions, installed: Vec::new() };
    let (mut lab, conns) = Lab::succeed(config(&[(1, 65001)]), estate, &many);
    let said = lab.sent(conns[0]);
    let come: usize = said.iter().map(|s| s.matches('+').count()).sum();
    let gone: usize = said.iter().map(|s| s.matches('-').count()).sum();
    assert!(come >= 1 && gone >= 1, "{said:?}");
    let told = lab.peer(1).families.iter().map(|f| f.advertised).sum::<usize>();
    assert_eq!(told, 200, "and the IPv6 route is taken back, told or not");
}

#[test]
fn a_route_of_a_peer_that_has_not_told_its_routes_again_is_not_taken_back() {
    let peers = [(1, 65001), (2, 65002)];
    let mut lab = Lab::new(open_config(&peers));
    let (from, to) = (lab.establish(1, 65001), lab.establish(2, 65002));
    lab.announce(from, &[65001], 1, &["10.1.0.0/16", "10.2.0.0/16"]);
    let sent = lab.bytes(to);
    // The other session is lost: graceful restart brings its routes back.
    let sessions = vec![lab.leave(2, to, vec![Record::Sent(sent)])];
    let installed = vec![route("10.1.0.0/16", 1), route("10.2.0.0/16", 1)];
    let estate = Estate { sessions, installed };
    let (mut lab, conns) = Lab::succeed(open_config(&peers), estate, &[]);
    assert_eq!(lab.sent(conns[0]), Vec::<String>::new());
    let from = lab.establish(1, 65001);
    lab.announce(from, &[65001], 1, &["10.1.0.0/16"]);
    assert_eq!(lab.sent(conns[0]), Vec::<String>::new(), "as it was told");
    lab.receive(from, |out| wire::end_of_rib(V4, out));
    assert_eq!(lab.sent(conns[0]), ["-10.2.0.0/16"]);
    assert_eq!(lab.fib(), ["10.2.0.0/16 gone"]);
}

#[test]
fn a_refresh_that_was_cut_short_is_begun_again() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    lab.tell(Event::Blocks([prefix(BLOCK)].into()));
    let conn = lab.establish(1, 65001);
    let mut sent = lab.bytes(conn);
    wire::refresh_mark(V4.into(), RefreshMark::Begin, &mut sent);
    let sessions = vec![lab.leave(1, conn, vec![Record::Sent(sent)])];
    let estate = Estate { sessions, installed: Vec::new() };
    let (mut lab, conns) = Lab::succeed(config(&[(1, 65001)]), estate, &[BLOCK]);
    let said = lab.sent(conns[0]);
    let again = ["BoRR ipv4-unicast", "+10.244.0.0/26 [64512]", "EoRR ipv4-unicast"];
    assert!(said.ends_with(&again.map(String::from)), "{said:?}");
}

#[test]
fn a_refresh_without_marks_is_answered_once_over_all_processes() {
    let owed = || Record::refresh_owed(V4);
    let mut open = offer(1, 65001).message();
    open.capabilities.retain(|c| *c != Capability::EnhancedRouteRefresh);
    let mut lab = Lab::new(open_config(&[(1, 65001)]));
    lab.tell(Event::Blocks([prefix(BLOCK)].into()));
    let conn = lab.establish_as(1, &open);
    let sent = Record::Sent(lab.bytes(conn));
    assert_eq!(lab.speaker.refreshed(conn), []);
    lab.receive(conn, |out| wire::route_refresh(V4.into(), out));
    assert_eq!(lab.speaker.refreshed(conn), [], "not told yet");
    let Some(Record::Sent(whole)) = lab.speaker.log(conn).into_iter().next() else { panic!() };
    let Record::Sent(mark) = owed() else { panic!() };
    assert!(whole.windows(mark.len()).any(|w| w == mark), "a log written anew owes it too");
    let estate =
        |lab: &Lab, log| Estate { sessions: vec![lab.leave(1, conn, log)], installed: vec![] };
    // This process dies of it, the next one answers ...
    let (mut lab, _) = Lab::succeed(
        open_config(&[(1, 65001)]),
        estate(&lab, vec![sent.clone(), owed()]),
        &[BLOCK],
    );
    let again = Record::Sent(lab.bytes(conn));
    assert!(matches!(&again, Record::Sent(bytes) if !bytes.is_empty()));
    assert_eq!((lab.speaker.refreshed(conn), lab.speaker.refreshed(conn)), (vec![V4], vec![]));
    // ... and the one after that has nothing to say.
    let log = vec![sent, owed(), again, Record::refresh_answered(V4)];
    let (mut lab, _) = Lab::succeed(open_config(&[(1, 65001)]), estate(&lab, log), &[BLOCK]);
    assert_eq!(lab.sent(conn), [""; 0]);
}

#[test]
fn a_session_that_the_configuration_no_longer_wants_is_told_so() {
    let refused = |config: SpeakerConfig| {
        let (mut lab, conns) = Lab::succeed(config, orphan(), &[BLOCK]);
        assert!(lab.actions.contains(&Action::Close { conn: conns[0] }));
        assert!(lab.reports().iter().any(|r| matches!(r, Report::NotResumed { .. })));
        lab.sent(conns[0])
    };
    assert_eq!(refused(config(&[(2, 65002)])), ["NOTIFICATION 6/3"]);
    assert_eq!(refused(config(&[(1, 65009)])), ["NOTIFICATION 6/6"]);
    let mut other = config(&[(1, 65001)]);
    other.router_id = router_id(99);
    assert_eq!(refused(other), ["NOTIFICATION 6/6"]);
    let mut fewer = config(&[(1, 65001)]);
    fewer.peers[0].session.families = vec![V4];
    assert_eq!(refused(fewer), ["NOTIFICATION 6/6"]);
}

#[test]
fn a_session_whose_state_cannot_be_read_ends_without_a_word_and_the_others_go_on() {
    let mut estate = orphan();
    let mut damaged = estate.sessions[0].1.clone();
    damaged.log.push(Record::Heard(vec![7; 30]));
    let mut other = orphan().sessions.remove(0).1;
    other.link = link(2);
    other.open_received.clear();
    wire::open(&offer(2, 65002).message(), &mut other.open_received);
    estate.sessions = vec![(1, damaged), (2, other)];
    let (mut lab, conns) = Lab::succeed(config(&[(1, 65001), (2, 65002)]), estate, &[BLOCK]);
    assert_eq!(lab.sent(conns[0]), Vec::<String>::new());
    assert!(lab.actions.contains(&Action::Close { conn: conns[0] }));
    assert_eq!((lab.peer(1).state, lab.peer(2).state), ("Active", "Established"));
    let mut deaf = orphan();
    deaf.sessions[0].1.log.retain(|r| matches!(r, Record::Sent(_)));
    let (lab, conns) = Lab::succeed(config(&[(1, 65001)]), deaf, &[BLOCK]);
    assert!(lab.actions.contains(&Action::Close { conn: conns[0] }), "without what was heard");
}

#[test]
fn only_a_session_that_is_up_is_a_survivor() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let conn = lab.accept(1);
    let mut open = offer(1, 65001).message();
    open.capabilities.retain(|c| *c != Capability::RouteRefresh);
    lab.receive(conn, |out| wire::open(&open, out));
    assert!(lab.speaker.survivor(conn).is_err());
    lab.receive(conn, wire::keepalive);
    assert!(lab.speaker.survivor(conn).is_ok(), "whatever the peer is able to");
}

#[test]
fn a_session_that_is_left_to_the_keeper_hears_nothing_of_our_end() {
    let mut lab = Lab::new(config(&[(1, 65001), (2, 65002)]));
    let (held, other) = (lab.establish(1, 65001), lab.establish(2, 65002));
    lab.announce(held, &[65001], 1, &["0.0.0.0/0"]);
    lab.sent(held);
    lab.fib();
    lab.reports();
    lab.tell(Event::Left { conn: held });
    lab.tell(Event::Stop);
    assert!(!lab.actions.contains(&Action::Close { conn: held }));
    assert!(lab.actions.contains(&Action::Close { conn: other }));
    assert_eq!(lab.sent(held), Vec::<String>::new());
    assert_eq!(lab.fib(), Vec::<String>::new());
    let downs = lab.reports().into_iter().filter(|r| matches!(r, Report::PeerDown { .. })).count();
    assert_eq!(downs, 1, "the other one's");
}

#[test]
fn the_hold_time_counts_from_what_was_heard_last() {
    let (mut lab, _) = Lab::succeed(config(&[(1, 65001)]), orphan(), &[BLOCK]);
    lab.pass(seconds(86));
    assert_eq!(lab.peer(1).state, "Established");
    lab.pass(seconds(1));
    assert_ne!(lab.peer(1).state, "Established");
}

mod crashes {
    //! Processes that end at any moment, one after the other: what the peer holds in the end is
    //! what the last one announces, and nothing that never changed was ever touched.

    use super::*;
    use crate::wire::RefreshMark::{Begin, End};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Debug, Clone)]
    enum Deed {
        /// Another set of blocks, of ten.
        Blocks(u16),
        /// The kernel takes so much.
        Send(usize),
        /// The peer wants everything again.
        Refresh,
        /// The peer has another set of routes.
        Hear(u16),
        /// The peer tells everything again, as far as here.
        Retell(bool),
        /// The log is written anew.
        Shorten,
        /// The process ends, with this much of its last batch in the log.
        Crash,
    }

    fn deed() -> impl Strategy<Value = Deed> {
        prop_oneof![
            3 => (0..1024u16).prop_map(Deed::Blocks),
            4 => (1..400usize).prop_map(Deed::Send),
            1 => Just(Deed::Refresh),
            3 => (0..1024u16).prop_map(Deed::Hear),
            1 => any::<bool>().prop_map(Deed::Retell),
            1 => Just(Deed::Shorten),
            2 => Just(Deed::Crash),
        ]
    }

    /// The first is always there: it must never be seen to move.
    fn blocks(bits: u16) -> Vec<String> {
        let chosen = (0..10).filter(|n| *n == 0 || bits >> n & 1 == 1);
        chosen.map(|n| format!("10.244.{n}.0/26")).collect()
    }

    /// One of the peer's routes.
    fn route_of(n: u16) -> Prefix {
        prefix(&format!("10.{n}.0.0/16"))
    }

    /// The peer: its Adj-RIB-In as RFC 7313 has it, and what happened to the first block.
    #[derive(Default)]
    struct Other {
        holds: BTreeMap<Prefix, bool>,
        refreshing: bool,
        moved: usize,
    }

    impl Other {
        fn hear(&mut self, bytes: &[u8]) {
            let first = prefix("10.244.0.0/26");
            let mut framer = Framer::new();
            framer.push(bytes);
            while let Some(frame) = framer.next().unwrap() {
                let had = self.holds.contains_key(&first);
                match wire::decode(frame, &OTHER_SIDE).unwrap() {
                    Message::Update(update) => {
                        for prefix in update.withdrawn.iter().flatten().flat_map(|w| w.nlri) {
                            self.holds.remove(&prefix);
                        }
                        for prefix in update.announced.iter().flatten().flat_map(|a| a.nlri) {
                            self.holds.insert(prefix, true);
                        }
                    }
                    Message::RefreshMark(_, Begin) => {
                        self.refreshing = true;
                        self.holds.values_mut().for_each(|fresh| *fresh = false);
                    }
                    Message::RefreshMark(_, End) => {
                        assert!(self.refreshing, "an EoRR without BoRR");
                        self.refreshing = false;
                        self.holds.retain(|_, fresh| *fresh);
                    }
                    _ => {}
                }
                self.moved += usize::from(had && !self.holds.contains_key(&first));
            }
        }
    }

    struct World {
        lab: Lab,
        conn: ConnId,
        log: Vec<Record>,
        other: Other,
        bits: u16,
        theirs: u16,
    }

    impl World {
        fn new() -> Self {
            let mut lab = Lab::new(open_config(&[(1, 65001)]));
            lab.tell(Event::Blocks(blocks(0).iter().map(|b| prefix(b)).collect()));
            let conn = lab.establish(1, 65001);
            let log = lab.speaker.log(conn);
            let mut world = Self { lab, conn, log, other: Other::default(), bits: 0, theirs: 0 };
            world.send(usize::MAX);
            world
        }

        /// In the ring first, then in the log, then to the peer.
        fn send(&mut self, room: usize) -> bool {
            let mut bytes = Vec::new();
            let more = self.lab.speaker.pull(self.conn, self.lab.now, room.min(4096), &mut bytes);
            self.other.hear(&bytes);
            self.log.push(Record::Sent(bytes));
            more
        }

        /// In the log before it counts.
        fn hear(&mut self, write: impl Fn(&mut Vec<u8>)) {
            let mut bytes = Vec::new();
            write(&mut bytes);
            self.lab.tell(Event::Received { conn: self.conn, bytes: &bytes });
            self.log.push(Record::Heard(bytes));
        }

        fn announce(&mut self, bits: u16) {
            let attrs = attributes(&[65001], 1);
            let (come, gone): (Vec<u16>, Vec<u16>) = (0..10).partition(|n| bits >> n & 1 == 1);
            let them = |of: Vec<u16>| of.iter().map(|n| route_of(*n)).collect::<Vec<Prefix>>();
            let (come, gone) = (them(come), them(gone));
            self.hear(|out| {
                wire::announce(&OTHER_SIDE, V4, &attrs, &come, out);
                wire::withdraw(&OTHER_SIDE, V4, &gone, out);
            });
            self.theirs = bits;
        }

        fn crash(&mut self) {
            let survivor = self.lab.speaker.survivor(self.conn).unwrap();
            let (open_sent, open_received) = (survivor.open_sent, survivor.open_received);
            let (age, silent) = (seconds(9), seconds(1));
            // The process died before what it had applied last counted as applied.
            let mut log = self.log.clone();
            let last = log.iter().rev().find(|r| matches!(r, Record::Heard(_))).cloned();
            log.extend(last);
            let session = Resumed { link: link(1), open_sent, open_received, age, silent, log };
            let installed = (0..10).filter(|n| self.theirs >> n & 1 == 1);
            let installed = installed.map(|n| route(&route_of(n).to_string(), 1)).collect();
            let estate = Estate { sessions: vec![(1, session)], installed };
            let wanted = blocks(self.bits);
            let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
            let (mut lab, conns) = Lab::succeed(open_config(&[(1, 65001)]), estate, &wanted);
            assert_eq!(lab.peer(1).state, "Established", "{:?}", lab.reports());
            assert_eq!(lab.fib(), Vec::<String>::new(), "the kernel sees nothing");
            (self.lab, self.conn) = (lab, conns[0]);
        }

        fn act(&mut self, deed: Deed) {
            match deed {
                Deed::Blocks(bits) => {
                    self.bits = bits;
                    let wanted = blocks(bits).iter().map(|b| prefix(b)).collect();
                    self.lab.tell(Event::Blocks(wanted));
                }
                Deed::Send(room) => drop(self.send(room)),
                Deed::Refresh => {
                    self.lab.receive(self.conn, |out| wire::route_refresh(V4.into(), out));
                }
                Deed::Hear(bits) => self.announce(bits),
                Deed::Retell(all) => {
                    self.hear(|out| wire::refresh_mark(V4.into(), Begin, out));
                    self.announce(self.theirs);
                    if all {
                        self.hear(|out| wire::refresh_mark(V4.into(), End, out));
                    }
                }
                Deed::Shorten => self.log = self.lab.speaker.log(self.conn),
                Deed::Crash => self.crash(),
            }
        }
    }

    proptest! {
        #[test]
        fn whenever_processes_end_the_peer_holds_what_the_last_one_announces(
            deeds in prop::collection::vec(deed(), 1..40),
        ) {
            let mut world = World::new();
            for deed in deeds {
                world.act(deed);
            }
            world.crash();
            while world.send(usize::MAX) {}
            let holds: Vec<String> = world.other.holds.keys().map(ToString::to_string).collect();
            let mut wanted = blocks(world.bits);
            wanted.sort_by_key(|b| prefix(b));
            prop_assert_eq!(holds, wanted);
            prop_assert_eq!(world.other.moved, 0);
            prop_assert!(!world.other.refreshing);
            let theirs = (0..10).filter(|n| world.theirs >> n & 1 == 1);
            let known = world.lab.table(RibKind::AdjIn, Some("p1"), None);
            let known: Vec<Prefix> = known.iter().map(|r| r.prefix).collect();
            prop_assert_eq!(known, theirs.map(route_of).collect::<Vec<_>>());
        }
    }
}
