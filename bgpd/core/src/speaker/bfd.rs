//! What follows from what BFD finds (RFC 5882).
//!
//! A peer that BFD finds dead is let go at once. Whether its routes go too, its C bit says (§4.3.2):
//! BFD that lives on when the peer's BGP restarts has found the *path* dead; BFD that does not may
//! have seen no more than that restart.

use super::Speaker;
use crate::event::{Action, Path};
use crate::peer::Peer;
use crate::report::Cause;
use crate::types::{Family, PeerId};
use crate::wire::{self, Notification, cease};
use std::net::IpAddr;
use std::time::Instant;

impl Speaker {
    pub(super) fn path(
        &mut self,
        (address, interface): (IpAddr, Option<&str>),
        path: Path,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(id) = self.peer_at(address, interface) else { return };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.path = path;
        match peer.path.clone() {
            Path::Unknown | Path::AdminDown => {}
            Path::Up => {
                // A peer that is reached again need not be waited for.
                if peer.established().is_none() && !peer.settings.passive {
                    peer.redial_at = peer.redial_at.map(|at| at.min(now));
                }
            }
            Path::Down { independent, why } => self.path_down(id, independent, why, now, out),
        }
    }

    /// A new session, as far as BFD has a say in it.
    pub(super) fn may_begin(&self, id: PeerId) -> Result<PeerId, &'static str> {
        match self.peers.get(&id).is_some_and(Peer::waits_for_bfd) {
            true => Err("sessions with it wait for BFD"),
            false => Ok(id),
        }
    }

    fn path_down(
        &mut self,
        id: PeerId,
        independent: bool,
        why: String,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let restarts = peer.agreed().is_some_and(|a| a.restart.is_some());
        let restarting = restarts && !independent;
        match peer.sessions.iter_mut().find(|s| s.is_established()) {
            Some(session) => {
                let conn = session.conn;
                // RFC 9384; to a peer that restarts nothing is said.
                wire::notification(&Notification::cease(cease::BFD_DOWN), &mut session.outbox);
                self.lose(id, conn, Cause::BfdDown { restarting, why }, now, out);
            }
            // What is left of the last one: the path went while the peer was restarting.
            None if independent => {
                peer.stale_until = None;
                peer.long_lived_until = Default::default();
                for family in Family::ALL {
                    self.sweep(id, family, out);
                }
                self.drop_if_over(id);
            }
            None => {}
        }
        if independent {
            // Nor is what the kernel has kept over our restart of any use.
            self.spoken_for_good(id, out);
        }
    }
}
