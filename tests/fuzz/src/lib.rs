//! One function a parser: any bytes may be given to it, and it panics when a promise is broken.
//!
//! `make fuzz` runs them under libFuzzer, which looks for bytes that reach new code; what it has
//! found so far is the corpus, in a directory a target. `make test` tries the whole corpus again.

mod cni;
mod config;
mod discovery;
mod keeper;
mod wire;
mod words;

pub type Target = fn(&[u8]);

/// What is tried, by the name of its corpus.
pub const TARGETS: [(&str, Target); 9] = [
    ("as_path", words::as_path),
    ("bfd", keeper::bfd),
    ("cni", cni::stdin),
    ("community", words::community),
    ("config", config::file),
    ("discovery", discovery::messages),
    ("keeper", keeper::packets),
    ("policy", words::policy),
    ("wire", wire::stream),
];

#[must_use]
pub fn target(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, run)| *run)
}
