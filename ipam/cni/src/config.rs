//! The network configuration on stdin: JSON that belongs to several plugins at once, so we look
//! only at the keys that are ours and name the place of every fault in them.

use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::env::is_name;
use crate::error::{Code, Error};
use crate::version::SpecVersion;

pub type Object = Map<String, Value>;

/// A network configuration whose name and version are good.
#[derive(Clone, Debug)]
pub struct NetConf {
    pub name: String,
    pub version: SpecVersion,
    pub json: Object,
}

impl NetConf {
    pub fn read(stdin: &[u8]) -> Result<Self, Error> {
        let json = decode(stdin)?;
        let name = match json.get("name") {
            None => "",
            Some(name) => string("name", name)?,
        };
        if name.is_empty() {
            return Err(Error::config("missing network name"));
        }
        if !is_name(name) {
            return Err(Error::config("invalid characters found in network name").details(
                format!("{name:?}: a letter or digit, then letters, digits, '_', '.', '-'"),
            ));
        }
        let name = name.to_owned();
        let version = version(&json)?;
        Ok(Self { name, version, json })
    }
}

fn decode(stdin: &[u8]) -> Result<Object, Error> {
    let fault = |why: String| {
        Error::new(Code::DECODE, "cannot decode the network configuration").details(why)
    };
    match serde_json::from_slice(stdin) {
        Ok(Value::Object(json)) => Ok(json),
        Ok(other) => Err(fault(format!("it is {}, not an object", kind(&other)))),
        Err(e) => Err(fault(e.to_string())),
    }
}

fn version(json: &Object) -> Result<SpecVersion, Error> {
    let text = match json.get("cniVersion") {
        None | Some(Value::Null) => "",
        Some(Value::String(text)) => text,
        Some(other) => {
            return Err(
                Error::new(Code::DECODE, "cniVersion: is not a string").details(kind(other))
            );
        }
    };
    SpecVersion::parse(text).ok_or_else(|| {
        Error::new(Code::INCOMPATIBLE_VERSION, "incompatible CNI versions")
            .details(format!("config is {text:?}, plugin supports {}", SpecVersion::list()))
    })
}

/// The version to answer in when the call may not even be readable.
pub fn version_of(stdin: &[u8]) -> Option<SpecVersion> {
    version(&decode(stdin).ok()?).ok()
}

/// "a string", "an array": what stands where something else should.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn not(place: &str, wanted: &str, value: &Value) -> Error {
    Error::config(format!("{place}: is {}, not {wanted}", kind(value)))
}

pub(crate) fn string<'a>(place: &str, value: &'a Value) -> Result<&'a str, Error> {
    value.as_str().ok_or_else(|| not(place, "a string", value))
}

pub(crate) fn object<'a>(place: &str, value: &'a Value) -> Result<&'a Object, Error> {
    value.as_object().ok_or_else(|| not(place, "an object", value))
}

/// An array; null is the empty one, since that is how Go writes an empty list.
pub(crate) fn array<'a>(place: &str, value: &'a Value) -> Result<&'a [Value], Error> {
    match value {
        Value::Null => Ok(&[]),
        Value::Array(items) => Ok(items),
        other => Err(not(place, "an array", other)),
    }
}

/// Of a value that is shown; a configuration may hold anything.
const SHOWN: usize = 200;

/// Refuses the first key that is not known, naming it and its value, as the specification wants for
/// an unsupported field, and those that are.
pub(crate) fn only(place: &str, object: &Object, known: &[&str]) -> Result<(), Error> {
    let Some((key, value)) = object.iter().find(|(key, _)| !known.contains(&key.as_str())) else {
        return Ok(());
    };
    let mut value = value.to_string();
    value.truncate(value.floor_char_boundary(SHOWN));
    let msg = format!("{place}: unsupported key {key:?}: {value}");
    let known = format!("known: {}", known.join(", "));
    Err(Error::new(Code::UNSUPPORTED_FIELD, msg).details(known))
}

/// `json.a.b.c`, when every step of it is there; null counts as absent.
pub(crate) fn dig<'a>(json: &'a Object, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    let start = json.get(*first)?;
    rest.iter().try_fold(start, |value, key| value.get(key)).filter(|value| !value.is_null())
}

/// The address of "10.0.0.5" or "10.0.0.5/24".
pub(crate) fn ip_of(text: &str) -> Option<IpAddr> {
    match text.split_once('/') {
        None => text.parse().ok(),
        Some(_) => cidr(text).map(|(ip, _)| ip),
    }
}

/// An address and the length of its prefix.
pub(crate) fn cidr(text: &str) -> Option<(IpAddr, u8)> {
    let (ip, length) = text.split_once('/')?;
    let ip: IpAddr = ip.parse().ok()?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let plain = length.bytes().all(|b| b.is_ascii_digit());
    let length = length.parse().ok().filter(|length| plain && *length <= most)?;
    Some((ip, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(stdin: &str) -> String {
        NetConf::read(stdin.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn bad_configurations_say_what_is_wrong() {
        let faults: Vec<_> = [
            "",
            "{",
            "[1]",
            r#"{"cniVersion":"1.0.0"}"#,
            r#"{"cniVersion":"1.0.0","name":""}"#,
            r#"{"cniVersion":"1.0.0","name":7}"#,
            r#"{"cniVersion":"1.0.0","name":"a/b"}"#,
            r#"{"cniVersion":1,"name":"n"}"#,
            r#"{"cniVersion":"9.9.9","name":"n"}"#,
        ]
        .map(fault)
        .into();
        insta::assert_snapshot!(faults.join("\n"), @r#"
        cannot decode the network configuration: EOF while parsing a value at line 1 column 0 (code 6)
        cannot decode the network configuration: EOF while parsing an object at line 1 column 1 (code 6)
        cannot decode the network configuration: it is an array, not an object (code 6)
        missing network name (code 7)
        missing network name (code 7)
        name: is a number, not a string (code 7)
        invalid characters found in network name: "a/b": a letter or digit, then letters, digits, '_', '.', '-' (code 7)
        cniVersion: is not a string: a number (code 6)
        incompatible CNI versions: config is "9.9.9", plugin supports 0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0 (code 1)
        "#);
    }

    #[test]
    fn deep_nesting_is_an_error_and_not_a_stack_overflow() {
        let deep = format!(r#"{{"name":{}"#, "[".repeat(500_000));
        assert!(fault(&deep).contains("recursion limit"));
    }

    #[test]
    fn addresses_with_and_without_a_mask_are_read() {
        assert_eq!(cidr("10.0.0.5/24"), Some(("10.0.0.5".parse().unwrap(), 24)));
        assert_eq!(ip_of("fd00::5/64"), Some("fd00::5".parse().unwrap()));
        for bad in ["10.0.0.5/33", "10.0.0.5/", "10.0.0.5/+8", "fd00::/129", "10.0.0.0/255.0.0.0"] {
            assert_eq!(ip_of(bad), None, "{bad}");
        }
    }
}
