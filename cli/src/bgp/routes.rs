//! `mainstay bgp routes`: the Loc-RIB, or what came from a peer, or what it is told.
//!
//! A table may have a million routes: they are printed as they come.

use crate::ask::{Daemons, answer, next};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::table::Table;
use crate::text::{age, clean_line, count as plural, dash, or_dash};
use mainstay_prefix::Prefix;
use mainstay_proto::bgp::v1::list_routes_request::{Match, PathState};
use mainstay_proto::bgp::v1::{ListRoutesRequest, Path, Rib, Route};
use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;
use tonic::Streaming;

/// How many lines are laid out together.
const PIECE: usize = 2000;

pub(crate) const HELP: &str = "\
The marks before a path:
  >  the best path        =  used beside it (ECMP)     k  in the kernel
  s  stale: the peer is restarting                     x  refused by the import policy

Examples:
  mainstay bgp routes                                 what this node has chosen
  mainstay bgp routes 198.51.100.7                    the route an address would take, in full
  mainstay bgp routes 10.0.0.0/8 --covered            that prefix and everything inside it
  mainstay bgp routes --peer tor-a --received         what a peer has announced, before policy
  mainstay bgp routes --peer tor-a --advertised       what a peer is told
  mainstay bgp routes --peer tor-a --accepted         what of it import has let in
  mainstay bgp routes --fib                           what of it is in the kernel
  mainstay bgp routes 10.1.2.0/24 --covering          that prefix and everything that holds it
  mainstay bgp routes --from tor-a --as 65010 --community 65001:100
  mainstay bgp routes --state not-installed           best, and yet not in the kernel
  mainstay bgp routes --count --family ipv4
  mainstay -o json bgp routes --family ipv6

Exit codes: 0 told; 1 there is no route for PREFIX, or the speaker does not answer.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// One prefix, or one address: the route it would take
    #[arg(value_name = "PREFIX", value_parser = wanted)]
    pub(crate) prefix: Option<Wanted>,

    /// The route that an address of PREFIX would take
    #[arg(long, requires = "prefix", conflicts_with = "covered")]
    pub(crate) longest: bool,

    /// PREFIX and everything inside it
    #[arg(long, requires = "prefix")]
    pub(crate) covered: bool,

    /// PREFIX and everything that holds it
    #[arg(long, requires = "prefix", conflicts_with_all = ["longest", "covered"])]
    pub(crate) covering: bool,

    /// What was received from this peer or is advertised to it, by name or address
    #[arg(long, value_name = "PEER")]
    pub(crate) peer: Option<String>,

    /// With --peer: what it has announced, before policy (the default)
    #[arg(long, requires = "peer", conflicts_with = "advertised")]
    pub(crate) received: bool,

    /// With --peer: what it is told
    #[arg(long, requires = "peer")]
    pub(crate) advertised: bool,

    /// With --peer: what import has let in, as it left it
    #[arg(long, requires = "peer", conflicts_with_all = ["received", "advertised"])]
    pub(crate) accepted: bool,

    /// What of it is, or should be, in the kernel
    #[arg(long, conflicts_with = "peer")]
    pub(crate) fib: bool,

    /// Only paths from this peer, by name or address
    #[arg(long, value_name = "PEER", conflicts_with_all = ["peer", "fib"])]
    pub(crate) from: Option<String>,

    /// Only paths with this community: 65001:100, 65001:1:2, or a well-known name
    #[arg(long, value_name = "COMMUNITY")]
    pub(crate) community: Option<String>,

    /// Only paths with this AS in their AS path
    #[arg(long = "as", value_name = "NUMBER")]
    pub(crate) asn: Option<u32>,

    /// Only paths in this state
    #[arg(long, value_name = "STATE", value_enum)]
    pub(crate) state: Option<State>,

    /// How many there are
    #[arg(long)]
    pub(crate) count: bool,

    /// One address family
    #[arg(long, value_parser = ["ipv4", "ipv6"])]
    pub(crate) family: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum State {
    /// Kept while the peer restarts
    Stale,
    /// By import (with --peer)
    Rejected,
    /// Best, and not in the kernel
    NotInstalled,
}

impl From<State> for PathState {
    fn from(state: State) -> Self {
        match state {
            State::Stale => Self::Stale,
            State::Rejected => Self::Rejected,
            State::NotInstalled => Self::NotInstalled,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    prefix: Prefix,
    /// Given without a length.
    address: bool,
}

pub(crate) fn wanted(text: &str) -> Result<Wanted, mainstay_prefix::ParsePrefixError> {
    match text.parse::<IpAddr>() {
        Ok(address) => Ok(Wanted { prefix: Prefix::host(address), address: true }),
        Err(_) => Ok(Wanted { prefix: text.parse()?, address: false }),
    }
}

impl Wanted {
    pub(crate) const fn prefix(&self) -> Prefix {
        self.prefix
    }
}

impl Args {
    fn request(&self) -> ListRoutesRequest {
        let rib = match (&self.peer, self.advertised) {
            (None, _) if self.fib => Rib::Fib,
            (None, _) => Rib::Loc,
            (Some(_), true) => Rib::AdjOut,
            (Some(_), false) => Rib::AdjIn,
        };
        let address = self.prefix.is_some_and(|p| p.address);
        let matching = match (self.covered, self.covering) {
            (true, _) => Match::Covered,
            (_, true) => Match::Covering,
            _ if self.longest || address => Match::Longest,
            _ => Match::Exact,
        };
        ListRoutesRequest {
            rib: rib.into(),
            peer: self.peer.clone().unwrap_or_default(),
            family: self.family.clone().unwrap_or_default(),
            prefix: self.prefix.map(|p| p.prefix.to_string()).unwrap_or_default(),
            r#match: matching.into(),
            post_policy: self.accepted,
            community: self.community.clone().unwrap_or_default(),
            asn: self.asn,
            from: self.from.clone().unwrap_or_default(),
            state: self.state.map_or(PathState::Any, PathState::from).into(),
        }
    }

    /// Whether the answer is one route, about which everything is of interest.
    fn is_about_one(&self) -> bool {
        self.prefix.is_some() && !self.covered && !self.covering
    }
}

pub(crate) async fn run(
    daemons: &Daemons,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let mut bgpd = daemons.bgpd().await?;
    if args.count {
        let count = answer("bgpd", bgpd.count_routes(args.request())).await?;
        if out.is_json() {
            out.json(&count)?;
        } else {
            let (routes, paths) = (plural(count.routes, "route"), plural(count.paths, "path"));
            out.text(&format!("{routes}, {paths}\n"))?;
        }
        return Ok(Verdict::Well);
    }
    let mut routes = answer("bgpd", bgpd.list_routes(args.request())).await?;
    let told = if out.is_json() {
        as_json(&mut routes, out).await?
    } else {
        as_text(&mut routes, args, out).await?
    };
    if told > 0 {
        return Ok(Verdict::Well);
    }
    match args.prefix {
        Some(_) if out.is_json() => Ok(Verdict::Wrong),
        Some(wanted) => Err(Failure::Said(format!("no route for {}", wanted.prefix))),
        None => Ok(Verdict::Well),
    }
}

async fn as_json(routes: &mut Streaming<Route>, out: &mut Printer) -> Result<u64, Failure> {
    let mut told = 0;
    out.raw_json("{\"routes\": [")?;
    while let Some(route) = next("bgpd", routes).await? {
        out.raw_json(if told == 0 { "\n  " } else { ",\n  " })?;
        out.raw_json(&serde_json::to_string(&route)?)?;
        told += 1;
    }
    out.raw_json(if told == 0 { "]}\n" } else { "\n]}\n" })?;
    Ok(told)
}

async fn as_text(
    routes: &mut Streaming<Route>,
    args: &Args,
    out: &mut Printer,
) -> Result<u64, Failure> {
    let mut told = 0;
    let mut table = head();
    while let Some(route) = next("bgpd", routes).await? {
        told += 1;
        if args.is_about_one() {
            out.text(&details(&route))?;
            continue;
        }
        lines(&route, &mut table);
        if table.len() >= PIECE {
            out.text(&table.take())?;
        }
    }
    if table.len() > 0 {
        out.text(&table.take())?;
    }
    if told == 0 && args.prefix.is_none() {
        out.text("no routes\n")?;
    }
    Ok(told)
}

fn head() -> Table {
    Table::new(&["", "PREFIX", "NEXT HOP", "PEER", "AS PATH", "ORIGIN", ">PREF", ">MED", ">AGE"])
}

fn lines(route: &Route, table: &mut Table) {
    for (i, path) in route.paths.iter().enumerate() {
        table.row([
            marks(path),
            if i == 0 { route.prefix.clone() } else { String::new() },
            or_dash(&path.next_hop).to_owned(),
            source(path).into_owned(),
            or_dash(&path.as_path).to_owned(),
            path.origin.clone(),
            path.local_pref.map_or_else(dash, |pref| pref.to_string()),
            path.med.map_or_else(dash, |med| med.to_string()),
            age(path.age_seconds),
        ]);
    }
}

pub(super) fn marks(path: &Path) -> String {
    let marks = [
        (path.best, '>'),
        (path.multipath && !path.best, '='),
        (path.installed, 'k'),
        (path.stale, 's'),
        (path.rejected, 'x'),
    ];
    marks.into_iter().filter(|(set, _)| *set).map(|(_, mark)| mark).collect()
}

/// Where it is from.
pub(super) fn source(path: &Path) -> Cow<'_, str> {
    match (path.peer.as_str(), path.injected_by.as_str()) {
        ("", "") => "(own)".into(),
        ("", client) => format!("(injected by {client})").into(),
        (peer, _) => peer.into(),
    }
}

fn details(route: &Route) -> String {
    let mut text = format!("{}\n", clean_line(&route.prefix));
    for path in &route.paths {
        let next_hop = or_dash(&path.next_hop);
        let head = format!("  {:<3} via {next_hop} from {}", marks(path), source(path));
        let _ = writeln!(text, "{}", clean_line(&head));
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "        {name:<18}{}", clean_line(value));
        };
        line("AS path", or_dash(&path.as_path));
        line("origin", &path.origin);
        line("local preference", &path.local_pref.map_or_else(dash, |pref| pref.to_string()));
        line("MED", &path.med.map_or_else(dash, |med| med.to_string()));
        if !path.communities.is_empty() {
            line("communities", &path.communities.join(" "));
        }
        if !path.large_communities.is_empty() {
            line("large communities", &path.large_communities.join(" "));
        }
        line("age", &age(path.age_seconds));
        line("standing", &standing(path));
    }
    text
}

fn standing(path: &Path) -> String {
    let mut words = Vec::new();
    if path.best {
        words.push("best".to_owned());
    } else if path.multipath {
        words.push("used beside the best".to_owned());
    }
    if path.hop_weight > 1 {
        words.push(format!("weight {} among those in use", path.hop_weight));
    }
    if !path.reason.is_empty() {
        let what = if path.best { "refused by the kernel" } else { "not chosen" };
        words.push(format!("{what}: {}", path.reason));
    }
    if !path.left_out.is_empty() {
        words.push(format!("not in the kernel's route: {}", path.left_out));
    }
    let states = [
        (path.rejected, "refused by the import policy"),
        (path.stale, "stale, its peer is restarting"),
        (path.installed, "in the kernel"),
    ];
    words.extend(states.into_iter().filter(|(is, _)| *is).map(|(_, what)| what.to_owned()));
    if words.is_empty() { "-".into() } else { words.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn request(words: &str) -> ListRoutesRequest {
        let words = ["routes"].into_iter().chain(words.split_whitespace());
        Line::try_parse_from(words).unwrap().args.request()
    }

    #[test]
    fn routes_stand_in_a_table_a_line_for_each_path() {
        let mut table = head();
        for route in sample::routes() {
            lines(&route, &mut table);
        }
        insta::assert_snapshot!(table.take());
    }

    #[test]
    fn one_route_is_told_in_full() {
        let all: Vec<_> = sample::routes().iter().map(details).collect();
        insta::assert_snapshot!(all.concat());
    }

    #[test]
    fn the_words_become_the_request() {
        assert_eq!(request(""), ListRoutesRequest::default());
        let longest = |prefix: &str| ListRoutesRequest {
            prefix: prefix.into(),
            r#match: Match::Longest.into(),
            ..Default::default()
        };
        assert_eq!(request("192.0.2.1"), longest("192.0.2.1/32"));
        assert_eq!(request("2001:db8::1"), longest("2001:db8::1/128"));
        assert_eq!(request("192.0.2.0/24 --longest"), longest("192.0.2.0/24"));
        assert_eq!(request("192.0.2.0/24 --covering").r#match(), Match::Covering);
        assert_eq!(request("--fib --state not-installed").rib(), Rib::Fib);
        assert_eq!(request("--state stale").state(), PathState::Stale);
        assert!(request("--peer a --accepted").post_policy);
        assert_eq!(request("--as 65001 --from a").asn, Some(65001));
        let covered = request("192.0.2.0/24 --covered --family ipv4");
        assert_eq!((covered.r#match(), covered.family.as_str()), (Match::Covered, "ipv4"));
        assert_eq!(request("192.0.2.0/24").r#match(), Match::Exact);
        assert_eq!(request("--peer a").rib(), Rib::AdjIn);
        assert_eq!(request("--peer a --received").rib(), Rib::AdjIn);
        assert_eq!(request("--peer a --advertised").rib(), Rib::AdjOut);
    }
}
