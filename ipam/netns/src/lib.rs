//! Network namespaces as they are mounted for containers: whether one is there, which addresses it
//! has, whether it is of this host. The only place that knows how the kernel tells; what follows
//! from it is decided by who asks.

mod netlink;
mod visit;

pub use visit::{Visitor, visit};

use rustix::fs::statfs;
use rustix::io::Errno;
use std::fs;
use std::path::{Path, PathBuf};

/// `NSFS_MAGIC` of linux/magic.h: what namespaces are mounted from.
const NSFS_MAGIC: rustix::fs::FsWord = 0x6e73_6673;
/// Where runtimes and `ip netns` mount them; the second is usually the first.
const DIRECTORIES: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// What stands at a path where a namespace was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A namespace.
    There,
    /// A plain file: it was unmounted, or it is a mount that does not reach us.
    Bare,
    /// Nothing, in a directory that is there.
    Missing,
    /// Something else, or we cannot see where it would be.
    Hidden,
}

/// Asks the file system, which may be slow.
#[must_use]
pub fn place(path: &Path) -> Place {
    if !path.is_absolute() {
        return Place::Hidden;
    }
    match statfs(path) {
        Ok(found) if found.f_type == NSFS_MAGIC => Place::There,
        Ok(_) if fs::symlink_metadata(path).is_ok_and(|there| there.is_file()) => Place::Bare,
        Err(Errno::NOENT) if path.parent().is_some_and(Path::is_dir) && !exists(path) => {
            Place::Missing
        }
        _ => Place::Hidden,
    }
}

/// Also a link that leads nowhere.
fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Every path at which a namespace may be mounted by name.
#[must_use]
pub fn named() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for directory in DIRECTORIES {
        let Ok(real) = fs::canonicalize(directory) else { continue };
        let Ok(entries) = fs::read_dir(real) else { continue };
        found.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
    }
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_told_from_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        assert_eq!(place(&path("netns")), Place::Missing);
        fs::write(path("netns"), "").unwrap();
        assert_eq!(place(&path("netns")), Place::Bare);
        fs::create_dir(path("dir")).unwrap();
        assert_eq!(place(&path("dir")), Place::Hidden);
        std::os::unix::fs::symlink("nowhere", path("link")).unwrap();
        assert_eq!(place(&path("link")), Place::Hidden);
        assert_eq!(place(Path::new("/proc/self/ns/net")), Place::There);
        for hidden in ["", "netns", "/no/such/directory/netns", "/proc/0/ns/net"] {
            assert_eq!(place(Path::new(hidden)), Place::Hidden, "{hidden}");
        }
    }
}
