//! A disk under a log of calls: what is durable, what is still in memory, and the disks that a loss
//! of power could leave of the two.
//!
//! A file's bytes are durable once a sync of it that began after their write has succeeded. Two
//! ways are known in which directories become durable: as on ext4, where any sync commits all that
//! was done to directories before; and strictly, where only a sync of that very directory does.

use super::log::{Entry, Kind};
use super::random::Random;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// What of the unsynced is there after the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// Nothing.
    Lost,
    /// What was written up to some moment, for each file its own.
    Prefix,
    /// Each page of 4 KiB as it was at some moment of its own.
    Pages,
    /// Each sector of 512 bytes: a page may be torn.
    Sectors,
}

impl Rest {
    pub const ALL: [Self; 4] = [Self::Lost, Self::Prefix, Self::Pages, Self::Sectors];

    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lost => "unsynced writes lost",
            Self::Prefix => "a random part of them, in order",
            Self::Pages => "random pages of them, in any order",
            Self::Sectors => "the same by sectors: torn pages",
        }
    }
}

/// How directories become durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    Ext4,
    Strict,
}

impl Journal {
    pub const ALL: [Self; 2] = [Self::Ext4, Self::Strict];
}

/// A disk as a reader finds it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub dirs: BTreeSet<PathBuf>,
    pub files: BTreeMap<PathBuf, Vec<u8>>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Debug, Clone, Default)]
struct File {
    durable: Vec<u8>,
    /// With the number of the entry.
    pending: Vec<(usize, Change)>,
}

#[derive(Debug, Clone)]
enum Naming {
    Create(PathBuf, usize),
    Mkdir(PathBuf),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

/// Names, and the file behind each; none behind a directory's.
type Names = BTreeMap<PathBuf, Option<usize>>;

#[derive(Debug, Clone, Default)]
struct Directories {
    durable: Names,
    pending: Vec<(usize, Naming)>,
}

#[derive(Debug, Clone, Default)]
pub struct Disk {
    root: PathBuf,
    files: Vec<File>,
    by_inode: HashMap<u64, usize>,
    ext4: Directories,
    strict: Directories,
    /// Where a thread's sync began.
    syncing: HashMap<u64, usize>,
    seen: usize,
}

impl Disk {
    /// An empty directory `root`, which is there for good.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        let mut disk = Self { root: root.into(), ..Self::default() };
        disk.ext4.durable.insert(root.into(), None);
        disk.strict.durable.insert(root.into(), None);
        disk
    }

    /// Everything that is on the real disk, all of it durable.
    #[must_use]
    pub fn found(root: &Path) -> Self {
        use std::os::unix::fs::MetadataExt;
        let (mut disk, image) = (Self::new(root), Image::read(root));
        let mut names: Names = image.dirs.into_iter().map(|dir| (dir, None)).collect();
        for (path, durable) in image.files {
            let inode = std::fs::metadata(&path).expect("a file of the directory").ino();
            disk.by_inode.insert(inode, disk.files.len());
            names.insert(path, Some(disk.files.len()));
            disk.files.push(File { durable, pending: Vec::new() });
        }
        disk.ext4.durable.clone_from(&names);
        disk.strict.durable = names;
        disk
    }

    pub fn apply(&mut self, entry: &Entry) {
        let n = self.seen;
        self.seen += 1;
        let path = |bytes: &[u8]| PathBuf::from(String::from_utf8_lossy(bytes).as_ref());
        let naming = match entry.kind {
            Kind::Write => {
                return self.change(n, entry, Change::Write(entry.offset, entry.a.clone()));
            }
            Kind::Length => return self.change(n, entry, Change::Length(entry.offset)),
            Kind::SyncBegin => {
                self.syncing.insert(entry.offset, n);
                return;
            }
            Kind::SyncEnd => return self.sync(entry, &path(&entry.a)),
            Kind::Create => {
                self.by_inode.insert(entry.inode, self.files.len());
                self.files.push(File::default());
                Naming::Create(path(&entry.a), self.files.len() - 1)
            }
            Kind::Mkdir if path(&entry.a) == self.root => return,
            Kind::Mkdir => Naming::Mkdir(path(&entry.a)),
            Kind::Unlink | Kind::Rmdir => Naming::Remove(path(&entry.a)),
            Kind::Rename => Naming::Rename(path(&entry.a), path(&entry.b)),
        };
        self.ext4.pending.push((n, naming.clone()));
        self.strict.pending.push((n, naming));
    }

    fn change(&mut self, n: usize, entry: &Entry, change: Change) {
        if let Some(file) = self.by_inode.get(&entry.inode) {
            self.files[*file].pending.push((n, change));
        }
    }

    fn sync(&mut self, end: &Entry, dir: &Path) {
        let Some(began) = self.syncing.remove(&end.offset) else { return };
        self.ext4.commit(|n, _| n < began);
        if !dir.as_os_str().is_empty() {
            self.strict.commit(|n, naming| n < began && naming.is_in(dir));
        } else if let Some(file) = self.by_inode.get(&end.inode) {
            let file = &mut self.files[*file];
            let after = file.pending.iter().position(|(n, _)| *n >= began);
            let after = after.unwrap_or(file.pending.len());
            for (_, change) in file.pending.drain(..after) {
                change.apply(&mut file.durable);
            }
        }
    }

    /// As if everything had been synced.
    #[must_use]
    pub fn whole(&self) -> Image {
        let mut names = self.ext4.durable.clone();
        self.ext4.pending.iter().for_each(|(_, naming)| naming.apply(&mut names));
        self.image(&names, |file| {
            let mut bytes = file.durable.clone();
            file.pending.iter().for_each(|(_, change)| change.apply(&mut bytes));
            bytes
        })
    }

    /// What a loss of power could leave now.
    #[must_use]
    pub fn after_power_loss(&self, rest: Rest, journal: Journal, random: &mut Random) -> Image {
        let directories = if journal == Journal::Ext4 { &self.ext4 } else { &self.strict };
        let mut names = directories.durable.clone();
        let kept = match rest {
            Rest::Lost => 0,
            _ => random.upto(directories.pending.len()),
        };
        directories.pending[..kept].iter().for_each(|(_, naming)| naming.apply(&mut names));
        self.image(&names, |file| file.after_power_loss(rest, random))
    }

    fn image(&self, names: &Names, mut bytes: impl FnMut(&File) -> Vec<u8>) -> Image {
        let mut image = Image::default();
        for (path, file) in names {
            // One whose directory is lost is lost too.
            let mut above = path.ancestors().skip(1).take_while(|dir| dir.starts_with(&self.root));
            if !above.all(|dir| names.get(dir).is_some_and(Option::is_none)) {
                continue;
            }
            match file {
                None => drop(image.dirs.insert(path.clone())),
                Some(file) => drop(image.files.insert(path.clone(), bytes(&self.files[*file]))),
            }
        }
        image
    }
}

impl Directories {
    fn commit(&mut self, durable: impl Fn(usize, &Naming) -> bool) {
        let names = &mut self.durable;
        self.pending.retain(|(n, naming)| {
            let commits = durable(*n, naming);
            if commits {
                naming.apply(names);
            }
            !commits
        });
    }
}

impl Naming {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Create(path, file) => drop(names.insert(path.clone(), Some(*file))),
            Self::Mkdir(path) => drop(names.insert(path.clone(), None)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename(from, to) => {
                let moved: Vec<_> = names.keys().filter(|p| p.starts_with(from)).cloned().collect();
                for path in moved {
                    let file = names.remove(&path).flatten();
                    let inside = path.strip_prefix(from).expect("it starts with it");
                    let path = if path == *from { to.clone() } else { to.join(inside) };
                    names.insert(path, file);
                }
            }
        }
    }

    fn is_in(&self, dir: &Path) -> bool {
        let (Self::Create(path, _)
        | Self::Mkdir(path)
        | Self::Remove(path)
        | Self::Rename(path, _)) = self;
        path.parent() == Some(dir)
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, data) => put(bytes, *at, data),
            Self::Length(length) => bytes.resize(*length as usize, 0),
        }
    }
}

fn put(bytes: &mut Vec<u8>, at: u64, data: &[u8]) {
    let (from, to) = (at as usize, at as usize + data.len());
    if bytes.len() < to {
        bytes.resize(to, 0);
    }
    bytes[from..to].copy_from_slice(data);
}

impl File {
    fn after_power_loss(&self, rest: Rest, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let pending = self.pending.iter().map(|(_, change)| change);
        let grows = |change: &Change| matches!(change, Change::Write(..));
        match rest {
            Rest::Lost => {}
            Rest::Pages if pending.clone().all(grows) => self.pages(4096, &mut bytes, random),
            Rest::Sectors if pending.clone().all(grows) => self.pages(512, &mut bytes, random),
            // A change of length is metadata: journalled, and in order.
            _ => {
                let kept = random.upto(self.pending.len());
                pending.take(kept).for_each(|change| change.apply(&mut bytes));
            }
        }
        bytes
    }

    /// Each piece of this size as it was at a moment of its own.
    fn pages(&self, size: u64, bytes: &mut Vec<u8>, random: &mut Random) {
        let mut moments: HashMap<u64, usize> = HashMap::new();
        for (at_most, (_, change)) in self.pending.iter().enumerate() {
            let Change::Write(at, data) = change else { continue };
            let (mut at, mut data) = (*at, data.as_slice());
            while !data.is_empty() {
                let page = at / size;
                let here = data.len().min((size - at % size) as usize);
                let any = || random.upto(self.pending.len());
                let until = *moments.entry(page).or_insert_with(any);
                if at_most < until {
                    put(bytes, at, &data[..here]);
                }
                at += here as u64;
                data = &data[here..];
            }
        }
    }
}

impl Image {
    /// Writes it under `root`, which stands for the one of the log.
    pub fn write(&self, from: &Path, root: &Path) {
        let place = |path: &Path| root.join(path.strip_prefix(from).expect("inside of the root"));
        for dir in &self.dirs {
            std::fs::create_dir_all(place(dir)).expect("a directory of the image");
        }
        for (path, bytes) in &self.files {
            sparse(&place(path), bytes).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }

    /// What is on the real disk.
    #[must_use]
    pub fn read(root: &Path) -> Self {
        let mut image = Self::default();
        let mut todo = vec![root.to_owned()];
        while let Some(dir) = todo.pop() {
            for entry in std::fs::read_dir(&dir).expect("a directory").flatten() {
                let path = entry.path();
                if path.is_dir() {
                    todo.push(path);
                } else {
                    let bytes = std::fs::read(&path).expect("a file of the directory");
                    image.files.insert(path, bytes);
                }
            }
            image.dirs.insert(dir);
        }
        image
    }
}

/// sled's log is mostly holes.
fn sparse(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = std::fs::File::create(path)?;
    file.set_len(bytes.len() as u64)?;
    for (n, page) in bytes.chunks(4096).enumerate() {
        if page.iter().any(|byte| *byte != 0) {
            file.write_all_at(page, n as u64 * 4096)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, inode: u64, offset: u64, a: &[u8], b: &[u8]) -> Entry {
        Entry { kind, inode, offset, a: a.to_vec(), b: b.to_vec(), end: 0 }
    }

    fn disk(entries: &[Entry]) -> Disk {
        let mut disk = Disk::new(Path::new("/s"));
        entries.iter().for_each(|entry| disk.apply(entry));
        disk
    }

    fn synced(inode: u64, dir: &[u8]) -> [Entry; 2] {
        [entry(Kind::SyncBegin, inode, 1, dir, b""), entry(Kind::SyncEnd, inode, 1, dir, b"")]
    }

    fn lost(disk: &Disk, journal: Journal) -> Image {
        disk.after_power_loss(Rest::Lost, journal, &mut Random::new(1))
    }

    #[test]
    fn only_what_was_written_before_the_sync_began_is_durable() {
        let write = |at, data: &[u8]| entry(Kind::Write, 7, at, data, b"");
        let [begin, end] = synced(7, b"");
        let create = entry(Kind::Create, 7, 0, b"/s/f", b"");
        let disk = disk(&[create, write(0, b"abc"), begin, write(1, b"XY"), end, write(5, b"z")]);
        assert_eq!(lost(&disk, Journal::Ext4).files[Path::new("/s/f")], b"abc");
        assert_eq!(disk.whole().files[Path::new("/s/f")], b"aXY\0\0z");
    }

    #[test]
    fn strictly_a_name_needs_a_sync_of_its_directory() {
        let create = entry(Kind::Create, 7, 0, b"/s/f", b"");
        let [begin, end] = synced(7, b"");
        let mut disk = disk(&[create, begin, end]);
        assert_eq!(lost(&disk, Journal::Ext4).files.len(), 1);
        assert_eq!(lost(&disk, Journal::Strict).files.len(), 0);
        synced(1, b"/s").iter().for_each(|entry| disk.apply(entry));
        assert_eq!(lost(&disk, Journal::Strict).files.len(), 1);
    }

    #[test]
    fn a_directory_is_renamed_with_what_is_in_it_and_lost_with_it() {
        let calls = [
            entry(Kind::Mkdir, 0, 0, b"/s/d.new", b""),
            entry(Kind::Create, 7, 0, b"/s/d.new/f", b""),
            entry(Kind::Rename, 0, 0, b"/s/d.new", b"/s/d"),
        ];
        let mut disk = disk(&calls);
        assert!(disk.whole().files.contains_key(Path::new("/s/d/f")));
        synced(2, b"/s/d.new").iter().for_each(|entry| disk.apply(entry));
        assert_eq!(lost(&disk, Journal::Strict).files.len(), 0, "nobody has synced /s");
    }

    #[test]
    fn every_page_is_as_it_was_at_some_moment() {
        let write = |at, data: &[u8]| entry(Kind::Write, 7, at, data, b"");
        let create = entry(Kind::Create, 7, 0, b"/s/f", b"");
        let [begin, end] = synced(7, b"");
        let mut calls = vec![create, begin, end];
        calls.extend((1..=9).map(|n| write(0, &[n; 8192])));
        let disk = disk(&calls);
        let mut torn = 0;
        for seed in 0..200 {
            let image = disk.after_power_loss(Rest::Pages, Journal::Ext4, &mut Random::new(seed));
            let file = &image.files[Path::new("/s/f")];
            let pages: Vec<_> = file.chunks(4096).map(|page| page[0]).collect();
            assert!(file.chunks(4096).all(|page| page.iter().all(|byte| *byte == page[0])));
            torn += usize::from(pages.len() == 2 && pages[0] != pages[1]);
        }
        assert!(torn > 100, "{torn}");
    }
}
