//! The words of routing policies: communities and patterns of AS paths, as a network engineer
//! writes them.
//!
//! The cluster's file is read with them (so that a fault has its place there), and the speaker
//! matches by them. No IO, no route: what is compared comes as numbers.

#![forbid(unsafe_code)]
#![warn(clippy::indexing_slicing)]

pub mod as_path;
pub mod bandwidth;
pub mod community;

pub use as_path::AsPathPattern;
pub use bandwidth::{LinkBandwidth, Rate};
pub use community::{Community, CommunityPattern};

/// Why a text is none of our words: what follows the offending text in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadWord(String);

impl BadWord {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// Digits only, without leading zeros: what a number looks like in all of these words.
fn decimal(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let plain = plain && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}
