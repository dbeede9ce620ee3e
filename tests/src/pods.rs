//! Pods: a namespace each, attached to a node as a container runtime does it.

use crate::cni::{Attachment, Failure, Runtime};
use crate::daemons::Node;
use crate::lab::Names;
use crate::netns::Netns;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

/// A node's runtime with the standard `ptp` plugin and mainstay-ipam.
#[derive(Debug)]
pub struct Pods<'a> {
    node: &'a Node,
    runtime: Runtime,
    names: Names,
}

/// An attached pod. Its namespace goes when this is dropped; its address by [`Pods::delete`].
#[derive(Debug)]
pub struct Pod {
    pub host: Netns,
    pub at: Attachment,
    pub v4: IpAddr,
    pub v6: Option<IpAddr>,
}

static COUNT: AtomicU32 = AtomicU32::new(1);

impl<'a> Pods<'a> {
    #[must_use]
    pub fn new(node: &'a Node, names: Names) -> Self {
        let runtime = Runtime::delegating("ptp", &node.run_dir(), "1.0.0");
        Self { node, runtime, names }
    }

    #[must_use]
    pub const fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// A new sandbox for the pod `default/<name>`: container ID and UID are new each time, as
    /// when a StatefulSet's pod is created again.
    pub fn create(&self, name: &str) -> Result<Pod, Failure> {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let host = self.names.host(name);
        let (container, uid) = (format!("{name}-sandbox-{n}"), format!("uid-{name}-{n}"));
        let at = Attachment::pod(&container, &host.path(), "default", name, &uid);
        let result = self.runtime.add(&self.node.host, &at)?;
        let addresses = addresses(&result);
        let v4 = addresses.iter().copied().find(IpAddr::is_ipv4).expect("an IPv4 address");
        let v6 = addresses.iter().copied().find(IpAddr::is_ipv6);
        Ok(Pod { host, at, v4, v6 })
    }

    pub fn delete(&self, pod: Pod) -> Result<(), Failure> {
        self.runtime.del(&self.node.host, &pod.at)?;
        pod.host.remove();
        Ok(())
    }
}

/// The addresses of a CNI result.
#[must_use]
pub fn addresses(result: &serde_json::Value) -> Vec<IpAddr> {
    let ips = result["ips"].as_array().map_or(&[][..], Vec::as_slice);
    ips.iter().filter_map(|ip| ip["address"].as_str()?.split('/').next()?.parse().ok()).collect()
}
