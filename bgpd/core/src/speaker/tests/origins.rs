use super::*;
use crate::config::PolicyName;
use crate::config::{Policy, Rule};
use crate::policy::{Ask, Decision};
use crate::rpki::{Table, Validity, Vrp};

fn vrp(text: &str, max_len: u8, asn: u32) -> Vrp {
    Vrp { prefix: prefix(text), max_len, asn: Asn(asn) }
}

/// A speaker whose one peer may not announce what is invalid.
fn guarded() -> Lab {
    let invalid = Rule::new(vec![Ask::Rpki(vec![Validity::Invalid])], Decision::Reject);
    let rules = vec![invalid, Rule::new(vec![], Decision::Accept)];
    let mut config = config(&[(1, 65001)]);
    config.policies.insert("no-invalids".into(), Policy { rules });
    config.peers[0].session.import = PolicyName::Named("no-invalids".into());
    Lab::new(config)
}

fn known(lab: &mut Lab, vrps: &[Vrp]) {
    lab.tell(Event::Origins(Arc::new(Table::new(vrps.to_vec()))));
}

fn routes(lab: &Lab) -> Vec<String> {
    let query = RouteQuery { rib: RibKind::Loc, ..RouteQuery::default() };
    let routes = lab.speaker.routes(&query, None, 100, lab.now);
    routes.iter().map(|r| r.prefix.to_string()).collect()
}

#[test]
fn routes_come_and_go_with_what_the_rpki_says() {
    let mut lab = guarded();
    let conn = lab.establish(1, 65001);
    lab.announce(conn, &[65001, 65009], 1, &["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"]);
    assert_eq!(routes(&lab), ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"], "nothing is known");
    known(&mut lab, &[vrp("10.0.0.0/8", 8, 65009)]);
    assert_eq!(routes(&lab), ["10.0.0.0/8", "11.0.0.0/8"]);
    lab.announce(conn, &[65001, 65010], 1, &["10.0.0.0/8"]);
    assert_eq!(routes(&lab), ["11.0.0.0/8"], "another origin");
    known(&mut lab, &[vrp("10.0.0.0/8", 16, 65009), vrp("10.0.0.0/8", 8, 65010)]);
    assert_eq!(routes(&lab), ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"]);
    let [(_, counts), _] = lab.speaker.validities();
    assert_eq!(counts, [2, 0, 1]);
    known(&mut lab, &[]);
    assert_eq!(routes(&lab), ["10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"]);
}

#[test]
fn a_refused_path_comes_in_when_it_becomes_valid_without_asking_the_peer() {
    let mut lab = guarded();
    let conn = lab.establish(1, 65001);
    known(&mut lab, &[vrp("10.0.0.0/8", 8, 65002)]);
    lab.announce(conn, &[65001], 1, &["10.0.0.0/8"]);
    assert_eq!(routes(&lab), [""; 0]);
    lab.sent(conn);
    known(&mut lab, &[vrp("10.0.0.0/8", 8, 65001)]);
    assert_eq!(routes(&lab), ["10.0.0.0/8"]);
    assert_eq!(lab.sent(conn), [""; 0]);
}
