//! docs/benchmarks.md, made whole from one run.

use crate::addresses::{ADDS, PODS, Rows, Start};
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

pub const ADDRESSES: &str = "Addresses: what a runtime waits for";

pub fn page(machine: &Machine) -> String {
    format!(
        "# Benchmarks

Written by `make bench-peers`; every figure of a table is from one run on this machine:
{machine}. The peers are Debian's packages. Figures of a shared machine drift; the ratios hold better than the seconds.
"
    )
}

/// Its section of the page.
pub fn addresses(addresses: &Rows) -> String {
    let mut text = plugins(addresses);
    text += &format!(
        "
Durable ADDs by the daemon's socket alone, {ADDS} containers, both families; each answer waits for its commit:

| callers | ADD a second | p50 | p99 |
|---|---|---|---|
"
    );
    for row in &addresses.socket {
        let (p50, p99) = (millis(row.median), millis(row.p99));
        text += &format!("| {} | {:.0} | {p50} | {p99} |\n", row.callers, row.per_second);
    }
    text
}

fn plugins(addresses: &Rows) -> String {
    let [some, many] = CALLERS;
    let mut text = format!(
        "## {ADDRESSES}

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

fn millis(value: Duration) -> String {
    format!("{:.2} ms", value.as_secs_f64() * 1000.0)
}
