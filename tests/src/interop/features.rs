//! What is asked of each speaker. Every one of them announces
//!
//! - 198.51.100.0/24 and 2001:db8:51::/48, plainly;
//! - 198.51.101.0/24 with community 65001:100, large community 65001:1:2, MED 77 and its own AS
//!   twice more.
//!
//! We announce 198.18.7.0/24 and 2001:db8:7::/48.

use super::{Fact, Lacks, Speaker, Stand, Wish};
use serde_json::json;

type Check = fn(Speaker) -> Result<(), Lacks>;

#[derive(Debug)]
pub struct Feature {
    pub name: &'static str,
    pub rfc: &'static str,
    pub(super) check: Check,
}

pub static ALL: &[Feature] = &[
    feature("IPv4 and IPv6 unicast, both ways over one session", "4271, 4760", both_families),
    feature("internal: the same inside one AS", "4271 §5.1.5", internal),
    feature("AS numbers of four octets on both sides", "6793", four_octets),
    feature(
        "communities, large communities, MED and prepended paths are read",
        "1997, 8092",
        rich_route,
    ),
    feature("several paths a prefix, under identifiers both ways", "7911", add_paths),
    feature("TCP MD5", "2385", md5),
    feature("a hold time of three seconds", "4271 §4.2", three_seconds),
    feature("it asks for everything again and gets it", "2918, 7313", refresh),
    feature("its word on an administrative shutdown is shown", "9003", shutdown),
];

const fn feature(name: &'static str, rfc: &'static str, check: Check) -> Feature {
    Feature { name, rfc, check }
}

fn both_families(speaker: Speaker) -> Result<(), Lacks> {
    let stand = Stand::new(speaker, &Wish::default(), "")?;
    for prefix in ["198.51.100.0/24", "2001:db8:51::/48"] {
        stand.we_show(prefix, |path| path["as_path"] == "65001");
    }
    for prefix in ["198.18.7.0/24", "2001:db8:7::/48"] {
        stand.peer_shows(prefix, &[Fact::AsPath(vec![64512])]);
    }
    Ok(())
}

fn internal(speaker: Speaker) -> Result<(), Lacks> {
    let wish = Wish { asn: 64512, ..Wish::default() };
    let stand = Stand::new(speaker, &wish, "export: all")?;
    let inside = |path: &serde_json::Value| path["as_path"] == "" && path["local_pref"] == 100;
    stand.we_show("198.51.100.0/24", inside);
    stand.peer_shows("198.18.7.0/24", &[]);
    Ok(())
}

fn four_octets(speaker: Speaker) -> Result<(), Lacks> {
    let wish = Wish { asn: 4_200_000_001, our_asn: 4_200_000_002, ..Wish::default() };
    let stand = Stand::new(speaker, &wish, "")?;
    stand.we_show("198.51.100.0/24", |path| path["as_path"] == "4200000001");
    stand.peer_shows("198.18.7.0/24", &[Fact::AsPath(vec![4_200_000_002])]);
    Ok(())
}

fn rich_route(speaker: Speaker) -> Result<(), Lacks> {
    let stand = Stand::new(speaker, &Wish::default(), "")?;
    stand.we_show("198.51.101.0/24", |path| {
        path["communities"] == json!(["65001:100"])
            && path["large_communities"] == json!(["65001:1:2"])
            && path["med"] == 77
            && path["as_path"] == "65001 65001 65001"
    });
    Ok(())
}

fn add_paths(speaker: Speaker) -> Result<(), Lacks> {
    let wish = Wish { add_paths: true, ..Wish::default() };
    let stand = Stand::new(speaker, &wish, "add_paths: both")?;
    let agreed = |tor: &serde_json::Value| tor["capabilities"].to_string().contains("add-paths");
    stand.until("it has the capability", |s| {
        let tor = s.tor()?;
        if agreed(&tor) { Ok(()) } else { Err(tor.to_string()) }
    });
    for prefix in ["198.51.100.0/24", "2001:db8:51::/48"] {
        stand.we_show(prefix, |path| path["as_path"] == "65001");
    }
    for prefix in ["198.18.7.0/24", "2001:db8:7::/48"] {
        stand.peer_shows(prefix, &[Fact::AsPath(vec![64512])]);
    }
    if speaker == Speaker::Bird {
        stand.until("both of its paths are here", |s| match s.paths("198.51.102.0/24")? {
            2 => Ok(()),
            n => Err(format!("{n} paths")),
        });
    }
    Ok(())
}

fn md5(speaker: Speaker) -> Result<(), Lacks> {
    let wish = Wish { password: Some("open-sesame"), ..Wish::default() };
    let stand = Stand::new(speaker, &wish, "")?;
    stand.we_show("198.51.100.0/24", |_| true);
    Ok(())
}

fn three_seconds(speaker: Speaker) -> Result<(), Lacks> {
    let wish = Wish { hold_time: 3, ..Wish::default() };
    let stand = Stand::new(speaker, &wish, "hold_time: 3s")?;
    stand.until("the session stands through two of them", |s| {
        let tor = s.tor()?;
        let is_old = tor["state_seconds"].as_f64().is_some_and(|age| age > 7.0);
        let kept = tor["state"] == "Established" && tor["hold_time_seconds"] == 3 && is_old;
        if kept { Ok(()) } else { Err(tor.to_string()) }
    });
    Ok(())
}

fn refresh(speaker: Speaker) -> Result<(), Lacks> {
    let stand = Stand::new(speaker, &Wish::default(), "")?;
    stand.peer_shows("198.18.7.0/24", &[]);
    let sent = stand.count("/sent/update");
    stand.peer.refresh()?;
    stand.until("we are asked, and answer", |s| {
        let (asked, now) = (s.count("/received/route_refresh"), s.count("/sent/update"));
        if asked > 0 && now > sent { Ok(()) } else { Err(format!("{asked} times, {now}")) }
    });
    Ok(())
}

fn shutdown(speaker: Speaker) -> Result<(), Lacks> {
    let stand = Stand::new(speaker, &Wish::default(), "")?;
    stand.peer.shut_down("back at noon")?;
    stand.until("we show why it went", |s| {
        let tor = s.tor()?;
        let error = tor["last_error"].as_str().unwrap_or_default();
        if error.contains("back at noon") { Ok(()) } else { Err(tor.to_string()) }
    });
    Ok(())
}
