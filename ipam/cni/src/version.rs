//! The versions of the CNI specification these plugins speak.

use serde::Serialize;

/// A version of the specification that both plugins support, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SpecVersion {
    V0_1_0,
    V0_2_0,
    V0_3_0,
    V0_3_1,
    V0_4_0,
    V1_0_0,
    V1_1_0,
}

/// What an error or a VERSION reply says when the caller named no version we know.
pub const NEWEST: SpecVersion = SpecVersion::V1_1_0;

impl SpecVersion {
    pub const ALL: [Self; 7] = [
        Self::V0_1_0,
        Self::V0_2_0,
        Self::V0_3_0,
        Self::V0_3_1,
        Self::V0_4_0,
        Self::V1_0_0,
        Self::V1_1_0,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// An absent or empty `cniVersion` means 0.1.0, which had no such key.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "" => Some(Self::V0_1_0),
            _ => Self::ALL.into_iter().find(|v| v.as_str() == text),
        }
    }

    /// "0.1.0, 0.2.0, …", for messages.
    pub fn list() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

/// The reply to VERSION.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionReply {
    cni_version: &'static str,
    supported_versions: [&'static str; 7],
}

impl VersionReply {
    /// The specification wants the version of the question back; one we do not speak gets ours.
    pub fn to(asked: Option<SpecVersion>) -> Self {
        Self {
            cni_version: asked.unwrap_or(NEWEST).as_str(),
            supported_versions: SpecVersion::ALL.map(SpecVersion::as_str),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_and_read_back() {
        assert!(SpecVersion::ALL.is_sorted());
        for version in SpecVersion::ALL {
            assert_eq!(SpecVersion::parse(version.as_str()), Some(version));
        }
    }

    #[test]
    fn no_version_is_the_first_one_and_an_unknown_one_is_none() {
        assert_eq!(SpecVersion::parse(""), Some(SpecVersion::V0_1_0));
        for text in ["2.0.0", "1.1", "v1.1.0", "1.1.0 ", "0.3.2"] {
            assert_eq!(SpecVersion::parse(text), None, "{text}");
        }
    }
}
