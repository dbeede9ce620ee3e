//! The installed units under a real systemd, with a switch on a cable. Run as root.

mod drained;
mod drill;
mod frr;
mod sessions;
mod shutdown;
mod site;
mod units;
