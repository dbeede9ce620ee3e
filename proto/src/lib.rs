//! Mainstay's API. `mainstay/<area>/v1/*.proto` is the source; `src/gen/` is made from it by
//! `make proto` and checked against it by `tests/generated.rs`, so that building Mainstay needs
//! neither protoc nor the time of a generator.
//!
//! Without the feature `grpc` only the messages are here: the CNI plugins frame them by hand.

#![allow(
    clippy::all,
    clippy::too_many_lines,
    clippy::use_self,
    unreachable_pub,
    unused_qualifications
)]

pub mod bgp {
    pub mod v1 {
        include!("gen/mainstay.bgp.v1.rs");
    }
}
pub mod collect {
    pub mod v1 {
        include!("gen/mainstay.collect.v1.rs");
    }
}
pub mod ipam {
    pub mod v1 {
        include!("gen/mainstay.ipam.v1.rs");
    }
}
pub mod netmon {
    pub mod v1 {
        include!("gen/mainstay.netmon.v1.rs");
    }
}
/// The runtime's own interface, as far as we use it.
pub mod runtime {
    pub mod v1 {
        include!("gen/runtime.v1.rs");
    }
}
