//! The values of path attributes, each with the verdict RFC 7606 §7 gives when it is malformed.

use super::as_path::{self, Confed};
use super::attribute::{self as code, Attribute};
use super::flaw::Flaw;
use super::next_hop;
use super::notification::DecodeError;
use super::reader::Reader;
use super::types::{
    AfiSafi, Aggregator, Announced, AsPath, Attributes, Context, Nlri, Origin, RawAttribute,
    Withdrawn,
};
use crate::types::{Asn, NextHop, RouterId};
use std::net::Ipv4Addr;

/// All attributes of one UPDATE, as far as they could be read.
pub(super) struct AttributeList<'a> {
    context: Context,
    /// What is missing has its empty value; `seen` tells.
    pub(super) attributes: Attributes,
    pub(super) reach: Option<Announced<'a>>,
    pub(super) unreach: Option<Withdrawn<'a>>,
    pub(super) as4_path: Option<AsPath>,
    pub(super) as4_aggregator: Option<Aggregator>,
    pub(super) seen: Codes,
    /// The worst there was; of equals the first.
    pub(super) flaw: Option<Flaw>,
}

impl<'a> AttributeList<'a> {
    /// Errors only where the session must end whatever else the UPDATE holds.
    pub(super) fn read(bytes: &'a [u8], context: Context) -> Result<Self, DecodeError> {
        let mut list = Self::empty(context);
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let result = match Attribute::cut(&mut reader) {
                Ok(attribute) => list.add(attribute),
                Err(code) => {
                    // Where the list breaks off, it ends (RFC 7606 §4).
                    reader = Reader::new(&[]);
                    list.seen.insert(code.unwrap_or(0));
                    Err(Flaw::cut_short(code))
                }
            };
            if let Err(flaw) = result {
                list.note(flaw)?;
            }
        }
        Ok(list)
    }

    fn empty(context: Context) -> Self {
        Self {
            context,
            attributes: Attributes::bare(NextHop::V4(Ipv4Addr::UNSPECIFIED), Origin::Incomplete),
            reach: None,
            unreach: None,
            as4_path: None,
            as4_aggregator: None,
            seen: Codes::default(),
            flaw: None,
        }
    }

    /// RFC 7606 §3 h: of several errors the strongest decides.
    pub(super) fn note(&mut self, flaw: Flaw) -> Result<(), DecodeError> {
        if flaw.is_reset() {
            return Err(flaw.into());
        }
        if self.flaw.as_ref().is_none_or(|known| known.verdict < flaw.verdict) {
            self.flaw = Some(flaw);
        }
        Ok(())
    }

    fn add(&mut self, attribute: Attribute<'a>) -> Result<(), Flaw> {
        if !self.seen.insert(attribute.code) {
            return Err(Flaw::repeated(&attribute));
        }
        if !self.is_meant_for_us(attribute.code) {
            return Err(Flaw::unexpected(&attribute));
        }
        // With wrong flags too it is read: there may be prefixes in it, to be withdrawn.
        let result = self.value(&attribute);
        match result {
            Err(flaw) if flaw.is_reset() => Err(flaw),
            _ if !attribute.has_right_flags() => Err(Flaw::wrong_flags(&attribute)),
            _ => result,
        }
    }

    /// RFC 7606 §7.5, §7.9, §7.10: not from an external peer. RFC 6793 §3, §4.1: not from one that
    /// has four-octet AS numbers anyway.
    const fn is_meant_for_us(&self, code: u8) -> bool {
        match code {
            code::LOCAL_PREF | code::ORIGINATOR_ID | code::CLUSTER_LIST => self.context.internal,
            code::AS4_PATH | code::AS4_AGGREGATOR => !self.context.four_octet_as,
            _ => true,
        }
    }

    fn value(&mut self, attribute: &Attribute<'a>) -> Result<(), Flaw> {
        let four = self.context.four_octet_as;
        let to = &mut self.attributes;
        match attribute.code {
            code::ORIGIN => to.origin = origin(attribute)?,
            code::AS_PATH => to.as_path = as_path(attribute, four, Confed::Refuse)?,
            code::NEXT_HOP => to.next_hop = NextHop::V4(fixed(attribute)?.into()),
            code::MULTI_EXIT_DISC => to.med = Some(u32::from_be_bytes(fixed(attribute)?)),
            code::LOCAL_PREF => to.local_pref = Some(u32::from_be_bytes(fixed(attribute)?)),
            code::ATOMIC_AGGREGATE => {
                fixed::<0>(attribute)?;
                to.atomic_aggregate = true;
            }
            code::AGGREGATOR => to.aggregator = Some(aggregator(attribute, four)?),
            code::COMMUNITIES => {
                to.communities = items(attribute, |b| u32::from_be_bytes(*b))?;
            }
            code::ORIGINATOR_ID => to.originator_id = Some(RouterId(fixed(attribute)?.into())),
            code::CLUSTER_LIST => {
                to.cluster_list = items(attribute, |b: &[u8; 4]| RouterId((*b).into()))?;
            }
            code::EXTENDED_COMMUNITIES => {
                to.extended_communities = items(attribute, |b| u64::from_be_bytes(*b))?;
            }
            code::LARGE_COMMUNITIES => to.large_communities = large_communities(attribute)?,
            code::ONLY_TO_CUSTOMER => {
                to.only_to_customer = Some(Asn(u32::from_be_bytes(fixed(attribute)?)));
            }
            code::AS4_PATH => self.as4_path = Some(as_path(attribute, true, Confed::Drop)?),
            code::AS4_AGGREGATOR => self.as4_aggregator = Some(aggregator(attribute, true)?),
            code::MP_REACH_NLRI => self.reach = reach(attribute, &self.context)?,
            code::MP_UNREACH_NLRI => self.unreach = unreach(attribute, &self.context)?,
            _ => self.unknown(attribute)?,
        }
        self.attributes.partial.note(attribute);
        Ok(())
    }

    /// RFC 4271 §5: passed on with the Partial bit if transitive, ignored otherwise; without the
    /// Optional bit we should have known it (§6.3).
    fn unknown(&mut self, attribute: &Attribute<'a>) -> Result<(), Flaw> {
        if attribute.flags & code::OPTIONAL == 0 {
            return Err(Flaw::unrecognized(attribute));
        }
        if attribute.flags & code::TRANSITIVE != 0 {
            self.attributes.unknown.push(RawAttribute {
                flags: code::OPTIONAL | code::TRANSITIVE | code::PARTIAL,
                code: attribute.code,
                value: attribute.value.to_vec(),
            });
        }
        Ok(())
    }
}

/// A set of attribute codes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Codes {
    low: u128,
    high: u128,
}

impl Codes {
    /// Whether it was not there yet.
    fn insert(&mut self, code: u8) -> bool {
        let is_new = !self.contains(code);
        let half = if code < 128 { &mut self.low } else { &mut self.high };
        *half |= 1 << (code & 127);
        is_new
    }

    pub(super) const fn contains(&self, code: u8) -> bool {
        let half = if code < 128 { self.low } else { self.high };
        half & (1 << (code & 127)) != 0
    }

    pub(super) fn is_only(&self, code: u8) -> bool {
        let mut only = Self::default();
        only.insert(code);
        *self == only
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.low == 0 && self.high == 0
    }
}

fn fixed<const N: usize>(attribute: &Attribute<'_>) -> Result<[u8; N], Flaw> {
    attribute.value.try_into().map_err(|_| Flaw::wrong_length(attribute))
}

/// A list that is not empty and has no crumbs.
fn items<const N: usize, T>(
    attribute: &Attribute<'_>,
    item: impl Fn(&[u8; N]) -> T,
) -> Result<Vec<T>, Flaw> {
    match attribute.value.as_chunks() {
        ([], _) | (_, [_, ..]) => Err(Flaw::wrong_length(attribute)),
        (all, []) => Ok(all.iter().map(item).collect()),
    }
}

fn origin(attribute: &Attribute<'_>) -> Result<Origin, Flaw> {
    match fixed(attribute)? {
        [0] => Ok(Origin::Igp),
        [1] => Ok(Origin::Egp),
        [2] => Ok(Origin::Incomplete),
        [value] => Err(Flaw::malformed(attribute, 6, &format!("has the undefined value {value}"))),
    }
}

fn as_path(attribute: &Attribute<'_>, four: bool, confed: Confed) -> Result<AsPath, Flaw> {
    as_path::read(attribute.value, four, confed).map_err(|why| Flaw::malformed(attribute, 11, &why))
}

fn aggregator(attribute: &Attribute<'_>, four: bool) -> Result<Aggregator, Flaw> {
    let mut reader = Reader::new(attribute.value);
    let asn = if four { reader.u32() } else { reader.u16().map(u32::from) };
    match (asn, reader.array::<4>(), reader.is_empty()) {
        (Some(0), Some(_), true) => Err(Flaw::malformed(attribute, 9, "has the AS number 0")),
        (Some(asn), Some(id), true) => {
            Ok(Aggregator { asn: Asn(asn), router_id: RouterId(id.into()) })
        }
        _ => Err(Flaw::wrong_length(attribute)),
    }
}

/// RFC 8092 §3: what is there twice is kept once.
fn large_communities(attribute: &Attribute<'_>) -> Result<Vec<[u32; 3]>, Flaw> {
    let all = items(attribute, |[a, b, c, d, e, f, g, h, i, j, k, l]: &[u8; 12]| {
        [[*a, *b, *c, *d], [*e, *f, *g, *h], [*i, *j, *k, *l]].map(u32::from_be_bytes)
    })?;
    let mut kept: Vec<[u32; 3]> = Vec::with_capacity(all.len());
    for community in all {
        if !kept.contains(&community) {
            kept.push(community);
        }
    }
    Ok(kept)
}

/// RFC 4760 §3; nothing if we do not know the family.
fn reach<'a>(attribute: &Attribute<'a>, context: &Context) -> Result<Option<Announced<'a>>, Flaw> {
    let mut reader = Reader::new(attribute.value);
    let fields = (reader.u16(), reader.u8(), reader.after_u8(), reader.u8());
    let (Some(afi), Some(safi), Some(next_hop), Some(_reserved)) = fields else {
        return Err(Flaw::malformed(attribute, 9, "is cut short"));
    };
    let Some(family) = (AfiSafi { afi, safi }).family() else { return Ok(None) };
    let next_hop = next_hop::read(family, next_hop, context.extended_next_hop)
        .ok_or_else(|| Flaw::malformed(attribute, 9, "has a next hop of the wrong length"))?;
    let nlri = Nlri::check(family, context.paths_in.of(family), reader.rest())
        .map_err(|why| Flaw::malformed(attribute, 9, &format!("is wrong: {why}")))?;
    Ok(Some(Announced { family, next_hop, nlri }))
}

/// RFC 4760 §4; nothing if we do not know the family.
fn unreach<'a>(
    attribute: &Attribute<'a>,
    context: &Context,
) -> Result<Option<Withdrawn<'a>>, Flaw> {
    let mut reader = Reader::new(attribute.value);
    let (Some(afi), Some(safi)) = (reader.u16(), reader.u8()) else {
        return Err(Flaw::malformed(attribute, 9, "is cut short"));
    };
    let Some(family) = (AfiSafi { afi, safi }).family() else { return Ok(None) };
    let nlri = Nlri::check(family, context.paths_in.of(family), reader.rest())
        .map_err(|why| Flaw::malformed(attribute, 9, &format!("is wrong: {why}")))?;
    Ok(Some(Withdrawn { family, nlri }))
}
