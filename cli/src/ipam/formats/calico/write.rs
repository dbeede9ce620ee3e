//! This node's blocks as Calico keeps them: what `kubectl apply` makes of them is what calico-ipam
//! would have written itself.

use super::super::Entry;
use super::{ANOTHER, HOLD, OURS};
use mainstay_prefix::Prefix;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::net::IpAddr;

const API: &str = "crd.projectcalico.org/v1";
/// Calico reserves these without a handle of their own.
const WINDOWS: &str = "windows-reserved-ipam-handle";
/// As of a block of ours.
const LARGEST_BLOCK: u128 = 1 << 16;

/// All that Calico is to know of a node.
#[derive(Debug, Default)]
pub(in crate::ipam) struct Node {
    pub(in crate::ipam) name: String,
    pub(in crate::ipam) blocks: Vec<Prefix>,
    pub(in crate::ipam) leases: Vec<Entry>,
    /// Not to be handed out, and why.
    pub(in crate::ipam) holds: Vec<(IpAddr, String)>,
    /// Released, the longest ago first: handed out after all the others.
    pub(in crate::ipam) released: Vec<IpAddr>,
    /// Calico's number for what is written now; it only ever grows.
    pub(in crate::ipam) sequence: u64,
}

/// Who has an address.
struct Owner {
    handle: String,
    secondary: Vec<(&'static str, String)>,
}

impl Node {
    /// Blocks, their affinities, and a handle for each owner: one YAML list.
    pub(in crate::ipam) fn write(&self) -> String {
        let mut text = String::from("apiVersion: v1\nkind: List\nitems:\n");
        let mut handles = BTreeMap::<String, BTreeMap<String, usize>>::new();
        let owners = self.owners();
        for block in &self.blocks {
            self.write_block(*block, &owners, &mut text);
            self.write_affinity(*block, &mut text);
            for (_, owner) in in_block(*block, &owners).filter(|(_, o)| o.handle != WINDOWS) {
                let of = handles.entry(owner.handle.clone()).or_default();
                *of.entry(block.to_string()).or_default() += 1;
            }
        }
        for (handle, of) in &handles {
            write_handle(handle, of, &mut text);
        }
        text
    }

    fn owners(&self) -> BTreeMap<IpAddr, Owner> {
        let holds = self.holds.iter().map(|(address, why)| (*address, self.held(why)));
        let leases = self.leases.iter().map(|entry| (entry.address, self.leased(entry)));
        // A pod keeps its address though it is on hold: the pod is whose it is.
        holds.chain(leases).collect()
    }

    fn leased(&self, entry: &Entry) -> Owner {
        let all = [("namespace", &entry.namespace), ("pod", &entry.name), ("node", &self.name)];
        let all = all.into_iter().filter(|(_, value)| !value.is_empty());
        Owner {
            handle: format!("{}.{}", entry.network, entry.container_id),
            secondary: all.map(|(key, value)| (key, value.clone())).collect(),
        }
    }

    /// What came from Calico goes back as it was; a hold of ours has its reason as a note.
    fn held(&self, why: &str) -> Owner {
        let node = ("node", self.name.clone());
        let Some(what) = why.strip_prefix(HOLD) else {
            let secondary = vec![node, ("note", why.to_owned())];
            return Owner { handle: OURS.into(), secondary };
        };
        if let Some(handle) = what.strip_prefix(ANOTHER) {
            return Owner { handle: handle.into(), secondary: vec![node] };
        }
        match what.split_once(", ") {
            Some((kind, handle)) => {
                let secondary = vec![node, ("type", kind.to_owned())];
                Owner { handle: handle.into(), secondary }
            }
            None if what == WINDOWS => {
                let secondary = vec![("note", "windows host rsvd".into())];
                Owner { handle: what.into(), secondary }
            }
            None => Owner { handle: what.replace(' ', "-"), secondary: vec![node] },
        }
    }

    fn write_block(&self, prefix: Prefix, owners: &BTreeMap<IpAddr, Owner>, text: &mut String) {
        let size = usize::try_from(prefix.size().min(LARGEST_BLOCK)).unwrap_or_default();
        let here: Vec<_> = in_block(prefix, owners).collect();
        let index: HashMap<_, _> =
            here.iter().enumerate().map(|(index, (at, _))| (*at, index.to_string())).collect();
        let place = |at| index.get(&at).cloned().unwrap_or_else(|| "null".into());
        let places: Vec<_> = (0..size).map(place).collect();
        let sequences: Vec<_> =
            here.iter().map(|(at, _)| format!("\"{at}\": {}", self.sequence)).collect();
        let _ = write!(
            text,
            "- apiVersion: {API}\n  kind: IPAMBlock\n  metadata:\n    name: {}\n  spec:\n    \
             affinity: {}\n    cidr: {}\n    deleted: false\n    strictAffinity: false\n    \
             sequenceNumber: {}\n    sequenceNumberForAllocation: {{{}}}\n    \
             allocations: [{}]\n    unallocated: [{}]\n    attributes:{}\n",
            quoted(&name(prefix)),
            quoted(&format!("host:{}", self.name)),
            quoted(&prefix.to_string()),
            self.sequence,
            sequences.join(", "),
            places.join(", "),
            self.unallocated(prefix, size, owners).join(", "),
            if here.is_empty() { " []" } else { "" },
        );
        for (_, owner) in here {
            let _ = writeln!(text, "    - handle_id: {}\n      secondary:", quoted(&owner.handle));
            for (key, value) in &owner.secondary {
                let _ = writeln!(text, "        {key}: {}", quoted(value));
            }
        }
    }

    /// Calico hands out from the front of it.
    fn unallocated(
        &self,
        prefix: Prefix,
        size: usize,
        owners: &BTreeMap<IpAddr, Owner>,
    ) -> Vec<String> {
        let rank: HashMap<_, _> = self.released.iter().zip(1_usize..).collect();
        let addresses = (0..size).filter_map(|at| Some((prefix.nth(at as u128)?, at)));
        let mut free: Vec<_> =
            addresses.filter(|(address, _)| !owners.contains_key(address)).collect();
        free.sort_by_key(|(address, at)| (rank.get(address).copied().unwrap_or_default(), *at));
        free.into_iter().map(|(_, at)| at.to_string()).collect()
    }

    fn write_affinity(&self, prefix: Prefix, text: &mut String) {
        let _ = write!(
            text,
            "- apiVersion: {API}\n  kind: BlockAffinity\n  metadata:\n    name: {}\n  spec:\n    \
             cidr: {}\n    deleted: \"false\"\n    node: {}\n    state: confirmed\n",
            quoted(&format!("{}-{}", self.name, name(prefix))),
            quoted(&prefix.to_string()),
            quoted(&self.name),
        );
    }
}

fn write_handle(handle: &str, of: &BTreeMap<String, usize>, text: &mut String) {
    let _ = write!(
        text,
        "- apiVersion: {API}\n  kind: IPAMHandle\n  metadata:\n    name: {}\n  spec:\n    \
         deleted: false\n    handleID: {}\n    block:\n",
        quoted(&handle.to_lowercase()),
        quoted(handle)
    );
    for (block, count) in of {
        let _ = writeln!(text, "      {}: {count}", quoted(block));
    }
}

/// Those of a block by their place in it.
fn in_block(
    prefix: Prefix,
    owners: &BTreeMap<IpAddr, Owner>,
) -> impl Iterator<Item = (usize, &Owner)> {
    let here = owners.iter().filter_map(move |(address, owner)| {
        Some((usize::try_from(prefix.offset_of(*address)?).ok()?, owner))
    });
    here.filter(|(at, _)| (*at as u128) < LARGEST_BLOCK)
}

/// A name that Kubernetes takes.
fn name(prefix: Prefix) -> String {
    prefix.to_string().replace(['.', ':', '/'], "-")
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use proptest::prelude::*;

    fn entry(address: &str, id: &str, name: &str) -> Entry {
        Entry {
            namespace: "default".into(),
            name: name.into(),
            ..Entry::new(address.parse().unwrap(), "k8s-pod-network", id, "eth0")
        }
    }

    fn node() -> Node {
        Node {
            name: "node-a".into(),
            blocks: ["10.244.0.0/29", "fd00::/126"].map(|b| b.parse().unwrap()).into(),
            sequence: 1_779_051_231,
            ..Node::default()
        }
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn blocks_affinities_and_handles_are_written_as_calico_has_them() {
        let hold = |at: &str, why: &str| (address(at), why.to_owned());
        let node = Node {
            leases: vec![
                entry("10.244.0.2", "c1", "web-0"),
                entry("10.244.0.5", "C2", ""),
                entry("fd00::2", "c1", "web-0"),
            ],
            holds: vec![
                hold("10.244.0.1", "Calico: vxlanTunnelAddress, vxlan-tunnel-addr-node-a"),
                hold("10.244.0.0", "Calico: windows-reserved-ipam-handle"),
                hold("10.244.0.6", "a printer answers on it"),
                hold("10.244.0.5", "it is on hold, and a pod has it"),
            ],
            released: vec![address("10.244.0.4"), address("10.244.0.3")],
            ..node()
        };
        insta::assert_snapshot!(node.write());
        let found = read(&node.write(), "node-a", "k8s-pod-network").unwrap();
        assert_eq!(found.leases, node.leases, "and read again as they were");
        let held: Vec<_> = found.holds.iter().map(|(a, why)| format!("{a} {why}")).collect();
        let went = |at: usize| format!("{} {}", node.holds[at].0, node.holds[at].1);
        assert_eq!(held, [went(1), went(0), went(2)]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            at in prop::collection::btree_map(0u8..64, ("[a-z0-9]{1,12}", "[a-z0-9-]{1,9}"), 0..9),
            held in prop::collection::btree_set(64u8..80, 0..4),
        ) {
            let leases: Vec<_> = at
                .iter()
                .map(|(n, (id, name))| entry(&format!("10.0.0.{n}"), id, name))
                .collect();
            let why = "Calico: ipipTunnelAddress, ipip-tunnel-addr-node-a".to_owned();
            let holds: Vec<_> =
                held.iter().map(|n| (IpAddr::from([10, 0, 0, *n]), why.clone())).collect();
            let blocks = vec!["10.0.0.0/25".parse().unwrap()];
            let node = Node { blocks, leases, holds, ..node() };
            let found = read(&node.write(), "node-a", "k8s-pod-network").unwrap();
            prop_assert_eq!(found.leases, node.leases);
            prop_assert_eq!(found.holds, node.holds);
            prop_assert!(found.skipped.is_empty());
        }
    }
}
