//! DELs that found no ipamd: a file each in a directory that both know. The plugin writes them
//! durably and says success; ipamd applies them before it answers anybody, and takes them away.
//!
//! A file is named after its attachment, so a DEL that is repeated is the same file, and holds the
//! request behind a line that tells the format. What cannot be read is nobody's DEL.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mainstay_proto::ipam::v1::CniRequest;
use mainstay_proto::ipam::v1::cni_request::Command;
use prost::Message;

/// Files in the directory; past it a DEL is not taken, and the runtime asks again.
pub const MOST: usize = 4096;
/// Far more than an attachment can have.
const LONGEST: u64 = 4096;
const FORMAT: &[u8] = b"mainstay DEL 1\n";
const SUFFIX: &str = "del";
const UNFINISHED: &str = "tmp";
const BAD: &str = "bad";

/// What there is in a spool.
#[derive(Debug, Default)]
pub struct Found {
    pub dels: Vec<(PathBuf, CniRequest)>,
    /// What cannot be read, and why.
    pub bad: Vec<(PathBuf, String)>,
}

/// Leaves a DEL in `dir`. It is on the disk once this returns.
pub fn put(dir: &Path, request: &CniRequest) -> io::Result<()> {
    if fs::read_dir(dir)?.take(MOST).count() >= MOST {
        return Err(io::Error::other(format!("it has {MOST} files")));
    }
    // The attachment is all that a DEL needs.
    let request = CniRequest {
        command: Command::Del.into(),
        network: request.network.clone(),
        container_id: request.container_id.clone(),
        ifname: request.ifname.clone(),
        ..CniRequest::default()
    };
    let path = path(dir, &request);
    let unfinished = path.with_extension(format!("{}.{UNFINISHED}", std::process::id()));
    let written = write(&unfinished, &request).and_then(|()| fs::rename(&unfinished, &path));
    if let Err(error) = written {
        let _ = fs::remove_file(&unfinished);
        return Err(error);
    }
    File::open(dir)?.sync_all()
}

fn write(path: &Path, request: &CniRequest) -> io::Result<()> {
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(&[FORMAT, &request.encode_to_vec()].concat())?;
    file.sync_all()
}

/// Where the DEL of an attachment is.
#[must_use]
pub fn path(dir: &Path, request: &CniRequest) -> PathBuf {
    let CniRequest { network, container_id, ifname, .. } = request;
    let key = [network, container_id, ifname].map(String::as_bytes).join(&0);
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        // FNV-1a: the names are the runtime's own, and libcni's grammar keeps them distinct.
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    dir.join(format!("{hash:016x}.{SUFFIX}"))
}

/// Everything that lies in `dir`.
pub fn read(dir: &Path) -> io::Result<Found> {
    let mut found = Found::default();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|suffix| suffix != SUFFIX) {
            continue;
        }
        match read_one(dir, &path) {
            Ok(request) => found.dels.push((path, request)),
            // Taken away meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => found.bad.push((path, error.to_string())),
        }
    }
    found.dels.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

fn read_one(dir: &Path, file: &Path) -> io::Result<CniRequest> {
    let meta = fs::symlink_metadata(file)?;
    if !meta.is_file() || meta.len() > LONGEST {
        return Err(io::Error::other("it is no file of at most 4096 bytes"));
    }
    let bytes = fs::read(file)?;
    let Some(message) = bytes.strip_prefix(FORMAT) else {
        return Err(io::Error::other("it does not begin with \"mainstay DEL 1\""));
    };
    let request = CniRequest::decode(message).map_err(io::Error::other)?;
    if request.command() != Command::Del || path(dir, &request) != file {
        return Err(io::Error::other("it is not the DEL that its name stands for"));
    }
    Ok(request)
}

/// Out of the way, but kept for whoever wants to know.
pub fn set_aside(file: &Path) -> io::Result<PathBuf> {
    let aside = file.with_extension(BAD);
    fs::rename(file, &aside).map(|()| aside)
}

/// Files of a plugin that did not live to finish them: nobody was told that they are kept.
pub fn remove_unfinished(dir: &Path, older_than: std::time::Duration) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let unfinished = path.extension().is_some_and(|suffix| suffix == UNFINISHED);
        let age = || fs::metadata(&path).and_then(|m| m.modified()).ok()?.elapsed().ok();
        if unfinished && age().is_some_and(|age| age > older_than) {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn del(network: &str, container_id: &str, ifname: &str) -> CniRequest {
        CniRequest {
            command: Command::Del.into(),
            network: network.into(),
            container_id: container_id.into(),
            ifname: ifname.into(),
            ..CniRequest::default()
        }
    }

    #[test]
    fn what_was_put_is_found_once_and_nothing_unfinished_stays() {
        let dir = tempfile::tempdir().unwrap();
        let mut asked = del("pods", "c1", "eth0");
        asked.netns = "/run/netns/x".into();
        for request in [&asked, &asked, &del("pods", "c1", "eth1"), &del("pods", "c2", "eth0")] {
            put(dir.path(), request).unwrap();
        }
        let found = read(dir.path()).unwrap();
        assert_eq!((found.dels.len(), found.bad.len()), (3, 0));
        assert!(found.dels.iter().any(|(_, request)| *request == del("pods", "c1", "eth0")));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    #[test]
    fn a_full_spool_takes_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        for n in 0..MOST {
            File::create(dir.path().join(format!("{n}.bad"))).unwrap();
        }
        let error = put(dir.path(), &del("pods", "c1", "eth0")).unwrap_err();
        assert_eq!(error.to_string(), "it has 4096 files");
    }

    #[test]
    fn a_renamed_a_torn_and_a_foreign_file_are_bad_and_can_be_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let request = del("pods", "c1", "eth0");
        put(dir.path(), &request).unwrap();
        let good = path(dir.path(), &request);
        fs::copy(&good, dir.path().join("0000000000000000.del")).unwrap();
        let bytes = fs::read(&good).unwrap();
        fs::write(&good, &bytes[..bytes.len() - 1]).unwrap();
        fs::write(dir.path().join("foreign.del"), "rm -rf /").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link.del")).unwrap();
        let found = read(dir.path()).unwrap();
        assert_eq!((found.dels.len(), found.bad.len()), (0, 4), "{found:?}");
        for (path, _) in &found.bad {
            assert!(set_aside(path).unwrap().exists());
        }
        assert!(read(dir.path()).unwrap().bad.is_empty());
    }

    proptest! {
        #[test]
        fn no_file_whatever_it_holds_is_a_del_of_another_attachment(
            bytes in prop::collection::vec(any::<u8>(), 0..200), whole in any::<bool>(),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let file = path(dir.path(), &del("pods", "c1", "eth0"));
            let head: &[u8] = if whole { FORMAT } else { b"" };
            fs::write(&file, [head, &bytes].concat()).unwrap();
            let found = read(dir.path()).unwrap();
            prop_assert!(found.dels.iter().all(|(_, r)| path(dir.path(), r) == file));
            prop_assert_eq!(found.dels.len() + found.bad.len(), 1);
        }
    }
}
