//! Time that means the same in every process of this boot, and goes on in suspend.

use crate::rings::Moment;
use rustix::time::{ClockId, clock_gettime};

#[must_use]
pub fn now() -> Moment {
    let t = clock_gettime(ClockId::Boottime);
    Moment::new(t.tv_sec.try_into().unwrap_or(0), t.tv_nsec.try_into().unwrap_or(0))
}
