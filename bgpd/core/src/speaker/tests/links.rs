//! Peers by link-local addresses, and those that nobody has written an address of.

use super::*;
use crate::event::{InstalledRoute, Path as BfdPath};
use crate::types::{Gateway, PeerAs};
use std::net::{Ipv6Addr, SocketAddrV6};

const FIRST: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const SECOND: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
const NET: &str = "2001:db8:51::/48";

fn name(scope: u32) -> String {
    format!("eth{scope}")
}

/// eth`scope` has that number.
fn on(address: Ipv6Addr, scope: u32) -> Link {
    let own = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0xff);
    Link {
        local: SocketAddrV6::new(own, 40000, 0, scope).into(),
        remote: SocketAddrV6::new(address, 179, 0, scope).into(),
        ipv4: None,
        ipv6: None,
        ipv6_link_local: Some(own),
        interface: Some(name(scope)),
        scope,
    }
}

/// `p1` on eth1, `p2` on eth2, of whichever AS.
fn fabric() -> SpeakerConfig {
    let mut config = config(&[]);
    for n in [1, 2] {
        let mut peer = peer_config(n, 0);
        peer.address = Ipv6Addr::UNSPECIFIED.into();
        peer.interface = Some(name(n.into()));
        peer.session.asn = PeerAs::External;
        config.peers.push(peer);
    }
    config
}

impl Lab {
    fn fabric() -> Self {
        let mut lab = Self::new(fabric());
        for scope in [1, 2] {
            lab.tell(Event::Interface { name: name(scope), index: Some(scope) });
        }
        lab
    }

    fn meets(&mut self, scope: u32, address: Option<Ipv6Addr>) {
        self.tell(Event::Neighbour { interface: name(scope), address });
        self.tell(Event::Due);
    }

    fn opens(&mut self, conn: ConnId, n: u8, asn: u32) {
        self.receive(conn, |out| {
            wire::open(&offer(n, asn).message(), out);
            wire::keepalive(out);
        });
    }

    /// A session that the speaker has dialled.
    fn dials(&mut self, address: Ipv6Addr, scope: u32, asn: u32) -> ConnId {
        self.meets(scope, Some(address));
        let conn = self.dialled().expect("it dials");
        self.tell(Event::Connected { conn, link: on(address, scope) });
        self.opens(conn, u8::try_from(scope).unwrap(), asn);
        self.sent(conn);
        conn
    }

    fn called(&self, name: &str) -> PeerView {
        self.speaker.peers(self.now).into_iter().find(|p| p.name == name).unwrap()
    }

    fn tells(&mut self, conn: ConnId, asn: u32, address: Ipv6Addr) {
        let next_hop = NextHop::V6 { global: address, link_local: Some(address) };
        let attrs = Attributes { next_hop, ..attributes(&[asn], 1) };
        self.receive(conn, |out| {
            wire::announce(&OTHER_SIDE, Family::Ipv6Unicast, &attrs, &[prefix(NET)], out);
        });
    }
}

#[test]
fn whoever_is_found_on_the_link_is_dialled_and_says_its_as_itself() {
    let mut lab = Lab::fabric();
    lab.tell(Event::Due);
    assert_eq!(lab.dialled(), None, "there is nobody to dial");
    assert!(lab.called("p1").address.is_unspecified());
    lab.dials(FIRST, 1, 65001);
    let peer = lab.called("p1");
    assert_eq!((peer.state, peer.remote_asn), ("Established", Asn(65001)));
    assert_eq!((peer.address, peer.interface.as_deref()), (FIRST.into(), Some("eth1")));
    assert_eq!(lab.called("p2").state, "Active");
}

#[test]
fn external_is_any_as_but_ours() {
    let mut lab = Lab::fabric();
    lab.meets(1, Some(FIRST));
    let conn = lab.dialled().unwrap();
    lab.tell(Event::Connected { conn, link: on(FIRST, 1) });
    lab.opens(conn, 1, 64512);
    assert_eq!(lab.sent(conn).last().unwrap(), "NOTIFICATION 2/2");
}

#[test]
fn the_same_address_on_two_links_is_two_peers_and_two_next_hops() {
    let mut lab = Lab::fabric();
    let left = lab.dials(FIRST, 1, 65001);
    let right = lab.dials(FIRST, 2, 65002);
    lab.fib();
    lab.tells(left, 65001, FIRST);
    lab.tells(right, 65002, FIRST);
    let all = lab.fib();
    assert_eq!(all.last().unwrap(), &format!("{NET} via fe80::1%1 fe80::1%2"));
    assert_eq!(lab.speaker.find_peer("fe80::1%eth2"), lab.speaker.find_peer("p2"));
    let path = BfdPath::Down { independent: true, why: "gone".into() };
    lab.tell(Event::Path { peer: FIRST.into(), interface: Some("eth1".into()), path });
    assert_eq!(lab.fib(), [format!("{NET} via fe80::1%2")]);
    assert_eq!(lab.called("p2").state, "Established");
}

#[test]
fn a_session_that_lives_is_not_given_up_for_what_the_link_says() {
    let mut lab = Lab::fabric();
    let conn = lab.dials(FIRST, 1, 65001);
    lab.meets(1, None);
    lab.meets(1, Some(SECOND));
    assert_eq!(lab.called("p1").state, "Established");
    assert_eq!(lab.called("p1").address, IpAddr::V6(FIRST));
    lab.tell(Event::Closed { conn, why: "closed by the peer".into() });
    assert_eq!(lab.called("p1").address, IpAddr::V6(SECOND));
    lab.tell(Event::Due);
    let to = lab.actions.iter().rev().find_map(|a| match a {
        Action::Connect { remote, interface, .. } => Some((remote.ip(), interface.clone())),
        _ => None,
    });
    assert_eq!(to, Some((SECOND.into(), Some("eth1".into()))), "it is dialled at once");
}

#[test]
fn a_dial_to_who_was_there_is_given_up_for_who_is_there_now() {
    let mut lab = Lab::fabric();
    lab.meets(1, Some(FIRST));
    let first = lab.dialled().unwrap();
    lab.meets(1, Some(SECOND));
    assert!(lab.actions.contains(&Action::Close { conn: first }));
    assert_ne!(lab.dialled(), Some(first));
    lab.meets(1, None);
    assert!(lab.called("p1").address.is_unspecified());
}

#[test]
fn a_peer_that_dials_first_is_let_in_before_the_link_has_named_it() {
    let mut lab = Lab::fabric();
    let conn = ConnId(1);
    lab.tell(Event::Accepted { conn, link: on(SECOND, 2) });
    lab.opens(conn, 2, 65002);
    let peer = lab.called("p2");
    assert_eq!((peer.state, peer.address), ("Established", SECOND.into()));
    let stranger = ConnId(2);
    lab.tell(Event::Accepted { conn: stranger, link: on(SECOND, 3) });
    assert!(lab.actions.contains(&Action::Close { conn: stranger }), "nobody is expected there");
}

#[test]
fn sessions_end_with_their_interface_and_not_with_those_of_others() {
    let mut lab = Lab::fabric();
    let left = lab.dials(FIRST, 1, 65001);
    lab.dials(FIRST, 2, 65002);
    lab.tell(Event::Interface { name: "eth1".into(), index: None });
    assert!(lab.actions.contains(&Action::Close { conn: left }));
    assert_ne!(lab.called("p1").state, "Established");
    assert_eq!(
        lab.called("p1").last_error.as_deref(),
        Some("connection closed: the interface eth1 is gone")
    );
    assert_eq!(lab.called("p2").state, "Established");
    lab.tell(Event::Interface { name: "eth2".into(), index: Some(2) });
    assert_eq!(lab.called("p2").state, "Established", "nothing has changed there");
}

#[test]
fn what_the_kernel_holds_is_awaited_from_the_peer_of_its_link() {
    let hop = NextHop::V6 { global: FIRST, link_local: Some(FIRST) };
    let route = InstalledRoute {
        prefix: prefix(NET),
        next_hops: vec![Gateway::on(hop, 1), Gateway::on(hop, 2)],
    };
    let mut lab = Lab {
        speaker: Speaker::new(fabric(), Start::again(true), start()),
        now: start(),
        actions: Vec::new(),
        next_conn: 0,
    };
    for scope in [1, 2] {
        lab.tell(Event::Interface { name: name(scope), index: Some(scope) });
    }
    lab.tell(Event::Adopted(vec![route]));
    lab.tell(Event::Blocks(BTreeSet::new()));
    let left = lab.dials(FIRST, 1, 65001);
    for family in Family::ALL {
        lab.receive(left, |out| wire::end_of_rib(family, out));
    }
    assert_eq!(lab.fib(), [format!("{NET} via fe80::1%2")], "the other has not spoken yet");
}

#[test]
fn an_internal_peer_on_a_link_without_addresses_is_told_the_link_local_one() {
    let mut config = fabric();
    config.peers[0].session.asn = Asn(64512).into();
    config.originate = vec![prefix("2001:db8:7::/48")];
    let mut lab = Lab::new(config);
    lab.meets(1, Some(FIRST));
    let conn = lab.dialled().unwrap();
    lab.tell(Event::Connected { conn, link: on(FIRST, 1) });
    lab.opens(conn, 1, 64512);
    let told = lab.sent_inside(conn);
    assert!(told.iter().any(|said| said.starts_with("+2001:db8:7::/48")), "{told:?}");
}
