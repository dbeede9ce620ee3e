//! The history as the API shows it; what the table knows completes what the log has forgotten.

use super::leases::address;
use crate::daemon::Daemon;
use crate::history::{Answer, Event, HistoryError, Lease, Query, Spell};
use ipam_core::{Slot, State};
use mainstay_prefix::Prefix;
use mainstay_proto::ipam::v1::{self, HistoryReply, HistoryRequest};
use tonic::Status;

const LIMIT: u32 = 1000;
const MOST: u32 = 10_000;
/// `namespace/name`.
const LONGEST: usize = 2 * 253 + 1;

pub(super) async fn history(
    daemon: &Daemon,
    asked: HistoryRequest,
) -> Result<HistoryReply, Status> {
    let query = query(asked)?;
    let mut answer = daemon.history.ask(query.clone()).await.map_err(|error| match error {
        HistoryError::Off => Status::failed_precondition(error.to_string()),
        HistoryError::Read { .. } => Status::internal(mainstay_daemon::chain(&error)),
    })?;
    if let Some(at) = query.at {
        complete(daemon, &query, at, &mut answer.spells);
    }
    Ok(reply(answer))
}

fn query(asked: HistoryRequest) -> Result<Query, Status> {
    if asked.pod.len() > LONGEST {
        return Err(Status::invalid_argument(format!("pod has more than {LONGEST} bytes")));
    }
    let only = (!asked.address.is_empty()).then(|| address(&asked.address)).transpose()?;
    let limit = if asked.limit == 0 { LIMIT } else { asked.limit.min(MOST) };
    Ok(Query {
        address: only,
        pod: asked.pod,
        since: asked.since.map(millis).transpose()?,
        until: asked.until.map(millis).transpose()?,
        at: asked.at.map(millis).transpose()?,
        limit: limit as usize,
    })
}

fn millis(seconds: f64) -> Result<u64, Status> {
    let time = std::time::Duration::try_from_secs_f64(seconds);
    let time = time.map_err(|_| Status::invalid_argument(format!("{seconds} is no time")))?;
    Ok(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn seconds(millis: u64) -> f64 {
    std::time::Duration::from_millis(millis).as_secs_f64()
}

/// The slots know their last lease, however long ago it began.
fn complete(daemon: &Daemon, query: &Query, at: u64, spells: &mut Vec<Spell>) {
    let mut state = daemon.state();
    let now = daemon.now();
    let from = query.address.unwrap_or_else(|| Prefix::DEFAULT_V4.addr());
    let slots = state.ipam.leases(from, now).map(|view| view.slot);
    let one = |slot: &Slot| query.address.is_none_or(|address| address == slot.address);
    for slot in slots.take_while(one) {
        let spell = spell_of(&slot);
        let asked = query.pod.is_empty() || spell.lease.pod == query.pod;
        let told = |s: &Spell| s.address == spell.address && s.lease.seq == spell.lease.seq;
        if asked && spell.covers(at) && spells.len() < query.limit && !spells.iter().any(told) {
            spells.push(spell);
        }
    }
    spells.sort_by_key(|spell| (spell.address, spell.lease.seq));
}

fn spell_of(slot: &Slot) -> Spell {
    let until = match slot.state {
        State::Assigned => None,
        State::Held { released } => Some(released.wall),
    };
    let until = until.map(|wall| u64::try_from(wall.as_millis()).unwrap_or(u64::MAX));
    Spell { address: slot.address, lease: Lease::of(slot), until, ended: String::new() }
}

fn reply(answer: Answer) -> HistoryReply {
    HistoryReply {
        events: answer.events.into_iter().map(event).collect(),
        more: answer.more,
        begins: answer.begins.map(seconds),
        lost: answer.lost,
        spells: answer.spells.into_iter().map(spell).collect(),
    }
}

fn event(event: Event) -> v1::HistoryEvent {
    let owner = event.owner();
    let lease = event.lease.unwrap_or_default();
    v1::HistoryEvent {
        at: seconds(event.at),
        what: event.what.as_str().into(),
        why: event.why,
        address: event.address.to_string(),
        seq: lease.seq,
        owner,
        container_id: lease.container,
        ifname: lease.ifname,
        network: lease.network,
        pod_uid: lease.uid,
        rung: lease.rung,
    }
}

fn spell(spell: Spell) -> v1::Spell {
    v1::Spell {
        address: spell.address.to_string(),
        seq: spell.lease.seq,
        owner: spell.lease.owner(),
        from: seconds(spell.lease.since),
        until: spell.until.map(seconds),
        ended: spell.ended,
        container_id: spell.lease.container,
        pod_uid: spell.lease.uid,
    }
}
