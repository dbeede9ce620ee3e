//! What every Mainstay daemon does alike: its arguments, its log, the lock that keeps a second one
//! away, its sockets, saying that it is ready, and the signals it answers to.

#![deny(unsafe_code)]

mod args;
mod boot;
mod log;
mod ready;
mod signals;
mod socket;
mod watchdog;

pub use args::{Args, LoadError, Loaded};
pub use boot::{age, boot_id, boottime};
pub use log::{init as init_log, together as log_together};
pub use ready::Ready;
pub use signals::{Signal, Signals};
pub use socket::{BindError, Lock, LockError, bind, incoming};
pub use watchdog::Watchdog;

/// The release, as `--version` and the APIs tell it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Ends the process with the whole chain of an error on stderr and exit code 1.
///
/// The daemons' `main` answers with this, so that an operator reads one line whatever went wrong.
pub fn exit_code(result: Result<(), Box<dyn std::error::Error>>) -> std::process::ExitCode {
    let Err(error) = result else { return std::process::ExitCode::SUCCESS };
    tracing::error!("{}", chain(error.as_ref()));
    std::process::ExitCode::FAILURE
}

/// An error and its sources, joined by colons.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
