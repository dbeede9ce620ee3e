//! Routes into the kernel, and the loss of one of two next hops under all of them.

use crate::crowd::{Table, address, prefix};
use crate::speakers::{Part, Peer, Speaker};
use crate::work::{Lab, Outcome, any, settle};
use mainstay_tests::netns::Netns;
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};

const COUNT: usize = 100_000;
/// How often the kernel is asked how far it is.
const LOOK: Duration = Duration::from_millis(5);

/// CPU time of all processes that have a part in it. Every route is looked at afterwards.
pub fn kernel(speaker: Speaker) -> Vec<Outcome> {
    let peers = [0, 1].map(|n| Peer { n, asn: 65001 + u32::from(n == 1), part: Part::Source });
    let table = |of: usize| Table { first: 0, count: COUNT, of, asn: peers[of].asn, longer: 0 };
    let tables = [0, 1].map(|n| table(n).updates().0);
    let lab = Lab::with_kernel(speaker, &peers, any);
    settle();
    let host = lab.host();
    let base = prefixes(host);
    let install = lab.cost(
        "100,000 routes into the kernel",
        |m| m[0].send(Arc::clone(&tables[0])),
        |_, end| {
            let at = poll(end, || prefixes(host) >= base + COUNT)?;
            all_lead(host, &[0]).map(|()| at)
        },
    );
    if install.has_failed() {
        return vec![install];
    }
    let both = lab.cost(
        "a second next hop for each of them",
        |m| m[1].send(Arc::clone(&tables[1])),
        |_, end| poll_slowly(end, || all_lead(host, &[0, 1])),
    );
    if both.has_failed() {
        return vec![install, both];
    }
    settle();
    // The last of the table is looked at as they are repaired; all of them when it is.
    let last = format!("{}", prefix(COUNT - 1));
    let first = format!("{}", prefix(0));
    let gone = format!("via {} ", address(0));
    let lost = lab.cost(
        "one of two next hops of 100,000 routes lost",
        |m| m[0].hang_up(),
        |_, end| {
            let show = |p: &String| host.ip(&format!("route show {p}"));
            let at = poll(end, || [&first, &last].iter().all(|p| !show(p).contains(&gone)))?;
            match all_lead(host, &[1]) {
                Ok(()) => Ok(at),
                Err(_) => poll_slowly(end, || all_lead(host, &[1])),
            }
        },
    );
    vec![install, lost]
}

fn poll(end: Instant, done: impl Fn() -> bool) -> Result<Instant, String> {
    loop {
        if done() {
            return Ok(Instant::now());
        }
        if Instant::now() > end {
            return Err("the kernel's routes are not all there".into());
        }
        std::thread::sleep(LOOK);
    }
}

/// For what takes long to find out.
fn poll_slowly(end: Instant, done: impl Fn() -> Result<(), String>) -> Result<Instant, String> {
    loop {
        let at = Instant::now();
        match done() {
            Ok(()) => return Ok(at),
            Err(why) if at > end => return Err(why),
            Err(_) => std::thread::sleep(Duration::from_millis(250)),
        }
    }
}

/// What the main table has, counted by the kernel.
pub fn prefixes(host: &Netns) -> usize {
    let text = host.run(|| std::fs::read_to_string("/proc/thread-self/net/fib_triestat"));
    let text = text.expect("a kernel with CONFIG_IP_FIB_TRIE_STATS");
    let main = text.split("Main:").nth(1).unwrap_or_default();
    let count = main.lines().find_map(|l| l.trim().strip_prefix("Prefixes:"));
    count.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

/// Every route of the table leads to those peers, and to nobody else.
fn all_lead(host: &Netns, to: &[usize]) -> Result<(), String> {
    let wanted: BTreeSet<Ipv4Addr> = to.iter().map(|n| address(*n)).collect();
    let routes = routes(host);
    for n in 0..COUNT {
        let prefix = prefix(n).to_string();
        match routes.get(&prefix) {
            Some(has) if *has == wanted => {}
            has => return Err(format!("{prefix} leads to {has:?}, not to {wanted:?}")),
        }
    }
    Ok(())
}

/// As `ip` shows them; groups of next hops have a line for each.
fn routes(host: &Netns) -> HashMap<String, BTreeSet<Ipv4Addr>> {
    let text = host.ip("-4 route show table main");
    let mut routes: HashMap<String, BTreeSet<Ipv4Addr>> = HashMap::new();
    let mut last = String::new();
    for line in text.lines() {
        if !line.starts_with(char::is_whitespace) {
            line.split_whitespace().next().unwrap_or_default().clone_into(&mut last);
        }
        let mut words = line.split_whitespace().skip_while(|w| *w != "via");
        if let Some(via) = words.nth(1).and_then(|w| w.parse().ok()) {
            routes.entry(last.clone()).or_default().insert(via);
        }
    }
    routes
}
