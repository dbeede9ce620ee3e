//! From the command line to serving.

use super::{Bfd, Shell, StateFile, Watchdog, log, signals, store};
use crate::client::SOCKET;
use crate::keeper::{Keeper, Limits};
use crate::protocol::Status;
use crate::shell::store::Store;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{DumpableBehavior, Resource, getrlimit, set_dumpable_behavior, setrlimit};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::fs::{File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub const USAGE: &str = "\
Holds the BGP speaker's sessions while no speaker runs

Usage: mainstay-keeper [OPTIONS]

Options:
      --run-dir <DIR>          Where the sockets are [default: /run/mainstay]
      --ready-fd <N>           Write a line to this descriptor once serving, and close it
      --max-orphan <DURATION>  How long a session is held without a speaker, as 90s, 10m or 1h,
                               until a speaker says otherwise [default: 10m]
      --config <FILE>          Not read: what the configuration says of the keeper
                               (keeper.max_orphan, bfd) comes from the speaker
      --node <NAME>            Not used, as --config
      --state-dir <DIR>        Not used: the keeper has nothing on disk
  -h, --help                   Print help
  -V, --version                Print version

The options that are not used are there so that every daemon can be started alike.
";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Args {
    pub run_dir: PathBuf,
    pub ready_fd: Option<RawFd>,
    pub max_orphan: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgsError {
    /// Printed, and all is well.
    #[error("{0}")]
    Asked(String),
    #[error("unknown option {0}; see --help")]
    Unknown(String),
    #[error("{0} wants a value")]
    Missing(String),
    #[error("{option} {value}: {why}")]
    Value { option: &'static str, value: String, why: &'static str },
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("another keeper is running here (pid {pid}, lock {path}); stop it first, or give this one its own --run-dir", path = path.display())]
    Taken { pid: String, path: PathBuf },
    #[error("cannot open {path}: {source}", path = path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("--ready-fd {0} is not an open descriptor above 2")]
    ReadyFd(RawFd),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Args {
    pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Self, ArgsError> {
        let mut args = Self {
            run_dir: "/run/mainstay".into(),
            ready_fd: None,
            max_orphan: Limits::default().max_orphan,
        };
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let word = word.to_string_lossy().into_owned();
            let (option, glued) = match word.split_once('=') {
                Some((option, value)) => (option.to_owned(), Some(OsString::from(value))),
                None => (word.clone(), None),
            };
            let mut value = || {
                glued
                    .clone()
                    .or_else(|| words.next())
                    .ok_or_else(|| ArgsError::Missing(option.clone()))
            };
            match option.as_str() {
                "--run-dir" => args.run_dir = value()?.into(),
                "--ready-fd" => args.ready_fd = Some(parse_fd(&value()?.to_string_lossy())?),
                "--max-orphan" => args.max_orphan = parse_duration(&value()?.to_string_lossy())?,
                // Every daemon takes them.
                "--config" | "--node" | "--state-dir" => drop(value()?),
                "-h" | "--help" => return Err(ArgsError::Asked(USAGE.into())),
                "-V" | "--version" => {
                    let version = env!("CARGO_PKG_VERSION");
                    return Err(ArgsError::Asked(format!("mainstay-keeper {version}\n")));
                }
                _ => return Err(ArgsError::Unknown(word)),
            }
        }
        Ok(args)
    }
}

fn parse_fd(text: &str) -> Result<RawFd, ArgsError> {
    text.parse().ok().filter(|n| *n > 2).ok_or_else(|| ArgsError::Value {
        option: "--ready-fd",
        value: text.into(),
        why: "not a descriptor above 2",
    })
}

fn parse_duration(text: &str) -> Result<Duration, ArgsError> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.strip_prefix(digits) {
        Some("" | "s") => Some(1),
        Some("m") => Some(60),
        Some("h") => Some(3600),
        _ => None,
    };
    let day = 86_400;
    let seconds = digits.parse::<u64>().ok().zip(unit).and_then(|(n, u)| n.checked_mul(u));
    seconds.filter(|n| *n <= day).map(Duration::from_secs).ok_or_else(|| ArgsError::Value {
        option: "--max-orphan",
        value: text.into(),
        why: "not a duration of at most a day, as 90s, 10m or 1h",
    })
}

/// Serves until SIGTERM. Called first thing in `main`.
pub fn run(args: &Args) -> Result<(), StartError> {
    let passed = store::passed();
    let ready = args.ready_fd.map(adopt).transpose()?;
    let signals = signals::open()?;
    harden();
    let lock = take_lock(&args.run_dir)?;
    let (state, said) = StateFile::open(&passed);
    let max_orphan = said.as_ref().map_or(args.max_orphan, |state| state.max_orphan);
    let mut shell = Shell {
        keeper: Keeper::new(Limits { max_orphan, ..Limits::default() }),
        listener: listen(&args.run_dir.join(SOCKET))?,
        signals,
        store: Store::open()?,
        watchdog: Watchdog::open(),
        state,
        bfd: Bfd::new(),
        conns: BTreeMap::new(),
        processes: BTreeMap::new(),
        sessions: BTreeMap::new(),
        gone: VecDeque::new(),
        counts: Status::default(),
        stored: Vec::new(),
        next_id: 0,
        pause: false,
    };
    // First: it is the one that cannot wait.
    shell.restore_bfd(&said.map(|state| state.bfd_sessions()).unwrap_or_default());
    shell.restore(passed);
    shell.store.ready();
    if let Some(mut ready) = ready {
        let _ = ready.write_all(b"ready\n");
    }
    log::info(&format!("serving in {}", args.run_dir.display()));
    shell.serve()?;
    drop(lock);
    Ok(())
}

/// What this process will never need, it gives up. None of it is worth failing for.
fn harden() {
    let _ = rustix::thread::set_no_new_privs(true);
    // No core dump and no ptrace: peers' routes and the sessions' descriptors are in here.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    let _ = setrlimit(Resource::Nofile, files);
}

fn take_lock(run_dir: &Path) -> Result<File, StartError> {
    let path = run_dir.join("keeper.lock");
    let failed = |source| StartError::Open { path: path.clone(), source };
    std::fs::DirBuilder::new().recursive(true).mode(0o755).create(run_dir).map_err(failed)?;
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            return Err(StartError::Taken { pid: pid.trim().into(), path: path.clone() });
        }
        Err(TryLockError::Error(e)) => return Err(failed(e)),
    }
    file.set_len(0).map_err(failed)?;
    writeln!(file, "{}", std::process::id()).map_err(failed)?;
    Ok(file)
}

/// Only under the lock: what lies there is a dead keeper's.
fn listen(path: &Path) -> Result<OwnedFd, StartError> {
    let open = || -> io::Result<OwnedFd> {
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let kind = SocketType::SEQPACKET;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
        // The umask already keeps others out; this says it in so many words.
        rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
        rustix::net::listen(&socket, 16)?;
        Ok(socket)
    };
    open().map_err(|source| StartError::Open { path: path.into(), source })
}

#[allow(unsafe_code)]
fn adopt(n: RawFd) -> Result<File, StartError> {
    // SAFETY: only looked at; that it may not be open is what this call finds out.
    let seen = unsafe { rustix::fd::BorrowedFd::borrow_raw(n) };
    rustix::io::fcntl_setfd(seen, rustix::io::FdFlags::CLOEXEC)
        .map_err(|_| StartError::ReadyFd(n))?;
    // SAFETY: open, above stderr, and passed for us to own; not one of the service manager's,
    // which were taken before and would clash only if the caller passed the same number twice.
    Ok(unsafe { File::from_raw_fd(n) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Args, ArgsError> {
        Args::parse(words.iter().map(OsString::from))
    }

    #[test]
    fn every_option_is_understood_and_nothing_else() {
        let args = parse(&["--run-dir", "/x", "--ready-fd=5", "--max-orphan", "2m"]).unwrap();
        let max_orphan = Duration::from_secs(120);
        assert_eq!(args, Args { run_dir: "/x".into(), ready_fd: Some(5), max_orphan });
        assert_eq!(parse(&["--run-dir"]), Err(ArgsError::Missing("--run-dir".into())));
        assert_eq!(parse(&["-x"]), Err(ArgsError::Unknown("-x".into())));
        for value in ["", "x", "10d", "25h", "-1s", "99999999999999999999"] {
            assert!(parse(&["--max-orphan", value]).is_err(), "{value}");
        }
        assert!(parse(&["--ready-fd", "2"]).is_err());
        let alike = ["--config", "/x.yaml", "--node=a", "--run-dir", "/x", "--state-dir", "/y"];
        assert_eq!(parse(&alike).unwrap().run_dir, Path::new("/x"));
        assert_eq!(parse(&["--node"]), Err(ArgsError::Missing("--node".into())));
    }

    #[test]
    fn help_names_every_option() {
        let Err(ArgsError::Asked(help)) = parse(&["--help"]) else { panic!("no help") };
        for option in [
            "--run-dir",
            "--ready-fd",
            "--max-orphan",
            "--config",
            "--node",
            "--state-dir",
            "--version",
        ] {
            assert!(help.contains(option), "{option}");
        }
    }
}
