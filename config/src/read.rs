//! From the located tree to typed values, with every fault told and none stopping the rest.
//!
//! [`table!`] writes a struct, its JSON Schema and its reader from one list of keys, so that what
//! an editor is told and what the daemons accept cannot part.

use crate::fault::{Log, Place, one_of, shown};
use crate::yaml::{Key, Kind, Yaml};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;

/// A value, where it stands and how it is written there.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) place: Place,
    pub(crate) text: String,
    pub(crate) value: T,
}

/// A list that may be absent.
pub(crate) type List<T> = Option<At<Vec<At<T>>>>;
/// Words by words: labels and what selects them.
pub(crate) type Labels = BTreeMap<String, String>;

impl<T> Deref for At<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

/// An absent list has no items.
pub(crate) trait Items<T> {
    fn items(&self) -> &[At<T>];
}

impl<T> Items<T> for List<T> {
    fn items(&self) -> &[At<T>] {
        self.as_ref().map_or(&[], |list| &list.value)
    }
}

/// What a YAML value can be read as. `None`: a fault has been told.
pub(crate) trait Value: Sized {
    fn read(yaml: &Yaml, place: &Place, log: &mut Log) -> Option<Self>;
    fn schema(generator: &mut SchemaGenerator) -> Schema;
}

/// A value that is one word.
pub(crate) trait Scalar: Sized {
    /// What is allowed, to follow "is not": `a port, 1 to 65535`.
    const WHAT: &'static str;
    /// Numbers and truth values are written without quotes.
    const PLAIN: bool = false;
    /// The error is what follows the offending text: `has no unit; write 90s`.
    fn from_text(text: &str) -> Result<Self, Wrong>;
    fn schema() -> serde_json::Value;
}

/// Why a text is not the value it should be.
pub(crate) enum Wrong {
    /// Simply not [`Scalar::WHAT`].
    Kind,
    /// What to say behind the offending text instead.
    Because(String),
}

impl<T: Scalar> Value for T {
    fn read(yaml: &Yaml, place: &Place, log: &mut Log) -> Option<Self> {
        let what = Self::WHAT;
        let wrong = match &yaml.kind {
            _ if yaml.is_empty() => format!("nothing is given; wanted is {what}"),
            Kind::Scalar { text, plain: false } if Self::PLAIN => {
                format!("{text:?} is in quotes; wanted is {what}, without quotes")
            }
            Kind::Scalar { text, .. } => match Self::from_text(text) {
                Ok(value) => return Some(value),
                Err(Wrong::Kind) => format!("{} is not {what}", shown(text)),
                Err(Wrong::Because(why)) => format!("{} {why}", shown(text)),
            },
            Kind::List(_) | Kind::Map(_) => format!("{} is not {what}", yaml.shown()),
        };
        log.error(place, wrong);
        None
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        Schema::try_from(<Self as Scalar>::schema()).unwrap_or_default()
    }
}

impl<T: Value> Value for Vec<At<T>> {
    fn read(yaml: &Yaml, place: &Place, log: &mut Log) -> Option<Self> {
        let items = match &yaml.kind {
            Kind::List(items) => items,
            _ if yaml.is_empty() => return Some(Self::new()),
            _ => {
                log.error(place, format!("{} is not a list; write [ … ]", yaml.shown()));
                return None;
            }
        };
        let read = |(i, item): (usize, &Yaml)| {
            let path = format!("{}[{i}]", place.path);
            let place = Place::new(item.line, item.column, &path);
            let value = T::read(item, &place, log)?;
            Some(At { place, text: item.shown(), value })
        };
        Some(items.iter().enumerate().filter_map(read).collect())
    }

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": "array", "items": T::schema(generator)})
    }
}

impl Value for Labels {
    fn read(yaml: &Yaml, place: &Place, log: &mut Log) -> Option<Self> {
        let mut labels = Self::new();
        for (key, (at, value)) in entries(yaml, place, log)? {
            match &value.kind {
                Kind::Scalar { text, .. } if !value.is_empty() => {
                    labels.insert(key.text.clone(), text.clone());
                }
                _ => log.error(&at, format!("{} is not a label's value, a word", value.shown())),
            }
        }
        Some(labels)
    }

    fn schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}})
    }
}

/// Key and value with the value's place, in the order of the file, each key once.
fn entries<'y>(
    yaml: &'y Yaml,
    place: &Place,
    log: &mut Log,
) -> Option<Vec<(&'y Key, (Place, &'y Yaml))>> {
    let entries = match &yaml.kind {
        Kind::Map(entries) => entries.as_slice(),
        _ if yaml.is_empty() => &[],
        _ => {
            log.error(place, format!("{} is not a map of keys and values", yaml.shown()));
            return None;
        }
    };
    let mut first = HashMap::new();
    let mut once = Vec::with_capacity(entries.len());
    for (key, value) in entries {
        let mut at = place.below(&shown_key(&key.text));
        (at.line, at.column) = (key.line, key.column);
        if let Some(line) = first.insert(key.text.as_str(), key.line) {
            log.error(&at, format!("given twice; first on line {line}"));
            continue;
        }
        // An empty value has no place of its own that an eye would find.
        if !value.is_empty() {
            (at.line, at.column) = (value.line, value.column);
        }
        once.push((key, (at, value)));
    }
    Some(once)
}

/// Paths are read by people and split by nobody; but no key may bend the line.
fn shown_key(key: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    if key.len() < 80 && key.chars().all(plain) { key.into() } else { shown(key).into() }
}

/// A map whose keys are known.
pub(crate) struct Table<'y, 'l> {
    place: &'l Place,
    entries: HashMap<&'y str, (Place, &'y Yaml)>,
    pub(crate) log: &'l mut Log,
}

impl<'y, 'l> Table<'y, 'l> {
    /// Tells every key that is not among `known`.
    pub(crate) fn open(
        yaml: &'y Yaml,
        place: &'l Place,
        known: &[&str],
        log: &'l mut Log,
    ) -> Option<Self> {
        let mut mine = HashMap::new();
        for (key, (at, value)) in entries(yaml, place, log)? {
            if known.contains(&key.text.as_str()) {
                mine.insert(key.text.as_str(), (at, value));
            } else {
                let at = Place { line: key.line, column: key.column, ..at };
                log.error(&at, unknown(&key.text, known));
            }
        }
        Some(Self { place, entries: mine, log })
    }

    fn read<T: Value>(&mut self, key: &str) -> Option<Option<At<T>>> {
        let (place, yaml) = self.entries.remove(key)?;
        let value = T::read(yaml, &place, self.log);
        Some(value.map(|value| At { place, text: yaml.shown(), value }))
    }
}

/// A struct's field read from a table's key. `None`: needed, but missing or faulty.
pub(crate) trait Field: Sized {
    fn field(table: &mut Table<'_, '_>, key: &str) -> Option<Self>;
}

impl<T: Value> Field for At<T> {
    fn field(table: &mut Table<'_, '_>, key: &str) -> Option<Self> {
        let found = table.read(key);
        if found.is_none() {
            table.log.error(table.place, format!("the key {key} is missing"));
        }
        found.flatten()
    }
}

impl<T: Value> Field for Option<At<T>> {
    fn field(table: &mut Table<'_, '_>, key: &str) -> Option<Self> {
        Some(table.read(key).flatten())
    }
}

fn unknown(key: &str, known: &[&str]) -> String {
    let guess = known
        .iter()
        .map(|k| (distance(key, k), k))
        .min()
        .filter(|(far, k)| *far <= 1 + k.len() / 4)
        .map_or(String::new(), |(_, k)| format!("; did you mean {k}?"));
    format!("unknown key{guess} (known here: {})", known.join(", "))
}

/// How many letters to insert, take away or change to come from one word to the other.
fn distance(a: &str, b: &str) -> usize {
    // Long junk is no slip of the finger, and must not cost its square.
    let a: Vec<char> = a.to_lowercase().chars().take(40).collect();
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let change = diagonal + usize::from(*x != y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// What is allowed, for a word out of few.
pub(crate) fn wrong_word(words: &[&str]) -> Wrong {
    Wrong::Because(format!("is not one of {}", one_of(words.iter().copied())))
}

impl<T: Value> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        std::any::type_name::<T>().into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <T as Value>::schema(generator)
    }
}

/// A map with known keys: the struct, its schema, its reader.
macro_rules! table {
    ($(#[$meta:meta])* $name:ident {
        $( $(#[$field_meta:meta])* $key:ident: $type:ty, )*
    }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, schemars::JsonSchema)]
        #[schemars(deny_unknown_fields)]
        pub(crate) struct $name {
            $( $(#[$field_meta])* pub(crate) $key: $type, )*
        }

        impl $name {
            /// As they are written in the file.
            pub(crate) const KEYS: &'static [&'static str] =
                &[$( $crate::read::written(stringify!($key)), )*];
        }

        impl $crate::read::Value for $name {
            fn read(
                yaml: &$crate::yaml::Yaml,
                place: &$crate::fault::Place,
                log: &mut $crate::fault::Log,
            ) -> Option<Self> {
                let mut table = $crate::read::Table::open(yaml, place, Self::KEYS, log)?;
                // All are read before the first that is missing ends it.
                $( let $key = <$type as $crate::read::Field>::field(
                    &mut table, $crate::read::written(stringify!($key))); )*
                Some(Self { $( $key: $key?, )* })
            }

            fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                generator.subschema_for::<Self>()
            }
        }
    };
}
pub(crate) use table;

/// A key without the mark that lets it be a word of Rust's own.
pub(crate) const fn written(key: &'static str) -> &'static str {
    match key.as_bytes() {
        [b'r', b'#', ..] => key.split_at(2).1,
        _ => key,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_guessed_and_a_stranger_is_not() {
        let known = ["name", "hold_time", "asn"];
        let guess = |key| unknown(key, &known).contains("did you mean");
        assert!(guess("hold_tiem") && guess("nmae") && guess("Name") && guess("holdtime"));
        assert!(!guess("remote_as") && !guess("colour") && !guess(""));
        assert!(!guess(&"x".repeat(100_000)));
    }

    #[test]
    fn words_of_rust_are_keys_like_any_other() {
        assert_eq!((written("r#match"), written("router_id")), ("match", "router_id"));
    }
}
