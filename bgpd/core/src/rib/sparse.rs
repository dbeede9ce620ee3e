//! A value for some of many numbers, such as those of prefixes: quick where they lie close together,
//! small where few have one.

use std::array;

/// Numbers of a page: what is wasted at most for one value that has no neighbours.
const PAGE: usize = 64;

#[derive(Debug, Clone)]
pub(crate) struct Sparse<V> {
    pages: Vec<Option<Box<Page<V>>>>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Page<V> {
    values: [Option<V>; PAGE],
    used: u8,
}

impl<V> Default for Sparse<V> {
    fn default() -> Self {
        Self { pages: Vec::new(), len: 0 }
    }
}

impl<V> Sparse<V> {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, at: usize) -> Option<&V> {
        self.pages.get(at / PAGE)?.as_ref()?.values.get(at % PAGE)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, at: usize) -> Option<&mut V> {
        self.pages.get_mut(at / PAGE)?.as_mut()?.values.get_mut(at % PAGE)?.as_mut()
    }

    /// Answers what was there before.
    pub(crate) fn insert(&mut self, at: usize, value: V) -> Option<V> {
        let index = at / PAGE;
        if index >= self.pages.len() {
            self.pages.resize_with(index + 1, || None);
        }
        let page = self.pages.get_mut(index)?.get_or_insert_with(Page::empty);
        let was = page.values.get_mut(at % PAGE)?.replace(value);
        if was.is_none() {
            page.used += 1;
            self.len += 1;
        }
        was
    }

    pub(crate) fn remove(&mut self, at: usize) -> Option<V> {
        let slot = self.pages.get_mut(at / PAGE)?;
        let page = slot.as_mut()?;
        let was = page.values.get_mut(at % PAGE)?.take()?;
        page.used -= 1;
        if page.used == 0 {
            *slot = None;
        }
        self.len -= 1;
        Some(was)
    }

    /// In the order of the numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &V)> {
        let pages = self.pages.iter().enumerate().filter_map(|(i, p)| Some((i, p.as_ref()?)));
        pages.flat_map(|(i, page)| {
            let values = page.values.iter().enumerate();
            values.filter_map(move |(at, v)| Some((i * PAGE + at, v.as_ref()?)))
        })
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut V)> {
        let pages = self.pages.iter_mut().enumerate().filter_map(|(i, p)| Some((i, p.as_mut()?)));
        pages.flat_map(|(i, page)| {
            let values = page.values.iter_mut().enumerate();
            values.filter_map(move |(at, v)| Some((i * PAGE + at, v.as_mut()?)))
        })
    }
}

impl<V> Page<V> {
    fn empty() -> Box<Self> {
        Box::new(Self { values: array::from_fn(|_| None), used: 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn it_holds_what_an_ordered_map_holds(
            steps in prop::collection::vec((0usize..1000, any::<Option<u16>>()), 0..400)
        ) {
            let mut ours = Sparse::default();
            let mut model = BTreeMap::new();
            for (at, step) in steps {
                let (was, expected) = match step {
                    Some(value) => (ours.insert(at, value), model.insert(at, value)),
                    None => (ours.remove(at), model.remove(&at)),
                };
                prop_assert_eq!(was, expected);
                prop_assert_eq!(ours.len(), model.len());
                prop_assert_eq!(ours.get(at), model.get(&at));
            }
            prop_assert!(ours.iter().map(|(at, v)| (at, *v)).eq(model.iter().map(|(at, v)| (*at, *v))));
            prop_assert!(ours.iter_mut().map(|(at, v)| (at, *v)).eq(model));
        }
    }
}
