//! Blocks and handles of Calico's IPAM as `kubectl get ipamblocks,ipamhandles -o yaml` shows them.
//! A block has a place for each of its addresses: empty, or the index of what is known of who has
//! it. Handles only say the same the other way round; they are written and not read.

use super::{Entry, Found};
use mainstay_prefix::Prefix;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

/// What Calico calls the interface of every pod.
const IFNAME: &str = "eth0";
/// Begins the handle of a pod, before its container's id.
const PREFIX: &str = "k8s-pod-network";
const API: &str = "crd.projectcalico.org/v1";

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    items: Option<Vec<Self>>,
    #[serde(default)]
    spec: Option<Spec>,
}

/// Of a block; of whatever else is in the file, what of it looks the same.
#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    cidr: Option<String>,
    #[serde(default)]
    affinity: Option<String>,
    #[serde(default)]
    allocations: Option<Vec<Option<i64>>>,
    #[serde(default)]
    attributes: Option<Vec<Attribute>>,
    #[serde(default)]
    deleted: Option<bool>,
}

#[derive(Deserialize)]
struct Attribute {
    #[serde(default, alias = "handleID")]
    handle_id: Option<String>,
    #[serde(default, alias = "activeOwnerAttrs")]
    secondary: Option<BTreeMap<String, Option<String>>>,
}

impl Attribute {
    fn get(&self, name: &str) -> String {
        let all = self.secondary.as_ref();
        all.and_then(|all| all.get(name).cloned().flatten()).unwrap_or_default()
    }

    /// The container that has the address; nothing: no container has.
    fn container_id(&self) -> Option<&str> {
        let handle = self.handle_id.as_deref()?;
        let (prefix, id) = handle.rsplit_once('.')?;
        let pod = !self.get("pod").is_empty() || prefix == PREFIX;
        (pod && !id.is_empty()).then_some(id)
    }
}

/// The addresses of `node`: all of its blocks, and those it has borrowed from others.
pub(in crate::ipam) fn read(text: &str, node: &str, network: &str) -> Result<Found, String> {
    let documents = documents(text)?;
    let mut found = Found::default();
    let mut blocks = 0;
    for document in documents {
        for item in std::iter::once(&document).chain(document.items.iter().flatten()) {
            let Some(spec) = item.spec.as_ref().filter(|_| item.kind == "IPAMBlock") else {
                continue;
            };
            blocks += 1;
            block(spec, node, network, &mut found)?;
        }
    }
    if blocks == 0 {
        return Err("there is no IPAMBlock in it: kubectl get ipamblocks -o yaml".into());
    }
    found.leases.sort_by_key(|entry| entry.address);
    Ok(found)
}

/// Between lines of three dashes.
fn documents(text: &str) -> Result<Vec<Document>, String> {
    let text = format!("\n{text}");
    let each = text.split("\n---").filter(|text| !text.trim().is_empty()).map(|text| {
        let value = mainstay_config::value(text, "blocks").map_err(|faults| faults.to_string())?;
        serde_json::from_value(value).map_err(|e| e.to_string())
    });
    each.collect::<Result<_, _>>().map_err(|e| format!("it is no list of blocks: {e}"))
}

fn block(spec: &Spec, node: &str, network: &str, found: &mut Found) -> Result<(), String> {
    let cidr = spec.cidr.as_deref().unwrap_or_default();
    let wrong = |why: &str| format!("block {cidr:?}: {why}");
    let prefix: Prefix = cidr.parse().map_err(|_| wrong("its cidr is no prefix"))?;
    let (allocations, attributes) = (
        spec.allocations.as_deref().unwrap_or_default(),
        spec.attributes.as_deref().unwrap_or_default(),
    );
    if u128::try_from(allocations.len()).is_ok_and(|n| n > prefix.size()) {
        return Err(wrong("it has more allocations than addresses"));
    }
    let ours = spec.affinity.as_deref().is_some_and(|a| a == format!("host:{node}"));
    let mut others = 0;
    for (ordinal, index) in allocations.iter().enumerate() {
        let Some(index) = index else { continue };
        let attribute = usize::try_from(*index).ok().and_then(|index| attributes.get(index));
        let attribute = attribute.ok_or_else(|| {
            wrong(&format!("address {ordinal} has attribute {index}, which is not there"))
        })?;
        let at = attribute.get("node");
        // A place of our block without a node's name is ours as well.
        if at == node || (ours && at.is_empty()) {
            let address = prefix.nth(ordinal as u128).ok_or_else(|| wrong("it is too small"))?;
            taken(address, attribute, network, found);
        } else {
            others += 1;
        }
    }
    if others > 0 {
        found.skipped.push(format!("{cidr}: {others} addresses of other nodes"));
    }
    if ours && spec.deleted == Some(true) {
        found.skipped.push(format!("{cidr}: is being deleted by Calico"));
    }
    Ok(())
}

fn taken(address: IpAddr, attribute: &Attribute, network: &str, found: &mut Found) {
    match attribute.container_id() {
        Some(id) => found.leases.push(Entry {
            namespace: attribute.get("namespace"),
            name: attribute.get("pod"),
            ..Entry::new(address, network, id, IFNAME)
        }),
        None => {
            let what = [attribute.get("type"), attribute.handle_id.clone().unwrap_or_default()];
            let what = what.into_iter().find(|what| !what.is_empty());
            let what = what.unwrap_or_else(|| "reserved".into());
            let mut why = format!("Calico: {what}");
            why.truncate(why.floor_char_boundary(253));
            found.holds.push((address, why));
        }
    }
}

/// Blocks of `node` with these leases in them, and a handle for each container: one YAML list.
pub(in crate::ipam) fn write(blocks: &[Prefix], entries: &[Entry], node: &str) -> String {
    let mut text = String::from("apiVersion: v1\nkind: List\nitems:\n");
    for prefix in blocks {
        write_block(*prefix, entries, node, &mut text);
    }
    let mut handles = BTreeMap::<String, BTreeMap<String, usize>>::new();
    for entry in entries {
        let Some(block) = blocks.iter().find(|block| block.contains(entry.address)) else {
            continue;
        };
        let of = handles.entry(handle(entry)).or_default();
        *of.entry(block.to_string()).or_default() += 1;
    }
    for (handle, of) in handles {
        let name = quoted(&handle.to_lowercase());
        let _ = write!(
            text,
            "- apiVersion: {API}\n  kind: IPAMHandle\n  metadata:\n    name: {name}\n  spec:\n    \
             deleted: false\n    handleID: {}\n    block:\n",
            quoted(&handle)
        );
        for (block, count) in of {
            let _ = writeln!(text, "      {}: {count}", quoted(&block));
        }
    }
    text
}

fn write_block(prefix: Prefix, entries: &[Entry], node: &str, text: &mut String) {
    let size = usize::try_from(prefix.size()).unwrap_or(usize::MAX).min(1 << 16);
    let mut allocations = vec![None; size];
    let mut here = Vec::new();
    for entry in entries {
        let at = prefix.offset_of(entry.address).and_then(|at| usize::try_from(at).ok());
        if let Some(place) = at.and_then(|at| allocations.get_mut(at)) {
            *place = Some(here.len());
            here.push(entry);
        }
    }
    let name = prefix.to_string().replace(['.', ':', '/'], "-");
    let places = allocations.iter().map(|p| p.map_or("null".into(), |n| n.to_string()));
    let free = allocations.iter().enumerate().filter(|(_, p)| p.is_none());
    let free = free.map(|(n, _)| n.to_string());
    let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
    let (mut places, mut free) = (places, free);
    let _ = write!(
        text,
        "- apiVersion: {API}\n  kind: IPAMBlock\n  metadata:\n    name: {}\n  spec:\n    \
         affinity: {}\n    cidr: {}\n    deleted: false\n    strictAffinity: true\n    \
         allocations: [{}]\n    unallocated: [{}]\n    attributes:{}\n",
        quoted(&name),
        quoted(&format!("host:{node}")),
        quoted(&prefix.to_string()),
        list(&mut places),
        list(&mut free),
        if here.is_empty() { " []" } else { "" },
    );
    for entry in here {
        let _ = writeln!(text, "    - handle_id: {}\n      secondary:", quoted(&handle(entry)));
        for (key, value) in [("namespace", &entry.namespace), ("pod", &entry.name)] {
            if !value.is_empty() {
                let _ = writeln!(text, "        {key}: {}", quoted(value));
            }
        }
        let _ = writeln!(text, "        node: {}", quoted(node));
    }
}

fn handle(entry: &Entry) -> String {
    format!("{PREFIX}.{}", entry.container_id)
}

/// A JSON string is a YAML string.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As kubectl shows Calico 3.28's, cut to a few addresses.
    const YAML: &str = include_str!("testdata/calico.yaml");

    fn show(found: &Found) -> Vec<String> {
        let lease = |e: &Entry| {
            format!("{} {} {} {}/{}", e.address, e.container_id, e.ifname, e.namespace, e.name)
        };
        let leases = found.leases.iter().map(lease);
        let holds = found.holds.iter().map(|(a, why)| format!("{a} {why}"));
        leases.chain(holds).chain(found.skipped.iter().cloned()).collect()
    }

    #[test]
    fn a_nodes_blocks_are_read_and_what_is_no_container_is_held() {
        let found = read(YAML, "node-a", "k8s-pod-network").unwrap();
        assert_eq!(
            show(&found),
            [
                "10.244.0.2 4bf1c1a5 eth0 default/web-0",
                "10.244.0.3 99ad17e0 eth0 kube-system/coredns-5d78c9869d-x2x4z",
                "10.244.9.7 0aa71b52 eth0 default/borrower",
                "fd00:10:244::2 4bf1c1a5 eth0 default/web-0",
                "10.244.0.1 Calico: vxlanTunnelAddress",
                "10.244.0.4 Calico: windows-reserved-ipam-handle",
                "10.244.9.0/29: 1 addresses of other nodes",
            ]
        );
    }

    #[test]
    fn what_is_wrong_names_the_block() {
        let error = |from: &str, to: &str| {
            assert!(YAML.contains(from), "{from}");
            read(&YAML.replacen(from, to, 1), "node-a", "n").unwrap_err()
        };
        assert_eq!(error("10.244.0.0/29", "here"), "block \"here\": its cidr is no prefix");
        assert_eq!(
            error("10.244.0.0/29", "10.244.0.0/30"),
            "block \"10.244.0.0/30\": it has more allocations than addresses"
        );
        assert_eq!(
            error("[null, 0, 1,", "[null, 0, 99,"),
            "block \"10.244.0.0/29\": address 2 has attribute 99, which is not there"
        );
        assert!(read("kind: List\nitems: []\n", "a", "n").unwrap_err().contains("no IPAMBlock"));
        assert!(read("{", "a", "n").unwrap_err().starts_with("it is no list of blocks"));
    }

    fn entry(address: &str, id: &str, name: &str) -> Entry {
        let address = address.parse().unwrap();
        Entry {
            namespace: "default".into(),
            name: name.into(),
            ..Entry::new(address, "n", id, IFNAME)
        }
    }

    #[test]
    fn blocks_and_handles_are_written_as_calico_has_them() {
        let blocks = ["10.244.0.0/29", "fd00::/126"].map(|b| b.parse().unwrap());
        let entries = [
            entry("10.244.0.2", "c1", "web-0"),
            entry("10.244.0.5", "C2", ""),
            entry("fd00::2", "c1", "web-0"),
        ];
        insta::assert_snapshot!(write(&blocks, &entries, "node-a"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            at in prop::collection::btree_map(0u8..64, ("[a-z0-9]{1,12}", "[a-z0-9-]{1,9}"), 0..9),
        ) {
            let entries: Vec<_> = at
                .iter()
                .map(|(n, (id, name))| entry(&format!("10.0.0.{n}"), id, name))
                .collect();
            let text = write(&["10.0.0.0/26".parse().unwrap()], &entries, "node-a");
            let found = read(&text, "node-a", "n").unwrap();
            prop_assert_eq!(found.leases, entries);
            prop_assert!(found.holds.is_empty() && found.skipped.is_empty());
        }

        #[test]
        fn no_damage_to_the_text_hurts(at in 0usize..YAML.len(), with in ".{0,4}") {
            if YAML.is_char_boundary(at) {
                let _ = read(&format!("{}{with}{}", &YAML[..at], &YAML[at..]), "node-a", "n");
            }
        }
    }
}
