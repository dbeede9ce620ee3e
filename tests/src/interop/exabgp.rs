//! ExaBGP: it has no tables, so what it has heard is looked for in what it was told.

use super::{Fact, Lacks, Peer, Via, Wish};
use crate::exabgp::ExaBgp;
use crate::netns::Netns;

pub(super) fn start(host: &Netns, wish: &Wish) -> Result<ExaBgp, Lacks> {
    if wish.customer {
        return Err(Lacks("it has no roles"));
    }
    if wish.bfd {
        return Err(Lacks("it has no BFD"));
    }
    if wish.most.is_some() {
        return Err(Lacks("it keeps no routes and counts none"));
    }
    Ok(ExaBgp::start(host, &config(wish)))
}

impl Peer for ExaBgp {
    fn established(&self) -> Result<(), String> {
        let up = self.heard().iter().any(|m| m["neighbor"]["state"] == "up");
        if up { Ok(()) } else { Err(self.log()) }
    }

    fn route(&self, prefix: &str) -> Result<String, String> {
        let heard = self.heard();
        let of_it = heard.iter().rev().map(ToString::to_string).find(|m| m.contains(prefix));
        of_it.ok_or_else(|| format!("{prefix} was not told"))
    }

    fn spelt(&self, fact: &Fact) -> String {
        match fact {
            Fact::AsPath(path) => {
                format!("\"as-path\":{}", serde_json::json!(path))
            }
            Fact::Community => "[64512,200]".into(),
            Fact::LargeCommunity => "[64512,3,4]".into(),
            Fact::ExtendedCommunity => "target:64512:5".into(),
            Fact::Med => "\"med\":55".into(),
            Fact::OnlyToCustomer => "otc".into(),
            Fact::NextHop(address) => (*address).into(),
        }
    }

    fn session(&self) -> Result<String, String> {
        Ok(self.log())
    }

    fn refresh(&self) -> Result<(), Lacks> {
        Err(Lacks("it keeps no routes and asks for none"))
    }

    fn shut_down(&self, _: &str) -> Result<(), Lacks> {
        Err(Lacks("its shutdown has no words"))
    }
}

fn config(wish: &Wish) -> String {
    let Wish { asn, our_asn, hold_time, password, add_paths, .. } = wish;
    let ttl = if wish.ttl_security { "  outgoing-ttl 255;\n  incoming-ttl 255;\n" } else { "" };
    let paths = if *add_paths { "  capability { add-path send/receive; }\n" } else { "" };
    let (theirs, ours) = (wish.via.theirs(), wish.via.ours());
    let next_hops = if wish.via == Via::Ipv4 {
        ""
    } else {
        "  capability { nexthop true; }\n  nexthop { ipv4 unicast ipv6; }\n"
    };
    let password = password.map_or_else(String::new, |p| format!("  md5-password \"{p}\";\n"));
    format!(
        "neighbor {ours} {{
  router-id 192.0.2.1;
  local-address {theirs};
  local-as {asn};
  peer-as {our_asn};
  hold-time {hold_time};
{password}{paths}{ttl}  family {{ ipv4 unicast; ipv6 unicast; }}
{next_hops}  api {{ processes [ listener ]; neighbor-changes; receive {{ parsed; update; }} }}
  static {{
    route 198.51.100.0/24 next-hop {theirs};
    route 198.51.101.0/24 next-hop 192.0.2.1 med 77 as-path [ {asn} {asn} {asn} ] community [ 65001:100 ] large-community [ 65001:1:2 ];
    route 2001:db8:51::/48 next-hop 2001:db8::1;
  }}
}}
"
    )
}
