//! BGP roles and the Only-to-Customer attribute, against route leaks (RFC 9234).

use crate::types::{Asn, Role};
use crate::wire::{Attributes, Capability, Open};

impl Role {
    const ALL: [Self; 5] =
        [Self::Provider, Self::RouteServer, Self::RouteServerClient, Self::Customer, Self::Peer];

    /// RFC 9234 §4.1.
    #[must_use]
    pub const fn wire(self) -> u8 {
        match self {
            Self::Provider => 0,
            Self::RouteServer => 1,
            Self::RouteServerClient => 2,
            Self::Customer => 3,
            Self::Peer => 4,
        }
    }

    #[must_use]
    pub fn from_wire(value: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.wire() == value)
    }

    /// What the other side is: the only role that fits (RFC 9234 §4.2).
    #[must_use]
    pub const fn counterpart(self) -> Self {
        match self {
            Self::Provider => Self::Customer,
            Self::Customer => Self::Provider,
            Self::RouteServer => Self::RouteServerClient,
            Self::RouteServerClient => Self::RouteServer,
            Self::Peer => Self::Peer,
        }
    }

    /// Routes go on from there to customers alone.
    const fn peer_is_above_or_beside(self) -> bool {
        matches!(self.counterpart(), Self::Provider | Self::Peer | Self::RouteServer)
    }
}

/// Of what an OPEN says of roles: several capabilities that differ are as bad as a wrong one.
fn said(open: &Open) -> impl Iterator<Item = u8> + '_ {
    open.capabilities.iter().filter_map(|c| match c {
        Capability::Role(value) => Some(*value),
        _ => None,
    })
}

/// RFC 9234 §4.2: whether the roles fit, as far as both sides have named one.
pub(crate) fn fit(ours: &Open, theirs: &Open) -> bool {
    let Some(own) = said(ours).next().and_then(Role::from_wire) else { return true };
    said(theirs).all(|value| value == own.counterpart().wire())
}

pub(crate) fn is_said(open: &Open) -> bool {
    said(open).next().is_some()
}

/// RFC 9234 §5: whether a path with this attribute has come back up, or sideways, from where it
/// must not. `role`: what we are to the peer, which is to us the counterpart.
pub(crate) fn leaked(role: Role, peer: Asn, otc: Option<Asn>) -> bool {
    match role.counterpart() {
        Role::Customer | Role::RouteServerClient => otc.is_some(),
        Role::Peer => otc.is_some_and(|asn| asn != peer),
        Role::Provider | Role::RouteServer => false,
    }
}

/// RFC 9234 §5: what a path from this peer is marked with that has no mark yet.
pub(crate) fn mark_in(role: Role, peer: Asn, attrs: &Attributes) -> Option<Asn> {
    (attrs.only_to_customer.is_none() && role.peer_is_above_or_beside()).then_some(peer)
}

/// RFC 9234 §5: a path with the mark goes to customers alone.
pub(crate) const fn may_leave(role: Role, is_marked: bool) -> bool {
    !is_marked || !role.peer_is_above_or_beside()
}

/// RFC 9234 §5: what a path is marked with on its way down or sideways.
pub(crate) fn mark_out(role: Role, own: Asn, attrs: &mut Attributes) {
    if matches!(role.counterpart(), Role::Customer | Role::Peer | Role::RouteServerClient) {
        attrs.only_to_customer.get_or_insert(own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::attributes;

    const PEER: Asn = Asn(65001);
    const OWN: Asn = Asn(64512);

    fn marked(otc: Option<Asn>) -> Attributes {
        Attributes { only_to_customer: otc, ..attributes(&[65001]) }
    }

    #[test]
    fn roles_come_in_pairs() {
        for role in Role::ALL {
            assert_eq!(role.counterpart().counterpart(), role);
            assert_eq!(Role::from_wire(role.wire()), Some(role));
        }
        assert_eq!(Role::from_wire(5), None);
    }

    #[test]
    fn what_comes_back_from_below_or_beside_is_a_leak() {
        let leaks = |role, otc| leaked(role, PEER, otc);
        for below in [Role::Provider, Role::RouteServer] {
            assert!(leaks(below, Some(PEER)) && !leaks(below, None), "{below}");
        }
        assert!(leaks(Role::Peer, Some(Asn(65009))) && !leaks(Role::Peer, Some(PEER)));
        for above in [Role::Customer, Role::RouteServerClient] {
            assert!(!leaks(above, Some(Asn(65009))), "{above}");
        }
    }

    #[test]
    fn what_comes_from_above_or_beside_is_marked_with_its_sender() {
        for (role, mark) in [
            (Role::Customer, Some(PEER)),
            (Role::Peer, Some(PEER)),
            (Role::RouteServerClient, Some(PEER)),
            (Role::Provider, None),
            (Role::RouteServer, None),
        ] {
            assert_eq!(mark_in(role, PEER, &marked(None)), mark, "{role}");
            assert_eq!(mark_in(role, PEER, &marked(Some(OWN))), None, "{role}");
        }
    }

    #[test]
    fn what_is_marked_goes_down_alone_and_what_goes_down_or_sideways_is_marked() {
        for (role, down, mark) in [
            (Role::Provider, true, Some(OWN)),
            (Role::RouteServer, true, Some(OWN)),
            (Role::Peer, false, Some(OWN)),
            (Role::Customer, false, None),
            (Role::RouteServerClient, false, None),
        ] {
            assert_eq!(may_leave(role, true), down, "{role}");
            assert!(may_leave(role, false));
            let mut attrs = marked(None);
            mark_out(role, OWN, &mut attrs);
            assert_eq!(attrs.only_to_customer, mark, "{role}");
            let mut attrs = marked(Some(PEER));
            mark_out(role, OWN, &mut attrs);
            assert_eq!(attrs.only_to_customer, Some(PEER), "{role}");
        }
    }
}
