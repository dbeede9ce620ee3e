//! A plugin's request, checked: afterwards every text is bounded and every address one.

use super::annotations;
use super::{code, failure};
use ipam_core::{Add, Attachment, Owner, Workload};
use mainstay_proto::ipam::v1::cni_request::Command;
use mainstay_proto::ipam::v1::{CniError, CniRequest};
use std::net::IpAddr;

const STICKY_KEY: &str = "mainstay.io/sticky-key";

/// Longest texts that are kept. Kubernetes names have 253 characters at most, container ids 64.
pub(super) const LONG: usize = 253;
const LONGEST_PATH: usize = 1024;
/// One less than the kernel's IFNAMSIZ.
const LONGEST_IFNAME: usize = 15;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Add(Box<Add>),
    Del(Attachment),
    Check(Attachment, Vec<IpAddr>),
    Status {
        fail_when_exhausted: bool,
    },
    /// Without a list nothing is known to be invalid.
    Gc {
        network: String,
        valid: Option<Vec<(String, String)>>,
    },
}

impl TryFrom<CniRequest> for Request {
    type Error = CniError;

    fn try_from(asked: CniRequest) -> Result<Self, CniError> {
        Ok(match asked.command() {
            Command::Add => Self::Add(Box::new(add(asked)?)),
            Command::Del => Self::Del(attachment(&asked)?),
            Command::Check => {
                Self::Check(attachment(&asked)?, addresses("expected", &asked.expected)?)
            }
            Command::Status => Self::Status { fail_when_exhausted: asked.fail_when_exhausted },
            Command::Gc => {
                let network = network(&asked)?;
                let valid = asked.valid.into_iter().map(|a| (a.container_id, a.ifname)).collect();
                Self::Gc { network, valid: (!asked.valid_unknown).then_some(valid) }
            }
            Command::Unspecified => {
                let msg = format!("unknown command {}", asked.command);
                return Err(failure(code::INVALID_ENVIRONMENT, msg));
            }
        })
    }
}

fn add(asked: CniRequest) -> Result<Add, CniError> {
    let attachment = attachment(&asked)?;
    let mut requested = addresses("requested", &asked.requested)?;
    for address in annotations::ips(&asked.annotations)? {
        if !requested.contains(&address) {
            requested.push(address);
        }
    }
    let sticky_key = asked.annotations.get(STICKY_KEY).map_or("", String::as_str);
    let name = bounded("K8S_POD_NAME", &asked.pod_name, LONG)?;
    let told = annotations::workload(&asked.annotations, &name)?;
    let owner = Owner {
        namespace: bounded("K8S_POD_NAMESPACE", &asked.pod_namespace, LONG)?,
        uid: bounded("K8S_POD_UID", &asked.pod_uid, LONG)?,
        sticky_key: bounded(STICKY_KEY, sticky_key, LONG)?,
        workload: told.or_else(|| Workload::guess(&name)),
        name,
    };
    Ok(Add {
        attachment,
        owner,
        netns: bounded("CNI_NETNS", &asked.netns, LONGEST_PATH)?,
        requested,
        pools: annotations::pools(&asked.annotations)?,
        policy: annotations::policy(&asked.annotations)?,
        rivals_gone: Vec::new(),
    })
}

fn attachment(asked: &CniRequest) -> Result<Attachment, CniError> {
    Ok(Attachment {
        network: network(asked)?,
        container_id: needed("CNI_CONTAINERID", &asked.container_id, LONG)?,
        ifname: needed("CNI_IFNAME", &asked.ifname, LONGEST_IFNAME)?,
    })
}

fn network(asked: &CniRequest) -> Result<String, CniError> {
    let bad = |why| failure(code::INVALID_CONFIG, format!("the network's name {why}"));
    match asked.network.len() {
        0 => Err(bad("is missing")),
        1..=LONG => Ok(asked.network.clone()),
        _ => Err(bad("is too long")),
    }
}

fn needed(name: &str, text: &str, longest: usize) -> Result<String, CniError> {
    if text.is_empty() {
        return Err(failure(code::INVALID_ENVIRONMENT, format!("{name} is missing")));
    }
    bounded(name, text, longest)
}

pub(super) fn bounded(name: &str, text: &str, longest: usize) -> Result<String, CniError> {
    if text.len() > longest {
        let msg = format!("{name} has {} bytes; at most {longest}", text.len());
        return Err(failure(code::INVALID_ENVIRONMENT, msg));
    }
    Ok(text.into())
}

/// With or without a prefix length, which says nothing here.
pub(super) fn addresses<T: AsRef<str>>(what: &str, texts: &[T]) -> Result<Vec<IpAddr>, CniError> {
    let address = |text: &T| {
        let text = text.as_ref();
        let bare = text.split_once('/').map_or(text, |(address, _)| address);
        let bad = |_| format!("{what} address {text:?} is not an IP address");
        bare.parse().map_err(bad).map_err(|msg| failure(code::INVALID_CONFIG, msg))
    };
    texts.iter().map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(command: Command) -> CniRequest {
        CniRequest {
            command: command.into(),
            network: "pods".into(),
            container_id: "c1".into(),
            ifname: "eth0".into(),
            ..CniRequest::default()
        }
    }

    #[test]
    fn what_is_wrong_with_a_request_is_named() {
        let refused = |change: fn(&mut CniRequest)| {
            let mut asked = asked(Command::Add);
            change(&mut asked);
            let error = Request::try_from(asked).unwrap_err();
            format!("{}: {}", error.code, error.msg)
        };
        let table = [
            (refused(|a| a.network.clear()), "7: the network's name is missing"),
            (refused(|a| a.container_id.clear()), "4: CNI_CONTAINERID is missing"),
            (refused(|a| a.ifname.clear()), "4: CNI_IFNAME is missing"),
            (refused(|a| a.ifname = "x".repeat(16)), "4: CNI_IFNAME has 16 bytes; at most 15"),
            (refused(|a| a.command = 77), "4: unknown command 77"),
            (
                refused(|a| a.requested = vec!["10.0.0".into()]),
                "7: requested address \"10.0.0\" is not an IP address",
            ),
            (
                refused(|a| drop(a.annotations.insert(STICKY_KEY.into(), "k".repeat(254)))),
                "4: mainstay.io/sticky-key has 254 bytes; at most 253",
            ),
        ];
        for (is, should) in table {
            assert_eq!(is, should);
        }
    }

    #[test]
    fn del_needs_the_attachment_and_nothing_else() {
        let expected =
            Attachment { network: "pods".into(), container_id: "c1".into(), ifname: "eth0".into() };
        assert_eq!(Request::try_from(asked(Command::Del)), Ok(Request::Del(expected)));
    }

    #[test]
    fn addresses_come_with_or_without_a_length() {
        let mut asked = asked(Command::Check);
        asked.expected = vec!["10.0.0.5/26".into(), "fd00::5".into()];
        let Ok(Request::Check(_, addresses)) = Request::try_from(asked) else { panic!() };
        assert_eq!(
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["10.0.0.5", "fd00::5"]
        );
    }

    proptest! {
        #[test]
        fn no_text_gets_past_its_bound(
            texts in prop::collection::vec("[a-zé]{0,300}", 8), command in -1i32..7,
        ) {
            let [network, container_id, ifname, netns, ns, name, uid, key] =
                <[String; 8]>::try_from(texts).unwrap();
            let asked = CniRequest {
                command, network, container_id, ifname, netns,
                pod_namespace: ns, pod_name: name, pod_uid: uid,
                annotations: [(STICKY_KEY.into(), key)].into(),
                ..CniRequest::default()
            };
            if let Ok(Request::Add(add)) = Request::try_from(asked) {
                prop_assert!(add.attachment.ifname.len() <= LONGEST_IFNAME);
                prop_assert!(add.owner.name.len() <= LONG && add.owner.sticky_key.len() <= LONG);
            }
        }
    }
}
