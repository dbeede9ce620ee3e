//! The speaker's sessions and RIBs, as bgpd tells them.

use super::SourceError;
use super::daemon::Daemon;
use crate::export::{Samples, metrics};
use mainstay_proto::bgp::v1 as pb;
use mainstay_proto::bgp::v1::bgp_client::BgpClient;
use std::collections::BTreeMap;

/// Peers with series of their own.
const PEERS: usize = 256;

/// In the order of RFC 4273's bgpPeerState, from 1.
const STATES: [&str; 6] = ["Idle", "Connect", "Active", "OpenSent", "OpenConfirm", "Established"];
const ESTABLISHED: &str = "Established";

pub(crate) async fn read(bgpd: Daemon) -> Result<Samples, SourceError> {
    let call = async {
        let mut client = BgpClient::new(bgpd.channel());
        let status = client.status(pb::StatusRequest {}).await?.into_inner();
        let peers = client.list_peers(pb::ListPeersRequest {}).await?.into_inner();
        Ok((status, peers.peers))
    };
    let (status, peers) = bgpd.ask(call).await?;
    Ok(samples(&status, peers))
}

fn samples(status: &pb::StatusReply, mut peers: Vec<pb::Peer>) -> Samples {
    let mut samples = Samples::default();
    samples.add(&metrics::DAEMON_INFO, &["bgpd", &status.version], true);
    samples.add(&metrics::DAEMON_UPTIME, &["bgpd"], status.uptime_seconds);
    samples.add(&metrics::BGP_RESTARTING, &[], status.restarting);
    samples.add(&metrics::BGP_WARNINGS, &[], status.warnings.len() as u64);
    if let Some(keeper) = &status.keeper {
        samples.add(&metrics::BGP_KEEPER_CONNECTED, &[], keeper.connected);
        samples.add(&metrics::BGP_SESSIONS_HELD, &[], u64::from(keeper.held));
        samples.add(&metrics::BGP_SESSIONS_RESUMED, &[], keeper.resumed);
        samples.add(&metrics::BGP_SESSIONS_UNRESUMED, &[], keeper.lost);
        samples.add(&metrics::BGP_CONNECTIONS_UNSHARED, &[], keeper.unshared);
    }
    for count in &status.loc_rib {
        samples.add(&metrics::BGP_LOC_RIB_ROUTES, &[family(&count.family)], count.routes);
    }
    if let Some(fib) = &status.fib {
        for (state, n) in
            [("installed", fib.installed), ("stale", fib.stale), ("failed", fib.failed)]
        {
            samples.add(&metrics::BGP_FIB_ROUTES, &[state], n);
        }
    }
    sessions(&mut samples, &peers);
    // Whoever looks at a speaker with that many peers looks for those that are down.
    peers.sort_by(|a, b| (established(a), &a.name).cmp(&(established(b), &b.name)));
    for peer in peers.iter().take(PEERS) {
        session(&mut samples, peer);
    }
    samples
}

fn established(peer: &pb::Peer) -> bool {
    peer.state == ESTABLISHED
}

fn sessions(samples: &mut Samples, peers: &[pb::Peer]) {
    let mut counts: BTreeMap<&str, u64> = STATES.iter().map(|state| (*state, 0)).collect();
    for peer in peers {
        if let Some(count) = counts.get_mut(peer.state.as_str()) {
            *count += 1;
        }
    }
    for (state, n) in counts {
        samples.add(&metrics::BGP_SESSIONS, &[state], n);
    }
}

fn session(samples: &mut Samples, peer: &pb::Peer) {
    let name = peer.name.as_str();
    let state = STATES.iter().position(|s| *s == peer.state).map_or(0, |at| at as u64 + 1);
    let up_for = if established(peer) { peer.state_seconds } else { 0.0 };
    let asn = peer.remote_asn.to_string();
    samples.add(&metrics::BGP_SESSION_UP, &[name], established(peer));
    samples.add(&metrics::BGP_SESSION_STATE, &[name], state);
    let zone = if peer.interface.is_empty() { "" } else { "%" };
    let address = format!("{}{zone}{}", peer.address, peer.interface);
    samples.add(&metrics::BGP_SESSION_INFO, &[name, &address, &asn], true);
    samples.add(&metrics::BGP_SESSION_ESTABLISHED_SECONDS, &[name], up_for);
    samples.add(&metrics::BGP_SESSION_ESTABLISHED, &[name], peer.established_count);
    if let Some(bfd) = &peer.bfd {
        samples.add(&metrics::BGP_BFD_UP, &[name], bfd.state == "Up");
        samples.add(&metrics::BGP_BFD_UPS, &[name], u64::from(bfd.up_count));
        samples.add(&metrics::BGP_BFD_DETECT, &[name], f64::from(bfd.detect_ms) / 1000.0);
    }
    for f in &peer.families {
        let kinds = [
            ("received", f.received),
            ("accepted", f.accepted),
            ("advertised", f.advertised),
            ("stale", f.stale),
            ("discarded", f.discarded),
            ("left_out", f.left_out),
        ];
        for (kind, n) in kinds {
            samples.add(&metrics::BGP_PREFIXES, &[name, family(&f.family), kind], n);
        }
    }
    for (direction, messages) in [("received", &peer.received), ("sent", &peer.sent)] {
        for (kind, n) in messages.iter().flat_map(by_type) {
            samples.add(&metrics::BGP_MESSAGES, &[name, direction, kind], n);
        }
    }
}

const fn by_type(m: &pb::Messages) -> [(&'static str, u64); 5] {
    [
        ("open", m.open),
        ("update", m.update),
        ("notification", m.notification),
        ("keepalive", m.keepalive),
        ("route_refresh", m.route_refresh),
    ]
}

/// "ipv4-unicast" is "ipv4" in every metric.
fn family(name: &str) -> &str {
    name.strip_suffix("-unicast").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(name: &str, state: &str) -> pb::Peer {
        pb::Peer {
            name: name.into(),
            address: "192.0.2.1".into(),
            remote_asn: 65001,
            state: state.into(),
            state_seconds: 12.5,
            established_count: 3,
            families: vec![pb::PeerFamily {
                family: "ipv4-unicast".into(),
                received: 10,
                accepted: 9,
                advertised: 2,
                stale: 1,
                ..Default::default()
            }],
            received: Some(pb::Messages { update: 7, ..Default::default() }),
            bfd: Some(pb::Bfd {
                state: "Up".into(),
                detect_ms: 900,
                up_count: 2,
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn text(peers: Vec<pb::Peer>) -> String {
        let status = pb::StatusReply {
            version: "0.1.0".into(),
            uptime_seconds: 60.0,
            loc_rib: vec![pb::FamilyCount { family: "ipv6-unicast".into(), routes: 4 }],
            keeper: Some(pb::SessionKeeping { connected: true, held: 2, ..Default::default() }),
            fib: Some(pb::FibStatus { installed: 5, stale: 2, failed: 1, ..Default::default() }),
            ..Default::default()
        };
        samples(&status, peers).to_text()
    }

    #[test]
    fn a_session_is_told_with_its_prefixes_and_messages() {
        let text = text(vec![peer("tor-a", "Established"), peer("tor-b", "Active")]);
        for line in [
            r#"mainstay_bgp_session_up{peer="tor-a"} 1"#,
            r#"mainstay_bgp_session_state{peer="tor-a"} 6"#,
            r#"mainstay_bgp_session_established_seconds{peer="tor-a"} 12.5"#,
            r#"mainstay_bgp_session_info{peer="tor-a",address="192.0.2.1",remote_asn="65001"} 1"#,
            r#"mainstay_bgp_prefixes{peer="tor-a",family="ipv4",kind="accepted"} 9"#,
            r#"mainstay_bgp_messages_total{peer="tor-a",direction="received",type="update"} 7"#,
            r#"mainstay_bgp_session_up{peer="tor-b"} 0"#,
            r#"mainstay_bgp_bfd_up{peer="tor-a"} 1"#,
            r#"mainstay_bgp_bfd_up_total{peer="tor-a"} 2"#,
            r#"mainstay_bgp_bfd_detection_seconds{peer="tor-a"} 0.9"#,
            r#"mainstay_bgp_session_state{peer="tor-b"} 3"#,
            r#"mainstay_bgp_session_established_seconds{peer="tor-b"} 0"#,
            r#"mainstay_bgp_sessions{state="Active"} 1"#,
            r#"mainstay_bgp_sessions{state="Idle"} 0"#,
            r#"mainstay_bgp_loc_rib_routes{family="ipv6"} 4"#,
            r#"mainstay_bgp_fib_routes{state="failed"} 1"#,
            "mainstay_bgp_keeper_connected 1",
            "mainstay_bgp_sessions_held 2",
            r#"mainstay_daemon_info{daemon="bgpd",version="0.1.0"} 1"#,
        ] {
            assert!(text.lines().any(|l| l == line), "{line} not in\n{text}");
        }
    }

    #[test]
    fn of_too_many_peers_those_that_are_down_are_shown() {
        let up = (0..300).map(|i| peer(&format!("a{i:03}"), "Established"));
        let text = text(up.chain([peer("z", "Idle")]).collect());
        let shown = text.lines().filter(|l| l.starts_with("mainstay_bgp_session_up{")).count();
        assert_eq!(shown, PEERS);
        assert!(text.contains(r#"session_up{peer="z"} 0"#));
        assert!(text.contains(r#"mainstay_bgp_sessions{state="Established"} 300"#));
    }
}
