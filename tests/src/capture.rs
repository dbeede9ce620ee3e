//! What a speaker sends, taken off its cable: `CAPTURE=FILE make test-interop`.
//!
//! tcpdump writes the packets; the messages among them go to FILE as the codec's tests read them
//! (`bgpd/core/tests/wire_support`): a title, the session, the bytes, each message once.

use crate::netns::Netns;
use crate::proc::Proc;
use crate::scratch::Scratch;
use crate::wait::eventually;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;

/// All cells of this run.
static CAPTURED: Mutex<BTreeSet<Captured>> = Mutex::new(BTreeSet::new());

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Captured {
    speaker: String,
    session: String,
    /// As a message has it: OPEN first, KEEPALIVE last.
    kind: u8,
    bytes: Vec<u8>,
}

/// Ends with the session; then its messages are among the captured.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Proc,
    dir: Scratch,
    speaker: String,
    session: String,
}

const FILTER: &str =
    "tcp port 179 and (src host 192.0.2.1 or src host 2001:db8::1 or src host fe80::1)";

/// Where to, if anything is to be captured.
fn wanted() -> Option<PathBuf> {
    std::env::var_os("CAPTURE").map(PathBuf::from)
}

impl Capture {
    /// `session`: what was agreed on, in the words of the codec's tests.
    #[must_use]
    pub fn start(host: &Netns, speaker: String, session: String) -> Option<Self> {
        wanted()?;
        let dir = Scratch::new("capture");
        let mut command = host.command("tcpdump");
        let file = dir.path().join("packets");
        command.args([
            "-i",
            "eth0",
            "--immediate-mode",
            "-U",
            "-s",
            "0",
            "-B",
            "8192",
            "-Z",
            "root",
            "-w",
        ]);
        command.arg(&file).arg(FILTER);
        let tcpdump =
            Proc::start("tcpdump (apt-get install tcpdump)", command, &dir.path().join("log"));
        eventually(20, "tcpdump listens", || match tcpdump.log().contains("listening on") {
            true => Ok(()),
            false => Err(tcpdump.log()),
        });
        Some(Self { tcpdump, dir, speaker, session })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.tcpdump.terminate();
        let packets = std::fs::read(self.dir.path().join("packets")).unwrap_or_default();
        let Ok(mut all) = CAPTURED.lock() else { return };
        for bytes in messages(&packets) {
            let (speaker, session) = (self.speaker.clone(), self.session.clone());
            let kind = bytes.get(TYPE).copied().unwrap_or_default();
            all.insert(Captured { speaker, session, kind, bytes });
        }
    }
}

/// What all cells have captured, into the file that was asked for; how many messages.
pub fn write() -> Option<usize> {
    let path = wanted()?;
    let all = CAPTURED.lock().ok()?;
    let mut text = String::from(HEAD);
    for Captured { speaker, session, kind, bytes } in &*all {
        let kind = NAMES.get(usize::from(*kind)).unwrap_or(&"message");
        let _ = writeln!(text, "\n= {kind}, captured from {speaker}\n{session}");
        for line in bytes.chunks(40) {
            let hex: String = line.iter().map(|b| format!("{b:02x}")).collect();
            let _ = writeln!(text, "{hex}");
        }
    }
    std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    Some(all.len())
}

const HEAD: &str =
    "# What five speakers have sent to bgpd in the interop matrix: see tests/src/capture.rs.\n";
const NAMES: [&str; 6] = ["", "OPEN", "UPDATE", "NOTIFICATION", "KEEPALIVE", "ROUTE-REFRESH"];
const LENGTH: std::ops::Range<usize> = 16..18;
const TYPE: usize = 18;

/// The BGP messages in a pcap file of Ethernet, by connection in the order of TCP.
fn messages(pcap: &[u8]) -> Vec<Vec<u8>> {
    let mut streams: BTreeMap<u16, BTreeMap<u32, Vec<u8>>> = BTreeMap::new();
    let mut rest = pcap.get(24..).unwrap_or_default();
    while let Some((head, tail)) = rest.split_at_checked(16) {
        let length = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
        let Some((packet, tail)) = tail.split_at_checked(length as usize) else { break };
        rest = tail;
        if let Some((ports, at, bytes)) = segment(packet) {
            streams.entry(ports).or_default().insert(at, bytes.to_vec());
        }
    }
    streams.into_values().flat_map(|segments| cut(&in_order(&segments))).collect()
}

/// The port that is not BGP's, the place in the stream, the payload; nothing if that is empty.
fn segment(packet: &[u8]) -> Option<(u16, u32, &[u8])> {
    let ip = packet.get(14..)?;
    let length =
        |at: usize| Some(usize::from(u16::from_be_bytes([*ip.get(at)?, *ip.get(at + 1)?])));
    let tcp = match packet.get(12..14)? {
        [8, 0] => ip.get(usize::from(ip.first()? & 15) * 4..length(2)?)?,
        // TCP stands behind the fixed header at once.
        [0x86, 0xdd] if ip.get(6) == Some(&6) => ip.get(40..40 + length(4)?)?,
        _ => return None,
    };
    let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
    let at = u32::from_be_bytes(tcp.get(4..8)?.try_into().ok()?);
    let payload = tcp.get(usize::from(tcp.get(12)? >> 4) * 4..)?;
    let ports = if port(0)? == 179 { port(2)? } else { port(0)? };
    (!payload.is_empty()).then_some((ports, at, payload))
}

/// What was sent twice is there once. Streams here are far too short to count round.
fn in_order(segments: &BTreeMap<u32, Vec<u8>>) -> Vec<u8> {
    let mut stream = Vec::new();
    let Some(begin) = segments.keys().next() else { return stream };
    for (at, bytes) in segments {
        let at = (at - begin) as usize;
        assert!(at <= stream.len(), "a packet was not captured");
        stream.extend(bytes.get(stream.len() - at..).unwrap_or_default());
    }
    stream
}

fn cut(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    while let Some(length) = stream.get(LENGTH) {
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let Some((message, rest)) = stream.split_at_checked(length.max(19)) else { break };
        messages.push(message.to_vec());
        stream = rest;
    }
    messages
}
