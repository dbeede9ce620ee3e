//! BIRD 2.

use super::{Fact, Lacks, Peer, Via, Wish};
use crate::bird::Bird;
use crate::netns::Netns;
use std::fmt::Write;

pub(super) fn start(host: &Netns, wish: &Wish) -> Result<Bird, Lacks> {
    Ok(Bird::start(host, &config(wish)))
}

impl Peer for Bird {
    fn established(&self) -> Result<(), String> {
        let text = self.ask("show protocols node")?;
        if text.contains("Established") { Ok(()) } else { Err(text) }
    }

    fn route(&self, prefix: &str) -> Result<String, String> {
        let text = self.ask(&format!("show route all for {prefix} protocol node"))?;
        if text.contains(prefix) { Ok(text) } else { Err(text) }
    }

    fn spelt(&self, fact: &Fact) -> String {
        match fact {
            Fact::AsPath(path) => format!("BGP.as_path: {}\n", spaced(path)),
            Fact::Community => "(64512,200)".into(),
            Fact::LargeCommunity => "(64512, 3, 4)".into(),
            Fact::ExtendedCommunity => "(rt, 64512, 5)".into(),
            Fact::Med => "BGP.med: 55".into(),
            Fact::OnlyToCustomer => "BGP.otc: 64512".into(),
            Fact::NextHop(address) => format!("BGP.next_hop: {address}"),
        }
    }

    fn session(&self) -> Result<String, String> {
        self.ask("show protocols all node").map(|text| text + &self.log())
    }

    fn refresh(&self) -> Result<(), Lacks> {
        self.ask("reload in node").map(drop).map_err(|_| Lacks("birdc has refused"))
    }

    fn shut_down(&self, why: &str) -> Result<(), Lacks> {
        // Words with blanks need quotes that `ask` does not know of.
        self.ask_words(&["disable", "node", &format!("\"{why}\"")])
            .map(drop)
            .map_err(|_| Lacks("it has refused"))
    }
}

pub(super) fn spaced(path: &[u32]) -> String {
    path.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

const TWICE: &str = "protocol static { ipv4; route 198.51.102.0/24 blackhole; }
protocol static { ipv4 { preference 150; }; route 198.51.102.0/24 blackhole; }
";

fn config(wish: &Wish) -> String {
    let Wish { asn, our_asn, hold_time, password, add_paths, .. } = wish;
    let mut more = String::new();
    for (wanted, line) in [
        (wish.ttl_security, "ttl security on;"),
        (wish.customer, "local role customer; require roles;"),
        (wish.extended_messages, "enable extended messages on;"),
        (wish.bfd, "bfd on;"),
    ] {
        more.push_str(if wanted { line } else { "" });
    }
    let (theirs, ours) = (wish.via.theirs(), wish.via.ours());
    let mut ipv4 = String::new();
    if wish.via != Via::Ipv4 {
        ipv4.push_str("extended next hop on;");
    }
    if let Some(most) = wish.most {
        let _ = write!(ipv4, "import limit {most} action restart;");
    }
    let bfd = if wish.bfd { "protocol bfd {}\n" } else { "" };
    let (twice, paths) = if *add_paths { (TWICE, "add paths on;") } else { ("", "") };
    let password = password.map_or_else(String::new, |p| format!("password \"{p}\";"));
    format!(
        "router id 192.0.2.1;
protocol device {{}}
protocol static {{ ipv4;
  route 198.51.100.0/24 blackhole;
  route 198.51.101.0/24 blackhole {{
    bgp_community.add((65001, 100)); bgp_large_community.add((65001, 1, 2));
  }};
}}
protocol static {{ ipv6; route 2001:db8:51::/48 blackhole; }}
{bfd}{twice}filter told {{
  if net = 198.51.101.0/24 then {{ bgp_path.prepend({asn}); bgp_path.prepend({asn}); bgp_med = 77; }}
  accept;
}}
protocol bgp node {{
  local {theirs} as {asn}; neighbor {ours} as {our_asn};
  hold time {hold_time};
  connect delay time 1; connect retry time 2; error wait time 1, 2;
  {password} {more}
  ipv4 {{ import all; export filter told; import table; next hop self; {paths} {ipv4} }};
  ipv6 {{ import all; export all; next hop self; {paths} }};
}}
"
    )
}
