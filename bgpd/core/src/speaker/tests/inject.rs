//! Routes of other programs, and what becomes of them with their leases.

use super::*;
use crate::inject::{InjectError, InjectedRoute, Injection, KeptLease, LeaseView};
use crate::report::LeaseEnd;
use crate::view::KernelState;

const VIP: &str = "198.18.0.1/32";

fn route(p: &str) -> InjectedRoute {
    InjectedRoute {
        prefix: prefix(p),
        next_hop: None,
        communities: Vec::new(),
        large_communities: Vec::new(),
        local_pref: None,
        med: None,
    }
}

fn from(client: &str, announce: &[&str]) -> Injection {
    Injection {
        client: client.into(),
        ttl: Some(seconds(10)),
        announce: announce.iter().map(|p| route(p)).collect(),
        ..Injection::default()
    }
}

impl Lab {
    fn inject(&mut self, asked: Injection) -> Result<LeaseView, InjectError> {
        self.speaker.inject(asked, self.now, &mut self.actions)
    }

    fn has(&self, p: &str) -> bool {
        !self.table(RibKind::Loc, None, Some((prefix(p), Match::Exact))).is_empty()
    }
}

#[test]
fn an_injected_route_is_told_as_ours_with_what_the_client_says_of_it() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let one = lab.establish(1, 65001);
    lab.sent(one);
    let mut asked = from("lb", &[VIP]);
    asked.announce[0].communities = vec![64512 << 16 | 7];
    asked.announce[0].med = Some(5);
    lab.inject(asked).unwrap();
    assert!(lab.actions.iter().any(|a| matches!(a, Action::Wake { .. })));
    lab.sent(one);
    let told = lab.table(RibKind::AdjOut, Some("p1"), None);
    assert_eq!((told.len(), told[0].prefix), (1, prefix(VIP)));
    let path = &told[0].paths[0];
    assert_eq!(path.attributes.communities, [64512 << 16 | 7]);
    assert_eq!(path.attributes.med, Some(5));
    assert_eq!(path.injected_by.as_deref(), Some("lb"));
    assert_eq!(lab.fib(), [""; 0], "the kernel is not told of what has no next hop");
}

#[test]
fn routes_leave_when_nobody_renews_the_lease_and_stay_while_somebody_holds_it() {
    let mut lab = Lab::new(config(&[]));
    lab.inject(from("lb", &[VIP])).unwrap();
    lab.pass(seconds(9));
    lab.inject(from("lb", &[])).unwrap();
    lab.pass(seconds(9));
    assert!(lab.has(VIP), "any call renews");
    assert!(lab.speaker.hold_lease("lb"));
    assert!(!lab.speaker.hold_lease("nobody"));
    lab.pass(seconds(1000));
    assert!(lab.has(VIP));
    lab.speaker.let_lease_run("lb", lab.now);
    lab.pass(seconds(9));
    assert!(lab.has(VIP), "it has its whole time left");
    assert_eq!(lab.speaker.deadline(), Some(lab.now + seconds(1)));
    lab.pass(seconds(1));
    assert!(!lab.has(VIP));
    let ended = Report::LeaseEnded { client: "lb".into(), routes: 1, why: LeaseEnd::Expired };
    assert!(lab.reports().contains(&ended));
    assert!(lab.speaker.leases(lab.now).is_empty());
}

#[test]
fn a_prefix_has_one_owner_and_who_comes_second_is_told_whose_it_is() {
    let mut own = config(&[]);
    own.originate = vec![prefix("192.168.0.0/24")];
    let mut lab = Lab::new(own);
    lab.inject(from("a", &[VIP])).unwrap();
    let taken = InjectError::Taken { prefix: prefix(VIP), owner: "a".into() };
    assert_eq!(lab.inject(from("b", &["198.18.0.2/32", VIP])), Err(taken));
    assert!(!lab.has("198.18.0.2/32"), "all or nothing");
    assert_eq!(lab.speaker.leases(lab.now).len(), 1);
    let own = InjectError::Own { prefix: prefix("192.168.0.0/24") };
    assert_eq!(lab.inject(from("b", &["192.168.0.0/24"])), Err(own));
    let withdraw = Injection { withdraw: vec![prefix(VIP)], ..from("a", &[]) };
    lab.inject(withdraw).unwrap();
    assert_eq!(lab.inject(from("b", &[VIP])).unwrap().routes, 1);
    let withdraw = Injection { withdraw: vec![prefix(VIP)], ..from("a", &[]) };
    lab.inject(withdraw).unwrap();
    assert!(lab.has(VIP), "nobody withdraws what is another's");
}

#[test]
fn a_replacement_withdraws_what_it_does_not_name_and_touches_nothing_else() {
    let mut lab = Lab::new(config(&[(1, 65001)]));
    let one = lab.establish(1, 65001);
    lab.inject(from("lb", &[VIP, "198.18.0.2/32"])).unwrap();
    lab.sent(one);
    let all = Injection { replace: true, ..from("lb", &[VIP, "198.18.0.3/32"]) };
    lab.inject(all).unwrap();
    let said = lab.sent(one).join(" ");
    assert!(said.contains("198.18.0.2/32") && said.contains("198.18.0.3/32"), "{said}");
    assert!(!said.contains(VIP), "{said}");
    assert_eq!(lab.speaker.release_lease("lb", lab.now, &mut lab.actions), Some(2));
    assert_eq!(lab.speaker.release_lease("lb", lab.now, &mut lab.actions), None);
    assert!(!lab.has(VIP));
}

#[test]
fn a_route_with_a_next_hop_goes_into_the_kernel_and_out_again() {
    let mut lab = Lab::new(config(&[]));
    let mut asked = from("egress", &["203.0.113.0/24"]);
    asked.announce[0].next_hop = Some(NextHop::V4([192, 0, 2, 77].into()));
    lab.inject(asked).unwrap();
    assert_eq!(lab.fib(), ["203.0.113.0/24 via 192.0.2.77"]);
    let why = lab.speaker.explain(prefix("203.0.113.9/32"), lab.now);
    assert_eq!(why.kernel.state, KernelState::Installed);
    assert_eq!(why.route.unwrap().paths[0].injected_by.as_deref(), Some("egress"));
    lab.pass(seconds(10));
    assert_eq!(lab.fib(), ["203.0.113.0/24 gone"]);
}

#[test]
fn after_a_restart_routes_are_there_at_once_and_leave_when_their_time_is_over() {
    let now = start();
    let mut speaker = Speaker::new(config(&[(1, 65001)]), Start::again(true), now);
    let mut actions = Vec::new();
    let mut kept = route("203.0.113.0/24");
    kept.next_hop = Some(NextHop::V4([192, 0, 2, 77].into()));
    let lease = KeptLease {
        client: "egress".into(),
        ttl: seconds(30),
        left: seconds(4),
        routes: vec![kept],
    };
    speaker.restore(vec![lease], now, &mut actions);
    actions.clear();
    let mut lab = Lab { speaker, now, actions, next_conn: 0 };
    let installed = crate::event::InstalledRoute {
        prefix: prefix("203.0.113.0/24"),
        next_hops: vec![NextHop::V4([192, 0, 2, 77].into()).into()],
    };
    lab.tell(Event::Adopted(vec![installed]));
    lab.tell(Event::Blocks(BTreeSet::new()));
    assert_eq!(lab.fib(), [""; 0], "what the kernel has is left alone");
    let one = lab.establish(1, 65001);
    let said = lab.sent(one).join(" ");
    assert!(said.contains("203.0.113.0/24"), "{said}");
    lab.pass(seconds(4));
    assert_eq!(lab.fib(), ["203.0.113.0/24 gone"]);
}
