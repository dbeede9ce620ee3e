//! One control connection.

use crate::keeper::ProcessId;
use crate::os::packet::{self, Packet};
use crate::protocol::{MAX_PACKET, Reply};
use crate::shell::held::Held;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Answers that wait for room. A speaker that does not read that many is none.
const MAX_QUEUE: usize = 16_384;

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) socket: OwnedFd,
    pub(super) process: ProcessId,
    /// What a request has brought and the answer decides about.
    pub(super) offered: Option<Held>,
    queue: VecDeque<(Vec<u8>, Vec<OwnedFd>)>,
    broken: bool,
}

impl Conn {
    pub(super) const fn new(socket: OwnedFd, process: ProcessId) -> Self {
        Self { socket, process, offered: None, queue: VecDeque::new(), broken: false }
    }

    /// To be closed.
    pub(super) const fn broken(&self) -> bool {
        self.broken
    }

    pub(super) fn waits_for_room(&self) -> bool {
        !self.queue.is_empty()
    }

    pub(super) fn receive(&self) -> io::Result<Option<Packet>> {
        packet::receive(&self.socket, MAX_PACKET)
    }

    pub(super) fn say(&mut self, reply: &Reply) {
        self.say_with(reply, Vec::new());
    }

    pub(super) fn say_with(&mut self, reply: &Reply, fds: Vec<OwnedFd>) {
        if self.queue.len() >= MAX_QUEUE {
            self.broken = true;
        }
        if !self.broken {
            self.queue.push_back((reply.encode(), fds));
            self.flush();
        }
    }

    pub(super) fn flush(&mut self) {
        while let Some((bytes, fds)) = self.queue.front() {
            let fds: Vec<_> = fds.iter().map(AsFd::as_fd).collect();
            match packet::send(&self.socket, bytes, &fds) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.broken = true;
                    self.queue.clear();
                    return;
                }
                Ok(()) => {}
            }
            self.queue.pop_front();
        }
    }
}
