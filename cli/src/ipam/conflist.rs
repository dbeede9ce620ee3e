//! The runtime's network configuration, of which one section is exchanged and every other byte stays.

use serde_json::Value;
use std::ops::Range;

/// A conflist or a single plugin's file, and where its `ipam` section stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Conflist {
    text: String,
    pub(super) network: String,
    section: Range<usize>,
    /// The section, read.
    pub(super) ipam: Value,
}

impl Conflist {
    /// There has to be one `ipam` section, as in every network of one main plugin.
    pub(super) fn read(text: String) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(&text).map_err(|e| format!("it is not JSON: {e}"))?;
        let network = value["name"].as_str().unwrap_or_default().to_owned();
        if network.is_empty() {
            return Err("it has no name".into());
        }
        let mut sections = sections(&text).into_iter();
        let section = match (sections.next(), sections.next()) {
            (Some(one), None) => one,
            (None, _) => return Err("no plugin of it has an ipam section".into()),
            (Some(_), Some(_)) => {
                return Err("more than one plugin of it has an ipam section".into());
            }
        };
        let part = text.get(section.clone()).unwrap_or_default();
        let ipam = serde_json::from_str(part).map_err(|e| format!("ipam: {e}"))?;
        Ok(Self { text, network, section, ipam })
    }

    pub(super) fn kind(&self) -> &str {
        self.ipam["type"].as_str().unwrap_or_default()
    }

    /// The section as it is written.
    pub(super) fn section(&self) -> &str {
        self.text.get(self.section.clone()).unwrap_or_default()
    }

    /// The whole text with another section in the place of its own.
    pub(super) fn with(&self, section: &str) -> String {
        let before = self.text.get(..self.section.start).unwrap_or_default();
        let after = self.text.get(self.section.end..).unwrap_or_default();
        [before, section, after].concat()
    }
}

/// Where the values of `ipam` stand in the plugins of a text that is JSON.
fn sections(text: &str) -> Vec<Range<usize>> {
    let whole = 0..text.len();
    let mut found: Vec<_> = member(text, whole.clone(), "ipam").into_iter().collect();
    if let Some(plugins) = member(text, whole, "plugins") {
        let plugins = parts(text, plugins);
        found.extend(plugins.into_iter().filter_map(|plugin| member(text, plugin, "ipam")));
    }
    found
}

/// The value of a key of an object; of a key that is there twice the last, as readers have it.
fn member(text: &str, object: Range<usize>, key: &str) -> Option<Range<usize>> {
    let all = parts(text, object.clone());
    let is_object = text.get(object)?.trim_start().starts_with('{');
    let named = all.chunks(2).filter_map(|pair| match pair {
        [name, value] => {
            Some((serde_json::from_str::<String>(text.get(name.clone())?).ok()?, value))
        }
        _ => None,
    });
    let mut named = named.filter(|(name, _)| is_object && name == key);
    named.next_back().map(|(_, value)| value.clone())
}

/// What stands in an object or a list, between its commas and colons.
fn parts(text: &str, within: Range<usize>) -> Vec<Range<usize>> {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    let (mut parts, mut start) = (Vec::new(), within.start);
    for (at, byte) in text.bytes().enumerate().take(within.end).skip(within.start) {
        if in_string {
            (in_string, escaped) = (escaped || byte != b'"', !escaped && byte == b'\\');
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'{' | b'[' => {
                depth += 1;
                if depth == 1 {
                    start = at + 1;
                }
            }
            b',' | b':' if depth == 1 => {
                parts.push(trimmed(text, start..at));
                start = at + 1;
            }
            b'}' | b']' => {
                if depth == 1 {
                    parts.push(trimmed(text, start..at));
                }
                depth = depth.saturating_sub(1);
            }
            _ => {}
        }
    }
    parts
}

fn trimmed(text: &str, range: Range<usize>) -> Range<usize> {
    let part = text.get(range.clone()).unwrap_or_default();
    let start = range.start + (part.len() - part.trim_start().len());
    start..start + part.trim().len()
}

/// The section by which `mainstay-ipam` takes the place of another plugin: its routes stay, for they
/// are what its pods have.
pub(super) fn ours(old: &Value, socket: Option<&str>) -> String {
    let mut section = serde_json::Map::new();
    section.insert("type".into(), "mainstay-ipam".into());
    if let Some(socket) = socket {
        section.insert("socket".into(), socket.into());
    }
    if let Some(routes) = old.get("routes").filter(|routes| routes.is_array()) {
        section.insert("routes".into(), routes.clone());
    }
    Value::Object(section).to_string()
}

/// The section of a host-local that hands out of these blocks.
pub(super) fn host_local(
    blocks: &[(String, String)],
    old: &Value,
    data_dir: Option<&str>,
) -> String {
    let range = |(subnet, gateway): &(String, String)| {
        let mut range = serde_json::Map::new();
        range.insert("subnet".into(), subnet.as_str().into());
        if !gateway.is_empty() {
            range.insert("gateway".into(), gateway.as_str().into());
        }
        Value::Object(range)
    };
    // One list of a family: host-local gives an address of each list.
    let of = |ipv4: bool| -> Vec<Value> {
        blocks.iter().filter(|(subnet, _)| subnet.contains(':') != ipv4).map(range).collect()
    };
    let ranges: Vec<_> =
        [of(true), of(false)].into_iter().filter(|list| !list.is_empty()).collect();
    let mut section = serde_json::Map::new();
    section.insert("type".into(), "host-local".into());
    section.insert("ranges".into(), ranges.into());
    if let Some(data_dir) = data_dir {
        section.insert("dataDir".into(), data_dir.into());
    }
    let routes = old.get("routes").cloned().unwrap_or_else(|| {
        let default = |(subnet, _): &(String, String)| {
            if subnet.contains(':') { "::/0" } else { "0.0.0.0/0" }
        };
        let mut routes: Vec<_> = blocks.iter().map(default).collect();
        routes.sort_unstable();
        routes.dedup();
        routes.into_iter().map(|dst| serde_json::json!({"dst": dst})).collect()
    });
    section.insert("routes".into(), routes);
    Value::Object(section).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIST: &str = r#"{
  "cniVersion": "1.0.0", "name": "pods",
  "note": "a \"ipam\": {} in a string",
  "plugins": [
    {"type": "ptp", "mtu": 9000,
     "ipam": {  "type": "host-local", "ranges": [[{"subnet": "10.1.0.0/26"}]],
                "routes": [{"dst": "0.0.0.0/0"}] } ,
     "dns": {"ipam": {"type": "not this"}}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
"#;

    #[test]
    fn only_the_section_is_exchanged_and_every_other_byte_stays() {
        let conflist = Conflist::read(LIST.into()).unwrap();
        assert_eq!((conflist.kind(), conflist.network.as_str()), ("host-local", "pods"));
        assert!(conflist.section().starts_with(r#"{  "type": "host-local""#));
        assert_eq!(conflist.with(conflist.section()), LIST);
        let new = ours(&conflist.ipam, Some("/run/x/cni.sock"));
        assert_eq!(
            new,
            r#"{"routes":[{"dst":"0.0.0.0/0"}],"socket":"/run/x/cni.sock","type":"mainstay-ipam"}"#
        );
        let switched = Conflist::read(conflist.with(&new)).unwrap();
        assert_eq!(switched.kind(), "mainstay-ipam");
        assert_eq!(switched.with(conflist.section()), LIST, "and back");
    }

    #[test]
    fn a_single_plugin_has_its_section_on_top() {
        let conf = r#"{"name":"n","type":"ptp","ipam":{"type":"host-local"}}"#;
        assert_eq!(Conflist::read(conf.into()).unwrap().section(), r#"{"type":"host-local"}"#);
    }

    #[test]
    fn what_cannot_be_switched_is_said() {
        let error = |text: &str| Conflist::read(text.into()).unwrap_err();
        assert!(error("{").starts_with("it is not JSON: "));
        assert_eq!(error(r#"{"plugins": []}"#), "it has no name");
        assert_eq!(error(r#"{"name": "n", "plugins": []}"#), "no plugin of it has an ipam section");
        assert_eq!(
            error(r#"{"name": "n", "plugins": [{"ipam": {}}, {"ipam": {}}]}"#),
            "more than one plugin of it has an ipam section"
        );
    }

    #[test]
    fn host_local_gets_the_blocks_as_its_ranges() {
        let block = |subnet: &str, gateway: &str| (subnet.to_owned(), gateway.to_owned());
        let blocks = [block("10.1.0.0/26", "10.1.0.1"), block("fd00::/122", "")];
        let section: Value =
            serde_json::from_str(&host_local(&blocks, &Value::Null, None)).unwrap();
        assert_eq!(
            section,
            serde_json::json!({"type": "host-local",
                "ranges": [[{"subnet": "10.1.0.0/26", "gateway": "10.1.0.1"}],
                           [{"subnet": "fd00::/122"}]],
                "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]})
        );
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            r#"[a-z"\\{}\[\],: é]{0,8}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(r#"[a-z"\\:,]{0,4}"#, inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_section_is_found_whatever_stands_around_it(
            before in any_json(), ipam in any_json(), after in any_json(), pretty: bool,
        ) {
            let list = serde_json::json!({"name": "n", "aaa": before, "plugins": [
                {"a": before, "ipam": ipam, "z": after}, {"type": "x", "y": after}], "zzz": after});
            let text = if pretty {
                serde_json::to_string_pretty(&list).unwrap()
            } else {
                list.to_string()
            };
            let conflist = Conflist::read(text.clone()).unwrap();
            prop_assert_eq!(&conflist.ipam, &ipam);
            prop_assert_eq!(conflist.with(conflist.section()), text);
        }
    }
}
