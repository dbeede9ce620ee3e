//! Words and numbers as people read them.

use std::borrow::Cow;

/// Text whose characters all show: no escape sequence, no carriage return, no turned direction.
/// Line breaks stay.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return text.into();
    }
    let show = |c: char| if is_hidden(c) { c.escape_unicode().collect() } else { c.to_string() };
    text.chars().map(show).collect::<String>().into()
}

/// The same within one line.
pub(crate) fn clean_line(text: &str) -> String {
    clean(text).replace('\n', "\\n")
}

fn is_hidden(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2028}' | '\u{2029}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    turns || (c.is_control() && c != '\n')
}

/// `350ms`, `12s`, `3m05s`, `3h12m`, `4d02h`: two units at most.
pub(crate) fn age(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "-".into();
    }
    if seconds < 1.0 {
        return format!("{:.0}ms", (seconds * 1000.0).floor());
    }
    let whole = std::time::Duration::try_from_secs_f64(seconds).map_or(u64::MAX, |d| d.as_secs());
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{whole}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", whole % 60),
        (0, ..) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

/// `1 peer`, `2 peers`.
pub(crate) fn count(n: u64, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

/// What is not there.
pub(crate) fn dash() -> String {
    "-".into()
}

/// What is not there shows as a dash.
pub(crate) fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_moves_the_cursor_or_hides_itself() {
        assert_eq!(clean("tor-a é\n"), "tor-a é\n");
        assert_eq!(clean("a\u{1b}[2Jb\rc\u{7}"), "a\\u{1b}[2Jb\\u{d}c\\u{7}");
        assert_eq!(clean("a\u{202e}b\u{9b}31m"), "a\\u{202e}b\\u{9b}31m");
        assert_eq!(clean_line("a\nb"), "a\\nb");
    }

    #[test]
    fn ages_have_two_units_at_most() {
        let ages = [0.0, 0.35, 12.9, 185.0, 11_520.0, 352_800.0, 1e30, -1.0, f64::NAN];
        let shown = ages.map(age).join(" ");
        assert_eq!(shown, "0ms 350ms 12s 3m05s 3h12m 4d02h 213503982334601d07h - -");
    }
}
