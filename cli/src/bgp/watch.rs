//! `mainstay bgp watch`: what happens, a line for each event, as it happens.

use super::routes;
use crate::ask::{Daemons, answer, next_ever};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::text::clean_line;
use mainstay_proto::bgp::v1::watch_request::Topic;
use mainstay_proto::bgp::v1::{WatchEvent, WatchRequest};
use std::fmt::Write;

pub(crate) const HELP: &str = "\
A line for each event, with its cause, until you end it (Ctrl-C). Topics:
  session   up, down and why, state, refresh, malformed messages
  route     the best path of a prefix has changed: what it is now, and by whose doing
  kernel    routes that the kernel refused or that were swept
  node      drain, configuration, end of a restart
  lease     injected routes: leases that begin and end

Examples:
  mainstay bgp watch
  mainstay bgp watch --topic session --topic kernel
  mainstay bgp watch --topic route --prefix 10.0.0.0/8
  mainstay bgp watch --peer tor-a
  mainstay -o json bgp watch | jq -c 'select(.what == \"down\")'     one object a line

Who reads too slowly loses events; how many is said before the next one.
Exit codes: 0 ended; 1 the speaker has ended, or does not answer.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only this topic; may be given several times
    #[arg(long = "topic", value_name = "TOPIC", value_enum)]
    topics: Vec<Subject>,

    /// Only what concerns this peer, by name
    #[arg(long, value_name = "PEER")]
    peer: Option<String>,

    /// Only routes of this prefix and everything inside it
    #[arg(long, value_name = "PREFIX", value_parser = routes::wanted)]
    prefix: Option<routes::Wanted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    Session,
    Route,
    Kernel,
    Node,
    Lease,
}

impl From<Subject> for Topic {
    fn from(subject: Subject) -> Self {
        match subject {
            Subject::Session => Self::Session,
            Subject::Route => Self::Route,
            Subject::Kernel => Self::Kernel,
            Subject::Node => Self::Node,
            Subject::Lease => Self::Lease,
        }
    }
}

pub(crate) async fn run(
    daemons: &Daemons,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let mut bgpd = daemons.bgpd().await?;
    let request = WatchRequest {
        topics: args.topics.iter().map(|t| Topic::from(*t).into()).collect(),
        peer: args.peer.clone().unwrap_or_default(),
        prefix: args.prefix.map(|p| p.prefix().to_string()).unwrap_or_default(),
    };
    let mut events = answer("bgpd", bgpd.watch(request)).await?;
    while let Some(event) = next_ever("bgpd", &mut events).await? {
        if out.is_json() {
            out.raw_json(&serde_json::to_string(&event)?)?;
            out.raw_json("\n")?;
        } else {
            out.text(&line(&event))?;
        }
        out.finish()?;
    }
    Err(Failure::Said("mainstay-bgpd has ended the watch".into()))
}

/// `12:34:56.789Z session down tor-a: hold timer expired`
fn line(event: &WatchEvent) -> String {
    let mut text = String::new();
    if event.lost > 0 {
        let _ = writeln!(text, "lost {}", crate::text::count(event.lost, "event"));
    }
    let WatchEvent { topic, what, peer, prefix, cause, .. } = event;
    let mut words = format!("{} {topic} {what}", time(event.unix_seconds));
    for word in [prefix, peer].into_iter().filter(|word| !word.is_empty()) {
        let _ = write!(words, " {word}");
    }
    if let Some(path) = &event.path {
        let from = routes::source(path);
        let via = if path.next_hop.is_empty() { "-" } else { &path.next_hop };
        let as_path = if path.as_path.is_empty() { "-" } else { &path.as_path };
        let _ = write!(words, ", now via {via} from {from}, AS path {as_path}");
    }
    if !cause.is_empty() {
        let _ = write!(words, ": {cause}");
    }
    let _ = writeln!(text, "{}", clean_line(&words));
    text
}

/// Of the day, in UTC.
fn time(unix_seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(unix_seconds).unwrap_or_default();
    let (day, milliseconds) = (whole.as_secs() % 86_400, whole.subsec_millis());
    let (hours, minutes, seconds) = (day / 3600, day / 60 % 60, day % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{milliseconds:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn each_event_is_a_line_with_its_cause() {
        let all: String = sample::events().iter().map(line).collect();
        insta::assert_snapshot!(all);
    }
}
