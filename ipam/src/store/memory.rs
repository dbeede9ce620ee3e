//! The store's twin: the same keys and values in a map, gone with the process.

use super::{Kept, Store, StoreError, encode};
use ipam_core::Record;
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct MemoryStore(BTreeMap<Vec<u8>, Vec<u8>>);

impl Store for MemoryStore {
    fn load(&self) -> Result<Kept, StoreError> {
        let mut kept = Kept::default();
        for (key, value) in &self.0 {
            match encode::decode(key, value) {
                Some(Record::Slot(slot)) => kept.slots.push(*slot),
                Some(Record::Clock(clock)) => kept.clock = Some(clock),
                Some(Record::Forget(_)) | None => {
                    return Err(StoreError::Unreadable { path: "memory".into(), why: "?".into() });
                }
            }
        }
        Ok(kept)
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        for record in records {
            match encode::encode(record) {
                (key, Some(value)) => drop(self.0.insert(key, value)),
                (key, None) => drop(self.0.remove(&key)),
            }
        }
        Ok(())
    }

    fn engine(&self) -> &'static str {
        "memory"
    }
}
