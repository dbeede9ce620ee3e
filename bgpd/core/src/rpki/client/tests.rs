use super::*;
use crate::testing::{prefix, start};
use crate::types::Asn;
use proptest::prelude::*;

/// A cache, by hand.
struct Cache {
    client: Client,
    now: Instant,
    /// What the client has sent and nobody has looked at yet.
    sent: Vec<u8>,
}

fn vrp(text: &str, max_len: u8, asn: u32) -> Vrp {
    Vrp { prefix: prefix(text), max_len, asn: Asn(asn) }
}

fn message(version: u8, kind: u8, session: u16, body: &[u8]) -> Vec<u8> {
    let [high, low] = session.to_be_bytes();
    let length = u32::try_from(8 + body.len()).unwrap().to_be_bytes();
    [&[version, kind, high, low], length.as_slice(), body].concat()
}

fn told(version: u8, vrp: &Vrp, announced: bool) -> Vec<u8> {
    let (kind, addr) = match vrp.prefix.addr() {
        std::net::IpAddr::V4(a) => (4, a.octets().to_vec()),
        std::net::IpAddr::V6(a) => (6, a.octets().to_vec()),
    };
    let head = [u8::from(announced), vrp.prefix.len(), vrp.max_len, 0];
    message(version, kind, 0, &[&head, addr.as_slice(), &vrp.asn.0.to_be_bytes()].concat())
}

fn end(version: u8, serial: u32) -> Vec<u8> {
    let numbers = [serial, 60, 5, 600];
    let words = if version == 0 { &numbers[..1] } else { &numbers };
    let body: Vec<u8> = words.iter().flat_map(|n| n.to_be_bytes()).collect();
    message(version, 7, 77, &body)
}

/// A whole answer.
fn answer(version: u8, serial: u32, changes: &[(Vrp, bool)]) -> Vec<u8> {
    let mut bytes = message(version, 3, 77, &[]);
    changes.iter().for_each(|(vrp, announced)| bytes.extend(told(version, vrp, *announced)));
    bytes.extend(end(version, serial));
    bytes
}

impl Cache {
    fn new() -> Self {
        let mut cache =
            Self { client: Client::new(Times::default()), now: start(), sent: Vec::new() };
        cache.client.connected(cache.now, &mut cache.sent);
        cache
    }

    fn says(&mut self, bytes: &[u8]) -> Outcome {
        self.client.received(bytes, self.now, &mut self.sent)
    }

    fn pass(&mut self, seconds: u64) -> Outcome {
        self.now += Duration::from_secs(seconds);
        self.client.due(self.now, &mut self.sent)
    }

    /// Version and type of each message the client has sent.
    fn asked(&mut self) -> Vec<(u8, u8)> {
        let mut kinds = Vec::new();
        let mut bytes = std::mem::take(&mut self.sent);
        while !bytes.is_empty() {
            kinds.push((bytes[0], bytes[1]));
            let length = u32::from_be_bytes(bytes[4..8].try_into().unwrap());
            bytes.drain(..usize::try_from(length).unwrap());
        }
        kinds
    }

    fn vrps(&self) -> Vec<Vrp> {
        self.client.table().iter().collect()
    }
}

const RESET: (u8, u8) = (1, 2);
const SERIAL: (u8, u8) = (1, 1);

#[test]
fn all_is_asked_for_once_and_then_what_has_changed() {
    let (a, b) = (vrp("10.0.0.0/8", 16, 65001), vrp("2001:db8::/32", 48, 65002));
    let mut cache = Cache::new();
    assert_eq!(cache.asked(), [RESET]);
    assert_eq!(cache.says(&answer(1, 1, &[(a, true)])), Outcome::Changed);
    assert_eq!(cache.vrps(), [a]);
    cache.says(&message(1, 0, 77, &2u32.to_be_bytes()));
    assert_eq!(cache.asked(), [SERIAL], "at once when the cache has news");
    cache.says(&answer(1, 2, &[(b, true), (a, false)]));
    assert_eq!(cache.vrps(), [b]);
    cache.pass(59);
    assert_eq!(cache.asked(), []);
    cache.pass(1);
    assert_eq!(cache.asked(), [SERIAL], "and as often as the cache wants");
}

#[test]
fn half_an_answer_changes_nothing() {
    let (a, b) = (vrp("10.0.0.0/8", 16, 65001), vrp("11.0.0.0/8", 8, 65002));
    let mut cache = Cache::new();
    cache.says(&answer(1, 1, &[(a, true)]));
    cache.says(&message(1, 0, 77, &2u32.to_be_bytes()));
    cache.says(&[message(1, 3, 77, &[]), told(1, &b, true)].concat());
    cache.client.closed("closed by the cache");
    assert_eq!(cache.vrps(), [a]);
    assert!(cache.client.has_data() && !cache.client.is_up());
}

#[test]
fn what_a_cache_has_said_counts_until_it_expires() {
    let mut cache = Cache::new();
    cache.says(&answer(1, 1, &[(vrp("10.0.0.0/8", 16, 65001), true)]));
    cache.client.closed("closed by the cache");
    assert_eq!(cache.pass(599), Outcome::Nothing);
    assert_eq!(cache.vrps().len(), 1);
    assert_eq!(cache.pass(1), Outcome::Changed);
    assert_eq!(cache.vrps(), []);
    cache.asked();
    cache.client.connected(cache.now, &mut cache.sent);
    assert_eq!(cache.asked(), [RESET], "nothing is there to be changed");
}

#[test]
fn an_older_cache_is_spoken_to_in_its_version() {
    let a = vrp("10.0.0.0/8", 16, 65001);
    let mut refusing = Cache::new();
    refusing.asked();
    let unsupported = message(0, 10, 4, &[0; 8]);
    assert_eq!(refusing.says(&unsupported), Outcome::Nothing);
    assert_eq!(refusing.asked(), [(0, 2)]);
    assert_eq!(refusing.says(&answer(0, 1, &[(a, true)])), Outcome::Changed);
    let mut answering = Cache::new();
    assert_eq!(answering.says(&answer(0, 1, &[(a, true)])), Outcome::Changed);
    let mut hanging_up = Cache::new();
    hanging_up.asked();
    hanging_up.client.closed("closed by the cache");
    hanging_up.client.connected(hanging_up.now, &mut hanging_up.sent);
    assert_eq!(hanging_up.asked(), [(0, 2)]);
}

#[test]
fn a_cache_reset_is_followed_by_asking_for_all() {
    let (a, b) = (vrp("10.0.0.0/8", 16, 65001), vrp("11.0.0.0/8", 8, 65002));
    let mut cache = Cache::new();
    cache.says(&answer(1, 1, &[(a, true)]));
    cache.pass(60);
    cache.asked();
    cache.says(&message(1, 8, 0, &[]));
    assert_eq!(cache.asked(), [RESET]);
    assert_eq!(cache.vrps(), [a], "until the new ones are there");
    cache.says(&answer(1, 9, &[(b, true)]));
    assert_eq!(cache.vrps(), [b]);
}

#[test]
fn nonsense_is_told_and_ends_the_connection_but_not_the_data() {
    let a = vrp("10.0.0.0/8", 16, 65001);
    let mut host_bits = told(1, &a, true);
    host_bits[12..16].copy_from_slice(&[10, 0, 0, 1]);
    for (bytes, why) in [
        (message(1, 99, 0, &[]), "a PDU of type 99"),
        (answer(1, 2, &[(a, true)]), "10.0.0.0/8 AS65001 announced twice"),
        (answer(1, 2, &[(vrp("11.0.0.0/8", 8, 1), false)]), "11.0.0.0/8 AS1 withdrawn"),
        (told(1, &a, true), "a prefix outside of an answer"),
        ([message(1, 3, 77, &[]), host_bits].concat(), "a prefix that is none"),
        (message(1, 3, 78, &[]), "another session than that asked for"),
        (message(1, 4, 0, &[0; 3]), "a PDU of type 4 with 11 octets"),
        ([1, 4, 0, 0, 0xff, 0xff, 0xff, 0xff].to_vec(), "a PDU of 4294967295 octets"),
        (answer(0, 2, &[]), "version 0 where 1 was spoken"),
    ] {
        let mut cache = Cache::new();
        cache.says(&answer(1, 1, &[(a, true)]));
        cache.pass(60);
        cache.asked();
        assert_eq!(cache.says(&bytes), Outcome::Close, "{why}");
        assert_eq!(cache.asked().last().map(|m| m.1), Some(10), "an Error Report");
        let said = cache.client.last_error().unwrap();
        assert!(said.starts_with(why), "{said} / {why}");
        assert_eq!(cache.vrps(), [a]);
    }
}

#[test]
fn a_cache_that_does_not_answer_is_given_up() {
    let mut cache = Cache::new();
    assert_eq!(cache.pass(59), Outcome::Nothing);
    assert_eq!(cache.pass(1), Outcome::Close);
    assert_eq!(cache.client.last_error(), Some("the cache does not answer"));
}

#[test]
fn an_error_of_the_cache_is_told_in_its_words() {
    let mut cache = Cache::new();
    let text = b"try later";
    let body = [&[0; 4], 9u32.to_be_bytes().as_slice(), text].concat();
    assert_eq!(cache.says(&message(1, 10, 2, &body)), Outcome::Close);
    assert_eq!(cache.client.last_error(), Some("the cache says it has no data yet: try later"));
}

proptest! {
    #[test]
    fn an_answer_means_the_same_however_it_is_cut(
        cuts in prop::collection::vec(0usize..400, 0..6),
        wanted in prop::collection::btree_set((0u8..60, 16u8..24, 0u32..9), 0..12),
    ) {
        let vrps: Vec<Vrp> = wanted.iter()
            .map(|(n, max, asn)| vrp(&format!("10.{n}.0.0/16"), *max, *asn)).collect();
        let bytes = answer(1, 1, &vrps.iter().map(|v| (*v, true)).collect::<Vec<_>>());
        let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let mut cache = Cache::new();
        for pair in cuts.windows(2) {
            cache.says(&bytes[pair[0]..pair[1]]);
        }
        prop_assert_eq!(cache.vrps(), vrps);
    }

    #[test]
    fn no_bytes_of_a_cache_do_harm(
        junk in prop::collection::vec(any::<u8>(), 0..200),
        kinds in prop::collection::vec((0u8..12, 0u16..2, prop::collection::vec(any::<u8>(), 0..24)), 0..8),
    ) {
        let mut cache = Cache::new();
        for (kind, session, body) in kinds {
            if cache.says(&message(1, kind, 77 + session, &body)) == Outcome::Close {
                cache.client.connected(cache.now, &mut cache.sent);
            }
        }
        cache.says(&junk);
        prop_assert!(cache.client.buffer.len() <= 200);
    }
}
