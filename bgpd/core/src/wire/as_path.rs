//! AS_PATH: reading, merging with AS4_PATH, and the questions the decision process asks.

use super::reader::Reader;
use super::types::{AsPath, Segment, SegmentKind};
use crate::types::Asn;
use std::fmt;

/// A segment's length is one octet (RFC 4271 §4.3 b).
pub(super) const MAX_SEGMENT: usize = 255;

const AS_SET: u8 = 1;
const AS_SEQUENCE: u8 = 2;
const AS_CONFED_SEQUENCE: u8 = 3;
const AS_CONFED_SET: u8 = 4;

impl AsPath {
    /// RFC 4271 §9.1.2.2 a: a set counts as one.
    #[must_use]
    pub fn length(&self) -> usize {
        self.0.iter().map(Segment::count).sum()
    }

    #[must_use]
    pub fn contains(&self, asn: Asn) -> bool {
        self.0.iter().any(|s| s.asns.contains(&asn))
    }

    /// Puts `asn` in front, `count` times (RFC 4271 §5.1.2 b): in the leading sequence while that
    /// has room, else in a new one.
    pub fn prepend(&mut self, asn: Asn, count: usize) {
        for _ in 0..count {
            match self.0.first_mut() {
                Some(Segment { kind: SegmentKind::Sequence, asns }) if asns.len() < MAX_SEGMENT => {
                    asns.insert(0, asn);
                }
                _ => self.0.insert(0, Segment { kind: SegmentKind::Sequence, asns: vec![asn] }),
            }
        }
    }

    /// The leftmost AS, which is the neighbour's; none in front of an empty path or of a set.
    #[must_use]
    pub fn first(&self) -> Option<Asn> {
        self.0.first().filter(|s| s.kind == SegmentKind::Sequence)?.asns.first().copied()
    }

    /// Who originated the route; none if the path is empty or ends in a set (RFC 6811 §2).
    #[must_use]
    pub fn origin_as(&self) -> Option<Asn> {
        self.0.last().filter(|s| s.kind == SegmentKind::Sequence)?.asns.last().copied()
    }

    /// Only these numbers stay.
    pub fn retain(&mut self, wanted: impl Fn(Asn) -> bool) {
        for segment in &mut self.0 {
            segment.asns.retain(|asn| wanted(*asn));
        }
        self.0.retain(|segment| !segment.asns.is_empty());
    }

    /// Puts another number in the place of each of these.
    pub fn replace(&mut self, which: impl Fn(Asn) -> bool, by: Asn) {
        let asns = self.0.iter_mut().flat_map(|segment| &mut segment.asns);
        asns.filter(|asn| which(**asn)).for_each(|asn| *asn = by);
    }

    pub fn asns(&self) -> impl Iterator<Item = Asn> {
        self.0.iter().flat_map(|s| s.asns.iter().copied())
    }
}

impl Segment {
    fn count(&self) -> usize {
        match self.kind {
            SegmentKind::Set => 1,
            SegmentKind::Sequence => self.asns.len(),
        }
    }
}

/// `65001 65002 {65003 65004}`
impl fmt::Display for AsPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, segment) in self.0.iter().enumerate() {
            let gap = if i == 0 { "" } else { " " };
            write!(f, "{gap}{segment}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Segment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = match self.kind {
            SegmentKind::Set => ("{", "}"),
            SegmentKind::Sequence => ("", ""),
        };
        f.write_str(open)?;
        for (i, asn) in self.asns.iter().enumerate() {
            let gap = if i == 0 { "" } else { " " };
            write!(f, "{gap}{asn}")?;
        }
        f.write_str(close)
    }
}

/// What to do with the segments that only make sense inside a confederation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Confed {
    /// RFC 5065 §4.1: an error from a peer outside of it.
    Refuse,
    /// RFC 6793 §6: dropped from AS4_PATH.
    Drop,
}

/// Reads segments whose AS numbers have four octets, or two. The error ends a sentence about the
/// attribute (RFC 7606 §7.2).
pub(super) fn read(bytes: &[u8], four: bool, confed: Confed) -> Result<AsPath, String> {
    let mut reader = Reader::new(bytes);
    let mut segments = Vec::with_capacity(count_segments(bytes, four));
    while let Some(kind) = reader.u8() {
        let count = reader.u8().ok_or("ends inside a segment")?;
        let size = usize::from(count) * if four { 4 } else { 2 };
        let asns = reader.take(size).ok_or("has a segment longer than itself")?;
        if asns.is_empty() {
            return Err("has an empty segment".into());
        }
        let kind = match kind {
            AS_SET => SegmentKind::Set,
            AS_SEQUENCE => SegmentKind::Sequence,
            AS_CONFED_SEQUENCE | AS_CONFED_SET if confed == Confed::Drop => continue,
            AS_CONFED_SEQUENCE | AS_CONFED_SET => {
                return Err("has a confederation segment, and the peer is in none of ours".into());
            }
            other => return Err(format!("has a segment of the unknown type {other}")),
        };
        segments.push(Segment { kind, asns: read_asns(asns, four) });
    }
    let path = AsPath(segments);
    // RFC 7607 §2.
    if path.contains(Asn(0)) { Err("contains AS 0".into()) } else { Ok(path) }
}

fn read_asns(bytes: &[u8], four: bool) -> Vec<Asn> {
    if four {
        bytes.as_chunks().0.iter().map(|b| Asn(u32::from_be_bytes(*b))).collect()
    } else {
        bytes.as_chunks().0.iter().map(|b| Asn(u16::from_be_bytes(*b).into())).collect()
    }
}

/// So that a hostile path of tiny segments costs no more than it must.
fn count_segments(bytes: &[u8], four: bool) -> usize {
    let mut reader = Reader::new(bytes);
    let mut count = 0;
    while reader.u8().is_some() {
        count += 1;
        let Some(asns) = reader.u8() else { break };
        if reader.take(usize::from(asns) * if four { 4 } else { 2 }).is_none() {
            break;
        }
    }
    count
}

/// RFC 6793 §4.2.3: the leading part of AS_PATH that AS4_PATH does not cover, then AS4_PATH.
pub(super) fn merge(as_path: AsPath, as4_path: AsPath) -> AsPath {
    let Some(mut missing) = as_path.length().checked_sub(as4_path.length()) else {
        return as_path;
    };
    if as4_path.0.is_empty() {
        return as_path;
    }
    let mut merged = Vec::with_capacity(as_path.0.len() + as4_path.0.len());
    for mut segment in as_path.0 {
        if missing == 0 {
            break;
        }
        if segment.kind == SegmentKind::Sequence {
            segment.asns.truncate(missing);
        }
        missing -= segment.count();
        merged.push(segment);
    }
    append(&mut merged, as4_path);
    AsPath(merged)
}

/// Two sequences that meet become one where one may hold both.
fn append(merged: &mut Vec<Segment>, tail: AsPath) {
    let mut tail = tail.0.into_iter();
    let Some(first) = tail.next() else { return };
    match merged.last_mut() {
        Some(last)
            if last.kind == SegmentKind::Sequence
                && first.kind == SegmentKind::Sequence
                && last.asns.len() + first.asns.len() <= MAX_SEGMENT =>
        {
            last.asns.extend(first.asns);
        }
        _ => merged.push(first),
    }
    merged.extend(tail);
}

/// How an AS number stands in two octets (RFC 6793 §4.2.2).
pub(super) fn two_octets(asn: Asn) -> u16 {
    u16::try_from(asn.0).unwrap_or(Asn::TRANS.0 as u16)
}

/// Appends the segments; those too long for their length octet are split.
pub(super) fn put(path: &AsPath, four: bool, out: &mut Vec<u8>) {
    for segment in &path.0 {
        let kind = match segment.kind {
            SegmentKind::Set => AS_SET,
            SegmentKind::Sequence => AS_SEQUENCE,
        };
        for asns in segment.asns.chunks(MAX_SEGMENT) {
            out.push(kind);
            out.push(u8::try_from(asns.len()).unwrap_or(u8::MAX));
            for asn in asns {
                if four {
                    out.extend(asn.0.to_be_bytes());
                } else {
                    out.extend(two_octets(*asn).to_be_bytes());
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(asns: impl IntoIterator<Item = u32>) -> Segment {
        Segment { kind: SegmentKind::Sequence, asns: asns.into_iter().map(Asn).collect() }
    }

    fn set(asns: impl IntoIterator<Item = u32>) -> Segment {
        Segment { kind: SegmentKind::Set, ..sequence(asns) }
    }

    #[test]
    fn a_set_counts_as_one() {
        let path = AsPath(vec![sequence([1, 2, 2]), set([3, 4, 5])]);
        assert_eq!(path.length(), 4);
        assert_eq!(path.to_string(), "1 2 2 {3 4 5}");
        assert!(path.contains(Asn(5)) && !path.contains(Asn(6)));
    }

    #[test]
    fn the_ends_of_a_path_are_only_known_in_sequences() {
        let path = AsPath(vec![sequence([1, 2]), set([3, 4])]);
        assert_eq!((path.first(), path.origin_as()), (Some(Asn(1)), None));
        let path = AsPath(vec![set([3, 4]), sequence([1, 2])]);
        assert_eq!((path.first(), path.origin_as()), (None, Some(Asn(2))));
        assert_eq!((AsPath::default().first(), AsPath::default().origin_as()), (None, None));
    }

    #[test]
    fn prepending_opens_a_sequence_when_there_is_none_or_it_is_full() {
        let mut path = AsPath(vec![set([9])]);
        path.prepend(Asn(1), 256);
        assert_eq!(path.0.iter().map(|s| s.asns.len()).collect::<Vec<_>>(), [1, 255, 1]);
        path.prepend(Asn(2), 1);
        assert_eq!(path.first(), Some(Asn(2)));
        assert_eq!(path.0.len(), 3);
        path.prepend(Asn(3), 0);
        assert_eq!(path.length(), 258);
    }

    #[test]
    fn segments_too_long_to_write_are_split() {
        let path = AsPath(vec![sequence(1..=600)]);
        for four in [true, false] {
            let mut out = Vec::new();
            put(&path, four, &mut out);
            let read = read(&out, four, Confed::Refuse).unwrap();
            assert_eq!(read.0.iter().map(|s| s.asns.len()).collect::<Vec<_>>(), [255, 255, 90]);
            assert!(read.asns().eq(path.asns()));
        }
    }

    #[test]
    fn what_as4_path_lacks_comes_from_as_path() {
        let merged = |as_path, as4_path| merge(AsPath(as_path), AsPath(as4_path)).to_string();
        assert_eq!(merged(vec![sequence([1, 23456])], vec![sequence([70000])]), "1 70000");
        assert_eq!(
            merged(vec![set([5, 6]), sequence([1, 2])], vec![sequence([70000])]),
            "{5 6} 1 70000"
        );
        assert_eq!(merged(vec![sequence([1])], vec![sequence([70000, 2])]), "1");
        assert_eq!(merged(vec![sequence([1, 2])], vec![]), "1 2");
        assert_eq!(merged(vec![sequence([1]), set([7, 8])], vec![set([7, 70000])]), "1 {7 70000}");
    }

    #[test]
    fn confederation_segments_are_dropped_from_as4_path_alone() {
        let bytes = [3, 1, 0, 0, 0, 9, 2, 1, 0, 0, 0, 1];
        assert_eq!(read(&bytes, true, Confed::Drop).unwrap().to_string(), "1");
        assert!(read(&bytes, true, Confed::Refuse).is_err());
    }
}
