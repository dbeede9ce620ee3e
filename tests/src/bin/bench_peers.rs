//! `make bench-peers`: the same work by us and by others, in one run on one machine; rewrites
//! `docs/benchmarks.md`. With `--row` (million, ten, reflector, flap) or `--speaker` (mainstay, bird,
//! frr, openbgpd, gobgp) only those rows of speed and memory are measured, and told.

#[path = "bench_peers/addresses.rs"]
mod addresses;
#[path = "bench_peers/crowd.rs"]
mod crowd;
#[path = "bench_peers/feeder.rs"]
mod feeder;
#[path = "bench_peers/report.rs"]
mod report;
#[path = "bench_peers/routes.rs"]
mod routes;
#[path = "bench_peers/speakers.rs"]
mod speakers;
#[path = "bench_peers/work.rs"]
mod work;

use mainstay_tests::sections;

fn main() {
    assert!(
        rustix::process::geteuid().is_root(),
        "bench-peers makes network namespaces: run it as root"
    );
    let machine = report::Machine::read();
    println!("{machine}");
    let (rows, speakers) = (chosen("--row"), chosen("--speaker"));
    if rows.is_some() || speakers.is_some() {
        work::run(rows.as_deref(), speakers.as_deref());
        return;
    }
    let work = work::run(None, None);
    let routes = routes::run();
    let addresses = addresses::run();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md");
    // The sections of other programs.
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let mut page = report::page(&machine, &routes, &addresses);
    page = sections::replace(&page, work::TITLE, &work::section(&work));
    for title in ["Restarts", "Leases: the daemon alone"] {
        if let Some(section) = sections::find(&old, title) {
            page = sections::replace(&page, title, section);
        }
    }
    if std::env::var_os("DRY").is_some() {
        return println!("{page}");
    }
    std::fs::write(path, page).expect("write docs/benchmarks.md");
    println!("\nwritten to docs/benchmarks.md");
}

/// The value of an argument.
fn chosen(name: &str) -> Option<String> {
    let mut args = std::env::args().skip_while(|arg| arg != name);
    args.next().and_then(|_| args.next())
}
