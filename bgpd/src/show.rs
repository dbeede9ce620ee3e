//! The core's views as the API's messages.

use crate::kernel::interfaces;
use bgp_core::types::{Family, Gateway};
use bgp_core::view::{
    Counters, Explanation, ExportState, ExportView, KernelState, LongLivedView, Overview, PathView,
    PeerFamilyView, PeerView, RouteView,
};
use bgp_core::wire::{Attributes, Community, ExtendedCommunity, LargeCommunity};
use mainstay_proto::bgp::v1 as proto;

/// What belongs to the speaker itself; the process adds its own.
pub(crate) fn status(view: Overview) -> proto::StatusReply {
    let fib = view.fib;
    proto::StatusReply {
        asn: view.asn.0,
        router_id: view.router_id.to_string(),
        peers_configured: clamp(view.peers),
        peers_established: clamp(view.established),
        loc_rib: view
            .loc_rib
            .iter()
            .map(|(f, n)| proto::FamilyCount { family: f.to_string(), routes: count(*n) })
            .collect(),
        originated: view.originated.iter().map(ToString::to_string).collect(),
        fib: Some(proto::FibStatus {
            install: fib.install,
            table: 0,
            installed: count(fib.installed),
            adopted: count(fib.adopted),
            stale: count(fib.stale),
            failed: count(fib.failed),
            last_error: fib.last_error.unwrap_or_default(),
        }),
        restarting: view.restarting,
        warnings: view.warnings,
        ..proto::StatusReply::default()
    }
}

pub(crate) fn peer(view: PeerView, survival: String) -> proto::Peer {
    let text = |a: Option<String>| a.unwrap_or_default();
    proto::Peer {
        name: view.name,
        address: text(Some(view.address).filter(|a| !a.is_unspecified()).map(|a| a.to_string())),
        interface: view.interface.unwrap_or_default(),
        survival,
        local_asn: view.local_asn.0,
        remote_asn: view.remote_asn.0,
        state: view.state.into(),
        state_seconds: view.in_state.as_secs_f64(),
        dynamic: view.dynamic,
        passive: view.passive,
        remote_router_id: text(view.remote_router_id.map(|id| id.to_string())),
        hold_time_seconds: seconds(view.hold_time),
        keepalive_seconds: seconds(view.keepalive),
        send_hold_time_seconds: seconds(view.send_hold_time),
        established_count: view.established_count,
        last_error: text(view.last_error),
        families: view.families.iter().map(family).collect(),
        graceful_restart: Some(proto::GracefulRestart {
            negotiated: view.graceful_restart.negotiated,
            peer_restart_time_seconds: seconds(view.graceful_restart.peer_restart_time),
            peer_restarting: view.graceful_restart.peer_restarting,
            families: view.graceful_restart.families.iter().map(kept).collect(),
            notification: view.graceful_restart.notification,
            peer_capable: view.graceful_restart.peer_capable,
            peer_notification: view.graceful_restart.peer_notification,
            peer_restarted: view.graceful_restart.peer_restarted,
            long_lived: view.graceful_restart.long_lived.iter().map(long_lived).collect(),
        }),
        route_refresh: view.route_refresh,
        enhanced_refresh: view.enhanced_refresh,
        received: Some(messages(view.received)),
        sent: Some(messages(view.sent)),
        local_address: text(view.local_address.map(|a| a.to_string())),
        capabilities: view.capabilities,
        bfd: None,
    }
}

fn long_lived(view: &LongLivedView) -> proto::LongLived {
    proto::LongLived {
        family: view.family.to_string(),
        forwarding: view.forwarding,
        stale_time_seconds: seconds(view.stale_time),
        granted_seconds: seconds(view.granted),
        left_seconds: view.left.map(|left| left.as_secs_f64()),
    }
}

fn family(view: &PeerFamilyView) -> proto::PeerFamily {
    proto::PeerFamily {
        family: view.family.to_string(),
        received: count(view.received),
        accepted: count(view.accepted),
        advertised: count(view.advertised),
        stale: count(view.stale),
        eor_received: view.eor_received,
        eor_sent: view.eor_sent,
        limit_in: view.limits.most,
        limit_in_state: view.limits.level.into(),
        discarded: view.limits.discarded,
        limit_out: view.limits.most_out,
        limit_out_state: view.limits.level_out.into(),
        left_out: count(view.limits.left_out),
    }
}

fn kept((family, forwarding): &(Family, bool)) -> String {
    if *forwarding { format!("{family} (F)") } else { family.to_string() }
}

const fn messages(c: Counters) -> proto::Messages {
    proto::Messages {
        open: c.open,
        update: c.update,
        notification: c.notification,
        keepalive: c.keepalive,
        route_refresh: c.route_refresh,
    }
}

pub(crate) fn route(view: RouteView) -> proto::Route {
    proto::Route {
        prefix: view.prefix.to_string(),
        paths: view.paths.into_iter().map(path).collect(),
    }
}

pub(crate) fn path(view: PathView) -> proto::Path {
    let shown = attributes(&view.attributes);
    // A path of our own has no next hop until it is announced.
    let has_hop = !view.attributes.next_hop.addr().is_unspecified();
    let next_hop = if has_hop { shown.next_hop } else { String::new() };
    let said = view.said.unwrap_or_default();
    let (reason, rule) = match view.reason {
        Some(reason) => (reason.to_owned(), said),
        None => (said, String::new()),
    };
    proto::Path {
        peer: view.peer.unwrap_or_default(),
        best: view.best,
        multipath: view.multipath,
        stale: view.stale,
        next_hop,
        reason,
        rule,
        injected_by: view.injected_by.unwrap_or_default(),
        rejected: view.rejected,
        installed: view.installed,
        age_seconds: view.age.as_secs_f64(),
        path_id: view.path_id,
        left_out: view.left_out.unwrap_or_default(),
        hop_weight: view.hop_weight.map_or(0, |weight| weight.number().into()),
        ..shown
    }
}

pub(crate) fn attributes(a: &Attributes) -> proto::Path {
    let large = a.large_communities.iter();
    let extended = a.extended_communities.iter();
    proto::Path {
        next_hop: a.next_hop.to_string(),
        origin: a.origin.to_string(),
        as_path: a.as_path.to_string(),
        med: a.med,
        local_pref: a.local_pref,
        communities: a.communities.iter().map(|c| Community(*c).to_string()).collect(),
        large_communities: large.map(|c| LargeCommunity(*c).to_string()).collect(),
        extended_communities: extended.map(|c| ExtendedCommunity(*c).to_string()).collect(),
        weight: a.weight,
        ..proto::Path::default()
    }
}

pub(crate) fn explanation(view: Explanation) -> proto::ExplainReply {
    let kernel = view.kernel;
    let (reason, attempts) = kernel.fib.refused.unwrap_or_default();
    let hops = if kernel.state == KernelState::Refused && !kernel.fib.wanted.is_empty() {
        &kernel.fib.wanted
    } else {
        &kernel.fib.present
    };
    proto::ExplainReply {
        asked: view.asked.to_string(),
        route: view.route.map(route),
        refused: view.refused.into_iter().map(route).collect(),
        exports: view.exports.into_iter().map(export).collect(),
        kernel: Some(proto::KernelRoute {
            state: kernel_word(kernel.state).into(),
            reason,
            next_hops: hops.iter().map(gateway).collect(),
            attempts,
            hops: hops.iter().map(|hop| kernel_hop(hop, &kernel.fib.left_out)).collect(),
        }),
    }
}

fn kernel_hop(hop: &Gateway, left_out: &[(Gateway, String)]) -> proto::KernelHop {
    let why = left_out.iter().find(|(out, _)| out == hop).map(|(_, why)| why.clone());
    proto::KernelHop {
        next_hop: gateway(hop),
        weight: hop.weight.number().into(),
        left_out: why.unwrap_or_default(),
    }
}

/// With the interface's name where the address alone does not say which it is.
pub(crate) fn gateway(of: &Gateway) -> String {
    match interfaces::name(of.scope).filter(|_| of.scope != 0) {
        Some(name) => format!("{}%{name}", of.next_hop),
        None => of.to_string(),
    }
}

fn export(view: ExportView) -> proto::Export {
    let state = match view.state {
        ExportState::Told => "told",
        ExportState::Pending => "pending",
        ExportState::Withheld => "withheld",
        ExportState::Withdrawing => "withdrawing",
        ExportState::Down => "down",
    };
    let told = view.told.iter();
    let told = told.map(|(id, a)| proto::Path { path_id: *id, ..attributes(a) });
    let mut paths: Vec<proto::Path> = told.collect();
    proto::Export {
        peer: view.peer,
        state: state.into(),
        reason: view.why.unwrap_or_default().into(),
        rule: view.rule.unwrap_or_default(),
        path: paths.first().cloned(),
        paths: if paths.len() > 1 { std::mem::take(&mut paths) } else { Vec::new() },
    }
}

const fn kernel_word(state: KernelState) -> &'static str {
    match state {
        KernelState::Installed => "installed",
        KernelState::Awaited => "awaited",
        KernelState::Refused => "refused",
        KernelState::Own => "own",
        KernelState::Off => "off",
        KernelState::ThroughUs => "through-us",
        KernelState::NoRoute => "no-route",
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn clamp(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn seconds(d: std::time::Duration) -> u32 {
    u32::try_from(d.as_secs()).unwrap_or(u32::MAX)
}
