//! `mainstay ipam release`, `hold` and `unhold`: what an operator does to one address.

use super::leases;
use crate::ask::{Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::text::clean_line;
use mainstay_proto::ipam::v1::{HoldRequest, Lease, ReleaseRequest, UnholdRequest};
use serde::Serialize;
use std::net::IpAddr;

pub(super) const RELEASE: &str = "\
The cooldown is not shortened: for others the address is free when it is over. SEQ is the number of
the lease, as `mainstay ipam show ADDRESS` tells it: a lease that has changed hands meanwhile is
not released.

Examples:
  mainstay ipam release 10.244.0.5 --seq 41 --dry-run    what would be done
  mainstay ipam release 10.244.0.5 --seq 41              no longer kept for its owner
  mainstay ipam release 10.244.0.5 --seq 41 --force      taken from a container that has it

Exit codes: 0 released; 1 it is nobody's, or another lease, or a container has it and --force
is not given.";

pub(super) const HOLD: &str = "\
Who has the address keeps it; nobody gets it after that, until `mainstay ipam unhold`.

Examples:
  mainstay ipam hold 10.244.0.5 --reason 'a printer answers on it'

Exit codes: 0 on hold; 1 this node cannot hand it out, so there is nothing to hold.";

pub(super) const UNHOLD: &str = "\
Examples:
  mainstay ipam unhold 10.244.0.5

Exit codes: 0 no longer on hold; 1 it was not.";

#[derive(Debug, clap::Args)]
pub(crate) struct Release {
    address: IpAddr,

    /// The lease that is meant
    #[arg(long, value_name = "SEQ")]
    seq: u64,

    /// Also when a container has it
    #[arg(long)]
    force: bool,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Hold {
    address: IpAddr,

    /// Told to whoever asks for the address
    #[arg(long, value_name = "TEXT")]
    reason: String,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Unhold {
    address: IpAddr,

    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

#[derive(Debug, Serialize)]
struct Done {
    address: IpAddr,
    done: String,
    dry_run: bool,
    /// As it was before.
    lease: Option<Lease>,
}

impl Done {
    fn tell(self, out: &mut Printer) -> Result<Verdict, Failure> {
        if out.is_json() {
            out.json(&self)?;
        } else {
            let would = if self.dry_run { "would be " } else { "" };
            out.text(&format!("{} {would}{}\n", self.address, self.done))?;
        }
        Ok(Verdict::Well)
    }
}

pub(super) async fn release(
    daemons: &Daemons,
    args: &Release,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let Release { address, seq, force, dry_run } = *args;
    let mut ipamd = daemons.ipamd().await?;
    let text = address.to_string();
    // What is wrong with the number is said first; then who has it.
    let asked = ReleaseRequest { address: text.clone(), seq, dry_run: true };
    let before = answer("ipamd", ipamd.release(asked)).await?.lease.unwrap_or_default();
    if before.state == "assigned" && !force {
        let owner = clean_line(&before.owner);
        return Err(Failure::Said(format!(
            "{address} is in use: {owner} has it, container {} in {}; a second pod would get its \
             address after the cooldown. Delete the pod, or say --force if it is gone",
            clean_line(&before.container_id),
            if before.netns.is_empty() { "a namespace not known" } else { &before.netns },
        )));
    }
    let mut done = before;
    if !dry_run {
        let asked = ReleaseRequest { address: text, seq, dry_run: false };
        done = answer("ipamd", ipamd.release(asked)).await?.lease.unwrap_or_default();
    }
    let what = format!("released, of {}", done.owner);
    Done { address, done: what, dry_run, lease: Some(done) }.tell(out)
}

pub(super) async fn hold(
    daemons: &Daemons,
    args: &Hold,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let Hold { address, reason, dry_run } = args;
    let (address, dry_run) = (*address, *dry_run);
    let mut ipamd = daemons.ipamd().await?;
    let lease = if dry_run {
        let ours = super::blocks(&mut ipamd).await?;
        let lease = leases(&mut ipamd, "", &address.to_string()).await?.pop();
        if lease.is_none() && super::show::block_of(&ours, address).is_none() {
            return Err(Failure::Said(format!("{address} is in no block of this node")));
        }
        lease
    } else {
        let request = HoldRequest { address: address.to_string(), reason: reason.clone() };
        answer("ipamd", ipamd.hold(request)).await?.lease
    };
    let who = lease.as_ref().filter(|lease| lease.state == "assigned");
    let who = who.map(|lease| format!("; {} keeps it until it is deleted", lease.owner));
    let done = format!("on hold{}", who.unwrap_or_default());
    Done { address, done, dry_run, lease }.tell(out)
}

pub(super) async fn unhold(
    daemons: &Daemons,
    args: &Unhold,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let Unhold { address, dry_run } = *args;
    let mut ipamd = daemons.ipamd().await?;
    if dry_run {
        let request = mainstay_proto::ipam::v1::ListWithheldRequest {};
        let all = answer("ipamd", ipamd.list_withheld(request)).await?.withheld;
        let on_hold = |w: &mainstay_proto::ipam::v1::Withheld| {
            w.address.parse() == Ok(address) && !w.hold.is_empty()
        };
        if !all.iter().any(on_hold) {
            return Err(Failure::Said(format!("{address} is not on hold")));
        }
    } else {
        let request = UnholdRequest { address: address.to_string() };
        answer("ipamd", ipamd.unhold(request)).await?;
    }
    Done { address, done: "no longer on hold".into(), dry_run, lease: None }.tell(out)
}
