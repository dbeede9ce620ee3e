//! The one thread that writes the store, many callers' records at a time.
//!
//! While one batch is being synced the next one gathers, so the cost of a sync is shared by all
//! who wait. Records reach the disk in the order in which they were handed over. Those who waited
//! are told by a task of the runtime: one wake-up of another thread a batch, not one a caller.

use crate::store::{Store, StoreError};
use ipam_core::Record;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

/// Records in one batch, so that a flood of them keeps nobody waiting for long.
const MOST: usize = 4096;
/// How long the first of a batch waits for as many as were in the last one: they were all answered
/// at once, and ask again at once. One caller alone never waits.
const GATHER: Duration = Duration::from_micros(150);

struct Work {
    records: Vec<Record>,
    durable: Option<oneshot::Sender<()>>,
}

/// The end to hand records to.
#[derive(Debug)]
pub(crate) struct Committer {
    /// Absent once closed.
    queue: Option<Sender<Work>>,
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
        let (queue, work) = channel();
        let (end, ended) = oneshot::channel();
        let (answers, answered) = unbounded_channel();
        // It ends with the thread.
        drop(tokio::spawn(answer(answered)));
        let name = std::thread::Builder::new().name("committer".into());
        let thread = name.spawn(move || {
            // Nobody listening means that the daemon is gone already.
            let _ = end.send(run(store, &work, &answers));
        })?;
        Ok((Self { queue: Some(queue) }, Running { thread, ended }))
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
        self.queue = None;
    }

    fn hand_over(&self, work: Work) -> Result<(), Stopped> {
        self.queue.as_ref().ok_or(Stopped::Closed)?.send(work).map_err(|_| Stopped::Failed)
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
    work: &Receiver<Work>,
    answers: &UnboundedSender<Waiting>,
) -> Result<(), StoreError> {
    let mut last = 1;
    while let Ok(first) = work.recv() {
        let batch = gather(first, work, last);
        last = batch.len();
        let (records, waiting): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|work| (work.records, work.durable)).unzip();
        let records = records.concat();
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

/// Everything that has come while the last batch was being synced.
fn gather(first: Work, work: &Receiver<Work>, last: usize) -> Vec<Work> {
    let mut records = first.records.len();
    let mut batch = vec![first];
    let until = Instant::now() + GATHER;
    while records < MOST {
        let next = work.try_recv().ok().or_else(|| {
            let left = until.saturating_duration_since(Instant::now());
            (batch.len() < last).then(|| work.recv_timeout(left).ok()).flatten()
        });
        let Some(next) = next else { break };
        records += next.records.len();
        batch.push(next);
    }
    batch
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
