//! Two files: what is written now, and what was before. When the one is full it takes the other's
//! place. Not synced: a crash may cost the last lines, of which an unfinished one is skipped.

use super::event::{Event, LONGEST};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const NOW: &str = "events.jsonl";
const BEFORE: &str = "events.1.jsonl";

pub(super) struct Log {
    dir: PathBuf,
    open: Option<(File, u64)>,
}

impl Log {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.into(), open: None }
    }

    /// Whole lines. After an error the file is opened anew next time.
    pub(super) fn append(&mut self, lines: &str, max_size: u64) -> io::Result<()> {
        if lines.is_empty() || max_size == 0 {
            return Ok(());
        }
        let (mut file, mut size) = self.open.take().map_or_else(|| self.open_now(), Ok)?;
        for lines in pieces(lines, max_size / 2) {
            if size > 0 && size + lines.len() as u64 > max_size / 2 {
                std::fs::rename(self.dir.join(NOW), self.dir.join(BEFORE))?;
                (file, size) = self.open_now()?;
            }
            file.write_all(lines.as_bytes())?;
            size += lines.len() as u64;
        }
        self.open = Some((file, size));
        Ok(())
    }

    fn open_now(&self) -> io::Result<(File, u64)> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600);
        let mut file = options.open(self.dir.join(NOW))?;
        let mut size = file.metadata()?.len();
        if size > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
            if last != *b"\n" {
                file.write_all(b"\n")?;
                size += 1;
            }
        }
        Ok((file, size))
    }

    /// Every event there is, oldest first; what is no line of ours is skipped.
    pub(super) fn read(&self, mut take: impl FnMut(Event)) -> io::Result<()> {
        for name in [BEFORE, NOW] {
            match File::open(self.dir.join(name)) {
                Ok(file) => read_lines(BufReader::new(file), &mut take)?,
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn read_lines(mut file: impl BufRead, take: &mut impl FnMut(Event)) -> io::Result<()> {
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut file).take(LONGEST as u64).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(());
        }
        if let Some(event) = line.strip_suffix(b"\n").and_then(Event::read) {
            take(event);
        }
    }
}

/// Whole lines, together no more than `most` bytes where that is possible.
fn pieces(lines: &str, most: u64) -> impl Iterator<Item = &str> {
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let mut rest = lines;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let fits = rest.as_bytes().get(..most.min(rest.len())).unwrap_or_default();
        let end = fits.iter().rposition(|b| *b == b'\n').map(|at| at + 1);
        let end = end.or_else(|| rest.find('\n').map(|at| at + 1)).unwrap_or(rest.len());
        let (piece, more) = rest.split_at_checked(end)?;
        rest = more;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::event::What;

    fn line(n: u64) -> String {
        let address = [10, 0, 0, 1].into();
        let mut text = String::new();
        Event { at: n, what: What::Cleared, why: String::new(), address, lease: None }
            .write(&mut text);
        text
    }

    fn read(dir: &Path) -> Vec<u64> {
        let mut all = Vec::new();
        Log::new(dir).read(|event| all.push(event.at)).unwrap();
        all
    }

    #[test]
    fn the_two_files_never_grow_beyond_their_bound_and_keep_the_latest() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = Log::new(dir.path());
        let most = line(100).len() as u64 * 20;
        for n in 100..200 {
            log.append(&line(n), most).unwrap();
        }
        log.append(&(200..235).map(line).collect::<String>(), most).unwrap();
        let sizes = [NOW, BEFORE].map(|name| dir.path().join(name).metadata().unwrap().len());
        assert!(sizes.iter().sum::<u64>() <= most, "{sizes:?}");
        let all = read(dir.path());
        assert!(all.len() >= 10, "{all:?}");
        assert_eq!(all, (235 - all.len() as u64..235).collect::<Vec<_>>());
    }

    #[test]
    fn an_unfinished_line_costs_itself_and_not_the_one_after_it() {
        let dir = tempfile::tempdir().unwrap();
        Log::new(dir.path()).append(&line(1), 1 << 20).unwrap();
        let torn = line(2);
        let mut file = OpenOptions::new().append(true).open(dir.path().join(NOW)).unwrap();
        file.write_all(&torn.as_bytes()[..torn.len() / 2]).unwrap();
        assert_eq!(read(dir.path()), [1]);
        Log::new(dir.path()).append(&line(3), 1 << 20).unwrap();
        assert_eq!(read(dir.path()), [1, 3]);
    }

    #[test]
    fn garbage_is_skipped_however_long_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let junk = [vec![0; 3 * LONGEST], b"\n{}\n\xff\n".to_vec(), line(7).into_bytes()].concat();
        std::fs::write(dir.path().join(NOW), junk).unwrap();
        assert_eq!(read(dir.path()), [7]);
    }
}
