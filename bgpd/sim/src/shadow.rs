//! What one direction of a connection says, read from its bytes: what the receiver must hold when it
//! has read this far, and what the sender must believe that it holds.

use bgp_core::types::Prefix;
use bgp_core::wire::{self, Attributes, Context, Message};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// Paths by prefix and identifier.
pub(crate) type Table = BTreeMap<(Prefix, u32), Arc<Attributes>>;

#[derive(Default)]
pub(crate) struct Shadow {
    /// After everything that was sent.
    pub(crate) sent: Table,
    /// After the whole messages among what has arrived.
    pub(crate) heard: Table,
    coming: VecDeque<Coming>,
    /// Octets that have arrived and belong to a message that has not arrived as a whole.
    tail: Vec<u8>,
}

/// Of the whole messages that have arrived.
#[derive(Default)]
pub(crate) struct Arrived {
    /// Those that a log keeps.
    pub(crate) log: Vec<u8>,
    /// The prefixes that they speak of.
    pub(crate) touched: Vec<Prefix>,
    /// One of them wants to hear everything again.
    pub(crate) asks_again: bool,
}

struct Coming {
    message: Vec<u8>,
    changes: Vec<Change>,
}

type Change = ((Prefix, u32), Option<Arc<Attributes>>);

const LENGTH: std::ops::Range<usize> = 16..18;
const TYPE: usize = 18;
const SUBTYPE: usize = 21;
const UPDATE: u8 = 2;
const ROUTE_REFRESH: u8 = 5;

impl Shadow {
    /// Whole messages leave; `context` is the sender's. Those of them that a log keeps.
    pub(crate) fn send(&mut self, mut bytes: &[u8], context: &Context) -> Vec<u8> {
        let mut log = Vec::new();
        while !bytes.is_empty() {
            let length = bytes[LENGTH].iter().fold(0, |sum, b| sum << 8 | usize::from(*b));
            let (message, rest) = bytes.split_at(length);
            if is_logged(message) {
                log.extend_from_slice(message);
            }
            let changes = read(message, &context.mirrored());
            changes.iter().for_each(|change| apply(&mut self.sent, change));
            self.coming.push_back(Coming { message: message.to_vec(), changes });
            bytes = rest;
        }
        log
    }

    pub(crate) fn arrive(&mut self, bytes: &[u8]) -> Arrived {
        self.tail.extend_from_slice(bytes);
        let mut arrived = Arrived::default();
        while let Some(next) = self.coming.pop_front_if(|c| c.message.len() <= self.tail.len()) {
            self.tail.drain(..next.message.len());
            if is_logged(&next.message) {
                arrived.log.extend_from_slice(&next.message);
            } else if next.message[TYPE] == ROUTE_REFRESH {
                arrived.asks_again = true;
            }
            for change in next.changes {
                arrived.touched.push(change.0.0);
                apply(&mut self.heard, &change);
            }
        }
        arrived
    }

    /// What the receiver's process has read and not understood yet.
    pub(crate) fn take_tail(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.tail)
    }
}

/// UPDATEs, and the marks of a refresh (RFC 7313).
fn is_logged(message: &[u8]) -> bool {
    match message[TYPE] {
        UPDATE => true,
        ROUTE_REFRESH => message[SUBTYPE] != 0,
        _ => false,
    }
}

fn apply(table: &mut Table, (key, attributes): &Change) {
    match attributes {
        Some(attributes) => table.insert(*key, Arc::clone(attributes)),
        None => table.remove(key),
    };
}

fn read(message: &[u8], context: &Context) -> Vec<Change> {
    if message[TYPE] != UPDATE {
        return Vec::new();
    }
    let Ok(Message::Update(update)) = wire::decode(message, context) else {
        panic!("a speaker has sent what nobody can read: {message:02x?}");
    };
    assert_eq!(update.fault, None, "a speaker has sent an UPDATE with a fault");
    let mut changes: Vec<Change> = Vec::new();
    for section in update.withdrawn.iter().flatten() {
        changes.extend(section.nlri.paths().map(|key| (key, None)));
    }
    for section in update.announced.iter().flatten() {
        let attributes = update.attributes.clone().unwrap_or_else(|| panic!("no attributes"));
        let attributes = Arc::new(Attributes { next_hop: section.next_hop, ..attributes });
        changes.extend(section.nlri.paths().map(|key| (key, Some(Arc::clone(&attributes)))));
    }
    changes
}
