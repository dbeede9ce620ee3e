//! A stream of UDP packets, one a millisecond, that counts what does not arrive.

use crate::netns::Netns;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Runs until stopped.
#[derive(Debug)]
pub struct Stream {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    sender: JoinHandle<()>,
    receiver: JoinHandle<Received>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    pub sent: u64,
    pub received: u64,
    /// The longest time without a packet, at the receiver.
    pub longest_gap: Duration,
}

#[derive(Debug, Default)]
struct Received {
    packets: u64,
    longest_gap: Duration,
}

impl Loss {
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

impl std::fmt::Display for Loss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { sent, received, longest_gap } = self;
        write!(
            f,
            "{sent} sent, {received} received, {} lost, longest gap {longest_gap:.0?}",
            self.lost()
        )
    }
}

const EVERY: Duration = Duration::from_millis(1);

impl Stream {
    /// From one host to `address` (with a port of its own) of another.
    #[must_use]
    pub fn start(from: &Netns, to: &Netns, address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let receiver = to.run(move || UdpSocket::bind(address)).expect("bind the receiver");
        // A receiver that the machine holds up for a while must not count as a network that loses.
        rustix::net::sockopt::set_socket_recv_buffer_size_force(&receiver, 8 << 20)
            .expect("a large receive buffer");
        receiver.set_read_timeout(Some(Duration::from_millis(50))).expect("timeout");
        let any: SocketAddr =
            if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().expect("any");
        let sender = from
            .run(move || UdpSocket::bind(any).and_then(|s| s.connect(address).map(|()| s)))
            .expect("open the sender");
        let (done, count) = (stop.clone(), sent.clone());
        let sender = std::thread::spawn(move || send(&sender, &done, &count));
        let done = stop.clone();
        let receiver = std::thread::spawn(move || receive(&receiver, &done));
        Self { stop, sent, sender, receiver }
    }

    /// Stops sending, gives the last packets 200 ms, and counts.
    #[must_use]
    pub fn stop(self) -> Loss {
        self.stop.store(true, Ordering::Relaxed);
        self.sender.join().expect("the sender");
        let received = self.receiver.join().expect("the receiver");
        Loss {
            sent: self.sent.load(Ordering::Relaxed),
            received: received.packets,
            longest_gap: received.longest_gap,
        }
    }
}

fn send(socket: &UdpSocket, stop: &AtomicBool, sent: &AtomicU64) {
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let n = sent.load(Ordering::Relaxed);
        // A packet that the host itself refuses (no route) is a lost packet too.
        let _ = socket.send(&n.to_be_bytes());
        sent.store(n + 1, Ordering::Relaxed);
        next += EVERY;
        let now = Instant::now();
        // Where the machine held us up, the rate drops: no burst makes up for it.
        next = next.max(now);
        std::thread::sleep(next - now);
    }
}

fn receive(socket: &UdpSocket, stop: &AtomicBool) -> Received {
    let mut received = Received::default();
    let mut last: Option<Instant> = None;
    let mut end = None;
    let mut bytes = [0; 64];
    loop {
        if socket.recv(&mut bytes).is_ok() {
            let now = Instant::now();
            received.packets += 1;
            let gap = last.map_or(Duration::ZERO, |l| now - l);
            received.longest_gap = received.longest_gap.max(gap);
            last = Some(now);
        }
        if end.is_none() && stop.load(Ordering::Relaxed) {
            end = Some(Instant::now() + Duration::from_millis(200));
        }
        if end.is_some_and(|e| Instant::now() > e) {
            return received;
        }
    }
}
