//! BFD's sockets, and what follows from what BFD finds.

use super::{Shell, log};
use crate::bfd::packet::Packet;
use crate::bfd::session::Saved;
use crate::bfd::table::{Action, Received, Table};
use crate::bfd::{Hops, Key, Report, Spec, State, record};
use crate::keeper::{ConnId, Event, SessionId};
use crate::orphan::Why;
use crate::os::{clock, udp};
use crate::protocol::Reply;
use crate::rings::Moment;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// RFC 5881 §4, RFC 5883 §5
const SINGLE_HOP: u16 = 3784;
const MULTIHOP: u16 = 4784;
/// Between two tries to open a socket.
const PAUSE: Duration = Duration::from_secs(1);
/// Packets of one socket before the timers are looked at again.
const BATCH: usize = 512;

/// One socket hears all sessions of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    v6: bool,
    multihop: bool,
}

impl Kind {
    fn of(key: &Key) -> Self {
        Self { v6: key.peer.is_ipv6(), multihop: matches!(key.hops, Hops::Multi { .. }) }
    }

    const fn port(self) -> u16 {
        if self.multihop { MULTIHOP } else { SINGLE_HOP }
    }
}

#[derive(Debug)]
pub(super) struct Bfd {
    table: Table,
    pub(super) listeners: BTreeMap<Kind, OwnedFd>,
    senders: BTreeMap<NonZeroU32, Sender>,
    /// When a socket that cannot be opened was last tried.
    tried: BTreeMap<Kind, Moment>,
    /// Peers that were found dead, and when.
    dead: BTreeMap<NonZeroU32, Moment>,
}

#[derive(Debug)]
struct Sender {
    key: Key,
    open: Option<(OwnedFd, SocketAddr)>,
    interface: u32,
    tried: Option<Moment>,
}

impl Bfd {
    pub(super) fn new() -> Self {
        // Only so that no two nodes do the same at the same time.
        let seed = std::hash::RandomState::new().build_hasher().finish();
        Self {
            table: Table::new(seed),
            listeners: BTreeMap::new(),
            senders: BTreeMap::new(),
            tried: BTreeMap::new(),
            dead: BTreeMap::new(),
        }
    }

    pub(super) fn deadline(&self) -> Option<Moment> {
        self.table.deadline()
    }

    pub(super) fn reports(&self) -> impl Iterator<Item = Report> + '_ {
        self.table.reports()
    }

    pub(super) fn count(&self) -> (usize, usize) {
        self.table.count()
    }

    /// For the next keeper.
    pub(super) fn saved(&self) -> Vec<Vec<u8>> {
        self.table.saved().map(|(key, saved)| record::encode_saved(&key, &saved)).collect()
    }

    /// When BFD found the peer of this connection dead, if it has not come back since.
    pub(super) fn dead_since(&self, local: SocketAddr, remote: SocketAddr) -> Option<Moment> {
        let of = |id: &NonZeroU32| self.senders.get(id).is_some_and(|s| s.is_of(local, remote));
        self.dead.iter().filter(|(id, _)| of(id)).map(|(_, at)| *at).max()
    }

    /// What has come; each packet once.
    fn receive(&mut self, kind: Kind, out: &mut Vec<Action>) {
        let Some(socket) = self.listeners.get(&kind) else { return };
        let mut bytes = [0; 256];
        for _ in 0..BATCH {
            let Ok(Some(datagram)) = udp::receive(socket, &mut bytes) else { return };
            let Ok(packet) = Packet::decode(&bytes[..datagram.len]) else { continue };
            let udp::Datagram { from, to, interface, ttl, .. } = datagram;
            let multihop = kind.multihop;
            let received = Received { packet, from, to, interface, ttl, multihop };
            self.table.receive(&received, clock::now(), out);
        }
    }

    /// Whether the session's fault is another than before.
    fn send(&mut self, id: NonZeroU32, packet: &Packet) -> bool {
        let Some(sender) = self.senders.get_mut(&id) else { return false };
        let kind = Kind::of(&sender.key);
        let heard = match self.listeners.contains_key(&kind) {
            true => Ok(()),
            false => listen(kind, &mut self.listeners, &mut self.tried),
        };
        let sent = sender.send(id, packet);
        let interface = sender.interface;
        self.table.opened(id, interface);
        match (heard, sent) {
            (Ok(()), Ok(())) => self.table.set_fault(id, ""),
            (Err(Some(why)), _) | (Ok(()), Err(Some(why))) => self.table.set_fault(id, &why),
            // Not tried again yet: nothing new is known.
            (Err(None), _) | (_, Err(None)) => false,
        }
    }

    fn close(&mut self, id: NonZeroU32) {
        self.senders.remove(&id);
        self.dead.remove(&id);
        let kinds: Vec<_> = self.senders.values().map(|s| Kind::of(&s.key)).collect();
        self.listeners.retain(|kind, _| kinds.contains(kind));
    }
}

type Fault = Option<String>;

fn listen(
    kind: Kind,
    listeners: &mut BTreeMap<Kind, OwnedFd>,
    tried: &mut BTreeMap<Kind, Moment>,
) -> Result<(), Fault> {
    let now = clock::now();
    if tried.get(&kind).is_some_and(|at| now < *at + PAUSE) {
        return Err(None);
    }
    tried.insert(kind, now);
    let port = kind.port();
    let socket = udp::listen(kind.v6, port).map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => {
            Some(format!("UDP port {port} is another program's; only one can do BFD here"))
        }
        _ => Some(format!("cannot listen on UDP port {port}: {e}")),
    })?;
    listeners.insert(kind, socket);
    tried.remove(&kind);
    Ok(())
}

impl Sender {
    fn send(&mut self, id: NonZeroU32, packet: &Packet) -> Result<(), Fault> {
        if self.open.is_none() {
            self.open(id)?;
        }
        let Some((socket, to)) = &self.open else { return Err(None) };
        let Err(e) = udp::send(socket, *to, &packet.encode()) else { return Ok(()) };
        let raw = e.raw_os_error();
        if raw == Some(libc::EAGAIN) {
            return Ok(());
        }
        // The interface or the address has gone: it may come back as another.
        let gone = [libc::ENODEV, libc::ENXIO, libc::EINVAL, libc::EADDRNOTAVAIL].map(Some);
        if gone.contains(&raw) {
            self.open = None;
        }
        Err(Some(format!("cannot send: {e}")))
    }

    fn open(&mut self, id: NonZeroU32) -> Result<(), Fault> {
        let now = clock::now();
        if self.tried.is_some_and(|at| now < at + PAUSE) {
            return Err(None);
        }
        self.tried = Some(now);
        let Key { peer, local, interface, .. } = &self.key;
        let (socket, index) = udp::sender(*peer, *local, interface, id.get())
            .map_err(|e| Some(format!("cannot open a socket: {e}")))?;
        self.interface = index;
        self.open = Some((socket, udp::address(*peer, Kind::of(&self.key).port(), index)));
        Ok(())
    }

    fn is_of(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        let scope = match remote {
            SocketAddr::V6(v6) => v6.scope_id(),
            SocketAddr::V4(_) => 0,
        };
        let link = scope == 0 || self.interface == 0 || scope == self.interface;
        let ip = |a: SocketAddr| -> IpAddr { a.ip().to_canonical() };
        link && ip(remote) == self.key.peer && self.key.local.is_none_or(|l| l == ip(local))
    }
}

impl Shell {
    /// Of the attached speaker.
    pub(super) fn set_bfd(&mut self, id: ConnId, token: u32, fds: &[OwnedFd]) {
        if !self.keeper.is_attached(id) {
            return self.refuse(id, token, &"attach first");
        }
        match read_list(fds) {
            Ok(specs) => {
                let mut out = Vec::new();
                self.bfd.table.set(&specs, clock::now(), &mut out);
                self.do_bfd(out);
                self.store_state();
                let count = u32::try_from(specs.len()).unwrap_or(u32::MAX);
                self.say(id, &Reply::BfdSet { token, count });
            }
            Err(why) => self.refuse(id, token, &why),
        }
    }

    pub(super) fn restore_bfd(&mut self, sessions: &[(Key, Saved)]) {
        let mut out = Vec::new();
        for (key, saved) in sessions {
            self.bfd.table.restore(key.clone(), saved, clock::now(), &mut out);
        }
        if !sessions.is_empty() {
            log::info(&format!("{} bfd sessions are restored", sessions.len()));
        }
        self.do_bfd(out);
        self.bfd_due();
    }

    pub(super) fn bfd_ready(&mut self, kind: Kind) {
        let mut out = Vec::new();
        self.bfd.receive(kind, &mut out);
        self.do_bfd(out);
    }

    /// However late we are: what the peers said meanwhile is heard before any of them is dead.
    pub(super) fn bfd_due(&mut self) {
        if self.bfd.deadline().is_none_or(|at| at > clock::now()) {
            return;
        }
        let kinds: Vec<_> = self.bfd.listeners.keys().copied().collect();
        kinds.into_iter().for_each(|kind| self.bfd_ready(kind));
        let mut out = Vec::new();
        self.bfd.table.due(clock::now(), &mut out);
        self.do_bfd(out);
    }

    /// We mean to go, and there is no next keeper.
    pub(super) fn leave_bfd(&mut self) {
        let mut out = Vec::new();
        self.bfd.table.leave(clock::now(), &mut out);
        self.do_bfd(out);
    }

    fn do_bfd(&mut self, actions: Vec<Action>) {
        let mut changed = false;
        for action in actions {
            match action {
                Action::Open { id, key } => {
                    let sender = Sender { key, open: None, interface: 0, tried: None };
                    self.bfd.senders.insert(id, sender);
                    if let Some(Err(Some(why))) =
                        self.bfd.senders.get_mut(&id).map(|sender| sender.open(id))
                    {
                        self.bfd.table.set_fault(id, &why);
                    }
                }
                Action::Send { id, packet } => {
                    if self.bfd.send(id, &packet) {
                        self.tell_fault(id);
                    }
                }
                Action::Changed { id, was } => {
                    changed = true;
                    self.bfd_changed(id, was);
                }
                Action::Close { id } => self.bfd.close(id),
            }
        }
        if changed {
            self.store_state();
        }
    }

    fn tell_fault(&mut self, id: NonZeroU32) {
        let Some(report) = self.bfd.table.report(id) else { return };
        if !report.fault.is_empty() {
            log::warn(&format!("bfd with {}: {}", report.key.peer, report.fault));
        }
        self.tell_speaker(report);
    }

    fn bfd_changed(&mut self, id: NonZeroU32, was: State) {
        let Some(report) = self.bfd.table.report(id) else { return };
        let peer = report.key.peer;
        if was != report.state {
            match report.state {
                State::Up => log::info(&format!("bfd with {peer} is up")),
                State::Init => {}
                _ if report.failed => {
                    log::warn(&format!("bfd with {peer} is down: {}", report.diagnostic));
                }
                _ => log::info(&format!("bfd with {peer} is down: {}", report.diagnostic)),
            }
        }
        let failed = report.failed && was == State::Up;
        if report.state == State::Up {
            self.bfd.dead.remove(&id);
        }
        self.tell_speaker(report);
        if failed {
            self.bfd.dead.insert(id, clock::now());
            self.let_orphans_go(id);
        }
    }

    fn tell_speaker(&mut self, report: Report) {
        if let Some(conn) = self.keeper.attached() {
            self.say(conn, &Reply::Bfd(report));
        }
    }

    /// Those of a peer that is dead; a speaker decides for itself.
    fn let_orphans_go(&mut self, id: NonZeroU32) {
        let Some(sender) = self.bfd.senders.get(&id) else { return };
        let of = |(_, held): &(&SessionId, &super::Held)| sender.is_of(held.local, held.remote);
        let sessions: Vec<_> = self.sessions.iter().filter(of).map(|(id, _)| *id).collect();
        for session in sessions {
            if self.keeper.is_orphan(session) {
                self.tell(Event::Lost { session, why: Why::PeerDead });
            }
        }
    }
}

fn read_list(fds: &[OwnedFd]) -> Result<Vec<Spec>, String> {
    let [file] = fds else {
        return Err(format!("a list of bfd sessions comes in one descriptor, not {}", fds.len()));
    };
    let mut bytes = vec![0; record::MAX_LIST + 1];
    let mut len = 0;
    // A memory file is read in one go; whatever else it is must not make us wait.
    let size = rustix::fs::fstat(file).map_err(|e| e.to_string())?;
    if !rustix::fs::FileType::from_raw_mode(size.st_mode).is_file() {
        return Err("a list of bfd sessions comes in a memory file".to_owned());
    }
    while len < bytes.len() {
        match rustix::io::pread(file, &mut bytes[len..], len as u64) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(format!("the list of bfd sessions cannot be read: {e}")),
        }
    }
    if len > record::MAX_LIST {
        return Err("the list of bfd sessions is too long".to_owned());
    }
    record::decode_list(&bytes[..len]).map_err(|e| e.to_string())
}
