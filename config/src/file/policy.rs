//! Policies: what a rule may ask, and what it may change.

use crate::fault::{Log, Place};
use crate::model::{Family, Origin, Provenance, Role, Validity, Verdict};
use crate::read::{At, List, Value, table};
use crate::scalar::{
    AmountWord, Asn, CommunityWord, Int, Interface, MedWord, Name, NextHopWord, RateWord, SetName,
};
use crate::yaml::{Kind, Yaml};
use bgp_words::{AsPathPattern, Community};
use mainstay_prefix::Prefix;
use schemars::{Schema, SchemaGenerator};

/// One value, or a list of which one must fit.
#[derive(Debug, Clone)]
pub(crate) struct OneOf<T>(pub(crate) Vec<At<T>>);

pub(crate) type Few<T> = Option<At<OneOf<T>>>;

impl<T: Value> Value for OneOf<T> {
    fn read(yaml: &Yaml, place: &Place, log: &mut Log) -> Option<Self> {
        if matches!(yaml.kind, Kind::List(_)) || yaml.is_empty() {
            return Vec::read(yaml, place, log).map(Self);
        }
        let value = T::read(yaml, place, log)?;
        Some(Self(vec![At { place: place.clone(), text: yaml.shown(), value }]))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let one = T::schema(generator);
        schemars::json_schema!({"anyOf": [one, {"type": "array", "items": one}]})
    }
}

table! {
    /// A list that rules name, so that it stands in one place: `set:NAME` where a prefix or a
    /// community may stand.
    PolicySet {
        /// What rules call it.
        name: At<Name>,
        /// Prefixes, as in a rule.
        prefix: List<PrefixItem>,
        /// Communities, as in a rule.
        community: List<CommunityWord>,
    }
}

table! {
    /// A named list of rules.
    Policy {
        /// What import and export call it.
        name: At<Name>,
        /// The first rule that matches and does not say next decides; without one, the route is rejected.
        rules: At<Vec<At<Rule>>>,
    }
}

table! {
    /// One rule of a policy.
    Rule {
        /// What `mainstay policy test` calls it. Default: its number.
        name: Option<At<Name>>,
        /// What the rule is about; all of it must hold. Default: every route.
        r#match: Option<At<Match>>,
        /// What changes of a route that matches.
        set: Option<At<Changes>>,
        /// What happens to a route that matches: accept, reject, or next, which goes on with the
        /// rules below.
        action: At<Verdict>,
    }
}

table! {
    /// What a rule is about. Where several values may stand, one of them must fit.
    Match {
        /// The route's prefix: 10.0.0.0/8 is that one exactly, {in: 10.0.0.0/8, ge: 24} those inside
        /// by length, set:NAME those of bgp.sets.
        prefix: List<PrefixItem>,
        /// ipv4 or ipv6.
        family: Option<At<Family>>,
        /// Communities of any kind: 65001:100, 65001:*, 65001:100-199, 65001:1:2, rt:65001:100,
        /// soo:192.0.2.1:7, no-export, set:NAME. A list is {any: […]}.
        community: Option<At<CommunityKey>>,
        /// The AS path: a pattern such as _65001_ or ^65001 .* 65002$, several, or a table.
        as_path: Option<At<AsPathKey>>,
        /// igp, egp or incomplete.
        origin: Few<Origin>,
        /// Prefixes around the next hop.
        next_hop: Few<Prefix>,
        /// The peer that the route comes from; a listen_range stands for all of its peers.
        peer: Few<Name>,
        /// What the peer that the route comes from is to us: provider, customer, peer, rs or rs-client
        /// (RFC 9234).
        role: Few<Role>,
        /// Whether the origin AS may originate the prefix: valid, invalid or not-found (RFC 6811).
        rpki: Few<Validity>,
        /// Where the route comes from: local (bgp.originate), block (this node's own), injected (by a
        /// controller), bgp (any peer), ebgp or ibgp.
        source: Few<Provenance>,
        /// The interface over which the peer that the route comes from is reached.
        interface: Few<Interface>,
    }
}

table! {
    /// Prefixes inside one, by their length.
    PrefixMatch {
        /// The prefix they lie in; alone, it is that prefix exactly.
        r#in: At<Prefix>,
        /// The least length. With it alone, up to a single address.
        ge: Option<At<Int<0, 128>>>,
        /// The greatest length. With it alone, from the length of `in`.
        le: Option<At<Int<0, 128>>>,
    }
}

/// `10.0.0.0/8`, `{in: …}` or `set:NAME`.
#[derive(Debug, Clone)]
pub(crate) enum PrefixItem {
    Match(PrefixMatch),
    Set(Name),
}

impl Value for PrefixItem {
    fn read(yaml: &Yaml, place: &Place, log: &mut Log) -> Option<Self> {
        match &yaml.kind {
            Kind::Scalar { text, .. } if text.starts_with("set:") => {
                SetName::read(yaml, place, log).map(|set| Self::Set(set.0))
            }
            Kind::Scalar { .. } => {
                let value = Prefix::read(yaml, place, log)?;
                let within = At { place: place.clone(), text: yaml.shown(), value };
                Some(Self::Match(PrefixMatch { r#in: within, ge: None, le: None }))
            }
            Kind::List(_) | Kind::Map(_) => PrefixMatch::read(yaml, place, log).map(Self::Match),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let prefix = <Prefix as Value>::schema(generator);
        let table = <PrefixMatch as Value>::schema(generator);
        let set = serde_json::json!({"type": "string", "pattern": "^set:"});
        schemars::json_schema!({"anyOf": [prefix, set, table]})
    }
}

table! {
    /// Which communities a route has.
    CommunityMatch {
        /// At least one of these.
        any: List<CommunityWord>,
        /// All of these.
        all: List<CommunityWord>,
        /// None of these.
        none: List<CommunityWord>,
    }
}

/// `[65001:100, …]` or `{any: …, all: …, none: …}`.
#[derive(Debug, Clone)]
pub(crate) enum CommunityKey {
    Any(Vec<At<CommunityWord>>),
    Table(Box<CommunityMatch>),
}

impl Value for CommunityKey {
    fn read(yaml: &Yaml, place: &Place, log: &mut Log) -> Option<Self> {
        match &yaml.kind {
            Kind::Map(_) => {
                CommunityMatch::read(yaml, place, log).map(|table| Self::Table(Box::new(table)))
            }
            _ => OneOf::read(yaml, place, log).map(|few| Self::Any(few.0)),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let few = OneOf::<CommunityWord>::schema(generator);
        let table = <CommunityMatch as Value>::schema(generator);
        schemars::json_schema!({"anyOf": [few, table]})
    }
}

table! {
    /// What an AS path is like; all of it must hold.
    AsPathMatch {
        /// Patterns; one must fit.
        pattern: Few<AsPathPattern>,
        /// AS numbers, one of which is somewhere in the path.
        contains: Few<Asn>,
        /// AS numbers, one of which has originated the route.
        origin: Few<Asn>,
        /// AS numbers, one of which is the first of the path.
        neighbor: Few<Asn>,
        /// How long the path is, an AS_SET counting as one.
        length: Option<At<Length>>,
    }
}

table! {
    /// Bounds of a length.
    Length {
        /// At least. Default: 0.
        ge: Option<At<Int<0, 65535>>>,
        /// At most. Default: any.
        le: Option<At<Int<0, 65535>>>,
    }
}

/// `_65001_`, several of them, or `{origin: 65001}`.
#[derive(Debug, Clone)]
pub(crate) enum AsPathKey {
    Patterns(Vec<At<AsPathPattern>>),
    Table(Box<AsPathMatch>),
}

impl Value for AsPathKey {
    fn read(yaml: &Yaml, place: &Place, log: &mut Log) -> Option<Self> {
        match &yaml.kind {
            Kind::Map(_) => {
                AsPathMatch::read(yaml, place, log).map(|table| Self::Table(Box::new(table)))
            }
            _ => OneOf::read(yaml, place, log).map(|few| Self::Patterns(few.0)),
        }
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let few = OneOf::<AsPathPattern>::schema(generator);
        let table = <AsPathMatch as Value>::schema(generator);
        schemars::json_schema!({"anyOf": [few, table]})
    }
}

table! {
    /// What changes of a route that matches.
    Changes {
        /// 200, or +50 and -50 of what it has (100 without one). Not told to eBGP peers.
        local_pref: Option<At<AmountWord>>,
        /// 10, or +10 and -10 of what it has, or none.
        med: Option<At<MedWord>>,
        /// Communities of any kind.
        community: Option<At<CommunityChange>>,
        /// How often an AS is put in front of the path; or {count: 2, asn: 65010}. The AS is our own
        /// towards eBGP peers, else the first of the path.
        prepend: Option<At<PrependKey>>,
        /// An address, for routes of its family; or self, on export: this node.
        next_hop: Option<At<NextHopWord>>,
        /// Compared before all else when routes are selected, the greater first. Told to nobody.
        weight: Option<At<Int<0, { u32::MAX }>>>,
        /// igp, egp or incomplete.
        origin: Option<At<Origin>>,
        /// Of the link that the path goes by, in bits a second: 10G, 2500M; or none. It is told as an
        /// extended community (RFC 10005), in the place of any that the path has, and stays in the AS
        /// unless the policy towards an eBGP peer sets it.
        link_bandwidth: Option<At<RateWord>>,
    }
}

table! {
    /// What changes of a route's communities: first replace, then remove, then add.
    CommunityChange {
        /// These instead of all it has; [] takes all away.
        replace: List<Community>,
        /// Take these away, if it has them.
        remove: List<CommunityWord>,
        /// Add these, if it has them not.
        add: List<Community>,
    }
}

table! {
    /// What is put in front of an AS path.
    Prepend {
        /// How often.
        count: At<Int<1, 20>>,
        /// Which AS. Default: our own towards eBGP peers, else the first of the path.
        asn: Option<At<Asn>>,
    }
}

/// `2` or `{count: 2, asn: 65010}`.
#[derive(Debug, Clone)]
pub(crate) struct PrependKey(pub(crate) Prepend);

impl Value for PrependKey {
    fn read(yaml: &Yaml, place: &Place, log: &mut Log) -> Option<Self> {
        if matches!(yaml.kind, Kind::Map(_)) {
            return Prepend::read(yaml, place, log).map(Self);
        }
        let value = Int::read(yaml, place, log)?;
        let count = At { place: place.clone(), text: yaml.shown(), value };
        Some(Self(Prepend { count, asn: None }))
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        let count = <Int<1, 20> as Value>::schema(generator);
        let table = <Prepend as Value>::schema(generator);
        schemars::json_schema!({"anyOf": [count, table]})
    }
}
