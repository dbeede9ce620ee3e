//! The one thread that writes the store, many callers' records at a time.
//!
//! While one batch is being synced the next one gathers, so the cost of a sync is shared by all
//! who wait. Records reach the disk in the order in which they were handed over. Those who waited
//! are told by a task of the runtime: one wake-up of another thread a batch, not one a caller.

use crate::store::{Store, StoreError};
use ipam_core::Record;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// Records in one batch, so that a flood of them keeps nobody waiting for long.
const MOST: usize = 4096;
/// A batch waits for as many as were in the last one, who were all answered at once and ask again at
/// once, besides those who came meanwhile. It does so as long as somebody comes within each of these
/// pauses; one caller alone never waits.
const PAUSE: Duration = Duration::from_micros(150);
const PAUSES: usize = 8;
/// So many share a sync well enough: who comes later asks while they are written.
const ENOUGH: usize = 64;

struct Work {
    records: Vec<Record>,
    durable: Option<oneshot::Sender<()>>,
}

/// The end to hand records to.
#[derive(Debug)]
pub(crate) struct Committer {
    queue: Arc<Queue>,
}

/// What waits for the thread. It is woken once for a batch, not by each who hands something over.
#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Gathering>,
    enough: Condvar,
}

#[derive(Default)]
struct Gathering {
    work: VecDeque<Work>,
    /// How much of it the thread sleeps for.
    wanted: usize,
    stopped: Option<Stopped>,
}

/// Why records were not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stopped {
    /// The thread has ended, and why is told by [`Running`].
    #[error("the lease store has failed")]
    Failed,
    /// By [`Committer::close`]: all is well, and the next daemon goes on.
    #[error("mainstay-ipamd is stopping")]
    Closed,
}

/// The thread's other end.
pub(crate) struct Running {
    thread: JoinHandle<()>,
    /// Sent once: the error that stopped it, or nothing more than its end.
    pub(crate) ended: oneshot::Receiver<Result<(), StoreError>>,
}

impl Committer {
    /// Within the runtime whose tasks will wait.
    pub(crate) fn start(store: Box<dyn Store>) -> std::io::Result<(Self, Running)> {
        let queue = Arc::new(Queue::default());
        let (end, ended) = oneshot::channel();
        let (answers, answered) = unbounded_channel();
        // It ends with the thread.
        drop(tokio::spawn(answer(answered)));
        let name = std::thread::Builder::new().name("committer".into());
        let work = Arc::clone(&queue);
        let thread = name.spawn(move || {
            let result = run(store, &work, &answers);
            work.stop(Stopped::Failed);
            // Nobody listening means that the daemon is gone already.
            let _ = end.send(result);
        })?;
        Ok((Self { queue }, Running { thread, ended }))
    }

    /// Writes them with the next batch; nobody waits for it.
    pub(crate) fn soon(&self, records: Vec<Record>) -> Result<(), Stopped> {
        self.hand_over(Work { records, durable: None })
    }

    /// Writes them now; what is returned resolves once they are durable, and with them all that
    /// was handed over before: also without any records of its own.
    pub(crate) fn durable(
        &self,
        records: Vec<Record>,
    ) -> impl Future<Output = Result<(), Stopped>> + use<> {
        let (durable, done) = oneshot::channel();
        let sent = self.hand_over(Work { records, durable: Some(durable) });
        async move {
            sent?;
            done.await.map_err(|_| Stopped::Failed)
        }
    }

    /// The thread finishes what it was handed, closes the store and ends.
    pub(crate) fn close(&mut self) {
        self.queue.stop(Stopped::Closed);
    }

    fn hand_over(&self, work: Work) -> Result<(), Stopped> {
        let mut waiting = self.queue.lock();
        if let Some(stopped) = waiting.stopped {
            return Err(stopped);
        }
        waiting.work.push_back(work);
        if waiting.work.len() == waiting.wanted {
            self.queue.enough.notify_one();
        }
        Ok(())
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Gathering> {
        // A panic ends the process (see `main`).
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the first reason it is given. Failed, nobody waits any more: what was handed over is
    /// nobody's success.
    fn stop(&self, why: Stopped) {
        let mut waiting = self.lock();
        waiting.stopped.get_or_insert(why);
        if why == Stopped::Failed {
            waiting.work.clear();
        }
        self.enough.notify_one();
    }

    /// The next batch after one of `last`; nothing, once all is done.
    fn take(&self, last: usize) -> Option<Vec<Work>> {
        let mut waiting = self.lock();
        let expected = (waiting.work.len() + last).min(ENOUGH);
        waiting = self.sleep(waiting, 1, None);
        for _ in 0..PAUSES {
            let before = waiting.work.len();
            waiting = self.sleep(waiting, expected, Some(PAUSE));
            if waiting.work.len() == before {
                break;
            }
        }
        // Nobody needs to wake a thread that does not sleep.
        waiting.wanted = 0;
        let mut records = 0;
        let fits = |work: &&Work| {
            let before = records;
            records += work.records.len();
            before < MOST
        };
        let batch = waiting.work.iter().take_while(fits).count();
        (batch > 0).then(|| waiting.work.drain(..batch).collect())
    }

    /// Until there is as much to do, or the time is over.
    fn sleep<'a>(
        &self,
        mut waiting: MutexGuard<'a, Gathering>,
        wanted: usize,
        limit: Option<Duration>,
    ) -> MutexGuard<'a, Gathering> {
        waiting.wanted = wanted;
        let missing = |w: &mut Gathering| w.work.len() < wanted && w.stopped.is_none();
        match limit {
            None => {
                self.enough.wait_while(waiting, missing).unwrap_or_else(PoisonError::into_inner)
            }
            Some(limit) => {
                let waited = self.enough.wait_timeout_while(waiting, limit, missing);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }
}

impl std::fmt::Debug for Gathering {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { work, stopped, .. } = self;
        write!(f, "{} waiting, {stopped:?}", work.len())
    }
}

impl Running {
    /// Waits until everything handed over is durable and the store closed. The [`Committer`] has
    /// to be closed first.
    pub(crate) async fn finish(self) -> Result<(), StoreError> {
        let result = self.ended.await.unwrap_or(Ok(()));
        // It has sent its result as its last act, or panicked, which ends the process.
        let _ = self.thread.join();
        result
    }
}

type Waiting = Vec<oneshot::Sender<()>>;

fn run(
    mut store: Box<dyn Store>,
    queue: &Queue,
    answers: &UnboundedSender<Waiting>,
) -> Result<(), StoreError> {
    let mut last = 0;
    while let Some(batch) = queue.take(last) {
        last = batch.len();
        let (records, waiting): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|work| (work.records, work.durable)).unzip();
        let records: Vec<_> = records.into_iter().flatten().collect();
        if !records.is_empty() {
            store.commit(&records)?;
        }
        // The runtime may be gone.
        let _ = answers.send(waiting.into_iter().flatten().collect());
    }
    Ok(())
}

async fn answer(mut answered: UnboundedReceiver<Waiting>) {
    while let Some(waiting) = answered.recv().await {
        for durable in waiting {
            // Whoever waited may have hung up.
            let _ = durable.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipam_core::{BootId, ClockRecord, Kept, Moment};
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Seen(Arc<Mutex<Vec<Vec<Record>>>>);

    impl Store for Seen {
        fn load(&self) -> Result<Kept, StoreError> {
            Ok(Kept::default())
        }

        fn commit(&mut self, records: &[Record]) -> Result<(), StoreError> {
            if records.contains(&clock(666)) {
                return Err(StoreError::Commit { source: "disk on fire".into() });
            }
            std::thread::sleep(Duration::from_millis(5));
            self.0.lock().unwrap().push(records.into());
            Ok(())
        }

        fn engine(&self) -> &'static str {
            "seen"
        }
    }

    fn clock(boot: u128) -> Record {
        let (boottime, moment) = (Duration::ZERO, Moment::default());
        Record::Clock(ClockRecord { boot: BootId(boot), boottime, moment, next_seq: 1 })
    }

    #[tokio::test]
    async fn many_callers_share_a_sync_and_order_is_kept() {
        let seen = Seen::default();
        let (mut committer, running) = Committer::start(Box::new(seen.clone())).unwrap();
        let waits: Vec<_> = (0..100).map(|n| committer.durable(vec![clock(n)])).collect();
        for wait in waits {
            wait.await.unwrap();
        }
        committer.close();
        running.finish().await.unwrap();
        let batches = seen.0.lock().unwrap().clone();
        assert!(batches.len() < 20, "{} syncs for 100 callers", batches.len());
        assert_eq!(batches.concat(), (0..100).map(clock).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn who_waits_also_waits_for_what_was_handed_over_before() {
        let seen = Seen::default();
        let (mut committer, running) = Committer::start(Box::new(seen.clone())).unwrap();
        committer.soon(vec![clock(1)]).unwrap();
        committer.durable(Vec::new()).await.unwrap();
        assert_eq!(seen.0.lock().unwrap().concat(), [clock(1)]);
        committer.soon(vec![clock(2)]).unwrap();
        committer.close();
        running.finish().await.unwrap();
        assert_eq!(seen.0.lock().unwrap().concat(), [clock(1), clock(2)]);
        assert_eq!(committer.soon(vec![clock(3)]), Err(Stopped::Closed));
    }

    #[tokio::test]
    async fn a_failed_write_is_nobodys_success() {
        let (committer, running) = Committer::start(Box::new(Seen::default())).unwrap();
        assert!(committer.durable(vec![clock(666)]).await.is_err());
        assert!(running.finish().await.unwrap_err().to_string().contains("writing leases failed"));
        assert_eq!(committer.durable(vec![clock(1)]).await, Err(Stopped::Failed));
    }
}
