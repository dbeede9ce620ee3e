//! What an RPKI cache has said, kept over the end of this process: until a cache answers again, the
//! next one would take every origin for unknown, and let invalid routes in.
//!
//! It counts for as long as the cache's expire interval says (RFC 8210 §6), by CLOCK_BOOTTIME and
//! therefore in this boot alone, as the kernel's routes do: after a reboot nobody knows how old it is.
//! So nothing has to be on disk; what the page cache has outlives the process.

use bgp_core::rpki::{Table, Vrp};
use bgp_core::types::Asn;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// All VRPs there are take a quarter of it.
const MOST: u64 = 128 << 20;
const HEAD: &str = "mainstay-vrps 1";
/// An answer without news is written down when this part of its time has passed.
const PART: u32 = 4;

/// An earlier process's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) server: String,
    pub(super) table: Arc<Table>,
    pub(super) until: Instant,
}

/// A cache's answer to be kept.
#[derive(Debug, Clone)]
struct Answer {
    server: String,
    table: Arc<Table>,
    /// By CLOCK_BOOTTIME.
    expires: Duration,
}

#[derive(Debug)]
pub(super) struct VrpFile {
    path: PathBuf,
    here: String,
    written: Option<Answer>,
    /// What is still to be written; a thread is at it while this is there.
    waiting: Arc<Mutex<Option<Option<Answer>>>>,
}

impl VrpFile {
    /// With what an earlier process of this boot has left, if that still counts.
    pub(super) fn read(state: &Path, here: &str) -> (Self, Option<Kept>) {
        let path = state.join("vrps");
        let kept = text_of(&path).and_then(|text| parse(&text, here, mainstay_daemon::boottime()));
        let waiting = Arc::default();
        (Self { path, here: here.into(), written: None, waiting }, kept)
    }

    /// The answer that counts now, which was fresh at `fresh`.
    pub(super) fn keep(
        &mut self,
        server: &str,
        table: &Arc<Table>,
        (fresh, expire): (Instant, Duration),
    ) {
        let now = mainstay_daemon::boottime();
        let expires = (now + expire).saturating_sub(fresh.elapsed());
        let is_known = self.written.as_ref().is_some_and(|last| {
            last.server == server
                && Arc::ptr_eq(&last.table, table)
                && expires.saturating_sub(last.expires) < expire / PART
        });
        if !is_known {
            let answer = Answer { server: server.into(), table: Arc::clone(table), expires };
            self.written = Some(answer.clone());
            self.write(answer);
        }
    }

    /// On a thread of its own: the loop waits for no disk, and a table may be large.
    fn write(&self, answer: Answer) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = waiting.is_none();
        *waiting = Some(Some(answer));
        drop(waiting);
        if !idle {
            return;
        }
        let (slot, path, here) = (Arc::clone(&self.waiting), self.path.clone(), self.here.clone());
        let work = move || {
            while let Some(answer) = next(&slot) {
                if let Err(error) = replace(&path, &text(&answer, &here)) {
                    tracing::warn!(path = %path.display(), %error, "what the RPKI says is not kept");
                }
            }
        };
        if std::thread::Builder::new().name("vrps".into()).spawn(work).is_err() {
            *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }
}

/// The newest; when there is none the thread ends, and says so.
fn next(slot: &Mutex<Option<Option<Answer>>>) -> Option<Answer> {
    let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = slot.as_mut().and_then(Option::take);
    if answer.is_none() {
        *slot = None;
    }
    answer
}

fn text_of(path: &Path) -> Option<String> {
    let file = std::fs::File::open(path).ok()?;
    let mut text = String::new();
    file.take(MOST).read_to_string(&mut text).ok()?;
    Some(text)
}

fn text(answer: &Answer, here: &str) -> String {
    let Answer { server, table, expires } = answer;
    let mut text = format!("{HEAD}\n{here}\n{server}\n{} {}\n", expires.as_millis(), table.len());
    for Vrp { prefix, max_len, asn } in table.iter() {
        let _ = writeln!(text, "{prefix} {max_len} {}", asn.0);
    }
    let sum = sum(&text);
    let _ = writeln!(text, "{sum:016x}");
    text
}

/// Whole and of this boot, or nothing.
fn parse(text: &str, here: &str, now: Duration) -> Option<Kept> {
    let (body, end) = text.strip_suffix('\n')?.rsplit_once('\n')?;
    let body = format!("{body}\n");
    (u64::from_str_radix(end, 16).ok()? == sum(&body)).then_some(())?;
    let mut lines = body.lines();
    (lines.next()? == HEAD && lines.next()? == here).then_some(())?;
    let server = lines.next()?.to_owned();
    let (expires, count) = lines.next()?.split_once(' ')?;
    let left = Duration::from_millis(expires.parse().ok()?).checked_sub(now)?;
    let vrps: Vec<Vrp> = lines.map(vrp).collect::<Option<_>>()?;
    (vrps.len() == count.parse::<usize>().ok()?).then_some(())?;
    Some(Kept { server, table: Arc::new(Table::new(vrps)), until: Instant::now() + left })
}

fn vrp(line: &str) -> Option<Vrp> {
    let mut words = line.split(' ');
    let prefix: bgp_core::types::Prefix = words.next()?.parse().ok()?;
    let max_len = words.next()?.parse().ok()?;
    let asn = Asn(words.next()?.parse().ok()?);
    let width = if prefix.is_ipv4() { 32 } else { 128 };
    (prefix.len()..=width).contains(&max_len).then_some(Vrp { prefix, max_len, asn })
}

/// FNV-1a.
fn sum(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |sum, octet| {
        (sum ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let new = path.with_extension("new");
    std::fs::write(&new, text)?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        let vrp = |prefix: &str, max_len, asn| Vrp {
            prefix: prefix.parse().unwrap(),
            max_len,
            asn: Asn(asn),
        };
        let vrps = vec![vrp("198.51.100.0/24", 28, 65001), vrp("2001:db8::/32", 48, 0)];
        let table = Arc::new(Table::new(vrps));
        Answer { server: "192.0.2.1:8282".into(), table, expires: Duration::from_secs(1000) }
    }

    #[test]
    fn what_was_kept_is_read_by_the_next_process_of_this_boot_until_it_expires() {
        let text = text(&answer(), "boot 7");
        let kept = parse(&text, "boot 7", Duration::from_secs(900)).unwrap();
        assert_eq!((&*kept.server, &kept.table), ("192.0.2.1:8282", &answer().table));
        let left = kept.until - Instant::now();
        assert!((Duration::from_secs(90)..=Duration::from_secs(100)).contains(&left), "{left:?}");
        assert_eq!(parse(&text, "boot 8", Duration::from_secs(900)), None, "another boot");
        assert_eq!(parse(&text, "boot 7", Duration::from_secs(1001)), None, "expired");
    }

    #[test]
    fn a_file_that_is_not_whole_counts_for_nothing() {
        let text = text(&answer(), "boot 7");
        let read = |text: &str| parse(text, "boot 7", Duration::ZERO);
        assert!(read(&text).is_some());
        for cut in 0..text.len() - 1 {
            assert_eq!(read(&text[..cut]), None, "cut at {cut}");
        }
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let same = String::from_utf8(bytes).ok().and_then(|t| read(&t));
            assert_eq!(same, None, "changed at {at}");
        }
    }
}
