//! `make bench-peers`: the same work by us and by others, in one run on one machine.

#[path = "bench_peers/addresses.rs"]
mod addresses;
#[path = "bench_peers/crowd.rs"]
mod crowd;
#[path = "bench_peers/idle.rs"]
mod idle;
#[path = "bench_peers/kernel.rs"]
mod kernel;
#[path = "bench_peers/report.rs"]
mod report;
#[path = "bench_peers/speakers.rs"]
mod speakers;
#[path = "bench_peers/work.rs"]
mod work;

use mainstay_tests::sections;
use speakers::Speaker;
use std::process::ExitCode;
use work::Row;

const HELP: &str = "\
Usage: mainstay-bench-peers [--routes] [--row ROW] [--speaker SPEAKER]

The same work by Mainstay and by others, in one run on one machine; rewrites its sections of
docs/benchmarks.md, or with DRY=1 prints them. Takes about a quarter of an hour. Run it as root.

  --routes           all about routes, nothing about addresses
  --row ROW          only this, and tell the figures: million, ten, reflector, flap, kernel or idle
  --speaker SPEAKER  only this one, and tell the figures: mainstay, kept (with
                     its keeper), bird, frr, openbgpd or gobgp
  -h, --help";

/// What is asked for.
#[derive(Default)]
struct Asked {
    row: Option<Row>,
    idle: bool,
    routes: bool,
    speaker: Option<Speaker>,
    help: bool,
}

fn main() -> ExitCode {
    let asked = match parse(std::env::args().skip(1)) {
        Ok(asked) => asked,
        Err(why) => {
            eprintln!("error: {why}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    if asked.help {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    if !rustix::process::geteuid().is_root() {
        eprintln!("error: bench-peers makes network namespaces: run it as root");
        return ExitCode::FAILURE;
    }
    let machine = report::Machine::read();
    println!("{machine}");
    if asked.idle {
        idle::run(asked.speaker);
    } else if asked.row.is_some() || asked.speaker.is_some() {
        work::run(asked.row, asked.speaker);
    } else {
        all(&machine, !asked.routes);
    }
    ExitCode::SUCCESS
}

fn parse(mut args: impl Iterator<Item = String>) -> Result<Asked, String> {
    let mut asked = Asked::default();
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or(format!("{arg} needs a value"));
        match arg.as_str() {
            "-h" | "--help" => asked.help = true,
            "--routes" => asked.routes = true,
            "--row" => match value()?.as_str() {
                "idle" => asked.idle = true,
                name => {
                    let row = Row::ALL.into_iter().find(|r| r.name() == name);
                    asked.row = Some(row.ok_or(format!("no such row: {name}"))?);
                }
            },
            "--speaker" => {
                let name = value()?;
                let speaker = Speaker::ALL.into_iter().find(|s| s.name() == name);
                asked.speaker = Some(speaker.ok_or(format!("no such speaker: {name}"))?);
            }
            _ => return Err(format!("what is {arg:?}?")),
        }
    }
    Ok(asked)
}

/// The whole page; sections that are not measured stay as they are.
fn all(machine: &report::Machine, addresses: bool) {
    let (work, idle) = (work::run(None, None), idle::run(None));
    let addresses = addresses.then(|| report::addresses(&addresses::run()));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks.md");
    let old = std::fs::read_to_string(path).unwrap_or_default();
    let mut page = report::page(machine);
    let measured = [Some(work::section(&work)), Some(idle::section(&idle)), addresses];
    let measured: Vec<String> = measured.into_iter().flatten().collect();
    let titles = [report::ADDRESSES, "Restarts", "Leases: the daemon alone"];
    let is_new = |title: &&str| measured.iter().any(|s| s.starts_with(&format!("## {title}\n")));
    let kept = titles.iter().filter(|t| !is_new(t)).filter_map(|t| sections::find(&old, t));
    for section in measured.iter().map(String::as_str).chain(kept) {
        page = format!("{}\n\n{section}", page.trim_end());
    }
    if std::env::var_os("DRY").is_some() {
        return println!("{page}");
    }
    std::fs::write(path, page).expect("write docs/benchmarks.md");
    println!("\nwritten to docs/benchmarks.md");
}
