//! What happens to a net, and the reckoning.

use crate::policies;
use bgp_core::config::PolicyName;
use bgp_core::event::{Reset, Start};
use bgp_sim::{LinkId, Net, NodeId};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Duration;

/// Where things happen.
pub(crate) struct Place {
    pub(crate) nodes: Vec<NodeId>,
    pub(crate) owners: Vec<NodeId>,
    /// These keep their policies.
    pub(crate) tamed: Vec<NodeId>,
    pub(crate) links: Vec<LinkId>,
}

struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % sides as u64) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

pub(crate) fn seeds() -> std::ops::Range<u64> {
    let number = |name| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    match number("SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SIM_SEEDS").unwrap_or(6),
    }
}

/// Every message is checked.
pub(crate) fn storm(net: &mut Net, seed: u64, place: &Place, steps: usize) {
    net.check_one_in(64);
    storm_of(net, seed, place, steps, 1);
    say_who(seed, || {
        let node = place.nodes[seed as usize % place.nodes.len()];
        go_and_come(net, node);
        go_for_long(net, node);
    });
}

/// Some trouble, then peace, then the reckoning. One message in `watched` is checked.
pub(crate) fn storm_of(net: &mut Net, seed: u64, place: &Place, steps: usize, watched: u64) {
    say_who(seed, || {
        net.watch_one_in(watched);
        suffer(net, seed, place, steps);
        recover(net, place);
    });
}

fn say_who(seed: u64, run: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(run)) {
        let test = std::thread::current().name().unwrap_or("").to_owned();
        println!("once more: SIM_SEED={seed} cargo test -p bgp-sim --test storm {test}");
        resume_unwind(panic);
    }
}

fn suffer(net: &mut Net, seed: u64, place: &Place, steps: usize) {
    let mut dice = Dice(seed);
    net.jumble_timers();
    if seed.is_multiple_of(3) {
        net.refuse_one_route_in(5);
    }
    for node in &place.nodes {
        net.config(*node).policies = policies::all();
        net.config(*node).max_paths = 1 + dice.roll(8);
        net.config(*node).med.always_compare = dice.roll(4) == 0;
    }
    net.start_all();
    if steps < 60 {
        net.run(ms(20_000));
    }
    for step in 0..steps {
        net.run(ms(dice.pick(&[1, 20, 300, 2000, 15_000])));
        happen(net, &mut dice, place, step);
    }
    net.refuse_one_route_in(0);
}

fn happen(net: &mut Net, dice: &mut Dice, place: &Place, step: usize) {
    let node = dice.pick(&place.nodes);
    let owner = dice.pick(&place.owners);
    let link = dice.pick(&place.links);
    match dice.roll(22) {
        0 => net.cut(link),
        1 => net.restore(link),
        2 => net.reset(link),
        3 => net.kill(node),
        4 => net.power_off(node),
        5 => net.stop(node),
        6 | 7 => net.revive(node, Start::again(dice.roll(4) > 0)),
        8 => net.revive(node, Start::default()),
        9 | 10 => net.own(owner, &format!("10.99.{}.0/24", step % 7 * 30)),
        11 => net.disown(owner, &format!("10.99.{}.0/24", step % 7 * 30)),
        12 => net.crash(node),
        13 | 14 => {
            // In the middle of telling what another peer has taken away.
            let peer = dice.roll(net.config(node).peers.len());
            if dice.roll(2) == 0 {
                net.operate(node, peer, Reset::Hard(String::new()));
                net.run(Duration::from_micros(dice.pick(&[50, 200, 500, 3000])));
            }
            net.crash_and_resume(node, ms(dice.pick(&[1, 50, 1000, 4000])));
        }
        15 => net.delay(link, ms(dice.pick(&[1, 40, 500, 3000]))),
        16 => {
            let peers = net.config(node).peers.len();
            let kinds: [fn() -> Reset; 3] =
                [|| Reset::SoftIn, || Reset::SoftOut, || Reset::Hard(String::new())];
            let reset = dice.pick(&kinds)();
            net.operate(node, dice.roll(peers), reset);
        }
        17 => net.drain(node, ms(dice.pick(&[0, 2000, 3_600_000]))),
        18 => net.undrain(node),
        _ => reconfigure(net, node, dice, place),
    }
}

fn reconfigure(net: &mut Net, node: NodeId, dice: &mut Dice, place: &Place) {
    let which = dice.roll(6);
    let wild = !place.tamed.contains(&node);
    let built_in = dice.pick(&[0, 0, 0, 1, 2]);
    let built_in = [PolicyName::All, PolicyName::None, PolicyName::Node][built_in].clone();
    let (import, export) = (dice.pick(&policies::IMPORT), dice.pick(&policies::EXPORT));
    let config = net.config(node);
    let at = dice.roll(config.peers.len());
    let session = &mut config.peers[at].session;
    match which {
        0 if wild => session.import = policies::named(import),
        1 if wild => session.export = policies::named(export),
        2 => session.import = built_in,
        3 => session.export = built_in,
        4 => session.hold_time = ms(3000 + 3000 * dice.roll(4) as u64),
        _ => config.max_paths = 1 + dice.roll(4),
    }
    net.reload(node);
}

/// Everything works again; the tables are what they would be if nothing had ever happened.
fn recover(net: &mut Net, place: &Place) {
    for link in &place.links {
        net.restore(*link);
        net.delay(*link, ms(1));
    }
    for node in &place.nodes {
        net.revive(*node, Start::again(true));
        net.undrain(*node);
    }
    settle(net);
}

fn settle(net: &mut Net) {
    let mut left = 90;
    while !net.is_settled() {
        left -= 1;
        assert!(left > 0, "this net does not settle: {:#?}", net.unsettled());
        net.run(ms(10_000));
    }
    net.run(ms(5000));
    net.check_quiet();
    net.check_rest();
}

/// A node is drained (RFC 8326): the last resort first, then no way at all, then as before.
fn go_and_come(net: &mut Net, node: NodeId) {
    for wait in [3_600_000, 0] {
        net.drain(node, ms(wait));
        net.run(ms(5000));
        net.check_quiet();
        net.check_rest();
    }
    net.undrain(node);
    settle(net);
}

/// A node is away for longer than the restart time: some neighbours keep what it has told as stale
/// for long (RFC 9494), and tell only those who know what that is.
fn go_for_long(net: &mut Net, node: NodeId) {
    net.kill(node);
    net.run(ms(60_000));
    net.check_quiet();
    net.revive(node, Start::again(true));
    settle(net);
}
