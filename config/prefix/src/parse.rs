//! The text form: `ADDRESS/LENGTH`, nothing else.

use crate::{BadPrefix, Prefix};
use std::net::{AddrParseError, IpAddr};
use std::str::FromStr;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParsePrefixError {
    #[error("{0:?} has no length; write ADDRESS/LENGTH, as in 10.0.0.0/8")]
    NoLength(String),
    #[error("{text:?} does not start with an IP address")]
    Address { text: String, source: AddrParseError },
    #[error("{0:?} does not end with a length; write ADDRESS/LENGTH, as in 10.0.0.0/8")]
    Length(String),
    #[error("{text:?} {source}")]
    Bad { text: String, source: BadPrefix },
}

impl FromStr for Prefix {
    type Err = ParsePrefixError;

    fn from_str(text: &str) -> Result<Self, ParsePrefixError> {
        let Some((addr, len)) = text.split_once('/') else {
            return Err(ParsePrefixError::NoLength(text.into()));
        };
        let addr: IpAddr = addr
            .parse()
            .map_err(|source| ParsePrefixError::Address { text: text.into(), source })?;
        let len = decimal(len).ok_or_else(|| ParsePrefixError::Length(text.into()))?;
        Self::new(addr, len).map_err(|source| ParsePrefixError::Bad { text: text.into(), source })
    }
}

/// One to three digits without a leading zero: `08` is somebody's slip, `+8` somebody's joke.
fn decimal(text: &str) -> Option<u8> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_form_is_read() {
        for good in ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32", "::/0", "2001:db8::/32"] {
            assert_eq!(good.parse::<Prefix>().unwrap().to_string(), good);
        }
        for bad in [
            "",
            "/",
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/08",
            "10.0.0.0/+8",
            "10.0.0.0/33",
            "010.0.0.0/8",
            "10.0.0.0/255.0.0.0",
            "::/129",
            "10.0.0.0/8 ",
            "x/8",
            "10.0.0.0/-1",
        ] {
            assert!(bad.parse::<Prefix>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn host_bits_are_refused_with_the_prefix_that_was_meant() {
        let error = "10.244.0.7/16".parse::<Prefix>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"10.244.0.7/16\" has host bits set; the prefix is 10.244.0.0/16"
        );
    }
}
