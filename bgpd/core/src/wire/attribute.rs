//! Path attributes before their values are read: codes, flags, lengths (RFC 4271 §4.3).

use super::reader::Reader;
use super::types::Partial;

pub(super) const ORIGIN: u8 = 1;
pub(super) const AS_PATH: u8 = 2;
pub(super) const NEXT_HOP: u8 = 3;
pub(super) const MULTI_EXIT_DISC: u8 = 4;
pub(super) const LOCAL_PREF: u8 = 5;
pub(super) const ATOMIC_AGGREGATE: u8 = 6;
pub(super) const AGGREGATOR: u8 = 7;
pub(super) const COMMUNITIES: u8 = 8;
pub(super) const ORIGINATOR_ID: u8 = 9;
pub(super) const CLUSTER_LIST: u8 = 10;
pub(super) const MP_REACH_NLRI: u8 = 14;
pub(super) const MP_UNREACH_NLRI: u8 = 15;
pub(super) const EXTENDED_COMMUNITIES: u8 = 16;
pub(super) const AS4_PATH: u8 = 17;
pub(super) const AS4_AGGREGATOR: u8 = 18;
pub(super) const LARGE_COMMUNITIES: u8 = 32;
/// RFC 9234 §5.
pub(super) const ONLY_TO_CUSTOMER: u8 = 35;

pub(super) const OPTIONAL: u8 = 0x80;
pub(super) const TRANSITIVE: u8 = 0x40;
pub(super) const PARTIAL: u8 = 0x20;
pub(super) const EXTENDED_LENGTH: u8 = 0x10;

/// The Optional and Transitive bits an attribute must have; `None`: we do not know it.
pub(super) const fn flags(code: u8) -> Option<u8> {
    Some(match code {
        ORIGIN | AS_PATH | NEXT_HOP | LOCAL_PREF | ATOMIC_AGGREGATE => TRANSITIVE,
        MULTI_EXIT_DISC | ORIGINATOR_ID | CLUSTER_LIST | MP_REACH_NLRI | MP_UNREACH_NLRI => {
            OPTIONAL
        }
        AGGREGATOR | COMMUNITIES | EXTENDED_COMMUNITIES | AS4_PATH | AS4_AGGREGATOR
        | LARGE_COMMUNITIES | ONLY_TO_CUSTOMER => OPTIONAL | TRANSITIVE,
        _ => return None,
    })
}

impl Partial {
    pub(super) const fn of(self, code: u8) -> bool {
        match code {
            AGGREGATOR => self.aggregator,
            COMMUNITIES => self.communities,
            EXTENDED_COMMUNITIES => self.extended_communities,
            LARGE_COMMUNITIES => self.large_communities,
            ONLY_TO_CUSTOMER => self.only_to_customer,
            _ => false,
        }
    }

    pub(super) const fn note(&mut self, attribute: &Attribute<'_>) {
        let is_partial = attribute.flags & PARTIAL != 0;
        match attribute.code {
            AGGREGATOR => self.aggregator = is_partial,
            COMMUNITIES => self.communities = is_partial,
            EXTENDED_COMMUNITIES => self.extended_communities = is_partial,
            LARGE_COMMUNITIES => self.large_communities = is_partial,
            ONLY_TO_CUSTOMER => self.only_to_customer = is_partial,
            _ => {}
        }
    }
}

pub(super) const fn name(code: u8) -> &'static str {
    match code {
        ORIGIN => "ORIGIN",
        AS_PATH => "AS_PATH",
        NEXT_HOP => "NEXT_HOP",
        MULTI_EXIT_DISC => "MULTI_EXIT_DISC",
        LOCAL_PREF => "LOCAL_PREF",
        ATOMIC_AGGREGATE => "ATOMIC_AGGREGATE",
        AGGREGATOR => "AGGREGATOR",
        COMMUNITIES => "COMMUNITIES",
        ORIGINATOR_ID => "ORIGINATOR_ID",
        CLUSTER_LIST => "CLUSTER_LIST",
        MP_REACH_NLRI => "MP_REACH_NLRI",
        MP_UNREACH_NLRI => "MP_UNREACH_NLRI",
        EXTENDED_COMMUNITIES => "EXTENDED_COMMUNITIES",
        AS4_PATH => "AS4_PATH",
        AS4_AGGREGATOR => "AS4_AGGREGATOR",
        LARGE_COMMUNITIES => "LARGE_COMMUNITIES",
        ONLY_TO_CUSTOMER => "ONLY_TO_CUSTOMER",
        _ => "unknown attribute",
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Attribute<'a> {
    pub(super) flags: u8,
    pub(super) code: u8,
    pub(super) value: &'a [u8],
    /// Type, length and value, as NOTIFICATIONs quote it (RFC 4271 §6.3).
    pub(super) whole: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// Cuts the next attribute off; the error is its code, if at least that is there, because
    /// either the head or the value is cut short (RFC 7606 §4).
    pub(super) fn cut(reader: &mut Reader<'a>) -> Result<Self, Option<u8>> {
        let before = reader.rest();
        let flags = reader.u8();
        let code = reader.u8();
        let (Some(flags), Some(code)) = (flags, code) else { return Err(code) };
        let value =
            if flags & EXTENDED_LENGTH == 0 { reader.after_u8() } else { reader.after_u16() };
        let value = value.ok_or(Some(code))?;
        let whole = before.get(..before.len() - reader.rest().len()).unwrap_or_default();
        Ok(Self { flags, code, value, whole })
    }

    /// RFC 7606 §3 c: only these two bits are compared.
    pub(super) fn has_right_flags(&self) -> bool {
        flags(self.code).is_none_or(|right| self.flags & (OPTIONAL | TRANSITIVE) == right)
    }

    pub(super) const fn name(&self) -> &'static str {
        name(self.code)
    }
}
