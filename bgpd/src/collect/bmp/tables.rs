//! What a new station is told of what is known already, piece by piece: the tables of every session,
//! each with its End-of-RIB (RFC 7854 §5), then the Loc-RIB.

use super::Whoami;
use super::message::{self, Whose};
use bgp_core::monitor::SessionView;
use bgp_core::speaker::Speaker;
use bgp_core::types::{Family, PeerId};
use bgp_core::wire::{self, AfiSafi, Capability, Open};
use mainstay_config::BmpStation;
use std::collections::{HashMap, VecDeque};
use std::time::SystemTime;

/// Numbers of prefixes that one piece looks at.
const PIECE: usize = 2000;

#[derive(Debug)]
pub(super) struct Tables {
    left: VecDeque<Table>,
    /// Where the first of them goes on; `None`: at its beginning.
    at: Option<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Table {
    AdjIn { peer: PeerId, family: Family, pre: bool, post: bool },
    Routes(Family),
}

impl Tables {
    pub(super) fn new(config: &BmpStation, sessions: &HashMap<PeerId, SessionView>) -> Self {
        let (pre, post) = (config.adj_in_pre, config.adj_in_post);
        let of = |session: &SessionView| {
            let peer = session.peer;
            let table = move |family| Table::AdjIn { peer, family, pre, post };
            session.families.clone().into_iter().map(table)
        };
        let heard = sessions.values().filter(|_| pre || post).flat_map(of);
        let chosen = Family::ALL.into_iter().filter(|_| config.loc_rib).map(Table::Routes);
        Self { left: heard.chain(chosen).collect(), at: None }
    }

    pub(super) fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// The next piece; of how many messages.
    pub(super) fn piece(
        &mut self,
        speaker: &Speaker,
        me: &Whoami,
        sessions: &HashMap<PeerId, SessionView>,
        out: &mut Vec<u8>,
    ) -> u64 {
        let Some(table) = self.left.front().copied() else { return 0 };
        let mut count = 0;
        let next = match table {
            Table::AdjIn { peer, family, pre, post } => {
                // Its session may have ended meanwhile: there is nothing to tell any more.
                let Some(session) = sessions.get(&peer) else {
                    self.left.pop_front();
                    self.at = None;
                    return 0;
                };
                let whose = Whose::peer(session);
                let pre = pre.then(|| whose.four_octet_as());
                let post = post.then(|| whose.post_policy());
                adj_in(speaker, (peer, family), (pre, post), (self.at, &mut count), out)
            }
            Table::Routes(family) => me
                .loc_rib()
                .and_then(|whose| routes(speaker, (whose, family), (self.at, &mut count), out)),
        };
        self.at = next;
        if next.is_none() {
            self.left.pop_front();
        }
        count
    }
}

fn adj_in(
    speaker: &Speaker,
    (peer, family): (PeerId, Family),
    (pre, post): (Option<Whose>, Option<Whose>),
    (at, count): (Option<usize>, &mut u64),
    out: &mut Vec<u8>,
) -> Option<usize> {
    let (mut before, mut behind) = (pre.map(|_| Vec::new()), post.map(|_| Vec::new()));
    let (came, passed) = (before.as_mut(), behind.as_mut());
    let next = speaker.tell_adj_in((peer, family), (at, PIECE), came, passed);
    let at = SystemTime::now();
    for (whose, updates) in [(pre, before), (post, behind)] {
        let (Some(whose), Some(mut updates)) = (whose, updates) else { continue };
        if next.is_none() {
            wire::end_of_rib(family, &mut updates);
        }
        *count += message::route_monitorings(whose, &updates, at, out);
    }
    next
}

fn routes(
    speaker: &Speaker,
    (whose, family): (Whose, Family),
    (at, count): (Option<usize>, &mut u64),
    out: &mut Vec<u8>,
) -> Option<usize> {
    let mut updates = Vec::new();
    let next = speaker.tell_routes(family, (at, PIECE), &mut updates);
    if next.is_none() {
        wire::end_of_rib(family, &mut updates);
    }
    *count += message::route_monitorings(whose, &updates, SystemTime::now(), out);
    next
}

/// The Loc-RIB as a peer (RFC 9069 §4.2): its OPENs name what its UPDATEs need.
pub(super) fn loc_rib_up(whose: Whose, me: &Whoami, out: &mut Vec<u8>) {
    let (Some(asn), Some(router_id)) = (me.asn, me.router_id) else { return };
    let families = Family::ALL.map(|f| Capability::Multiprotocol(AfiSafi::from(f)));
    let capabilities = families.into_iter().chain([Capability::FourOctetAs(asn)]).collect();
    let open = Open { asn, hold_time: 0, router_id, capabilities };
    message::loc_rib_up(whose, &open, SystemTime::now(), out);
}
