//! UPDATE (RFC 4271 §4.3): prefixes, attributes, and what RFC 7606 makes of their errors.

use super::attribute as code;
use super::attributes::AttributeList;
use super::flaw::{Flaw, Verdict};
use super::notification::DecodeError;
use super::reader::Reader;
use super::types::{Announced, Attributes, Context, Nlri, Notification, Update, Withdrawn};
use super::{as_path, next_hop};
use crate::types::{Asn, Family};

pub(super) fn decode<'a>(body: &'a [u8], context: &Context) -> Result<Update<'a>, DecodeError> {
    let mut reader = Reader::new(body);
    let (Some(withdrawn), Some(attributes)) = (reader.after_u16(), reader.after_u16()) else {
        let text = "UPDATE is shorter than its withdrawn routes and attributes say";
        return Err(DecodeError::new(Notification::bare(3, 1), text));
    };
    let withdrawn = own_nlri(withdrawn, context)?;
    let nlri = own_nlri(reader.rest(), context)?;
    let mut list = AttributeList::read(attributes, *context)?;
    check_presence(&mut list, &nlri)?;
    check_next_hops(&mut list, &nlri)?;
    check_that_prefixes_were_found(&mut list, &nlri)?;
    Ok(assemble(list, withdrawn, nlri))
}

/// The fields outside of attributes are IPv4's.
fn own_nlri<'a>(bytes: &'a [u8], context: &Context) -> Result<Nlri<'a>, DecodeError> {
    Nlri::check(Family::Ipv4Unicast, context.paths_in.ipv4, bytes)
        .map_err(|text| DecodeError::new(Notification::bare(3, 10), text))
}

/// RFC 7606 §3 d: what every announcement must have. LOCAL_PREF is not asked for: the receiver
/// has a default for it.
fn check_presence(list: &mut AttributeList<'_>, nlri: &Nlri<'_>) -> Result<(), DecodeError> {
    let has_reach = list.reach.is_some_and(|r| !r.nlri.is_empty());
    let wanted = [
        (code::ORIGIN, has_reach || !nlri.is_empty()),
        (code::AS_PATH, has_reach || !nlri.is_empty()),
        (code::NEXT_HOP, !nlri.is_empty()),
    ];
    for (code, is_wanted) in wanted {
        if is_wanted && !list.seen.contains(code) {
            list.note(Flaw::missing(code))?;
        }
    }
    Ok(())
}

/// NEXT_HOP without prefixes of its own is ignored (RFC 4760 §3).
fn check_next_hops(list: &mut AttributeList<'_>, nlri: &Nlri<'_>) -> Result<(), DecodeError> {
    let own = list.seen.contains(code::NEXT_HOP) && !nlri.is_empty();
    let own = own.then_some(list.attributes.next_hop);
    let reach = list.reach.filter(|r| !r.nlri.is_empty()).map(|r| r.next_hop);
    for next_hop in own.into_iter().chain(reach) {
        if !next_hop::is_valid(&next_hop) {
            list.note(Flaw::invalid_next_hop(format!("next hop {next_hop} is no host")))?;
        }
    }
    Ok(())
}

/// RFC 7606 §5.2: attributes with an error and no prefixes make one doubt that the prefixes were
/// looked for in the right place.
fn check_that_prefixes_were_found(
    list: &mut AttributeList<'_>,
    nlri: &Nlri<'_>,
) -> Result<(), DecodeError> {
    let is_empty_reach = list.reach.is_some_and(|r| r.nlri.is_empty());
    let has_reach = list.seen.contains(code::MP_REACH_NLRI) && !is_empty_reach;
    if has_reach || !nlri.is_empty() || list.seen.is_only(code::MP_UNREACH_NLRI) {
        return Ok(());
    }
    match list.flaw.take_if(|f| f.verdict == Verdict::Withdraw) {
        Some(flaw) => Err(flaw.into()),
        None => Ok(()),
    }
}

fn assemble<'a>(mut list: AttributeList<'a>, withdrawn: Nlri<'a>, nlri: Nlri<'a>) -> Update<'a> {
    let end_of_rib = end_of_rib(&list, &withdrawn, &nlri);
    let own = Announced { family: nlri.family, next_hop: list.attributes.next_hop, nlri };
    let own = Some(own).filter(|a| !a.nlri.is_empty());
    let reach = list.reach.filter(|a| !a.nlri.is_empty());
    let unreach = list.unreach.filter(|w| !w.nlri.is_empty());
    let withdrawn = Some(Withdrawn { family: withdrawn.family, nlri: withdrawn });
    let withdrawn = withdrawn.filter(|w| !w.nlri.is_empty());

    if list.flaw.as_ref().is_some_and(|f| f.verdict == Verdict::Withdraw) {
        return Update {
            withdrawn: [withdrawn, unreach, own.map(Into::into), reach.map(Into::into)],
            fault: list.flaw.map(Into::into),
            ..Update::default()
        };
    }
    let fault = list.flaw.take().map(Into::into);
    Update {
        attributes: own.or(reach).map(|first| finish(list, &first)),
        announced: [own, reach],
        withdrawn: [withdrawn, unreach, None, None],
        fault,
        end_of_rib,
    }
}

/// RFC 4724 §2: an empty UPDATE, or one with an empty MP_UNREACH_NLRI alone.
fn end_of_rib(list: &AttributeList<'_>, withdrawn: &Nlri<'_>, nlri: &Nlri<'_>) -> Option<Family> {
    if !withdrawn.is_empty() || !nlri.is_empty() {
        return None;
    }
    if list.seen.is_empty() {
        return list.flaw.is_none().then_some(Family::Ipv4Unicast);
    }
    let is_alone = list.seen.is_only(code::MP_UNREACH_NLRI);
    list.unreach.filter(|w| is_alone && w.nlri.is_empty()).map(|w| w.family)
}

fn finish(mut list: AttributeList<'_>, first: &Announced<'_>) -> Attributes {
    merge_four_octet(&mut list);
    // Equal routes have equal attributes, in whatever order they came.
    list.attributes.unknown.sort_by_key(|raw| raw.code);
    Attributes { next_hop: first.next_hop, ..list.attributes }
}

/// RFC 6793 §4.2.3: what a two-octet peer has carried along for us.
fn merge_four_octet(list: &mut AttributeList<'_>) {
    let as4_path = list.as4_path.take();
    if let Some((aggregator, as4)) = list.attributes.aggregator.zip(list.as4_aggregator) {
        if aggregator.asn != Asn::TRANS {
            // Somebody who did not know of AS4_PATH has aggregated since.
            return;
        }
        list.attributes.aggregator = Some(as4);
    }
    if let Some(as4_path) = as4_path {
        let as_path = std::mem::take(&mut list.attributes.as_path);
        list.attributes.as_path = as_path::merge(as_path, as4_path);
    }
}

impl<'a> From<Announced<'a>> for Withdrawn<'a> {
    fn from(announced: Announced<'a>) -> Self {
        Self { family: announced.family, nlri: announced.nlri }
    }
}
