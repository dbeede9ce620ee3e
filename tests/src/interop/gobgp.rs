//! GoBGP.

use super::bird::spaced;
use super::{Fact, Lacks, Peer, Via, Wish};
use crate::gobgp::GoBgp;
use crate::netns::Netns;

const NODE: &str = "192.0.2.2";

pub(super) fn start(host: &Netns, wish: &Wish) -> Result<GoBgp, Lacks> {
    if wish.customer {
        return Err(Lacks("it has no roles"));
    }
    if wish.extended_messages {
        return Err(Lacks("its configuration has no such thing"));
    }
    if wish.bfd {
        return Err(Lacks("it has no BFD"));
    }
    let gobgp = GoBgp::start(host, &config(wish));
    let twice = format!("{} {}", wish.asn, wish.asn).replace(' ', ",");
    for words in [
        "198.51.100.0/24".to_owned(),
        format!(
            "198.51.101.0/24 aspath {twice} community 65001:100 large-community 65001:1:2 med 77"
        ),
        "-a ipv6 2001:db8:51::/48 nexthop 2001:db8::1".to_owned(),
    ] {
        let (words, family) = match words.strip_prefix("-a ipv6 ") {
            Some(rest) => (rest.to_owned(), "-a ipv6 "),
            None => (words, ""),
        };
        gobgp.ask(&format!("global rib add {family}{words}")).expect("gobgp global rib add");
    }
    Ok(gobgp)
}

impl Peer for GoBgp {
    fn established(&self) -> Result<(), String> {
        let text = self.ask("neighbor")?;
        let up = text.contains(" Establ ");
        if up { Ok(()) } else { Err(text) }
    }

    fn route(&self, prefix: &str) -> Result<String, String> {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        let text = self.ask(&format!("global rib -a {family} {prefix}"))?;
        if text.contains(prefix) { Ok(text) } else { Err(text) }
    }

    fn spelt(&self, fact: &Fact) -> String {
        match fact {
            // Between its columns.
            Fact::AsPath(path) => format!(" {} ", spaced(path)),
            Fact::Community => "64512:200".into(),
            Fact::LargeCommunity => "64512:3:4".into(),
            Fact::ExtendedCommunity => "64512:5".into(),
            Fact::Med => "{Med: 55}".into(),
            Fact::OnlyToCustomer => "Otc".into(),
            Fact::NextHop(address) => format!(" {address}"),
        }
    }

    fn session(&self) -> Result<String, String> {
        self.ask(&format!("neighbor {NODE}")).map(|text| text + &self.log())
    }

    fn refresh(&self) -> Result<(), Lacks> {
        Err(Lacks("its soft reset is done with what it has, without asking"))
    }

    fn let_in(&self) {
        let _ = self.ask(&format!("neighbor {NODE} enable"));
    }

    fn shut_down(&self, why: &str) -> Result<(), Lacks> {
        self.ask_words(&["neighbor", NODE, "shutdown", "--reason", why])
            .map(drop)
            .map_err(|_| Lacks("it has refused"))
    }
}

const ADD_PATHS: &str = "    [neighbors.afi-safis.add-paths.config]
      receive = true
      send-max = 8
";

fn config(wish: &Wish) -> String {
    let Wish { asn, our_asn, hold_time, password, add_paths, .. } = wish;
    let ttl = if wish.ttl_security {
        "  [neighbors.ttl-security.config]\n    enabled = true\n    ttl-min = 255\n"
    } else {
        ""
    };
    let most = wish.most.map_or_else(String::new, |most| {
        format!("    [neighbors.afi-safis.prefix-limit.config]\n      max-prefixes = {most}\n")
    });
    let neighbor = if wish.via == Via::LinkLocal {
        "neighbor-interface = \"eth0\"".to_owned()
    } else {
        format!("neighbor-address = \"{NODE}\"")
    };
    let paths = if *add_paths { ADD_PATHS } else { "" };
    let password = password.map_or_else(String::new, |p| format!("    auth-password = \"{p}\"\n"));
    let keepalive = hold_time / 3;
    format!(
        "[global.config]
  as = {asn}
  router-id = \"192.0.2.1\"
[[neighbors]]
  [neighbors.config]
    {neighbor}
    peer-as = {our_asn}
{password}  [neighbors.timers.config]
    connect-retry = 1
    hold-time = {hold_time}
    keepalive-interval = {keepalive}
    idle-hold-time-after-reset = 1
{ttl}  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = \"ipv4-unicast\"
{most}{paths}  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = \"ipv6-unicast\"
{paths}"
    )
}
