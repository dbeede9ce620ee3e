//! `mainstay bgp rpki`: the caches of bgp.rpki, and what they say of a prefix.

use crate::ask::{Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::table::Table;
use crate::text::{age, clean_line, count, dash};
use mainstay_prefix::Prefix;
use mainstay_proto::collect::v1::{Cache, RpkiReply, RpkiRequest};
use std::fmt::Write;

pub(crate) const HELP: &str = "\
The states of a cache:
  up          connected, and its answer is whole
  connecting  connected, without a whole answer yet
  away        not connected; what it said counts until it expires
  down        neither connected nor with an answer

Examples:
  mainstay bgp rpki                          the caches, and how many routes are valid
  mainstay bgp rpki 192.0.2.0/24             who may originate this prefix
  mainstay bgp rpki 192.0.2.0/24 65001       whether this AS may

Exit codes: 0 told; 1 no cache has an answer, the origin is invalid, or the speaker does not answer.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is said of this prefix
    #[arg(value_name = "PREFIX")]
    pub(crate) prefix: Option<Prefix>,

    /// Whether this AS may originate it
    #[arg(value_name = "AS", requires = "prefix")]
    pub(crate) origin: Option<u32>,
}

pub(crate) async fn run(
    daemons: &Daemons,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let mut bgpd = daemons.collect().await?;
    let prefix = args.prefix.map(|p| p.to_string()).unwrap_or_default();
    let request = RpkiRequest { prefix, origin: args.origin };
    let reply = answer("bgpd", bgpd.rpki(request)).await?;
    if out.is_json() {
        out.json(&reply)?;
    } else if let Some(prefix) = &args.prefix {
        out.text(&about(prefix, args.origin, &reply))?;
    } else {
        out.text(&caches(&reply))?;
    }
    let unanswered = args.prefix.is_none() && !reply.caches.iter().any(|cache| cache.used);
    let wrong = unanswered || reply.validity == "invalid";
    Ok(if wrong { Verdict::Wrong } else { Verdict::Well })
}

fn caches(reply: &RpkiReply) -> String {
    if reply.caches.is_empty() {
        return "no caches; bgp.rpki.servers of the configuration names them\n".into();
    }
    let mut table = Table::new(&[
        " ",
        "CACHE",
        ">PREFERENCE",
        "STATE",
        ">VERSION",
        ">SERIAL",
        ">VRPS",
        ">FRESH",
        "LAST ERROR",
    ]);
    for cache in &reply.caches {
        table.row(row(cache));
    }
    let mut text = table.take();
    let _ = write!(text, "\n{} in use\n", count(reply.vrps, "VRP"));
    for routes in &reply.routes {
        let _ = writeln!(
            text,
            "{}: {} valid, {} invalid, {} not found",
            clean_line(&routes.family),
            routes.valid,
            routes.invalid,
            routes.not_found
        );
    }
    text
}

fn row(cache: &Cache) -> [String; 9] {
    let spoken = cache.updates > 0;
    let number = |n: String| if spoken { n } else { dash() };
    [
        if cache.used { ">" } else { "" }.into(),
        cache.address.clone(),
        cache.preference.to_string(),
        cache.state.clone(),
        number(cache.version.to_string()),
        number(cache.serial.to_string()),
        cache.vrps.to_string(),
        cache.fresh_seconds.map_or_else(dash, age),
        cache.last_error.clone(),
    ]
}

fn about(prefix: &Prefix, origin: Option<u32>, reply: &RpkiReply) -> String {
    let mut text = String::new();
    if let Some(origin) = origin {
        let _ = writeln!(text, "{prefix} from AS {origin}: {}", clean_line(&reply.validity));
    }
    if reply.covering.is_empty() {
        let _ = writeln!(text, "nothing is said of {prefix}");
        return text;
    }
    let mut table = Table::new(&["PREFIX", ">UP TO", ">AS"]);
    for vrp in &reply.covering {
        table.row([vrp.prefix.clone(), format!("/{}", vrp.max_length), vrp.asn.to_string()]);
    }
    text + &table.take()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_proto::collect::v1::{Validities, Vrp};

    fn reply() -> RpkiReply {
        let up = Cache {
            address: "rpki-1:323".into(),
            preference: 1,
            state: "up".into(),
            used: true,
            version: 1,
            session: 7,
            serial: 42,
            vrps: 3,
            fresh_seconds: Some(12.0),
            expire_seconds: 7200.0,
            updates: 5,
            last_error: String::new(),
        };
        let down = Cache {
            address: "[2001:db8::1]:8282".into(),
            preference: 2,
            state: "down".into(),
            last_error: "connection refused".into(),
            ..Cache::default()
        };
        let counts =
            Validities { family: "ipv4-unicast".into(), valid: 2, invalid: 1, not_found: 9 };
        let vrp = Vrp { prefix: "10.0.0.0/8".into(), max_length: 16, asn: 65001 };
        RpkiReply {
            caches: vec![up, down],
            vrps: 3,
            routes: vec![counts],
            covering: vec![vrp],
            validity: "invalid".into(),
        }
    }

    #[test]
    fn caches_stand_in_a_table_with_the_one_that_counts_marked() {
        let told = caches(&reply());
        let words = |line: usize| -> Vec<&str> {
            told.lines().nth(line).unwrap_or_default().split_whitespace().collect()
        };
        assert_eq!(words(1), [">", "rpki-1:323", "1", "up", "1", "42", "3", "12s"]);
        let away = ["[2001:db8::1]:8282", "2", "down", "-", "-", "0", "-", "connection", "refused"];
        assert_eq!(words(2), away);
        assert!(told.contains("3 VRPs in use\nipv4-unicast: 2 valid, 1 invalid, 9 not found"));
        assert_eq!(
            caches(&RpkiReply::default()),
            "no caches; bgp.rpki.servers of the configuration names them\n"
        );
    }

    #[test]
    fn a_prefix_is_told_with_the_verdict_and_who_may_originate_it() {
        let prefix = "10.1.0.0/16".parse().unwrap();
        let told = about(&prefix, Some(65002), &reply());
        assert_eq!(
            told,
            "10.1.0.0/16 from AS 65002: invalid\nPREFIX      UP TO     AS\n10.0.0.0/8    /16  65001\n"
        );
        assert_eq!(about(&prefix, None, &RpkiReply::default()), "nothing is said of 10.1.0.0/16\n");
    }
}
