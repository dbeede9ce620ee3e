//! RPKI caches, BMP stations and MRT files: the same on every node.

use super::bgp::value;
use crate::file;
use crate::model::{BmpStation, Mrt, MrtFile, RpkiServer};
use crate::read::{At, Items};
use std::path::PathBuf;
use std::time::Duration;

const STATISTICS: Duration = Duration::from_secs(60);
const BUFFER: u64 = 16 << 20;
const ROTATE: Duration = Duration::from_secs(15 * 60);
const INTERVAL: Duration = Duration::from_secs(2 * 3600);

/// The best first.
pub(super) fn rpki(bgp: &file::Bgp) -> Vec<RpkiServer> {
    let servers = bgp.rpki.as_ref().map_or(&[][..], |rpki| rpki.servers.items());
    let time = |given: &Option<At<Duration>>| given.as_ref().map(|at| at.value);
    let server = |s: &At<file::RpkiServer>| RpkiServer {
        address: s.address.0.clone(),
        preference: s.preference.as_ref().map_or(1, |p| p.0),
        refresh: time(&s.refresh),
        retry: time(&s.retry),
        expire: time(&s.expire),
    };
    let mut servers: Vec<_> = servers.iter().map(server).collect();
    servers.sort_by_key(|s| s.preference);
    servers
}

pub(super) fn bmp(bgp: &file::Bgp) -> Vec<BmpStation> {
    let station = |s: &At<file::BmpStation>| BmpStation {
        address: s.address.0.clone(),
        adj_in_pre: value(&s.adj_in_pre, true),
        adj_in_post: value(&s.adj_in_post, false),
        loc_rib: value(&s.loc_rib, false),
        statistics: value(&s.statistics, STATISTICS),
        buffer: s.buffer.as_ref().map_or(BUFFER, |size| size.0),
    };
    bgp.bmp.items().iter().map(station).collect()
}

pub(super) fn mrt(bgp: &file::Bgp) -> Mrt {
    let Some(mrt) = &bgp.mrt else { return Mrt::default() };
    let file = |path: &PathBuf, every: &Option<At<Duration>>, default| MrtFile {
        path: path.clone(),
        every: value(every, default),
    };
    Mrt {
        updates: mrt.updates.as_ref().map(|u| file(&u.path.0, &u.rotate, ROTATE)),
        rib: mrt.rib.as_ref().map(|r| file(&r.path.0, &r.interval, INTERVAL)),
    }
}
