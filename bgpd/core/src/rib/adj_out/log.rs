//! What an earlier process has told the peer, and what the next one must know of this one.
//!
//! What was told and is not wanted by this process is *inherited*: it stays until everybody has
//! spoken who might still want it.

use super::refresh::Refresh;
use super::{AdjOut, EndOfRib};
use crate::rib::PerFamily;
use crate::rib::attrs::{Attrs, AttrsId, Interner};
use crate::rib::by_path::{ByPath, PathKey};
use crate::rib::loc_rib::LocRib;
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
        self.start(rib, &agreed.families, agreed.context.paths_out);
        for family in &agreed.families {
            if *told.end_of_rib.get(*family) {
                *self.end_of_rib.get_mut(*family) = EndOfRib::Sent;
            }
            // Cut short: the peer would drop what it was not told again.
            if *told.refreshing.get(*family) {
                self.refresh(rib, *family, agreed.enhanced_refresh);
            }
        }
        for (prefix, path, attrs) in told.paths() {
            // Nothing we announce has no next hop, so this differs from whatever it is compared to.
            let attrs = attrs.clone().unwrap_or_else(|| interner.intern(&unknown(prefix)));
            let key = PathKey { prefix: rib.number(prefix), path };
            self.held.get_mut(key.prefix.family()).insert(key, attrs.id());
            self.inherited.get_mut(key.prefix.family()).insert(key, ());
        }
    }

    /// The log that tells the next process what this one has told ([`Told::replay`]).
    pub(crate) fn log(&self, context: &Context, rib: &LocRib, interner: &Interner) -> Vec<Record> {
        let mut writer = Writer::default();
        let listed = |key: &PathKey| Some((rib.prefix(key.prefix)?, key.path));
        let mut pending: HashSet<PathKey> = HashSet::new();
        for (group, keys) in self.batch.unsent() {
            let prefixes: Vec<_> = keys.iter().filter_map(listed).collect();
            writer.unsure(context, group.family, &prefixes);
            pending.extend(keys);
        }
        let mut by_attributes: HashMap<(Family, AttrsId), Vec<(Prefix, u32)>> = HashMap::new();
        for (key, attrs) in self.iter().filter(|(key, _)| !pending.contains(key)) {
            let group = by_attributes.entry((key.prefix.family(), attrs));
            group.or_default().extend(listed(&key));
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
            let gone = std::mem::replace(self.inherited.get_mut(family), ByPath::new(family));
            any |= gone.len() > 0;
            self.extra.extend(gone.iter().map(|(key, ())| key.prefix));
        }
        any
    }

    pub(super) fn confirm(&mut self, key: PathKey) {
        self.inherited.get_mut(key.prefix.family()).remove(key);
    }

    pub(super) fn is_inherited(&self, key: PathKey) -> bool {
        self.inherited.get(key.prefix.family()).get(key).is_some()
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
