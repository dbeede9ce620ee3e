//! What was said between us and a peer, as a log that the next process of this speaker reads.
//!
//! The log is made of the UPDATEs themselves: replaying them gives the Adj-RIB-Out and the
//! Adj-RIB-In. Where a process cannot know whether the peer holds a route, because it was about to
//! say so, the log says that too, and the next process tells that route again.

use super::PerFamily;
use super::attrs::{Attrs, Interner};
use super::prefix_map::PrefixMap;
use crate::types::{Family, Prefix};
use crate::wire::{self, Attributes, Context, Listed, Message, RefreshMark, Update};
use std::collections::BTreeMap;

/// What a session's log is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Said {
    /// That count now, in both directions.
    pub routes: usize,
    /// Announcements made void by later ones or by withdrawals, since the session began or earlier.
    pub outdated: u64,
}

/// A piece of the log; order counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// Whole messages that were put on the way to the peer. UPDATEs count, and the marks of a
    /// refresh.
    Sent(Vec<u8>),
    /// UPDATEs that withdraw, of prefixes of which nobody knows what the peer holds.
    Unsure(Vec<u8>),
    /// Whole messages from the peer that have taken effect. UPDATEs count, and the marks of a
    /// refresh. A log has at least one of these, be it empty.
    Heard(Vec<u8>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    #[error("an empty record")]
    Empty,
    #[error("a record of the unknown kind {0}")]
    Kind(u8),
    #[error("a record that is not made of UPDATEs")]
    Message,
    #[error("nothing about what the peer has told")]
    Unheard,
}

const SENT: u8 = 1;
const UNSURE: u8 = 2;
const HEARD: u8 = 3;

impl Record {
    /// The first octet of a record of sent messages; the messages follow.
    pub const SENT: u8 = SENT;
    /// The same of messages from the peer.
    pub const HEARD: u8 = HEARD;

    /// The peer has asked for everything again and was not answered yet (RFC 7313): an answer that
    /// was begun is begun anew by the next process.
    #[must_use]
    pub fn refresh_owed(family: Family) -> Self {
        Self::mark(family, RefreshMark::Begin)
    }

    /// It was answered; where the session has marks, those say so themselves.
    #[must_use]
    pub fn refresh_answered(family: Family) -> Self {
        Self::mark(family, RefreshMark::End)
    }

    fn mark(family: Family, mark: RefreshMark) -> Self {
        let mut message = Vec::new();
        wire::refresh_mark(family.into(), mark, &mut message);
        Self::Sent(message)
    }

    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (kind, messages) = match self {
            Self::Sent(messages) => (SENT, messages),
            Self::Unsure(messages) => (UNSURE, messages),
            Self::Heard(messages) => (HEARD, messages),
        };
        [&[kind], messages.as_slice()].concat()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, BadRecord> {
        match bytes.split_first() {
            Some((&SENT, messages)) => Ok(Self::Sent(messages.to_vec())),
            Some((&UNSURE, messages)) => Ok(Self::Unsure(messages.to_vec())),
            Some((&HEARD, messages)) => Ok(Self::Heard(messages.to_vec())),
            Some((kind, _)) => Err(BadRecord::Kind(*kind)),
            None => Err(BadRecord::Empty),
        }
    }
}

/// The log replayed.
#[derive(Debug, Default)]
pub(crate) struct Told {
    /// `None`: the peer may hold it or not.
    routes: PrefixMap<Option<Attrs>>,
    /// The same of prefixes that have several paths (RFC 7911).
    others: BTreeMap<(Prefix, u32), Option<Attrs>>,
    pub(crate) end_of_rib: PerFamily<bool>,
    /// A BoRR was sent and no EoRR (RFC 7313).
    pub(crate) refreshing: PerFamily<bool>,
}

impl Told {
    pub(crate) fn replay(
        records: &[Record],
        context: &Context,
        interner: &mut Interner,
    ) -> Result<Self, BadRecord> {
        let mut told = Self::default();
        // It is read as the peer has read it.
        let context = &context.mirrored();
        for record in records {
            match record {
                Record::Heard(_) => {}
                Record::Sent(messages) => {
                    let mut foreign = false;
                    each(messages, context, |message| {
                        // An UPDATE of ours that we would not accept: somebody else wrote it.
                        foreign |= matches!(message, Message::Update(u) if u.fault.is_some());
                        told.sent(message, interner);
                    })?;
                    if foreign {
                        return Err(BadRecord::Message);
                    }
                }
                Record::Unsure(messages) => each(messages, context, |message| {
                    let Message::Update(update) = message else { return };
                    for path in update.withdrawn.iter().flatten().flat_map(|w| w.nlri.paths()) {
                        told.set(path, None);
                    }
                })?,
            }
        }
        Ok(told)
    }

    /// Every path, with its identifier.
    pub(crate) fn paths(&self) -> impl Iterator<Item = (&Prefix, u32, &Option<Attrs>)> {
        let plain = self.routes.iter().map(|(prefix, attrs)| (prefix, 0, attrs));
        plain.chain(self.others.iter().map(|((prefix, path), attrs)| (prefix, *path, attrs)))
    }

    fn set(&mut self, (prefix, path): (Prefix, u32), attrs: Option<Attrs>) {
        if path == 0 {
            self.routes.insert(prefix, attrs);
        } else {
            self.others.insert((prefix, path), attrs);
        }
    }

    fn sent(&mut self, message: &Message<'_>, interner: &mut Interner) {
        match message {
            Message::Update(update) => self.update(update, interner),
            Message::RefreshMark(of, mark) => {
                if let Some(family) = of.family() {
                    *self.refreshing.get_mut(family) = *mark == RefreshMark::Begin;
                }
            }
            _ => {}
        }
    }

    fn update(&mut self, update: &Update<'_>, interner: &mut Interner) {
        for (prefix, path) in update.withdrawn.iter().flatten().flat_map(|w| w.nlri.paths()) {
            if path == 0 {
                self.routes.remove(&prefix);
            } else {
                self.others.remove(&(prefix, path));
            }
        }
        if let Some(attributes) = &update.attributes {
            for section in update.announced.iter().flatten() {
                let attrs = interner.intern_with(attributes, section.next_hop);
                for path in section.nlri.paths() {
                    self.set(path, Some(attrs.clone()));
                }
            }
        }
        if let Some(family) = update.end_of_rib {
            *self.end_of_rib.get_mut(family) = true;
        }
    }
}

/// Every message of a record.
pub(crate) fn each(
    messages: &[u8],
    context: &Context,
    mut take: impl FnMut(&Message<'_>),
) -> Result<(), BadRecord> {
    let mut framer = wire::Framer::new();
    framer.follow(context);
    framer.push(messages);
    while let Some(frame) = framer.next().map_err(|_| BadRecord::Message)? {
        match wire::decode(frame, context) {
            Ok(message) => take(&message),
            Err(_) => return Err(BadRecord::Message),
        }
    }
    if framer.pending() == 0 { Ok(()) } else { Err(BadRecord::Message) }
}

/// Writes a log anew: what is told, what is unsure, and the markers.
#[derive(Default)]
pub(crate) struct Writer {
    sent: Vec<u8>,
    unsure: Vec<u8>,
}

impl Writer {
    pub(crate) fn announce<L: Listed>(
        &mut self,
        context: &Context,
        family: Family,
        attrs: &Attributes,
        prefixes: &[L],
    ) {
        all(prefixes, |rest| wire::announce(context, family, attrs, rest, &mut self.sent));
    }

    pub(crate) fn unsure<L: Listed>(&mut self, context: &Context, family: Family, prefixes: &[L]) {
        all(prefixes, |rest| wire::withdraw(context, family, rest, &mut self.unsure));
    }

    pub(crate) fn end_of_rib(&mut self, family: Family) {
        wire::end_of_rib(family, &mut self.sent);
    }

    pub(crate) fn refresh_begun(&mut self, family: Family) {
        wire::refresh_mark(family.into(), RefreshMark::Begin, &mut self.sent);
    }

    pub(crate) fn finish(self) -> Vec<Record> {
        let sent = (!self.sent.is_empty()).then_some(Record::Sent(self.sent));
        let unsure = (!self.unsure.is_empty()).then_some(Record::Unsure(self.unsure));
        sent.into_iter().chain(unsure).collect()
    }
}

/// Writes messages until all prefixes are in one.
pub(crate) fn all<L>(mut prefixes: &[L], mut write: impl FnMut(&[L]) -> usize) {
    while let n @ 1.. = write(prefixes) {
        prefixes = prefixes.get(n..).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{attributes, prefix};
    use proptest::prelude::*;

    const CONTEXT: Context = Context { four_octet_as: true, internal: false, ..Context::BARE };

    #[test]
    fn a_replayed_log_is_what_the_peer_holds() {
        let (one, two) = (attributes(&[65001]), attributes(&[65002]));
        let [a, b, c] = ["10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8"].map(prefix);
        let family = Family::Ipv4Unicast;
        let mut sent = Vec::new();
        wire::announce(&CONTEXT, family, &one, &[a, b, c], &mut sent);
        wire::keepalive(&mut sent);
        wire::announce(&CONTEXT, family, &two, &[b], &mut sent);
        wire::withdraw(&CONTEXT, family, &[c], &mut sent);
        wire::end_of_rib(family, &mut sent);
        let mut unsure = Vec::new();
        wire::withdraw(&CONTEXT, family, &[prefix("13.0.0.0/8")], &mut unsure);
        let mut interner = Interner::default();
        let log = [Record::Sent(sent), Record::Unsure(unsure)];
        let read: Vec<_> = log.iter().map(|r| Record::decode(&r.encode()).unwrap()).collect();
        let told = Told::replay(&read, &CONTEXT, &mut interner).unwrap();
        let held = |p: &str| told.routes.get(&prefix(p)).cloned();
        assert_eq!(held("10.0.0.0/8"), Some(Some(interner.intern(&one))));
        assert_eq!(held("11.0.0.0/8"), Some(Some(interner.intern(&two))));
        assert_eq!(held("12.0.0.0/8"), None);
        assert_eq!(held("13.0.0.0/8"), Some(None));
        assert!(*told.end_of_rib.get(family) && !*told.end_of_rib.get(Family::Ipv6Unicast));
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let replay = |record| Told::replay(&[record], &CONTEXT, &mut Interner::default());
        assert_eq!(Record::decode(&[]), Err(BadRecord::Empty));
        assert_eq!(Record::decode(&[9, 1]), Err(BadRecord::Kind(9)));
        assert!(replay(Record::Sent(vec![1; 19])).is_err());
        let mut cut = Vec::new();
        wire::end_of_rib(Family::Ipv4Unicast, &mut cut);
        cut.pop();
        assert!(replay(Record::Sent(cut)).is_err());
    }

    proptest! {
        #[test]
        fn strange_records_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(record) = Record::decode(&bytes) {
                let _ = Told::replay(&[record], &CONTEXT, &mut Interner::default());
            }
        }
    }
}
