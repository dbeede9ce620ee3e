//! One copy of each set of attributes: most of a table's routes share theirs with many others.

use crate::types::NextHop;
use crate::wire::Attributes;
use hashbrown::HashSet;
use std::sync::Arc;

/// Hash-consed attributes: equal ones are the same `Arc`, so comparing pointers suffices.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    known: HashSet<Arc<Attributes>>,
    /// Sweep when there are this many.
    sweep_at: usize,
}

/// Below this many a sweep is not worth the walk.
const SWEEP_MIN: usize = 1024;

impl Interner {
    pub(crate) fn intern(&mut self, attributes: Attributes) -> Arc<Attributes> {
        if let Some(known) = self.known.get(&attributes) {
            return Arc::clone(known);
        }
        self.sweep_when_grown();
        let new = Arc::new(attributes);
        self.known.insert(Arc::clone(&new));
        new
    }

    /// These attributes with that next hop; copied only if they are new.
    pub(crate) fn intern_with(
        &mut self,
        attributes: &Attributes,
        next_hop: NextHop,
    ) -> Arc<Attributes> {
        if attributes.next_hop != next_hop {
            return self.intern(Attributes { next_hop, ..attributes.clone() });
        }
        match self.known.get(attributes) {
            Some(known) => Arc::clone(known),
            None => self.intern(attributes.clone()),
        }
    }

    /// Drops what nobody uses any more each time the set has doubled: constant cost an entry.
    fn sweep_when_grown(&mut self) {
        if self.known.len() >= self.sweep_at.max(SWEEP_MIN) {
            self.known.retain(|a| Arc::strong_count(a) > 1);
            self.sweep_at = self.known.len() * 2;
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::attributes;

    #[test]
    fn equal_attributes_are_one() {
        let mut interner = Interner::default();
        let one = interner.intern(attributes(&[65001]));
        let two = interner.intern(attributes(&[65001]));
        assert!(Arc::ptr_eq(&one, &two));
        assert!(!Arc::ptr_eq(&one, &interner.intern(attributes(&[65002]))));
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let mut interner = Interner::default();
        let kept = interner.intern(attributes(&[1]));
        for asn in 2..10_000 {
            interner.intern(attributes(&[asn]));
        }
        assert!(interner.len() <= SWEEP_MIN + 1, "{}", interner.len());
        assert!(Arc::ptr_eq(&kept, &interner.intern(attributes(&[1]))));
    }
}
