//! The CNI main plugin of a node without container network.

use std::process::ExitCode;

use mainstay_cni::{none, run};

fn main() -> ExitCode {
    run::main(none::NAME, none::answer)
}
