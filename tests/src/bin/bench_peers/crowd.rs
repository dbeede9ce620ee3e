//! Many peers of one speaker: each announces, and keeps what it is told, so that it can be compared.

use bgp_core::types::{Asn, Family, NextHop, Prefix};
use bgp_core::wire::{
    AsPath, Attributes, Context, Framer, Message, Origin, Segment, SegmentKind, Update, announce,
    decode, withdraw,
};
use mainstay_tests::netns::Netns;
use mainstay_tests::session::establish;
use socket2::{Domain, Socket, Type};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Where the speaker is.
pub const SPEAKER: Ipv4Addr = Ipv4Addr::new(10, 1, 255, 254);
pub const SPEAKER_ASN: u32 = 64512;

/// The `n`th peer.
pub fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 0, 1)) + u32::try_from(n).expect("few"))
}

/// Whose paths count when it is asked whether all is there.
pub type Right = Box<dyn Fn(&Attributes) -> bool + Send>;

pub struct Member {
    stream: TcpStream,
    told: Arc<Told>,
}

struct Told {
    held: Mutex<Held>,
    changed: Condvar,
}

struct Held {
    /// With the number of its attributes.
    routes: HashMap<Prefix, u32>,
    sets: Vec<(Attributes, bool)>,
    right: usize,
    is_right: Right,
    at: Instant,
}

impl Member {
    /// Dials from its address until it is answered.
    pub fn dial(host: &Netns, local: Ipv4Addr, asn: u32, is_right: Right) -> Self {
        let end = Instant::now() + Duration::from_secs(60);
        let context = context(asn);
        loop {
            match host.run(move || connect(local)).and_then(|s| establish(s, local, asn)) {
                Ok(stream) => return Self::established(stream, context, is_right),
                Err(e) if Instant::now() > end => panic!("no session from {local}: {e}"),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    fn established(stream: TcpStream, context: Context, is_right: Right) -> Self {
        let (routes, sets) = (HashMap::new(), Vec::new());
        let held = Held { routes, sets, right: 0, is_right, at: Instant::now() };
        let told = Arc::new(Told { held: Mutex::new(held), changed: Condvar::new() });
        let reader = stream.try_clone().expect("descriptors");
        let to = Arc::clone(&told);
        std::thread::spawn(move || listen(reader, context, &to));
        Self { stream, told }
    }

    /// Writes in the background; how it is taken is the speaker's business.
    pub fn send(&self, bytes: Arc<Vec<u8>>) {
        let mut stream = self.stream.try_clone().expect("descriptors");
        // An end of the session shows in what is missing.
        std::thread::spawn(move || drop(stream.write_all(&bytes)));
    }

    /// Ends the session without a word.
    pub fn hang_up(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    /// When it held `count` right routes and, if `others` is false, nothing else.
    pub fn when(&self, count: usize, others: bool, end: Instant) -> Result<Instant, String> {
        let mut held = self.told.lock();
        loop {
            if held.right == count && (others || held.routes.len() == count) {
                return Ok(held.at);
            }
            let Some(left) = end.checked_duration_since(Instant::now()) else {
                return Err(format!("{} of {count} routes are right", held.right));
            };
            held = self.told.changed.wait_timeout(held, left).expect("no panic").0;
        }
    }

    /// Every route that `expected` knows has those attributes.
    ///
    /// On a link that all share the next hop may be the peer that announced it, too (RFC 4271
    /// §5.1.3): BIRD and OpenBGPD leave it.
    pub fn check(
        &self,
        expected: impl Fn(&Prefix) -> Option<(Attributes, NextHop)>,
    ) -> Result<(), String> {
        let held = self.told.lock();
        for (prefix, set) in &held.routes {
            let (has, Some((wants, announced))) = (&held.sets[*set as usize].0, expected(prefix))
            else {
                continue;
            };
            let same = has.as_path == wants.as_path
                && [wants.next_hop, announced].contains(&has.next_hop)
                && has.origin == wants.origin
                && has.communities == wants.communities;
            if !same {
                let text = |a: &Attributes| format!("[{}] via {}", a.as_path, a.next_hop);
                return Err(format!("{prefix} is {}, not {}", text(has), text(&wants)));
            }
        }
        Ok(())
    }
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("no panic")
    }
}

impl Held {
    fn update(&mut self, update: Update<'_>) {
        for section in update.withdrawn.iter().flatten() {
            for prefix in section.nlri {
                if let Some(set) = self.routes.remove(&prefix) {
                    self.right -= usize::from(self.sets[set as usize].1);
                }
            }
        }
        let Some(attributes) = update.attributes else { return };
        let is_right = (self.is_right)(&attributes);
        let number = u32::try_from(self.sets.len()).expect("fewer");
        self.sets.push((attributes, is_right));
        for prefix in update.announced.iter().flatten().flat_map(|section| section.nlri) {
            if let Some(was) = self.routes.insert(prefix, number) {
                self.right -= usize::from(self.sets[was as usize].1);
            }
            self.right += usize::from(is_right);
        }
    }
}

const fn context(asn: u32) -> Context {
    Context { four_octet_as: true, internal: asn == SPEAKER_ASN, ..Context::BARE }
}

fn connect(local: Ipv4Addr) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(local), 0).into())?;
    let to = SocketAddr::new(IpAddr::V4(SPEAKER), 179);
    socket.connect_timeout(&to.into(), Duration::from_secs(1))?;
    Ok(socket.into())
}

fn listen(mut stream: TcpStream, context: Context, told: &Told) {
    let mut framer = Framer::default();
    let mut bytes = vec![0; 128 * 1024];
    while let Ok(n @ 1..) = stream.read(&mut bytes) {
        framer.push(&bytes[..n]);
        let mut held = told.lock();
        while let Ok(Some(frame)) = framer.next() {
            if let Message::Update(update) = decode(frame, &context).expect("a message") {
                held.update(update);
            }
        }
        held.at = Instant::now();
        told.changed.notify_all();
    }
}

/// How many prefixes share a set of attributes.
const PER_SET: usize = 6;

/// What one peer announces.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    pub first: usize,
    pub count: usize,
    /// The peer's number.
    pub of: usize,
    pub asn: u32,
    /// Further ASs in its paths.
    pub longer: usize,
}

impl Table {
    /// The UPDATEs that announce it, and those that take it back.
    pub fn updates(&self) -> (Arc<Vec<u8>>, Arc<Vec<u8>>) {
        let context = context(self.asn);
        let prefixes: Vec<Prefix> = (self.first..self.first + self.count).map(prefix).collect();
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for (set, group) in prefixes.chunks(PER_SET).enumerate() {
            let attributes = self.attributes(set);
            let sent = announce(&context, Family::Ipv4Unicast, &attributes, group, &mut up);
            assert_eq!(sent, group.len());
        }
        let mut rest = prefixes.as_slice();
        while !rest.is_empty() {
            rest = &rest[withdraw(&context, Family::Ipv4Unicast, rest, &mut down)..];
        }
        (Arc::new(up), Arc::new(down))
    }

    /// What the speaker is to tell others of one of its prefixes, and by which next hop it came.
    pub fn told(&self, prefix: &Prefix) -> Option<(Attributes, NextHop)> {
        let number = number(prefix)?.checked_sub(self.first).filter(|n| *n < self.count)?;
        let mut attributes = self.attributes(number / PER_SET);
        let announced = attributes.next_hop;
        if self.asn != SPEAKER_ASN {
            attributes.as_path.prepend(Asn(SPEAKER_ASN), 1);
            attributes.next_hop = NextHop::V4(SPEAKER);
        }
        Some((attributes, announced))
    }

    fn attributes(&self, set: usize) -> Attributes {
        let n = u32::try_from(self.first + set).expect("small");
        let mut asns = vec![Asn(100_000 + n % 500), Asn(200_000 + n % 7919)];
        if self.asn != SPEAKER_ASN {
            asns.insert(0, Asn(self.asn));
        }
        asns.extend((0..self.longer).map(|_| Asn(300_000)));
        Attributes {
            as_path: AsPath(vec![Segment { kind: SegmentKind::Sequence, asns }]),
            med: Some(n % 97),
            local_pref: (self.asn == SPEAKER_ASN).then_some(100),
            communities: vec![(65001 << 16) | (n % 1000), (65001 << 16) | 65000],
            ..Attributes::bare(NextHop::V4(address(self.of)), Origin::Igp)
        }
    }
}

/// /24s and a quarter of /22s, from 20.0.0.0 on, none inside another.
pub fn prefix(n: usize) -> Prefix {
    let addr = Ipv4Addr::from((20u32 << 24) + u32::try_from(n).expect("small") * 1024);
    let len = if n.is_multiple_of(4) { 22 } else { 24 };
    Prefix::containing(IpAddr::V4(addr), len).expect("a length that fits")
}

fn number(prefix: &Prefix) -> Option<usize> {
    let IpAddr::V4(addr) = prefix.addr() else { return None };
    let n = u32::from(addr).checked_sub(20u32 << 24)? / 1024;
    usize::try_from(n).ok()
}
