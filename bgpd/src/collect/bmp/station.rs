//! The task of one station: dials, and writes what the loop has put into its queue.

use crate::collect::connect;
use crate::tcp::{Input, words};
use mainstay_config::HostPort;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc};

/// Tables are told while less than this waits.
const HIGH: usize = 512 * 1024;
/// About what a piece of a table comes to.
const PIECE: usize = 512 * 1024;
/// And again when less than this does.
const LOW: usize = 128 * 1024;
/// RFC 7854 §3.2: tried again, ever more seldom.
const SOONEST: Duration = Duration::from_secs(1);
const LATEST: Duration = Duration::from_secs(60);
/// A connection that lived this long was a good one.
const GOOD: Duration = Duration::from_secs(60);

/// What a station's task tells the loop.
#[derive(Debug)]
pub(crate) enum News {
    Connected(Link),
    /// The queue has emptied as far as somebody waited for.
    Room,
    Lost(String),
}

/// The loop's end of the queue.
#[derive(Debug)]
pub(crate) struct Link {
    to: mpsc::UnboundedSender<Vec<u8>>,
    queue: Arc<Queue>,
    /// Made, and not in the queue yet.
    pub(super) pending: Vec<u8>,
}

#[derive(Debug, Default)]
struct Queue {
    bytes: AtomicUsize,
    /// The loop waits for room.
    waited_for: AtomicBool,
    /// It is over: what waits is not worth writing.
    cut: Notify,
    /// Nothing more comes, and nobody is to dial again.
    last: AtomicBool,
}

impl Link {
    /// False: it is too much, and the connection is being ended.
    pub(super) fn push(&self, bytes: Vec<u8>, limit: usize) -> bool {
        let length = bytes.len();
        let before = self.queue.bytes.fetch_add(length, Ordering::Relaxed);
        // One message more than fits may always wait alone.
        if before > 0 && before + length > limit {
            self.queue.cut.notify_one();
            return false;
        }
        self.to.send(bytes).is_ok()
    }

    pub(super) fn queued(&self) -> usize {
        self.queue.bytes.load(Ordering::Relaxed)
    }

    /// Room for a piece of a table; if not, the task tells when there is.
    pub(super) fn has_room(&self, limit: usize) -> bool {
        let enough = HIGH.min(limit.saturating_sub(PIECE));
        let has_room = self.queued() == 0 || self.queued() < enough;
        if has_room && !self.queue.waited_for.load(Ordering::Acquire) {
            return true;
        }
        self.queue.waited_for.store(true, Ordering::Release);
        // The task may have emptied it before it could see that.
        let empty = self.queued() == 0;
        if empty {
            self.queue.waited_for.store(false, Ordering::Release);
        }
        empty
    }

    /// What is in the queue is the last.
    pub(super) fn finish(self) {
        self.queue.last.store(true, Ordering::Release);
    }
}

/// For as long as the station is configured.
pub(super) async fn attend(number: u64, address: HostPort, to: mpsc::Sender<Input>) {
    let mut wait = SOONEST;
    let tell = |news| to.send(Input::Station { number, news });
    loop {
        let begun = Instant::now();
        let why = match connect(&address).await {
            Ok(stream) => {
                let (sender, mut queued) = mpsc::unbounded_channel();
                let queue = Arc::new(Queue::default());
                let link = Link { to: sender, queue: Arc::clone(&queue), pending: Vec::new() };
                if tell(News::Connected(link)).await.is_err() {
                    return;
                }
                let why = write(stream, &mut queued, &queue, || tell(News::Room)).await;
                if queue.last.load(Ordering::Acquire) {
                    return;
                }
                why
            }
            Err(why) => why,
        };
        if tell(News::Lost(why)).await.is_err() {
            return;
        }
        wait = if begun.elapsed() >= GOOD { SOONEST } else { wait };
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LATEST);
    }
}

/// Until the connection ends, or the loop ends it; why.
async fn write<F: Future>(
    mut stream: TcpStream,
    queued: &mut mpsc::UnboundedReceiver<Vec<u8>>,
    queue: &Queue,
    room: impl Fn() -> F,
) -> String {
    let (read, mut to) = stream.split();
    let ended = closed(&read);
    tokio::pin!(ended);
    loop {
        let next = tokio::select! {
            next = queued.recv() => next,
            why = &mut ended => return why,
            () = queue.cut.notified() => None,
        };
        let Some(bytes) = next else { break };
        let written = tokio::select! {
            written = to.write_all(&bytes) => written,
            why = &mut ended => return why,
            () = queue.cut.notified() => break,
        };
        if let Err(error) = written {
            return words(&error);
        }
        let left = queue.bytes.fetch_sub(bytes.len(), Ordering::Relaxed) - bytes.len();
        if left < LOW && queue.waited_for.swap(false, Ordering::AcqRel) {
            room().await;
        }
    }
    "ended from our side".into()
}

/// A station says nothing (RFC 7854 §3.2): what comes is read over until it closes.
async fn closed(read: &tokio::net::tcp::ReadHalf<'_>) -> String {
    let mut waste = [0; 256];
    loop {
        match read.readable().await.and_then(|()| read.try_read(&mut waste)) {
            Ok(0) => return "closed by the station".into(),
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return words(&error),
            _ => {}
        }
    }
}
