//! `TARGET=wire mainstay-fuzz [libFuzzer's options] CORPUS`

#![no_main]

use std::sync::LazyLock;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("TARGET").unwrap_or_default();
    mainstay_fuzz::target(&name).unwrap_or_else(|| {
        let names = mainstay_fuzz::TARGETS.map(|(name, _)| name).join(", ");
        eprintln!("TARGET={name:?} is none of {names}");
        std::process::exit(2)
    })
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (*TARGET)(bytes));
