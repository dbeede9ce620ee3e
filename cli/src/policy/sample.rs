//! The route that a policy is tried on, from the command line.

use super::test::{Args, From, Origin, Way};
use bgp_core::policy::{Direction, Provenance, Sample, Validity};
use bgp_core::types::{Asn, NextHop, Protocol, Role};
use bgp_core::wire::{self, AsPath, Attributes, Segment, SegmentKind};
use bgp_words::Community;
use mainstay_config::{NodeConfig, PeerSession};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `65001 65002 {65003 65004}`
pub(super) fn as_path(text: &str) -> Result<AsPath, String> {
    let mut segments: Vec<Segment> = Vec::new();
    let mut in_set = false;
    for word in text.replace('{', " { ").replace('}', " } ").replace(',', " ").split_whitespace() {
        match (word, in_set) {
            ("{", false) => {
                in_set = true;
                segments.push(Segment { kind: SegmentKind::Set, asns: Vec::new() });
            }
            ("}", true) => in_set = false,
            (number, _) => {
                let asn = number.parse().map_err(|_| format!("{number:?} is no AS number"))?;
                if asn == 0 {
                    return Err("AS 0 stands in no path (RFC 7607 §2)".into());
                }
                push(&mut segments, Asn(asn), in_set);
            }
        }
    }
    let empty = segments.iter().any(|s| s.asns.is_empty());
    if in_set || empty {
        Err("an AS_SET is written {65003 65004}".into())
    } else {
        Ok(AsPath(segments))
    }
}

fn push(segments: &mut Vec<Segment>, asn: Asn, in_set: bool) {
    match segments.last_mut() {
        Some(last) if in_set || last.kind == SegmentKind::Sequence => last.asns.push(asn),
        _ => segments.push(Segment { kind: SegmentKind::Sequence, asns: vec![asn] }),
    }
}

/// A peer of the file, fixed or a range.
struct Peer<'a> {
    address: Option<IpAddr>,
    interface: Option<&'a String>,
    session: &'a PeerSession,
}

fn peer<'a>(node: &'a NodeConfig, name: &str) -> Option<Peer<'a>> {
    let fixed = node.bgp.peers.iter().find(|p| p.name == name).map(|p| Peer {
        address: p.address,
        interface: p.interface.as_ref(),
        session: &p.session,
    });
    let range = || node.bgp.ranges.iter().find(|r| r.name == name);
    fixed.or_else(|| range().map(|r| Peer { address: None, interface: None, session: &r.session }))
}

pub(super) fn sample(node: &NodeConfig, args: &Args) -> Result<Sample, String> {
    let named = |name: &Option<String>| match name {
        Some(name) => peer(node, name).map(Some).ok_or_else(|| format!("there is no peer {name}")),
        None => Ok(None),
    };
    let (from, to) = (named(&args.peer)?, named(&args.to)?);
    let external = |p: &Peer<'_>| !p.session.asn.is_internal(node.bgp.asn);
    let source = match (&args.source, &from) {
        (Some(source), _) => source.provenance(),
        (None, Some(peer)) if !external(peer) => Provenance::Ibgp,
        (None, None) if args.direction == Way::Export && args.as_path.is_none() => {
            Provenance::Own(Protocol::Block)
        }
        (None, _) => Provenance::Ebgp,
    };
    Ok(Sample {
        prefix: args.prefix(),
        attributes: attributes(args, from.as_ref(), source),
        direction: match args.direction {
            Way::Import => Direction::Import,
            Way::Export => Direction::Export,
        },
        from: source,
        peer: args.peer.clone().unwrap_or_default(),
        role: args.role.map(role),
        interface: args.interface.clone().or_else(|| from.as_ref()?.interface.cloned()),
        rpki: args.rpki.map_or(Validity::NotFound, validity),
        asn: Asn(node.bgp.asn),
        to_external: to.as_ref().is_none_or(external),
    })
}

fn attributes(args: &Args, from: Option<&Peer<'_>>, source: Provenance) -> Attributes {
    let neighbour =
        from.filter(|_| source == Provenance::Ebgp).and_then(|p| p.session.asn.number().map(Asn));
    let told =
        neighbour.map(|asn| AsPath(vec![Segment { kind: SegmentKind::Sequence, asns: vec![asn] }]));
    let mut attrs =
        Attributes::bare(next_hop(args, from), args.origin.map_or(wire::Origin::Igp, origin));
    attrs.as_path = args.as_path.clone().or(told).unwrap_or_default();
    attrs.med = args.med;
    attrs.local_pref = args.local_pref;
    for community in &args.community {
        match *community {
            Community::Standard(value) => attrs.communities.push(value),
            Community::Extended(value) => attrs.extended_communities.push(value),
            Community::Large(value) => attrs.large_communities.push(value),
        }
    }
    attrs
}

fn next_hop(args: &Args, from: Option<&Peer<'_>>) -> NextHop {
    match (args.next_hop.or_else(|| from?.address), args.prefix().is_ipv4()) {
        (Some(IpAddr::V4(addr)), _) => NextHop::V4(addr),
        (Some(IpAddr::V6(global)), _) => NextHop::V6 { global, link_local: None },
        (None, true) => NextHop::V4(Ipv4Addr::UNSPECIFIED),
        (None, false) => NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: None },
    }
}

impl From {
    const fn provenance(self) -> Provenance {
        match self {
            Self::Local => Provenance::Own(Protocol::Local),
            Self::Block => Provenance::Own(Protocol::Block),
            Self::Injected => Provenance::Own(Protocol::Injected),
            Self::Ebgp => Provenance::Ebgp,
            Self::Ibgp => Provenance::Ibgp,
        }
    }
}

const fn origin(origin: Origin) -> wire::Origin {
    match origin {
        Origin::Igp => wire::Origin::Igp,
        Origin::Egp => wire::Origin::Egp,
        Origin::Incomplete => wire::Origin::Incomplete,
    }
}

const fn role(role: super::test::Role) -> Role {
    use super::test::Role as Said;
    match role {
        Said::Provider => Role::Provider,
        Said::Customer => Role::Customer,
        Said::Peer => Role::Peer,
        Said::Rs => Role::RouteServer,
        Said::RsClient => Role::RouteServerClient,
    }
}

const fn validity(rpki: super::test::Rpki) -> Validity {
    use super::test::Rpki as Said;
    match rpki {
        Said::Valid => Validity::Valid,
        Said::Invalid => Validity::Invalid,
        Said::NotFound => Validity::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::as_path;

    #[test]
    fn a_path_is_read_as_it_is_shown() {
        for text in ["", "65001", "65001 65002 {65003 65004}", "{1 2} 3 {4}", "{1} {2}"] {
            assert_eq!(as_path(text).unwrap().to_string(), text);
        }
        for text in ["0", "{", "}", "{}", "{1", "{1 {2}}", "AS1", "4294967296"] {
            assert!(as_path(text).is_err(), "{text}");
        }
    }
}
