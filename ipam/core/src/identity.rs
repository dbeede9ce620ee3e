//! Who an address belongs to: the attachment it was asked for, and the owner it should stay with.

use crate::workload::{Kind, Workload};
use std::borrow::Cow;
use std::fmt;

/// The primary key of a lease (CNI specification: container id and interface within a network).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Attachment {
    pub network: String,
    pub container_id: String,
    pub ifname: String,
}

/// What is known of whoever asks. Empty text: not known.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Owner {
    pub namespace: String,
    pub name: String,
    pub uid: String,
    /// The annotation `mainstay.io/sticky-key`, valid within its namespace.
    pub sticky_key: String,
    /// What made the pod.
    pub workload: Option<Workload>,
}

/// The ladder of identities, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rung {
    StickyKey,
    PodUid,
    /// Namespace and name: of a StatefulSet's pod, a static pod, or any that is made again under
    /// its name.
    Name,
    /// The pod of a DaemonSet on this node, whatever its name.
    DaemonSet,
    /// One of the addresses that pods of the same owner had.
    Owner,
    /// Nothing but the container itself: its address is not kept for anyone else.
    None,
}

impl Rung {
    pub const ALL: [Self; 6] =
        [Self::StickyKey, Self::PodUid, Self::Name, Self::DaemonSet, Self::Owner, Self::None];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StickyKey => "sticky-key",
            Self::PodUid => "pod-uid",
            Self::Name => "name",
            Self::DaemonSet => "daemonset",
            Self::Owner => "owner",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One rung of one owner on one interface of one network, in one family.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key<'a> {
    pub(crate) rung: Rung,
    ipv4: bool,
    network: &'a str,
    ifname: &'a str,
    /// The namespace of a name or a sticky key, so that no tenant can claim another's address.
    scope: &'a str,
    id: Cow<'a, str>,
}

impl Owner {
    /// Whether there is anything by which a later container is recognised as the same owner.
    #[must_use]
    pub fn is_known(&self) -> bool {
        self.rung() != Rung::None
    }

    /// The best rung this owner has.
    #[must_use]
    pub fn rung(&self) -> Rung {
        match self {
            o if !o.sticky_key.is_empty() => Rung::StickyKey,
            o if !o.uid.is_empty() => Rung::PodUid,
            o if !o.name.is_empty() => Rung::Name,
            _ => Rung::None,
        }
    }

    /// The rung below the pod's own, on which pods with other names stand for one another. Pods of
    /// a StatefulSet and static pods do not: each has its name.
    fn shared(&self) -> Option<(Rung, Cow<'_, str>)> {
        let workload = self.workload.as_ref()?;
        match (workload.kind, workload.proven) {
            (Kind::StatefulSet | Kind::Static, _) => None,
            (Kind::DaemonSet, true) => Some((Rung::DaemonSet, (&*workload.name).into())),
            (Kind::DaemonSet | Kind::Deployment | Kind::Other, _) => {
                Some((Rung::Owner, workload.to_string().into()))
            }
        }
    }

    /// Whether an address of the same workload is its own even within the cooldown. A guess from a
    /// name is not enough for that.
    pub(crate) fn is_proven(&self) -> bool {
        self.workload.as_ref().is_some_and(|w| w.proven)
    }

    /// Every key this owner answers to, best first; the container's own comes last.
    pub(crate) fn keys<'a>(&'a self, at: &'a Attachment, ipv4: bool) -> Vec<Key<'a>> {
        let (network, ifname) = (&*at.network, &*at.ifname);
        let key = |rung, scope: &'a str, id: Cow<'a, str>| {
            (!id.is_empty()).then_some(Key { rung, ipv4, network, ifname, scope, id })
        };
        let shared = self.shared().and_then(|(rung, id)| key(rung, &self.namespace, id));
        [
            key(Rung::StickyKey, &self.namespace, (&*self.sticky_key).into()),
            key(Rung::PodUid, "", (&*self.uid).into()),
            key(Rung::Name, &self.namespace, (&*self.name).into()),
            shared,
            key(Rung::None, "", (&*at.container_id).into()),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// As an operator would say it: `pod default/web-0`, or `container 3f2a.../eth0`.
    #[must_use]
    pub fn describe(&self, at: &Attachment) -> String {
        if self.name.is_empty() {
            format!("container {}/{}", at.container_id, at.ifname)
        } else {
            format!("pod {}/{}", self.namespace, self.name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(container_id: &str) -> Attachment {
        Attachment {
            network: "pods".into(),
            container_id: container_id.into(),
            ifname: "eth0".into(),
        }
    }

    #[test]
    fn a_sticky_key_of_another_namespace_is_another_key() {
        let of = |namespace: &str| Owner {
            namespace: namespace.into(),
            sticky_key: "db".into(),
            ..Owner::default()
        };
        assert_ne!(of("red").keys(&at("c"), true)[0], of("blue").keys(&at("c"), true)[0]);
        assert_eq!(of("red").keys(&at("c"), true)[0], of("red").keys(&at("d"), true)[0]);
    }

    #[test]
    fn a_bare_container_answers_to_its_own_key_only() {
        let owner = Owner::default();
        assert_eq!(owner.rung(), Rung::None);
        assert_eq!(owner.keys(&at("c"), true).len(), 1);
        assert_eq!(owner.describe(&at("c1")), "container c1/eth0");
    }
}
