//! What is asked of Linux.

pub mod clock;
pub mod icmp6;
pub mod memory;
pub mod packet;
pub mod process;
pub mod tcp;
pub mod udp;
