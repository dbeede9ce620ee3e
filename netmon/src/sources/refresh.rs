//! Asks a source when someone wants to know, but not all the time, and never waits long for it.
//!
//! A reader that takes longer than [`PATIENCE`] goes on in the background and serves the next
//! scrape; there is never more than one of a source. Until then the last answer stands in, while
//! it is younger than [`STALE`].

use super::{Health, Moment, SourceError};
use crate::export::Samples;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How long a scrape waits for a source.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);
/// How old an answer may be to stand in for one that is late.
const STALE: Duration = Duration::from_secs(30);

type Answer = Result<Samples, SourceError>;
type Fetch = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync>;

/// A source asked on demand.
#[derive(Clone)]
pub(crate) struct Refresh {
    inner: Arc<Inner>,
}

struct Inner {
    name: &'static str,
    pace: Pace,
    fetch: Fetch,
    state: Mutex<State>,
    done: watch::Sender<u64>,
}

/// How long an answer is good.
#[derive(Debug, Clone, Copy)]
enum Pace {
    For(Duration),
    /// So many times what it took: whoever scrapes how often, a dump of a million routes takes no
    /// more than that part of a core, and a small one is always fresh.
    Times(u32),
}

/// A tenth of a core, at most.
const DUMPS: Pace = Pace::Times(10);

#[derive(Debug, Default)]
struct State {
    running: bool,
    /// When the last fetch was begun, and how long the last one that ended took.
    asked: Option<Instant>,
    took: Duration,
    /// The last answer, and when it came.
    last: Option<(Moment, Arc<Samples>)>,
    error: String,
}

/// What a source had to say.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) samples: Option<Arc<Samples>>,
    pub(crate) health: Health,
}

impl Refresh {
    /// A source whose answer is good for `every`.
    pub(crate) fn new<F, A>(name: &'static str, every: Duration, fetch: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        Self::paced(name, Pace::For(every), fetch)
    }

    /// A source whose reader blocks while it reads the kernel's tables.
    pub(crate) fn blocking<F>(name: &'static str, read: F) -> Self
    where
        F: Fn() -> Answer + Clone + Send + Sync + 'static,
    {
        Self::paced(name, DUMPS, move || {
            let read = read.clone();
            async move {
                let answer = tokio::task::spawn_blocking(read).await;
                answer.unwrap_or_else(|e| Err(SourceError::Reader(e.to_string())))
            }
        })
    }

    fn paced<F, A>(name: &'static str, pace: Pace, fetch: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let fetch: Fetch = Box::new(move || Box::pin(fetch()));
        let state = Mutex::new(State::default());
        let done = watch::Sender::new(0);
        Self { inner: Arc::new(Inner { name, pace, fetch, state, done }) }
    }

    /// The newest answer that can be had within [`PATIENCE`].
    pub(crate) async fn get(&self) -> Outcome {
        let mut done = self.inner.done.subscribe();
        self.inner.start();
        let waits = self.inner.state().running;
        let in_time = !waits || tokio::time::timeout(PATIENCE, done.changed()).await.is_ok();
        self.inner.outcome(in_time)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to ask unless that is already being done or was done just now.
    fn start(self: &Arc<Self>) {
        {
            let mut state = self.state();
            let good = match self.pace {
                Pace::For(every) => every,
                Pace::Times(n) => state.took.saturating_mul(n),
            };
            let fresh = state.asked.is_some_and(|at| at.elapsed() < good);
            if state.running || fresh {
                return;
            }
            state.running = true;
            state.asked = Some(Instant::now());
        }
        let inner = Arc::clone(self);
        tokio::spawn(async move {
            // In a task of its own: a reader that panics must not leave `running` behind.
            let answer = tokio::spawn((inner.fetch)()).await;
            let answer = answer.unwrap_or_else(|e| Err(SourceError::Reader(e.to_string())));
            inner.finish(answer);
        });
    }

    fn finish(&self, answer: Answer) {
        let mut state = self.state();
        state.running = false;
        state.took = state.asked.map_or(Duration::ZERO, |at| at.elapsed());
        let error = match answer {
            Ok(samples) => {
                state.last = Some((Moment::now(), Arc::new(samples)));
                String::new()
            }
            Err(error) => mainstay_daemon::chain(&error),
        };
        if error.is_empty() != state.error.is_empty() {
            report(self.name, &error);
        }
        state.error = error;
        drop(state);
        self.done.send_modify(|n| *n += 1);
    }

    fn outcome(&self, in_time: bool) -> Outcome {
        let state = self.state();
        let young = |(at, _): &&(Moment, _)| in_time || at.at.elapsed() < STALE;
        let standing = state.last.as_ref().filter(young);
        let error = match standing {
            _ if !state.error.is_empty() => state.error.clone(),
            None => SourceError::Late(PATIENCE).to_string(),
            Some(_) => String::new(),
        };
        let samples = standing.filter(|_| error.is_empty()).map(|(_, s)| Arc::clone(s));
        let last_success = state.last.as_ref().map(|(at, _)| *at);
        Outcome { samples, health: Health { name: self.name, error, last_success } }
    }
}

fn report(source: &'static str, error: &str) {
    if error.is_empty() {
        tracing::info!(source, "source answers again");
    } else {
        tracing::warn!(source, error, "source does not answer");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::metrics;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

    fn samples(n: u64) -> Samples {
        let mut samples = Samples::default();
        samples.add(&metrics::CONNTRACK_ENTRIES, &[], n);
        samples
    }

    #[tokio::test]
    async fn an_answer_serves_everyone_who_asks_soon_after() {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let source = Refresh::new("x", Duration::from_secs(60), move || {
            let n = count.fetch_add(1, SeqCst);
            async move { Ok(samples(n)) }
        });
        let (a, b) = tokio::join!(source.get(), source.get());
        let c = source.get().await;
        for outcome in [a, b, c] {
            assert!(outcome.health.ok());
            assert!(outcome.samples.unwrap().to_text().contains("entries 0"));
        }
        assert_eq!(asked.load(SeqCst), 1);
    }

    #[tokio::test]
    async fn a_source_that_fails_is_down_and_says_why() {
        let source = Refresh::blocking("x", || Err(SourceError::NoConntrack));
        let outcome = source.get().await;
        assert!(outcome.samples.is_none());
        assert!(outcome.health.error.contains("connection tracking is not loaded"));
        assert!(outcome.health.last_success.is_none());
    }

    #[tokio::test]
    async fn a_costly_table_is_read_a_tenth_of_the_time_at_most() {
        let asked = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&asked);
        let source = Refresh::blocking("x", move || {
            std::thread::sleep(Duration::from_millis(20));
            Ok(samples(count.fetch_add(1, SeqCst)))
        });
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_millis(100) {
            assert!(source.get().await.health.ok());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(asked.load(SeqCst), 1);
    }

    #[tokio::test]
    async fn a_reader_that_panics_is_an_error_and_is_asked_again() {
        let source = Refresh::blocking("x", || panic!("on purpose"));
        for _ in 0..2 {
            assert!(source.get().await.health.error.contains("its reader failed"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_answer_serves_the_next_scrape() {
        let source = Refresh::new("x", Duration::from_secs(60), || async {
            tokio::time::sleep(PATIENCE * 3).await;
            Ok(samples(7))
        });
        let first = source.get().await;
        assert_eq!(first.health.error, "no answer within 500 ms");
        tokio::time::sleep(PATIENCE * 3).await;
        let second = source.get().await;
        assert!(second.health.ok() && second.samples.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_answer_is_late_the_one_before_stands_in() {
        let calls = Arc::new(AtomicU64::new(0));
        let source = Refresh::new("x", Duration::ZERO, move || {
            let n = calls.fetch_add(1, SeqCst);
            async move {
                tokio::time::sleep(PATIENCE * 3 * u32::try_from(n).unwrap()).await;
                Ok(samples(n))
            }
        });
        assert!(source.get().await.health.ok());
        let late = source.get().await;
        assert!(late.health.ok());
        assert!(late.samples.unwrap().to_text().contains("entries 0"));
    }
}
