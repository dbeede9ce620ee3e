//! The bandwidth of a path's link (RFC 10005), among its extended communities.

use super::Attributes;
use bgp_words::LinkBandwidth;

impl Attributes {
    /// In octets a second: the least of several, of either type. `None`: there is none, or one that
    /// is no rate.
    #[must_use]
    pub fn link_bandwidth(&self) -> Option<f32> {
        let said = self.extended_communities.iter().filter_map(|c| LinkBandwidth::of(*c));
        let least =
            said.map(|said| said.octets).reduce(|a, b| if b < a || b.is_nan() { b } else { a });
        least.filter(|octets| octets.is_finite() && *octets > 0.0)
    }

    /// All of them go.
    pub(crate) fn forget_link_bandwidth(&mut self) {
        self.extended_communities.retain(|c| LinkBandwidth::of(*c).is_none());
        self.partial.extended_communities &= !self.extended_communities.is_empty();
    }
}

/// Whether the community may not leave the AS (RFC 4360 §2: the T bit).
pub(crate) const fn is_non_transitive(extended: u64) -> bool {
    extended >> 62 & 1 == 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::attributes;

    fn said(octets: &[f32]) -> Option<f32> {
        let mut attrs = attributes(&[65001]);
        for (n, octets) in octets.iter().enumerate() {
            let one = LinkBandwidth { transitive: n % 2 == 1, asn: 65001, octets: *octets };
            attrs.extended_communities.push(one.community());
        }
        attrs.extended_communities.push(0x0002_fde9_0000_0064);
        attrs.link_bandwidth()
    }

    #[test]
    fn the_least_of_several_counts_whatever_its_type() {
        assert_eq!(said(&[]), None);
        assert_eq!(said(&[1.25e9]), Some(1.25e9));
        assert_eq!(said(&[1.25e9, 1e9]), Some(1e9));
        assert_eq!(said(&[1e9, 1.25e9]), Some(1e9));
    }

    #[test]
    fn what_is_no_rate_is_none() {
        for odd in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            assert_eq!(said(&[odd]), None, "{odd}");
        }
        assert_eq!(said(&[0.0, 1e9]), None);
        assert_eq!(said(&[1e9, f32::NAN]), None);
    }

    #[test]
    fn the_bit_that_keeps_a_community_inside_is_known() {
        assert!(is_non_transitive(0x4004_fde9_0000_0000));
        assert!(!is_non_transitive(0x0004_fde9_0000_0000));
        assert!(!is_non_transitive(0x8002_0000_0000_0000), "of the IANA bit nothing follows");
    }
}
