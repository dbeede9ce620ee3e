//! `make bench-restart`: what a restart of each speaker costs a switch that is a good helper, what
//! it takes ours to go on, and what the keeper costs; writes its section of `docs/benchmarks.md`.

#[path = "bench_restart/cost.rs"]
mod cost;
#[path = "bench_restart/feeder.rs"]
mod feeder;
#[path = "bench_restart/report.rs"]
mod report;
#[path = "bench_restart/restarters.rs"]
mod restarters;
#[path = "bench_restart/resume.rs"]
mod resume;
#[path = "bench_restart/table.rs"]
mod table;

fn main() {
    assert!(
        rustix::process::geteuid().is_root(),
        "bench-restart makes network namespaces: run it as root"
    );
    if std::env::args().nth(1).is_some_and(|part| part == "cost") {
        cost::run();
        return;
    }
    let restarts = table::run();
    let resumes = resume::run();
    let costs = cost::run();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md");
    let page = std::fs::read_to_string(path).expect("read docs/benchmarks.md");
    let section = report::section(&restarts, &resumes, &costs);
    let page = mainstay_tests::sections::replace(&page, report::TITLE, &section);
    std::fs::write(path, page).expect("write docs/benchmarks.md");
    println!("\nwritten to docs/benchmarks.md");
}
