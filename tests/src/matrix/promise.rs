//! What we promise of a cell, written down before it is run.

use super::{Event, Verdict};
use crate::peers::{Gr, Kind};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promise {
    /// Tier 0: nobody sees anything, whatever the peer is able to.
    Nothing,
    /// Tier 1: the session is lost, the peer holds the routes (RFC 4724): none is taken away
    /// anywhere, and no packet is lost.
    Graceful,
    /// The session stands, and what we have learnt; the peer has none of our routes meanwhile, which
    /// is what a drain is for.
    Withdrawn,
    /// The session is lost and the peer forgets us; our own kernel keeps what it has, and all comes
    /// back without help.
    Heals,
}

/// Of this event, with a peer in this mode.
#[must_use]
pub const fn promise(event: Event, gr: Gr) -> Promise {
    match (event.tier(), gr) {
        (Tier::Session, _) => Promise::Nothing,
        (Tier::Drained, _) => Promise::Withdrawn,
        (Tier::GracefulRestart, Gr::Off) | (Tier::Lost, _) => Promise::Heals,
        (Tier::GracefulRestart, _) => Promise::Graceful,
    }
}

/// Which rung of the ladder an event ends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    Session,
    Drained,
    GracefulRestart,
    Lost,
}

impl Promise {
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing is seen",
            Self::Graceful => "routes and packets stay",
            Self::Withdrawn => "only our own routes go and come",
            Self::Heals => "heals by itself",
        }
    }

    /// Where the verdict falls short of it.
    #[must_use]
    pub fn broken(self, peer: Kind, seen: &Verdict) -> Vec<String> {
        let mut faults = Vec::new();
        let mut must = |holds: bool, fault: String| {
            if !holds {
                faults.push(fault);
            }
        };
        if self == Self::Nothing {
            must(seen.sessions_lost == 0, format!("{} session(s) lost", seen.sessions_lost));
            must(seen.log.is_empty(), format!("{} wrote {:#?}", peer.name(), seen.log));
            must(seen.routes_moved() == 0, format!("routes moved: {:#?}", seen.events));
        }
        if self == Self::Graceful {
            // A route that is replaced in place (FRR does so with what it hears again) is never away.
            let gone = |e: &&String| e.starts_with("Deleted");
            let gone: Vec<_> = seen.events.iter().flatten().filter(gone).collect();
            must(gone.is_empty(), format!("routes were taken away: {gone:#?}"));
        }
        if self == Self::Withdrawn {
            must(seen.sessions_lost == 0, format!("{} session(s) lost", seen.sessions_lost));
            must(
                seen.events[0].is_empty(),
                format!("the node's routes moved: {:#?}", seen.events[0]),
            );
            must(seen.from_node.lost() == 0, format!("from the node: {}", seen.from_node));
        }
        if matches!(self, Self::Nothing | Self::Graceful) {
            must(
                seen.packets_lost() == 0,
                format!("to the node: {}; from it: {}", seen.to_node, seen.from_node),
            );
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tier_0_covers_needs_nothing_of_the_peer() {
        for event in [Event::Terminate, Event::Kill, Event::MidMessage, Event::TenCrashes] {
            assert_eq!(promise(event, Gr::Off), Promise::Nothing);
        }
    }

    #[test]
    fn without_speaker_and_keeper_the_peer_decides() {
        assert_eq!(promise(Event::BothKilled, Gr::Off), Promise::Heals);
        assert_eq!(promise(Event::BothKilled, Gr::On), Promise::Graceful);
        assert_eq!(promise(Event::PeerCloses, Gr::On), Promise::Heals);
    }
}
