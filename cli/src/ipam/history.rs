//! `mainstay ipam history`: who had this address at 03:12?

use super::time;
use crate::ask::{Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::table::Table;
use crate::text::{clean_line, dash, or_dash};
use mainstay_proto::ipam::v1::{HistoryEvent, HistoryReply, HistoryRequest, Spell};
use std::fmt::Write;
use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

pub(super) const HELP: &str = "\
Times: 2026-11-23T03:12:00Z, '2026-11-23 03:12' and 03:12 (UTC), or how long ago: 10m, 3h, 2d.

Examples:
  mainstay ipam history 10.244.0.5               what happened to an address
  mainstay ipam history 10.244.0.5 --at 03:12    who had it then
  mainstay ipam history default/web-0            which addresses a pod had, and since when
  mainstay ipam history --since 1h               everything of the last hour
  mainstay -o json ipam history 10.244.0.5 | jq '.events[-1]'

Exit codes: 0 told; 1 nobody had it then, or ipamd does not answer or keeps no history
(ipam.history.max_size of the configuration bounds it).";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An address, or NAMESPACE/NAME of a pod
    #[arg(value_name = "ADDRESS|POD")]
    whose: Option<Whose>,

    /// Who had it at this time
    #[arg(long, value_name = "TIME", conflicts_with_all = ["since", "until"], requires = "whose")]
    at: Option<String>,

    /// Only what happened since then
    #[arg(long, value_name = "TIME")]
    since: Option<String>,

    /// Only what happened until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,

    /// At most so many events, the latest
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Whose {
    Address(IpAddr),
    Pod(String),
}

impl std::str::FromStr for Whose {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        match text.split_once('/') {
            Some((namespace, name))
                if !namespace.is_empty()
                    && !name.is_empty()
                    && !name.contains('/')
                    && namespace.parse::<IpAddr>().is_err() =>
            {
                Ok(Self::Pod(text.into()))
            }
            _ => Err("it is neither an address nor a pod, NAMESPACE/NAME".into()),
        }
    }
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Pod(pod) => write!(f, "pod {pod}"),
        }
    }
}

pub(super) async fn run(
    daemons: &Daemons,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let read = |text: &Option<String>| text.as_ref().map(|text| time::parse(text, now)).transpose();
    let said = Failure::Said;
    let at = read(&args.at).map_err(said)?;
    let request = HistoryRequest {
        address: match &args.whose {
            Some(Whose::Address(address)) => address.to_string(),
            _ => String::new(),
        },
        pod: match &args.whose {
            Some(Whose::Pod(pod)) => pod.clone(),
            _ => String::new(),
        },
        since: read(&args.since).map_err(said)?,
        until: read(&args.until).map_err(said)?,
        at,
        limit: args.limit,
    };
    let mut ipamd = daemons.ipamd().await?;
    let reply = answer("ipamd", ipamd.history(request)).await?;
    let nobody = at.is_some() && reply.spells.is_empty();
    if out.is_json() {
        out.json(&reply)?;
    } else {
        out.text(&match (at, &args.whose) {
            (Some(at), Some(whose)) => then(&reply, whose, at),
            _ => events(&reply),
        })?;
    }
    Ok(if nobody { Verdict::Wrong } else { Verdict::Well })
}

/// Who had it at that time.
fn then(reply: &HistoryReply, whose: &Whose, at: f64) -> String {
    let mut text = String::new();
    for Spell { address, owner, container_id, from, until, ended, .. } in &reply.spells {
        let until = match until {
            None => "and has it still".to_owned(),
            Some(until) if ended.is_empty() => format!("until {}", time::show(*until)),
            Some(until) => format!("until {} ({})", time::show(*until), clean_line(ended)),
        };
        let (owner, container) = (clean_line(owner), clean_line(container_id));
        let from = time::show(*from);
        let _ = writeln!(text, "{address}  {owner}  since {from}, {until}  container {container}");
    }
    if reply.spells.is_empty() {
        let (had, at) = match whose {
            Whose::Address(_) => ("nobody is known to have had", time::show(at)),
            Whose::Pod(_) => ("no address is known of", time::show(at)),
        };
        let begins = reply
            .begins
            .map_or_else(|| "is empty".into(), |b| format!("begins at {}", time::show(b)));
        let _ = writeln!(text, "{had} {whose} at {at}; the history {begins}");
    }
    text
}

fn events(reply: &HistoryReply) -> String {
    let mut table = Table::new(&["TIME", "ADDRESS", "WHAT", "WHY", "OWNER", ">SEQ", "CONTAINER"]);
    for event in &reply.events {
        let HistoryEvent { at, what, why, address, seq, owner, container_id, .. } = event;
        table.row([
            time::show(*at),
            address.clone(),
            what.clone(),
            or_dash(why).to_owned(),
            or_dash(owner).to_owned(),
            if *seq == 0 { dash() } else { seq.to_string() },
            or_dash(&container_id.chars().take(12).collect::<String>()).to_owned(),
        ]);
    }
    let mut text =
        if reply.events.is_empty() { "nothing is known of that\n".into() } else { table.take() };
    if reply.more {
        text.push_str("there is more before that: --limit, or --until\n");
    }
    if reply.lost > 0 {
        let _ =
            writeln!(text, "{} events could not be written since ipamd was started", reply.lost);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn what_happened_and_who_had_it_then_is_told() {
        let whose: Whose = "10.244.0.2".parse().unwrap();
        let reply = sample::history();
        let nobody = HistoryReply { spells: vec![], ..reply.clone() };
        let at = 1_795_402_900.0;
        let text = [events(&reply), then(&reply, &whose, at), then(&nobody, &whose, at)].join("\n");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn an_address_or_a_pod_is_asked_for_and_nothing_else() {
        assert_eq!("default/web-0".parse(), Ok(Whose::Pod("default/web-0".into())));
        assert_eq!("fd00::1".parse(), Ok(Whose::Address("fd00::1".parse().unwrap())));
        for bad in ["", "web-0", "/web-0", "a/b/c", "10.0.0.0/8"] {
            assert!(bad.parse::<Whose>().is_err(), "{bad}");
        }
    }
}
