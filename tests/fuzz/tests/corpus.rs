//! All that the fuzzer has found so far, tried again.

use std::path::Path;

#[test]
fn the_whole_corpus_of_each_parser_does_no_harm() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in mainstay_fuzz::TARGETS {
        let mut tried = 0;
        for entry in corpus.join(name).read_dir().unwrap_or_else(|e| panic!("{name}: {e}")) {
            let path = entry.unwrap_or_else(|e| panic!("{name}: {e}")).path();
            // In case it panics.
            println!("{}", path.display());
            run(&std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())));
            tried += 1;
        }
        assert!(tried >= 5, "{name}: a corpus of {tried}");
    }
}
