//! The store on sled 0.34.7, behind the guards without which it may lose acknowledged writes or
//! refuse to open after a crash (docs/adr on the store):
//! 1. `flush` ends in `sync_file_range`, which is no barrier: `fdatasync` on a descriptor of our
//!    own follows each flush.
//! 2. A crash while opening leaves `snap.<n>.generating`, which the next open takes for a snapshot
//!    and fails (spacejam/sled#1533): it is removed before.
//! 3. Nothing syncs a new store's files and directory: it is made under another name, synced, and
//!    renamed into place.
//! 4. Opening after a crash writes a snapshot, without which the log behind it cannot be read any
//!    more, and does not sync its name: the directory is synced before anything is committed.
//! 5. A log that was damaged or cut looks like a shorter one: see `anchor`.

use super::anchor::Anchor;
use super::encode::Reading;
use super::{FORMAT, Store, StoreError, aside, encode};
use ipam_core::{Kept, Record};
use sled::IVec;
use std::fs::{self, File};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

const ENGINE: &str = "sled 0.34.7";
/// The live table is in the daemon's own memory: this is for the pages that are written.
const CACHE_BYTES: u64 = 1 << 20;
/// Entries that the reading thread hands over at once, and how often it may be ahead.
const AT_ONCE: usize = 256;
const QUEUE: usize = 16;
/// How sled words it.
const LOCKED: &str = "could not acquire lock";

type Entries = Vec<(IVec, IVec)>;

pub(crate) struct SledStore {
    db: sled::Db,
    /// sled's log, for syncing.
    log: File,
    path: PathBuf,
    /// How many are durable.
    commits: u64,
    /// To write slots with.
    value: encode::SlotValue,
    /// Absent until the store was found good: a bad one must not set it.
    anchor: Option<Anchor>,
}

impl SledStore {
    /// Opens the store in `dir`, making it if there is none. The caller holds the lock of `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("leases");
        let exists = path.try_exists().map_err(|e| io("look for", &path, e))?;
        if !exists {
            create(dir, &path)?;
        }
        remove_half_made_snapshots(&path)?;
        Self::open_made(path, Anchor::new(dir))
    }

    fn open_made(path: PathBuf, anchor: Anchor) -> Result<Self, StoreError> {
        let (log, db) = open_files(&path)?;
        let value = encode::SlotValue::default();
        let mut store = Self { db, log, path, commits: 0, value, anchor: None };
        store.check_format()?;
        store.commits = store.read_commits(anchor.read()?)?;
        store.anchor = Some(anchor);
        Ok(store)
    }

    /// sled keeps in memory what it has once read, and after [`Store::load`] that is everything,
    /// which nobody will ask it for again.
    pub(crate) fn reopened(mut self) -> Result<Self, StoreError> {
        let (path, commits, anchor) = (self.path.clone(), self.commits, self.anchor.take());
        drop(self);
        let (log, db) = open_files(&path)?;
        Ok(Self { db, log, path, commits, value: encode::SlotValue::default(), anchor })
    }

    fn read_commits(&self, least: u64) -> Result<u64, StoreError> {
        let found = self.db.get(encode::COMMITS_KEY).map_err(|e| self.unreadable(e.to_string()))?;
        let found = found.and_then(|value| value.as_ref().try_into().ok());
        let commits = found.map_or(0, u64::from_be_bytes);
        if commits < least {
            let lost = least - commits;
            return Err(self.unreadable(format!("of {least} commits the last {lost} are missing")));
        }
        Ok(commits)
    }

    /// That the format is there at all also says that the log was not emptied.
    fn check_format(&self) -> Result<(), StoreError> {
        let found = self.db.get(encode::FORMAT_KEY).map_err(|e| self.unreadable(e.to_string()))?;
        match found {
            Some(found) if *found == FORMAT.to_be_bytes() => Ok(()),
            Some(found) if *found == 1u32.to_be_bytes() => self.migrate_from_1(),
            Some(found) => {
                let number = <[u8; 4]>::try_from(&*found).map(u32::from_be_bytes);
                let found = number.map_or_else(|_| format!("{found:?}"), |n| n.to_string());
                Err(StoreError::Format { path: self.path.clone(), found })
            }
            None => Err(self.unreadable("its format record is missing".into())),
        }
    }

    /// All at once or not at all: a crash leaves the one format or the other.
    fn migrate_from_1(&self) -> Result<(), StoreError> {
        let pairs: Result<Vec<_>, _> = self.db.iter().collect();
        let pairs = pairs.map_err(|e| self.unreadable(e.to_string()))?;
        let pairs = pairs.into_iter().map(|(key, value)| (key.to_vec(), value.to_vec()));
        let new = encode::from_format_1(pairs).map_err(|key| self.damaged(&key))?;
        let leases = new.len();
        let mut batch = sled::Batch::default();
        new.into_iter().for_each(|(key, value)| batch.insert(key, value));
        batch.insert(encode::FORMAT_KEY, &FORMAT.to_be_bytes());
        self.db.apply_batch(batch).map_err(|e| StoreError::Commit { source: e.into() })?;
        self.sync().map_err(|source| StoreError::Commit { source })?;
        tracing::info!(leases, "the lease store is now of format {FORMAT}; it was of format 1");
        Ok(())
    }

    fn read_into(&self, to: &mut Reading, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        if [encode::FORMAT_KEY, encode::COMMITS_KEY].contains(&key) {
            return Ok(());
        }
        to.read(key, value).ok_or_else(|| self.damaged(key))
    }

    /// Two parts of about the same size, if there is anything to divide.
    fn parts(&self) -> Result<Vec<sled::Iter>, StoreError> {
        let mut slots = self.db.range(encode::SLOTS);
        let key = |entry: Option<sled::Result<(IVec, IVec)>>| match entry.transpose() {
            Ok(entry) => Ok(entry.map(|(key, _)| key)),
            Err(error) => Err(self.unreadable(error.to_string())),
        };
        let (Some(first), Some(last)) = (key(slots.next())?, key(slots.next_back())?) else {
            return Ok(vec![self.db.iter()]);
        };
        let middle = encode::middle(&first, &last);
        Ok(vec![self.db.range(..middle), self.db.range(middle..)])
    }

    /// Each part is read by a thread of its own, and what they find is put together by this one.
    fn read_all(&self, reading: &mut Reading) -> Result<(), StoreError> {
        let parts = self.parts()?;
        std::thread::scope(|scope| {
            let (out, entries) = sync_channel(QUEUE);
            let mut readers = Vec::new();
            for part in parts {
                let (reader, out) = (std::thread::Builder::new().name("load".into()), out.clone());
                let reader = reader.spawn_scoped(scope, move || read_entries(part, &out));
                readers.push(reader.map_err(|e| io("start a thread that reads", &self.path, e))?);
            }
            drop(out);
            for entries in entries {
                for (key, value) in entries.map_err(|e| self.unreadable(e.to_string()))? {
                    self.read_into(reading, &key, &value)?;
                }
            }
            let damaged = |_| self.unreadable("its log is damaged".into());
            readers.into_iter().try_for_each(|reader| reader.join().map_err(damaged))
        })
    }

    fn damaged(&self, key: &[u8]) -> StoreError {
        self.unreadable(format!("the record of key {key:?} is damaged"))
    }

    fn unreadable(&self, why: String) -> StoreError {
        unreadable(&self.path, why)
    }

    fn sync(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.db.flush()?;
        self.log.sync_data()?;
        Ok(())
    }
}

impl Store for SledStore {
    fn load(&self) -> Result<Kept, StoreError> {
        let dir = self.path.parent().unwrap_or(&self.path);
        let mut reading = Reading::default();
        self.read_all(&mut reading)?;
        Ok(Kept { set_aside: aside::was_set_aside(dir)?, ..reading.kept })
    }

    fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        batch.insert(encode::COMMITS_KEY, &(self.commits + 1).to_be_bytes());
        for record in records {
            match encode::encode(record, &mut self.value) {
                (key, Some(value)) => batch.insert(key, value),
                (key, None) => batch.remove(key),
            }
        }
        self.db.apply_batch(batch).map_err(|e| StoreError::Commit { source: e.into() })?;
        self.sync().map_err(|source| StoreError::Commit { source })?;
        self.commits += 1;
        self.anchor.as_mut().map_or(Ok(()), |anchor| anchor.write_now_and_then(self.commits))
    }

    fn engine(&self) -> &'static str {
        ENGINE
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        let Some(anchor) = &mut self.anchor else { return };
        if let Err(error) = anchor.write(self.commits) {
            tracing::warn!("{}", mainstay_daemon::chain(&error));
        }
    }
}

/// In threads of their own: the C library keeps what sled allocates there apart from what is made of
/// it, so that whole pages of memory are free once sled has let go of it.
fn read_entries(mut entries: sled::Iter, out: &SyncSender<Result<Entries, sled::Error>>) {
    loop {
        let some: Result<Entries, _> = entries.by_ref().take(AT_ONCE).collect();
        let last = some.as_ref().map_or(true, |some| some.len() < AT_ONCE);
        // Whoever has found a damaged one hears no more.
        if out.send(some).is_err() || last {
            return;
        }
    }
}

fn open_files(path: &Path) -> Result<(File, sled::Db), StoreError> {
    let log = File::open(path.join("db")).map_err(|e| unreadable(path, format!("db: {e}")))?;
    let db = open_engine(path)?;
    // The snapshot it has just renamed into place is needed from the next commit on.
    sync(path)?;
    Ok((log, db))
}

/// sled lets go of its files a little after its `Db` is dropped, and its caller may have just done that.
/// Nobody else has them: the directory's own lock is ours.
fn open_engine(path: &Path) -> Result<sled::Db, StoreError> {
    let mut tries = 0;
    loop {
        match try_open(path) {
            Err(StoreError::Unreadable { why, .. }) if why.contains(LOCKED) && tries < 400 => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            result => return result,
        }
    }
}

/// A damaged log makes sled panic as often as it makes it return an error.
fn try_open(path: &Path) -> Result<sled::Db, StoreError> {
    let config = sled::Config::new().path(path).flush_every_ms(None).cache_capacity(CACHE_BYTES);
    match catch_unwind(AssertUnwindSafe(|| config.open())) {
        Ok(Ok(db)) => Ok(db),
        Ok(Err(sled::Error::Io(e))) if e.kind() == std::io::ErrorKind::StorageFull => {
            Err(io("open (its disk is full; make room, no lease is lost)", path, e))
        }
        Ok(Err(error)) => Err(unreadable(path, error.to_string())),
        Err(_) => Err(unreadable(path, "its log is damaged".into())),
    }
}

/// Made under another name and renamed, so that a store is there whole or not at all.
fn create(dir: &Path, path: &Path) -> Result<(), StoreError> {
    let new = dir.join("leases.new");
    match fs::remove_dir_all(&new) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(io("remove", &new, e)),
        _ => {}
    }
    let db = open_engine(&new)?;
    let commit = |e: sled::Error| StoreError::Commit { source: e.into() };
    db.insert(encode::FORMAT_KEY, &FORMAT.to_be_bytes()).map_err(commit)?;
    db.flush().map_err(commit)?;
    drop(db);
    for file in ["conf", "db"] {
        sync(&new.join(file))?;
    }
    sync(&new)?;
    fs::rename(&new, path).map_err(|e| io("rename", &new, e))?;
    sync(dir)?;
    // `dir` itself may be new.
    dir.parent().map_or(Ok(()), sync)
}

fn remove_half_made_snapshots(path: &Path) -> Result<(), StoreError> {
    let entries = fs::read_dir(path).map_err(|e| io("list", path, e))?;
    for entry in entries {
        let name = entry.map_err(|e| io("list", path, e))?.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            let half_made = path.join(&*name);
            fs::remove_file(&half_made).map_err(|e| io("remove", &half_made, e))?;
        }
    }
    Ok(())
}

pub(super) fn sync(path: &Path) -> Result<(), StoreError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|e| io("sync", path, e))
}

pub(super) fn io(what: &'static str, path: &Path, source: std::io::Error) -> StoreError {
    StoreError::Io { what, path: path.into(), source }
}

fn unreadable(path: &Path, why: String) -> StoreError {
    StoreError::Unreadable { path: path.into(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::encode::tests::any_slot;
    use crate::store::memory::MemoryStore;
    use ipam_core::Slots;
    use proptest::prelude::*;
    use proptest::strategy::ValueTree;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn the_store_and_its_twin_agree(
            batches in prop::collection::vec(
                prop::collection::vec((any_slot(), prop::bool::weighted(0.8)), 0..5), 1..8),
            (reopen, again) in (0usize..8, 0usize..8),
        ) {
            let dir = tempfile::tempdir().unwrap();
            let mut store = SledStore::open(dir.path()).unwrap();
            let mut twin = MemoryStore::default();
            for (i, batch) in batches.into_iter().enumerate() {
                let records: Vec<_> = batch
                    .into_iter()
                    .map(|(slot, put)| match put {
                        true => Record::Slot(Box::new(slot)),
                        false => Record::Forget(slot.address),
                    })
                    .collect();
                store.commit(&records).unwrap();
                twin.commit(&records).unwrap();
                if i == reopen {
                    drop(store);
                    store = SledStore::open(dir.path()).unwrap();
                }
                if i == again {
                    store = store.reopened().unwrap();
                }
                prop_assert_eq!(store.load().unwrap(), twin.load().unwrap());
            }
        }
    }

    #[test]
    fn a_half_made_snapshot_and_a_half_made_store_are_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        drop(SledStore::open(dir.path()).unwrap());
        fs::write(dir.path().join("leases/snap.0000000000000FFF.generating"), b"half").unwrap();
        fs::create_dir(dir.path().join("leases.new")).unwrap();
        SledStore::open(dir.path()).unwrap();
        fs::remove_dir_all(dir.path().join("leases")).unwrap();
        SledStore::open(dir.path()).unwrap();
        assert!(!dir.path().join("leases.new").exists());
    }

    fn refusal(damage: impl FnOnce(&Path)) -> String {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        store.commit(&[Record::Forget([10, 0, 0, 9].into())]).unwrap();
        drop(store);
        damage(&dir.path().join("leases"));
        let opened = SledStore::open(dir.path()).and_then(|store| store.load());
        opened.unwrap_err().to_string()
    }

    #[test]
    fn a_damaged_store_is_refused_and_says_how_to_go_on() {
        let emptied = refusal(|path| fs::write(path.join("db"), b"").unwrap());
        let missing = refusal(|path| fs::remove_file(path.join("db")).unwrap());
        let vanished = refusal(|path| fs::remove_dir_all(path).unwrap());
        for text in [emptied, missing, vanished] {
            assert!(text.contains("cannot be read"), "{text}");
            assert!(text.contains("mainstay-ipamd --set-aside"), "{text}");
        }
    }

    #[test]
    fn a_store_of_another_format_is_refused() {
        let text = refusal(|path| {
            let db = sled::open(path).unwrap();
            db.insert(encode::FORMAT_KEY, &9u32.to_be_bytes()).unwrap();
        });
        assert!(text.contains("has format 9, and this release reads formats up to 2"), "{text}");
    }

    /// A copy of the store in `tests/fixtures/format_1`.
    fn of_format_1() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format_1");
        let to = dir.path().join("leases");
        fs::create_dir_all(to.join("blobs")).unwrap();
        for file in ["conf", "db"] {
            fs::copy(from.join(file), to.join(file)).unwrap();
        }
        let log = fs::OpenOptions::new().write(true).open(to.join("db")).unwrap();
        log.set_len(524_287).unwrap();
        fs::write(dir.path().join("leases.commits"), "6\n").unwrap();
        dir
    }

    #[test]
    fn a_store_of_format_1_is_taken_over_with_every_lease_and_a_number_for_each() {
        let dir = of_format_1();
        let first = SledStore::open(dir.path()).unwrap().load().unwrap();
        let text: Vec<_> = first
            .slots
            .iter()
            .map(|s| format!("{} {} {} {:?}", s.seq, s.address, s.describe_owner(), s.state))
            .collect();
        let released = |moment: u64| {
            format!(
                "Held {{ released: Stamp {{ moment: Moment({moment}s), wall: 18000000{moment}s }} }}"
            )
        };
        let (at_70, at_71) = (released(70), released(71));
        assert_eq!(
            text,
            [
                "1 10.244.0.2 pod shop/db-2 Assigned".to_owned(),
                format!("2 10.244.0.3 pod shop/db-3 {at_70}"),
                format!("3 10.244.0.4 pod shop/db-4 {at_71}"),
                "4 fd00:244::2 pod shop/db-2 Assigned".to_owned(),
                format!("5 fd00:244::3 pod shop/db-3 {at_70}"),
            ]
        );
        assert_eq!(first.slots.iter().nth(2).unwrap().owner.sticky_key, "ledger");
        assert!(first.slots.iter().all(|s| s.policy.is_none() && !s.let_go));
        let clock = first.clock.unwrap();
        assert_eq!((clock.moment.0.as_secs(), clock.next_seq), (75, 0));
        let again = SledStore::open(dir.path()).unwrap().load().unwrap();
        assert_eq!(again, first, "it is migrated once");
    }

    #[test]
    fn a_lease_of_format_1_that_cannot_be_read_leaves_the_store_as_it_is() {
        let dir = of_format_1();
        let path = dir.path().join("leases");
        let db = open_engine(&path).unwrap();
        db.insert(b"@\x0a\0\0\x02", b"\xff\xff").unwrap();
        drop(db);
        for _ in 0..2 {
            let error = SledStore::open(dir.path()).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains("record of key [64, 10, 0, 0, 2] is damaged"), "{error}");
        }
        let db = open_engine(&path).unwrap();
        assert_eq!(db.get(encode::FORMAT_KEY).unwrap().unwrap(), 1u32.to_be_bytes());
    }

    #[test]
    fn a_damaged_record_is_refused() {
        let text = refusal(|path| {
            let db = sled::open(path).unwrap();
            db.insert(b"@\x0a\0\0\x02", b"\xff\xff").unwrap();
        });
        assert!(text.contains("record of key [64, 10, 0, 0, 2] is damaged"), "{text}");
    }

    #[test]
    fn no_damage_to_the_log_passes_unnoticed() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = SledStore::open(dir.path()).unwrap();
        let slots: Slots = some_slots(200).into_iter().collect();
        for slot in slots.iter() {
            store.commit(&[Record::Slot(Box::new(slot))]).unwrap();
        }
        drop(store);
        let log = dir.path().join("leases/db");
        let whole = fs::read(&log).unwrap();
        let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
        let mut noticed = 0;
        for at in (0..used).step_by(used / 23) {
            let mut damaged = whole.clone();
            damaged[at..at + 8].iter_mut().for_each(|byte| *byte ^= 0x5a);
            fs::write(&log, &damaged).unwrap();
            match SledStore::open(dir.path()).and_then(|store| store.load()) {
                Ok(kept) => assert_eq!(kept.slots, slots, "damage at {at}"),
                Err(error) => {
                    assert!(error.to_string().contains("cannot be read"), "{error}");
                    noticed += 1;
                }
            }
        }
        assert!(noticed > 10, "only {noticed}");
    }

    fn some_slots(count: u32) -> Vec<ipam_core::Slot> {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let slot = any_slot().new_tree(&mut runner).unwrap().current();
        let numbered = |n: u32| ipam_core::Slot {
            address: std::net::IpAddr::from((0x0a00_0000 + n).to_be_bytes()),
            block: "10.0.0.0/16".parse().unwrap(),
            ..slot.clone()
        };
        (0..count).map(numbered).collect()
    }
}
