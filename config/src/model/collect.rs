//! Whom the speaker asks and tells besides its peers: RPKI caches, BMP stations, MRT files.

use super::seconds;
use serde::{Serialize, Serializer};
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A host, by name or address, and a TCP port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    pub host: String,
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A cache of validated route origins (RFC 8210).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RpkiServer {
    pub address: HostPort,
    /// The lowest that has an answer counts.
    pub preference: u32,
    /// `None`: as the cache says.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_seconds")]
    pub refresh: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_seconds")]
    pub retry: Option<Duration>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "maybe_seconds")]
    pub expire: Option<Duration>,
}

/// A station that is told over BMP (RFC 7854).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BmpStation {
    pub address: HostPort,
    pub adj_in_pre: bool,
    pub adj_in_post: bool,
    /// RFC 9069.
    pub loc_rib: bool,
    /// Zero: never.
    #[serde(serialize_with = "seconds")]
    pub statistics: Duration,
    /// What may wait for a station that does not read, in bytes.
    pub buffer: u64,
}

/// Files of what was heard and of what is known (RFC 6396).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Mrt {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub updates: Option<MrtFile>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rib: Option<MrtFile>,
}

impl Mrt {
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.updates.is_none() && self.rib.is_none()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MrtFile {
    /// With %Y %m %d %H %M %S for the moment it begins.
    pub path: PathBuf,
    /// How often another one is begun.
    #[serde(serialize_with = "seconds")]
    pub every: Duration,
}

fn maybe_seconds<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
    match d {
        Some(d) => seconds(d, s),
        None => s.serialize_none(),
    }
}
