//! Memory that a session's state lives in: shared between processes, or a test's own.

/// Words are read and written whole, whichever process does it. What lies outside reads as zero
/// and is not written; [`crate::layout::check`] sees to it that nothing does.
pub trait Area {
    fn size(&self) -> u64;
    /// The word at byte `at` (a multiple of eight), after everything stored before it.
    fn load(&self, at: u64) -> u64;
    /// Becomes visible after everything written before it.
    fn store(&self, at: u64, word: u64);
    fn read(&self, at: u64, into: &mut [u8]);
    fn write(&self, at: u64, bytes: &[u8]);
}

impl<A: Area + ?Sized> Area for &A {
    fn size(&self) -> u64 {
        (**self).size()
    }
    fn load(&self, at: u64) -> u64 {
        (**self).load(at)
    }
    fn store(&self, at: u64, word: u64) {
        (**self).store(at, word);
    }
    fn read(&self, at: u64, into: &mut [u8]) {
        (**self).read(at, into);
    }
    fn write(&self, at: u64, bytes: &[u8]) {
        (**self).write(at, bytes);
    }
}

#[cfg(test)]
pub(crate) use testing::{Heap, Life, Mortal};

#[cfg(test)]
mod testing {
    use super::Area;
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    /// Memory of the test's own.
    #[derive(Debug, Clone)]
    pub(crate) struct Heap(Rc<RefCell<Vec<u8>>>);

    impl Heap {
        pub(crate) fn new(size: u64) -> Self {
            Self(Rc::new(RefCell::new(vec![0; usize::try_from(size).unwrap()])))
        }
    }

    impl Area for Heap {
        fn size(&self) -> u64 {
            self.0.borrow().len() as u64
        }
        fn load(&self, at: u64) -> u64 {
            let mut word = [0; 8];
            self.read(at, &mut word);
            u64::from_ne_bytes(word)
        }
        fn store(&self, at: u64, word: u64) {
            self.write(at, &word.to_ne_bytes());
        }
        fn read(&self, at: u64, into: &mut [u8]) {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let bytes = self.0.borrow();
            match at.checked_add(into.len()).and_then(|end| bytes.get(at..end)) {
                Some(from) => into.copy_from_slice(from),
                None => into.fill(0),
            }
        }
        fn write(&self, at: u64, bytes: &[u8]) {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let mut memory = self.0.borrow_mut();
            if let Some(to) = at.checked_add(bytes.len()).and_then(|end| memory.get_mut(at..end)) {
                to.copy_from_slice(bytes);
            }
        }
    }

    /// How many more effects a process has before it is dead; afterwards it has none.
    #[derive(Debug, Clone)]
    pub(crate) struct Life(Rc<Cell<u64>>);

    impl Life {
        pub(crate) fn long() -> Self {
            Self(Rc::new(Cell::new(u64::MAX)))
        }

        pub(crate) fn set(&self, effects: u64) {
            self.0.set(effects);
        }

        pub(crate) fn spend(&self) -> bool {
            let left = self.0.get();
            self.0.set(left.saturating_sub(1));
            left > 0
        }

        pub(crate) fn dead(&self) -> bool {
            self.0.get() == 0
        }
    }

    /// Memory as a mortal process writes it.
    #[derive(Debug, Clone)]
    pub(crate) struct Mortal {
        memory: Heap,
        life: Life,
    }

    impl Mortal {
        pub(crate) fn new(memory: Heap, effects: u64) -> Self {
            Self::with(memory, Life(Rc::new(Cell::new(effects))))
        }

        pub(crate) const fn with(memory: Heap, life: Life) -> Self {
            Self { memory, life }
        }
    }

    impl Area for Mortal {
        fn size(&self) -> u64 {
            self.memory.size()
        }
        fn load(&self, at: u64) -> u64 {
            self.memory.load(at)
        }
        fn store(&self, at: u64, word: u64) {
            if self.life.spend() {
                self.memory.store(at, word);
            }
        }
        fn read(&self, at: u64, into: &mut [u8]) {
            self.memory.read(at, into);
        }
        /// Byte after byte would be too fine to enumerate: two halves.
        fn write(&self, at: u64, bytes: &[u8]) {
            let (head, tail) = bytes.split_at(bytes.len() / 2);
            for (at, part) in [(at, head), (at + head.len() as u64, tail)] {
                if self.life.spend() {
                    self.memory.write(at, part);
                }
            }
        }
    }
}
