//! Blocks and handles of Calico's IPAM as `kubectl get ipamblocks,ipamhandles -o yaml` shows them.
//! A block has a place for each of its addresses: empty, or the index of what is known of who has
//! it. Handles only say the same the other way round; they are written and not read.

mod write;

use super::{Entry, Found};
use mainstay_prefix::Prefix;
use serde::Deserialize;
use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
pub(in crate::ipam) use write::Node;

/// What Calico calls the interface of every pod.
const IFNAME: &str = "eth0";
/// Begins the reason of an address that is on hold because Calico has it for no pod.
const HOLD: &str = "Calico: ";
/// The handle of what an operator has put on hold here, in blocks that we wrote.
const OURS: &str = "mainstay-hold";
/// Of a hold: a handle has one more.
const ANOTHER: &str = "another address of ";
/// Of a hold's reason, as ipamd takes it.
const LONGEST: usize = 253;

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    items: Option<Vec<Self>>,
    /// Read when it is a block's: whatever else is in the file has keys of the same names.
    #[serde(default)]
    spec: serde_json::Value,
}

/// Of a block.
#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    cidr: Option<String>,
    #[serde(default)]
    affinity: Option<String>,
    /// As blocks had it before `affinity`.
    #[serde(default, rename = "hostAffinity")]
    host_affinity: Option<String>,
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
    /// Of an address that Calico lets cool.
    #[serde(default, alias = "releasedAt", alias = "released_at")]
    released: Option<String>,
}

impl Spec {
    fn is_of(&self, node: &str) -> bool {
        let affinity = self.affinity.as_deref().and_then(|a| a.strip_prefix("host:"));
        affinity.or(self.host_affinity.as_deref()) == Some(node)
    }
}

impl Attribute {
    fn get(&self, name: &str) -> String {
        let all = self.secondary.as_ref();
        all.and_then(|all| all.get(name).cloned().flatten()).unwrap_or_default()
    }

    /// Whose it is. Handles made of host-local's files of two lines end with their first one.
    fn handle(&self) -> &str {
        let handle = self.handle_id.as_deref().unwrap_or_default();
        handle.split('\r').next().unwrap_or_default()
    }

    /// The container that has the address; nothing: no container has.
    fn container_id(&self, network: &str) -> Option<&str> {
        let (prefix, id) = self.handle().rsplit_once('.')?;
        let pod = !self.get("pod").is_empty() || prefix == network;
        (pod && !id.is_empty()).then_some(id)
    }

    /// Why an address is on hold that Calico has for no pod.
    fn hold(&self) -> String {
        let note = self.get("note");
        if self.handle() == OURS && !note.is_empty() {
            return note;
        }
        let what = [self.get("type"), self.handle().to_owned()];
        let what: Vec<_> = what.into_iter().filter(|what| !what.is_empty()).collect();
        let what = if what.is_empty() { "reserved".into() } else { what.join(", ") };
        hold(&what)
    }
}

fn hold(what: &str) -> String {
    let mut why = format!("{HOLD}{what}");
    why.truncate(why.floor_char_boundary(LONGEST));
    why
}

/// The addresses of `node`: all of its blocks, and those it has borrowed from others.
pub(in crate::ipam) fn read(text: &str, node: &str, network: &str) -> Result<Found, String> {
    let documents = documents(text)?;
    let mut found = Found::default();
    let mut blocks = 0;
    for document in documents {
        for item in std::iter::once(&document).chain(document.items.iter().flatten()) {
            if item.kind != "IPAMBlock" {
                continue;
            }
            blocks += 1;
            let spec = Spec::deserialize(&item.spec).map_err(|e| {
                let cidr = &item.spec["cidr"];
                format!("block {cidr}: {e}")
            })?;
            block(&spec, node, network, &mut found)?;
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
    let ours = spec.is_of(node);
    let (mut others, mut cooling) = (0, 0);
    for (ordinal, index) in allocations.iter().enumerate() {
        let Some(index) = index else { continue };
        let attribute = usize::try_from(*index).ok().and_then(|index| attributes.get(index));
        let attribute = attribute.ok_or_else(|| {
            wrong(&format!("address {ordinal} has attribute {index}, which is not there"))
        })?;
        let at = attribute.get("node");
        // A place of our block without a node's name is ours as well.
        let is_ours = at == node || (ours && at.is_empty());
        if is_ours && attribute.released.is_some() && attribute.handle().is_empty() {
            cooling += 1;
        } else if is_ours {
            let address = prefix.nth(ordinal as u128).ok_or_else(|| wrong("it is too small"))?;
            taken(address, attribute, network, found);
        } else {
            others += 1;
        }
    }
    if others > 0 {
        found.skipped.push(format!("{cidr}: {others} addresses of other nodes"));
    }
    if cooling > 0 {
        found.skipped.push(format!("{cidr}: {cooling} addresses that Calico lets cool"));
    }
    if ours && spec.deleted == Some(true) {
        found.skipped.push(format!("{cidr}: is being deleted by Calico"));
    }
    Ok(())
}

fn taken(address: IpAddr, attribute: &Attribute, network: &str, found: &mut Found) {
    match attribute.container_id(network) {
        Some(id) => found.leases.push(Entry {
            namespace: attribute.get("namespace"),
            name: attribute.get("pod"),
            ..Entry::new(address, network, id, IFNAME)
        }),
        None => found.holds.push((address, attribute.hold())),
    }
}

/// A handle may have several addresses of one family, by an ADD that Calico did twice; a container
/// here has one. It is the one that the runtime remembers, and the others are on hold.
pub(in crate::ipam) fn one_of_a_family(found: &mut Found, cache: &[Entry]) {
    let key = |entry: &Entry| (entry.container_id.clone(), entry.address.is_ipv4());
    let remembered: HashSet<_> = cache.iter().map(Entry::key).collect();
    let mut has = HashSet::new();
    let (known, unknown): (Vec<_>, Vec<_>) =
        found.leases.drain(..).partition(|entry| remembered.contains(&entry.key()));
    for entry in known.into_iter().chain(unknown) {
        if has.insert(key(&entry)) {
            found.leases.push(entry);
        } else {
            let what = format!("{ANOTHER}{}.{}", entry.network, entry.container_id);
            found.holds.push((entry.address, hold(&what)));
        }
    }
    found.leases.sort_by_key(|entry| entry.address);
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
                "10.244.0.1 Calico: vxlanTunnelAddress, vxlan-tunnel-addr-node-a",
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

    proptest! {
        #[test]
        fn no_damage_to_the_text_hurts(at in 0usize..YAML.len(), with in ".{0,4}") {
            if YAML.is_char_boundary(at) {
                let _ = read(&format!("{}{with}{}", &YAML[..at], &YAML[at..]), "node-a", "n");
            }
        }
    }
}
