//! The thread that writes files: rotation, full disks, what could not be written.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What may wait for the disk; more is lost, and counted.
const MOST: usize = 16 << 20;

/// Whole records.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    pub(super) records: u64,
    /// Begin another file with it; the last one is whole.
    pub(super) fresh: bool,
}

/// How it does, for those who look.
#[derive(Debug, Clone, Default)]
pub(crate) struct FileState {
    pub(crate) path: String,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    pub(crate) lost: u64,
    pub(crate) last_error: Option<String>,
}

#[derive(Debug, Default)]
struct Shared {
    queued: AtomicUsize,
    state: Mutex<FileState>,
}

/// The loop's end.
#[derive(Debug)]
pub(super) struct Writer {
    to: mpsc::Sender<Piece>,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Writer {
    /// `every`: another file is begun at multiples of it; `None`: where a piece says so.
    pub(super) fn start(
        kind: &'static str,
        template: PathBuf,
        every: Option<Duration>,
    ) -> io::Result<Self> {
        let (to, pieces) = mpsc::channel::<Piece>();
        let shared = Arc::new(Shared::default());
        let files = Files {
            kind,
            template,
            every,
            shared: Arc::clone(&shared),
            open: None,
            failing: false,
        };
        let thread = std::thread::Builder::new().name(format!("mrt-{kind}"));
        let thread = thread.spawn(move || files.run(&pieces))?;
        Ok(Self { to, shared, thread: Some(thread) })
    }

    /// What does not fit is lost.
    pub(super) fn write(&self, piece: Piece) {
        let length = piece.bytes.len();
        if self.shared.queued.fetch_add(length, Ordering::Relaxed) + length > MOST {
            self.shared.queued.fetch_sub(length, Ordering::Relaxed);
            let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.lost += piece.records;
            return;
        }
        // It ends with this sender only.
        let _ = self.to.send(piece);
    }

    /// Half of the room is left.
    pub(super) fn has_room(&self) -> bool {
        self.shared.queued.load(Ordering::Relaxed) < MOST / 2
    }

    pub(super) fn state(&self) -> FileState {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Writer {
    /// What waits is written; a disk that hangs is not waited for here.
    fn drop(&mut self) {
        let (to, _) = mpsc::channel();
        self.to = to;
        if let Some(thread) = self.thread.take() {
            let end = std::time::Instant::now() + Duration::from_millis(200);
            while !thread.is_finished() && std::time::Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

struct Files {
    kind: &'static str,
    template: PathBuf,
    every: Option<Duration>,
    shared: Arc<Shared>,
    open: Option<Open>,
    failing: bool,
}

struct Open {
    file: File,
    path: PathBuf,
    /// As far as it is whole.
    good: u64,
    /// When another one is begun.
    until: Option<SystemTime>,
}

impl Files {
    fn run(mut self, pieces: &mpsc::Receiver<Piece>) {
        loop {
            match pieces.recv_timeout(self.patience()) {
                Ok(piece) => {
                    let length = piece.bytes.len();
                    let written = self.write(&piece);
                    self.shared.queued.fetch_sub(length, Ordering::Relaxed);
                    self.note(&piece, written);
                }
                // A file whose time is over is closed though nothing more comes.
                Err(RecvTimeoutError::Timeout) => self.rotate(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn patience(&self) -> Duration {
        let until = self.open.as_ref().and_then(|open| open.until);
        let left = until.map(|at| at.duration_since(SystemTime::now()).unwrap_or_default());
        left.unwrap_or(Duration::from_secs(3600))
    }

    fn rotate(&mut self) {
        let over = |open: &Open| open.until.is_some_and(|at| at <= SystemTime::now());
        if self.open.as_ref().is_some_and(over) {
            self.open = None;
        }
    }

    fn write(&mut self, piece: &Piece) -> io::Result<()> {
        self.rotate();
        if piece.fresh {
            self.open = None;
        }
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let open = open(&self.template, self.every)?;
                self.open.insert(open)
            }
        };
        match open.file.write_all(&piece.bytes) {
            Ok(()) => {
                open.good += piece.bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half a record would make the rest unreadable.
                let _ = open.file.set_len(open.good);
                let _ = open.file.seek(SeekFrom::End(0));
                Err(error)
            }
        }
    }

    fn note(&mut self, piece: &Piece, written: io::Result<()>) {
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &self.open {
            state.path = open.path.display().to_string();
        }
        let (kind, path) = (self.kind, self.template.display());
        match written {
            Ok(()) => {
                state.records += piece.records;
                state.bytes += piece.bytes.len() as u64;
                if std::mem::take(&mut self.failing) {
                    state.last_error = None;
                    let lost = state.lost;
                    tracing::info!(kind, %path, lost, "MRT records are written again");
                }
            }
            Err(error) => {
                state.lost += piece.records;
                state.last_error = Some(crate::tcp::words(&error));
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::error!(kind, %path, %error, "MRT records cannot be written, and are lost");
                }
            }
        }
    }
}

fn open(template: &Path, every: Option<Duration>) -> io::Result<Open> {
    let now = SystemTime::now();
    let begun = every.map_or(now, |every| floor(now, every));
    let path = expanded(template, begun);
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let mut file = File::options().append(true).create(true).open(&path)?;
    let good = file.seek(SeekFrom::End(0))?;
    Ok(Open { file, path, good, until: every.map(|every| begun + every) })
}

/// The last multiple of `every`, so that files of many nodes begin together.
fn floor(at: SystemTime, every: Duration) -> SystemTime {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
    let millis = u64::try_from(since.as_millis()).unwrap_or_default();
    UNIX_EPOCH + Duration::from_millis(millis - millis % every)
}

/// The template with the moment in it, in UTC.
fn expanded(template: &Path, at: SystemTime) -> PathBuf {
    let text = template.display().to_string();
    let known = ["%Y", "%m", "%d", "%H", "%M", "%S"];
    let text = if known.iter().any(|word| text.contains(word)) {
        text
    } else {
        format!("{text}.%Y%m%d.%H%M%S")
    };
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (year, month, day) = civil(since / 86_400);
    let (hour, minute, second) = (since / 3600 % 24, since / 60 % 60, since % 60);
    let two = |n: u64| format!("{n:02}");
    let words = [year.to_string(), two(month), two(day), two(hour), two(minute), two(second)];
    known.iter().zip(words).fold(text, |text, (word, value)| text.replace(word, &value)).into()
}

/// Year, month and day of a day since 1970 (Hinnant's `civil_from_days`).
const fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_file_is_called_by_the_moment_it_begins() {
        let name = |template: &str, seconds| {
            expanded(Path::new(template), at(seconds)).display().to_string()
        };
        assert_eq!(name("/mrt/%Y/u.%Y%m%d.%H%M", 1_709_164_799), "/mrt/2024/u.20240228.2359");
        assert_eq!(name("/mrt/u.%m%d", 1_709_164_800), "/mrt/u.0229");
        assert_eq!(name("/mrt/rib", 951_868_799), "/mrt/rib.20000229.235959");
        assert_eq!(floor(at(1_000_000), Duration::from_secs(900)), at(999_900));
    }

    #[test]
    fn what_a_disk_does_not_take_is_counted_and_the_rest_stays_whole() {
        let dir = tempfile::tempdir().unwrap();
        // A directory where the file should be.
        let blocked = dir.path().join("u.x%S");
        let files = |template: &Path| Files {
            kind: "updates",
            template: template.into(),
            every: None,
            shared: Arc::default(),
            open: None,
            failing: false,
        };
        let piece = |fresh| Piece { bytes: vec![1; 10], records: 2, fresh };
        let mut file = files(&dir.path().join("ok.%Y"));
        for _ in 0..2 {
            let written = file.write(&piece(false));
            file.note(&piece(false), written);
        }
        let state = file.shared.state.lock().unwrap().clone();
        assert_eq!((state.records, state.bytes, state.lost), (4, 20, 0));
        assert_eq!(fs::metadata(&state.path).unwrap().len(), 20);
        fs::write(dir.path().join("no-dir"), "").unwrap();
        let mut file = files(&dir.path().join("no-dir/x.%Y"));
        let written = file.write(&piece(false));
        file.note(&piece(false), written);
        let state = file.shared.state.lock().unwrap().clone();
        assert_eq!((state.records, state.lost), (0, 2));
        assert!(state.last_error.is_some());
        drop(blocked);
    }
}
