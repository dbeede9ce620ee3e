//! One node of ours, one speaker of somebody else's, a cable between them.

use super::{Fact, Lacks, Peer, Speaker, Via, Wish};
use crate::capture::Capture;
use crate::daemons::{Daemon, Node};
use crate::netns::{Netns, veth};
use crate::proc::Proc;
use crate::wait::{eventually, until};
use serde_json::Value;

/// How long anything may take on a machine that does much else.
const LIMIT: u64 = 60;

pub struct Stand {
    pub node: Node,
    pub peer: Box<dyn Peer>,
    _bgpd: Proc,
    _keeper: Option<Proc>,
    _capture: Option<Capture>,
    _cable: Netns,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            asn: 65001,
            our_asn: 64512,
            hold_time: 90,
            password: None,
            add_paths: false,
            ttl_security: false,
            customer: false,
            extended_messages: false,
            bfd: false,
            via: Via::Ipv4,
            most: None,
            originate: "198.18.7.0/24, '2001:db8:7::/48'",
        }
    }
}

impl Stand {
    /// Both sides up, and the session between them; `keys` are further ones of our peer ("hold_time: 3s").
    pub fn new(speaker: Speaker, wish: &Wish, keys: &str) -> Result<Self, Lacks> {
        let (cable, host) = (Netns::new(speaker.name()), Netns::new("node"));
        veth((&cable, "eth0"), (&host, "eth0"));
        cable.ip("addr add 192.0.2.1/24 dev eth0");
        cable.ip("addr add 2001:db8::1/64 dev eth0 nodad");
        host.ip("addr add 192.0.2.2/24 dev eth0");
        host.ip("addr add 2001:db8::2/64 dev eth0 nodad");
        if wish.via == Via::LinkLocal {
            link_local(&cable, &host);
        }
        let node = Node::new("node-a", host, "");
        node.configure(&config(&node, wish, keys));
        let capture = Capture::start(
            &cable,
            format!("{} {}", speaker.name(), speaker.version()),
            session(wish),
        );
        let peer = speaker.start(&cable, wish)?;
        let keeper = wish.bfd.then(|| node.start(Daemon::Keeper));
        let bgpd = node.start(Daemon::Bgpd);
        let stand =
            Self { node, peer, _bgpd: bgpd, _keeper: keeper, _capture: capture, _cable: cable };
        stand.established();
        Ok(stand)
    }

    /// On both sides.
    #[track_caller]
    pub fn established(&self) {
        self.until("the session is up on both sides", |s| {
            let tor = s.tor()?;
            if tor["state"] != "Established" {
                return Err(tor.to_string());
            }
            s.peer.established()
        });
    }

    /// Our peer with other keys, from now on.
    #[track_caller]
    pub fn change(&self, wish: &Wish, keys: &str) {
        self.node.configure(&config(&self.node, wish, keys));
        let out = self.node.cli(&["reload"]);
        assert!(out.status.success(), "{out:?}");
    }

    /// Waits until it is so; panics with why it is not.
    #[track_caller]
    pub fn until(&self, what: &str, check: impl Fn(&Self) -> Result<(), String>) {
        eventually(LIMIT, what, || check(self));
    }

    /// Our peer, as `mainstay bgp peers` tells.
    pub fn tor(&self) -> Result<Value, String> {
        let all = self.node.json(&["bgp", "peers"])?;
        all["peers"].get(0).cloned().ok_or_else(|| format!("no peer: {all}"))
    }

    /// One of the counters of our peer ("/sent/update").
    #[must_use]
    pub fn count(&self, what: &str) -> u64 {
        let tor = self.tor().unwrap_or_default();
        tor.pointer(what).and_then(Value::as_u64).unwrap_or(0)
    }

    /// The path the speaker has told us for exactly this prefix.
    pub fn heard(&self, prefix: &str) -> Result<Value, String> {
        let all = self.node.json(&["bgp", "routes", prefix, "--peer", "tor"])?;
        let path = all.pointer("/routes/0/paths/0").or_else(|| all.pointer("/0/paths/0"));
        path.cloned().ok_or_else(|| format!("{prefix} is not there: {all}"))
    }

    /// How many paths the speaker has told us for exactly this prefix.
    pub fn paths(&self, prefix: &str) -> Result<usize, String> {
        let all = self.node.json(&["bgp", "routes", prefix, "--peer", "tor"])?;
        let paths = all.pointer("/routes/0/paths").and_then(Value::as_array);
        paths.map(Vec::len).ok_or_else(|| format!("{prefix} is not there: {all}"))
    }

    /// The speaker has our route, and shows these of it.
    #[track_caller]
    pub fn peer_shows(&self, prefix: &str, facts: &[Fact]) {
        self.until(&format!("the speaker shows {prefix} with {facts:?}"), |s| {
            let text = s.peer.route(prefix)?;
            match facts.iter().map(|f| s.peer.spelt(f)).find(|f| !text.contains(f.as_str())) {
                Some(missing) => Err(format!("no {missing:?} in {text}")),
                None => Ok(()),
            }
        });
    }

    /// We show of the speaker's route what `check` asks for.
    #[track_caller]
    pub fn we_show(&self, prefix: &str, check: impl Fn(&Value) -> bool) {
        self.until(&format!("our {prefix} is as it should be"), |s| {
            let path = s.heard(prefix)?;
            if check(&path) { Ok(()) } else { Err(path.to_string()) }
        });
    }
}

/// In the words of the codec's tests.
fn session(wish: &Wish) -> String {
    let kind = if wish.asn == wish.our_asn { "internal" } else { "external" };
    let paths = if wish.add_paths { " add-paths" } else { "" };
    let next_hops = if wish.via == Via::Ipv4 { "" } else { " ipv6-next-hops" };
    format!("{kind} four-octet{paths}{next_hops}")
}

/// One link-local address on each side, and each knows the other's.
fn link_local(cable: &Netns, host: &Netns) {
    for (side, via) in [(cable, Via::LinkLocal.theirs()), (host, Via::LinkLocal.ours())] {
        side.ip("-6 addr flush dev eth0 scope link");
        side.ip(&format!("addr add {via}/64 dev eth0 nodad"));
    }
    let other = format!("{}%eth0", Via::LinkLocal.ours());
    until(20, "the link is there", || cable.pings(&other));
}

/// Of our peer.
fn address(via: Via) -> String {
    let link = if via == Via::LinkLocal { ", interface: eth0" } else { "" };
    format!("'{}'{link}", via.theirs())
}

fn config(node: &Node, wish: &Wish, keys: &str) -> String {
    let key = wish.password.map_or_else(String::new, |password| {
        format!(", password_file: {}", node.dir.write("key", password).display())
    });
    let more = if keys.is_empty() { String::new() } else { format!(", {keys}") };
    format!(
        "nodes:
  - {{name: node-a, address: 192.0.2.2}}
network: {{mode: bgp, families: [ipv4, ipv6]}}
bgp:
  asn: {}
  connect_retry: 1s
  originate: [{}]
  peers:
    - {{name: tor, address: {}, asn: {}, import: all{key}{more}}}
{MARKS}ipam:
  pools:
    - {{name: default, cidr: 10.244.0.0/16, block_size: 26}}
",
        wish.our_asn,
        wish.originate,
        address(wish.via),
        wish.asn
    )
}

/// `export: marked`, for those who ask for it.
const MARKS: &str = "  policies:
    - name: marked
      rules:
        - match: {prefix: [{in: 198.18.7.0/24}]}
          set:
            med: 55
            prepend: 2
            community: {add: ['64512:200', '64512:3:4', 'rt:64512:5']}
          action: accept
        - {action: accept}
";
