//! The two ends of a measurement: one that announces, one that counts what comes out.

use bgp_core::types::{Asn, Family, NextHop, Prefix};
use bgp_core::wire::{
    AsPath, Attributes, Context, Framer, Message, Origin, Segment, SegmentKind, announce, decode,
    withdraw,
};
use mainstay_tests::netns::Netns;
use mainstay_tests::session::establish;
use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

const CONTEXT: Context = Context { four_octet_as: true, internal: false, ..Context::BARE };

/// A session with the speaker that is measured; what arrives goes to whoever `heard` belongs to.
pub struct End {
    stream: TcpStream,
    heard: Receiver<(usize, Instant)>,
}

impl End {
    /// Dials until it is answered, exchanges OPENs, and counts prefixes from then on.
    pub fn dial(host: &Netns, local: Ipv4Addr, remote: Ipv4Addr, asn: u32) -> Self {
        let to = SocketAddr::new(IpAddr::V4(remote), 179);
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let stream = host.run(move || TcpStream::connect_timeout(&to, Duration::from_secs(1)));
            match stream.and_then(|s| establish(s, local, asn)) {
                Ok(stream) => return Self::established(stream),
                Err(e) if Instant::now() > end => panic!("no session with {to}: {e}"),
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    fn established(stream: TcpStream) -> Self {
        let (tell, heard) = channel();
        let reader = stream.try_clone().expect("descriptors");
        std::thread::spawn(move || count(reader, &tell));
        Self { stream, heard }
    }

    /// Writes a whole table; how it is taken is the speaker's business.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the session stands");
    }

    /// When exactly `count` prefixes were there.
    pub fn when(&self, count: usize, limit: Duration) -> Result<Instant, String> {
        let end = Instant::now() + limit;
        let mut seen = 0;
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match self.heard.recv_timeout(left) {
                Ok((n, at)) if n == count => return Ok(at),
                Ok((n, _)) => seen = n,
                Err(_) => break,
            }
        }
        Err(format!("{seen} prefixes instead of {count} after {limit:?}"))
    }
}

/// Tells how many prefixes are announced at the moment, after each piece of the stream.
fn count(mut stream: TcpStream, tell: &Sender<(usize, Instant)>) {
    let mut framer = Framer::default();
    let mut held: HashSet<Prefix> = HashSet::new();
    let mut bytes = vec![0; 256 * 1024];
    while let Ok(n @ 1..) = stream.read(&mut bytes) {
        framer.push(&bytes[..n]);
        while let Ok(Some(frame)) = framer.next() {
            let message = decode(frame, &CONTEXT).expect("a speaker's message");
            if let Message::Update(update) = message {
                for section in update.withdrawn.iter().flatten() {
                    section.nlri.into_iter().for_each(|p| {
                        held.remove(&p);
                    });
                }
                for section in update.announced.iter().flatten() {
                    held.extend(section.nlri);
                }
            }
        }
        if tell.send((held.len(), Instant::now())).is_err() {
            return;
        }
    }
}

/// `count` prefixes of mixed lengths, six to a set of attributes, as UPDATEs; and the UPDATEs that
/// take them back.
pub fn table(count: usize, asn: u32, next_hop: Ipv4Addr) -> (Vec<u8>, Vec<u8>) {
    let prefixes: Vec<Prefix> = (0..count).map(prefix).collect();
    let (mut up, mut down) = (Vec::new(), Vec::new());
    for (n, group) in prefixes.chunks(6).enumerate() {
        let attributes = attributes(n, asn, next_hop);
        let sent = announce(&CONTEXT, Family::Ipv4Unicast, &attributes, group, &mut up);
        assert_eq!(sent, group.len());
    }
    let mut rest = prefixes.as_slice();
    while !rest.is_empty() {
        let sent = withdraw(&CONTEXT, Family::Ipv4Unicast, rest, &mut down);
        rest = &rest[sent..];
    }
    (up, down)
}

/// /24s and a quarter of /22s, from 20.0.0.0 on, none inside another.
fn prefix(n: usize) -> Prefix {
    let n = u32::try_from(n).expect("small");
    let base = 20u32 << 24;
    let addr = Ipv4Addr::from(base + n * 1024);
    let len = if n % 4 == 0 { 22 } else { 24 };
    Prefix::containing(IpAddr::V4(addr), len).expect("a length that fits")
}

fn attributes(n: usize, asn: u32, next_hop: Ipv4Addr) -> Attributes {
    let n = u32::try_from(n).expect("small");
    let asns = vec![Asn(asn), Asn(100_000 + n % 500), Asn(200_000 + n % 7919)];
    Attributes {
        as_path: AsPath(vec![Segment { kind: SegmentKind::Sequence, asns }]),
        med: Some(n % 97),
        communities: vec![(65001 << 16) | (n % 1000), (65001 << 16) | 65000],
        ..Attributes::bare(NextHop::V4(next_hop), Origin::Igp)
    }
}
