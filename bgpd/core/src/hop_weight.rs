//! How much of a route's traffic goes by each of its next hops (RFC 10005): in small whole numbers,
//! as kernels take them.

/// 1 to 255. What the kernel calls a weight is beside those of the route's other next hops.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HopWeight(u8);

impl Default for HopWeight {
    fn default() -> Self {
        Self::ONE
    }
}

impl HopWeight {
    pub const ONE: Self = Self(1);
    /// Linux refuses more in a group of nexthop objects.
    pub const MAX: Self = Self(u8::MAX);

    /// The nearest one.
    #[must_use]
    pub fn new(weight: u32) -> Self {
        Self(u8::try_from(weight.max(1)).unwrap_or(u8::MAX))
    }

    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

/// The smallest numbers that stand to each other as these do; a single one is 1.
pub fn reduce<T>(all: &mut [T], weight: impl Fn(&mut T) -> &mut HopWeight) {
    let divisor = all.iter_mut().fold(0, |divisor, one| gcd(divisor, weight(one).0)).max(1);
    for one in all {
        let weight = weight(one);
        *weight = HopWeight(weight.0 / divisor);
    }
}

const fn gcd(a: u8, b: u8) -> u8 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The numbers that stand to each other most nearly as these do, the smallest of several; `None`:
/// one of them is no positive number, and nothing can be said.
#[must_use]
pub fn scale(shares: &[f64]) -> Option<Vec<HopWeight>> {
    let most = shares.iter().copied().fold(0.0, f64::max);
    if !shares.iter().all(|share| share.is_finite() && *share > 0.0) {
        return None;
    }
    let mut nearest = (f64::INFINITY, 1);
    for greatest in 1..=HopWeight::MAX.0 {
        let error = error(shares, most, greatest);
        if error < nearest.0 - EXACT {
            nearest = (error, greatest);
        }
        if nearest.0 <= EXACT {
            break;
        }
    }
    Some(shares.iter().map(|share| rounded(*share / most, nearest.1)).collect())
}

/// What 32 bits of a bandwidth cannot say better.
const EXACT: f64 = 1e-6;

/// How far the worst of them would be off, of what it should be.
fn error(shares: &[f64], most: f64, greatest: u8) -> f64 {
    let off = |share: &f64| {
        let wanted = share / most;
        (f64::from(rounded(wanted, greatest).0) / f64::from(greatest) - wanted).abs() / wanted
    };
    shares.iter().map(off).fold(0.0, f64::max)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
fn rounded(part: f64, greatest: u8) -> HopWeight {
    HopWeight::new((part * f64::from(greatest)).round() as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scaled(shares: &[f64]) -> Vec<u8> {
        scale(shares).unwrap().into_iter().map(HopWeight::number).collect()
    }

    #[test]
    fn bandwidths_become_the_smallest_numbers_of_the_same_ratio() {
        assert_eq!(scaled(&[1.25e9, 1.25e9]), [1, 1]);
        assert_eq!(scaled(&[1.25e9, 3.125e9]), [2, 5]);
        assert_eq!(scaled(&[1.25e9, 5e9, 1.25e10]), [1, 4, 10]);
        assert_eq!(scaled(&[125e6, 1.25e10]), [1, 100]);
        assert_eq!(scaled(&[1.0, 100_000.0]), [1, 255], "as far apart as they may be");
        assert_eq!(scaled(&[f64::from(0.1_f32), f64::from(0.3_f32)]), [1, 3]);
        assert_eq!(scaled(&[7.0]), [1]);
    }

    #[test]
    fn what_is_no_bandwidth_says_nothing() {
        for odd in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(scale(&[1.0, odd]), None, "{odd}");
        }
    }

    #[test]
    fn what_is_left_of_a_set_is_made_small_again() {
        let mut left = [4, 2, 6].map(HopWeight::new);
        reduce(&mut left, |weight| weight);
        assert_eq!(left.map(HopWeight::number), [2, 1, 3]);
        reduce(&mut left[..1], |weight| weight);
        assert_eq!(left[0], HopWeight::ONE);
    }

    proptest! {
        #[test]
        fn ratios_are_kept_as_well_as_255_steps_allow(
            shares in prop::collection::vec(1e6f64..1e9, 1..17),
        ) {
            let weights = scaled(&shares);
            let most = shares.iter().copied().fold(0.0, f64::max);
            for (share, weight) in shares.iter().zip(&weights) {
                prop_assert!(*weight >= 1);
                for (other, theirs) in shares.iter().zip(&weights) {
                    prop_assert!(share < other || weight >= theirs, "{shares:?} {weights:?}");
                }
            }
            let greatest = *weights.iter().max().unwrap();
            let least = shares.iter().copied().fold(f64::INFINITY, f64::min) / most;
            // With the largest numbers nothing is off by more than half a step, or by what 1 is too much.
            let bound = (0.5 / 255.0 / least).max(1.0 / 255.0 / least - 1.0) + EXACT;
            prop_assert!(error(&shares, most, greatest) <= bound, "{shares:?} {weights:?}");
        }

        #[test]
        fn more_of_everything_changes_nothing(
            shares in prop::collection::vec(1u32..1000, 1..9), factor in 1u32..1000,
        ) {
            let one: Vec<f64> = shares.iter().map(|s| f64::from(*s)).collect();
            let more: Vec<f64> = one.iter().map(|s| s * f64::from(factor)).collect();
            prop_assert_eq!(scaled(&one), scaled(&more));
        }
    }
}
