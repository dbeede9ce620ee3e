//! The store's twin: the same keys and values in a map, gone with the process.

use super::{Store, StoreError, encode};
use ipam_core::{Kept, Record};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct MemoryStore(BTreeMap<Vec<u8>, Vec<u8>>);

impl Store for MemoryStore {
    fn load(&self) -> Result<Kept, StoreError> {
        let mut reading = encode::Reading::default();
        for (key, value) in &self.0 {
            let unreadable = || StoreError::Unreadable { path: "memory".into(), why: "?".into() };
            reading.read(key, value).ok_or_else(unreadable)?;
        }
        Ok(reading.kept)
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        for record in records {
            match encode::encode(record, &mut encode::SlotValue::default()) {
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
