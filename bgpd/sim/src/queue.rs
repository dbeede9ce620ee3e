//! What will happen, in order of time; at one time in the order in which it was decided.

use crate::node::Side;
use crate::tcp::StreamId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Instant;

#[derive(Debug)]
pub(crate) enum Happening {
    /// A SYN reaches the other side.
    Arrive { stream: StreamId },
    /// The dialling side learns what came of it.
    Answer { stream: StreamId, established: bool },
    /// A side's socket has room.
    Pull { stream: StreamId, side: Side },
    /// Bytes reach a side.
    Deliver { stream: StreamId, side: Side, bytes: Vec<u8> },
    /// A FIN or RST reaches a side.
    HangUp { stream: StreamId, side: Side },
}

#[derive(Default)]
pub(crate) struct Queue {
    order: BinaryHeap<Reverse<(Instant, u64)>>,
    what: BTreeMap<u64, Happening>,
    decided: u64,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Instant, happening: Happening) {
        self.decided += 1;
        self.order.push(Reverse((at, self.decided)));
        self.what.insert(self.decided, happening);
    }

    pub(crate) fn next_at(&self) -> Option<Instant> {
        self.order.peek().map(|Reverse((at, _))| *at)
    }

    pub(crate) fn pop(&mut self) -> Option<Happening> {
        let Reverse((_, number)) = self.order.pop()?;
        self.what.remove(&number)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}
