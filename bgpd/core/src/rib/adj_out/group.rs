//! Prefixes with the same news, so that they share UPDATEs.

use crate::rib::attrs::{Attrs, AttrsId};
use crate::rib::by_path::PathKey;
use crate::types::Family;
use hashbrown::HashMap;

/// What is to be sent next: groups of prefixes, each with one and the same news.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Group by group.
    keys: Vec<PathKey>,
    groups: Vec<Group>,
    /// The first group that is not sent.
    next: usize,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) family: Family,
    /// `None`: withdrawn.
    pub(super) attrs: Option<Attrs>,
    /// What is left of it, in `keys`.
    from: usize,
    to: usize,
}

impl Batch {
    pub(super) const fn is_empty(&self) -> bool {
        self.next >= self.groups.len()
    }

    /// The group to send from, and its prefixes that are not sent.
    pub(super) fn front(&self) -> Option<(&Group, &[PathKey])> {
        let group = self.groups.get(self.next)?;
        Some((group, self.keys.get(group.from..group.to).unwrap_or_default()))
    }

    /// All groups that are not sent.
    pub(super) fn unsent(&self) -> impl Iterator<Item = (&Group, &[PathKey])> {
        let groups = self.groups.get(self.next..).unwrap_or_default().iter();
        groups.map(|g| (g, self.keys.get(g.from..g.to).unwrap_or_default()))
    }

    /// So many of the front group have been sent.
    pub(super) fn sent(&mut self, count: usize) {
        if let Some(group) = self.groups.get_mut(self.next) {
            group.from += count;
            if group.from >= group.to {
                self.next += 1;
            }
        }
    }

    /// What is left of the front group is withdrawn instead, if it was to be announced.
    pub(super) fn withdraw_front(&mut self) -> Vec<PathKey> {
        let left = self.front().map(|(_, keys)| keys.to_vec()).unwrap_or_default();
        let was = self.groups.get_mut(self.next).and_then(|group| group.attrs.take());
        if was.is_some() {
            return left;
        }
        self.next += 1;
        Vec::new()
    }
}

/// A batch under construction: groups in the order of their first prefix.
#[derive(Default)]
pub(super) struct Builder {
    groups: Vec<Group>,
    /// Each with the number of its group.
    added: Vec<(usize, PathKey)>,
    index: HashMap<(Family, Option<AttrsId>), usize>,
}

impl Builder {
    pub(super) fn add(&mut self, key: PathKey, attrs: Option<Attrs>) {
        let number = self.group(key.prefix.family(), attrs);
        if let Some(group) = self.groups.get_mut(number) {
            group.to += 1;
            self.added.push((number, key));
        }
    }

    fn group(&mut self, family: Family, attrs: Option<Attrs>) -> usize {
        // Neighbours in the table are mostly of one group.
        if let Some((last, _)) = self.added.last()
            && let Some(group) = self.groups.get(*last)
            && group.family == family
            && group.attrs == attrs
        {
            return *last;
        }
        let key = (family, attrs.as_ref().map(Attrs::id));
        *self.index.entry(key).or_insert_with(|| {
            self.groups.push(Group { family, attrs, from: 0, to: 0 });
            self.groups.len() - 1
        })
    }

    /// Sorts by group what was added.
    pub(super) fn finish(mut self) -> Batch {
        let mut end = 0;
        for group in &mut self.groups {
            (group.from, end) = (end, end + group.to);
            group.to = group.from;
        }
        let Some((_, some)) = self.added.first() else { return Batch::default() };
        let mut keys = vec![*some; end];
        for (number, key) in self.added {
            let Some(group) = self.groups.get_mut(number) else { continue };
            if let Some(slot) = keys.get_mut(group.to) {
                *slot = key;
                group.to += 1;
            }
        }
        Batch { keys, groups: self.groups, next: 0 }
    }
}
