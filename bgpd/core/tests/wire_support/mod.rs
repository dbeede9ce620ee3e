//! Sample messages, for golden text and as seeds.

pub(crate) mod random;
pub(crate) mod strategies;

use bgp_core::wire::{Context, PathIds};

pub(crate) struct Sample {
    pub(crate) title: String,
    pub(crate) session: String,
    pub(crate) context: Context,
    pub(crate) bytes: Vec<u8>,
}

/// All of `messages.txt`.
pub(crate) fn samples() -> Vec<Sample> {
    let text = include_str!("messages.txt");
    text.split("\n= ").skip(1).map(sample).collect()
}

/// What the speakers of the interop matrix have sent: `captured.txt`, by `make capture`.
pub(crate) fn captured() -> Vec<Sample> {
    let text = include_str!("captured.txt");
    text.split("\n= ").skip(1).map(sample).collect()
}

fn sample(paragraph: &str) -> Sample {
    let mut lines = paragraph.lines();
    let title = lines.next().unwrap().to_owned();
    let session = lines.next().unwrap().to_owned();
    let context = Context {
        internal: session.contains("internal"),
        four_octet_as: session.contains("four-octet"),
        extended_messages: session.contains("extended"),
        extended_next_hop: session.contains("ipv6-next-hops"),
        paths_in: PathIds::new(|_| session.contains("add-paths")),
        paths_out: PathIds::new(|_| session.contains("add-paths")),
    };
    let hex: String = lines.collect();
    let octet = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).unwrap();
    let bytes = (0..hex.len()).step_by(2).map(octet).collect();
    Sample { title, session, context, bytes }
}
