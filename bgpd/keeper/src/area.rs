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

/// For tests.
#[cfg(test)]
#[derive(Debug, Clone)]
pub(crate) struct Heap(std::rc::Rc<std::cell::RefCell<Vec<u8>>>);

#[cfg(test)]
impl Heap {
    pub(crate) fn new(size: u64) -> Self {
        Self(std::rc::Rc::new(std::cell::RefCell::new(vec![0; usize::try_from(size).unwrap()])))
    }
}

#[cfg(test)]
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
        let at = usize::try_from(at).unwrap();
        into.copy_from_slice(&self.0.borrow()[at..at + into.len()]);
    }
    fn write(&self, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap();
        self.0.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }
}
