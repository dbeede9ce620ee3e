use super::*;
use crate::testing::start;
use proptest::prelude::*;

const PEER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const OTHER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);

struct Link {
    discovery: Discovery,
    now: Instant,
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn port(scope: u32) -> Port {
    Port { scope, up: true, link_local: true }
}

fn advertised(lifetime: u16) -> Vec<u8> {
    let mut message = message::advertisement();
    message[6..8].copy_from_slice(&lifetime.to_be_bytes());
    message
}

fn found(address: Option<Ipv6Addr>) -> Action {
    Action::Neighbour { interface: "eth0".into(), address }
}

impl Link {
    fn new() -> Self {
        let mut link = Self { discovery: Discovery::default(), now: start() };
        link.tell(Event::Wanted(&[("eth0".to_owned(), true)].into()));
        link
    }

    fn up() -> Self {
        let mut link = Self::new();
        link.port(Some(port(7)));
        link
    }

    fn tell(&mut self, event: Event<'_>) -> Vec<Action> {
        let mut out = Vec::new();
        self.discovery.handle(event, self.now, &mut out);
        out
    }

    fn port(&mut self, port: Option<Port>) -> Vec<Action> {
        self.tell(Event::Ports(port.map(|p| ("eth0".to_owned(), p)).into_iter().collect()))
    }

    fn hear(&mut self, from: Ipv6Addr, message: &[u8]) -> Vec<Action> {
        self.tell(Event::Heard { scope: 7, from, hops: 255, message })
    }

    /// What is done until then, with the second in which it is.
    fn pass(&mut self, time: Duration) -> Vec<(u64, Action)> {
        let (began, end) = (self.now, self.now + time);
        let mut all = Vec::new();
        while let Some(at) = self.discovery.deadline().filter(|at| *at <= end) {
            self.now = at.max(self.now);
            let second = (self.now - began).as_secs();
            all.extend(self.tell(Event::Due).into_iter().map(|a| (second, a)));
        }
        self.now = end;
        all
    }
}

fn sent(actions: &[(u64, Action)], to: Ipv6Addr) -> Vec<u64> {
    let is = |a: &Action| matches!(a, Action::Send { to: there, .. } if *there == to);
    actions.iter().filter(|(_, a)| is(a)).map(|(at, _)| *at).collect()
}

#[test]
fn a_link_that_comes_up_is_told_of_us_at_once_and_then_regularly() {
    let mut link = Link::new();
    let begun = link.port(Some(port(7)));
    let interface = Action::Interface { name: "eth0".into(), index: Some(7) };
    assert_eq!(begun, [interface, Action::Join { scope: 7 }]);
    let minute = link.pass(seconds(60));
    let at = sent(&minute, ALL_NODES);
    assert_eq!(at[..3], [0, 3, 6]);
    let gaps: Vec<u64> = at[2..].windows(2).map(|w| w[1] - w[0]).collect();
    assert!(gaps.iter().all(|gap| (7..=10).contains(gap)), "{gaps:?}");
    assert_eq!(sent(&minute, ALL_ROUTERS), [0, 4, 12, 28, 60], "and routers are asked for");
}

#[test]
fn a_router_is_the_neighbour_and_nobody_is_asked_for_any_more() {
    let mut link = Link::up();
    assert_eq!(link.hear(PEER, &advertised(30)), [found(Some(PEER))]);
    assert_eq!(link.hear(PEER, &advertised(30)), [], "as before");
    assert_eq!(sent(&link.pass(seconds(50)), ALL_ROUTERS), [0; 0]);
    assert_eq!(link.discovery.lacks().next(), None);
}

#[test]
fn a_router_with_another_address_takes_the_place_of_the_one_before() {
    let mut link = Link::up();
    link.hear(PEER, &advertised(30));
    assert_eq!(link.hear(OTHER, &advertised(30)), [found(Some(OTHER))]);
}

#[test]
fn a_router_that_falls_silent_is_believed_for_its_lifetime() {
    for (lifetime, until) in [(1, 60), (90, 90), (0, 1800)] {
        let mut link = Link::up();
        link.hear(PEER, &advertised(lifetime));
        let news = link.pass(seconds(2000));
        let gone: Vec<u64> = news.iter().filter(|(_, a)| *a == found(None)).map(|n| n.0).collect();
        assert_eq!(gone, [until], "{lifetime}");
        assert!(!sent(&news, ALL_ROUTERS).is_empty(), "it is asked for again");
        assert_eq!(link.discovery.lacks().collect::<Vec<_>>(), [("eth0", Lack::Router)]);
    }
}

#[test]
fn who_asks_is_answered_at_once_but_not_faster_than_every_three_seconds() {
    let mut link = Link::up();
    link.hear(PEER, &advertised(1800));
    link.pass(seconds(61));
    let ask = message::solicitation();
    link.hear(OTHER, &ask);
    let first = sent(&link.pass(Duration::ZERO), ALL_NODES).len();
    for _ in 0..100 {
        link.hear(OTHER, &ask);
    }
    let next = sent(&link.pass(seconds(3)), ALL_NODES);
    assert!(first + next.len() <= 2, "{first} {next:?}");
    assert!(first + next.len() >= 1);
}

#[test]
fn an_interface_that_is_made_again_is_another_one() {
    let mut link = Link::up();
    link.hear(PEER, &advertised(1800));
    let gone = Action::Interface { name: "eth0".into(), index: None };
    assert_eq!(link.port(None), [gone, found(None)]);
    assert_eq!(link.discovery.lacks().collect::<Vec<_>>(), [("eth0", Lack::Interface)]);
    assert_eq!(link.discovery.deadline(), None, "nothing is tried meanwhile");
    let back = Action::Interface { name: "eth0".into(), index: Some(9) };
    assert_eq!(link.port(Some(port(9))), [back, Action::Join { scope: 9 }]);
    assert_eq!(link.hear(PEER, &advertised(1800)), [], "that was on the old one");
    assert_eq!(sent(&link.pass(Duration::ZERO), ALL_NODES), [0]);
}

#[test]
fn a_link_without_carrier_or_address_is_silent_and_keeps_its_neighbour() {
    for broken in [Port { up: false, ..port(7) }, Port { link_local: false, ..port(7) }] {
        let mut link = Link::up();
        link.hear(PEER, &advertised(1800));
        assert_eq!(link.port(Some(broken)), []);
        assert_eq!(link.pass(seconds(100)), []);
        assert_eq!(link.port(Some(port(7))), []);
        assert_eq!(sent(&link.pass(Duration::ZERO), ALL_NODES), [0]);
    }
}

#[test]
fn an_interface_of_a_numbered_peer_is_only_numbered() {
    let mut link = Link::new();
    link.tell(Event::Wanted(&[("eth0".to_owned(), false)].into()));
    assert_eq!(
        link.port(Some(port(7))),
        [Action::Interface { name: "eth0".into(), index: Some(7) }]
    );
    assert_eq!(link.hear(PEER, &advertised(30)), []);
    assert_eq!(link.pass(seconds(100)), []);
}

fn happening() -> impl Strategy<Value = (u8, u32, u8, u16, u64)> {
    (0u8..6, 1u32..3, 1u8..4, any::<u16>(), 0u64..100)
}

proptest! {
    #[test]
    fn what_the_speaker_is_told_is_what_was_heard_last_and_advertisements_keep_their_distance(
        story in prop::collection::vec(happening(), 0..60)
    ) {
        let mut link = Link::new();
        let (mut told, mut index, mut last): (Option<Ipv6Addr>, Option<u32>, Option<Instant>) =
            (None, None, None);
        for (what, scope, who, lifetime, time) in story {
            let from = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, who.into());
            let actions = match what {
                0 => link.port(None),
                1 => link.port(Some(port(scope))),
                2 => link.port(Some(Port { up: false, ..port(scope) })),
                3 => link.tell(Event::Heard { scope, from, hops: 255, message: &message::solicitation() }),
                4 => link.tell(Event::Heard { scope, from, hops: 255, message: &advertised(lifetime) }),
                _ => {
                    link.now += Duration::from_millis(time * 997);
                    link.tell(Event::Due)
                }
            };
            for action in actions {
                match action {
                    Action::Interface { index: new, .. } => {
                        prop_assert_ne!(new, index);
                        index = new;
                    }
                    Action::Neighbour { address, .. } => {
                        prop_assert_ne!(address, told);
                        told = address;
                    }
                    Action::Send { to, scope, .. } => {
                        prop_assert_eq!(Some(scope), index);
                        if to == ALL_NODES && what == 5 {
                            last = Some(link.now);
                        }
                    }
                    Action::Join { scope } => prop_assert_eq!(Some(scope), index),
                }
            }
            let known = link.discovery.lookouts["eth0"].router.map(|(address, _)| address);
            prop_assert_eq!(known, told);
            prop_assert!(last.is_none_or(|at| at <= link.now));
        }
    }
}
