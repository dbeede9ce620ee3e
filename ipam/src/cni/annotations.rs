//! What a pod says of its addresses itself, in the annotations the runtime passes on (capability
//! `io.kubernetes.cri.pod-annotations`). One that cannot be read is an error: to go on without it
//! would give the pod another address than it was promised.

use super::request::{LONG, addresses, bounded};
use super::{code, failure};
use ipam_core::{Kind, Policy, Workload};
use mainstay_proto::ipam::v1::CniError;
use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

const POLICY: &str = "mainstay.io/sticky-policy";
const POOL: &str = "mainstay.io/pool";
const IPS: &str = "mainstay.io/ips";
const WORKLOAD: &str = "mainstay.io/workload";
/// Set by the kubelet on every pod, whatever its manifest says: `api`, `file` or `http`.
const SOURCE: &str = "kubernetes.io/config.source";
/// As for the keys of the configuration.
const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

type Annotations = HashMap<String, String>;

/// `mainstay.io/ips: 10.244.0.9, fd00::9`.
pub(super) fn ips(all: &Annotations) -> Result<Vec<IpAddr>, CniError> {
    addresses(IPS, &list(all, IPS)?)
}

/// `mainstay.io/pool: blue, blue-v6`.
pub(super) fn pools(all: &Annotations) -> Result<Vec<String>, CniError> {
    Ok(list(all, POOL)?.into_iter().map(str::to_owned).collect())
}

fn list<'a>(all: &'a Annotations, key: &str) -> Result<Vec<&'a str>, CniError> {
    let Some(text) = all.get(key) else { return Ok(Vec::new()) };
    bounded(key, text, LONG)?;
    let items: Vec<_> = text.split(',').map(str::trim).collect();
    if items.contains(&"") {
        return Err(bad(key, text, "is not a list such as a, b"));
    }
    Ok(items)
}

/// `mainstay.io/sticky-policy: ttl=10m`, `never` or `while-owner-exists`.
pub(super) fn policy(all: &Annotations) -> Result<Option<Policy>, CniError> {
    let Some(text) = all.get(POLICY) else { return Ok(None) };
    let ttl = || text.strip_prefix("ttl=").and_then(mainstay_config::duration);
    match text.as_str() {
        "never" => Ok(Some(Policy::Never)),
        "while-owner-exists" => Ok(Some(Policy::WhileOwnerExists)),
        _ => match ttl().filter(|ttl| *ttl <= LONGEST_TTL) {
            Some(ttl) => Ok(Some(Policy::Ttl(ttl))),
            None => {
                let why = "is not ttl=10m (at most 8760h), never or while-owner-exists";
                Err(bad(POLICY, text, why))
            }
        },
    }
}

/// What made the pod, told by somebody who knows.
pub(super) fn workload(all: &Annotations, pod: &str) -> Result<Option<Workload>, CniError> {
    if all.get(SOURCE).is_some_and(|source| source == "file" || source == "http") {
        return Ok(Some(Workload { kind: Kind::Static, name: pod.into(), proven: true }));
    }
    let Some(text) = all.get(WORKLOAD) else { return Ok(None) };
    bounded(WORKLOAD, text, LONG)?;
    let why = "is not KIND/NAME, such as daemonset/node-agent";
    Workload::proven(text).map(Some).ok_or_else(|| bad(WORKLOAD, text, why))
}

fn bad(key: &str, text: &str, why: &str) -> CniError {
    let text: String = text.chars().take(LONG).collect();
    failure(code::INVALID_CONFIG, format!("annotation {key}: {text:?} {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, text: &str) -> Annotations {
        [(key.to_owned(), text.to_owned())].into()
    }

    #[test]
    fn a_policy_is_read_or_refused() {
        let read = |text| policy(&with(POLICY, text));
        let ttl = |seconds| Ok(Some(Policy::Ttl(Duration::from_secs(seconds))));
        assert_eq!(read("ttl=1h30m"), ttl(5400));
        assert_eq!(read("ttl=0s"), ttl(0));
        assert_eq!(read("never"), Ok(Some(Policy::Never)));
        assert_eq!(read("while-owner-exists"), Ok(Some(Policy::WhileOwnerExists)));
        assert_eq!(policy(&Annotations::new()), Ok(None));
        for text in ["", "ttl", "ttl=", "ttl=10", "ttl=8761h", "for ever", "Never"] {
            let error = read(text).unwrap_err();
            assert!(error.msg.contains("is not ttl=10m"), "{}", error.msg);
        }
    }

    #[test]
    fn lists_have_no_empty_items() {
        assert_eq!(pools(&with(POOL, "blue, blue-v6")).unwrap(), ["blue", "blue-v6"]);
        assert_eq!(ips(&with(IPS, "10.0.0.9,fd00::9")).unwrap().len(), 2);
        assert!(pools(&with(POOL, "blue,")).is_err());
        assert!(pools(&with(POOL, "")).is_err());
        assert!(ips(&with(IPS, "10.0.0")).is_err());
    }

    #[test]
    fn the_kubelet_and_the_pod_itself_prove_a_workload_and_api_proves_none() {
        let read = |key, text| workload(&with(key, text), "etcd-node-1");
        let of = |kind, name: &str| Ok(Some(Workload { kind, name: name.into(), proven: true }));
        assert_eq!(read(SOURCE, "file"), of(Kind::Static, "etcd-node-1"));
        assert_eq!(read(SOURCE, "http"), of(Kind::Static, "etcd-node-1"));
        assert_eq!(read(SOURCE, "api"), Ok(None));
        assert_eq!(read(WORKLOAD, "daemonset/agent"), of(Kind::DaemonSet, "agent"));
        assert!(read(WORKLOAD, "agent").is_err());
    }
}
