//! A runtime that is told of a plugin it does not find can start no pod and end none.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Whether the runtime finds a plugin that it can execute.
pub(super) fn is_there(dirs: &[PathBuf], name: &str) -> Result<(), String> {
    let paths: Vec<_> = dirs.iter().map(|dir| dir.join(name)).collect();
    let shown = |path: &Path| path.display().to_string();
    match paths.iter().find(|path| path.is_file()) {
        Some(path) if is_executable(path) => Ok(()),
        Some(path) => Err(format!("{} cannot be executed; nothing is switched", shown(path))),
        None => {
            let dirs: Vec<_> = dirs.iter().map(|dir| shown(dir)).collect();
            let how = "--bin-dir says where the runtime looks for plugins";
            Err(format!("there is no {name} in {}; nothing is switched; {how}", dirs.join(", ")))
        }
    }
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_is_there_when_it_can_be_executed() {
        let dir = tempfile::tempdir().unwrap();
        let dirs = ["/nowhere".into(), dir.path().to_owned()];
        let error = || is_there(&dirs, "host-local").unwrap_err();
        assert!(error().starts_with("there is no host-local in /nowhere, "), "{}", error());
        let path = dir.path().join("host-local");
        fs::write(&path, "").unwrap();
        assert!(error().contains("cannot be executed"), "{}", error());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(is_there(&dirs, "host-local"), Ok(()));
        fs::create_dir(dir.path().join("calico-ipam")).unwrap();
        assert!(is_there(&dirs, "calico-ipam").is_err(), "a directory is no plugin");
    }
}
