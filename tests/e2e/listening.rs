//! Who may dial in, and where, against BIRD.

use crate::pair::{BIRD, Pair};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::{Daemon, Node};
use mainstay_tests::scratch::Scratch;
use mainstay_tests::wait::{eventually, until};

const ORIGINATE: &str = "  originate: [198.18.7.0/24]\n";

/// A BIRD with one session, from this address of its own.
fn bird(id: &str, local: &str, neighbor: &str, more: &str) -> String {
    format!(
        "router id {id};
protocol device {{}}
protocol bgp peer {{ strict bind yes; {more}
  local {local} as 65001; neighbor {neighbor} as 64512;
  connect delay time 1; connect retry time 2; error wait time 1, 2;
  ipv4 {{ import all; export none; }}; }}
"
    )
}

fn up(node: &Node) -> Result<Vec<String>, String> {
    let peers = node.json(&["bgp", "peers"])?;
    let all = peers["peers"].as_array().cloned().unwrap_or_default();
    let up = all.iter().filter(|p| p["state"] == "Established");
    Ok(up.map(|p| p["address"].as_str().unwrap_or_default().to_owned()).collect())
}

#[test]
fn a_speaker_on_one_address_leaves_the_port_to_another_one_beside_it() {
    let pair = Pair::new(&format!(
        "  listen: {{addresses: [192.0.2.2]}}
  peers:
    - {{name: rack, listen_range: 192.0.2.1/32, asn: 65001, passive: true}}
{ORIGINATE}"
    ));
    pair.node.host.ip("addr add 192.0.2.3/24 dev eth0");
    let _bgpd = pair.node.start(Daemon::Bgpd);
    let beside = "router id 192.0.2.3;\nprotocol device {}
protocol static { ipv4; route 203.0.113.0/24 blackhole; }
protocol bgp peer { strict bind yes; passive yes;
  local 192.0.2.3 as 64512; neighbor 192.0.2.1 as 65001; ipv4 { import none; export all; }; }\n";
    let _beside = Bird::start(&pair.node.host, beside);
    let both = BIRD.to_owned()
        + "protocol bgp beside { local 192.0.2.1 as 65001; neighbor 192.0.2.3 as 64512;
  connect delay time 1; connect retry time 2; ipv4 { import all; export none; }; }\n";
    let peer = Bird::start(&pair.peer, &both);
    peer.established("peer", 30);
    peer.established("beside", 30);
    until(10, "each has told its own route", || {
        peer.has_route("198.18.7.0/24") && peer.has_route("203.0.113.0/24")
    });
}

#[test]
fn no_more_peers_of_a_range_are_let_in_than_it_allows_until_one_has_gone() {
    let pair = Pair::new(&format!(
        "  peers:
    - {{name: rack, listen_range: 192.0.2.0/24, asn: 65001, limit: 2, graceful_restart: {{enabled: false}}}}
{ORIGINATE}"
    ));
    let locals = ["192.0.2.11", "192.0.2.12", "192.0.2.13"];
    for local in locals {
        pair.peer.ip(&format!("addr add {local}/24 dev eth0"));
    }
    let _bgpd = pair.node.start(Daemon::Bgpd);
    let birds = locals.map(|local| Bird::start(&pair.peer, &bird(local, local, "192.0.2.2", "")));
    eventually(30, "two are in", || match up(&pair.node)?.len() {
        2 => Ok(()),
        n => Err(format!("{n} are up")),
    });
    // The third one tries every two seconds.
    std::thread::sleep(std::time::Duration::from_secs(5));
    let first = up(&pair.node).unwrap();
    assert_eq!(first.len(), 2, "{first:?}");
    let gone = locals.iter().position(|l| first[0] == **l).unwrap();
    let waits = locals.iter().position(|l| !first.contains(&(*l).to_owned())).unwrap();
    birds[gone].ask("disable peer").unwrap();
    birds[waits].established("peer", 30);
    assert_eq!(up(&pair.node).map(|all| all.len()), Ok(2));
}

#[test]
fn a_range_of_ipv6_lets_in_who_has_the_password_and_nobody_else() {
    let pair = Pair::new("");
    let keys = Scratch::new("keys");
    let key = keys.write("range.key", "right\n");
    pair.node.configure(&crate::pair::config(&format!(
        "  peers:
    - {{name: rack, listen_range: '2001:db8::/64', asn: 65001, password_file: {}}}
{ORIGINATE}",
        key.display()
    )));
    for local in ["2001:db8::11", "2001:db8::12"] {
        pair.peer.ip(&format!("addr add {local}/64 dev eth0 nodad"));
    }
    let _bgpd = pair.node.start(Daemon::Bgpd);
    let with = |password: &str, n: u8| {
        let (id, local) = (format!("192.0.2.{n}"), format!("2001:db8::{n}"));
        bird(&id, &local, "2001:db8::2", &format!("password \"{password}\";"))
    };
    let right = Bird::start(&pair.peer, &with("right", 11));
    let wrong = Bird::start(&pair.peer, &with("wrong", 12));
    right.established("peer", 30);
    // It has tried more than once by now.
    std::thread::sleep(std::time::Duration::from_secs(4));
    assert_eq!(up(&pair.node), Ok(vec!["2001:db8::11".to_owned()]));
    wrong.configure(&with("right", 12));
    wrong.established("peer", 30);
}
