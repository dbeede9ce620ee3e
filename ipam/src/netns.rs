//! Whether a sandbox's network namespace is proven gone.

use ipam_core::Rival;
use mainstay_netns::{Place, place};
use std::path::Path;

/// The leases of those whose namespace is proven gone. That a path is not there, or is no
/// namespace, proves something only where this process would see it if it were: in the directory in
/// which it sees the namespace of whoever asks.
pub(crate) fn gone(rivals: &[Rival], asking: &str) -> Vec<u64> {
    let asking = Path::new(asking);
    if rivals.is_empty() || place(asking) != Place::There {
        return Vec::new();
    }
    let gone = |rival: &&Rival| {
        let path = Path::new(&rival.netns);
        path.parent() == asking.parent() && path != asking && is_gone(path)
    };
    rivals.iter().filter(gone).map(|rival| rival.seq).collect()
}

/// Unmounted, or removed altogether; whatever else is wrong with a path proves nothing.
fn is_gone(path: &Path) -> bool {
    matches!(place(path), Place::Bare | Place::Missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn rival(netns: &str) -> Rival {
        Rival { address: [10, 0, 0, 2].into(), seq: 7, netns: netns.into() }
    }

    #[test]
    fn only_a_path_beside_a_visible_namespace_proves_anything() {
        // This process's own namespaces are mounted nowhere, but seen through /proc.
        let own = "/proc/self/ns/net";
        assert_eq!(gone(&[rival("/proc/self/ns/no-such")], own), [7]);
        assert_eq!(gone(&[rival("/proc/self/ns/uts")], own), [0u64; 0], "it lives");
        assert_eq!(gone(&[rival(own)], own), [0u64; 0]);
        assert_eq!(gone(&[rival("/run/netns/no-such")], own), [0u64; 0], "another directory");
        assert_eq!(gone(&[rival("")], own), [0u64; 0]);
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("a"), "").unwrap();
        assert_eq!(
            gone(&[rival(&path("b"))], &path("a")),
            [0u64; 0],
            "the asker's is no namespace"
        );
    }

    #[test]
    fn a_file_that_is_no_mount_any_more_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("plain"), "").unwrap();
        fs::create_dir(dir.path().join("dir")).unwrap();
        assert!(is_gone(&dir.path().join("plain")));
        assert!(is_gone(&dir.path().join("missing")));
        assert!(!is_gone(&dir.path().join("dir")));
        assert!(!is_gone(Path::new("/proc/self/ns/net")));
    }
}
