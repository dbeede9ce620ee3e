//! `mainstay-none`: the main plugin of a node without container network.
//!
//! An empty CNI directory would make the node NotReady. This plugin is ready (STATUS succeeds), so
//! pods with `hostNetwork: true` run, for which a runtime never calls CNI; any other pod gets one
//! error that says what to do. DEL and GC succeed, there being nothing to undo.
//!
//! CHECK is refused like ADD: no attachment of this network can exist, and a runtime takes a failed
//! CHECK to mean that the container is misconfigured for good, which is so.

use crate::call::{Call, Command};
use crate::error::{Code, Error};

pub const NAME: &str = "mainstay-none";

/// Answers one call; success has nothing to print.
pub fn answer(call: &Call) -> Result<Option<String>, Error> {
    match call.command {
        Command::Add | Command::Check => Err(no_container_network()),
        Command::Del | Command::Gc | Command::Status => Ok(None),
    }
}

fn no_container_network() -> Error {
    Error::new(Code::NO_CONTAINER_NETWORK, "this node has no container network").details(
        "set hostNetwork: true in the pod, or network.mode: bgp in mainstay.yaml \
         and a conflist with mainstay-ipam",
    )
}
