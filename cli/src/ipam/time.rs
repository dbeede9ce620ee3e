//! Moments as people write and read them: UTC unless an offset is given.

use std::time::Duration;

const DAY: i64 = 86_400;

/// `2026-11-23 03:12`, `2026-11-23T03:12:00Z`, `2026-11-23T05:12:00+02:00`; `03:12`, the last time
/// it was that late; `90s`, `10m`, `3h`, `2d` ago; `now`.
pub(super) fn parse(text: &str, now: f64) -> Result<f64, String> {
    let text = text.trim();
    let wrong = || {
        format!(
            "{text:?} is no time: write 2026-11-23T03:12:00Z, '2026-11-23 03:12', 03:12 (UTC), or \
             how long ago: 10m, 3h, 2d"
        )
    };
    if text == "now" {
        return Ok(now);
    }
    let found = ago(text).map(|ago| now - ago);
    let found = found.or_else(|| date_time(text)).or_else(|| today(text, now));
    found.filter(|at| *at >= 0.0).ok_or_else(wrong)
}

fn ago(text: &str) -> Option<f64> {
    let text = text.strip_suffix(" ago").unwrap_or(text);
    if let Some(days) = text.strip_suffix('d') {
        return number(days, 4)
            .and_then(|days| u32::try_from(days).ok())
            .map(|d| f64::from(d) * 86_400.0);
    }
    mainstay_config::duration(text).as_ref().map(Duration::as_secs_f64)
}

fn date_time(text: &str) -> Option<f64> {
    let (date, rest) = text.split_at_checked(10)?;
    let mut parts = date.split('-');
    let (year, month, day) =
        (number(parts.next()?, 4)?, number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let real = (1..=12).contains(&month) && (1..=last_day(year, month)).contains(&day);
    let date = i64::from(days(year, month, day).filter(|_| real && year >= 1970)?) * DAY;
    if rest.is_empty() {
        return Some(date as f64);
    }
    let rest = rest.strip_prefix(['T', ' '])?;
    let split = rest.find(['Z', '+', '-']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at_checked(split)?;
    Some(date as f64 + seconds(clock)? - offset(zone)?)
}

fn today(text: &str, now: f64) -> Option<f64> {
    let midnight = (now / DAY as f64).floor() * DAY as f64;
    let at = midnight + seconds(text)?;
    Some(if at > now { at - DAY as f64 } else { at })
}

/// `03:12`, `03:12:59` or `03:12:59.5`.
fn seconds(clock: &str) -> Option<f64> {
    let mut parts = clock.split(':');
    let (hour, minute) = (number(parts.next()?, 2)?, number(parts.next()?, 2)?);
    let second = parts.next().unwrap_or("0");
    let whole = second.split('.').next()?;
    let plain = second.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let second: f64 = second.parse().ok().filter(|_| plain && whole.len() <= 2)?;
    let real = hour < 24 && minute < 60 && second < 60.0 && parts.next().is_none();
    real.then(|| (hour * 3600 + minute * 60) as f64 + second)
}

fn offset(zone: &str) -> Option<f64> {
    if zone.is_empty() || zone == "Z" {
        return Some(0.0);
    }
    let sign = if zone.starts_with('-') { -1.0 } else { 1.0 };
    let text = zone.get(1..)?;
    let (hours, minutes) = text.split_once(':').or_else(|| text.split_at_checked(2))?;
    let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
    (hours < 24 && minutes < 60).then(|| sign * (hours * 3600 + minutes * 60) as f64)
}

fn number(text: &str, most: usize) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

const fn last_day(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970 of a date, by the years that begin in March.
fn days(year: i64, month: i64, day: i64) -> Option<i32> {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap + (153 * month + 2) / 5 + day - 1 - 719_468;
    i32::try_from(days).ok()
}

/// `2026-11-23 03:12:00Z`.
pub(super) fn show(at: f64) -> String {
    if !at.is_finite() || !(0.0..253_402_300_800.0).contains(&at) {
        return "-".into();
    }
    let whole = at as i64;
    let (day, rest) = (whole / DAY + 719_468, whole % DAY);
    let era = day / 146_097;
    let of_era = day % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let date = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{date:02} {hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: f64 = 1_795_406_400.0; // 2026-11-23 04:00:00Z

    fn read(text: &str) -> String {
        parse(text, NOW).map_or_else(|_| "no time".into(), show)
    }

    #[test]
    fn a_time_may_be_written_in_several_ways() {
        let table = [
            ("now", "2026-11-23 04:00:00Z"),
            ("2026-11-23T03:12:00Z", "2026-11-23 03:12:00Z"),
            ("2026-11-23 03:12", "2026-11-23 03:12:00Z"),
            ("2026-11-23T05:12:59.5+02:00", "2026-11-23 03:12:59Z"),
            ("2026-11-22T22:12-0500", "2026-11-23 03:12:00Z"),
            ("2024-02-29", "2024-02-29 00:00:00Z"),
            ("03:12", "2026-11-23 03:12:00Z"),
            ("04:01:30", "2026-11-22 04:01:30Z"),
            ("10m", "2026-11-23 03:50:00Z"),
            ("1h30m ago", "2026-11-23 02:30:00Z"),
            ("2d", "2026-11-21 04:00:00Z"),
            ("2026-02-29", "no time"),
            ("2026-13-01", "no time"),
            ("24:00", "no time"),
            ("3:61", "no time"),
            ("yesterday", "no time"),
            ("", "no time"),
            ("2026-11-23T03:12:00+2:0:0", "no time"),
            ("99999d", "no time"),
            ("é026-11-23", "no time"),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_is_read_as_it_is_shown() {
        for day in 0..146_097_i64 {
            let text = show((day * DAY) as f64);
            assert_eq!(parse(&text, NOW), Ok((day * DAY) as f64), "{text}");
        }
    }
}
