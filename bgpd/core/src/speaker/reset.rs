//! What an operator does to a session: ends it, asks for everything again, tells everything again.

use super::Speaker;
use crate::event::{Action, Reset};
use crate::types::{ConnId, Family, PeerId};
use crate::wire::{self, Notification, cease};
use std::time::Instant;

/// What has been done; nothing, if there is no session to do it to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    NotUp,
    Ended,
    /// The peer has been asked for these (RFC 2918).
    Asked(Vec<Family>),
    /// It cannot be asked; what it has told, which is all kept, has been judged again.
    JudgedAgain,
    /// These are told again.
    Telling(Vec<Family>),
}

impl Speaker {
    /// `None`: there is no such peer.
    pub fn reset_peer(
        &mut self,
        id: PeerId,
        how: Reset,
        now: Instant,
        out: &mut Vec<Action>,
    ) -> Option<Done> {
        let peer = self.peers.get(&id)?;
        let done = match (how, peer.up.as_ref().map(|up| up.conn)) {
            (Reset::Hard(why), up) => self.reset_hard(id, up, &why, (now, out)),
            (_, None) => Done::NotUp,
            (Reset::SoftIn, Some(conn)) => self.reset_in(id, conn, out),
            (Reset::SoftOut, Some(_)) => self.reset_out(id),
        };
        self.finish(now, out);
        Some(done)
    }

    /// A peer that is held off is dialled at once.
    fn reset_hard(
        &mut self,
        id: PeerId,
        up: Option<ConnId>,
        why: &str,
        (now, out): (Instant, &mut Vec<Action>),
    ) -> Done {
        if let Some(conn) = up {
            let said = match why {
                "" => Notification::cease(cease::ADMINISTRATIVE_RESET),
                why => Notification::shutdown(cease::ADMINISTRATIVE_RESET, why),
            };
            self.end(id, conn, said, now, out);
        }
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.forgive(now);
        }
        if up.is_some() { Done::Ended } else { Done::NotUp }
    }

    fn reset_in(&mut self, id: PeerId, conn: ConnId, out: &mut Vec<Action>) -> Done {
        let Some(peer) = self.peers.get_mut(&id) else { return Done::NotUp };
        let agreed = peer.agreed().map(|a| (a.refresh, a.families.clone()));
        match agreed {
            Some((true, families)) => {
                if let Some(session) = peer.session_mut(conn) {
                    for family in &families {
                        wire::route_refresh((*family).into(), &mut session.outbox);
                    }
                }
                Done::Asked(families)
            }
            _ => {
                self.judge_again(id, true, out);
                Done::JudgedAgain
            }
        }
    }

    fn reset_out(&mut self, id: PeerId) -> Done {
        let Some(peer) = self.peers.get_mut(&id) else { return Done::NotUp };
        let Some((marked, families)) =
            peer.agreed().map(|a| (a.enhanced_refresh, a.families.clone()))
        else {
            return Done::NotUp;
        };
        for family in &families {
            peer.adj_out.refresh(&self.rib, *family, marked);
        }
        Done::Telling(families)
    }
}
