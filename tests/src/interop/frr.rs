//! FRRouting.

use super::bird::spaced;
use super::{Fact, Lacks, Peer, Wish};
use crate::frr::Frr;
use crate::netns::Netns;

const NODE: &str = "192.0.2.2";

pub(super) fn start(host: &Netns, wish: &Wish) -> Result<Frr, Lacks> {
    Ok(Frr::start(host, &config(wish)))
}

impl Peer for Frr {
    fn established(&self) -> Result<(), String> {
        let all = self.json("show bgp neighbors")?;
        let state = &all[NODE]["bgpState"];
        if *state == "Established" { Ok(()) } else { Err(state.to_string()) }
    }

    fn route(&self, prefix: &str) -> Result<String, String> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let json = self.json(&format!("show bgp {family} unicast {prefix}"))?;
        if json["paths"][0].is_object() { Ok(json.to_string()) } else { Err(json.to_string()) }
    }

    fn spelt(&self, fact: &Fact) -> String {
        match fact {
            Fact::AsPath(path) => format!("\"string\":\"{}\"", spaced(path)),
        }
    }

    fn refresh(&self) -> Result<(), Lacks> {
        self.ask(&format!("clear bgp {NODE} soft in"))
            .map(drop)
            .map_err(|_| Lacks("vtysh has refused"))
    }

    fn shut_down(&self, why: &str) -> Result<(), Lacks> {
        let line = format!("neighbor {NODE} shutdown message {why}");
        self.configure(&["router bgp", &line]).map(drop).map_err(|_| Lacks("vtysh has refused"))
    }
}

fn config(wish: &Wish) -> String {
    let Wish { asn, our_asn, hold_time, password, add_paths } = wish;
    let paths = if *add_paths { "  neighbor 192.0.2.2 addpath-tx-all-paths\n" } else { "" };
    let password =
        password.map_or_else(String::new, |p| format!(" neighbor {NODE} password {p}\n"));
    let keepalive = hold_time / 3;
    format!(
        "route-map RICH permit 10
 set community 65001:100
 set large-community 65001:1:2
 set metric 77
route-map TOLD permit 10
 match ip address prefix-list RICH
 set as-path prepend {asn} {asn}
route-map TOLD permit 20
ip prefix-list RICH permit 198.51.101.0/24
router bgp {asn}
 bgp router-id 192.0.2.1
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor {NODE} remote-as {our_asn}
 neighbor {NODE} timers {keepalive} {hold_time}
 neighbor {NODE} timers connect 1
{password} address-family ipv4 unicast
  network 198.51.100.0/24
  network 198.51.101.0/24 route-map RICH
  neighbor {NODE} route-map TOLD out
{paths} exit-address-family
 address-family ipv6 unicast
  network 2001:db8:51::/48
  neighbor {NODE} activate
{paths} exit-address-family
"
    )
}
