//! What a group is made of: each way out with its part of the traffic. Pure.

use super::message::Hop;
use super::nexthop::{Gate, Member};
use bgp_core::hop_weight::{self, HopWeight};
use std::collections::BTreeMap;

/// The ways out of one next hop, each with the next hop's weight and how many share it.
pub(super) fn spread(
    hop: &Hop,
    gates: Vec<Gate>,
) -> impl Iterator<Item = (Gate, HopWeight, usize)> {
    let (weight, among) = (hop.weight, gates.len());
    gates.into_iter().map(move |gate| (gate, weight, among))
}

/// Gates that can be used, by id, with what comes together on each: equal next hops are as many
/// equal ways out, whatever they share, and others split what they have.
#[derive(Debug, Default)]
pub(super) struct Members {
    shares: BTreeMap<u32, f64>,
    weighted: bool,
}

impl Members {
    pub(super) fn add(&mut self, gate: u32, weight: HopWeight, among: usize) {
        self.weighted |= weight != HopWeight::ONE;
        // A way out is one of a few: the number is exact.
        let among = f64::from(u32::try_from(among).unwrap_or(u32::MAX));
        *self.shares.entry(gate).or_default() += f64::from(weight.number()) / among;
    }

    /// Ascending.
    pub(super) fn weighed(self) -> Vec<Member> {
        let shares: Vec<f64> = self.shares.values().copied().collect();
        let weights = self.weighted.then(|| hop_weight::scale(&shares)).flatten();
        let mut weights = weights.unwrap_or_default().into_iter();
        let member = |gate| Member { gate, weight: weights.next().unwrap_or_default() };
        self.shares.into_keys().map(member).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weighed(of: &[(u32, u32, usize)]) -> Vec<(u32, u8)> {
        let mut members = Members::default();
        of.iter().for_each(|(gate, weight, among)| {
            members.add(*gate, HopWeight::new(*weight), *among);
        });
        members.weighed().iter().map(|m| (m.gate, m.weight.number())).collect()
    }

    #[test]
    fn each_way_out_has_the_weight_of_its_next_hop() {
        assert_eq!(weighed(&[(7, 2, 1), (5, 5, 1)]), [(5, 5), (7, 2)]);
        assert_eq!(weighed(&[(7, 4, 1), (5, 2, 1)]), [(5, 1), (7, 2)], "one of three is dead");
        assert_eq!(weighed(&[(7, 9, 1)]), [(7, 1)]);
    }

    #[test]
    fn a_next_hop_behind_several_gateways_splits_its_weight() {
        assert_eq!(weighed(&[(1, 3, 2), (2, 3, 2), (3, 1, 1)]), [(1, 3), (2, 3), (3, 2)]);
        assert_eq!(weighed(&[(1, 3, 1), (1, 1, 1), (2, 2, 1)]), [(1, 2), (2, 1)], "shared");
    }

    #[test]
    fn equal_next_hops_are_equal_ways_out_as_ever() {
        assert_eq!(weighed(&[(1, 1, 2), (2, 1, 2), (3, 1, 1)]), [(1, 1), (2, 1), (3, 1)]);
        assert_eq!(weighed(&[(1, 1, 1), (1, 1, 1), (2, 1, 1)]), [(1, 1), (2, 1)]);
    }
}
