//! Whatever a runtime passes, a plugin answers: it does not panic, and its answer is one JSON
//! document of the right kind.
#![allow(clippy::expect_used)] // helpers of tests

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use mainstay_cni::call::Call;
use mainstay_cni::error::Error;
use mainstay_cni::run::{Answer, Outcome, outcome};
use mainstay_cni::version::SpecVersion;
use mainstay_cni::{ipam, none};
use mainstay_proto::ipam::v1::{Address, CniReply};
use proptest::prelude::*;
use serde_json::{Value, json};

/// All of mainstay-ipam but the socket: what it would ask, and what it makes of an answer.
fn ipam_without_socket(call: &Call) -> Result<Option<String>, Error> {
    let (settings, _) = ipam::prepare(call)?;
    let address = Address { address: "10.244.0.5/26".into(), gateway: "10.244.0.1".into() };
    let reply = CniReply { error: None, addresses: vec![address] };
    ipam::conclude(call, &settings, reply)
}

fn run(answer: Answer, env: &HashMap<String, OsString>, mut stdin: &[u8]) -> Outcome {
    outcome(answer, &|name| env.get(name).cloned(), &mut stdin)
}

fn assert_answered(outcome: &Outcome) {
    if outcome.success && outcome.stdout.is_empty() {
        return;
    }
    let value: Value = serde_json::from_str(&outcome.stdout).expect("stdout is JSON");
    let version = value["cniVersion"].as_str().expect("a cniVersion");
    assert!(SpecVersion::parse(version).is_some(), "{version}");
    if !outcome.success {
        let code = value["code"].as_u64().expect("a code");
        assert!([1, 2, 4, 5, 6, 7, 100].contains(&code), "{value}");
        assert!(!value["msg"].as_str().expect("a msg").is_empty(), "{value}");
    }
}

fn assert_both_answer(env: &HashMap<String, OsString>, stdin: &[u8]) {
    assert_answered(&run(ipam_without_socket, env, stdin));
    assert_answered(&run(none::answer, env, stdin));
}

fn good_env(command: &str) -> HashMap<String, OsString> {
    [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "3f2a"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", "/run/netns/a"),
        ("CNI_ARGS", "IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;IP=10.244.0.5"),
    ]
    .into_iter()
    .map(|(k, v)| (k.to_owned(), v.into()))
    .collect()
}

fn good_conf(version: &str) -> Value {
    json!({
        "cniVersion": version,
        "name": "mainstay",
        "type": "ptp",
        "ipam": {
            "type": "mainstay-ipam",
            "socket": "/run/mainstay/cni.sock",
            "timeout": "10s",
            "routes": [{"dst": "0.0.0.0/0", "gw": "10.244.0.1", "mtu": 1400}, {"dst": "::/0"}],
            "dns": {"nameservers": ["10.0.0.10"], "domain": "a.b", "search": ["a"], "options": []},
        },
        "args": {"cni": {"ips": ["10.244.0.5"]}},
        "runtimeConfig": {
            "ips": ["10.244.0.6/26"],
            "io.kubernetes.cri.pod-annotations": {"mainstay.io/sticky-key": "db"},
        },
        "prevResult": {"cniVersion": version, "ips": [{"address": "10.244.0.5/26"}], "dns": {}},
        "cni.dev/valid-attachments": [{"containerID": "3f2a", "ifname": "eth0"}],
        "cni.dev/attachments": [{"containerID": "3f2a", "ifname": "eth0"}],
    })
}

fn command() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "UPDATE", ""])
}

fn version() -> impl Strategy<Value = &'static str> {
    prop::sample::select(SpecVersion::ALL.map(SpecVersion::as_str).to_vec())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["", "/", "10s", "0.0.0.0/0", "fd00::/8", "1.1.0", "eth0"])
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map("[a-z]{0,6}|dst|gw|address|ips|cni", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Every place in a document, root first.
fn places(value: &Value) -> Vec<String> {
    fn walk(at: String, value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(map) => map.iter().for_each(|(key, inner)| {
                let key = key.replace('~', "~0").replace('/', "~1");
                walk(format!("{at}/{key}"), inner, out);
            }),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, v)| walk(format!("{at}/{i}"), v, out));
            }
            _ => {}
        }
        out.push(at);
    }
    let mut out = Vec::new();
    walk(String::new(), value, &mut out);
    out
}

fn bytes_changed(mut text: Vec<u8>, edits: &[(prop::sample::Index, u8, u8)]) -> Vec<u8> {
    for (at, how, byte) in edits {
        if text.is_empty() {
            break;
        }
        let at = at.index(text.len());
        match how % 4 {
            0 => text[at] = *byte,
            1 => text.insert(at, *byte),
            2 => drop(text.remove(at)),
            _ => text.truncate(at),
        }
    }
    text
}

proptest! {
    #[test]
    fn any_bytes_on_stdin_are_answered(
        command in command(),
        stdin in prop::collection::vec(any::<u8>(), 0..400),
    ) {
        assert_both_answer(&good_env(command), &stdin);
    }

    #[test]
    fn a_configuration_with_changed_bytes_is_answered(
        command in command(),
        version in version(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<u8>()), 1..6),
    ) {
        let text = serde_json::to_vec(&good_conf(version)).unwrap();
        assert_both_answer(&good_env(command), &bytes_changed(text, &edits));
    }

    #[test]
    fn a_configuration_with_any_other_value_in_any_place_is_answered(
        command in command(),
        version in version(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any_json()), 1..4),
    ) {
        let mut conf = good_conf(version);
        for (place, value) in changes {
            let places = places(&conf);
            if let Some(slot) = conf.pointer_mut(&places[place.index(places.len())]) {
                *slot = value;
            }
        }
        assert_both_answer(&good_env(command), &serde_json::to_vec(&conf).unwrap());
    }

    #[test]
    fn any_environment_is_answered(
        command in command(),
        changed in prop::collection::hash_map(
            prop::sample::select(vec![
                "CNI_COMMAND", "CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS", "CNI_ARGS",
            ]),
            prop::collection::vec(any::<u8>(), 0..20),
            0..4,
        ),
        args in "((IP|K8S_POD_NAME|K8S_POD_UID|IgnoreUnknown|[A-Z]{1,3})?=?\\PC{0,6};?){0,4}",
    ) {
        let mut env = good_env(command);
        env.insert("CNI_ARGS".into(), args.into());
        env.extend(changed.into_iter().map(|(k, v)| (k.to_owned(), OsString::from_vec(v))));
        assert_both_answer(&env, &serde_json::to_vec(&good_conf("1.1.0")).unwrap());
    }

    /// DEL is best effort: a configuration gone bad since ADD does not keep an address leased.
    #[test]
    fn del_succeeds_whatever_stands_beside_name_and_version(
        key in prop::sample::select(vec!["ipam", "args", "runtimeConfig", "prevResult", "dns"]),
        value in any_json(),
        args in "\\PC{0,20}",
    ) {
        let mut conf = good_conf("1.0.0");
        conf[key] = value;
        let mut env = good_env("DEL");
        env.insert("CNI_ARGS".into(), args.into());
        env.remove("CNI_NETNS");
        let done = run(ipam_without_socket, &env, &serde_json::to_vec(&conf).unwrap());
        prop_assert!(done.success, "{}", done.stdout);
    }
}

#[test]
fn the_good_configuration_is_good_in_every_version() {
    for version in SpecVersion::ALL.map(SpecVersion::as_str) {
        let stdin = serde_json::to_vec(&good_conf(version)).unwrap();
        let done = run(ipam_without_socket, &good_env("ADD"), &stdin);
        assert!(done.success, "{version}: {}", done.stdout);
    }
}

#[test]
fn a_panic_is_an_error_object_as_well() {
    let stdin = serde_json::to_vec(&good_conf("1.0.0")).unwrap();
    let done = run(|_| panic!("so it goes"), &good_env("ADD"), &stdin);
    assert_eq!(
        done.stdout,
        r#"{"cniVersion":"1.0.0","code":999,"msg":"internal error","details":"so it goes"}"#
    );
}
