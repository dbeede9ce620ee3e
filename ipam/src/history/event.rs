//! One line of the history: JSON, so that it can be read without us.

use ipam_core::{Report, Slot, State};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::time::Duration;

/// Longer than any line that is ever written.
pub(super) const LONGEST: usize = 8 << 10;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Event {
    /// Milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) what: What,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) why: String,
    pub(crate) address: IpAddr,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<Lease>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum What {
    Assigned,
    Released,
    LetGo,
    AddressInUse,
    KeptOut,
    OutlivedGc,
    Quarantined,
    Cleared,
    OnHold,
    OffHold,
}

impl What {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Released => "released",
            Self::LetGo => "let-go",
            Self::AddressInUse => "address-in-use",
            Self::KeptOut => "kept-out",
            Self::OutlivedGc => "outlived-gc",
            Self::Quarantined => "quarantined",
            Self::Cleared => "cleared",
            Self::OnHold => "on-hold",
            Self::OffHold => "off-hold",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub(crate) struct Lease {
    pub(crate) seq: u64,
    /// When it began, in milliseconds since 1970.
    pub(crate) since: u64,
    /// `namespace/name`; empty outside Kubernetes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) pod: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
    pub(crate) container: String,
    pub(crate) ifname: String,
    pub(crate) network: String,
    pub(crate) rung: String,
}

impl Event {
    /// `wall` is the time where the report has none of its own.
    pub(super) fn of(report: &Report, wall: Duration) -> Self {
        let about = |what, address: &IpAddr, why: &str| Self {
            at: millis(wall),
            what,
            why: why.into(),
            address: *address,
            lease: None,
        };
        let of_slot = |what, slot: &Slot, why: &str| Self {
            lease: Some(Lease::of(slot)),
            ..about(what, &slot.address, why)
        };
        match report {
            Report::Assigned { slot, how } => Self {
                at: millis(slot.assigned.wall),
                ..of_slot(What::Assigned, slot, how.as_str())
            },
            Report::Released { slot, why } => {
                let at = match slot.state {
                    State::Held { released } => released.wall,
                    State::Assigned => wall,
                };
                Self { at: millis(at), ..of_slot(What::Released, slot, why.as_str()) }
            }
            Report::LetGo { slot, why } => of_slot(What::LetGo, slot, why.as_str()),
            Report::InUse { address, owner, .. } => about(What::AddressInUse, address, owner),
            Report::KeptOut { address, owner, evidence } => {
                about(What::KeptOut, address, &format!("{owner}: {evidence}"))
            }
            Report::OutlivedGc { slot, alive } => of_slot(What::OutlivedGc, slot, alive.as_str()),
            Report::Quarantined { address, evidence } => {
                about(What::Quarantined, address, evidence)
            }
            Report::Cleared { address } => about(What::Cleared, address, ""),
            Report::OnHold { address, why } => about(What::OnHold, address, why),
            Report::OffHold { address } => about(What::OffHold, address, ""),
        }
    }

    /// As a line at the end of `text`.
    pub(super) fn write(&self, text: &mut String) {
        // Strings, numbers and lists of them always have a JSON form.
        if let Ok(line) = serde_json::to_string(self) {
            text.push_str(&line);
            text.push('\n');
        }
    }

    /// Nothing: no whole line of ours, as a crash may leave at the end.
    pub(super) fn read(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok()
    }

    /// As people say it: `pod default/web-0`, or `container 3f2a…/eth0`.
    pub(crate) fn owner(&self) -> String {
        self.lease.as_ref().map(Lease::owner).unwrap_or_default()
    }
}

impl Lease {
    pub(crate) fn of(slot: &Slot) -> Self {
        let (owner, at) = (&slot.owner, &slot.attachment);
        let named = !owner.name.is_empty();
        Self {
            seq: slot.seq,
            since: millis(slot.assigned.wall),
            pod: if named { format!("{}/{}", owner.namespace, owner.name) } else { String::new() },
            uid: owner.uid.clone(),
            container: at.container_id.clone(),
            ifname: at.ifname.clone(),
            network: at.network.clone(),
            rung: slot.rung.to_string(),
        }
    }

    pub(crate) fn owner(&self) -> String {
        if self.pod.is_empty() {
            format!("container {}/{}", self.container, self.ifname)
        } else {
            format!("pod {}", self.pod)
        }
    }
}

fn millis(wall: Duration) -> u64 {
    u64::try_from(wall.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(in super::super) fn any_event() -> impl Strategy<Value = Event> {
        let what = prop::sample::select(vec![
            What::Assigned,
            What::Released,
            What::LetGo,
            What::Quarantined,
            What::OnHold,
        ]);
        let lease =
            (0u64..5, 0u64..50, "[a-z]{0,3}", ".{0,8}").prop_map(|(seq, since, pod, text)| Lease {
                seq,
                since,
                pod,
                uid: text.clone(),
                container: text,
                ..Lease::default()
            });
        (0u64..100, what, ".{0,12}", 0u8..4, prop::option::of(lease)).prop_map(
            |(at, what, why, n, lease)| Event {
                at,
                what,
                why,
                address: [10, 0, 0, n].into(),
                lease,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(event in any_event()) {
            let mut text = String::new();
            event.write(&mut text);
            prop_assert!(text.ends_with('\n') && text.len() < LONGEST);
            prop_assert_eq!(text.matches('\n').count(), 1);
            prop_assert_eq!(Event::read(text.trim_end().as_bytes()), Some(event));
        }

        #[test]
        fn no_beginning_of_a_line_is_a_line(event in any_event(), cut in 0usize..400) {
            let mut text = String::new();
            event.write(&mut text);
            let line = text.trim_end().as_bytes();
            if cut < line.len() {
                prop_assert_eq!(Event::read(&line[..cut]), None);
            }
        }

        #[test]
        fn no_bytes_hurt(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Event::read(&bytes);
        }
    }
}
