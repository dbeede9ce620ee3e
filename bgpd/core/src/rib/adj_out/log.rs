//! What an earlier process has told the peer, and what the next one must know of this one.
//!
//! What was told and is not wanted by this process is *inherited*: it stays until everybody has
//! spoken who might still want it.

use super::refresh::Refresh;
use super::{AdjOut, EndOfRib};
use crate::rib::PerFamily;
use crate::rib::attrs::{Attrs, AttrsId, Interner};
use crate::rib::loc_rib::LocRib;
use crate::rib::numbers::PrefixId;
use crate::rib::told::{Record, Told, Writer};
use crate::session::agree::Agreed;
use crate::types::{Family, NextHop, Prefix};
use crate::wire::{Attributes, Context, Origin};
use hashbrown::{HashMap, HashSet};
use std::net::{Ipv4Addr, Ipv6Addr};

impl AdjOut {
    /// For a session that an earlier process had: the peer holds what that one has told.
    pub(crate) fn resume(
        &mut self,
        rib: &mut LocRib,
        agreed: &Agreed,
        told: Told,
        interner: &mut Interner,
    ) {
        self.start(rib, &agreed.families);
        for family in &agreed.families {
            if *told.end_of_rib.get(*family) {
                *self.end_of_rib.get_mut(*family) = EndOfRib::Sent;
            }
            // Cut short: the peer would drop what it was not told again.
            if *told.refreshing.get(*family) {
                self.refresh(rib, *family, agreed.enhanced_refresh);
            }
        }
        for (prefix, attrs) in told.routes.iter() {
            // Nothing we announce has no next hop, so this differs from whatever it is compared to.
            let attrs = attrs.clone().unwrap_or_else(|| interner.intern(&unknown(prefix)));
            let id = rib.number(prefix);
            self.held.get_mut(id.family()).insert(id.index(), attrs.id());
            self.inherited.get_mut(id.family()).insert(id.index(), ());
        }
    }

    /// The log that tells the next process what this one has told ([`Told::replay`]).
    pub(crate) fn log(&self, context: &Context, rib: &LocRib, interner: &Interner) -> Vec<Record> {
        let mut writer = Writer::default();
        let prefixes = |ids: &[PrefixId]| -> Vec<Prefix> {
            ids.iter().filter_map(|id| rib.prefix(*id)).collect()
        };
        let mut pending: HashSet<PrefixId> = HashSet::new();
        for (group, ids) in self.batch.unsent() {
            writer.unsure(context, group.family, &prefixes(ids));
            pending.extend(ids);
        }
        let mut by_attributes: HashMap<(Family, AttrsId), Vec<Prefix>> = HashMap::new();
        for (id, attrs) in self.iter().filter(|(id, _)| !pending.contains(id)) {
            by_attributes.entry((id.family(), attrs)).or_default().extend(rib.prefix(id));
        }
        for ((family, attrs), prefixes) in &by_attributes {
            let Some(attrs) = interner.get(*attrs).map(Attrs::unpack) else { continue };
            match attrs == unknown_of(*family) {
                true => writer.unsure(context, *family, prefixes),
                false => writer.announce(context, *family, &attrs, prefixes),
            }
        }
        for family in Family::ALL {
            if self.end_of_rib_sent(family) {
                writer.end_of_rib(family);
            }
            // Asked for and not answered is as good as begun: the next process begins it.
            if *self.refresh.get(family) != Refresh::Idle {
                writer.refresh_begun(family);
            }
        }
        writer.finish()
    }

    /// Whether it is settled that some of what an earlier process told is no longer announced.
    pub(super) fn disowns(&self, family: Family, complete: PerFamily<bool>) -> bool {
        *complete.get(family) && self.inherited.get(family).len() > 0
    }

    /// Has those looked at again, now without mercy; false: there are none.
    pub(super) fn disinherit(&mut self, complete: PerFamily<bool>) -> bool {
        let mut any = false;
        for family in Family::ALL.into_iter().filter(|f| *complete.get(*f)) {
            let gone = std::mem::take(self.inherited.get_mut(family));
            any |= gone.len() > 0;
            self.extra.extend(gone.iter().map(|(i, ())| PrefixId::new(family, i)));
        }
        any
    }

    pub(super) fn confirm(&mut self, id: PrefixId) {
        self.inherited.get_mut(id.family()).remove(id.index());
    }

    pub(super) fn is_inherited(&self, id: PrefixId) -> bool {
        self.inherited.get(id.family()).get(id.index()).is_some()
    }
}

/// Stands for what a peer may hold of a prefix, or not.
fn unknown(prefix: &Prefix) -> Attributes {
    unknown_of(Family::of(prefix))
}

fn unknown_of(family: Family) -> Attributes {
    let next_hop = match family {
        Family::Ipv4Unicast => NextHop::V4(Ipv4Addr::UNSPECIFIED),
        Family::Ipv6Unicast => NextHop::V6 { global: Ipv6Addr::UNSPECIFIED, link_local: None },
    };
    Attributes::bare(next_hop, Origin::Incomplete)
}
