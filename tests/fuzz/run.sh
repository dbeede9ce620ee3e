#!/usr/bin/env bash
# Each parser under libFuzzer, led by its coverage: run.sh [TARGET...]
#   FUZZ_SECONDS=60   for each
#   MINIMISE=1        afterwards keep of the corpus only what reaches something of its own
# A fault is written to tests/fuzz/found/ and ends the run with an error.
set -euo pipefail
cd "$(dirname "$0")"
command -v c++ >/dev/null || { echo "libFuzzer wants a C++ compiler: apt-get install g++" >&2; exit 1; }
seconds=${FUZZ_SECONDS:-60}
host=$(rustc -vV | sed -n 's/^host: //p')
# What cargo-fuzz gives rustc, but for the sanitizers, which want a nightly compiler: there is no
# unsafe code in the parsers.
export RUSTFLAGS="--cfg fuzzing -C passes=sancov-module -C llvm-args=-sanitizer-coverage-level=4 \
-C llvm-args=-sanitizer-coverage-inline-8bit-counters -C llvm-args=-sanitizer-coverage-pc-table \
-C llvm-args=-sanitizer-coverage-trace-compares -C debug-assertions -C overflow-checks"
# `--target` keeps these flags from build scripts.
${CARGO:-cargo} build --release --features libfuzzer --target "$host" --target-dir ../../target/fuzz -p mainstay-fuzz
binary=../../target/fuzz/$host/release/mainstay-fuzz
mkdir -p found
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=($(ls corpus))
for target in "${targets[@]}"; do
    echo "== $target, $seconds s"
    new=$(mktemp -d)
    trap 'rm -rf "$new"' EXIT
    TARGET=$target "$binary" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 \
        -artifact_prefix="found/$target-" -print_final_stats=1 "$new" "corpus/$target" 2>&1 |
        grep -E '^(stat::|SUMMARY|==|#[0-9]+.*DONE|thread|INFO: +[0-9]+ files)|panicked' || true
    if compgen -G "found/$target-*" >/dev/null; then
        echo "found: $(ls found/"$target"-*)" >&2
        exit 1
    fi
    if [ -n "${MINIMISE:-}" ]; then
        mkdir "$new/kept"
        # Code that is reached, however often.
        TARGET=$target "$binary" -set_cover_merge=1 -use_counters=0 "$new/kept" "corpus/$target" "$new" 2>/dev/null
        rm -rf "corpus/$target"
        mv "$new/kept" "corpus/$target"
        echo "corpus: $(ls "corpus/$target" | wc -l) files"
    fi
    rm -rf "$new"
done
