//! Leases of injected routes, kept over the end of this process.
//!
//! One file a lease, replaced whole. Only this boot and network namespace counts, as the kernel's
//! routes do, so nothing has to be on disk: what the page cache has outlives the process.

use bgp_core::inject::{InjectedRoute, KeptLease, LeaseView};
use bgp_core::types::NextHop;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

/// While no speaker ran nobody could renew: a client has at least this long to be back.
const RETURN: Duration = Duration::from_secs(15);
/// A renewal is written down when this part of the lease has passed since the last time.
const PART: u32 = 4;

#[derive(Debug)]
pub(crate) struct LeaseFiles {
    dir: PathBuf,
    here: String,
    /// When each was written, by CLOCK_BOOTTIME.
    written: HashMap<String, Duration>,
    problem: Option<String>,
}

impl LeaseFiles {
    /// What an earlier process over the same kernel routes has left. `now` is CLOCK_BOOTTIME.
    pub(crate) fn read(state: &Path, here: &str, now: Duration) -> (Self, Vec<KeptLease>) {
        let dir = state.join("leases");
        let files = Self { dir, here: here.into(), written: HashMap::new(), problem: None };
        let mut kept = Vec::new();
        for entry in std::fs::read_dir(&files.dir).into_iter().flatten().flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            match parse(&text, here, now) {
                Some(lease) => kept.push(lease),
                None => drop(std::fs::remove_file(entry.path())),
            }
        }
        kept.sort_by(|a, b| a.client.cmp(&b.client));
        (files, kept)
    }

    /// The speaker has left: nothing of it is to come back.
    pub(crate) fn clear(state: &Path) {
        let _ = std::fs::remove_dir_all(state.join("leases"));
    }

    /// Whether a renewal alone is worth a write.
    pub(crate) fn is_old(&self, view: &LeaseView, now: Duration) -> bool {
        let written = self.written.get(&view.client);
        written.is_none_or(|at| now.saturating_sub(*at) > view.ttl / PART)
    }

    pub(crate) fn write(&mut self, view: &LeaseView, routes: &[InjectedRoute], now: Duration) {
        let text = text(view, routes, &self.here, now);
        let done = replace(&self.dir, &self.path(&view.client), &text);
        self.problem = done.err().map(|error| {
            format!(
                "injected routes would not outlive this process: {}: {error}",
                self.dir.display()
            )
        });
        self.written.insert(view.client.clone(), now);
    }

    pub(crate) fn remove(&mut self, client: &str) {
        self.written.remove(client);
        let _ = std::fs::remove_file(self.path(client));
    }

    pub(crate) fn warning(&self) -> Option<String> {
        self.problem.clone()
    }

    /// "/" is part of names, "," is not.
    fn path(&self, client: &str) -> PathBuf {
        self.dir.join(format!("{}.lease", client.replace('/', ",")))
    }
}

fn replace(dir: &Path, path: &Path, text: &str) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let new = dir.join("new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)
}

fn text(view: &LeaseView, routes: &[InjectedRoute], here: &str, now: Duration) -> String {
    let until =
        view.left.map_or_else(|| "held".into(), |left| (now + left).as_millis().to_string());
    let ttl = view.ttl.as_millis();
    let mut text = format!("lease 1\n{here}\n{}\n{ttl}\n{until}\n", view.client);
    for route in routes {
        let _ = writeln!(text, "{}", line(route));
    }
    text.push_str("end\n");
    text
}

/// `PREFIX NEXT-HOP COMMUNITIES LARGE-COMMUNITIES LOCAL-PREF MED`, "-" for what is not there.
fn line(route: &InjectedRoute) -> String {
    let small: Vec<String> = route.communities.iter().map(ToString::to_string).collect();
    let large: Vec<String> =
        route.large_communities.iter().map(|[a, b, c]| format!("{a}:{b}:{c}")).collect();
    let fields = [
        route.next_hop.map(|hop| hop.to_string()),
        Some(small.join(",")),
        Some(large.join(",")),
        route.local_pref.map(|pref| pref.to_string()),
        route.med.map(|med| med.to_string()),
    ];
    let shown = |f: Option<String>| f.filter(|f| !f.is_empty()).unwrap_or_else(|| "-".into());
    let fields: Vec<String> = fields.into_iter().map(shown).collect();
    format!("{} {}", route.prefix, fields.join(" "))
}

/// `None`: of another boot, or none of ours.
fn parse(text: &str, here: &str, now: Duration) -> Option<KeptLease> {
    let mut lines = text.lines();
    let of_here = lines.next()? == "lease 1" && lines.next()? == here;
    let client = lines.next().filter(|_| of_here)?.to_owned();
    let ttl = Duration::from_millis(lines.next()?.parse().ok()?);
    let left = match lines.next()? {
        "held" => ttl,
        until => Duration::from_millis(until.parse().ok()?).saturating_sub(now),
    };
    let left = left.max(RETURN.min(ttl)).min(ttl);
    let mut routes = Vec::new();
    loop {
        match lines.next()? {
            "end" => return Some(KeptLease { client, ttl, left, routes }),
            line => routes.push(route(line)?),
        }
    }
}

fn route(line: &str) -> Option<InjectedRoute> {
    let fields: Vec<&str> = line.split(' ').collect();
    let &[prefix, next_hop, small, large, local_pref, med] = fields.as_slice() else { return None };
    let next_hop = optional::<IpAddr>(next_hop)?.map(|addr| match addr {
        IpAddr::V4(a) => NextHop::V4(a),
        IpAddr::V6(global) => NextHop::V6 { global, link_local: None },
    });
    Some(InjectedRoute {
        prefix: prefix.parse().ok()?,
        next_hop,
        communities: list(small, |c| c.parse().ok())?,
        large_communities: list(large, |c| {
            let mut parts = c.split(':').map(|part| part.parse().ok());
            Some([parts.next()??, parts.next()??, parts.next()??])
        })?,
        local_pref: optional(local_pref)?,
        med: optional(med)?,
    })
}

/// `None`: neither a value nor "-".
fn optional<T: FromStr>(field: &str) -> Option<Option<T>> {
    if field == "-" { Some(None) } else { field.parse().ok().map(Some) }
}

fn list<T>(field: &str, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    if field == "-" { Some(Vec::new()) } else { field.split(',').map(read).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1000);

    fn routes() -> Vec<InjectedRoute> {
        let bare = InjectedRoute {
            prefix: "198.18.0.1/32".parse().unwrap(),
            next_hop: None,
            communities: Vec::new(),
            large_communities: Vec::new(),
            local_pref: None,
            med: None,
        };
        let full = InjectedRoute {
            prefix: "2001:db8:1::/48".parse().unwrap(),
            next_hop: Some(NextHop::V6 {
                global: "2001:db8::7".parse().unwrap(),
                link_local: None,
            }),
            communities: vec![1, u32::MAX],
            large_communities: vec![[1, 2, 3], [u32::MAX, 0, 0]],
            local_pref: Some(0),
            med: Some(7),
        };
        vec![bare, full]
    }

    fn view(ttl: u64, left: Option<u64>) -> LeaseView {
        LeaseView {
            client: "lb/a".into(),
            ttl: Duration::from_secs(ttl),
            left: left.map(Duration::from_secs),
            age: Duration::ZERO,
            routes: 2,
        }
    }

    fn left(kept: &[KeptLease]) -> u64 {
        kept.first().unwrap().left.as_secs()
    }

    #[test]
    fn a_lease_is_kept_with_its_routes_and_the_time_it_has_left() {
        let dir = tempfile::tempdir().unwrap();
        let read = |at| LeaseFiles::read(dir.path(), "here", at);
        let (mut files, none) = read(NOW);
        assert!(none.is_empty());
        files.write(&view(60, Some(50)), &routes(), NOW);
        let kept = read(NOW + Duration::from_secs(10)).1;
        assert_eq!((kept.len(), left(&kept)), (1, 40));
        assert_eq!((kept[0].client.as_str(), &kept[0].routes), ("lb/a", &routes()));
        let late = read(NOW + Duration::from_secs(500)).1;
        assert_eq!(left(&late), 15, "while no speaker ran nobody could renew");
        files.write(&view(60, None), &routes(), NOW);
        assert_eq!(left(&read(NOW + Duration::from_secs(500)).1), 60, "held");
        files.remove("lb/a");
        assert!(read(NOW).1.is_empty());
    }

    #[test]
    fn what_another_boot_has_left_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (mut files, _) = LeaseFiles::read(dir.path(), "boot-1", NOW);
        files.write(&view(60, None), &routes(), NOW);
        assert!(LeaseFiles::read(dir.path(), "boot-2", NOW).1.is_empty());
        assert!(LeaseFiles::read(dir.path(), "boot-1", NOW).1.is_empty(), "for good");
    }

    #[test]
    fn a_file_that_was_cut_or_is_none_of_ours_says_nothing() {
        let whole = text(&view(60, Some(50)), &routes(), "here", NOW);
        assert!(parse(&whole, "here", NOW).is_some());
        for end in 0..whole.len() - 1 {
            assert_eq!(parse(&whole[..end], "here", NOW), None, "{end}");
        }
        for odd in ["", "lease 2\nhere\na\n1\nheld\nend\n", "\0\0\0"] {
            assert_eq!(parse(odd, "here", NOW), None);
        }
        for (from, to) in [("198.18.0.1/32", "198.18.0.1/33"), ("60000", "-1"), (" - ", " x ")] {
            assert_eq!(parse(&whole.replacen(from, to, 1), "here", NOW), None, "{from}");
        }
    }

    #[test]
    fn a_disk_that_takes_nothing_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("leases"), "no directory").unwrap();
        let (mut files, _) = LeaseFiles::read(dir.path(), "here", NOW);
        files.write(&view(60, None), &routes(), NOW);
        assert!(files.warning().unwrap().contains("would not outlive this process"));
    }

    #[test]
    fn renewals_are_written_now_and_then() {
        let dir = tempfile::tempdir().unwrap();
        let (mut files, _) = LeaseFiles::read(dir.path(), "here", NOW);
        let of = view(60, Some(60));
        assert!(files.is_old(&of, NOW));
        files.write(&of, &[], NOW);
        assert!(!files.is_old(&of, NOW + Duration::from_secs(15)));
        assert!(files.is_old(&of, NOW + Duration::from_secs(16)));
    }
}
