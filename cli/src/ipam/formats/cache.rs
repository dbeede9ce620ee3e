//! What libcni remembers of each attachment, `/var/lib/cni/results/<network>-<container>-<ifname>`:
//! for whom it was, and the result of ADD in the form of its version. The configuration in it may
//! hold secrets and is not looked at.

use super::Entry;
use serde::Deserialize;
use std::net::IpAddr;

const KIND: &str = "cniCacheV1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cached {
    kind: String,
    container_id: String,
    if_name: String,
    network_name: String,
    #[serde(default)]
    netns: String,
    #[serde(default)]
    cni_args: Option<Vec<[String; 2]>>,
    #[serde(default)]
    result: Option<CniResult>,
}

#[derive(Deserialize, Default)]
struct CniResult {
    #[serde(default)]
    ips: Option<Vec<Ip>>,
    /// Of 0.1.0 and 0.2.0.
    ip4: Option<OldIp>,
    ip6: Option<OldIp>,
}

#[derive(Deserialize)]
struct Ip {
    address: String,
}

#[derive(Deserialize)]
struct OldIp {
    ip: String,
}

/// The addresses of one attachment. A fault begins with the file's name.
pub(in crate::ipam) fn read(file: &str, text: &[u8]) -> Result<Vec<Entry>, String> {
    let cached: Cached = serde_json::from_slice(text).map_err(|e| format!("{file}: {e}"))?;
    if cached.kind != KIND {
        return Err(format!("{file}: kind {:?} is not {KIND}", cached.kind));
    }
    if cached.container_id.is_empty() || cached.if_name.is_empty() {
        return Err(format!("{file}: names no container and interface"));
    }
    let arg = |name: &str| {
        let args = cached.cni_args.iter().flatten();
        args.filter(|[key, _]| key == name)
            .map(|[_, value]| value.clone())
            .next()
            .unwrap_or_default()
    };
    let entry = |address: IpAddr| Entry {
        netns: cached.netns.clone(),
        namespace: arg("K8S_POD_NAMESPACE"),
        name: arg("K8S_POD_NAME"),
        uid: arg("K8S_POD_UID"),
        ..Entry::new(address, &cached.network_name, &cached.container_id, &cached.if_name)
    };
    let result = cached.result.as_ref();
    let texts = result.into_iter().flat_map(CniResult::addresses);
    let address = |text: &str| {
        let bare = text.split('/').next().unwrap_or_default();
        bare.parse().map_err(|_| format!("{file}: {text:?} is no address"))
    };
    texts.map(|text| address(text).map(entry)).collect()
}

impl CniResult {
    fn addresses(&self) -> impl Iterator<Item = &str> {
        let new = self.ips.iter().flatten().map(|ip| ip.address.as_str());
        new.chain(self.ip4.iter().chain(&self.ip6).map(|old| old.ip.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As libcni 1.3 writes it for containerd.
    const NEW: &str = r#"{"kind":"cniCacheV1","containerId":"0c6f2b1a","config":"eyJzZWNyZXQiOjF9",
        "ifName":"eth0","networkName":"pods","netns":"/var/run/netns/cni-1",
        "cniArgs":[["IgnoreUnknown","1"],["K8S_POD_NAMESPACE","default"],["K8S_POD_NAME","web-0"],
        ["K8S_POD_INFRA_CONTAINER_ID","0c6f2b1a"],["K8S_POD_UID","u-1"]],
        "capabilityArgs":{"dns":{}},"result":{"cniVersion":"1.0.0","dns":{},
        "interfaces":[{"name":"veth1"}],"ips":[{"address":"10.1.0.3/26","gateway":"10.1.0.1",
        "interface":0},{"address":"fd00::3/122"}],"routes":[{"dst":"0.0.0.0/0"}]}}"#;
    const OLD: &str = r#"{"kind":"cniCacheV1","containerId":"c2","config":"","ifName":"eth0",
        "networkName":"pods","result":{"cniVersion":"0.2.0","ip4":{"ip":"10.1.0.4/24"}}}"#;

    #[test]
    fn results_of_new_and_old_versions_are_read() {
        let entries = read("x", NEW.as_bytes()).unwrap();
        assert_eq!(entries.len(), 2);
        let expected = Entry {
            netns: "/var/run/netns/cni-1".into(),
            namespace: "default".into(),
            name: "web-0".into(),
            uid: "u-1".into(),
            ..Entry::new("10.1.0.3".parse().unwrap(), "pods", "0c6f2b1a", "eth0")
        };
        assert_eq!(entries[0], expected);
        let old = read("x", OLD.as_bytes()).unwrap();
        assert_eq!(old, [Entry::new("10.1.0.4".parse().unwrap(), "pods", "c2", "eth0")]);
    }

    #[test]
    fn what_is_wrong_is_said_with_the_file() {
        let error = |text: &str| read("pods-c1-eth0", text.as_bytes()).unwrap_err();
        assert!(error("{").starts_with("pods-c1-eth0: EOF"));
        let other = OLD.replace("cniCacheV1", "cniCacheV9");
        assert_eq!(error(&other), r#"pods-c1-eth0: kind "cniCacheV9" is not cniCacheV1"#);
        let bad = OLD.replace("10.1.0.4/24", "elsewhere");
        assert_eq!(error(&bad), r#"pods-c1-eth0: "elsewhere" is no address"#);
    }

    proptest! {
        #[test]
        fn no_damage_to_a_file_hurts(at in 0usize..600, byte in any::<u8>(), cut in 0usize..600) {
            let mut text = NEW.as_bytes().to_vec();
            if let Some(b) = text.get_mut(at) {
                *b = byte;
            }
            text.truncate(cut.max(at));
            let _ = read("x", &text);
        }
    }
}
