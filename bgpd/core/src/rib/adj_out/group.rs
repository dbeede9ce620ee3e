//! Prefixes with the same news, so that they share UPDATEs.

use crate::types::{Family, Prefix};
use crate::wire::Attributes;
use hashbrown::HashMap;
use std::sync::Arc;

/// Prefixes with one and the same news.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) family: Family,
    /// `None`: withdrawn.
    pub(super) attrs: Option<Arc<Attributes>>,
    pub(super) prefixes: Vec<Prefix>,
    /// How many of the prefixes have been sent.
    pub(super) sent: usize,
}

impl Group {
    pub(super) fn unsent(&self) -> &[Prefix] {
        self.prefixes.get(self.sent..).unwrap_or_default()
    }
}

/// Groups under construction, in the order of their first prefix.
#[derive(Default)]
pub(super) struct Groups {
    pub(super) list: Vec<Group>,
    index: HashMap<(Family, Option<*const Attributes>), usize>,
}

impl Groups {
    pub(super) fn add(&mut self, prefix: Prefix, attrs: Option<Arc<Attributes>>) {
        let family = Family::of(&prefix);
        let key = (family, attrs.as_ref().map(Arc::as_ptr));
        let index = *self.index.entry(key).or_insert_with(|| {
            self.list.push(Group { family, attrs, prefixes: Vec::new(), sent: 0 });
            self.list.len() - 1
        });
        if let Some(group) = self.list.get_mut(index) {
            group.prefixes.push(prefix);
        }
    }
}
