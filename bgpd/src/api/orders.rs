//! What clients order: injected routes, and resets.

use super::question::{bad_community, community, large_community, prefix};
use bgp_core::event::Reset;
use bgp_core::inject::{
    InjectError, InjectedRoute, Injection, LONGEST_TTL, LeaseView, SHORTEST_TTL,
};
use bgp_core::types::{NextHop, Prefix};
use bgp_core::wire::{Community, LargeCommunity};
use mainstay_proto::bgp::v1 as proto;
use std::net::IpAddr;
use std::time::Duration;
use tonic::{Code, Status};

const LONGEST_NAME: usize = 63;

pub(super) fn injection(request: proto::InjectRequest) -> Result<Injection, Status> {
    let withdraw: Result<Vec<Prefix>, Status> =
        request.withdraw.iter().map(|text| prefix(text)).collect();
    Ok(Injection {
        client: client(request.client)?,
        ttl: ttl(request.ttl_seconds)?,
        announce: request.announce.iter().map(route).collect::<Result<_, _>>()?,
        withdraw: withdraw?,
        replace: request.replace,
    })
}

pub(super) fn client(name: String) -> Result<String, Status> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"._-/:".contains(&b);
    if name.is_empty() || name.len() > LONGEST_NAME || !name.bytes().all(fits) {
        let form = "1 to 63 letters, digits, \".\", \"_\", \"-\", \"/\" and \":\"";
        return Err(Status::invalid_argument(format!("client {name:?} is not made of {form}")));
    }
    Ok(name)
}

fn ttl(seconds: f64) -> Result<Option<Duration>, Status> {
    if seconds == 0.0 {
        return Ok(None);
    }
    let ttl = Duration::try_from_secs_f64(seconds).ok();
    let ttl = ttl.filter(|ttl| (SHORTEST_TTL..=LONGEST_TTL).contains(ttl));
    let (from, to) = (SHORTEST_TTL.as_secs(), LONGEST_TTL.as_secs());
    let bad = || format!("ttl_seconds: {seconds} s is not between {from} and {to} s");
    ttl.map(Some).ok_or_else(|| Status::invalid_argument(bad()))
}

fn route(asked: &proto::InjectedRoute) -> Result<InjectedRoute, Status> {
    let prefix = prefix(&asked.prefix)?;
    let bad = |why: &str| Status::invalid_argument(format!("{prefix}: {why}"));
    let next_hop = match (asked.next_hop.as_str(), asked.install) {
        ("", false) => None,
        ("", true) => return Err(bad("install needs a next_hop")),
        (_, false) => return Err(bad("a next_hop without install would have no effect")),
        (text, true) => Some(next_hop(prefix, text).map_err(|why| bad(&why))?),
    };
    let small: Option<Vec<u32>> = asked.communities.iter().map(|c| community(c)).collect();
    let large: Option<Vec<[u32; 3]>> =
        asked.large_communities.iter().map(|c| large_community(c)).collect();
    let wrong = || {
        let all = asked.communities.iter().filter(|c| community(c).is_none());
        all.chain(asked.large_communities.iter().filter(|c| large_community(c).is_none()))
            .next()
            .map_or_else(|| bad("bad community"), |c| bad_community(c))
    };
    Ok(InjectedRoute {
        prefix,
        next_hop,
        communities: small.ok_or_else(wrong)?,
        large_communities: large.ok_or_else(wrong)?,
        local_pref: asked.local_pref,
        med: asked.med,
    })
}

/// Of the prefix's own family, and somebody's address.
fn next_hop(prefix: Prefix, text: &str) -> Result<NextHop, String> {
    let addr: IpAddr = text.parse().map_err(|_| format!("next_hop {text:?} is no address"))?;
    if addr.is_unspecified() || addr.is_multicast() || addr.is_loopback() {
        return Err(format!("next_hop {addr} is no neighbour's address"));
    }
    match addr {
        IpAddr::V6(a) if a.is_unicast_link_local() => {
            Err(format!("next_hop {addr} does not say on which link it is"))
        }
        _ if addr.is_ipv4() != prefix.is_ipv4() => {
            Err(format!("next_hop {addr} is of the other address family"))
        }
        IpAddr::V4(a) => Ok(NextHop::V4(a)),
        IpAddr::V6(global) => Ok(NextHop::V6 { global, link_local: None }),
    }
}

pub(super) fn refused(error: &InjectError) -> Status {
    let code = match error {
        InjectError::Taken { .. } | InjectError::Own { .. } => Code::FailedPrecondition,
        InjectError::TooManyLeases | InjectError::TooManyRoutes => Code::ResourceExhausted,
    };
    Status::new(code, error.to_string())
}

pub(super) fn lease(view: LeaseView, routes: &[InjectedRoute]) -> proto::Lease {
    proto::Lease {
        client: view.client,
        ttl_seconds: view.ttl.as_secs_f64(),
        left_seconds: view.left.unwrap_or(view.ttl).as_secs_f64(),
        held: view.left.is_none(),
        routes: u32::try_from(view.routes).unwrap_or(u32::MAX),
        age_seconds: view.age.as_secs_f64(),
        route: routes.iter().map(shown).collect(),
    }
}

fn shown(route: &InjectedRoute) -> proto::InjectedRoute {
    let large = route.large_communities.iter();
    proto::InjectedRoute {
        prefix: route.prefix.to_string(),
        next_hop: route.next_hop.map(|hop| hop.to_string()).unwrap_or_default(),
        install: route.next_hop.is_some(),
        communities: route.communities.iter().map(|c| Community(*c).to_string()).collect(),
        large_communities: large.map(|c| LargeCommunity(*c).to_string()).collect(),
        local_pref: route.local_pref,
        med: route.med,
    }
}

pub(super) fn how(request: &proto::ResetPeerRequest) -> Reset {
    match request.how() {
        proto::reset_peer_request::How::Hard => Reset::Hard(request.message.clone()),
        proto::reset_peer_request::How::SoftIn => Reset::SoftIn,
        proto::reset_peer_request::How::SoftOut => Reset::SoftOut,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(prefix: &str) -> proto::InjectedRoute {
        proto::InjectedRoute { prefix: prefix.into(), ..Default::default() }
    }

    fn why(route: proto::InjectedRoute) -> String {
        let request = proto::InjectRequest {
            client: "lb".into(),
            announce: vec![route],
            ..Default::default()
        };
        injection(request).unwrap_err().message().to_owned()
    }

    #[test]
    fn a_route_is_read_as_it_is_shown() {
        let route = proto::InjectedRoute {
            next_hop: "2001:db8::7".into(),
            install: true,
            communities: vec!["65001:100".into(), "no-export".into()],
            large_communities: vec!["65001:1:2".into()],
            local_pref: Some(0),
            med: Some(7),
            ..asked("2001:db8:1::/48")
        };
        assert_eq!(shown(&super::route(&route).unwrap()), route);
        assert_eq!(shown(&super::route(&asked("198.18.0.1")).unwrap()), asked("198.18.0.1/32"));
    }

    #[test]
    fn a_bad_order_is_refused_with_its_prefix_and_what_is_wrong() {
        assert!(why(asked("10.0.0.1/8")).starts_with("prefix \"10.0.0.1/8\": "));
        let with = |next_hop: &str, install| proto::InjectedRoute {
            next_hop: next_hop.into(),
            install,
            ..asked("10.0.0.0/8")
        };
        assert_eq!(why(with("", true)), "10.0.0.0/8: install needs a next_hop");
        assert!(why(with("192.0.2.1", false)).contains("would have no effect"));
        for (hop, said) in [
            ("here", "is no address"),
            ("0.0.0.0", "no neighbour's"),
            ("127.0.0.1", "no neighbour's"),
            ("2001:db8::1", "the other address family"),
            ("fe80::1", "on which link"),
        ] {
            assert!(why(with(hop, true)).contains(said), "{hop}");
        }
        let odd = proto::InjectedRoute { communities: vec!["1".into()], ..asked("10.0.0.0/8") };
        assert!(why(odd).contains("community \"1\" is none of the form"));
    }

    #[test]
    fn names_and_times_have_bounds() {
        for odd in ["", "a b", "\u{e9}", &"x".repeat(64), "a\n"] {
            assert!(client(odd.into()).is_err(), "{odd:?}");
        }
        assert!(client("lb/metallb:v1.2_a-b".into()).is_ok());
        assert_eq!(ttl(0.0).unwrap(), None);
        assert_eq!(ttl(2.5).unwrap(), Some(Duration::from_millis(2500)));
        for odd in [-1.0, 0.5, f64::NAN, f64::INFINITY, 86_401.0] {
            assert!(ttl(odd).is_err(), "{odd}");
        }
    }
}
