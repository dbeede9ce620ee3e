//! Anything at any time, checked after every message against a model of BGP that shares no code with
//! the speaker; and when it is over, every table is the one at which such a net comes to rest.
//!
//! `SIM_SEEDS=n` tries so many nets of each kind, `SIM_SEED=n` repeats one, `SIM_LARGE=1` makes the
//! large ones larger. A failing one says its seed.

#[path = "storm/policies.rs"]
mod policies;
#[path = "storm/weather.rs"]
mod weather;

use bgp_core::config::{AddPaths, RestartConfig, SessionConfig};
use bgp_core::options::LocalAs;
use bgp_core::types::{Asn, Role};
use bgp_sim::{Net, NodeId, Side};
use std::time::Duration;
use weather::{Place, seeds, storm, storm_of};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// By the number of the link: some sessions have several paths a prefix, some no graceful restart.
fn vary(seed: u64, number: usize, is_large: bool, session: &mut SessionConfig) {
    let n = number as u64 + seed;
    session.hold_time = seconds(if is_large { 30 } else { 9 });
    let time = if n.is_multiple_of(5) { 5 } else { 40 };
    session.graceful_restart = (!n.is_multiple_of(7)).then_some(RestartConfig {
        notification: !n.is_multiple_of(3),
        stale_time: seconds(30),
        long_lived: seconds([0, 20, 600][number % 3]),
        ..RestartConfig::new(seconds(time))
    });
    if n.is_multiple_of(4) {
        session.add_paths = AddPaths { receive: true, send: 1 + (n % 3) as u8 };
    }
}

fn fabric(seed: u64, spines: usize, leaves: usize) -> (Net, Place) {
    let mut net = Net::new(seed);
    let fabric = net.fabric(spines, leaves, |_, _| {});
    let links: Vec<_> = fabric.links.iter().flatten().copied().collect();
    let is_large = leaves > 20;
    for n in (0..leaves).filter(|n| is_large && n % 4 > 0) {
        net.disown(fabric.leaves[n], &format!("fd00:{n:x}::/64"));
    }
    for (number, link) in links.iter().enumerate() {
        net.edit_link(*link, |side, session| {
            vary(seed, number, is_large, session);
            // Some leaves are customers, and tell no spine what they have from another.
            if (number / spines) % 3 == 1 || is_large && number / spines > 20 {
                let role = if side == Side::A { Role::Provider } else { Role::Customer };
                session.options.role = Some(role);
            }
            // What has been round is much in a large net: a few sessions there.
            if !is_large || number < 20 {
                number_oddly(number, seed, side, session);
            }
        });
    }
    let nodes: Vec<NodeId> = fabric.spines.iter().chain(&fabric.leaves).copied().collect();
    (net, Place { nodes, owners: fabric.leaves.clone(), tamed: Vec::new(), links })
}

/// Some sessions know a leaf by another AS number, some take or hide numbers that have been there.
fn number_oddly(number: usize, seed: u64, side: Side, session: &mut SessionConfig) {
    let n = number as u64 + seed;
    if n % 5 == 2 {
        let asn = Asn(4_210_000_000 + number as u32);
        match side {
            Side::A => session.asn = asn.into(),
            Side::B => {
                let (no_prepend, replace_as) = (n.is_multiple_of(2), (n / 2).is_multiple_of(2));
                session.options.local_as = Some(LocalAs { asn, no_prepend, replace_as });
            }
        }
    }
    // Spines share a number: who takes it once more hears what has been round by another spine.
    session.options.allow_as_in = u8::from(n % 3 == u64::from(side == Side::A));
    session.options.as_override = side == Side::A && n % 4 == 1;
}

fn mesh(seed: u64, size: usize) -> (Net, Place) {
    let mut net = Net::new(seed);
    let mesh = net.mesh(size, |number, session| vary(seed, number, size > 20, session));
    (net, Place { nodes: mesh.nodes, owners: mesh.owners, tamed: Vec::new(), links: mesh.links })
}

fn clusters(seed: u64, clusters: usize, clients: usize) -> (Net, Place) {
    let mut net = Net::new(seed);
    let edit =
        |number: usize, session: &mut SessionConfig| vary(seed, number, clients > 20, session);
    let inside = net.clusters(clusters, clients, edit);
    // Reflectors that disagree on preferences never come to rest (RFC 3345): clients alone have them.
    let reflectors = inside.nodes.iter().filter(|n| !inside.owners.contains(n)).copied().collect();
    (
        net,
        Place {
            nodes: inside.nodes,
            owners: inside.owners,
            tamed: reflectors,
            links: inside.links,
        },
    )
}

#[test]
fn small_fabrics_come_to_rest_whatever_has_happened() {
    for seed in seeds() {
        let (mut net, place) = fabric(seed, 2, 5);
        storm(&mut net, seed, &place, 60);
    }
}

#[test]
fn small_meshes_come_to_rest_whatever_has_happened() {
    for seed in seeds() {
        let (mut net, place) = mesh(seed, 6);
        storm(&mut net, seed, &place, 60);
    }
}

#[test]
fn small_reflector_clusters_come_to_rest_whatever_has_happened() {
    for seed in seeds() {
        let (mut net, place) = clusters(seed, 2, 3);
        storm(&mut net, seed, &place, 60);
    }
}

/// The number of nodes of a large net: fewer where nobody has asked for the long run.
fn large(short: usize, long: usize) -> usize {
    if std::env::var_os("SIM_LARGE").is_some() { long } else { short }
}

#[test]
fn a_fabric_of_hundreds_comes_to_rest_whatever_has_happened() {
    let (mut net, place) = fabric(1, large(2, 4), large(200, 500));
    storm_of(&mut net, 1, &place, 20, 100);
}

#[test]
fn a_mesh_comes_to_rest_whatever_has_happened() {
    let (mut net, place) = mesh(1, large(60, 200));
    storm_of(&mut net, 1, &place, 15, 200);
}

#[test]
fn clusters_of_hundreds_come_to_rest_whatever_has_happened() {
    let (mut net, place) = clusters(1, 8, large(25, 60));
    storm_of(&mut net, 1, &place, 20, 100);
}
