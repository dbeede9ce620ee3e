//! `make test-interop`: every feature against every speaker; writes `docs/interop.md`. Words pick
//! cells by name: `mainstay-interop BIRD MD5`; then nothing is written. `CAPTURE=FILE` keeps what the
//! speakers have sent.

use mainstay_tests::interop::{self, Outcome, Speaker};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    assert!(
        rustix::process::geteuid().is_root(),
        "the interop matrix makes network namespaces: run it as root"
    );
    let words: Vec<_> = std::env::args().skip(1).collect();
    let all = interop::ALL.iter().flat_map(|f| Speaker::ALL.map(|s| (f, s)));
    let picked = |(f, s): &(&interop::Feature, Speaker)| {
        let name = format!("{} {} {}", s.name(), f.name, f.rfc);
        words.iter().all(|w| name.contains(w.as_str()))
    };
    let cells: Vec<_> = all.filter(picked).collect();
    let width = std::env::var("WIDTH").ok().and_then(|w| w.parse().ok()).unwrap_or(4);
    let began = Instant::now();
    let outcomes = interop::run(&cells, width, |feature, speaker, outcome| {
        let told = match outcome {
            Outcome::Works => "yes".to_owned(),
            Outcome::Lacks(why) => format!("– ({why})"),
            Outcome::Broken(why) => format!("NO: {why}"),
        };
        println!("{} | {}: {told}", speaker.name(), feature.name);
    });
    if let Some(messages) = mainstay_tests::capture::write() {
        println!("{messages} messages captured");
    }
    println!("{} cells in {:.0?}", cells.len(), began.elapsed());
    if words.is_empty() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/interop.md");
        std::fs::write(path, interop::page(interop::ALL, &outcomes))
            .expect("write docs/interop.md");
        println!("written to docs/interop.md");
    }
    let broken = outcomes.iter().any(|o| matches!(o, Outcome::Broken(_)));
    if broken { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
