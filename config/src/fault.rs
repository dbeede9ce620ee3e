//! A fault: where it is, what is there, what is allowed.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// How many faults of one file are told; a file with more is no configuration.
const MOST_FAULTS: usize = 500;
/// How much of an offending text is repeated.
const MOST_SHOWN: usize = 60;

/// One line for the operator: `mainstay.yaml:14:18: bgp.peers[2].hold_time: 2s is neither …`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub severity: Severity,
    /// The file as it was named to us.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// `bgp.peers[2].hold_time`; empty for the file as a whole.
    pub path: Arc<str>,
    /// What is there and what is allowed.
    pub text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// The file is refused.
    Error,
    /// The file is used; this part of it may not do what its author hopes.
    Warning,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.text)
    }
}

/// Every fault of a refused file, in the order of the text, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults {
    pub(crate) told: Vec<Fault>,
    /// How many there are besides.
    pub(crate) more: usize,
}

impl Faults {
    /// How many there are, told or not.
    #[must_use]
    pub fn total(&self) -> usize {
        self.told.len() + self.more
    }
}

impl Deref for Faults {
    type Target = [Fault];

    fn deref(&self) -> &[Fault] {
        &self.told
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.told.iter().enumerate() {
            let newline = if i == 0 { "" } else { "\n" };
            write!(f, "{newline}{fault}")?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more"),
        }
    }
}

impl std::error::Error for Faults {}

/// Where in the file a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) path: Arc<str>,
}

impl Place {
    pub(crate) fn new(line: usize, column: usize, path: &str) -> Self {
        Self { line, column, path: path.into() }
    }

    /// The same spot, speaking of another key of the same map.
    pub(crate) fn beside(&self, key: &str) -> Self {
        let path = self.path.rsplit_once('.').map_or("", |(map, _)| map);
        Self { path: path.into(), ..*self }.below(key)
    }

    /// The same spot, speaking of a key beneath it.
    pub(crate) fn below(&self, key: &str) -> Self {
        let path = if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path) };
        Self { path: path.into(), ..*self }
    }
}

/// Where faults are gathered while a file is read and checked.
#[derive(Debug)]
pub(crate) struct Log {
    file: Arc<str>,
    faults: Vec<Fault>,
    more: usize,
}

impl Log {
    pub(crate) fn new(file: &str) -> Self {
        Self { file: file.into(), faults: Vec::new(), more: 0 }
    }

    pub(crate) fn error(&mut self, place: &Place, text: impl Into<String>) {
        self.push(Severity::Error, place, text.into());
    }

    pub(crate) fn warn(&mut self, place: &Place, text: impl Into<String>) {
        self.push(Severity::Warning, place, text.into());
    }

    /// Whether something is wrong there already, so that "missing" would be a second complaint.
    pub(crate) fn has(&self, place: &Place) -> bool {
        self.faults.iter().any(|fault| fault.path == place.path)
    }

    fn push(&mut self, severity: Severity, place: &Place, text: String) {
        // Bounded, so that no file makes us keep, sort and search more.
        if self.faults.len() >= MOST_FAULTS {
            self.more += usize::from(severity == Severity::Error);
            return;
        }
        let Place { line, column, ref path } = *place;
        let file = Arc::clone(&self.file);
        self.faults.push(Fault { severity, file, line, column, path: Arc::clone(path), text });
    }

    /// The warnings of a usable file, or what makes it unusable.
    pub(crate) fn finish(mut self) -> Result<Vec<Fault>, Faults> {
        self.faults.sort_by_key(|f| (f.line, f.column));
        let (errors, warnings): (Vec<_>, Vec<_>) =
            self.faults.into_iter().partition(|f| f.severity == Severity::Error);
        if errors.is_empty() && self.more == 0 {
            return Ok(warnings);
        }
        Err(Faults { told: errors, more: self.more })
    }
}

/// Text out of the file as a message may repeat it: short, and nothing a terminal would obey.
pub(crate) fn shown(text: &str) -> String {
    let short: String = text.chars().take(MOST_SHOWN).collect();
    let cut = if short.len() < text.len() { "…" } else { "" };
    let plain =
        !short.is_empty() && short.chars().all(|c| c.is_ascii_graphic() || c.is_alphanumeric());
    if plain { format!("{short}{cut}") } else { format!("{short:?}{cut}") }
}

/// `a, b or c`.
pub(crate) fn one_of<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<_> = words.into_iter().collect();
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
    }
}
