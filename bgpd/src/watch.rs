//! What happens, for those who watch: each has a bounded queue, and is told what it was too slow for.

use crate::show;
use bgp_core::report::{LeaseEnd, Report};
use bgp_core::types::Prefix;
use bgp_core::view::{RouteChange, RouteChanges};
use futures_util::stream::{self, Stream};
use mainstay_proto::bgp::v1::watch_request::Topic;
use mainstay_proto::bgp::v1::{WatchEvent, WatchRequest};
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tonic::Status;

/// Events that wait for a watcher to read them.
const QUEUE: usize = 1024;
const WATCHERS: usize = 64;

/// What one watcher wants to know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    /// Empty: all.
    topics: Vec<Topic>,
    peer: Option<String>,
    within: Option<Prefix>,
}

#[derive(Debug, Default)]
pub(crate) struct Watchers {
    all: Vec<Watcher>,
}

#[derive(Debug)]
struct Watcher {
    wanted: Wanted,
    to: mpsc::Sender<WatchEvent>,
    lost: u64,
}

impl Wanted {
    pub(crate) fn of(
        request: WatchRequest,
        prefix: impl Fn(&str) -> Result<Prefix, Status>,
    ) -> Result<Self, Status> {
        let within = Some(request.prefix.as_str()).filter(|p| !p.is_empty());
        let within = within.map(prefix).transpose()?;
        let peer = Some(request.peer.clone()).filter(|p| !p.is_empty());
        Ok(Self { topics: request.topics().collect(), peer, within })
    }

    fn has(&self, topic: Topic) -> bool {
        self.topics.is_empty() || self.topics.contains(&topic)
    }

    fn wants(&self, topic: Topic, prefix: Option<&Prefix>, event: &WatchEvent) -> bool {
        let from = event.path.as_ref().map(|p| p.peer.as_str());
        let of_peer = |peer: &String| *peer == event.peer || from == Some(peer.as_str());
        self.has(topic)
            && self.peer.as_ref().is_none_or(of_peer)
            && self.within.is_none_or(|within| prefix.is_some_and(|p| within.covers(p)))
    }
}

impl Watchers {
    /// `None`: there are as many as there may be.
    pub(crate) fn add(&mut self, wanted: Wanted) -> Option<mpsc::Receiver<WatchEvent>> {
        self.all.retain(|w| !w.to.is_closed());
        if self.all.len() >= WATCHERS {
            return None;
        }
        let (to, events) = mpsc::channel(QUEUE);
        self.all.push(Watcher { wanted, to, lost: 0 });
        Some(events)
    }

    /// Routes are followed only while somebody wants to know.
    pub(crate) fn want_routes(&self) -> bool {
        self.all.iter().any(|w| w.wanted.has(Topic::Route) && !w.to.is_closed())
    }

    pub(crate) fn report(&mut self, report: &Report) {
        if !self.all.is_empty()
            && let Some((topic, prefix, event)) = of_report(report)
        {
            self.tell(topic, prefix.as_ref(), &event);
        }
    }

    pub(crate) fn routes(&mut self, told: RouteChanges) {
        for watcher in self.all.iter_mut().filter(|w| w.wanted.has(Topic::Route)) {
            watcher.lost += told.lost;
        }
        for change in told.changes {
            let prefix = change.prefix;
            self.tell(Topic::Route, Some(&prefix), &of_route(change));
        }
    }

    fn tell(&mut self, topic: Topic, prefix: Option<&Prefix>, event: &WatchEvent) {
        for watcher in self.all.iter_mut().filter(|w| w.wanted.wants(topic, prefix, event)) {
            let event = WatchEvent { lost: watcher.lost, ..event.clone() };
            match watcher.to.try_send(event) {
                Ok(()) => watcher.lost = 0,
                Err(TrySendError::Full(_)) => watcher.lost += 1,
                Err(TrySendError::Closed(_)) => {}
            }
        }
        self.all.retain(|w| !w.to.is_closed());
    }
}

pub(crate) fn stream(
    events: mpsc::Receiver<WatchEvent>,
) -> impl Stream<Item = Result<WatchEvent, Status>> + Send {
    stream::unfold(events, |mut events| async move {
        let event = events.recv().await?;
        Some((Ok(event), events))
    })
}

fn event(topic: &str, what: &str) -> WatchEvent {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WatchEvent {
        unix_seconds: now.as_secs_f64(),
        topic: topic.into(),
        what: what.into(),
        ..WatchEvent::default()
    }
}

fn of_route(change: RouteChange) -> WatchEvent {
    let path = change.best.map(show::path);
    let what = if path.is_some() { "announced" } else { "withdrawn" };
    WatchEvent {
        peer: change.peer.as_deref().unwrap_or_default().to_owned(),
        prefix: change.prefix.to_string(),
        cause: change.cause.to_string(),
        path,
        ..event("route", what)
    }
}

type Told = (Topic, Option<Prefix>, WatchEvent);

fn of_report(report: &Report) -> Option<Told> {
    of_session(report).or_else(|| of_kernel(report)).or_else(|| of_node(report))
}

fn session(what: &str, peer: &str, cause: String) -> Told {
    let event = WatchEvent { peer: peer.to_owned(), cause, ..event("session", what) };
    (Topic::Session, None, event)
}

fn of_session(report: &Report) -> Option<Told> {
    Some(match report {
        Report::PeerUp { name, .. } => session("up", name, String::new()),
        Report::PeerResumed { name, age, .. } => {
            session("goes-on", name, format!("up for {} s already", age.as_secs()))
        }
        Report::NotResumed { remote, why } => {
            session("lost", &remote.ip().to_string(), why.clone())
        }
        Report::PeerDown { name, cause, stale, .. } => {
            let why = cause.text().unwrap_or_else(|| cause.label().to_owned());
            let kept = if *stale > 0 { format!("; {stale} routes kept") } else { String::new() };
            session("down", name, format!("{why}{kept}"))
        }
        Report::SessionFailed { name, cause, .. } => session("failed", name, cause.text()?),
        Report::StateChanged { name, from, to, .. } => {
            session("state", name, format!("{from} -> {to}"))
        }
        Report::ConnectionRefused { remote, why } => {
            session("refused", &remote.ip().to_string(), (*why).to_owned())
        }
        Report::EndOfRib { name, family, .. } => session("end-of-rib", name, family.to_string()),
        Report::StaleSwept { name, family, routes, .. } => {
            session("swept", name, format!("{routes} stale routes of {family}"))
        }
        Report::LongLivedStale { name, family, kept, refused, .. } => {
            let cause = format!("{family}: {kept} routes kept as the last resort, {refused} not");
            session("long-lived-stale", name, cause)
        }
        Report::UpdateError { name, error, .. } => session("malformed", name, error.clone()),
        Report::NoNextHop { name, family, .. } => {
            session("no-next-hop", name, format!("no address of {family} on the link"))
        }
        Report::RouteRefreshed { name, family, .. } => session("refresh", name, family.to_string()),
        Report::RefreshUnfinished { name, family, .. } => {
            session("refresh-unfinished", name, family.to_string())
        }
        _ => return None,
    })
}

fn of_kernel(report: &Report) -> Option<Told> {
    let kernel = |what: &str, cause: String| WatchEvent { cause, ..event("kernel", what) };
    Some(match report {
        Report::FibFailed { prefix, why } => {
            let event = WatchEvent { prefix: prefix.to_string(), ..kernel("refused", why.clone()) };
            (Topic::Kernel, Some(*prefix), event)
        }
        Report::FibSwept { family, routes } => {
            let cause = format!("{routes} routes of {family} that nobody announced again");
            (Topic::Kernel, None, kernel("swept", cause))
        }
        _ => return None,
    })
}

fn of_node(report: &Report) -> Option<Told> {
    let node = |what: &str, cause: String| {
        (Topic::Node, None, WatchEvent { cause, ..event("node", what) })
    };
    let lease = |what: &str, client: &str, cause: String| {
        let cause = format!("{client}: {cause}");
        (Topic::Lease, None, WatchEvent { cause, ..event("lease", what) })
    };
    Some(match report {
        Report::Draining { wait, leaving } => {
            let then = if *leaving { "leaves" } else { "withdraws all" };
            node("draining", format!("{then} in {} s", wait.as_secs_f32()))
        }
        Report::Drained => node("drained", String::new()),
        Report::Undrained => node("serving", String::new()),
        Report::Left => node("left", String::new()),
        Report::Restarted => node("restarted", "every peer has told its routes".into()),
        Report::Reconfigured { changes } => node("configured", changes.join("; ")),
        Report::LeaseBegun { client, ttl } => {
            lease("begun", client, format!("for {} s", ttl.as_secs_f32()))
        }
        Report::LeaseEnded { client, routes, why } => {
            let why = match why {
                LeaseEnd::Expired => "nobody renewed it",
                LeaseEnd::Released => "released",
            };
            lease("ended", client, format!("{why}; {routes} routes withdrawn"))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bgp_core::report::Cause;
    use bgp_core::types::PeerId;

    fn up(name: &str) -> Report {
        Report::PeerUp { peer: PeerId(1), name: name.into() }
    }

    #[test]
    fn who_reads_too_slowly_is_told_how_many_events_it_has_lost() {
        let mut watchers = Watchers::default();
        let mut events = watchers.add(Wanted::default()).unwrap();
        for _ in 0..QUEUE + 7 {
            watchers.report(&up("tor-a"));
        }
        for _ in 0..QUEUE {
            assert_eq!(events.try_recv().unwrap().lost, 0);
        }
        watchers.report(&up("tor-a"));
        assert_eq!(events.try_recv().unwrap().lost, 7);
        watchers.report(&up("tor-a"));
        assert_eq!(events.try_recv().unwrap().lost, 0);
    }

    #[test]
    fn each_watcher_is_told_what_it_wants_to_know() {
        let mut watchers = Watchers::default();
        let wanted = |topics: &[Topic], peer: &str| Wanted {
            topics: topics.to_vec(),
            peer: Some(peer.to_owned()).filter(|p| !p.is_empty()),
            within: None,
        };
        let mut of_b = watchers.add(wanted(&[Topic::Session], "tor-b")).unwrap();
        let mut leases = watchers.add(wanted(&[Topic::Lease], "")).unwrap();
        assert!(!watchers.want_routes());
        watchers.report(&up("tor-a"));
        let cause = Cause::HoldTimerExpired;
        let down = Report::PeerDown { peer: PeerId(2), name: "tor-b".into(), cause, stale: 3 };
        watchers.report(&down);
        let why = LeaseEnd::Expired;
        watchers.report(&Report::LeaseEnded { client: "lb".into(), routes: 2, why });
        let told = of_b.try_recv().unwrap();
        assert_eq!((told.what.as_str(), told.peer.as_str()), ("down", "tor-b"));
        assert_eq!(told.cause, "hold timer expired; 3 routes kept");
        assert!(of_b.try_recv().is_err());
        let told = leases.try_recv().unwrap();
        assert_eq!(told.cause, "lb: nobody renewed it; 2 routes withdrawn");
    }

    #[test]
    fn watchers_are_counted_and_those_that_have_gone_make_room() {
        let mut watchers = Watchers::default();
        let all: Vec<_> = (0..WATCHERS).map(|_| watchers.add(Wanted::default()).unwrap()).collect();
        assert!(watchers.want_routes());
        assert!(watchers.add(Wanted::default()).is_none());
        drop(all);
        assert!(watchers.add(Wanted::default()).is_some());
    }
}
