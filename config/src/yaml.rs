//! YAML text to a tree in which every key and value knows its line and column.
//!
//! A strict subset: one document, text keys, no tags. Aliases are copied within a budget of
//! nodes, so that no file grows beyond what its size suggests.

use crate::fault::{Log, Place, shown};
use granit_parser::{Event, Parser, ScalarStyle, ScanError, Span};
use std::collections::HashMap;

/// Nodes of one file, copies by alias included. 20,000 peers need about 180,000.
const MOST_NODES: usize = 1_000_000;
/// No key of the schema lies deeper than eight.
const MOST_LEVELS: usize = 32;

#[derive(Debug, Clone)]
pub(crate) struct Yaml {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) kind: Kind,
    /// Nodes from here down, this one included.
    size: usize,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// `plain`: without quotes, so it may be a number or nothing at all.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Yaml>),
    Map(Vec<(Key, Yaml)>),
}

#[derive(Debug, Clone)]
pub(crate) struct Key {
    pub(crate) text: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Yaml {
    /// `key:` with nothing behind it, `~` or `null`.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    fn json(self) -> serde_json::Value {
        let nothing = self.is_empty();
        match self.kind {
            _ if nothing => serde_json::Value::Null,
            Kind::Scalar { text, plain: true } if text == "true" || text == "false" => {
                (text == "true").into()
            }
            Kind::Scalar { text, plain: true } => match text.parse::<i64>() {
                Ok(number) => number.into(),
                Err(_) => text.into(),
            },
            Kind::Scalar { text, plain: false } => text.into(),
            Kind::List(items) => items.into_iter().map(Self::json).collect(),
            Kind::Map(entries) => {
                let entries = entries.into_iter().map(|(key, value)| (key.text, value.json()));
                serde_json::Value::Object(entries.collect())
            }
        }
    }

    /// The value as a message repeats it.
    pub(crate) fn shown(&self) -> String {
        match &self.kind {
            Kind::Scalar { .. } if self.is_empty() => "nothing".into(),
            Kind::Scalar { text, .. } => shown(text),
            Kind::List(_) => "a list".into(),
            Kind::Map(_) => "a map".into(),
        }
    }
}

/// `None` when the text is no YAML, or too much of it; the log has the reason.
pub(crate) fn parse(text: &str, log: &mut Log) -> Option<Yaml> {
    let mut options = granit_parser::options! { disallow_directives: true };
    options.set_emit_comments(false);
    let events = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader { events, log, anchors: HashMap::new(), nodes: 0, level: 0 };
    match reader.stream() {
        Ok(tree) => Some(tree),
        Err(Stop::Syntax(error)) => {
            let place = Place::new(error.marker().line(), error.marker().col() + 1, "");
            log.error(&place, format!("not YAML: {}", error.info()));
            None
        }
        Err(Stop::Refused(place, text)) => {
            log.error(&place, text);
            None
        }
    }
}

/// Any other YAML document, within the same bounds, as JSON: what is not ours to check with its place.
/// Plain words that are no number, boolean or nothing are text.
pub fn value(text: &str, file: &str) -> Result<serde_json::Value, crate::Faults> {
    let mut log = Log::new(file);
    let tree = parse(text, &mut log);
    log.finish()?;
    Ok(tree.map_or(serde_json::Value::Null, Yaml::json))
}

/// Why reading cannot go on.
enum Stop {
    Syntax(ScanError),
    Refused(Place, String),
}

struct Reader<'a, E> {
    events: E,
    log: &'a mut Log,
    anchors: HashMap<usize, Yaml>,
    nodes: usize,
    level: usize,
}

type Item<'i> = Result<(Event<'i>, Span), ScanError>;

impl<'i, E: Iterator<Item = Item<'i>>> Reader<'_, E> {
    fn next(&mut self) -> Result<(Event<'i>, Span), Stop> {
        match self.events.next() {
            Some(item) => item.map_err(Stop::Syntax),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn stream(&mut self) -> Result<Yaml, Stop> {
        let mut tree = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => break,
                Event::DocumentStart(..) if tree.is_some() => {
                    let text = "a second document; the configuration is one, without ---";
                    return Err(Stop::Refused(place(&span), text.into()));
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                event => tree = Some(self.node(event, &span)?),
            }
        }
        Ok(tree.unwrap_or_else(|| Yaml::map(1, 1, Vec::new())))
    }

    fn node(&mut self, event: Event<'i>, span: &Span) -> Result<Yaml, Stop> {
        self.count(1, span)?;
        let (line, column) = (span.start.line(), span.start.col() + 1);
        let (anchor, tag, kind) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                (anchor, tag, Kind::Scalar { text: text.into_owned(), plain })
            }
            Event::SequenceStart(_, anchor, tag) => (anchor, tag, self.deeper(span, Self::list)?),
            Event::MappingStart(_, anchor, tag) => (anchor, tag, self.deeper(span, Self::map)?),
            Event::Alias(anchor) => return self.copy(anchor, span),
            other => {
                return Err(Stop::Refused(place(span), format!("{other:?} is out of place here")));
            }
        };
        if tag.is_some() {
            self.log.error(&place(span), "a tag (!…); tags mean nothing here, take it away");
        }
        let size = 1 + kind.below();
        let node = Yaml { line, column, kind, size };
        if anchor != 0 {
            self.count(size, span)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn deeper(
        &mut self,
        span: &Span,
        read: fn(&mut Self) -> Result<Kind, Stop>,
    ) -> Result<Kind, Stop> {
        self.level += 1;
        if self.level > MOST_LEVELS {
            let text = format!("nested deeper than {MOST_LEVELS} levels");
            return Err(Stop::Refused(place(span), text));
        }
        let kind = read(self)?;
        self.level -= 1;
        Ok(kind)
    }

    fn list(&mut self) -> Result<Kind, Stop> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Kind::List(items)),
                (event, span) => items.push(self.node(event, &span)?),
            }
        }
    }

    fn map(&mut self) -> Result<Kind, Stop> {
        let mut entries = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Kind::Map(entries));
            }
            let key = self.node(event, &span)?;
            let (event, span) = self.next()?;
            let value = self.node(event, &span)?;
            let at = Place::new(key.line, key.column, "");
            let Kind::Scalar { text, .. } = key.kind else {
                self.log.error(&at, format!("{} as a key; keys are words", key.shown()));
                continue;
            };
            entries.push((Key { text, line: key.line, column: key.column }, value));
        }
    }

    /// What an alias stands for. The place of its values stays where they are written.
    fn copy(&mut self, anchor: usize, span: &Span) -> Result<Yaml, Stop> {
        let Some(size) = self.anchors.get(&anchor).map(|n| n.size) else {
            return Err(Stop::Refused(place(span), "an alias inside what it stands for".into()));
        };
        self.count(size, span)?;
        match self.anchors.get(&anchor) {
            Some(node) => Ok(node.clone()),
            None => Err(Stop::Refused(place(span), "an alias of nothing".into())),
        }
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), Stop> {
        self.nodes += nodes;
        if self.nodes > MOST_NODES {
            let text = format!("more than {MOST_NODES} values; no configuration is that long");
            return Err(Stop::Refused(place(span), text));
        }
        Ok(())
    }
}

impl Yaml {
    fn map(line: usize, column: usize, entries: Vec<(Key, Self)>) -> Self {
        Self { line, column, size: 1, kind: Kind::Map(entries) }
    }
}

impl Kind {
    fn below(&self) -> usize {
        match self {
            Self::Scalar { .. } => 0,
            Self::List(items) => items.iter().map(|n| n.size).sum(),
            Self::Map(entries) => entries.iter().map(|(_, n)| n.size + 1).sum(),
        }
    }
}

fn place(span: &Span) -> Place {
    Place::new(span.start.line(), span.start.col() + 1, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalars(node: &Yaml, all: &mut Vec<(String, usize, usize)>) {
        match &node.kind {
            Kind::Scalar { text, .. } => all.push((text.clone(), node.line, node.column)),
            Kind::List(items) => items.iter().for_each(|item| scalars(item, all)),
            Kind::Map(entries) => entries.iter().for_each(|(_, value)| scalars(value, all)),
        }
    }

    fn places(text: &str) -> Vec<(String, usize, usize)> {
        let mut log = Log::new("f");
        let tree = parse(text, &mut log).unwrap();
        assert_eq!(log.finish(), Ok(vec![]));
        let mut all = Vec::new();
        scalars(&tree, &mut all);
        all
    }

    #[test]
    fn columns_count_characters_and_not_bytes() {
        assert_eq!(places("é: [ü, x]"), [("ü".into(), 1, 5), ("x".into(), 1, 8)]);
        assert_eq!(places("a:\r\n  b: c\r\n"), [("c".into(), 2, 6)]);
        assert_eq!(places("\u{feff}a: b"), [("b".into(), 1, 4)]);
    }

    #[test]
    fn an_alias_is_what_it_stands_for_at_its_place() {
        let x = ("x".to_owned(), 1, 8);
        assert_eq!(places("a: &a [x]\nb: *a"), [x.clone(), x]);
    }

    #[test]
    fn nothing_at_all_is_an_empty_map() {
        for text in ["", "\n\n", "# only this", "---\n"] {
            let tree = parse(text, &mut Log::new("f")).unwrap();
            assert!(
                tree.is_empty() || matches!(&tree.kind, Kind::Map(m) if m.is_empty()),
                "{text:?}"
            );
        }
    }
}
