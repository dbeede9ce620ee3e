//! How long a runtime waits for an address: ADD and DEL of an IPAM plugin alone, by process and by
//! the clock of the caller, beside `host-local` and beside a program that does nothing.
//!
//! The node is not empty: [`LIVE`] containers have their addresses for the whole run, as host-local
//! reads every lease it has on each ADD. Each measured container is new, as a pod's is.

use crate::netns::Netns;
use crate::proc::{bin, tool};
use crate::scratch::Scratch;
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Containers that stand while others come and go: a full node by Kubernetes' default limit.
pub const LIVE: usize = 110;
/// How many callers there are in the parallel run.
pub const CALLERS: usize = 8;

/// Who hands out the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipam<'a> {
    /// A program that does nothing: what starting a process costs by itself.
    Nothing,
    HostLocal,
    /// With the ipamd that serves in this run directory. Its pool needs room for `LIVE + 2 n` new
    /// owners: what is released stays with its owner for the cooldown.
    Mainstay {
        run_dir: &'a Path,
    },
}

/// Quantiles of one operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quantiles {
    pub median: Duration,
    pub p99: Duration,
}

/// One run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    pub add: Quantiles,
    pub del: Quantiles,
    /// Pairs of ADD and DEL in a second, all callers together.
    pub pairs_per_second: f64,
}

/// One caller, then [`CALLERS`] at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AddLatency {
    pub serial: Latency,
    pub parallel: Latency,
}

/// Measures `n` containers one after the other, then `n` by eight callers.
#[must_use]
pub fn add_latency(n: usize, ipam: Ipam<'_>) -> AddLatency {
    let bench = Bench::new(ipam);
    let live: Vec<_> = (0..LIVE).map(|_| bench.next()).collect();
    for container in &live {
        bench.call("ADD", container);
    }
    let serial = bench.run(n, 1);
    let parallel = bench.run(n, CALLERS);
    for container in &live {
        bench.call("DEL", container);
    }
    AddLatency { serial, parallel }
}

struct Bench {
    program: PathBuf,
    stdin: String,
    netns: Netns,
    count: AtomicUsize,
    /// Of host-local.
    _state: Scratch,
}

impl Bench {
    fn new(ipam: Ipam<'_>) -> Self {
        let state = Scratch::new("add-latency");
        let (program, section) = match ipam {
            Ipam::Nothing => (tool("true", "coreutils"), Value::Null),
            Ipam::HostLocal => (
                tool("/usr/lib/cni/host-local", "containernetworking-plugins"),
                json!({
                    "type": "host-local",
                    "dataDir": state.path(),
                    "ranges": [[{"subnet": "10.243.0.0/16"}], [{"subnet": "fd00:10:243::/112"}]],
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                }),
            ),
            Ipam::Mainstay { run_dir } => {
                (bin("mainstay-ipam"), json!({"type": "mainstay-ipam", "run_dir": run_dir}))
            }
        };
        let stdin = json!({
            "cniVersion": "1.0.0", "name": "latency", "type": "ptp", "ipam": section,
        });
        Self {
            program,
            stdin: stdin.to_string(),
            netns: Netns::new("latency"),
            count: AtomicUsize::new(0),
            _state: state,
        }
    }

    /// The ID of a container that has not been before.
    fn next(&self) -> String {
        format!("latency-{}-{}", std::process::id(), self.count.fetch_add(1, Ordering::Relaxed))
    }

    /// One call, as a runtime makes it; how long it took from its start to its end.
    fn call(&self, command: &str, container: &str) -> Duration {
        let args = format!(
            "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME={container};\
             K8S_POD_INFRA_CONTAINER_ID={container};K8S_POD_UID=uid-{container}"
        );
        let start = Instant::now();
        let mut child = Command::new(&self.program)
            .env_clear()
            .envs([("CNI_COMMAND", command), ("CNI_CONTAINERID", container)])
            .envs([("CNI_IFNAME", "eth0"), ("CNI_PATH", "/usr/lib/cni"), ("CNI_ARGS", &args)])
            .env("CNI_NETNS", self.netns.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}", self.program.display()));
        // The program that does nothing does not read either.
        let _ = child.stdin.take().expect("piped").write_all(self.stdin.as_bytes());
        let out = child.wait_with_output().expect("the plugin ends");
        let took = start.elapsed();
        let said = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "{command} by {}: {said}", self.program.display());
        took
    }

    fn run(&self, n: usize, callers: usize) -> Latency {
        let each = n.div_ceil(callers);
        let start = Instant::now();
        let times: Vec<(Duration, Duration)> = std::thread::scope(|scope| {
            let pairs = || {
                let pair = |_| {
                    let container = self.next();
                    (self.call("ADD", &container), self.call("DEL", &container))
                };
                (0..each).map(pair).collect::<Vec<_>>()
            };
            let threads: Vec<_> = (0..callers).map(|_| scope.spawn(pairs)).collect();
            threads.into_iter().flat_map(|t| t.join().expect("no caller panicked")).collect()
        });
        let took = start.elapsed();
        Latency {
            add: quantiles(times.iter().map(|t| t.0).collect()),
            del: quantiles(times.iter().map(|t| t.1).collect()),
            pairs_per_second: times.len() as f64 / took.as_secs_f64(),
        }
    }
}

fn quantiles(mut times: Vec<Duration>) -> Quantiles {
    times.sort_unstable();
    // The smallest time that this share of all calls did not exceed.
    let at = |percent: usize| times[(times.len() * percent).div_ceil(100).saturating_sub(1)];
    Quantiles { median: at(50), p99: at(99) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_measured() {
        let millis = |n| Duration::from_millis(n);
        let of = |n: u64| quantiles((1..=n).rev().map(millis).collect());
        assert_eq!(of(1), Quantiles { median: millis(1), p99: millis(1) });
        assert_eq!(of(200), Quantiles { median: millis(100), p99: millis(198) });
    }
}
