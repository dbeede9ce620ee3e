//! What we put into an OPEN, and what the two OPENs make of each other (RFC 4271 §4.2, §6.2;
//! RFC 5492).

use crate::config::AddPaths;
use crate::options::Options;
use crate::role;
use crate::types::{Asn, Family, PeerAs, RouterId};
use crate::wire::{
    AddPathsFamily, Capability, Context, ExtendedNextHop, GracefulFamily, GracefulRestart,
    LongLivedFamily, Notification, Open, PathIds, cease,
};
use std::time::Duration;

/// Our side of a session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Offer {
    pub(crate) asn: Asn,
    pub(crate) router_id: RouterId,
    pub(crate) peer_as: PeerAs,
    pub(crate) hold_time: Duration,
    pub(crate) families: Vec<Family>,
    pub(crate) restart: Option<RestartOffer>,
    pub(crate) options: Options,
    /// Several paths a prefix, in and out (RFC 7911).
    pub(crate) add_paths: AddPaths,
}

/// What we may truthfully say of ourselves (RFC 4724 §3, §4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RestartOffer {
    pub(crate) time: Duration,
    pub(crate) restarting: bool,
    pub(crate) forwarding: bool,
    /// The N bit (RFC 8538 §2).
    pub(crate) notification: bool,
    /// Zero: the capability is not sent (RFC 9494 §3.1).
    pub(crate) long_lived: Duration,
}

/// What holds for this session.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Agreed {
    pub(crate) router_id: RouterId,
    /// Zero: neither side sends KEEPALIVEs.
    pub(crate) hold_time: Duration,
    pub(crate) families: Vec<Family>,
    pub(crate) context: Context,
    /// The peer answers ROUTE-REFRESH.
    pub(crate) refresh: bool,
    /// Both sides mark where the answer begins and ends (RFC 7313).
    pub(crate) enhanced_refresh: bool,
    /// What the peer says of its restarts, if both sides have the capability.
    pub(crate) restart: Option<PeerRestart>,
    /// What the peer said.
    pub(crate) theirs: Open,
}

/// RFC 4724 §3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerRestart {
    pub(crate) time: Duration,
    pub(crate) restarting: bool,
    /// Both sides have the N bit (RFC 8538 §2).
    pub(crate) notification: bool,
    /// With the F bit.
    pub(crate) families: Vec<(Family, bool)>,
    /// Where both sides have the capability.
    pub(crate) long_lived: Vec<LongLived>,
}

/// RFC 9494 §3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LongLived {
    pub(crate) family: Family,
    pub(crate) forwarding: bool,
    /// As the peer asks; never zero.
    pub(crate) stale_time: Duration,
}

impl Agreed {
    /// RFC 4271 §10 suggests a third of the hold time. Without jitter: the peers of a node come up
    /// at different times anyway.
    pub(crate) fn keepalive(&self) -> Duration {
        self.hold_time / 3
    }

    /// Families whose routes outlive a silent end of this session.
    pub(crate) fn survives(&self, family: Family) -> bool {
        self.restart.as_ref().is_some_and(|r| {
            r.families.iter().any(|(f, _)| *f == family)
                || r.long_lived.iter().any(|l| l.family == family)
        })
    }

    /// The peer has kept forwarding for this family.
    pub(crate) fn kept_forwarding(&self, family: Family) -> bool {
        self.restart.as_ref().is_some_and(|r| r.families.contains(&(family, true)))
    }

    /// The same for what has been stale for long (RFC 9494 §4.2).
    pub(crate) fn kept_long_lived(&self, family: Family) -> bool {
        let families = self.restart.as_ref().map(|r| r.long_lived.as_slice()).unwrap_or_default();
        families.iter().any(|l| l.family == family && l.forwarding)
    }

    /// Both sides keep routes across NOTIFICATIONs (RFC 8538).
    pub(crate) fn notification(&self) -> bool {
        self.restart.as_ref().is_some_and(|r| r.notification)
    }

    /// Whether a peer that keeps routes across NOTIFICATIONs must be told not to: after these we do
    /// not come back as we were (RFC 8538 §5.1).
    pub(crate) fn ends_hard(&self, notification: &Notification) -> bool {
        let for_good = matches!(
            (notification.code, notification.subcode),
            (6, cease::ADMINISTRATIVE_SHUTDOWN | cease::PEER_DECONFIGURED)
        );
        for_good && self.notification()
    }

    /// The peer passes on and asks to be kept what is stale for long (RFC 9494 §4.3).
    pub(crate) fn hears_long_lived(&self) -> bool {
        self.theirs.long_lived().is_some()
    }

    pub(crate) fn peer_restarting(&self) -> bool {
        self.restart.as_ref().is_some_and(|r| r.restarting)
    }
}

impl Offer {
    pub(crate) fn message(&self) -> Open {
        let families = self.families.iter().map(|f| Capability::Multiprotocol((*f).into()));
        let mut capabilities: Vec<Capability> = families.collect();
        capabilities.push(Capability::RouteRefresh);
        capabilities.push(Capability::EnhancedRouteRefresh);
        capabilities.push(Capability::FourOctetAs(self.asn));
        capabilities.extend(self.options.extended_messages.then_some(Capability::ExtendedMessage));
        let ipv4 = self.families.contains(&Family::Ipv4Unicast);
        let next_hop = (ipv4 && self.options.extended_next_hop)
            .then(|| Capability::ExtendedNextHop(vec![ExtendedNextHop::IPV4]));
        capabilities.extend(next_hop);
        capabilities.extend(self.options.role.map(|role| Capability::Role(role.wire())));
        capabilities.extend(self.add_paths());
        capabilities.extend(self.restart.map(|r| self.graceful_restart(r)));
        capabilities.extend(self.restart.and_then(|r| self.long_lived(r)));
        Open {
            asn: self.asn,
            hold_time: u16::try_from(self.hold_time.as_secs()).unwrap_or(u16::MAX),
            router_id: self.router_id,
            capabilities,
        }
    }

    fn add_paths(&self) -> Option<Capability> {
        let AddPaths { receive, send, .. } = self.add_paths;
        let family = |f: &Family| AddPathsFamily { family: (*f).into(), receive, send: send > 0 };
        let families = || self.families.iter().map(family).collect();
        (receive || send > 0).then(|| Capability::AddPaths(families()))
    }

    fn graceful_restart(&self, restart: RestartOffer) -> Capability {
        /// Twelve bits.
        const MAX_TIME: u16 = 0xfff;
        let forwarding = restart.forwarding;
        Capability::GracefulRestart(GracefulRestart {
            restarting: restart.restarting,
            notification: restart.notification,
            time: u16::try_from(restart.time.as_secs()).unwrap_or(MAX_TIME).min(MAX_TIME),
            families: self
                .families
                .iter()
                .map(|f| GracefulFamily { family: (*f).into(), forwarding })
                .collect(),
        })
    }

    fn long_lived(&self, restart: RestartOffer) -> Option<Capability> {
        let stale_time = u32::try_from(restart.long_lived.as_secs()).unwrap_or(u32::MAX);
        let family = |f: &Family| LongLivedFamily {
            family: (*f).into(),
            forwarding: restart.forwarding,
            stale_time,
        };
        let families = || self.families.iter().map(family).collect();
        (stale_time > 0).then(|| Capability::LongLived(families()))
    }
}

/// What two OPENs make of each other (RFC 4271 §6.2); what the peer's alone can be wrong in, the
/// decoder has refused. It follows from the two messages and nothing else, so that another process
/// that has them comes to the same.
pub(crate) fn agree(ours: &Open, theirs: &Open, peer: PeerAs) -> Result<Agreed, Notification> {
    if !peer.admits(theirs.asn, ours.asn) {
        return Err(Notification::BAD_PEER_AS);
    }
    // RFC 6286 §2.2: within one AS an identifier names one speaker.
    if ours.asn == theirs.asn && theirs.router_id == ours.router_id {
        return Err(Notification::BAD_BGP_IDENTIFIER);
    }
    let spoken = theirs.families();
    let families: Vec<Family> =
        ours.families().into_iter().filter(|f| spoken.contains(f)).collect();
    if !role::fit(ours, theirs) {
        return Err(Notification::ROLE_MISMATCH);
    }
    let both = |capability| [ours, theirs].iter().all(|o| o.has(&capability));
    // Lesser differences are lived with (RFC 5492 §3); without a family there is no point.
    if families.is_empty() {
        return Err(Notification::UNSUPPORTED_CAPABILITY);
    }
    Ok(Agreed {
        router_id: theirs.router_id,
        hold_time: Duration::from_secs(ours.hold_time.min(theirs.hold_time).into()),
        context: Context {
            four_octet_as: theirs.four_octet_as().is_some(),
            internal: ours.asn == theirs.asn,
            extended_messages: both(Capability::ExtendedMessage),
            extended_next_hop: [ours, theirs].iter().all(|o| o.has_extended_next_hop()),
            paths_in: PathIds::new(|f| families.contains(&f) && paths(theirs, ours, f)),
            paths_out: PathIds::new(|f| families.contains(&f) && paths(ours, theirs, f)),
        },
        refresh: theirs.has(&Capability::RouteRefresh),
        enhanced_refresh: both(Capability::EnhancedRouteRefresh),
        restart: peer_restart(ours, theirs, &families),
        families,
        theirs: theirs.clone(),
    })
}

/// RFC 7911 §4: one side offers to send several paths a prefix, and the other to receive them.
fn paths(from: &Open, to: &Open, family: Family) -> bool {
    let offers = |open: &Open, way: fn(&AddPathsFamily) -> bool| {
        open.add_paths().iter().any(|f| f.family.family() == Some(family) && way(f))
    };
    offers(from, |f| f.send) && offers(to, |f| f.receive)
}

/// Families that this session does not carry are none of our business.
fn peer_restart(ours: &Open, open: &Open, families: &[Family]) -> Option<PeerRestart> {
    let (own, theirs) = (ours.graceful_restart()?, open.graceful_restart()?);
    let named = theirs.families.iter().filter_map(|f| Some((f.family.family()?, f.forwarding)));
    Some(PeerRestart {
        time: Duration::from_secs(theirs.time.into()),
        restarting: theirs.restarting,
        notification: own.notification && theirs.notification,
        long_lived: ours.long_lived().map(|_| long_lived(open, families)).unwrap_or_default(),
        families: named.filter(|(f, _)| families.contains(f)).collect(),
    })
}

fn long_lived(open: &Open, families: &[Family]) -> Vec<LongLived> {
    let asked = open.long_lived().unwrap_or_default().iter().filter(|l| l.stale_time > 0);
    let named = asked.filter_map(|l| {
        let stale_time = Duration::from_secs(l.stale_time.into());
        Some(LongLived { family: l.family.family()?, forwarding: l.forwarding, stale_time })
    });
    named.filter(|l| families.contains(&l.family)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::router_id;
    use crate::types::Role;

    fn offer() -> Offer {
        Offer {
            asn: Asn(64512),
            router_id: router_id(1),
            peer_as: PeerAs::Is(Asn(65001)),
            hold_time: Duration::from_secs(90),
            families: Family::ALL.to_vec(),
            restart: Some(RestartOffer {
                time: Duration::from_secs(120),
                restarting: false,
                forwarding: true,
                notification: true,
                long_lived: Duration::from_secs(3600),
            }),
            options: Options::default(),
            add_paths: AddPaths::default(),
        }
    }

    fn meet(offer: &Offer, theirs: &Open) -> Result<Agreed, Notification> {
        agree(&offer.message(), theirs, offer.peer_as)
    }

    fn theirs() -> Open {
        Offer {
            asn: Asn(65001),
            peer_as: PeerAs::Is(Asn(64512)),
            router_id: router_id(2),
            ..offer()
        }
        .message()
    }

    #[test]
    fn two_equal_offers_agree_on_everything() {
        let agreed = meet(&offer(), &theirs()).unwrap();
        assert_eq!(agreed.families, Family::ALL);
        assert!(agreed.refresh && agreed.enhanced_refresh);
        assert!(agreed.context.four_octet_as && !agreed.context.internal);
        assert!(
            agreed.survives(Family::Ipv6Unicast) && agreed.kept_forwarding(Family::Ipv4Unicast)
        );
    }

    #[test]
    fn the_shorter_hold_time_counts_and_zero_is_the_shortest() {
        for (theirs_says, agreed) in [(30, 30), (180, 90), (0, 0)] {
            let open = Open { hold_time: theirs_says, ..theirs() };
            assert_eq!(meet(&offer(), &open).unwrap().hold_time, Duration::from_secs(agreed));
        }
    }

    #[test]
    fn a_peer_without_capabilities_speaks_ipv4_unicast_only() {
        let open = Open { capabilities: vec![], ..theirs() };
        let agreed = meet(&offer(), &open).unwrap();
        assert_eq!(agreed.families, [Family::Ipv4Unicast]);
        assert!(!agreed.refresh && agreed.restart.is_none() && !agreed.context.four_octet_as);
        let only_v6 = Offer { families: vec![Family::Ipv6Unicast], ..offer() };
        assert_eq!(meet(&only_v6, &open), Err(Notification::UNSUPPORTED_CAPABILITY));
    }

    #[test]
    fn a_wrong_as_and_our_own_identifier_are_refused() {
        let open = Open { asn: Asn(65009), ..theirs() };
        assert_eq!(meet(&offer(), &open), Err(Notification::BAD_PEER_AS));
        let inside = Offer { peer_as: PeerAs::Is(Asn(64512)), ..offer() };
        let twin = Open { asn: Asn(64512), router_id: router_id(1), ..theirs() };
        assert_eq!(meet(&inside, &twin), Err(Notification::BAD_BGP_IDENTIFIER));
        assert!(meet(&offer(), &Open { router_id: router_id(1), ..theirs() }).is_ok());
    }

    #[test]
    fn long_messages_need_the_capability_on_both_sides() {
        assert_eq!(meet(&offer(), &theirs()).unwrap().context.longest(), 65535);
        let options = Options { extended_messages: false, ..Options::default() };
        let short = Offer { options, ..offer() };
        assert_eq!(meet(&short, &theirs()).unwrap().context.longest(), 4096);
        assert_eq!(
            meet(&offer(), &short.message()).map(|a| a.context.longest()),
            Err(Notification::BAD_PEER_AS)
        );
    }

    #[test]
    fn ipv6_next_hops_of_ipv4_prefixes_need_the_capability_on_both_sides() {
        let agreed = |ours: bool, theirs_too: bool| {
            let with = |extended_next_hop| {
                let options = Options { extended_next_hop, ..Options::default() };
                Offer { options, ..offer() }
            };
            let peer = Offer { asn: Asn(65001), router_id: router_id(2), ..with(theirs_too) };
            meet(&with(ours), &peer.message()).unwrap().context.extended_next_hop
        };
        assert!(agreed(true, true) && !agreed(true, false) && !agreed(false, true));
    }

    #[test]
    fn roles_that_do_not_fit_are_refused() {
        let meet = |ours: Option<Role>, theirs: Option<Role>| {
            let with = |role| Offer { options: Options { role, ..Options::default() }, ..offer() };
            let peer = Offer { asn: Asn(65001), router_id: router_id(2), ..with(theirs) };
            meet(&with(ours), &peer.message()).map(|_| ())
        };
        assert_eq!(meet(Some(Role::Provider), Some(Role::Customer)), Ok(()));
        assert_eq!(meet(Some(Role::Provider), None), Ok(()));
        assert_eq!(meet(None, Some(Role::Provider)), Ok(()));
        let mismatch = Err(Notification::ROLE_MISMATCH);
        assert_eq!(meet(Some(Role::Provider), Some(Role::Provider)), mismatch);
        assert_eq!(meet(Some(Role::RouteServer), Some(Role::Peer)), mismatch);
    }

    #[test]
    fn several_paths_go_the_way_in_which_one_side_sends_and_the_other_receives() {
        let way = |ours: AddPaths, theirs: AddPaths| {
            let of = |add_paths| Offer { add_paths, ..offer() };
            let peer = Offer { asn: Asn(65001), router_id: router_id(2), ..of(theirs) };
            let context = meet(&of(ours), &peer.message()).unwrap().context;
            (context.paths_in.any(), context.paths_out.any())
        };
        let none = AddPaths::default();
        let (receive, send) =
            (AddPaths { receive: true, send: 0 }, AddPaths { receive: false, send: 8 });
        let both = AddPaths { receive: true, send: 8 };
        assert_eq!(way(none, both), (false, false));
        assert_eq!(way(receive, both), (true, false));
        assert_eq!(way(send, both), (false, true));
        assert_eq!(way(send, send), (false, false));
        assert_eq!(way(both, both), (true, true));
    }

    #[test]
    fn restart_is_not_agreed_on_when_one_side_does_not_offer_it() {
        let silent = Offer { restart: None, ..offer() };
        assert_eq!(meet(&silent, &theirs()).unwrap().restart, None);
    }
}
