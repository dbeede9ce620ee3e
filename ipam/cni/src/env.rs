//! What a runtime passes in the environment: the command, the attachment, `CNI_ARGS`.

use std::ffi::OsString;
use std::net::IpAddr;

use crate::call::Command;
use crate::config::ip_of;
use crate::error::Error;

/// IFNAMSIZ without its terminating zero.
const MAX_IFNAME: usize = 15;

/// Looks a variable up; the process environment in the binary, a table in tests.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The variables one call needs, checked. GC and STATUS concern no container: all is empty then.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment {
    pub container_id: String,
    pub ifname: String,
    /// Required of ADD and CHECK only: DEL comes without it once the namespace is gone.
    pub netns: String,
    pub args: CniArgs,
}

impl Environment {
    pub fn read(command: Command, lookup: Lookup<'_>) -> Result<Self, Error> {
        let needs_netns = match command {
            Command::Gc | Command::Status => return Ok(Self::default()),
            Command::Del => false,
            Command::Add | Command::Check => true,
        };
        require(needs_netns, lookup)?;
        let container_id = text(lookup, "CNI_CONTAINERID")?;
        if !is_name(&container_id) {
            return Err(Error::environment("CNI_CONTAINERID: is not a container ID").details(
                format!("{container_id:?}: a letter or digit, then letters, digits, '_', '.', '-'"),
            ));
        }
        let ifname = text(lookup, "CNI_IFNAME")?;
        check_ifname(&ifname)?;
        // DEL must not fail for what it does not need.
        let lenient = command == Command::Del;
        let netns = text(lookup, "CNI_NETNS")
            .or_else(|e| if lenient { Ok(String::new()) } else { Err(e) })?;
        let args = text(lookup, "CNI_ARGS")
            .and_then(|args| CniArgs::parse(&args))
            .or_else(|e| if lenient { Ok(CniArgs::default()) } else { Err(e) })?;
        Ok(Self { container_id, ifname, netns, args })
    }
}

/// Which variables are missing, all in one message.
fn require(netns: bool, lookup: Lookup<'_>) -> Result<(), Error> {
    let missing: Vec<_> = ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"]
        .into_iter()
        .filter(|name| *name != "CNI_NETNS" || netns)
        .filter(|name| lookup(name).is_none_or(|value| value.is_empty()))
        .collect();
    match missing.as_slice() {
        [] => Ok(()),
        _ => Err(Error::environment(format!(
            "required env variables [{}] missing",
            missing.join(",")
        ))),
    }
}

/// The value of a variable; absent is empty.
pub(crate) fn text(lookup: Lookup<'_>, name: &str) -> Result<String, Error> {
    lookup(name).unwrap_or_default().into_string().map_err(|raw| {
        Error::environment(format!("{name}: is not UTF-8")).details(format!("{raw:?}"))
    })
}

/// The grammar of container IDs and network names: they become parts of file names.
pub fn is_name(text: &str) -> bool {
    let tail = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    match text.as_bytes() {
        [first, rest @ ..] => first.is_ascii_alphanumeric() && rest.iter().copied().all(tail),
        [] => false,
    }
}

/// What the kernel takes as a name (`dev_valid_name`).
pub fn is_ifname(name: &str) -> bool {
    let forbidden = |c: char| c == '/' || c == ':' || c == '\0' || c.is_whitespace();
    !name.is_empty()
        && name.len() <= MAX_IFNAME
        && name != "."
        && name != ".."
        && !name.contains(forbidden)
}

fn check_ifname(name: &str) -> Result<(), Error> {
    if is_ifname(name) {
        return Ok(());
    }
    Err(Error::environment("CNI_IFNAME: is not an interface name").details(format!(
        "{name:?}: 1 to {MAX_IFNAME} bytes, not '.' or '..', without '/', ':' and white space"
    )))
}

/// `CNI_ARGS`: who the pod is, and the addresses it asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CniArgs {
    pub pod_namespace: String,
    pub pod_name: String,
    pub pod_uid: String,
    pub ips: Vec<IpAddr>,
}

impl CniArgs {
    /// "KEY=VALUE;KEY=VALUE". By the convention all plugins keep, a key the plugin does not know
    /// is an error unless `IgnoreUnknown` says otherwise.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut args = Self::default();
        let mut unknown = None;
        let mut ignore_unknown = false;
        for pair in text.split(';').filter(|pair| !pair.is_empty()) {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(Error::environment("CNI_ARGS: not KEY=VALUE;KEY=VALUE")
                    .details(format!("{pair:?}")));
            };
            match key {
                "K8S_POD_NAMESPACE" => args.pod_namespace = value.to_owned(),
                "K8S_POD_NAME" => args.pod_name = value.to_owned(),
                "K8S_POD_UID" => args.pod_uid = value.to_owned(),
                "IP" => args.ips = ips(value)?,
                "IgnoreUnknown" => ignore_unknown = truth(value)?,
                // Said by every Kubernetes runtime, and the same as CNI_CONTAINERID.
                "K8S_POD_INFRA_CONTAINER_ID" => {}
                _ => unknown = unknown.or(Some(key)),
            }
        }
        match unknown {
            Some(key) if !ignore_unknown => {
                Err(Error::environment(format!("CNI_ARGS: unknown key {key:?}")).details(
                    "known: IP, K8S_POD_INFRA_CONTAINER_ID, K8S_POD_NAME, K8S_POD_NAMESPACE, \
                 K8S_POD_UID; IgnoreUnknown=1 lets others pass",
                ))
            }
            _ => Ok(args),
        }
    }
}

fn ips(value: &str) -> Result<Vec<IpAddr>, Error> {
    let bad = |text: &str| {
        Error::environment("CNI_ARGS: IP: is not an address").details(format!("{text:?}"))
    };
    value.split(',').map(|text| ip_of(text).ok_or_else(|| bad(text))).collect()
}

fn truth(value: &str) -> Result<bool, Error> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(Error::environment("CNI_ARGS: IgnoreUnknown: is neither true nor false")
            .details(format!("{value:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(command: Command, vars: &[(&str, &str)]) -> Result<Environment, Error> {
        Environment::read(command, &|name| {
            vars.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v))
        })
    }

    const FULL: [(&str, &str); 3] =
        [("CNI_CONTAINERID", "c1"), ("CNI_IFNAME", "eth0"), ("CNI_NETNS", "/run/netns/a")];

    #[test]
    fn add_names_every_variable_it_misses() {
        insta::assert_snapshot!(
            read(Command::Add, &[("CNI_IFNAME", "")]).unwrap_err(),
            @"required env variables [CNI_CONTAINERID,CNI_IFNAME,CNI_NETNS] missing (code 4)"
        );
    }

    #[test]
    fn del_needs_no_namespace_and_forgives_its_args() {
        let vars = [FULL[0], FULL[1], ("CNI_ARGS", "nonsense")];
        let env = read(Command::Del, &vars).unwrap();
        assert_eq!((env.netns.as_str(), env.args), ("", CniArgs::default()));
        assert!(read(Command::Check, &FULL[..2]).is_err());
    }

    #[test]
    fn gc_and_status_need_nothing() {
        assert_eq!(read(Command::Gc, &[]), Ok(Environment::default()));
        assert_eq!(read(Command::Status, &[("CNI_IFNAME", "a b")]), Ok(Environment::default()));
    }

    #[test]
    fn names_follow_the_grammar_of_libcni() {
        for good in ["a", "0", "a_b.c-d", "3f2a"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "a/b", "a b", "ä", "a\n", "../x"] {
            assert!(!is_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn interface_names_are_those_the_kernel_takes() {
        for good in ["e", "eth0", "a-very-long-one", "äöü", "-"] {
            assert!(is_ifname(good), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a:1", "a b", "a\u{a0}b", "sixteen-bytes-ab", "a\0"] {
            assert!(!is_ifname(bad), "{bad:?}");
        }
    }

    #[test]
    fn args_of_a_kubernetes_runtime_are_understood() {
        let args = CniArgs::parse(
            "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_INFRA_CONTAINER_ID=c1;\
             K8S_POD_UID=u1;IgnoreUnknown=1;MAC=aa:bb:cc:dd:ee:ff;IP=10.0.0.5/24,fd00::5;",
        )
        .unwrap();
        assert_eq!(args.pod_namespace, "default");
        assert_eq!(args.pod_name, "web-0");
        assert_eq!(args.pod_uid, "u1");
        assert_eq!(args.ips, ["10.0.0.5".parse::<IpAddr>().unwrap(), "fd00::5".parse().unwrap()]);
    }

    #[test]
    fn bad_args_are_told_apart() {
        let faults: Vec<_> = ["FOO=1", "FOO", "IP=10.0.0", "IP=", "IgnoreUnknown=maybe"]
            .map(|text| CniArgs::parse(text).unwrap_err().to_string())
            .into();
        insta::assert_snapshot!(faults.join("\n"), @r#"
        CNI_ARGS: unknown key "FOO": known: IP, K8S_POD_INFRA_CONTAINER_ID, K8S_POD_NAME, K8S_POD_NAMESPACE, K8S_POD_UID; IgnoreUnknown=1 lets others pass (code 4)
        CNI_ARGS: not KEY=VALUE;KEY=VALUE: "FOO" (code 4)
        CNI_ARGS: IP: is not an address: "10.0.0" (code 4)
        CNI_ARGS: IP: is not an address: "" (code 4)
        CNI_ARGS: IgnoreUnknown: is neither true nor false: "maybe" (code 4)
        "#);
    }
}
