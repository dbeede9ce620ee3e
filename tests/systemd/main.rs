//! The installed units under a real systemd, with a switch on a cable. Run as root.

mod sessions;
mod site;
mod units;
