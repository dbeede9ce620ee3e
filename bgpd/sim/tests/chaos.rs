//! Anything at any time. Whatever happened, once it is over the net is whole again.
//!
//! `CHAOS_SEED=n cargo test -p bgp-sim --test chaos` repeats one run; `CHAOS_RUNS=n` makes more.

use bgp_core::config::{PolicyName, RestartConfig};
use bgp_core::event::Start;
use bgp_sim::{LinkId, Net, NodeId, Side};
use std::time::Duration;

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % sides) as usize
    }
}

fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    match number("CHAOS_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("CHAOS_RUNS").unwrap_or(8),
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn an_external_fabric_becomes_whole_again_whatever_has_happened() {
    for seed in seeds() {
        println!("CHAOS_SEED={seed}");
        let mut net = Net::new(seed);
        let fabric = net.fabric(2, 4, |_, session| session.hold_time = ms(9000));
        let nodes: Vec<NodeId> = fabric.spines.iter().chain(&fabric.leaves).copied().collect();
        let links = fabric.links.into_iter().flatten().collect::<Vec<_>>();
        // Spines share an AS: what one owns the other refuses.
        torment(&mut net, seed, &nodes, &fabric.leaves, &links);
        net.assert_all_reach_each_other();
    }
}

#[test]
fn a_reflected_mesh_becomes_whole_again_whatever_has_happened() {
    for seed in seeds() {
        println!("CHAOS_SEED={seed}");
        let mut net = Net::new(seed);
        let reflectors = [net.node("rr0", 64512), net.node("rr1", 64512)];
        let mut links = vec![net.link(reflectors[0], reflectors[1])];
        let mut nodes = reflectors.to_vec();
        for n in 0..4 {
            let client = net.node(&format!("c{n}"), 64512);
            net.own(client, &format!("10.244.{n}.0/24"));
            net.own(client, &format!("fd00:244:{n}::/64"));
            for rr in reflectors {
                links.push(net.link_with(rr, client, |side, session| {
                    session.hold_time = ms(9000);
                    session.route_reflector_client = side == Side::A;
                    if n == 3 {
                        session.graceful_restart = None;
                    }
                }));
            }
            nodes.push(client);
        }
        torment(&mut net, seed, &nodes, &nodes, &links);
    }
}

/// Some minutes of trouble, then peace, then the reckoning.
fn torment(net: &mut Net, seed: u64, nodes: &[NodeId], owners: &[NodeId], links: &[LinkId]) {
    let mut dice = Dice(seed);
    net.check_one_in(8);
    if seed.is_multiple_of(3) {
        net.refuse_one_route_in(5);
    }
    net.start_all();
    for step in 0..60 {
        net.run(ms([1, 20, 300, 2000, 15_000][dice.roll(5)]));
        let node = nodes[dice.roll(nodes.len() as u64)];
        let owner = owners[dice.roll(owners.len() as u64)];
        let link = links[dice.roll(links.len() as u64)];
        match dice.roll(12) {
            0 => net.cut(link),
            1 => net.restore(link),
            2 => net.reset(link),
            3 => net.kill(node),
            4 => net.power_off(node),
            5 => net.stop(node),
            6 | 7 => net.revive(node, Start::again(dice.roll(4) > 0)),
            8 => net.revive(node, Start::default()),
            9 => net.own(owner, &format!("10.99.{step}.0/24")),
            10 => net.disown(owner, &format!("10.99.{}.0/24", step / 2)),
            _ => reconfigure(net, node, &mut dice),
        }
    }
    net.refuse_one_route_in(0);
    for link in links {
        net.restore(*link);
    }
    for node in nodes {
        for peer in &mut net.config(*node).peers {
            peer.session.import = PolicyName::All;
            peer.session.export = PolicyName::All;
        }
        net.revive(*node, Start::again(true));
        net.reload(*node);
    }
    net.run(Duration::from_secs(700));
    for node in nodes {
        for peer in net.peers(*node) {
            let other = net.peers(nodes[0]);
            assert_eq!(peer.state, "Established", "CHAOS_SEED={seed} {peer:#?} {other:#?}");
        }
    }
    net.check_quiet();
}

fn reconfigure(net: &mut Net, node: NodeId, dice: &mut Dice) {
    let policies = [PolicyName::All, PolicyName::None, PolicyName::Node];
    let (import, export) = (policies[dice.roll(3)].clone(), policies[dice.roll(3)].clone());
    let which = dice.roll(5);
    let config = net.config(node);
    let at = dice.roll(config.peers.len() as u64);
    let session = &mut config.peers[at].session;
    match which {
        0 => session.import = import,
        1 => session.export = export,
        2 => session.hold_time = ms(3000 + 3000 * dice.roll(4) as u64),
        3 => config.max_paths = 1 + dice.roll(4),
        _ => config.peers[at].session.graceful_restart = Some(RestartConfig::new(ms(60_000))),
    }
    net.reload(node);
}
