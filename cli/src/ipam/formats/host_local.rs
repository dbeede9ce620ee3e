//! The directory of host-local, `/var/lib/cni/networks/<network>`: a file for each address, its name
//! the address, in it the container and its interface; `last_reserved_ip.N` for each range; `lock`.

use super::{Entry, Found};
use std::net::IpAddr;

/// In the place of a container: the address is kept from host-local while mainstay-ipam hands out.
pub(in crate::ipam) const FENCE: &str = "mainstay-ipam";
const LINE_END: &str = "\r\n";
/// What host-local has given before it knew of interfaces.
const IFNAME: &str = "eth0";

/// One file: its name and what is in it.
pub(in crate::ipam) type File = (String, Vec<u8>);

/// Every fault names its file.
pub(in crate::ipam) fn read(files: &[File], network: &str) -> Result<Found, String> {
    let mut found = Found::default();
    for (name, text) in files {
        if is_bookkeeping(name) {
            continue;
        }
        // Windows has no colon in a name.
        let Ok(address) = name.replace('_', ":").parse::<IpAddr>() else {
            found.skipped.push(format!("{name}: no address"));
            continue;
        };
        let text = std::str::from_utf8(text).map_err(|_| format!("{name}: is not text"))?;
        let mut lines = text.trim().lines().map(str::trim);
        let container_id = lines.next().unwrap_or_default();
        if container_id == FENCE {
            continue;
        }
        let ifname = lines.next().filter(|ifname| !ifname.is_empty()).unwrap_or(IFNAME);
        if container_id.is_empty() || lines.next().is_some() {
            return Err(format!("{name}: is not a container's id and an interface"));
        }
        found.leases.push(Entry::new(address, network, container_id, ifname));
    }
    found.leases.sort_by_key(|entry| entry.address);
    Ok(found)
}

fn is_bookkeeping(name: &str) -> bool {
    name == "lock" || name.starts_with("last_reserved_ip.") || name.starts_with('.')
}

pub(in crate::ipam) fn is_fence(text: &[u8]) -> bool {
    let first = text.split(|b| *b == b'\r' || *b == b'\n').next();
    first == Some(FENCE.as_bytes())
}

/// What stands in the file of an address.
pub(in crate::ipam) fn content(container_id: &str, ifname: &str) -> String {
    format!("{container_id}{LINE_END}{ifname}")
}

/// A file for each entry, in the order of the addresses, and where host-local goes on from: the
/// highest address of each family, so that it hands out what comes after.
pub(in crate::ipam) fn write(entries: &[Entry]) -> Vec<(String, String)> {
    let mut entries: Vec<_> = entries.iter().collect();
    entries.sort_by_key(|entry| entry.address);
    let file = |e: &&Entry| (e.address.to_string(), content(&e.container_id, &e.ifname));
    let mut files: Vec<_> = entries.iter().map(file).collect();
    let last = |ipv4| entries.iter().rev().find(|entry| entry.address.is_ipv4() == ipv4);
    let last = [last(true), last(false)].into_iter().flatten().enumerate();
    files.extend(last.map(|(n, e)| (format!("last_reserved_ip.{n}"), e.address.to_string())));
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(name: &str, text: &str) -> File {
        (name.into(), text.as_bytes().to_vec())
    }

    #[test]
    fn files_as_host_local_writes_them_are_read() {
        // Made by host-local 1.1.1, 0.8.7 and the first release.
        let files = [
            file("10.1.0.3", "0c6f2b1a\r\neth0"),
            file("10.1.0.2", "5d41402a\r\nnet1"),
            file("10.1.0.4", "7d793037"),
            file("fd00::5", "0c6f2b1a\r\neth0"),
            file("10.1.0.9", "mainstay-ipam\r\nfence"),
            file("last_reserved_ip.0", "10.1.0.3"),
            file("lock", ""),
            file("notes.txt", "?"),
        ];
        let found = read(&files, "pods").unwrap();
        let show = |e: &Entry| format!("{} {} {}", e.address, e.container_id, e.ifname);
        let shown: Vec<_> = found.leases.iter().map(show).collect();
        assert_eq!(
            shown,
            [
                "10.1.0.2 5d41402a net1",
                "10.1.0.3 0c6f2b1a eth0",
                "10.1.0.4 7d793037 eth0",
                "fd00::5 0c6f2b1a eth0",
            ]
        );
        assert_eq!(found.skipped, ["notes.txt: no address"]);
    }

    #[test]
    fn a_file_that_names_nobody_is_named() {
        for (text, _) in [("", 0), ("\r\neth0", 0), ("a\r\nb\r\nc", 0)] {
            let error = read(&[file("10.1.0.2", text)], "pods");
            if text == "\r\neth0" {
                // Trimmed, it is a container of that name: host-local never writes it.
                assert!(error.is_ok());
            } else {
                let error = error.unwrap_err();
                assert_eq!(error, "10.1.0.2: is not a container's id and an interface");
            }
        }
        let error = read(&[("10.1.0.2".into(), vec![0xff])], "pods").unwrap_err();
        assert_eq!(error, "10.1.0.2: is not text");
    }

    #[test]
    fn a_directory_is_written_as_host_local_reads_it() {
        let entries = [
            Entry::new("10.1.0.9".parse().unwrap(), "pods", "c2", "eth0"),
            Entry::new("10.1.0.2".parse().unwrap(), "pods", "c1", "eth0"),
            Entry::new("fd00::2".parse().unwrap(), "pods", "c1", "eth0"),
        ];
        let written: Vec<_> = write(&entries).iter().map(|(n, t)| format!("{n}={t:?}")).collect();
        assert_eq!(
            written,
            [
                r#"10.1.0.2="c1\r\neth0""#,
                r#"10.1.0.9="c2\r\neth0""#,
                r#"fd00::2="c1\r\neth0""#,
                r#"last_reserved_ip.0="10.1.0.9""#,
                r#"last_reserved_ip.1="fd00::2""#,
            ]
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(ids in prop::collection::btree_map(any::<IpAddr>(), "[a-f0-9]{1,64}", 0..9)) {
            let entries: Vec<_> =
                ids.iter().map(|(a, id)| Entry::new(*a, "pods", id, "eth0")).collect();
            let files: Vec<File> =
                write(&entries).into_iter().map(|(n, t)| (n, t.into_bytes())).collect();
            prop_assert_eq!(read(&files, "pods").unwrap().leases, entries);
        }

        #[test]
        fn no_file_hurts(name in ".{0,20}", text in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = read(&[(name, text)], "pods");
        }
    }
}
