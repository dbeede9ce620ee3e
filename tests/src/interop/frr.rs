//! FRRouting.

use super::bird::spaced;
use super::{Fact, Lacks, Peer, Via, Wish};
use crate::frr::Frr;
use crate::netns::Netns;

const NODE: &str = "192.0.2.2";

pub(super) fn start(host: &Netns, wish: &Wish) -> Result<Frr, Lacks> {
    Ok(if wish.bfd {
        Frr::start_with_bfd(host, &config(wish), "")
    } else {
        Frr::start(host, &config(wish))
    })
}

impl Peer for Frr {
    fn established(&self) -> Result<(), String> {
        let all = self.json("show bgp neighbors")?;
        let mut all = all.as_object().into_iter().flat_map(|o| o.values());
        let up = all.any(|neighbor| neighbor["bgpState"] == "Established");
        if up { Ok(()) } else { Err("it is not Established".into()) }
    }

    fn route(&self, prefix: &str) -> Result<String, String> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let json = self.json(&format!("show bgp {family} unicast {prefix}"))?;
        if json["paths"][0].is_object() { Ok(json.to_string()) } else { Err(json.to_string()) }
    }

    fn spelt(&self, fact: &Fact) -> String {
        match fact {
            Fact::AsPath(path) => format!("\"string\":\"{}\"", spaced(path)),
            Fact::Community => "64512:200".into(),
            Fact::LargeCommunity => "64512:3:4".into(),
            Fact::ExtendedCommunity => "RT:64512:5".into(),
            Fact::Med => "\"metric\":55".into(),
            Fact::OnlyToCustomer => "\"otc\":64512".into(),
            Fact::NextHop(address) => format!("\"ip\":\"{address}\""),
        }
    }

    fn session(&self) -> Result<String, String> {
        self.ask(&format!("show bgp neighbors {NODE}")).map(|text| text + &self.log())
    }

    fn refresh(&self) -> Result<(), Lacks> {
        self.ask(&format!("clear bgp {NODE} soft in"))
            .map(drop)
            .map_err(|_| Lacks("vtysh has refused"))
    }

    fn let_in(&self) {
        let _ = self.ask(&format!("clear bgp {NODE}"));
    }

    fn shut_down(&self, why: &str) -> Result<(), Lacks> {
        let line = format!("neighbor {NODE} shutdown message {why}");
        self.configure(&["router bgp", &line]).map(drop).map_err(|_| Lacks("vtysh has refused"))
    }
}

fn config(wish: &Wish) -> String {
    let Wish { asn, our_asn, hold_time, password, add_paths, .. } = wish;
    let mut more = String::new();
    let node = wish.via.ours();
    for (wanted, words) in [
        (wish.via != Via::Ipv4, "capability extended-nexthop"),
        (wish.ttl_security, "ttl-security hops 1"),
        (wish.customer, "local-role customer strict-mode"),
        (wish.bfd, "bfd"),
    ] {
        if wanted {
            more.push_str(&format!(" neighbor {node} {words}\n"));
        }
    }
    let paths = if *add_paths { "  neighbor 192.0.2.2 addpath-tx-all-paths\n" } else { "" };
    let most = wish
        .most
        .map_or_else(String::new, |most| format!("  neighbor {NODE} maximum-prefix {most}\n"));
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
 bgp log-neighbor-changes
 no bgp ebgp-requires-policy
 no bgp network import-check
 neighbor {node} remote-as {our_asn}
 neighbor {node} timers {keepalive} {hold_time}
 neighbor {node} timers connect 1
{password}{more} address-family ipv4 unicast
  network 198.51.100.0/24
  network 198.51.101.0/24 route-map RICH
  neighbor {node} route-map TOLD out
{most}{paths} exit-address-family
 address-family ipv6 unicast
  network 2001:db8:51::/48
  neighbor {node} activate
{paths} exit-address-family
"
    )
}
