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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_has_a_name_and_its_clock_moves() {
        assert_eq!(boot_id().unwrap().len(), 36);
        let before = boottime();
        assert!(boottime() >= before && before > Duration::ZERO);
    }
}
