//! The `ipam` section of the network configuration: where ipamd is, and what its answer lacks.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::config::{Object, array, cidr, object, only, string};
use crate::error::Error;

const DEFAULT_RUN_DIR: &str = "/run/mainstay";
const SOCKET_NAME: &str = "cni.sock";
/// Beside the socket: ipamd's way to say where its spool is.
const SPOOL_NAME: &str = "spool";
/// Where it is by default, for a DEL after a reboot and before the first start of ipamd.
const DEFAULT_SPOOL: &str = "/var/lib/mainstay/ipam/spool";
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(300);
/// `sun_path` with its terminating zero (unix(7)).
const LONGEST_SOCKET: usize = 107;

const KNOWN: [&str; 8] =
    ["type", "socket", "run_dir", "spool", "timeout", "routes", "dns", "status_on_exhaustion"];
const KNOWN_ROUTE: [&str; 7] = ["dst", "gw", "mtu", "advmss", "priority", "table", "scope"];
const KNOWN_DNS: [&str; 4] = ["nameservers", "domain", "search", "options"];

/// The checked section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub socket: PathBuf,
    /// Where a DEL is kept that ipamd does not answer; absent: where ipamd says.
    pub spool: Option<PathBuf>,
    /// How long connecting and the reply may take together.
    pub timeout: Duration,
    /// Absent: a default route for each family assigned.
    pub routes: Option<Vec<Value>>,
    pub dns: Object,
    /// STATUS fails when no address is free, as the specification has it to the letter.
    pub fail_when_exhausted: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            socket: Path::new(DEFAULT_RUN_DIR).join(SOCKET_NAME),
            spool: None,
            timeout: DEFAULT_TIMEOUT,
            routes: None,
            dns: Object::new(),
            fail_when_exhausted: false,
        }
    }
}

impl Settings {
    pub fn read(conf: &Object) -> Result<Self, Error> {
        let Some(ipam) = conf.get("ipam") else {
            return Err(Error::config("ipam: is missing")
                .details(r#"this is an IPAM plugin: "ipam": {"type": "mainstay-ipam"}"#));
        };
        let ipam = object("ipam", ipam)?;
        only("ipam", ipam, &KNOWN)?;
        Ok(Self {
            socket: socket(ipam)?,
            spool: ipam.get("spool").map(|value| path("ipam.spool", value)).transpose()?,
            timeout: ipam.get("timeout").map_or(Ok(DEFAULT_TIMEOUT), timeout)?,
            routes: ipam.get("routes").map(routes).transpose()?,
            dns: ipam.get("dns").map_or_else(|| Ok(Object::new()), dns)?,
            fail_when_exhausted: ipam
                .get("status_on_exhaustion")
                .map_or(Ok(false), status_on_exhaustion)?,
        })
    }

    /// For DEL, which must not fail for a configuration that has become bad since ADD: what can be
    /// understood is used, the rest has its default.
    pub fn read_leniently(conf: &Object) -> Self {
        let none = Object::new();
        let ipam = conf.get("ipam").and_then(Value::as_object).unwrap_or(&none);
        let default = Self::default();
        Self {
            socket: socket(ipam).unwrap_or(default.socket),
            spool: ipam.get("spool").and_then(|value| path("ipam.spool", value).ok()),
            timeout: ipam
                .get("timeout")
                .and_then(|value| timeout(value).ok())
                .unwrap_or(default.timeout),
            ..Self::default()
        }
    }

    /// Where a DEL can be left for an ipamd that does not answer. ipamd makes the directory, so it
    /// being there means that somebody will read it.
    pub fn spool(&self) -> Option<PathBuf> {
        let said = self.spool.clone().or_else(|| Some(self.socket.parent()?.join(SPOOL_NAME)));
        let default = || {
            let usual = self.spool.is_none() && self.socket == Self::default().socket;
            usual.then(|| PathBuf::from(DEFAULT_SPOOL))
        };
        said.filter(|dir| dir.is_dir()).or_else(default).filter(|dir| dir.is_dir())
    }
}

fn socket(ipam: &Object) -> Result<PathBuf, Error> {
    let socket = match (ipam.get("socket"), ipam.get("run_dir")) {
        (Some(_), Some(_)) => {
            return Err(Error::config("ipam: has both socket and run_dir").details("give one"));
        }
        (Some(socket), None) => path("ipam.socket", socket)?,
        (None, Some(run_dir)) => path("ipam.run_dir", run_dir)?.join(SOCKET_NAME),
        (None, None) => Settings::default().socket,
    };
    match socket.as_os_str().len() {
        0..=LONGEST_SOCKET => Ok(socket),
        length => Err(Error::config("ipam: the path of the socket is too long").details(format!(
            "{} has {length} bytes, a unix socket at most {LONGEST_SOCKET}",
            socket.display()
        ))),
    }
}

fn path(place: &str, value: &Value) -> Result<PathBuf, Error> {
    let text = string(place, value)?;
    if text.starts_with('/') && !text.contains('\0') {
        return Ok(PathBuf::from(text));
    }
    Err(Error::config(format!("{place}: is not an absolute path")).details(format!("{text:?}")))
}

fn status_on_exhaustion(value: &Value) -> Result<bool, Error> {
    const PLACE: &str = "ipam.status_on_exhaustion";
    match string(PLACE, value)? {
        "fail" => Ok(true),
        "ok" => Ok(false),
        other => {
            Err(Error::config(format!("{PLACE}: is neither ok nor fail"))
                .details(format!("{other:?}")))
        }
    }
}

/// "10s", "500ms", "1m": as in mainstay.yaml.
fn timeout(value: &Value) -> Result<Duration, Error> {
    const PLACE: &str = "ipam.timeout";
    let text = string(PLACE, value)?;
    let wrong = |why: &str| Error::config(format!("{PLACE}: {why}")).details(format!("{text:?}"));
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let millis = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        _ => return Err(wrong("is not a duration like 10s, 500ms or 1m")),
    };
    let number: u64 = text
        .strip_suffix(unit)
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(|| wrong("is not a duration like 10s, 500ms or 1m"))?;
    match Duration::from_millis(number.saturating_mul(millis)) {
        Duration::ZERO => Err(wrong("is zero")),
        long if long > LONGEST_TIMEOUT => Err(wrong("is longer than 5m")),
        fine => Ok(fine),
    }
}

/// Routes pass through unchanged, so that they are checked here and not in a main plugin later,
/// when the address is already taken.
fn routes(value: &Value) -> Result<Vec<Value>, Error> {
    let routes = array("ipam.routes", value)?;
    for (i, route) in routes.iter().enumerate() {
        check_route(&format!("ipam.routes[{i}]"), route)?;
    }
    Ok(routes.to_vec())
}

fn check_route(place: &str, value: &Value) -> Result<(), Error> {
    let route = object(place, value)?;
    only(place, route, &KNOWN_ROUTE)?;
    let Some(dst) = route.get("dst") else {
        return Err(Error::config(format!("{place}.dst: is missing")).details("a prefix"));
    };
    let text = string(&format!("{place}.dst"), dst)?;
    let Some((dst, _)) = cidr(text) else {
        return Err(
            Error::config(format!("{place}.dst: is not a prefix")).details(format!("{text:?}"))
        );
    };
    for (key, value) in route.iter().filter(|(key, _)| *key != "dst" && *key != "gw") {
        if value.as_u64().is_none_or(|n| n > u64::from(u32::MAX)) {
            return Err(Error::config(format!("{place}.{key}: is not a number from 0 to 2^32-1"))
                .details(value.to_string()));
        }
    }
    let Some(gw) = route.get("gw") else { return Ok(()) };
    let text = string(&format!("{place}.gw"), gw)?;
    match text.parse::<std::net::IpAddr>() {
        Ok(gw) if gw.is_ipv4() == dst.is_ipv4() => Ok(()),
        Ok(_) => Err(Error::config(format!("{place}.gw: is of another family than dst"))
            .details(format!("{text:?}"))),
        Err(_) => {
            Err(Error::config(format!("{place}.gw: is not an address"))
                .details(format!("{text:?}")))
        }
    }
}

fn dns(value: &Value) -> Result<Object, Error> {
    let dns = object("ipam.dns", value)?;
    only("ipam.dns", dns, &KNOWN_DNS)?;
    for (key, value) in dns {
        let place = format!("ipam.dns.{key}");
        if key == "domain" {
            string(&place, value)?;
            continue;
        }
        for (i, item) in array(&place, value)?.iter().enumerate() {
            string(&format!("{place}[{i}]"), item)?;
        }
    }
    Ok(dns.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ipam: &str) -> Result<Settings, Error> {
        Settings::read(&conf(ipam))
    }

    fn conf(ipam: &str) -> Object {
        serde_json::from_str(&format!(r#"{{"name":"n","ipam":{ipam}}}"#)).unwrap()
    }

    #[test]
    fn the_least_section_has_the_defaults() {
        let settings = read(r#"{"type":"mainstay-ipam"}"#).unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.socket, Path::new("/run/mainstay/cni.sock"));
    }

    #[test]
    fn everything_can_be_said() {
        let settings = read(
            r#"{"type":"mainstay-ipam","run_dir":"/run/x","spool":"/s","timeout":"500ms",
                "status_on_exhaustion":"fail",
                "routes":[{"dst":"10.0.0.0/8","gw":"10.1.1.1","mtu":1400}],
                "dns":{"nameservers":["10.0.0.10"],"domain":"cluster.local"}}"#,
        )
        .unwrap();
        assert_eq!(settings.socket, Path::new("/run/x/cni.sock"));
        assert_eq!(settings.spool.as_deref(), Some(Path::new("/s")));
        assert!(settings.fail_when_exhausted);
        assert_eq!(settings.timeout, Duration::from_millis(500));
        assert_eq!(settings.routes.unwrap().len(), 1);
        assert_eq!(settings.dns["domain"], "cluster.local");
    }

    #[test]
    fn faults_name_their_place_and_what_is_allowed() {
        let long = format!(r#"{{"socket":"/{}"}}"#, "x".repeat(120));
        let faults: Vec<_> = [
            "7",
            r#"{"type":"mainstay-ipam","subnet":"10.0.0.0/8"}"#,
            r#"{"socket":7}"#,
            r#"{"socket":"cni.sock"}"#,
            r#"{"socket":"/a","run_dir":"/b"}"#,
            r#"{"spool":"here"}"#,
            r#"{"status_on_exhaustion":"maybe"}"#,
            r#"{"timeout":10}"#,
            r#"{"timeout":"10"}"#,
            r#"{"timeout":"0s"}"#,
            r#"{"timeout":"6m"}"#,
            r#"{"timeout":"99999999999999999999s"}"#,
            r#"{"routes":{}}"#,
            r#"{"routes":[{}]}"#,
            r#"{"routes":[{"dst":"10.0.0.0/8"},{"dst":"10.0.0.0"}]}"#,
            r#"{"routes":[{"dst":"10.0.0.0/8","gw":"fd00::1"}]}"#,
            r#"{"routes":[{"dst":"10.0.0.0/8","gw":"x"}]}"#,
            r#"{"routes":[{"dst":"10.0.0.0/8","mtu":"big"}]}"#,
            r#"{"routes":[{"dst":"10.0.0.0/8","via":"10.0.0.1"}]}"#,
            r#"{"dns":{"nameserver":"10.0.0.1"}}"#,
            r#"{"dns":{"search":["a",7]}}"#,
            &long,
        ]
        .map(|ipam| read(ipam).unwrap_err().to_string())
        .into();
        insta::assert_snapshot!(faults.join("\n"));
    }

    #[test]
    fn del_makes_do_with_what_it_can_read() {
        let read = |ipam| Settings::read_leniently(&conf(ipam));
        let settings = read(r#"{"socket":"/a/b","timeout":"soon","routes":7,"what":1}"#);
        assert_eq!(settings, Settings { socket: "/a/b".into(), ..Settings::default() });
        assert_eq!(read("7"), Settings::default());
        assert_eq!(Settings::read_leniently(&Object::new()), Settings::default());
    }
}
