//! The one kind of error a plugin has: the specification's error object.

use std::fmt;

use serde::Serialize;

use crate::version::SpecVersion;

/// An error code of the CNI specification ("Error"), or one of our own from 100 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(pub u32);

impl Code {
    pub const INCOMPATIBLE_VERSION: Self = Self(1);
    pub const UNSUPPORTED_FIELD: Self = Self(2);
    pub const INVALID_ENVIRONMENT: Self = Self(4);
    pub const IO: Self = Self(5);
    pub const DECODE: Self = Self(6);
    pub const INVALID_CONFIG: Self = Self(7);
    pub const TRY_AGAIN: Self = Self(11);
    /// STATUS: ADD cannot be served.
    pub const NOT_AVAILABLE: Self = Self(50);
    /// Ours: `mainstay-none` refuses ADD and CHECK.
    pub const NO_CONTAINER_NETWORK: Self = Self(100);
    /// Not in the specification, but what libcni uses for "something else went wrong".
    pub const INTERNAL: Self = Self(999);
}

/// Why an operation failed, as the runtime will show it: `msg` is one line that stands alone,
/// `details` what helps to mend it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    pub code: Code,
    pub msg: String,
    pub details: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if !self.details.is_empty() {
            write!(f, ": {}", self.details)?;
        }
        write!(f, " (code {})", self.code.0)
    }
}

impl Error {
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    #[must_use]
    pub fn details(self, details: impl Into<String>) -> Self {
        Self { details: details.into(), ..self }
    }

    pub(crate) fn config(msg: impl Into<String>) -> Self {
        Self::new(Code::INVALID_CONFIG, msg)
    }

    pub(crate) fn environment(msg: impl Into<String>) -> Self {
        Self::new(Code::INVALID_ENVIRONMENT, msg)
    }

    /// The error object, in the version the caller speaks.
    pub fn to_json(&self, version: SpecVersion) -> String {
        let object = ErrorObject {
            cni_version: version.as_str(),
            code: self.code.0,
            msg: &self.msg,
            details: &self.details,
        };
        // Strings and a number always serialise; the fallback keeps even that from being a panic.
        serde_json::to_string(&object)
            .unwrap_or_else(|_| format!(r#"{{"code":{},"msg":"internal error"}}"#, self.code.0))
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorObject<'a> {
    cni_version: &'static str,
    code: u32,
    msg: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    details: &'a str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_reads_as_the_specification_says() {
        let error = Error::config("ipam.socket: is a number").details("give a path");
        insta::assert_snapshot!(
            error.to_json(SpecVersion::V1_0_0),
            @r#"{"cniVersion":"1.0.0","code":7,"msg":"ipam.socket: is a number","details":"give a path"}"#
        );
    }

    #[test]
    fn details_that_are_not_there_are_left_out() {
        let error = Error::new(Code::IO, "line one\n\"two\"");
        insta::assert_snapshot!(
            error.to_json(SpecVersion::V1_1_0),
            @r#"{"cniVersion":"1.1.0","code":5,"msg":"line one\n\"two\""}"#
        );
    }
}
