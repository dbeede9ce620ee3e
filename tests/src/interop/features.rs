//! What is asked of each speaker. Every one of them announces
//!
//! - 198.51.100.0/24 and 2001:db8:51::/48, plainly;
//! - 198.51.101.0/24 with community 65001:100, large community 65001:1:2, MED 77 and its own AS
//!   twice more.
//!
//! We announce 198.18.7.0/24 and 2001:db8:7::/48.

use super::{Fact, Lacks, Speaker, Stand, Via, Wish};
use serde_json::json;
use std::time::{Duration, Instant};

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
    feature(
        "communities (plain, large, extended), MED and prepends that our policy sets are seen",
        "1997, 4360, 8092",
        marked_route,
    ),
    feature("several paths a prefix, under identifiers both ways", "7911", add_paths),
    feature("TCP MD5", "2385", md5),
    feature("a hold time of three seconds", "4271 §4.2", three_seconds),
    feature("it asks for everything again and gets it", "2918, 7313", refresh),
    feature("its word on an administrative shutdown is shown", "9003", shutdown),
    feature("our word on an administrative reset is shown", "9003", our_word),
    feature("roles, and a mark on what is for customers only", "9234", roles),
    feature("no packets from further away than one hop", "5082", ttl_security),
    feature("messages of up to 65535 octets are agreed on", "8654", extended_messages),
    feature("BFD watches the path", "5880, 5881", bfd),
    feature(
        "it tells too many prefixes, is cut off and told why, and taken back",
        "4486",
        too_many,
    ),
    feature(
        "we tell it too many prefixes: it cuts us off, we show why, and are taken back",
        "4486",
        told_too_many,
    ),
    feature("IPv4 prefixes with IPv6 next hops, both ways", "8950", ipv6_next_hops),
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

fn marked_route(speaker: Speaker) -> Result<(), Lacks> {
    let stand = Stand::new(speaker, &Wish::default(), "export: marked")?;
    let facts = [
        Fact::AsPath(vec![64512, 64512, 64512]),
        Fact::Community,
        Fact::LargeCommunity,
        Fact::ExtendedCommunity,
        Fact::Med,
    ];
    stand.peer_shows("198.18.7.0/24", &facts);
    Ok(())
}

fn our_word(speaker: Speaker) -> Result<(), Lacks> {
    if speaker == Speaker::ExaBgp {
        return Err(Lacks("it shows no words of a NOTIFICATION"));
    }
    let stand = Stand::new(speaker, &Wish::default(), "")?;
    // A speaker that is slow to read may meet our next connection before it meets the word on the
    // last one, and then drops that one unread: it is told again.
    for _ in 0..3 {
        stand.until("there is a session to reset", |s| {
            let text = s.node.cli_text(&["bgp", "reset", "tor", "--message", "new optics"]);
            if text.contains("has been ended") { Ok(()) } else { Err(text) }
        });
        let end = Instant::now() + Duration::from_secs(15);
        while Instant::now() < end {
            if stand.peer.session().is_ok_and(|text| text.contains("new optics")) {
                stand.established();
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    panic!("it does not show why: {:?}", stand.peer.session());
}

fn roles(speaker: Speaker) -> Result<(), Lacks> {
    let wish = Wish { customer: true, ..Wish::default() };
    let stand = Stand::new(speaker, &wish, "role: provider, role_strict: true")?;
    stand.peer_shows("198.18.7.0/24", &[Fact::OnlyToCustomer]);
    Ok(())
}

fn ttl_security(speaker: Speaker) -> Result<(), Lacks> {
    let wish = Wish { ttl_security: true, hold_time: 3, ..Wish::default() };
    let stand = Stand::new(speaker, &wish, "ttl_security: true, hold_time: 3s")?;
    stand.until("the session stands through a hold time", |s| {
        let tor = s.tor()?;
        let is_old = tor["state_seconds"].as_f64().is_some_and(|age| age > 4.0);
        if tor["state"] == "Established" && is_old { Ok(()) } else { Err(tor.to_string()) }
    });
    Ok(())
}

fn extended_messages(speaker: Speaker) -> Result<(), Lacks> {
    let wish = Wish { extended_messages: true, ..Wish::default() };
    let stand = Stand::new(speaker, &wish, "")?;
    stand.until("it has the capability, and routes come", |s| {
        let tor = s.tor()?;
        let agreed = tor["capabilities"].to_string().contains("extended-message");
        if agreed { s.heard("198.51.100.0/24").map(drop) } else { Err(tor.to_string()) }
    });
    Ok(())
}

fn bfd(speaker: Speaker) -> Result<(), Lacks> {
    let wish = Wish { bfd: true, ..Wish::default() };
    let stand = Stand::new(speaker, &wish, "bfd: true")?;
    stand.until("both watch each other", |s| {
        let tor = s.tor()?;
        if tor["bfd"]["state"] == "Up" { Ok(()) } else { Err(tor.to_string()) }
    });
    Ok(())
}

fn too_many(speaker: Speaker) -> Result<(), Lacks> {
    let wish = Wish::default();
    let stand = Stand::new(speaker, &wish, "")?;
    stand.we_show("198.51.101.0/24", |_| true);
    stand.change(&wish, "max_prefixes: {in: 1, action: stop}");
    let out = stand.node.cli(&["bgp", "reset", "tor"]);
    assert!(out.status.success(), "{out:?}");
    stand.until("the session ends, and stays so", |s| {
        let tor = s.tor()?;
        let barred = tor["state"] == "Idle" && tor["last_error"].to_string().contains("6/1");
        if barred { Ok(()) } else { Err(tor.to_string()) }
    });
    // OpenBGPD waits longer after each end than a test should.
    if speaker != Speaker::OpenBgpd {
        stand.change(&wish, "");
        stand.established();
        stand.we_show("198.51.101.0/24", |_| true);
    }
    Ok(())
}

fn told_too_many(speaker: Speaker) -> Result<(), Lacks> {
    let wish = Wish { most: Some(1), ..Wish::default() };
    let stand = Stand::new(speaker, &wish, "")?;
    stand.peer_shows("198.18.7.0/24", &[]);
    // More than one: FRR looks at its count before it adds to it.
    let originate =
        "198.18.7.0/24, 198.18.8.0/24, 198.18.9.0/24, 198.18.10.0/24, '2001:db8:7::/48'";
    // Who dials again may see another end of another kind.
    stand.change(&Wish { originate, ..wish.clone() }, "passive: true");
    stand.until("it ends the session, and we show why", |s| {
        let tor = s.tor()?;
        let why = tor["last_error"].to_string();
        // FRR says it inside a hard reset (RFC 8538 §3.1).
        let said = why.contains("received NOTIFICATION 6/")
            && why.contains("6/1 (maximum number of prefixes");
        if said { Ok(()) } else { Err(tor.to_string()) }
    });
    stand.change(&wish, "");
    stand.peer.let_in();
    stand.established();
    stand.peer_shows("198.18.7.0/24", &[]);
    Ok(())
}

fn ipv6_next_hops(speaker: Speaker) -> Result<(), Lacks> {
    // GoBGP has them on links without addresses alone.
    let via = if speaker == Speaker::GoBgp { Via::LinkLocal } else { Via::Ipv6 };
    let stand = Stand::new(speaker, &Wish { via, ..Wish::default() }, "")?;
    stand.until("it has the capability", |s| {
        let tor = s.tor()?;
        let agreed = tor["capabilities"].to_string().contains("extended-next-hop");
        if agreed { Ok(()) } else { Err(tor.to_string()) }
    });
    stand.we_show("198.51.100.0/24", |path| {
        path["as_path"] == "65001"
            && path["next_hop"].as_str().is_some_and(|hop| hop.starts_with(via.theirs()))
    });
    stand
        .peer_shows("198.18.7.0/24", &[Fact::AsPath(vec![64512]), Fact::NextHop(Via::Ipv6.ours())]);
    Ok(())
}
