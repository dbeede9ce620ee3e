//! A request as the core is asked.

use bgp_core::types::{Asn, Family, Prefix};
use bgp_core::view::{Match, PathFilter, PathState, RibKind, RouteQuery};
use bgp_core::wire::Community;
use mainstay_prefix::ParsePrefixError;
use mainstay_proto::bgp::v1::list_routes_request as asked;
use mainstay_proto::bgp::v1::{self as proto, ListRoutesRequest};
use std::net::IpAddr;
use tonic::Status;

pub(super) fn query(request: &ListRoutesRequest) -> Result<RouteQuery, Status> {
    let rib = match request.rib() {
        proto::Rib::Loc => RibKind::Loc,
        proto::Rib::AdjIn => RibKind::AdjIn,
        proto::Rib::AdjOut => RibKind::AdjOut,
        proto::Rib::Fib => RibKind::Fib,
    };
    let peer = Some(request.peer.clone()).filter(|p| !p.is_empty());
    if matches!(rib, RibKind::AdjIn | RibKind::AdjOut) && peer.is_none() {
        return Err(Status::invalid_argument("an Adj-RIB is one peer's: name the peer"));
    }
    let kind = match request.r#match() {
        asked::Match::Exact => Match::Exact,
        asked::Match::Longest => Match::Longest,
        asked::Match::Covered => Match::Covered,
        asked::Match::Covering => Match::Covering,
    };
    let prefix = match request.prefix.as_str() {
        "" => None,
        text => Some((prefix(text)?, kind)),
    };
    let family = family(&request.family)?;
    let (post_policy, filter) = (request.post_policy, filter(request)?);
    Ok(RouteQuery { rib, peer, family, prefix, post_policy, filter })
}

fn family(text: &str) -> Result<Option<Family>, Status> {
    match text {
        "" => Ok(None),
        "ipv4" => Ok(Some(Family::Ipv4Unicast)),
        "ipv6" => Ok(Some(Family::Ipv6Unicast)),
        other => {
            let text = format!("family {other:?} is neither \"ipv4\" nor \"ipv6\"");
            Err(Status::invalid_argument(text))
        }
    }
}

fn filter(request: &ListRoutesRequest) -> Result<PathFilter, Status> {
    let text = request.community.as_str();
    let (small, large) = (community(text), large_community(text));
    if !text.is_empty() && small.is_none() && large.is_none() {
        return Err(bad_community(text));
    }
    let state = match request.state() {
        asked::PathState::Any => None,
        asked::PathState::Stale => Some(PathState::Stale),
        asked::PathState::Rejected => Some(PathState::Rejected),
        asked::PathState::NotInstalled => Some(PathState::NotInstalled),
    };
    Ok(PathFilter {
        from: Some(request.from.clone()).filter(|from| !from.is_empty()),
        community: small,
        large_community: large,
        asn: request.asn.map(Asn),
        state,
    })
}

pub(super) fn bad_community(text: &str) -> Status {
    let form = "65001:100, 65001:1:2 or a well-known name";
    Status::invalid_argument(format!("community {text:?} is none of the form {form}"))
}

/// `65001:100`, or the name of a well-known one.
pub(super) fn community(text: &str) -> Option<u32> {
    let known = |c: &Community| c.name() == Some(text);
    if let Some(named) = Community::WELL_KNOWN.into_iter().find(known) {
        return Some(named.0);
    }
    let (high, low) = text.split_once(':')?;
    let (high, low): (u16, u16) = (number(high)?, number(low)?);
    Some(u32::from(high) << 16 | u32::from(low))
}

pub(super) fn large_community(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split(':').map(number);
    let large = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(large)
}

/// Digits alone: `+1` is nobody's community.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A prefix, or an address, which stands for its host prefix.
pub(super) fn prefix(text: &str) -> Result<Prefix, Status> {
    let bad = |e: ParsePrefixError| Status::invalid_argument(format!("prefix {text:?}: {e}"));
    match text.parse::<IpAddr>() {
        Ok(addr) => Ok(Prefix::host(addr)),
        Err(_) => text.parse().map_err(bad),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        peer: &str,
        family: &str,
        prefix: &str,
        rib: proto::Rib,
    ) -> Result<RouteQuery, String> {
        let request = ListRoutesRequest {
            rib: rib.into(),
            peer: peer.into(),
            family: family.into(),
            prefix: prefix.into(),
            r#match: asked::Match::Longest.into(),
            ..Default::default()
        };
        query(&request).map_err(|status| status.message().to_owned())
    }

    #[test]
    fn an_address_is_asked_for_as_its_host_prefix() {
        let query = asked("", "", "10.0.0.1", proto::Rib::Loc).unwrap();
        assert_eq!(query.prefix, Some(("10.0.0.1/32".parse().unwrap(), Match::Longest)));
    }

    #[test]
    fn a_bad_question_is_refused_with_what_is_wrong_in_it() {
        let adj = asked("", "", "", proto::Rib::AdjIn).unwrap_err();
        assert_eq!(adj, "an Adj-RIB is one peer's: name the peer");
        let family = asked("", "ipx", "", proto::Rib::Loc).unwrap_err();
        assert_eq!(family, "family \"ipx\" is neither \"ipv4\" nor \"ipv6\"");
        let prefix = asked("", "", "10.0.0.1/8", proto::Rib::Loc).unwrap_err();
        assert!(prefix.starts_with("prefix \"10.0.0.1/8\": "), "{prefix}");
    }

    #[test]
    fn communities_are_read_as_they_are_shown_and_nothing_else_is() {
        assert_eq!(community("65001:100"), Some(65001 << 16 | 100));
        assert_eq!(community("no-export"), Some(0xffff_ff01));
        assert_eq!(large_community("4200000000:0:7"), Some([4_200_000_000, 0, 7]));
        for odd in ["", ":", "1", "65536:1", "1:65536", "+1:2", "1:2:3:4", "1::3", "x:1", " 1:2"] {
            assert_eq!((community(odd), large_community(odd)), (None, None), "{odd:?}");
        }
        let request = ListRoutesRequest { community: "65536:1".into(), ..Default::default() };
        assert!(query(&request).unwrap_err().message().contains("none of the form"));
    }
}
