//! OpenBGPD.

use super::bird::spaced;
use super::{Fact, Lacks, Peer, Via, Wish};
use crate::netns::Netns;
use crate::openbgpd::OpenBgpd;

const NODE: &str = "192.0.2.2";

pub(super) fn start(host: &Netns, wish: &Wish) -> Result<OpenBgpd, Lacks> {
    if wish.extended_messages {
        return Err(Lacks("this release offers none, and its manual names none"));
    }
    if wish.via != Via::Ipv4 {
        return Err(Lacks("this release has no such thing, and its manual names none"));
    }
    if wish.bfd {
        return Err(Lacks("it has no BFD"));
    }
    // On Linux it takes loopback's for the next hop of IPv6 over an IPv4 session.
    host.ip("addr del ::1/128 dev lo");
    host.ip("addr add 2001:db8::1/128 dev lo");
    Ok(OpenBgpd::start(host, &config(wish)))
}

impl Peer for OpenBgpd {
    fn established(&self) -> Result<(), String> {
        let json = self.json(&format!("show neighbor {NODE}"))?;
        let state = &json["neighbors"][0]["state"];
        if *state == "Established" { Ok(()) } else { Err(state.to_string()) }
    }

    fn route(&self, prefix: &str) -> Result<String, String> {
        let text = self.ask(&format!("show rib detail {prefix}"))?;
        if text.contains(prefix) { Ok(text) } else { Err(text) }
    }

    fn spelt(&self, fact: &Fact) -> String {
        match fact {
            // On a line of its own.
            Fact::AsPath(path) => format!("\n    {}\n", spaced(path)),
            Fact::Community => "64512:200".into(),
            Fact::LargeCommunity => "64512:3:4".into(),
            Fact::ExtendedCommunity => "rt 64512:5".into(),
            Fact::Med => "metric 55".into(),
            Fact::OnlyToCustomer => "OTC".into(),
            Fact::NextHop(address) => (*address).into(),
        }
    }

    fn session(&self) -> Result<String, String> {
        self.ask(&format!("show neighbor {NODE}")).map(|text| text + &self.proc().log())
    }

    fn refresh(&self) -> Result<(), Lacks> {
        self.ask(&format!("neighbor {NODE} refresh"))
            .map(drop)
            .map_err(|_| Lacks("bgpctl has refused"))
    }

    fn let_in(&self) {
        let _ = self.ask(&format!("neighbor {NODE} up"));
    }

    fn shut_down(&self, why: &str) -> Result<(), Lacks> {
        self.ask_words(&["neighbor", NODE, "down", why])
            .map(drop)
            .map_err(|_| Lacks("it has refused"))
    }
}

fn config(wish: &Wish) -> String {
    let Wish { asn, our_asn, hold_time, password, add_paths, .. } = wish;
    let mut more = String::new();
    for (wanted, line) in [
        (wish.ttl_security, "  ttl-security yes\n"),
        (wish.customer, "  announce policy customer\n"),
    ] {
        more.push_str(if wanted { line } else { "" });
    }
    // It counts both families together, and has one prefix of IPv6.
    let most = wish.most.map_or_else(String::new, |most| format!("  max-prefix {}\n", most + 1));
    let paths = if *add_paths {
        "  announce add-path recv yes\n  announce add-path send all\n"
    } else {
        ""
    };
    let password =
        password.map_or_else(String::new, |p| format!("  tcp md5sig password \"{p}\"\n"));
    format!(
        "AS {asn}
router-id 192.0.2.1
listen on 192.0.2.1
fib-update no
network 198.51.100.0/24
network 198.51.101.0/24 set {{ community 65001:100 large-community 65001:1:2 metric 77 prepend-self 2 }}
network 2001:db8:51::/48
neighbor {NODE} {{
  remote-as {our_asn}
  holdtime {hold_time}
  announce IPv4 unicast
  announce IPv6 unicast
{paths}{most}{password}{more}}}
allow from any
allow to any
"
    )
}
