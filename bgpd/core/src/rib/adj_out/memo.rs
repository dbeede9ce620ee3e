//! What paths become on the way out, remembered.

use crate::policy::{Origins, Prepared};
use crate::rib::attrs::Interner;
use crate::rib::export::Exporter;
use crate::rib::{Path, Source};
use crate::types::{Family, Prefix};
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
    path: Path,
    exported: Exported,
}

#[derive(Debug)]
enum Exported {
    /// For every prefix.
    Always(Arc<Attributes>),
    /// A policy may ask each prefix.
    Policy(Prepared<Arc<Attributes>>),
}

/// A table in which every route has attributes of its own gains nothing from remembering them.
const MEMO_MAX: usize = 8192;

/// What it takes to make exported attributes.
pub(super) struct Making<'a> {
    pub(super) exporter: &'a Exporter,
    pub(super) interner: &'a mut Interner,
    pub(super) origins: &'a dyn Origins,
}

impl Memo {
    /// What the peer is told of a path that it may have but for its policy; `None`: nothing.
    pub(super) fn attributes(
        &mut self,
        prefix: &Prefix,
        path: &Path,
        making: &mut Making<'_>,
    ) -> Option<Arc<Attributes>> {
        let family = Family::of(prefix);
        let key = (family, Arc::as_ptr(&path.attrs), Arc::as_ptr(&path.source));
        if self.known.len() >= MEMO_MAX && !self.known.contains_key(&key) {
            self.known.clear();
        }
        let memoized = self.known.entry(key).or_insert_with(|| Memoized {
            path: path.clone(),
            exported: Exported::new(family, path, making),
        });
        match &mut memoized.exported {
            Exported::Always(attrs) => Some(Arc::clone(attrs)),
            Exported::Policy(prepared) => {
                let Making { exporter, interner, origins } = making;
                let program = exporter.filter.program()?;
                let (path, context) = (&memoized.path, exporter.context(family, path, *origins));
                let mut finish = |draft| interner.intern(exporter.dress(family, path, draft));
                prepared.decide(program, prefix, &context, &mut finish)
            }
        }
    }
}

impl Exported {
    fn new(family: Family, path: &Path, making: &mut Making<'_>) -> Self {
        let exporter = making.exporter;
        match exporter.filter.program() {
            None => Self::Always(making.interner.intern(exporter.attributes(family, path))),
            Some(program) => {
                let context = exporter.context(family, path, making.origins);
                Self::Policy(program.prepare(&path.attrs, &context))
            }
        }
    }
}
