//! What paths become on the way out, remembered for all peers under the same rules.

use crate::policy::{Origins, Prepared};
use crate::rib::attrs::{Attrs, Interner};
use crate::rib::export::Exporter;
use crate::rib::{Path, Source};
use crate::types::{Family, Prefix};
use hashbrown::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// One memo for each set of rules.
#[derive(Debug, Default)]
pub(crate) struct Memos(Vec<Memo>);

/// Peers under more kinds of rules than this take turns.
const KINDS: usize = 16;

impl Memos {
    pub(crate) fn of(&mut self, exporter: &Exporter) -> Option<&mut Memo> {
        let known = self.0.iter_mut().position(|memo| memo.is_of(exporter));
        let index = known.unwrap_or_else(|| {
            if self.0.len() >= KINDS {
                self.0.clear();
            }
            self.0.push(Memo::new(exporter));
            self.0.len() - 1
        });
        self.0.get_mut(index)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

/// Exported attributes by the path's own: thousands of prefixes share them, and making them means
/// copying and hashing.
#[derive(Debug)]
pub(crate) struct Memo {
    rules: Exporter,
    known: HashMap<(Family, *const u8, *const Source), Memoized>,
    /// What was asked for last, if it holds for every prefix: neighbours in the table share theirs.
    last: Option<(Family, Path, Attrs)>,
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
    Always(Attrs),
    /// A policy may ask each prefix.
    Policy(Prepared<Attrs>),
}

/// A table in which every route has attributes of its own gains nothing from remembering them.
const MEMO_MAX: usize = 2048;

impl Memo {
    fn new(exporter: &Exporter) -> Self {
        Self { rules: exporter.clone(), known: HashMap::new(), last: None }
    }

    /// Whom the rules are for makes no difference in what they make of a path.
    fn is_of(&mut self, exporter: &Exporter) -> bool {
        self.rules.peer = exporter.peer;
        self.rules == *exporter
    }

    /// What the peer is told of a path that it may have but for its policy; `None`: nothing.
    pub(super) fn attributes(
        &mut self,
        prefix: &Prefix,
        path: &Path,
        interner: &mut Interner,
        origins: &dyn Origins,
    ) -> Option<Attrs> {
        let family = Family::of(prefix);
        if let Some((of, known, exported)) = &self.last
            && *of == family
            && known.attrs == path.attrs
            && Rc::ptr_eq(&known.source, &path.source)
        {
            return Some(exported.clone());
        }
        let Self { rules, known, last } = self;
        let key = (family, path.attrs.packed().as_ptr(), Rc::as_ptr(&path.source));
        if known.len() >= MEMO_MAX && !known.contains_key(&key) {
            known.clear();
        }
        let memoized = known.entry(key).or_insert_with(|| Memoized {
            path: path.clone(),
            exported: Exported::new(rules, family, path, interner, origins),
        });
        match &mut memoized.exported {
            Exported::Always(attrs) => {
                *last = Some((family, path.clone(), attrs.clone()));
                Some(attrs.clone())
            }
            Exported::Policy(prepared) => {
                let program = rules.filter.program()?;
                let (path, context) = (&memoized.path, rules.context(family, path, origins));
                let mut finish = |draft| interner.intern(&rules.dress(family, path, draft));
                prepared.decide(program, prefix, &context, &mut finish)
            }
        }
    }
}

impl Exported {
    fn new(
        rules: &Exporter,
        family: Family,
        path: &Path,
        interner: &mut Interner,
        origins: &dyn Origins,
    ) -> Self {
        match rules.filter.program() {
            None => Self::Always(interner.intern(&rules.attributes(family, path))),
            Some(program) => {
                let context = rules.context(family, path, origins);
                Self::Policy(program.prepare(&Arc::new(path.attrs.unpack()), &context))
            }
        }
    }
}
