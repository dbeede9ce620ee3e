//! Path attributes into bytes, in the order of their codes (RFC 4271 §5).

use super::attribute as code;
use super::types::{Aggregator, Attributes, Context, Origin, Partial, RawAttribute};
use super::{as_path, encode};
use crate::types::{Asn, Family, NextHop};

/// Appends all attributes but the one that holds prefixes.
pub(super) fn attributes(context: &Context, from: &Attributes, family: Family, out: &mut Vec<u8>) {
    let four = context.four_octet_as;
    let mut writer = Writer { partial: from.partial, unknown: &from.unknown, out };
    writer.put(code::ORIGIN, |out| out.push(origin(from.origin)));
    writer.put(code::AS_PATH, |out| as_path::put(&from.as_path, four, out));
    if let (Family::Ipv4Unicast, NextHop::V4(next_hop)) = (family, from.next_hop) {
        writer.put(code::NEXT_HOP, |out| out.extend(next_hop.octets()));
    }
    if let Some(med) = from.med {
        writer.put(code::MULTI_EXIT_DISC, |out| out.extend(med.to_be_bytes()));
    }
    if let Some(local_pref) = from.local_pref {
        writer.put(code::LOCAL_PREF, |out| out.extend(local_pref.to_be_bytes()));
    }
    if from.atomic_aggregate {
        writer.put(code::ATOMIC_AGGREGATE, |_| {});
    }
    if let Some(aggregator) = &from.aggregator {
        writer.put(code::AGGREGATOR, |out| put_aggregator(aggregator, four, out));
    }
    writer.put_items(code::COMMUNITIES, &from.communities, |c| c.to_be_bytes());
    if let Some(id) = from.originator_id {
        writer.put(code::ORIGINATOR_ID, |out| out.extend(id.0.octets()));
    }
    writer.put_items(code::CLUSTER_LIST, &from.cluster_list, |id| id.0.octets());
    writer.put_items(code::EXTENDED_COMMUNITIES, &from.extended_communities, |c| c.to_be_bytes());
    if !four {
        four_octet_companions(from, &mut writer);
    }
    writer.put_items(code::LARGE_COMMUNITIES, &from.large_communities, large);
    if let Some(asn) = from.only_to_customer {
        writer.put(code::ONLY_TO_CUSTOMER, |out| out.extend(asn.0.to_be_bytes()));
    }
    writer.put_unknown_below(None);
}

/// RFC 6793 §4.2.2: for the peer to carry along, and only when something would be lost.
fn four_octet_companions(from: &Attributes, writer: &mut Writer<'_>) {
    if from.as_path.asns().any(is_wide) {
        writer.put(code::AS4_PATH, |out| as_path::put(&from.as_path, true, out));
    }
    if let Some(aggregator) = from.aggregator.as_ref().filter(|a| is_wide(a.asn)) {
        writer.put(code::AS4_AGGREGATOR, |out| put_aggregator(aggregator, true, out));
    }
}

struct Writer<'a> {
    partial: Partial,
    /// Those not yet written, by code.
    unknown: &'a [RawAttribute],
    out: &'a mut Vec<u8>,
}

impl Writer<'_> {
    fn put(&mut self, code: u8, value: impl FnOnce(&mut Vec<u8>)) {
        self.put_unknown_below(Some(code));
        let partial = if self.partial.of(code) { code::PARTIAL } else { 0 };
        let flags = code::flags(code).unwrap_or_default() | partial;
        put_attribute(flags, code, value, self.out);
    }

    /// A list without items is no attribute.
    fn put_items<T, const N: usize>(
        &mut self,
        code: u8,
        items: &[T],
        octets: impl Fn(&T) -> [u8; N],
    ) {
        if !items.is_empty() {
            self.put(code, |out| items.iter().for_each(|item| out.extend(octets(item))));
        }
    }

    fn put_unknown_below(&mut self, code: Option<u8>) {
        while let [raw, rest @ ..] = self.unknown
            && code.is_none_or(|c| raw.code < c)
        {
            let flags = raw.flags & !code::EXTENDED_LENGTH;
            put_attribute(flags, raw.code, |out| out.extend(&raw.value), self.out);
            self.unknown = rest;
        }
    }
}

/// Writes the value behind a short length, and makes room for a long one if it needs that.
fn put_attribute(flags: u8, code: u8, value: impl FnOnce(&mut Vec<u8>), out: &mut Vec<u8>) {
    let start = out.len();
    out.extend([flags, code, 0]);
    value(out);
    let length = out.len() - start - 3;
    if let (Ok(short), Some(octet)) = (u8::try_from(length), out.get_mut(start + 2)) {
        *octet = short;
        return;
    }
    out.insert(start + 2, 0);
    encode::set_length(start + 2, out);
    if let Some(octet) = out.get_mut(start) {
        *octet |= code::EXTENDED_LENGTH;
    }
}

const fn origin(origin: Origin) -> u8 {
    match origin {
        Origin::Igp => 0,
        Origin::Egp => 1,
        Origin::Incomplete => 2,
    }
}

fn put_aggregator(aggregator: &Aggregator, four: bool, out: &mut Vec<u8>) {
    if four {
        out.extend(aggregator.asn.0.to_be_bytes());
    } else {
        out.extend(as_path::two_octets(aggregator.asn).to_be_bytes());
    }
    out.extend(aggregator.router_id.0.octets());
}

fn large([a, b, c]: &[u32; 3]) -> [u8; 12] {
    let mut octets = [0; 12];
    let values = [a, b, c].into_iter().flat_map(|v| v.to_be_bytes());
    octets.iter_mut().zip(values).for_each(|(to, from)| *to = from);
    octets
}

fn is_wide(asn: Asn) -> bool {
    u16::try_from(asn.0).is_err()
}
