//! docs/benchmarks.md, made whole from one run.

use crate::addresses::{ADDS, PODS, Rows, Start};
use crate::routes::{PREFIXES, RUNS, Row};
use mainstay_tests::add_latency::{CALLERS, LIVE, Latency};
use std::fmt;
use std::time::Duration;

pub struct Machine {
    cpu: String,
    cores: usize,
    kernel: String,
    date: String,
}

impl Machine {
    pub fn read() -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let info = text("/proc/cpuinfo");
        let model = info.lines().find_map(|l| l.strip_prefix("model name\t: "));
        let day = std::process::Command::new("date").arg("+%F").output().map(|o| o.stdout);
        Self {
            cpu: model.unwrap_or("unknown CPU").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            kernel: text("/proc/sys/kernel/osrelease")
                .trim()
                .split('-')
                .next()
                .unwrap_or("")
                .to_owned(),
            date: String::from_utf8_lossy(&day.unwrap_or_default()).trim().to_owned(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, kernel, date } = self;
        write!(f, "{cpu}, {cores} cores, Linux {kernel}, {date}")
    }
}

pub fn page(machine: &Machine, routes: &[Row], addresses: &Rows) -> String {
    let mut page = format!(
        "# Benchmarks

Written by `make bench-peers`; every figure of a table is from one run on one machine:
{machine}. The peers are Debian's packages. Figures of a shared machine drift; the ratios hold better than the seconds.

## Routes: one peer in, one peer out

{PREFIXES} IPv4 prefixes, six to a set of attributes, are sent as fast as the speaker takes them; time runs until the
other peer has every one of them, and again until every one is withdrawn. Nothing goes to the kernel. Medians of {RUNS}
runs, for memory the largest of them after the load; CPU time (counted by the kernel in steps of 10 ms) and memory of the
BGP process alone (FRR: `bgpd` without zebra). × is the ratio to us.

| speaker | load, wall | load, CPU | withdraw, wall | withdraw, CPU | peak memory |
|---|---|---|---|---|---|
"
    );
    let ours = &routes[0];
    for row in routes {
        let cell = |of: fn(&Row) -> Duration| seconds(of(row), of(ours));
        page += &format!(
            "| {} | {} | {} | {} | {} | {} MB (×{:.1}) |\n",
            row.speaker,
            cell(|r| r.load.wall),
            cell(|r| r.load.cpu),
            cell(|r| r.withdraw.wall),
            cell(|r| r.withdraw.cpu),
            row.peak / 1_000_000,
            row.peak as f64 / ours.peak as f64,
        );
    }
    page += &plugins(addresses);
    page += &format!(
        "
Durable ADDs by the daemon's socket alone, {ADDS} containers, both families; each answer waits for its commit:

| callers | ADD a second | p50 | p99 |
|---|---|---|---|
"
    );
    for row in &addresses.socket {
        let (p50, p99) = (millis(row.median), millis(row.p99));
        page += &format!("| {} | {:.0} | {p50} | {p99} |\n", row.callers, row.per_second);
    }
    page
}

fn plugins(addresses: &Rows) -> String {
    let [some, many] = CALLERS;
    let mut text = format!(
        "
## Addresses: what a runtime waits for

ADD and DEL of the IPAM plugin alone, IPv4 and IPv6 together, from the start of the process to its end, with {LIVE} other
containers holding addresses: {PODS} containers one after the other, then {PODS} by {some} and by {many} callers at once, each of
whom starts the next process when the last has ended; then {PODS} ADDs by {many} callers without a DEL between.
`mainstay-ipam` answers ADD after its daemon has made the lease durable; `host-local` never syncs its files; `static`
hands out the address of its configuration and keeps nothing. The processes share the machine's cores, so many callers
wait for each other whatever the program does: the first row is what no plugin can be faster than. whereabouts and
Spiderpool are not here, for they keep their leases in a Kubernetes API server.

| plugin | ADD p50 | ADD p99 | DEL p50 | {some} callers: ADD p50 | ADD p99 | ADD+DEL a second | {many} callers: ADD p50 | ADD p99 | ADD+DEL a second | ADD alone a second |
|---|---|---|---|---|---|---|---|---|---|---|
"
    );
    for (name, row) in [
        ("`busybox true` (a static program alone)", addresses.nothing),
        ("`static`", addresses.fixed),
        ("`host-local`", addresses.host_local),
        ("`mainstay-ipam`", addresses.mainstay),
    ] {
        let Latency { add, del, .. } = row.serial;
        let (p50, p99, del) = (millis(add.median), millis(add.p99), millis(del.median));
        text += &format!("| {name} | {p50} | {p99} | {del} |");
        for Latency { add, pairs_per_second, .. } in row.parallel {
            let (p50, p99) = (millis(add.median), millis(add.p99));
            text += &format!(" {p50} | {p99} | {pairs_per_second:.0} |");
        }
        text += &format!(" {:.0} |\n", row.adds_per_second);
    }
    let Start { size, plugin, nothing } = &addresses.start;
    text += &format!(
        "
The plugin is one static file of {:.1} MB. Started only to say which
versions it speaks it takes {} (p99 {}); the program that does nothing, {} (p99 {}).
",
        *size as f64 / 1e6,
        millis(plugin.median),
        millis(plugin.p99),
        millis(nothing.median),
        millis(nothing.p99),
    );
    text
}

fn seconds(value: Duration, ours: Duration) -> String {
    let ratio = value.as_secs_f64() / ours.as_secs_f64().max(0.001);
    format!("{:.2} s (×{ratio:.1})", value.as_secs_f64())
}

fn millis(value: Duration) -> String {
    format!("{:.2} ms", value.as_secs_f64() * 1000.0)
}
