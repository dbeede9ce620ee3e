//! Time that a clock jump cannot touch, and the boot it belongs to.

use std::time::Duration;

/// The kernel's name for this boot; times of [`boottime`] compare only within one.
pub fn boot_id() -> std::io::Result<String> {
    Ok(std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Time since the boot, suspend included (CLOCK_BOOTTIME).
#[must_use]
pub fn boottime() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let secs = u64::try_from(t.tv_sec).unwrap_or_default();
    Duration::new(secs, u32::try_from(t.tv_nsec).unwrap_or_default())
}

/// For how long this process has been there, from the moment it was forked; zero if that cannot be
/// found out.
#[must_use]
pub fn age() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    born(&stat).map(|born| boottime().saturating_sub(born)).unwrap_or_default()
}

/// The 22nd field of proc_pid_stat(5), in ticks of USER_HZ since the boot. The second, the name, may
/// hold anything and ends with the last bracket.
fn born(stat: &str) -> Option<Duration> {
    const TICK: Duration = Duration::from_millis(10);
    let (_, behind_name) = stat.rsplit_once(')')?;
    let ticks: u32 = behind_name.split_whitespace().nth(19)?.parse().ok()?;
    Some(TICK * ticks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_has_a_name_and_its_clock_moves() {
        assert_eq!(boot_id().unwrap().len(), 36);
        let before = boottime();
        assert!(boottime() >= before && before > Duration::ZERO);
    }

    #[test]
    fn a_process_knows_its_age() {
        assert!(age() > Duration::ZERO && age() < Duration::from_secs(3600));
        let stat = "7 (a) b) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 250 1 1";
        assert_eq!(born(stat), Some(Duration::from_millis(2500)));
        assert_eq!(born("nonsense"), None);
    }
}
