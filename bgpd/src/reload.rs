//! A configuration read again: all of it taken over, or nothing.

use crate::collect::Wanted;
use crate::kernel::Target;
use crate::listen::Listeners;
use crate::plan::{Plan, Remote, Transport};
use crate::run::Run;
use crate::{sockopt, tcp_ao};
use bgp_core::event::Event;
use bgp_core::types::ConnId;
use mainstay_config::Mode;
use mainstay_prefix::Prefix;
use mainstay_proto::bgp::v1::ReloadReply;
use std::net::{IpAddr, SocketAddr};

impl Run {
    /// What has changed, or why nothing has.
    pub(crate) fn reload(&mut self) -> Result<ReloadReply, String> {
        let done = self.take_over();
        match &done {
            Ok(reply) => {
                tracing::info!(changes = reply.changes.len(), "configuration read again");
                reply.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
            }
            Err(error) => {
                tracing::error!("configuration not taken over, the old one stays: {error}");
            }
        }
        done
    }

    fn take_over(&mut self) -> Result<ReloadReply, String> {
        let loaded = self.args.load().map_err(|e| mainstay_daemon::chain(&e))?;
        if loaded.node.network.mode == Mode::None {
            return Err("network.mode is none: this node needs no bgpd any more; stop it".into());
        }
        let mut plan = Plan::new(&loaded.node).map_err(|e| mainstay_daemon::chain(&e))?;
        plan.transport.find_as(&self.plan.transport);
        let mut changes = Vec::new();
        self.listen_anew(&plan, &mut changes)?;
        self.sign_anew(&plan.transport, &mut changes);
        let unsigned = self.sign_by_ao_anew(&plan.transport, &mut changes);
        keep_target(&self.plan.target, &mut plan, &mut changes);
        self.warnings = loaded.warnings;
        self.text = loaded.text;
        self.keeper.set_max_orphan(plan.max_orphan);
        let old = std::mem::replace(&mut self.plan, plan);
        self.dial_anew(&old.transport);
        self.look_for_neighbours();
        for (conn, why) in unsigned {
            self.lost(conn, why);
        }
        self.tell(Event::Configure(Box::new(self.plan.speaker.clone())));
        self.bfd.changed();
        if old.collect != self.plan.collect {
            changes.extend(collect_changes(&old.collect, &self.plan.collect));
            self.collect_anew();
        }
        changes.append(&mut self.tables.changes);
        Ok(ReloadReply { changes, warnings: self.all_warnings() })
    }

    /// Moves the listening sockets, or gives them the new keys; sessions do not notice.
    fn listen_anew(&mut self, plan: &Plan, changes: &mut Vec<String>) -> Result<(), String> {
        let old = &self.plan;
        if plan.listen == old.listen {
            let Some(listeners) = &self.listeners else { return Ok(()) };
            return listeners.change_keys(&old.transport, &plan.transport).map_err(|error| {
                let _ = listeners.change_keys(&plan.transport, &old.transport);
                mainstay_daemon::chain(&error)
            });
        }
        // An address cannot be bound twice: the old ones go first, and come back after a failure.
        self.listeners = None;
        let open = |plan: &Plan| {
            Listeners::open(&plan.listen, &plan.transport, &self.interfaces, &self.inputs)
        };
        match open(plan) {
            Ok(listeners) => self.listeners = Some(listeners),
            Err(error) => {
                self.listeners = open(old).ok();
                return Err(mainstay_daemon::chain(&error));
            }
        }
        changes.push(format!("bgp.listen: {} -> {}", shown(&old.listen), shown(&plan.listen)));
        Ok(())
    }

    /// Whoever is found on a link has to sign as its peer is to, before the speaker knows of it.
    pub(crate) fn sign_neighbour(&mut self, interface: &str, address: Option<IpAddr>) {
        let old = self.plan.transport.clone();
        self.plan.transport.find(interface, address);
        let changed = |listeners: &Listeners| listeners.change_keys(&old, &self.plan.transport);
        if let Some(Err(error)) = self.listeners.as_ref().map(changed) {
            let error = mainstay_daemon::chain(&error);
            tracing::warn!(interface, error, "nobody can dial in from this link");
        }
    }

    /// A changed TCP MD5 key holds at once, also in sessions that are up: they live on when the
    /// other side changes it within the hold time.
    fn sign_anew(&self, new: &Transport, changes: &mut Vec<String>) {
        let old = &self.plan.transport;
        for conn in self.tables.conns.values() {
            let (remote, to) = (conn.remote_ip(), conn.remote_end());
            let (was, way) = (old.way(&to), new.way(&to));
            if was.key != way.key {
                let key = way.key.as_ref();
                let set =
                    conn.socket().and_then(|s| sockopt::set_md5(&s, Prefix::host(remote), key));
                match set {
                    Ok(()) => changes.push(format!("{remote}: TCP MD5 key changed")),
                    Err(error) => {
                        changes.push(format!("{remote}: TCP MD5 key not changed: {error}"));
                    }
                }
            }
            let set = |s| sockopt::set_hops(&s, remote.is_ipv4(), way.ttl, way.least_ttl);
            if (was.ttl, was.least_ttl) != (way.ttl, way.least_ttl)
                && let Err(error) = conn.socket().and_then(set)
            {
                tracing::debug!(%remote, %error, "cannot set the TTL");
            }
        }
    }

    /// TCP-AO keys are exchanged in sessions that are up; the connections that cannot go on: one is
    /// signed from its first packet on, or never.
    fn sign_by_ao_anew(&self, new: &Transport, changes: &mut Vec<String>) -> Vec<(ConnId, String)> {
        let mut ended = Vec::new();
        for (id, conn) in &self.tables.conns {
            let (remote, to) = (conn.remote_ip(), conn.remote_end());
            let (was, is) = (self.plan.transport.way(&to).ao, new.way(&to).ao);
            if was == is {
                continue;
            }
            if was.is_empty() || is.is_empty() {
                ended.push((
                    *id,
                    "tcp_ao has begun or ended, and a connection is signed as a whole".to_owned(),
                ));
                continue;
            }
            let done = conn.socket().and_then(|s| tcp_ao::exchange(&s, remote, &was, &is));
            match done {
                Ok(()) => changes.push(format!("{remote}: TCP-AO keys changed")),
                Err(error) => ended.push((*id, format!("TCP-AO keys not changed: {error}"))),
            }
        }
        ended
    }

    /// A connection that is just being opened has the old key or the old way: nobody may answer it.
    fn dial_anew(&mut self, old: &Transport) {
        let new = &self.plan.transport;
        let other = |remote: &Remote| old.way(remote) != new.way(remote);
        let dialling = self.tables.dialling.iter();
        let stale: Vec<ConnId> =
            dialling.filter(|(_, (remote, _))| other(remote)).map(|(conn, _)| *conn).collect();
        for conn in stale {
            if let Some((_, task)) = self.tables.dialling.remove(&conn) {
                task.abort();
                let why = "given up: how the peer is reached has changed".into();
                self.tell(Event::ConnectFailed { conn, why });
            }
        }
    }
}

/// Which table we write is settled when the process starts and adopts it.
fn keep_target(old: &Target, plan: &mut Plan, changes: &mut Vec<String>) {
    let new = &plan.target;
    let mut keep = |what: &str, from: &dyn std::fmt::Display, to: &dyn std::fmt::Display| {
        changes.push(format!("bgp.fib.{what}: {from} -> {to} (from the next start of bgpd on)"));
    };
    if old.install != new.install {
        keep("install", &old.install, &new.install);
    }
    if old.table != new.table {
        keep("table", &old.table, &new.table);
    }
    if old.metric != new.metric {
        keep("metric", &old.metric, &new.metric);
    }
    if old.adopt != new.adopt {
        changes.push("bgp.fib.adopt: from the next start of bgpd on".into());
    }
    plan.target = old.clone();
    plan.speaker.install = old.install;
}

fn collect_changes(old: &Wanted, new: &Wanted) -> Vec<String> {
    let mut changes = Vec::new();
    if old.rpki != new.rpki {
        changes.push(format!("bgp.rpki: {} -> {} servers", old.rpki.len(), new.rpki.len()));
    }
    if old.bmp != new.bmp {
        changes.push(format!("bgp.bmp: {} -> {} stations", old.bmp.len(), new.bmp.len()));
    }
    if old.mrt != new.mrt {
        changes.push("bgp.mrt: changed".into());
    }
    changes
}

fn shown(listen: &[SocketAddr]) -> String {
    let texts: Vec<_> = listen.iter().map(ToString::to_string).collect();
    if texts.is_empty() { "off".into() } else { texts.join(", ") }
}
