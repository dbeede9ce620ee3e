//! Packets to the peers and back, an ICMP echo a millisecond, and which of them were lost.
//!
//! It needs nothing of the other side but that it answers pings. A switch that answers fewer is
//! asked less often, so that what it drops by itself is not taken for ours.

use crate::failure::Failure;
use serde::Serialize;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Probes a second, the first that the target keeps up with.
const RATES: [u32; 3] = [1000, 100, 10];
/// How long a rate is tried.
const TRIAL: Duration = Duration::from_millis(400);
/// How long an answer may take.
const LATE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Tally {
    pub(crate) target: IpAddr,
    /// Probes a second; 0: the target answers none.
    pub(crate) rate: u32,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    /// The longest run of lost ones, as time.
    pub(crate) longest_gap_ms: u64,
}

pub(crate) struct Probes {
    stop: Arc<AtomicBool>,
    threads: Vec<(IpAddr, JoinHandle<Tally>)>,
}

impl Probes {
    /// Finds each target's rate, then goes on until `end`.
    pub(crate) fn start(targets: &[IpAddr]) -> Result<Self, Failure> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut lines = Vec::new();
        for (i, target) in targets.iter().enumerate() {
            let id = u16::try_from((std::process::id() as usize + i) & 0xffff).unwrap_or_default();
            lines.push(
                Line::open(*target, id).map_err(|e| {
                    Failure::Said(format!("cannot send ICMP echoes to {target}: {e}"))
                })?,
            );
        }
        // All at once, as they will be.
        let trials: Vec<_> =
            lines.into_iter().map(|line| std::thread::spawn(move || line.find_rate())).collect();
        let lines = trials.into_iter().filter_map(|trial| trial.join().ok());
        let run = |line: Line| {
            let stop = Arc::clone(&stop);
            (line.target, std::thread::spawn(move || line.run(&stop)))
        };
        let threads = lines.map(run).collect();
        Ok(Self { stop, threads })
    }

    pub(crate) fn end(self) -> Vec<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().filter_map(|(_, thread)| thread.join().ok()).collect()
    }
}

/// One target.
struct Line {
    target: IpAddr,
    socket: Socket,
    id: u16,
    rate: u32,
    /// Numbers go on over trials, so that a late answer to one is not taken for another's.
    next: u64,
}

impl Line {
    fn open(target: IpAddr, id: u16) -> std::io::Result<Self> {
        let (domain, protocol) = match target {
            IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
            IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
        };
        let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
        socket.connect(&SockAddr::from(SocketAddr::new(target, 0)))?;
        socket.set_nonblocking(true)?;
        Ok(Self { target, socket, id, rate: 0, next: 0 })
    }

    fn find_rate(mut self) -> Self {
        for rate in RATES {
            let end = Instant::now() + TRIAL;
            let tally = self.probe(rate, || Instant::now() >= end);
            if tally.sent > 0 && tally.lost == 0 {
                self.rate = rate;
                break;
            }
        }
        self
    }

    fn run(mut self, stop: &AtomicBool) -> Tally {
        let nothing = Tally { target: self.target, rate: 0, sent: 0, lost: 0, longest_gap_ms: 0 };
        match self.rate {
            0 => nothing,
            rate => self.probe(rate, || stop.load(Ordering::Relaxed)),
        }
    }

    fn probe(&mut self, rate: u32, over: impl Fn() -> bool) -> Tally {
        let step = Duration::from_secs(1) / rate;
        let first = self.next;
        let mut answered: Vec<bool> = Vec::new();
        let mut due = Instant::now();
        while !over() {
            // A send that fails is a packet lost: the route was not there.
            let _ = self.socket.send(&echo(self.target, self.id, self.next));
            self.next += 1;
            answered.push(false);
            self.receive(first, &mut answered);
            due += step;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let end = Instant::now() + LATE;
        while answered.contains(&false) && Instant::now() < end {
            self.receive(first, &mut answered);
            std::thread::sleep(Duration::from_millis(1));
        }
        tally(self.target, rate, &answered)
    }

    fn receive(&mut self, first: u64, answered: &mut [bool]) {
        let mut packet = [0; 256];
        loop {
            match self.socket.read(&mut packet) {
                Ok(length) => {
                    let bytes = packet.get(..length).unwrap_or_default();
                    let number = answer(self.target, self.id, bytes);
                    let slot = number.and_then(|n| usize::try_from(n.checked_sub(first)?).ok());
                    if let Some(seen) = slot.and_then(|i| answered.get_mut(i)) {
                        *seen = true;
                    }
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                // Nothing there, or an ICMP error about one of ours, which is lost then.
                Err(_) => return,
            }
        }
    }
}

fn tally(target: IpAddr, rate: u32, answered: &[bool]) -> Tally {
    let longest = answered.split(|seen| *seen).map(<[bool]>::len).max().unwrap_or(0);
    let lost = answered.iter().filter(|seen| !**seen).count();
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Tally {
        target,
        rate,
        sent: count(answered.len()),
        lost: count(lost),
        longest_gap_ms: count(longest) * 1000 / u64::from(rate.max(1)),
    }
}

/// An echo request that carries its number (RFC 792, RFC 4443 §4.1). ICMPv6's checksum is the
/// kernel's to fill in.
fn echo(target: IpAddr, id: u16, number: u64) -> [u8; 16] {
    let mut packet = [0; 16];
    let [high, low] = id.to_be_bytes();
    packet[0] = if target.is_ipv4() { 8 } else { 128 };
    (packet[4], packet[5]) = (high, low);
    packet[8..].copy_from_slice(&number.to_be_bytes());
    if target.is_ipv4() {
        let [high, low] = checksum(&packet).to_be_bytes();
        (packet[2], packet[3]) = (high, low);
    }
    packet
}

fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|two| {
        let [high, low] = [two.first(), two.get(1)].map(|b| u32::from(*b.unwrap_or(&0)));
        high << 8 | low
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// The number of the echo that this answers, if it answers one of ours.
fn answer(target: IpAddr, id: u16, packet: &[u8]) -> Option<u64> {
    // An IPv4 raw socket shows the IP header as well.
    let (icmp, kind) = match target {
        IpAddr::V4(_) => {
            let header = usize::from(packet.first()? & 0x0f) * 4;
            (packet.get(header..)?, 0)
        }
        IpAddr::V6(_) => (packet, 129),
    };
    let ours = *icmp.first()? == kind && icmp.get(4..6)? == id.to_be_bytes();
    let number = icmp.get(8..16)?.try_into().ok().map(u64::from_be_bytes);
    number.filter(|_| ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_comes_back_as_its_own_answer() {
        for target in ["192.0.2.1", "2001:db8::1"].map(|a| a.parse::<IpAddr>().unwrap()) {
            let mut reply = echo(target, 77, 5_000_000_000).to_vec();
            reply[0] = if target.is_ipv4() { 0 } else { 129 };
            if target.is_ipv4() {
                reply = [[0x45].as_slice(), &[0; 19], &reply].concat();
            }
            assert_eq!(answer(target, 77, &reply), Some(5_000_000_000));
            assert_eq!(answer(target, 78, &reply), None);
            for length in 0..reply.len() {
                let _ = answer(target, 77, &reply[..length]);
            }
        }
    }

    #[test]
    fn a_request_sums_up_to_nothing_wrong() {
        let packet = echo("192.0.2.1".parse().unwrap(), 77, 1);
        assert_eq!(checksum(&packet), 0, "RFC 1071");
    }

    #[test]
    fn the_longest_gap_is_the_longest_run_of_lost_ones() {
        let answered = [true, false, true, false, false, false, true, false];
        let tally = tally("192.0.2.1".parse().unwrap(), 100, &answered);
        assert_eq!((tally.sent, tally.lost, tally.longest_gap_ms), (8, 5, 30));
    }
}
