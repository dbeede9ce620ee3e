//! What happened to addresses: the daemon's log, and one of bounded size for the question who had
//! an address at 03:12.
//!
//! `event` is a line of the latter, `query` what is asked of many, `file` the two files it rotates
//! through; this is the thread that writes both. Nothing waits for it: an event that finds the queue
//! full, or the disk, is counted as lost. It is no part of what is promised of leases.

mod event;
mod file;
mod query;

pub(crate) use event::{Event, Lease};
pub(crate) use query::{Answer, Query, Spell};

use crate::observe;
use file::Log;
use ipam_core::Report;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// Batches of reports that wait to be written; at 20,000 ADDs a second, most of a second.
const WAITING: usize = 16_384;
/// How long the first of them waits for others, with which it is written.
const GATHER: Duration = Duration::from_millis(5);

enum Work {
    /// And the time, if a history was kept then.
    Reports(Vec<Report>, Option<Duration>),
    /// Answered once all that came before is in the file.
    Written(oneshot::Sender<()>),
}

/// The end to tell what happened to.
#[derive(Debug)]
pub(crate) struct History {
    dir: PathBuf,
    queue: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Of both files together; 0: nothing is written.
    max_size: AtomicU64,
    lost: AtomicU64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum HistoryError {
    #[error("no history is kept (ipam.history.max_size: 0)")]
    Off,
    #[error("cannot read the history in {dir}", dir = .dir.display())]
    Read { dir: PathBuf, source: io::Error },
}

impl History {
    /// A history that cannot be written is no reason not to serve: it is told, and events count as
    /// lost.
    pub(crate) fn start(dir: &Path, max_size: u64) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.max_size.store(max_size, Relaxed);
        let (queue, work) = sync_channel(WAITING);
        let (log, theirs) = (Log::new(dir), Arc::clone(&shared));
        let thread = std::thread::Builder::new().name("history".into());
        let thread = thread.spawn(move || run(log, &work, &theirs))?;
        Ok(Self { dir: dir.into(), queue: Some(queue), thread: Some(thread), shared })
    }

    /// From the next event on.
    pub(crate) fn resize(&self, max_size: u64) {
        self.shared.max_size.store(max_size, Relaxed);
    }

    /// Events since start that are missing in it.
    pub(crate) fn lost(&self) -> u64 {
        self.shared.lost.load(Relaxed)
    }

    pub(crate) fn tell(&self, reports: Vec<Report>) {
        if reports.is_empty() {
            return;
        }
        let count = reports.len() as u64;
        let wall = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let wall = (self.shared.max_size.load(Relaxed) > 0).then(wall);
        let sent = self.queue.as_ref().map(|queue| queue.try_send(Work::Reports(reports, wall)));
        if !matches!(sent, Some(Ok(()))) && wall.is_some() {
            self.shared.lost.fetch_add(count, Relaxed);
        }
    }

    /// Reads the whole log, off the runtime's thread.
    pub(crate) async fn ask(&self, query: Query) -> Result<Answer, HistoryError> {
        if self.shared.max_size.load(Relaxed) == 0 {
            return Err(HistoryError::Off);
        }
        self.written().await;
        let dir = self.dir.clone();
        let read = tokio::task::spawn_blocking(move || {
            let mut asked = query.begin();
            Log::new(&dir).read(|event| asked.take(event)).map(|()| asked.answer())
        });
        let answer = read.await.map_err(io::Error::other).and_then(|answer| answer);
        let mut answer =
            answer.map_err(|source| HistoryError::Read { dir: self.dir.clone(), source })?;
        answer.lost = self.lost();
        Ok(answer)
    }

    /// What was told before is in the file; not for long, should the disk hang.
    async fn written(&self) {
        let (done, written) = oneshot::channel();
        let sent = self.queue.as_ref().map(|queue| queue.try_send(Work::Written(done)));
        if let Some(Ok(())) = sent {
            let _ = tokio::time::timeout(Duration::from_secs(2), written).await;
        }
    }
}

/// What was told is written, also by a daemon that ends.
impl Drop for History {
    fn drop(&mut self) {
        self.queue = None;
        // It does not panic: that would have ended the process.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(mut log: Log, work: &Receiver<Work>, shared: &Shared) {
    let mut failing = false;
    while let Ok(first) = work.recv() {
        if matches!(first, Work::Reports(..)) {
            std::thread::sleep(GATHER);
        }
        let batch: Vec<_> = std::iter::once(first).chain(work.try_iter().take(WAITING)).collect();
        let (lines, count) = lines(&batch);
        let written = log.append(&lines, shared.max_size.load(Relaxed));
        if let Err(error) = &written {
            shared.lost.fetch_add(count, Relaxed);
            if !failing {
                tracing::warn!(%error, "cannot write the history of addresses; leases are not affected");
            }
        }
        failing = written.is_err();
        for work in batch {
            if let Work::Written(done) = work {
                // Whoever asked may have lost patience.
                let _ = done.send(());
            }
        }
    }
}

/// Says everything; the lines of the history, and how many.
fn lines(batch: &[Work]) -> (String, u64) {
    let (mut lines, mut count) = (String::new(), 0);
    mainstay_daemon::log_together(|| {
        for work in batch {
            let Work::Reports(reports, wall) = work else { continue };
            for report in reports {
                observe::say(report);
                if let Some(wall) = wall {
                    count += 1;
                    Event::of(report, *wall).write(&mut lines);
                }
            }
        }
    });
    (lines, count)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleared(n: u8) -> Report {
        Report::Cleared { address: [10, 0, 0, n].into() }
    }

    fn all() -> Query {
        Query { limit: 100, ..Query::default() }
    }

    #[tokio::test]
    async fn what_was_told_is_answered_and_outlives_the_daemon() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::start(dir.path(), 1 << 20).unwrap();
        history.tell(vec![cleared(1), cleared(2)]);
        assert_eq!(history.ask(all()).await.unwrap().events.len(), 2);
        drop(history);
        let again = History::start(dir.path(), 1 << 20).unwrap();
        again.tell(vec![cleared(3)]);
        drop(again);
        let again = History::start(dir.path(), 1 << 20).unwrap();
        let answer = again.ask(all()).await.unwrap();
        let addresses: Vec<_> = answer.events.iter().map(|e| e.address.to_string()).collect();
        assert_eq!(addresses, ["10.0.0.1", "10.0.0.2", "10.0.0.3"]);
        assert_eq!(answer.lost, 0);
    }

    #[tokio::test]
    async fn a_disk_that_does_not_take_it_costs_events_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let history = History::start(&file.join("below"), 1 << 20).unwrap();
        history.tell(vec![cleared(1), cleared(2)]);
        history.written().await;
        assert_eq!(history.lost(), 2, "and that is told: mainstay_ipam_history_lost_total");
    }

    #[tokio::test]
    async fn off_means_off_and_can_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let history = History::start(dir.path(), 0).unwrap();
        history.tell(vec![cleared(1)]);
        assert!(matches!(history.ask(all()).await, Err(HistoryError::Off)));
        history.resize(1 << 20);
        history.tell(vec![cleared(2)]);
        assert_eq!(history.ask(all()).await.unwrap().events.len(), 1);
    }
}
