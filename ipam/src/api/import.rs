//! What another allocator has handed out, checked entry by entry and put to the table.

use super::leases::{address, reason};
use super::unavailable;
use crate::daemon::Daemon;
use ipam_core::{Adopted, Attachment, Conflict, Import, Imported, Owner, Workload};
use mainstay_proto::ipam::v1::{self, Adoption, ImportReply, ImportRequest};
use std::net::IpAddr;
use tonic::Status;

/// More than any node has pods.
const MOST: usize = 4096;
/// As of a plugin's request: Kubernetes names have 253 bytes at most, a path 1024, an interface 15.
const LONG: usize = 253;
const LONGEST_PATH: usize = 1024;
const LONGEST_IFNAME: usize = 15;

pub(super) async fn import(daemon: &Daemon, asked: ImportRequest) -> Result<ImportReply, Status> {
    let dry_run = asked.dry_run;
    let import = read(asked)?;
    let mut done = Imported::default();
    let durable = daemon.decide(|ipam, now, out| {
        let result =
            if dry_run { ipam.may_import(&import, now) } else { ipam.import(&import, now, out) };
        result.map(|imported| done = imported)
    });
    match durable {
        Ok(durable) => {
            durable.await.map_err(unavailable)?;
            Ok(reply(&done))
        }
        Err(conflicts) => Ok(ImportReply {
            conflicts: conflicts.iter().map(conflict).collect(),
            ..ImportReply::default()
        }),
    }
}

fn read(asked: ImportRequest) -> Result<Import, Status> {
    let count = asked.leases.len() + asked.holds.len();
    if count > MOST {
        return Err(Status::invalid_argument(format!("{count} entries; at most {MOST} at once")));
    }
    let leases = asked.leases.iter().map(adopted).collect::<Result<_, _>>()?;
    let hold = |hold: &v1::HoldRequest| Ok((address(&hold.address)?, reason(&hold.reason)?.into()));
    let holds = asked.holds.iter().map(hold).collect::<Result<_, Status>>()?;
    Ok(Import { leases, holds })
}

fn adopted(asked: &Adoption) -> Result<(IpAddr, Adopted), Status> {
    let text = |name: &str, text: &str, least: usize, most: usize| {
        if (least..=most).contains(&text.len()) {
            return Ok(text.to_owned());
        }
        let (address, length) = (&asked.address, text.len());
        let why = format!("{address}: {name} has {length} bytes; it needs {least} to {most}");
        Err(Status::invalid_argument(why))
    };
    let name = text("the pod's name", &asked.pod_name, 0, LONG)?;
    let owner = Owner {
        namespace: text("the pod's namespace", &asked.pod_namespace, 0, LONG)?,
        uid: text("the pod's uid", &asked.pod_uid, 0, LONG)?,
        workload: Workload::guess(&name),
        name,
        ..Owner::default()
    };
    let attachment = Attachment {
        network: text("the network", &asked.network, 1, LONG)?,
        container_id: text("the container id", &asked.container_id, 1, LONG)?,
        ifname: text("the interface", &asked.ifname, 1, LONGEST_IFNAME)?,
    };
    let netns = text("the network namespace", &asked.netns, 0, LONGEST_PATH)?;
    Ok((address(&asked.address)?, Adopted { attachment, netns, owner }))
}

fn reply(done: &Imported) -> ImportReply {
    let texts = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect();
    ImportReply {
        adopted: texts(&done.adopted),
        known: texts(&done.known),
        released: texts(&done.released),
        held: texts(&done.held),
        conflicts: Vec::new(),
    }
}

fn conflict(conflict: &Conflict) -> v1::Conflict {
    v1::Conflict { address: conflict.address().to_string(), why: conflict.to_string() }
}
