//! The kernel's netlink: `wire` reads its messages, `socket` asks and listens.

pub(crate) mod socket;
pub(crate) mod wire;
