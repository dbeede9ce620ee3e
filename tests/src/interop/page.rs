//! `docs/interop.md`.

use super::{Feature, Outcome, Speaker};
use std::fmt::Write;

const HEAD: &str = "# Interoperability

Written by `make test-interop`: in each cell a speaker and a node of ours come up in network namespaces of their own, with
the feature on both sides, and both are asked what they have. **yes**: both showed what they should. A dash: the speaker
has no such thing, for the reason below the table. The speakers are Debian's packages. That OpenBGPD comes back after we have
cut it off is not waited for: it pauses for longer than a cell takes.

";

#[must_use]
pub fn page(features: &[Feature], outcomes: &[Outcome]) -> String {
    let mut text = HEAD.to_owned();
    let heads: String =
        Speaker::ALL.iter().map(|s| format!(" {} {} |", s.name(), s.version())).collect();
    let _ =
        writeln!(text, "| feature | RFC |{heads}\n|---|---|{}", "---|".repeat(Speaker::ALL.len()));
    let mut notes = Vec::new();
    for (feature, row) in features.iter().zip(outcomes.chunks(Speaker::ALL.len())) {
        let _ = write!(text, "| {} | {} |", feature.name, feature.rfc);
        for (speaker, outcome) in Speaker::ALL.iter().zip(row) {
            let cell = match outcome {
                Outcome::Works => "yes".to_owned(),
                Outcome::Lacks(why) => {
                    notes.push(format!("{}, {}: {why}", speaker.name(), feature.name));
                    "–".to_owned()
                }
                Outcome::Broken(_) => "**no**".to_owned(),
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
    if !notes.is_empty() {
        text.push_str("\nWhere there is a dash:\n\n");
        for note in notes {
            let _ = writeln!(text, "- {note}.");
        }
    }
    text
}
