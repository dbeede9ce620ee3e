//! The words of policies.

use super::{Name, Scalar, Wrong, decimal, wrong_word};
use crate::model::{
    Amount, HopWeights, LinkBandwidth, Med, NextHopChange, Origin, Provenance, Role, Validity,
    Verdict,
};
use bgp_words::{AsPathPattern, BadWord, Community, CommunityPattern};
use serde_json::json;
use std::net::IpAddr;

fn because(why: &BadWord) -> Wrong {
    Wrong::Because(why.to_string())
}

/// A community, many that look alike, or those of a set.
#[derive(Debug, Clone)]
pub(crate) enum CommunityWord {
    Pattern(CommunityPattern),
    Set(Name),
}

impl Scalar for CommunityWord {
    const WHAT: &'static str =
        "a community such as 65001:100, 65001:*, 65001:1:2, rt:65001:100, no-export or set:NAME";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        match text.starts_with("set:") {
            true => SetName::from_text(text).map(|set| Self::Set(set.0)),
            false => text.parse().map(Self::Pattern).map_err(|e| because(&e)),
        }
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "examples": ["65001:100", "65001:*", "65001:1:2", "rt:65001:100",
               "no-export", "set:NAME"]})
    }
}

impl Scalar for Community {
    const WHAT: &'static str =
        "a community such as 65001:100, 65001:1:2, rt:65001:100 or no-export";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|e| because(&e))
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "examples": ["65001:100", "65001:1:2", "rt:65001:100", "no-export"]})
    }
}

impl Scalar for AsPathPattern {
    const WHAT: &'static str = "a pattern of AS paths such as _65001_ or ^65001 .* 65002$";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        text.parse().map_err(|e| because(&e))
    }

    fn schema() -> serde_json::Value {
        json!({"type": ["string", "integer"], "examples": ["_65001_", "^65001 .* 65002$", "^$"]})
    }
}

/// `set:NAME`
#[derive(Debug, Clone)]
pub(crate) struct SetName(pub(crate) Name);

impl Scalar for SetName {
    const WHAT: &'static str = "written set:NAME, a name of bgp.sets";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        Name::from_text(text.strip_prefix("set:").ok_or(Wrong::Kind)?).map(Self)
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "pattern": "^set:"})
    }
}

/// A number, or a difference.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AmountWord(pub(crate) Amount);

const AMOUNT_PATTERN: &str = "^[+-]?[0-9]+$";

impl Scalar for AmountWord {
    const WHAT: &'static str = "a number such as 200, or a difference such as +50 or -50";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        let number = |text| decimal(text).and_then(|n| u32::try_from(n).ok()).ok_or(Wrong::Kind);
        let amount = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(more), _) => Amount::More(number(more)?),
            (_, Some(less)) => Amount::Less(number(less)?),
            _ => Amount::To(number(text)?),
        };
        Ok(Self(amount))
    }

    fn schema() -> serde_json::Value {
        json!({"type": ["integer", "string"], "pattern": AMOUNT_PATTERN})
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct MedWord(pub(crate) Med);

impl Scalar for MedWord {
    const WHAT: &'static str = "a number such as 10, a difference such as +10 or -10, or none";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        match text {
            "none" => Ok(Self(Med::None)),
            other => AmountWord::from_text(other).map(|amount| Self(Med::Amount(amount.0))),
        }
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [{"const": "none"},
               {"type": ["integer", "string"], "pattern": AMOUNT_PATTERN}]})
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct RateWord(pub(crate) LinkBandwidth);

impl Scalar for RateWord {
    const WHAT: &'static str = "bits a second such as 10G, 2500M or 64K, or none";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        match text {
            "none" => Ok(Self(LinkBandwidth::None)),
            rate => rate.parse().map(|rate| Self(LinkBandwidth::Is(rate))).map_err(|_| Wrong::Kind),
        }
    }

    fn schema() -> serde_json::Value {
        json!({"anyOf": [{"const": "none"},
               {"type": ["integer", "string"], "pattern": "^[1-9][0-9]*[KMGT]?$"}]})
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct NextHopWord(pub(crate) NextHopChange);

impl Scalar for NextHopWord {
    const WHAT: &'static str = "self or an IP address such as 192.0.2.1";

    fn from_text(text: &str) -> Result<Self, Wrong> {
        match text {
            "self" => Ok(Self(NextHopChange::OurSelf)),
            address => IpAddr::from_text(address).map(|a| Self(NextHopChange::To(a))),
        }
    }

    fn schema() -> serde_json::Value {
        json!({"type": "string", "anyOf": [{"const": "self"}, {"format": "ipv4"}, {"format": "ipv6"}]})
    }
}

words! { Verdict, "accept, reject or next":
    "accept" => Self::Accept,
    "reject" => Self::Reject,
    "next" => Self::Next,
}

words! { HopWeights, "none or link_bandwidth":
    "none" => Self::None,
    "link_bandwidth" => Self::LinkBandwidth,
}

words! { Origin, "igp, egp or incomplete":
    "igp" => Self::Igp,
    "egp" => Self::Egp,
    "incomplete" => Self::Incomplete,
}

words! { Role, "provider, customer, peer, rs or rs-client":
    "provider" => Self::Provider,
    "customer" => Self::Customer,
    "peer" => Self::Peer,
    "rs" => Self::Rs,
    "rs-client" => Self::RsClient,
}

words! { Validity, "valid, invalid or not-found":
    "valid" => Self::Valid,
    "invalid" => Self::Invalid,
    "not-found" => Self::NotFound,
}

words! { Provenance, "local, block, injected, bgp, ebgp or ibgp":
    "local" => Self::Local,
    "block" => Self::Block,
    "injected" => Self::Injected,
    "bgp" => Self::Bgp,
    "ebgp" => Self::Ebgp,
    "ibgp" => Self::Ibgp,
}
