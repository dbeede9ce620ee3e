//! RPKI caches, BMP stations and MRT files.

use super::unique;
use crate::fault::Log;
use crate::file::{Bgp, Rule};
use crate::read::{At, Items};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn check(bgp: &Bgp, log: &mut Log) {
    if let Some(rpki) = &bgp.rpki {
        let servers = rpki.servers.items();
        if servers.is_empty() && !log.has(&rpki.place.below("servers")) {
            log.error(&rpki.place, "no servers; leave rpki out to validate no origins");
        }
        unique(log, servers.iter().map(|s| &s.address), |address| address.0.clone());
        for server in servers {
            within(&server.refresh, (SECOND, DAY), "1s to 24h", log);
            within(&server.retry, (SECOND, Duration::from_secs(7200)), "1s to 2h", log);
            let expire = (Duration::from_secs(10), 2 * DAY);
            within(&server.expire, expire, "10s to 48h", log);
        }
    }
    origins_unknown(bgp, log);
    let stations = bgp.bmp.items();
    unique(log, stations.iter().map(|s| &s.address), |address| address.0.clone());
    for station in stations {
        let statistics = station.statistics.clone().filter(|at| !at.value.is_zero());
        within(&statistics, (SECOND, DAY), "0s, or 1s to 24h", log);
        let on = |key: &Option<At<bool>>, default| key.as_ref().map_or(default, |at| at.value);
        if !on(&station.adj_in_pre, true)
            && !on(&station.adj_in_post, false)
            && !on(&station.loc_rib, false)
        {
            log.warn(
                &station.place,
                "told of no routes: neither adj_in_pre, adj_in_post nor loc_rib",
            );
        }
        if let Some(buffer) = station.buffer.as_ref().filter(|b| b.0 == 0) {
            log.error(&buffer.place, "0 leaves no room for a single message");
        }
    }
    if let Some(mrt) = &bgp.mrt {
        let updates = mrt.updates.as_ref();
        within(&updates.and_then(|u| u.rotate.clone()), (SECOND, DAY), "1s to 24h", log);
        let rib = mrt.rib.as_ref();
        within(&rib.and_then(|r| r.interval.clone()), (SECOND, DAY), "1s to 24h", log);
        if let (Some(updates), Some(rib)) = (updates, rib)
            && updates.path.0 == rib.path.0
        {
            log.error(&rib.path.place, "the same file as mrt.updates.path");
        }
    }
}

/// What nobody is asked nobody can say.
fn origins_unknown(bgp: &Bgp, log: &mut Log) {
    for policy in bgp.policies.items().iter().filter(|_| bgp.rpki.is_none()) {
        let about = |rule: &&At<Rule>| rule.r#match.as_ref().is_some_and(|m| m.rpki.is_some());
        if let Some(rule) = policy.rules.iter().find(about) {
            log.warn(&rule.place, "without bgp.rpki every route is not-found");
        }
    }
}

fn within(
    time: &Option<At<Duration>>,
    (least, most): (Duration, Duration),
    words: &str,
    log: &mut Log,
) {
    if let Some(at) = time.as_ref().filter(|at| !(least..=most).contains(&at.value)) {
        log.error(&at.place, format!("{} is not within {words}", at.text));
    }
}
