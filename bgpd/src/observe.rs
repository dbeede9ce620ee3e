//! What the core reports, as log lines. The numbers go to netmon over the API.

use crate::show;
use bgp_core::report::{Cause, LeaseEnd, Report};
use bgp_core::types::Gateway;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Refused routes are named one by one only this often; the rest are counted.
const QUIET: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(crate) struct Observer {
    last_refusal: Option<Instant>,
    unnamed: usize,
}

impl Observer {
    pub(crate) fn report(&mut self, report: &Report, now: Instant) {
        match report {
            Report::FibFailed { prefix, why } => self.refused(prefix, why, now),
            Report::PeerUp { name, .. } => tracing::info!(peer = name, "session established"),
            Report::PeerResumed { name, age, .. } => {
                tracing::info!(peer = name, up_seconds = age.as_secs(), "session goes on");
            }
            Report::NotResumed { remote, why } => {
                tracing::warn!(%remote, why, "a session of the last process does not go on");
            }
            Report::PeerDown { name, cause, stale, .. } => down(name, cause, *stale),
            Report::SessionFailed { name, cause, .. } => {
                if let Some(cause) = cause.text() {
                    tracing::info!(peer = name, cause, "no session yet");
                }
            }
            Report::ConnectionRefused { remote, why } => {
                tracing::info!(%remote, why, "connection refused");
            }
            Report::UpdateError { name, error, withdrawn, .. } => {
                tracing::warn!(peer = name, error, withdrawn, "malformed UPDATE");
            }
            Report::NoNextHop { name, family, .. } => {
                tracing::warn!(
                    peer = name,
                    %family,
                    "nothing of this family is announced: no address of it on the peer's link"
                );
            }
            Report::PrefixLimit { name, family, most, exceeded, .. } => {
                let what = if *exceeded { "more prefixes than allowed" } else { "many prefixes" };
                tracing::warn!(peer = name, %family, max_prefixes = most, "{what}");
            }
            Report::PrefixLimitOut { name, family, most, left_out, .. } => {
                let what = match left_out {
                    0 => "nearly as many prefixes announced as allowed",
                    _ => "prefixes are not announced: there are more than allowed",
                };
                tracing::warn!(peer = name, %family, max_prefixes_out = most, left_out, "{what}");
            }
            Report::Draining { wait, leaving } => {
                let seconds = wait.as_secs_f32();
                tracing::info!(seconds, leaving, "draining: peers are asked to use other ways");
            }
            Report::Drained => tracing::info!("drained: everything is withdrawn"),
            Report::Undrained => tracing::info!("in service again"),
            Report::Left => tracing::info!("left: sessions ended for good, kernel routes removed"),
            Report::Reconfigured { changes } => {
                changes.iter().for_each(|change| tracing::info!("{change}"));
            }
            Report::LeaseBegun { client, ttl } => {
                let seconds = ttl.as_secs_f32();
                tracing::info!(client, seconds, "routes may be injected: a lease has begun");
            }
            Report::LeaseEnded { client, routes, why } => lease_over(client, *routes, *why),
            Report::StateChanged { name, from, to, .. } => {
                tracing::debug!(peer = name, from, to, "state");
            }
            Report::StaleSwept { .. }
            | Report::LongLivedStale { .. }
            | Report::FibSwept { .. }
            | Report::Restarted
            | Report::EndOfRib { .. }
            | Report::RestartTimeShort { .. }
            | Report::RefreshUnfinished { .. }
            | Report::RouteRefreshed { .. } => restart(report),
        }
    }

    fn refused(&mut self, prefix: &bgp_core::types::Prefix, why: &str, now: Instant) {
        if self.last_refusal.is_some_and(|at| now < at + QUIET) {
            self.unnamed += 1;
            return;
        }
        let more = std::mem::take(&mut self.unnamed);
        self.last_refusal = Some(now);
        tracing::warn!(%prefix, why, more, "route not in the kernel");
    }
}

/// What belongs to restarts, ours and the peers', and to routes told again.
fn restart(report: &Report) {
    match report {
        Report::StaleSwept { name, family, routes, .. } => {
            tracing::info!(peer = name, %family, routes, "stale routes removed");
        }
        Report::LongLivedStale { name, family, kept, refused, time, .. } => {
            let seconds = time.as_secs();
            tracing::warn!(
                peer = name,
                %family,
                kept,
                refused,
                seconds,
                "restart time over; routes are kept at lowest preference"
            );
        }
        Report::FibSwept { family, routes } => {
            tracing::info!(%family, routes, "kernel routes removed that nobody announced again");
        }
        Report::Restarted => tracing::info!("restart complete: every peer has told its routes"),
        Report::EndOfRib { name, family, .. } => {
            tracing::debug!(peer = name, %family, "End-of-RIB received");
        }
        Report::RestartTimeShort { name, took, restart_time, .. } => {
            let (took, restart_time) = (took.as_secs_f32(), restart_time.as_secs());
            tracing::warn!(
                peer = name,
                took,
                restart_time,
                "graceful_restart.restart_time is short for what a restart takes here"
            );
        }
        Report::RefreshUnfinished { name, family, .. } => {
            tracing::warn!(peer = name, %family, "refresh of its routes never ended");
        }
        Report::RouteRefreshed { name, family, .. } => {
            tracing::debug!(peer = name, %family, "route refresh asked for");
        }
        // The others are told of above.
        _ => {}
    }
}

fn lease_over(client: &str, routes: usize, why: LeaseEnd) {
    match why {
        LeaseEnd::Released => tracing::info!(client, routes, "injected routes taken back"),
        LeaseEnd::Expired => {
            tracing::warn!(client, routes, "injected routes withdrawn: nobody renewed their lease");
        }
    }
}

/// Routes over several next hops are without these.
pub(crate) fn left_out(hops: &BTreeMap<Gateway, String>) {
    if hops.is_empty() {
        return tracing::info!("every next hop of the kernel's routes is used");
    }
    for (next_hop, why) in hops {
        let next_hop = show::gateway(next_hop);
        tracing::warn!(next_hop, why, "routes over several next hops do without this one");
    }
}

fn down(name: &str, cause: &Cause, stale: usize) {
    match cause.text() {
        Some(cause) => tracing::warn!(peer = name, cause, stale, "session lost"),
        None => tracing::info!(peer = name, cause = cause.label(), stale, "session ended"),
    }
}
