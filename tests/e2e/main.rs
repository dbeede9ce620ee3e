//! End to end: the shipped programs, real peers, the real kernel. One binary, many hosts; every
//! test makes its own namespaces and takes them away again.

mod harness;
