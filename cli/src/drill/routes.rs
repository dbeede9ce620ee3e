//! What the kernel announces of the speaker's routes (protocol 96) while the drill runs.

use crate::failure::Failure;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use serde::Serialize;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// RTMGRP_IPV4_ROUTE and RTMGRP_IPV6_ROUTE.
const GROUPS: u32 = 0x40 | 0x400;
const RTM_NEWROUTE: u16 = 24;
const RTM_DELROUTE: u16 = 25;
const RTA_DST: u16 = 1;
/// The speaker's routes, by `/etc/iproute2/rt_protos.d`.
const PROTOCOL: u8 = 96;
/// How many events are told one by one.
const MOST_TOLD: usize = 20;
const BUFFER: usize = 64 * 1024;
const TURN: Duration = Duration::from_millis(5);

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct RouteEvents {
    pub(crate) added: u64,
    pub(crate) removed: u64,
    /// The kernel had more to tell than we could read.
    pub(crate) missed: bool,
    /// The first ones: `+ 198.51.100.0/24`.
    pub(crate) first: Vec<String>,
}

impl RouteEvents {
    pub(crate) const fn count(&self) -> u64 {
        self.added + self.removed
    }

    fn note(&mut self, removed: bool, prefix: &str) {
        *(if removed { &mut self.removed } else { &mut self.added }) += 1;
        if self.first.len() < MOST_TOLD {
            self.first.push(format!("{} {prefix}", if removed { '-' } else { '+' }));
        }
    }
}

pub(crate) struct RouteWatch {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<RouteEvents>,
}

impl RouteWatch {
    pub(crate) fn start() -> Result<Self, Failure> {
        let said = |e| Failure::Said(format!("cannot listen to the kernel's routes: {e}"));
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(said)?;
        socket.bind(&SocketAddr::new(0, GROUPS)).map_err(said)?;
        socket.set_non_blocking(true).map_err(said)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || listen(&socket, &stopped));
        Ok(Self { stop, thread })
    }

    pub(crate) fn end(self) -> RouteEvents {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| RouteEvents { missed: true, ..Default::default() })
    }
}

fn listen(socket: &Socket, stopped: &AtomicBool) -> RouteEvents {
    let mut events = RouteEvents::default();
    let mut buffer = Vec::with_capacity(BUFFER);
    loop {
        buffer.clear();
        match socket.recv(&mut buffer, 0) {
            Ok(_) => read(&buffer, &mut events),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                if stopped.load(Ordering::Relaxed) {
                    return events;
                }
                std::thread::sleep(TURN);
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            // ENOBUFS: the kernel has dropped some.
            Err(_) => events.missed = true,
        }
    }
}

fn read(mut bytes: &[u8], events: &mut RouteEvents) {
    while let Some(length) = word(bytes, 0).and_then(|l| usize::try_from(l).ok()) {
        let Some(message) = bytes.get(16..length) else { return };
        let kind = half(bytes, 4).unwrap_or_default();
        if matches!(kind, RTM_NEWROUTE | RTM_DELROUTE) && message.get(5) == Some(&PROTOCOL) {
            events.note(kind == RTM_DELROUTE, &prefix(message));
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
}

/// Of an rtmsg and its attributes.
fn prefix(message: &[u8]) -> String {
    let family = message.first().copied().unwrap_or_default();
    let length = message.get(1).copied().unwrap_or_default();
    let mut attributes = message.get(12..).unwrap_or_default();
    let mut address = match family {
        2 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        _ => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    while let (Some(size), Some(kind)) = (half(attributes, 0), half(attributes, 2)) {
        let Some(value) = attributes.get(4..usize::from(size)) else { break };
        if kind == RTA_DST {
            if let Ok(four) = <[u8; 4]>::try_from(value) {
                address = Ipv4Addr::from(four).into();
            } else if let Ok(sixteen) = <[u8; 16]>::try_from(value) {
                address = Ipv6Addr::from(sixteen).into();
            }
        }
        let next = usize::from(size).next_multiple_of(4);
        attributes = attributes.get(next..).unwrap_or_default();
    }
    format!("{address}/{length}")
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(kind: u16, protocol: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(36u32.to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend([2, 24, 0, 0, 254, protocol, 0, 1, 0, 0, 0, 0]);
        bytes.extend(8u16.to_ne_bytes());
        bytes.extend(RTA_DST.to_ne_bytes());
        bytes.extend([198, 51, 100, 0]);
        bytes
    }

    #[test]
    fn only_the_speaker_s_routes_count() {
        let mut events = RouteEvents::default();
        let all = [message(RTM_DELROUTE, 96), message(RTM_NEWROUTE, 96), message(RTM_NEWROUTE, 12)]
            .concat();
        read(&all, &mut events);
        assert_eq!(events.first, ["- 198.51.100.0/24", "+ 198.51.100.0/24"]);
        assert_eq!((events.removed, events.added), (1, 1));
    }

    #[test]
    fn what_is_cut_short_or_lies_about_its_length_is_left_alone() {
        let whole = message(RTM_DELROUTE, 96);
        for length in 0..whole.len() {
            let mut events = RouteEvents::default();
            read(&whole[..length], &mut events);
            assert_eq!(events.count(), 0);
        }
        for lie in [0u32, 1, 15, 17, 20, u32::MAX] {
            let mut bytes = whole.clone();
            bytes[..4].copy_from_slice(&lie.to_ne_bytes());
            read(&bytes, &mut RouteEvents::default());
        }
    }
}
