//! The CNI IPAM plugin: `"ipam": {"type": "mainstay-ipam"}`.

use std::process::ExitCode;

use mainstay_cni::{ipam, run};

fn main() -> ExitCode {
    run::main(ipam::NAME, ipam::answer)
}
