//! Route origin validation: what StayRTR says decides which of BIRD's routes come in.

use crate::pair::{BIRD, Pair};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::stayrtr::StayRtr;
use mainstay_tests::wait::{eventually, until};

/// `servers` as they stand in the file.
fn guarded(servers: &str) -> Pair {
    Pair::new(&format!(
        "  connect_retry: 1s
  peers:
    - {{name: tor, address: 192.0.2.1, asn: 65001, import: no-invalids}}
  policies:
    - {{name: no-invalids, rules: [{{match: {{rpki: invalid}}, action: reject}}, {{action: accept}}]}}
  rpki: {{servers: [{servers}]}}
"
    ))
}

fn cache(pair: &Pair, at: usize) -> Result<serde_json::Value, String> {
    let said = pair.node.json(&["bgp", "rpki"])?;
    said["caches"].get(at).cloned().ok_or_else(|| said.to_string())
}

const VALID: (&str, u8, u32) = ("198.51.100.0/24", 24, 65001);
const INVALID: (&str, u8, u32) = ("198.51.100.0/24", 24, 65009);
const VALID_V6: (&str, u8, u32) = ("2001:db8::/32", 48, 65001);

#[test]
fn routes_come_and_go_with_what_stayrtr_says_and_stay_while_it_is_away() {
    let pair = guarded("{address: \"192.0.2.1:8282\", retry: 1s}");
    let _bird = Bird::start(&pair.peer, BIRD);
    let mut rtr = StayRtr::start(&pair.peer, 1, &[INVALID, VALID_V6]);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    let has = |route: &str| pair.kernel().contains(route);
    until(30, "the invalid one is refused, the others are in", || {
        has("2001:db8:51::/48 via") && has("default via 192.0.2.1") && !has("198.51.100.0/24")
    });
    eventually(30, "the cache is up", || {
        let cache = cache(&pair, 0)?;
        let up = cache["state"] == "up" && cache["version"] == 1 && cache["vrps"] == 2;
        if up { Ok(()) } else { Err(cache.to_string()) }
    });
    until(30, "refused by its origin", || !has("198.51.100.0/24"));
    rtr.serve(&[VALID, VALID_V6]);
    until(30, "it is valid now", || has("198.51.100.0/24 via 192.0.2.1"));
    let asked = pair.node.json(&["bgp", "rpki", "198.51.100.0/24", "65001"]).unwrap();
    assert_eq!(
        (&asked["validity"], &asked["covering"][0]["asn"]),
        (&"valid".into(), &65001.into())
    );
    assert_eq!(pair.tor().unwrap()["established_count"], 1, "no session is touched");
    rtr.serve(&[INVALID, VALID_V6]);
    until(30, "and invalid again", || !has("198.51.100.0/24"));
    rtr.stop();
    eventually(30, "the cache is away", || {
        let cache = cache(&pair, 0)?;
        let away = cache["state"] == "away" && cache["used"] == true && cache["vrps"] == 2;
        if away { Ok(()) } else { Err(cache.to_string()) }
    });
    assert!(!has("198.51.100.0/24") && has("2001:db8:51::/48 via"), "what it said still counts");
    let _again = StayRtr::start(&pair.peer, 1, &[VALID]);
    until(30, "the cache is back, and the route", || has("198.51.100.0/24 via 192.0.2.1"));
}

#[test]
fn what_a_cache_has_said_counts_after_a_sigkill_while_the_cache_is_away() {
    let pair = guarded("{address: \"192.0.2.1:8282\", retry: 1s}");
    let _bird = Bird::start(&pair.peer, BIRD);
    let mut rtr = StayRtr::start(&pair.peer, 1, &[INVALID, VALID_V6]);
    let mut bgpd = pair.node.start(Daemon::Bgpd);
    let has = |route: &str| pair.kernel().contains(route);
    until(30, "the invalid one is refused, the others are in", || {
        has("2001:db8:51::/48 via") && has("default via 192.0.2.1") && !has("198.51.100.0/24")
    });
    let file = pair.node.dir.path().join("state/bgpd/vrps");
    until(30, "the answer is kept", || {
        std::fs::read_to_string(&file).is_ok_and(|t| t.contains("198.51.100.0/24 24 65009"))
    });
    rtr.stop();
    bgpd.kill();
    let _bgpd = pair.node.start(Daemon::Bgpd);
    pair.established(60);
    // All of BIRD's routes have been judged by now: its EoR is here.
    eventually(60, "the invalid route is here and refused", || {
        let routes = pair.node.json(&["bgp", "routes", "198.51.100.0/24", "--peer", "tor"])?;
        let path = routes.pointer("/routes/0/paths/0").or_else(|| routes.pointer("/0/paths/0"));
        let refused = path.is_some_and(|path| path["rejected"] == true);
        if refused { Ok(()) } else { Err(routes.to_string()) }
    });
    assert!(!has("198.51.100.0/24") && has("default via 192.0.2.1"));
    let said = pair.node.json(&["bgp", "rpki"]).unwrap();
    assert_eq!((&said["vrps"], &said["caches"][0]["vrps"]), (&2.into(), &0.into()), "{said}");
    let _again = StayRtr::start(&pair.peer, 1, &[VALID]);
    until(60, "a cache answers, and that counts", || has("198.51.100.0/24 via 192.0.2.1"));
}

#[test]
fn another_cache_takes_over_and_one_of_version_0_is_understood() {
    let pair = guarded(
        "{address: \"192.0.2.1:8282\", retry: 1s}, \
         {address: \"127.0.0.1:8282\", preference: 2, retry: 1s}",
    );
    let _bird = Bird::start(&pair.peer, BIRD);
    let mut first = StayRtr::start(&pair.peer, 0, &[INVALID]);
    let _second = StayRtr::start(&pair.node.host, 1, &[VALID]);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    let used = |at: usize| cache(&pair, at).map(|c| c["used"] == true && c["state"] == "up");
    until(30, "both are up and the first one counts", || {
        let second = cache(&pair, 1).map(|c| c["state"] == "up");
        used(0) == Ok(true) && second == Ok(true)
    });
    assert_eq!(cache(&pair, 0).unwrap()["version"], 0);
    let has = |route: &str| pair.kernel().contains(route);
    until(30, "refused", || has("default via 192.0.2.1") && !has("198.51.100.0/24"));
    first.stop();
    until(30, "the second one counts", || used(1) == Ok(true));
    until(30, "by which it is valid", || has("198.51.100.0/24 via 192.0.2.1"));
}
