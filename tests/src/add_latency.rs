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
/// How many callers there are in the parallel runs: as a busy node has, and as many as start at once
/// when a node comes back.
pub const CALLERS: [usize; 2] = [8, 32];

/// Who hands out the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipam<'a> {
    /// A static program that does nothing: what starting a process costs by itself.
    Nothing,
    HostLocal,
    /// The address is in its configuration: what a plugin costs that keeps nothing.
    Static,
    /// With the ipamd that serves in this run directory. Its pool needs room for `LIVE + 4 n` new
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
    pub parallel: [Latency; 2],
    /// By as many callers as there are at most, and no DEL among them.
    pub adds_per_second: f64,
}

/// Measures `n` containers one after the other, then `n` by so many callers, then `n` ADDs alone.
#[must_use]
pub fn add_latency(n: usize, ipam: Ipam<'_>) -> AddLatency {
    let bench = Bench::new(ipam);
    let live: Vec<_> = (0..LIVE).map(|_| bench.next()).collect();
    for container in &live {
        bench.call("ADD", container);
    }
    let serial = bench.run(n, 1);
    let parallel = CALLERS.map(|callers| bench.run(n, callers));
    let adds_per_second = bench.adds_alone(n, CALLERS[1]);
    for container in &live {
        bench.call("DEL", container);
    }
    AddLatency { serial, parallel, adds_per_second }
}

/// Starts a program so often, one after the other: a plugin that is asked for its versions, or the
/// program that does nothing.
#[must_use]
pub fn start_latency(n: usize, ipam: Ipam<'_>) -> Quantiles {
    let bench = Bench::new(ipam);
    quantiles((0..n).map(|_| bench.call("VERSION", "")).collect())
}

struct Bench {
    program: PathBuf,
    argument: Option<&'static str>,
    stdin: String,
    netns: Netns,
    count: AtomicUsize,
    /// Of host-local.
    _state: Scratch,
}

impl Bench {
    fn new(ipam: Ipam<'_>) -> Self {
        let state = Scratch::new("add-latency");
        let debian =
            |name: &str| tool(&format!("/usr/lib/cni/{name}"), "containernetworking-plugins");
        let (program, section) = match ipam {
            Ipam::Nothing => (tool("busybox", "busybox-static"), Value::Null),
            Ipam::HostLocal => (
                debian("host-local"),
                json!({
                    "type": "host-local",
                    "dataDir": state.path(),
                    "ranges": [[{"subnet": "10.243.0.0/16"}], [{"subnet": "fd00:10:243::/112"}]],
                    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}],
                }),
            ),
            Ipam::Static => (
                debian("static"),
                json!({
                    "type": "static",
                    "addresses": [{"address": "10.242.0.2/16"}, {"address": "fd00:10:242::2/112"}],
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
            argument: (ipam == Ipam::Nothing).then_some("true"),
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
            .args(self.argument)
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
        let start = Instant::now();
        let times = by(callers, n, || {
            let container = self.next();
            (self.call("ADD", &container), self.call("DEL", &container))
        });
        let took = start.elapsed();
        Latency {
            add: quantiles(times.iter().map(|t| t.0).collect()),
            del: quantiles(times.iter().map(|t| t.1).collect()),
            pairs_per_second: times.len() as f64 / took.as_secs_f64(),
        }
    }

    /// ADDs in a second; the addresses are given back after it.
    fn adds_alone(&self, n: usize, callers: usize) -> f64 {
        let start = Instant::now();
        let containers = by(callers, n, || {
            let container = self.next();
            self.call("ADD", &container);
            container
        });
        let took = start.elapsed();
        for container in &containers {
            self.call("DEL", container);
        }
        containers.len() as f64 / took.as_secs_f64()
    }
}

/// What so many callers get who do it, together, `n` times or a few more.
fn by<T: Send>(callers: usize, n: usize, call: impl Fn() -> T + Sync) -> Vec<T> {
    let each = n.div_ceil(callers);
    std::thread::scope(|scope| {
        let calls = || (0..each).map(|_| call()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..callers).map(|_| scope.spawn(calls)).collect();
        threads.into_iter().flat_map(|t| t.join().expect("no caller panicked")).collect()
    })
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
