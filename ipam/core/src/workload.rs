//! What kind of thing made a pod, as far as that can be known without asking the API server.

use std::fmt;

/// Who made a pod.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Workload {
    pub kind: Kind,
    pub name: String,
    /// Told by somebody who knows (the kubelet, the pod's own annotation), not guessed from the
    /// pod's name. A guess never shortens a cooldown.
    pub proven: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    StatefulSet,
    DaemonSet,
    Deployment,
    /// A manifest on the node.
    Static,
    Other,
}

/// What the API server makes random suffixes of: no vowels, no digits that look like letters.
const RANDOM: &str = "bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;
/// A ReplicaSet's hash: 32 bits in decimal, each digit replaced by one of the letters above.
const HASH: std::ops::RangeInclusive<usize> = 6..=10;

impl Kind {
    pub const ALL: [Self; 5] =
        [Self::StatefulSet, Self::DaemonSet, Self::Deployment, Self::Static, Self::Other];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StatefulSet => "statefulset",
            Self::DaemonSet => "daemonset",
            Self::Deployment => "deployment",
            Self::Static => "static",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl Workload {
    /// Of the annotation `mainstay.io/workload`: `daemonset/node-agent`. A kind this list does not
    /// have is another kind: `rollout/web`.
    #[must_use]
    pub fn proven(text: &str) -> Option<Self> {
        let (kind, name) = text.split_once('/')?;
        if kind.is_empty() || name.is_empty() || name.contains('/') {
            return None;
        }
        let known = Kind::ALL.into_iter().find(|k| k.as_str() == kind && *k != Kind::Other);
        Some(match known {
            Some(kind) => Self { kind, name: name.into(), proven: true },
            None => Self { kind: Kind::Other, name: text.into(), proven: true },
        })
    }

    /// What made a pod of this name, most likely.
    #[must_use]
    pub fn guess(pod: &str) -> Option<Self> {
        let (base, last) = pod.rsplit_once('-')?;
        let guessed = |kind, name: &str| {
            (!name.is_empty()).then(|| Self { kind, name: name.into(), proven: false })
        };
        let ordinal = last.bytes().all(|b| b.is_ascii_digit()) && !last.is_empty();
        // Five digits may also be a random suffix; an ordinal has no leading zero.
        if ordinal && (last == "0" || !last.starts_with('0')) {
            return guessed(Kind::StatefulSet, base);
        }
        let random = |text: &str| text.chars().all(|c| RANDOM.contains(c));
        if last.len() != SUFFIX || !random(last) {
            return None;
        }
        match base.rsplit_once('-') {
            Some((name, hash)) if HASH.contains(&hash.len()) && random(hash) => {
                guessed(Kind::Deployment, name)
            }
            _ => guessed(Kind::DaemonSet, base),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_made_a_pod() {
        let table = [
            ("web-0", Some("statefulset/web")),
            ("my-db-12", Some("statefulset/my-db")),
            ("node-agent-x7k2p", Some("daemonset/node-agent")),
            ("web-7d4b9c6f5-x2x4z", Some("deployment/web")),
            ("a-b-c-7d4b9c6f5d-zzzzz", Some("deployment/a-b-c")),
            ("web", None),
            ("web-canary", None),
            ("web-00", None),
            ("-0", None),
            ("", None),
            ("web-", None),
        ];
        for (pod, expected) in table {
            let guess = Workload::guess(pod);
            assert_eq!(guess.as_ref().map(ToString::to_string).as_deref(), expected, "{pod}");
            assert!(guess.is_none_or(|w| !w.proven));
        }
    }

    #[test]
    fn the_annotation_names_a_kind_and_a_name() {
        let read = |text| Workload::proven(text).map(|w| (w.kind, w.name));
        assert_eq!(read("daemonset/node-agent"), Some((Kind::DaemonSet, "node-agent".into())));
        assert_eq!(read("rollout/web"), Some((Kind::Other, "rollout/web".into())));
        assert_eq!(read("other/web"), Some((Kind::Other, "other/web".into())));
        for bad in ["", "web", "daemonset/", "/web", "a/b/c"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
