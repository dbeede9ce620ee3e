//! netmon's own process, by the names Prometheus clients give these.

use super::SourceError;
use crate::export::{Samples, metrics};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use std::fs::{read_dir, read_to_string};

/// The numbers of /proc/<pid>/stat that are told on (proc_pid_stat(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stat {
    /// User and system time, in ticks.
    cpu: u64,
    threads: u64,
    /// After the boot, in ticks.
    started: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

/// The name in parentheses may hold spaces and parentheses itself: fields count from the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // Field 3 of the manual, the state, stands first here.
    let number = |field: usize| fields.get(field.checked_sub(3)?)?.parse::<u64>().ok();
    Some(Stat {
        cpu: number(14)?.checked_add(number(15)?)?,
        threads: number(20)?,
        started: number(22)?,
        virtual_bytes: number(23)?,
        resident_pages: number(24)?,
    })
}

/// "btime 1700000000" of /proc/stat: when the node booted.
fn parse_boot(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

pub(crate) fn export(samples: &mut Samples) -> Result<(), SourceError> {
    let read = |path: &'static str| {
        read_to_string(path).map_err(|source| SourceError::Proc { path, source })
    };
    let text = read("/proc/self/stat")?;
    let Some(stat) = parse_stat(&text) else {
        return Err(SourceError::Text { path: "/proc/self/stat", text });
    };
    let ticks = clock_ticks_per_second() as f64;
    let boot = parse_boot(&read("/proc/stat")?).unwrap_or_default();
    samples.add(&metrics::PROCESS_CPU, &[], stat.cpu as f64 / ticks);
    samples.add(&metrics::PROCESS_THREADS, &[], stat.threads);
    samples.add(&metrics::PROCESS_START_TIME, &[], boot as f64 + stat.started as f64 / ticks);
    samples.add(&metrics::PROCESS_VIRTUAL_MEMORY, &[], stat.virtual_bytes);
    let resident = stat.resident_pages.saturating_mul(page_size() as u64);
    samples.add(&metrics::PROCESS_RESIDENT_MEMORY, &[], resident);
    if let Ok(fds) = read_dir("/proc/self/fd") {
        // One of them is the directory being read.
        samples.add(&metrics::PROCESS_OPEN_FDS, &[], fds.count().saturating_sub(1) as f64);
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        samples.add(&metrics::PROCESS_MAX_FDS, &[], limit);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_move_the_fields() {
        let text = "4242 (a) b (c) S 1 4242 4242 0 -1 4194560 1000 0 0 0 150 50 0 0 20 0 5 0 \
                    123456 10485760 2048 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1";
        let stat = parse_stat(text).unwrap();
        assert_eq!(
            stat,
            Stat {
                cpu: 200,
                threads: 5,
                started: 123_456,
                virtual_bytes: 10_485_760,
                resident_pages: 2048
            }
        );
        assert_eq!(parse_stat("4242 (a) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn this_process_is_told_of() {
        let mut samples = Samples::default();
        export(&mut samples).unwrap();
        assert_eq!(samples.names().len(), metrics::PROCESS.len());
        assert_eq!(parse_boot("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000));
    }
}
