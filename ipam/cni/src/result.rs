//! The result of ADD, in the version the configuration asks for.
//!
//! An IPAM plugin leaves `interfaces` and `ips[].interface` out: it makes none.

use std::net::IpAddr;

use mainstay_proto::ipam::v1::Address;
use serde::Serialize;
use serde_json::{Value, json};

use crate::config::{Object, cidr};
use crate::error::{Code, Error};
use crate::settings::Settings;
use crate::version::SpecVersion;

/// An address ipamd has assigned, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    pub address: IpAddr,
    /// Length of its block's prefix.
    pub length: u8,
    pub gateway: Option<IpAddr>,
}

impl Assigned {
    /// What ipamd sends is input as well.
    pub fn read(address: &Address) -> Result<Self, Error> {
        let wrong = || {
            Error::new(Code::INTERNAL, "mainstay-ipamd sent an address that cannot be read")
                .details(format!("{:?} with gateway {:?}", address.address, address.gateway))
        };
        let (ip, length) = cidr(&address.address).ok_or_else(wrong)?;
        let gateway = match address.gateway.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| wrong())?),
        };
        if gateway.is_some_and(|gateway: IpAddr| gateway.is_ipv4() != ip.is_ipv4()) {
            return Err(wrong());
        }
        Ok(Self { address: ip, length, gateway })
    }

    fn cidr(&self) -> String {
        format!("{}/{}", self.address, self.length)
    }
}

/// The result object as one line of JSON.
pub fn to_json(version: SpecVersion, assigned: &[Assigned], settings: &Settings) -> String {
    let routes = settings.routes.clone().unwrap_or_else(|| default_routes(assigned));
    if version <= SpecVersion::V0_2_0 {
        return line(&Result020 {
            cni_version: version.as_str(),
            ip4: Family020::of(assigned, &routes, true),
            ip6: Family020::of(assigned, &routes, false),
            dns: &settings.dns,
        });
    }
    let ips = assigned.iter().map(|a| Ip {
        // Dropped from the specification in 1.0.0.
        version: (version < SpecVersion::V1_0_0).then_some(if a.address.is_ipv4() {
            "4"
        } else {
            "6"
        }),
        address: a.cidr(),
        gateway: a.gateway,
    });
    line(&Result030 {
        cni_version: version.as_str(),
        ips: ips.collect(),
        routes: &routes,
        dns: &settings.dns,
    })
}

fn line<T: Serialize>(result: &T) -> String {
    // Strings, numbers and maps with string keys: this cannot fail.
    serde_json::to_string(result).unwrap_or_default()
}

/// A default route for each family that has an address, IPv4 first.
fn default_routes(assigned: &[Assigned]) -> Vec<Value> {
    let has = |ipv4| assigned.iter().any(|a| a.address.is_ipv4() == ipv4);
    [(true, "0.0.0.0/0"), (false, "::/0")]
        .into_iter()
        .filter(|(ipv4, _)| has(*ipv4))
        .map(|(_, dst)| json!({ "dst": dst }))
        .collect()
}

/// Versions 0.3.0 and later.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Result030<'a> {
    cni_version: &'static str,
    ips: Vec<Ip>,
    routes: &'a [Value],
    dns: &'a Object,
}

#[derive(Serialize)]
struct Ip {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'static str>,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
}

/// Versions 0.1.0 and 0.2.0: one address a family.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Result020<'a> {
    cni_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip4: Option<Family020<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ip6: Option<Family020<'a>>,
    dns: &'a Object,
}

#[derive(Serialize)]
struct Family020<'a> {
    ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
    routes: Vec<&'a Value>,
}

impl<'a> Family020<'a> {
    fn of(assigned: &[Assigned], routes: &'a [Value], ipv4: bool) -> Option<Self> {
        let first = assigned.iter().find(|a| a.address.is_ipv4() == ipv4)?;
        let of_family = |route: &&Value| {
            let dst = route.get("dst").and_then(Value::as_str).and_then(cidr);
            dst.is_some_and(|(ip, _)| ip.is_ipv4() == ipv4)
        };
        let routes = routes.iter().filter(of_family).collect();
        Some(Self { ip: first.cidr(), gateway: first.gateway, routes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(pairs: &[(&str, &str)]) -> Vec<Assigned> {
        pairs
            .iter()
            .map(|(address, gateway)| {
                let (address, gateway) = ((*address).into(), (*gateway).into());
                Assigned::read(&Address { address, gateway }).unwrap()
            })
            .collect()
    }

    #[test]
    fn each_version_has_its_form() {
        let dual =
            assigned(&[("10.244.0.5/26", "10.244.0.1"), ("fd00:10:244::5/122", "fd00:10:244::1")]);
        let results = SpecVersion::ALL.map(|v| to_json(v, &dual, &Settings::default()));
        insta::assert_snapshot!(results.join("\n"));
    }

    #[test]
    fn one_family_gets_one_default_route() {
        let v6 = assigned(&[("fd00::5/122", "")]);
        insta::assert_snapshot!(
            to_json(SpecVersion::V1_0_0, &v6, &Settings::default()),
            @r#"{"cniVersion":"1.0.0","ips":[{"address":"fd00::5/122"}],"routes":[{"dst":"::/0"}],"dns":{}}"#
        );
    }

    #[test]
    fn routes_and_dns_of_the_configuration_pass_through() {
        let conf: Object = serde_json::from_str(
            r#"{"ipam":{"routes":[{"dst":"10.0.0.0/8","gw":"10.244.0.1"},{"dst":"fd00::/8"}],
                "dns":{"nameservers":["10.0.0.10"]}}}"#,
        )
        .unwrap();
        let settings = Settings::read(&conf).unwrap();
        let v4 = assigned(&[("10.244.0.5/26", "10.244.0.1")]);
        let results =
            [SpecVersion::V0_2_0, SpecVersion::V1_1_0].map(|v| to_json(v, &v4, &settings));
        insta::assert_snapshot!(results.join("\n"), @r#"
        {"cniVersion":"0.2.0","ip4":{"ip":"10.244.0.5/26","gateway":"10.244.0.1","routes":[{"dst":"10.0.0.0/8","gw":"10.244.0.1"}]},"dns":{"nameservers":["10.0.0.10"]}}
        {"cniVersion":"1.1.0","ips":[{"address":"10.244.0.5/26","gateway":"10.244.0.1"}],"routes":[{"dst":"10.0.0.0/8","gw":"10.244.0.1"},{"dst":"fd00::/8"}],"dns":{"nameservers":["10.0.0.10"]}}
        "#);
    }

    #[test]
    fn no_routes_can_be_asked_for() {
        let settings = Settings { routes: Some(Vec::new()), ..Settings::default() };
        let v4 = assigned(&[("10.244.0.5/26", "10.244.0.1")]);
        assert!(to_json(SpecVersion::V1_0_0, &v4, &settings).contains(r#""routes":[]"#));
    }

    #[test]
    fn an_answer_that_makes_no_sense_is_refused() {
        for (address, gateway) in [
            ("10.0.0.5", ""),
            ("", ""),
            ("10.0.0.5/33", ""),
            ("10.0.0.5/26", "fd00::1"),
            ("10.0.0.5/26", "x"),
        ] {
            let address = Address { address: address.into(), gateway: gateway.into() };
            assert!(Assigned::read(&address).is_err(), "{address:?}");
        }
    }
}
