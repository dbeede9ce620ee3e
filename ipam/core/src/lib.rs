//! Address allocation without IO: told what is asked and what time it is, [`Ipam`] answers with
//! the records to persist and the reply. Whoever runs it writes the records before it sends the
//! reply of an ADD; the records of a DEL may follow, for a lost one only prolongs the hold.
//!
//! A slot goes `Free -> Assigned(owner, attachment) -> Held(owner, released) -> Free`. "Free" is
//! computed, never stored. Two periods, not one:
//! - *cooldown* (hard): nobody but its owner gets a held address before the deadline, whatever
//!   crashes, reboots, jumps its clock or runs out;
//! - *stickiness* (soft): the owner gets it back at once, and as long as nobody needed it.
//!
//! The attachment (network, container, interface) is the primary key, as the CNI specification
//! asks; the owner's identity ([`Rung`]) is a second index, never a replacement. How time is
//! counted, across crashes and reboots, stands in [`time`](Clock).

#![forbid(unsafe_code)]

mod add;
mod block;
mod choose;
mod error;
mod gc;
mod identity;
mod import;
mod index;
mod ipam;
mod leaks;
mod operator;
mod ordered;
mod policy;
mod pool;
mod ranges;
mod record;
mod report;
mod settings;
mod slots;
mod time;
mod view;
mod withheld;
mod workload;

pub use add::{Add, Grant};
pub use block::Block;
pub use choose::Rival;
pub use error::{AddError, CheckError, Conflict, Full, HoldError, ReleaseError};
pub use gc::Alive;
pub use identity::{Attachment, Owner, Rung};
pub use import::{Adopted, Import, Imported};
pub use ipam::{Effects, Ipam};
pub use leaks::{Evidence, Leased, Seen, Suspects};
pub use operator::OwnerGone;
pub use policy::Policy;
pub use record::{BlockRecord, Kept, Record, Slot, Stamp, State};
pub use report::{How, Report, Why};
pub use settings::{PoolSettings, Reservation, Settings};
pub use slots::Slots;
pub use time::{BootId, Clock, ClockRecord, Moment, Now};
pub use view::{BlockView, Counts, LeaseState, LeaseView, PoolView, WithheldView};
pub use withheld::{Hold, InUse, TAKING_DOWN, Withheld};
pub use workload::{Kind, Workload};
