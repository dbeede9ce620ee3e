//! `mainstay ipam migrate`: another IPAM plugin's node becomes ours, and back, while its pods run.
//!
//! Two allocators never hand out of one block at a time: host-local is fenced off by files that take
//! every address it could give, before the runtime's configuration is switched, and given them back
//! after it is switched back; on the way to calico-ipam what is free here is on hold meanwhile. What a
//! runtime still does with the old configuration for a moment fails and is done again.

mod back;
mod plugin;
mod to_calico;
mod to_ours;

use super::conflist::Conflist;
use super::files::{self, Locked};
use super::{Client, check, formats::Entry};
use crate::ask::Daemons;
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::text::count;
use clap::ValueEnum;
use mainstay_prefix::Prefix;
use mainstay_proto::ipam::v1::Block;
use serde::Serialize;
use std::collections::HashSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
pub(super) use to_calico::as_calico;

pub(super) const HELP: &str = "\
From host-local or calico-ipam: leases are taken over, checked, and the `ipam` section of the
conflist is exchanged for mainstay-ipam's by a rename; every other byte of the file stays, and the old
file stays beside it as FILE.before-mainstay. Then what changed meanwhile is taken over too. A fault
puts everything back. Running pods are not touched; later DELs of theirs find their leases.

Back to host-local: the leases are written into its directory, and the section of
FILE.before-mainstay is put back (without that file, one made of this node's blocks).

To calico-ipam: this node's blocks, affinities and handles are written to --source as Calico keeps
them, with every lease and hold; nothing free is handed out meanwhile. Once the command of
--apply-with has put them into Calico's store, the section of FILE.before-mainstay is put back (or
a plain one of calico-ipam). --applied: what `mainstay ipam export calico` wrote to --source has
been applied by hand; a lease that is not in it keeps everything as it is.

A plugin that is not in --bin-dir is never switched to.

Keep other nodes out of this node's Calico blocks before, and give ipam.pools (or nodes[].blocks)
the blocks that the node has: an address outside of them is a conflict, and nothing changes.

Examples:
  mainstay ipam migrate --from host-local --dry-run
  mainstay ipam migrate --from host-local --conflist /etc/cni/net.d/10-pods.conflist
  mainstay ipam migrate --from calico --source blocks.yaml   # kubectl get ipamblocks -o yaml
  mainstay ipam migrate --to host-local
  mainstay ipam migrate --to calico --source back.yaml --apply-with 'kubectl apply -f'

Exit codes: 0 migrated, or would be; 1 there are conflicts or faults, and all is as it was.";

const CNI_DIR: &str = "/etc/cni/net.d";
const BESIDE: &str = "before-mainstay";
/// host-local's default.
const DATA_DIR: &str = "/var/lib/cni/networks";
/// A block's addresses that are fenced; ipamd has no larger block.
const LARGEST_BLOCK: u128 = 1 << 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Old {
    HostLocal,
    Calico,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum New {
    HostLocal,
    Calico,
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("way").required(true).args(["from", "to"]))]
pub(crate) struct Args {
    /// The plugin that is replaced by mainstay-ipam
    #[arg(long, value_enum, value_name = "PLUGIN")]
    from: Option<Old>,

    /// The plugin that replaces mainstay-ipam
    #[arg(long, value_enum, value_name = "PLUGIN")]
    to: Option<New>,

    /// The runtime's configuration; by default the first of /etc/cni/net.d, as runtimes choose
    #[arg(long, value_name = "FILE")]
    conflist: Option<PathBuf>,

    /// host-local's directory of the network, if it is not where its configuration says; of Calico,
    /// the list of blocks
    #[arg(long, value_name = "PATH")]
    source: Option<PathBuf>,

    /// Puts the list of blocks, its last argument, into Calico's store, and succeeds
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["from", "applied"])]
    apply_with: Option<String>,

    /// The list of blocks has been put into Calico's store
    #[arg(long, conflicts_with = "from")]
    applied: bool,

    /// Where the runtime looks for plugins; may be given more than once
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    bin_dir: Vec<PathBuf>,

    /// What libcni remembers
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cni/results")]
    cache: PathBuf,

    /// How long a runtime may go on with the old configuration
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = settle)]
    settle: Duration,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

fn settle(text: &str) -> Result<Duration, String> {
    let time = mainstay_config::duration(text).filter(|time| *time <= Duration::from_secs(600));
    time.ok_or_else(|| "a time such as 3s is needed, 10m at most".into())
}

/// What was done, step by step.
#[derive(Debug, Default, Serialize)]
struct Steps {
    steps: Vec<String>,
    dry_run: bool,
}

impl Steps {
    fn done(&mut self, step: impl Into<String>) {
        self.steps.push(step.into());
    }
}

/// The runtime's configuration before and after.
struct Switch {
    path: PathBuf,
    /// As it is.
    now: Conflist,
    text: String,
}

pub(super) async fn run(
    daemons: &Daemons,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let path = args.conflist.clone().map_or_else(first_conflist, Ok).map_err(Failure::Said)?;
    let switch = Switch::read(&path).map_err(Failure::Said)?;
    let mut ipamd = daemons.ipamd().await?;
    let mut steps = Steps { dry_run: args.dry_run, ..Steps::default() };
    let this = (args, &switch);
    match (args.from, args.to) {
        (Some(old), _) => to_ours::migrate(&mut ipamd, daemons, old, this, &mut steps).await?,
        (None, Some(New::Calico)) => to_calico::migrate(&mut ipamd, this, &mut steps).await?,
        (None, _) => back::migrate(&mut ipamd, this, &mut steps).await?,
    }
    if out.is_json() {
        out.json(&steps)?;
    } else {
        out.text(&(steps.steps.join("\n") + "\n"))?;
    }
    Ok(Verdict::Well)
}

fn first_conflist() -> Result<PathBuf, String> {
    let network =
        |name: &str| [".conf", ".conflist", ".json"].iter().any(|end| name.ends_with(end));
    let mut names: Vec<_> = files::directory(Path::new(CNI_DIR))?
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| network(name) && !name.starts_with('.'))
        .collect();
    names.sort();
    let first =
        names.first().ok_or_else(|| format!("{CNI_DIR} has no network; --conflist FILE"))?;
    Ok(Path::new(CNI_DIR).join(first))
}

impl Switch {
    fn read(path: &Path) -> Result<Self, String> {
        let bytes = files::read(path, 4 << 20)?;
        let named = |why: String| format!("{}: {why}", path.display());
        let text = String::from_utf8(bytes).map_err(|_| named("is not text".into()))?;
        let now = Conflist::read(text.clone()).map_err(named)?;
        Ok(Self { path: path.into(), now, text })
    }

    /// `10-pods.conflist.before-mainstay`: no runtime reads a file of that ending.
    fn beside(&self) -> PathBuf {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        self.path.with_file_name(format!("{name}.{BESIDE}"))
    }

    /// The section as it was before the migration to us, if that is what is beside.
    fn before(&self, kind: &str, steps: &mut Steps) -> Result<Option<String>, String> {
        let beside = self.beside();
        if !beside.exists() {
            return Ok(None);
        }
        let before = Self::read(&beside)?.now;
        if before.network != self.now.network || before.kind() != kind {
            return Ok(None);
        }
        steps.done(format!("the ipam section is that of {}", beside.display()));
        Ok(Some(before.section().to_owned()))
    }

    /// The runtime reads the other section from now on.
    fn put(&self, section: &str) -> Result<(), String> {
        files::replace(&self.path, self.now.with(section).as_bytes())
    }

    fn undo(&self) -> Result<(), String> {
        files::replace(&self.path, self.text.as_bytes())
    }

    fn must_be(&self, kind: &str) -> Result<(), String> {
        match self.now.kind() {
            is if is == kind => Ok(()),
            is => Err(format!("{}: its ipam is {is:?}, not {kind:?}", self.path.display())),
        }
    }
}

/// host-local's directory of a network, as its section has it.
fn host_local_dir(section: &serde_json::Value, network: &str, said: Option<&PathBuf>) -> PathBuf {
    let data_dir = section["dataDir"].as_str().filter(|dir| !dir.is_empty()).unwrap_or(DATA_DIR);
    said.cloned().unwrap_or_else(|| Path::new(data_dir).join(network))
}

/// Every address that host-local could give out of these blocks.
fn addresses(blocks: &[Block]) -> impl Iterator<Item = IpAddr> {
    let prefixes = blocks.iter().filter_map(|block| block.cidr.parse::<Prefix>().ok());
    prefixes.flat_map(|prefix| {
        (0..prefix.size().min(LARGEST_BLOCK)).filter_map(move |at| prefix.nth(at))
    })
}

/// What must not be once all leases are taken over. Other faults are told, and are no reason to stay.
async fn verify(ipamd: &mut Client, cache: &Path, steps: &mut Steps) -> Result<(), Failure> {
    let (bad, other): (Vec<_>, Vec<_>) =
        check::faults(ipamd, cache).await?.into_iter().partition(check::Fault::is_grave);
    for fault in other {
        steps.done(format!("note: {}: {}", fault.address, fault.text));
    }
    if bad.is_empty() {
        steps.done("checked: every address in use has its lease");
        return Ok(());
    }
    let lines: Vec<_> = bad.iter().map(|f| format!("\n  {}: {}", f.address, f.text)).collect();
    let many = count(bad.len() as u64, "fault");
    Err(Failure::Said(format!("{many} after the leases were taken over:{}", lines.concat())))
}

/// An error, and that everything was put back, or that it could not be.
fn put_back(failure: &Failure, undone: Result<(), String>) -> Failure {
    Failure::Said(match undone {
        Ok(()) => {
            format!("{failure}\neverything was put back; the pods' leases stay known to ipamd")
        }
        Err(why) => format!("{failure}\nand putting everything back failed: {why}"),
    })
}

fn attachments(entries: &[Entry]) -> HashSet<(IpAddr, String)> {
    entries.iter().map(|entry| (entry.address, entry.container_id.clone())).collect()
}

fn unfence(dir: &Path) -> Result<(), String> {
    Locked::take(dir)?.unfence()
}
