//! What paths become on the way out, remembered.

use crate::rib::attrs::Interner;
use crate::rib::export::Exporter;
use crate::rib::{Path, Source};
use crate::types::Family;
use crate::wire::Attributes;
use hashbrown::HashMap;
use std::sync::Arc;

/// Exported attributes by the path's own: thousands of prefixes share them, and making them means
/// copying and hashing.
#[derive(Debug, Default)]
pub(super) struct Memo {
    known: HashMap<(Family, *const Attributes, *const Source), Memoized>,
}

/// The path is kept, so that its address cannot come to mean another one.
#[derive(Debug)]
struct Memoized {
    _path: Path,
    exported: Arc<Attributes>,
}

/// A table in which every route has attributes of its own gains nothing from remembering them.
const MEMO_MAX: usize = 8192;

impl Memo {
    pub(super) fn attributes(
        &mut self,
        family: Family,
        path: &Path,
        exporter: &Exporter,
        interner: &mut Interner,
    ) -> Arc<Attributes> {
        let key = (family, Arc::as_ptr(&path.attrs), Arc::as_ptr(&path.source));
        if let Some(memoized) = self.known.get(&key) {
            return Arc::clone(&memoized.exported);
        }
        if self.known.len() >= MEMO_MAX {
            self.known.clear();
        }
        let exported = interner.intern(exporter.attributes(family, path));
        let memoized = Memoized { _path: path.clone(), exported: Arc::clone(&exported) };
        self.known.insert(key, memoized);
        exported
    }
}
