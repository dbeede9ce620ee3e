//! The rules of identity, policy and pools, one answer each.

#![allow(clippy::unwrap_used)]

use ipam_core::*;
use std::net::IpAddr;
use std::time::Duration;

const COOLDOWN: u64 = 100;
const TTL: u64 = 1000;

struct Node {
    ipam: Ipam,
    seconds: u64,
    out: Effects,
}

fn at(seconds: u64) -> Now {
    let boottime = Duration::from_secs(seconds);
    Now { boot: BootId(1), boottime, wall: boottime }
}

fn pool(name: &str, block: &str) -> PoolSettings {
    let block = block.parse().unwrap();
    PoolSettings::new(name, block, vec![block])
}

fn settings(pools: Vec<PoolSettings>) -> Settings {
    let stickiness = Policy::Ttl(Duration::from_secs(TTL));
    Settings { pools, cooldown: Duration::from_secs(COOLDOWN), stickiness }
}

impl Node {
    fn with(pools: Vec<PoolSettings>) -> Self {
        let (ipam, _) = Ipam::open(settings(pools), Kept::default(), at(0));
        Self { ipam, seconds: 0, out: Effects::default() }
    }

    fn small() -> Self {
        Self::with(vec![pool("default", "10.0.0.0/29")])
    }

    fn add(&mut self, add: &Add) -> Result<String, String> {
        self.out = Effects::default();
        let grants = self.ipam.add(add, at(self.seconds), &mut self.out);
        let text = |grants: Vec<Grant>| {
            grants.iter().map(|g| g.address.to_string()).collect::<Vec<_>>().join(" ")
        };
        grants.map(text).map_err(|e| e.to_string())
    }

    fn del(&mut self, add: &Add) {
        self.ipam.del(&add.attachment, at(self.seconds), &mut self.out);
    }

    fn rung(&self) -> Rung {
        let mut rungs = self.out.reports.iter().rev().filter_map(|report| match report {
            Report::Assigned { slot, .. } => Some(slot.rung),
            _ => None,
        });
        rungs.next().unwrap()
    }
}

/// Its container has its name.
fn pod(name: &str) -> Add {
    let attachment =
        Attachment { network: "n".into(), container_id: name.into(), ifname: "eth0".into() };
    let owner = Owner {
        namespace: "shop".into(),
        name: name.into(),
        uid: format!("uid-{name}"),
        workload: Workload::guess(name),
        ..Owner::default()
    };
    Add { attachment, owner, ..Add::default() }
}

fn of(workload: &str, mut add: Add) -> Add {
    add.owner.workload = Workload::proven(workload);
    add
}

fn under(policy: Policy, mut add: Add) -> Add {
    add.policy = Some(policy);
    add
}

fn asking(address: &str, mut add: Add) -> Add {
    add.requested = vec![address.parse().unwrap()];
    add
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn a_daemonset_has_one_slot_on_a_node_whatever_its_pods_are_called() {
    let mut node = Node::small();
    let agent = |name| of("daemonset/agent", pod(name));
    assert_eq!(node.add(&agent("agent-b2x4z")).unwrap(), "10.0.0.2");
    // While the old pod still has it, the new one of a surge gets another.
    assert_eq!(node.add(&agent("agent-c2x4z")).unwrap(), "10.0.0.3");
    node.del(&agent("agent-b2x4z"));
    assert_eq!(node.add(&agent("agent-d2x4z")).unwrap(), "10.0.0.2", "within the cooldown");
    assert_eq!(node.rung(), Rung::DaemonSet);
    node.del(&agent("agent-d2x4z"));
    let other = of("daemonset/other", pod("other-b2x4z"));
    assert_eq!(node.add(&other).unwrap(), "10.0.0.4");
}

#[test]
fn a_guessed_workload_prefers_what_is_cool_and_never_shortens_a_cooldown() {
    let mut node = Node::small();
    let web = |n: usize| pod(&format!("web-7d4b9c6f5-x2x4{}", char::from(b"bcdfgh"[n])));
    assert_eq!(node.add(&web(0)).unwrap(), "10.0.0.2");
    node.del(&web(0));
    assert_eq!(node.add(&web(1)).unwrap(), "10.0.0.3", "it is cooling");
    node.seconds = COOLDOWN;
    assert_eq!(node.add(&web(2)).unwrap(), "10.0.0.2", "rather than one that was never used");
    assert_eq!(node.rung(), Rung::Owner);
}

#[test]
fn a_proven_workload_gets_one_of_its_recent_addresses_at_once() {
    let mut node = Node::small();
    let web = |name| of("rollout/web", pod(name));
    assert_eq!(node.add(&web("a")).unwrap(), "10.0.0.2");
    assert_eq!(node.add(&web("b")).unwrap(), "10.0.0.3");
    node.del(&web("a"));
    node.seconds = 1;
    node.del(&web("b"));
    assert_eq!(node.add(&web("c")).unwrap(), "10.0.0.3", "the most recent one");
    assert_eq!(node.rung(), Rung::Owner);
}

#[test]
fn pods_of_a_statefulset_do_not_stand_for_one_another() {
    let mut node = Node::small();
    assert_eq!(node.add(&pod("db-0")).unwrap(), "10.0.0.2");
    node.del(&pod("db-0"));
    node.seconds = COOLDOWN;
    assert_eq!(node.add(&pod("db-1")).unwrap(), "10.0.0.3");
    let mut again = pod("db-0");
    again.owner.uid = "another".into();
    again.attachment.container_id = "new".into();
    assert_eq!(node.add(&again).unwrap(), "10.0.0.2");
    assert_eq!(node.rung(), Rung::Name);
}

#[test]
fn never_keeps_an_address_for_its_owner_until_an_operator_releases_it() {
    let mut node = Node::with(vec![pool("default", "10.0.0.0/30")]);
    let db = under(Policy::Never, pod("db-0"));
    assert_eq!(node.add(&db).unwrap(), "10.0.0.2");
    node.del(&db);
    node.seconds = 100 * TTL;
    assert_eq!(
        node.add(&pod("new")).unwrap_err(),
        "pool default is full: 1 addresses, 0 assigned, 0 cooling, 1 kept for good for their owners; \
         none will be free before a pod is deleted"
    );
    assert_eq!(
        node.add(&asking("10.0.0.2", pod("new"))).unwrap_err(),
        "requested address 10.0.0.2 is kept for pod shop/db-0 until an operator releases it or its \
         owner is known to be gone"
    );
    let seq = node.ipam.lease(ip("10.0.0.2"), at(node.seconds)).unwrap().slot.seq;
    let stale = node.ipam.release(ip("10.0.0.2"), seq + 1, at(node.seconds), &mut node.out);
    assert!(stale.unwrap_err().to_string().contains("not lease"));
    node.ipam.release(ip("10.0.0.2"), seq, at(node.seconds), &mut node.out).unwrap();
    assert_eq!(node.add(&pod("new")).unwrap(), "10.0.0.2", "it has been cool for long");
}

#[test]
fn while_its_owner_exists_an_address_is_kept_and_goes_when_the_owner_is_gone() {
    let mut node = Node::with(vec![pool("default", "10.0.0.0/30")]);
    let db = under(Policy::WhileOwnerExists, pod("db-0"));
    node.add(&db).unwrap();
    node.del(&db);
    node.seconds = 100 * TTL;
    assert!(node.add(&pod("new")).is_err());
    let gone = |name: &str| OwnerGone::Workload {
        namespace: "shop".into(),
        kind: Kind::StatefulSet,
        name: name.into(),
    };
    node.ipam.owner_gone(&gone("web"), &mut node.out);
    assert!(node.add(&pod("new")).is_err(), "that was another one");
    node.ipam.owner_gone(&gone("db"), &mut node.out);
    assert_eq!(node.add(&pod("new")).unwrap(), "10.0.0.2");
}

#[test]
fn a_pod_s_policy_goes_before_its_pool_s_and_that_before_the_general_one() {
    let mut never = pool("default", "10.0.0.0/29");
    never.stickiness = Some(Policy::Never);
    let mut node = Node::with(vec![never]);
    let second = Duration::from_secs(1);
    let (db, web) = (pod("db-0"), under(Policy::Ttl(second), pod("web-0")));
    node.add(&db).unwrap();
    node.add(&web).unwrap();
    let mut policy = |text| node.ipam.lease(ip(text), at(0)).unwrap().policy;
    assert_eq!(policy("10.0.0.2"), Policy::Never);
    assert_eq!(policy("10.0.0.3"), Policy::Ttl(second));
}

#[test]
fn pods_of_a_namespace_with_a_pool_of_its_own_get_no_others() {
    let mut blue = pool("blue", "10.1.0.0/30");
    blue.namespaces = vec!["blue".into(), "team-*".into()];
    let mut node = Node::with(vec![pool("default", "10.0.0.0/29"), blue]);
    let of = |namespace: &str, name: &str| {
        let mut add = pod(name);
        add.owner.namespace = namespace.into();
        add
    };
    assert_eq!(node.add(&of("shop", "a")).unwrap(), "10.0.0.2");
    assert_eq!(node.add(&of("team-x", "b")).unwrap(), "10.1.0.2");
    let full = node.add(&of("blue", "c")).unwrap_err();
    assert!(full.starts_with("pool blue is full"), "{full}");
    let naming = |pool: &str, mut add: Add| {
        add.pools = vec![pool.into()];
        add
    };
    assert_eq!(
        node.add(&naming("blue", of("shop", "d"))).unwrap_err(),
        "pool blue is not for namespace \"shop\""
    );
    assert_eq!(
        node.add(&naming("red", of("shop", "d"))).unwrap_err(),
        "there is no pool red; there are: default, blue"
    );
    assert_eq!(node.add(&naming("default", of("blue", "e"))).unwrap(), "10.0.0.3");
    assert_eq!(
        node.add(&asking("10.1.0.2", of("shop", "f"))).unwrap_err(),
        "requested address 10.1.0.2 is of pool blue, which namespace \"shop\" or the pool asked for \
         does not allow"
    );
}

#[test]
fn the_annotation_names_a_pool_for_each_family_at_most() {
    let mut node = Node::with(vec![
        pool("a", "10.0.0.0/29"),
        pool("b", "10.1.0.0/29"),
        pool("six", "fd00::/125"),
        pool("seven", "fd00:7::/125"),
    ]);
    let naming = |pools: &[&str], mut add: Add| {
        add.pools = pools.iter().map(ToString::to_string).collect();
        add
    };
    assert_eq!(node.add(&naming(&["b"], pod("p"))).unwrap(), "10.1.0.2 fd00::2");
    assert_eq!(node.add(&naming(&["b", "seven"], pod("q"))).unwrap(), "10.1.0.3 fd00:7::2");
    assert_eq!(
        node.add(&naming(&["a", "b"], pod("r"))).unwrap_err(),
        "two pools of one family asked for: a and b"
    );
}

#[test]
fn excluded_addresses_are_nobodys_and_reserved_ones_somebodys() {
    let mut special = pool("default", "10.0.0.0/29");
    special.exclude = vec![(ip("10.0.0.2"), ip("10.0.0.3"))];
    let whose = Reservation::Pod { namespace: "shop".into(), name: "db-0".into() };
    special.reserved = [(ip("10.0.0.4"), whose)].into();
    let mut node = Node::with(vec![special]);
    assert_eq!(node.add(&pod("a")).unwrap(), "10.0.0.5");
    assert_eq!(node.add(&pod("b")).unwrap(), "10.0.0.6");
    assert_eq!(
        node.add(&pod("c")).unwrap_err(),
        "pool default is full: 3 addresses, 2 assigned, 0 cooling, 1 reserved; \
         none will be free before a pod is deleted"
    );
    for (address, why) in [
        ("10.0.0.2", "requested address 10.0.0.2 is excluded from being handed out"),
        ("10.0.0.4", "requested address 10.0.0.4 is reserved for pod shop/db-0"),
    ] {
        assert_eq!(node.add(&asking(address, pod("c"))).unwrap_err(), why);
    }
    assert_eq!(node.add(&pod("db-0")).unwrap(), "10.0.0.4");
    let mut twin = pod("db-0");
    (twin.owner.uid, twin.attachment.container_id) = ("other".into(), "other".into());
    assert_eq!(
        node.add(&twin).unwrap_err(),
        "requested address 10.0.0.4 belongs to pod shop/db-0",
        "it waits for its address"
    );
}

#[test]
fn a_live_address_changes_hands_once_the_old_sandbox_is_proven_gone() {
    let mut node = Node::small();
    let mut old = pod("db-0");
    old.netns = "/run/netns/old".into();
    node.add(&old).unwrap();
    let mut new = pod("db-0");
    (new.owner.uid, new.attachment.container_id) = ("new".into(), "new".into());
    let rivals = node.ipam.rivals(&new);
    assert_eq!(rivals.len(), 1);
    assert_eq!((rivals[0].address, rivals[0].netns.as_str()), (ip("10.0.0.2"), "/run/netns/old"));
    new.rivals_gone = vec![rivals[0].seq + 1];
    let mut early = new.clone();
    early.attachment.container_id = "early".into();
    assert_eq!(node.add(&early).unwrap(), "10.0.0.3", "of another lease nothing is proven");
    node.del(&early);
    new.rivals_gone = vec![rivals[0].seq];
    assert_eq!(node.add(&new).unwrap(), "10.0.0.2");
    node.out = Effects::default();
    node.del(&old);
    assert_eq!(node.out, Effects::default(), "the late DEL of the old one finds nothing");
}

#[test]
fn a_held_back_address_is_refused_to_its_owner_with_the_operator_s_reason() {
    let mut node = Node::small();
    node.add(&pod("db-0")).unwrap();
    node.ipam.hold(ip("10.0.0.2"), "disk forensics", at(0), &mut node.out).unwrap();
    assert_eq!(node.add(&pod("db-0")).unwrap(), "10.0.0.2", "who has it keeps it");
    node.del(&pod("db-0"));
    assert_eq!(
        node.add(&pod("db-0")).unwrap_err(),
        "address 10.0.0.2 is on hold by an operator: disk forensics"
    );
    node.ipam.unhold(ip("10.0.0.2"), &mut node.out).unwrap();
    assert_eq!(node.add(&pod("db-0")).unwrap(), "10.0.0.2");
}

#[test]
fn the_number_of_a_forgotten_lease_is_not_given_again_after_a_crash() {
    let mut node = Node::small();
    let seq = |node: &mut Node, address: &str| {
        let now = at(node.seconds);
        node.ipam.lease(ip(address), now).unwrap().slot.seq
    };
    node.add(&pod("a")).unwrap();
    let first = seq(&mut node, "10.0.0.2");
    node.del(&pod("a"));
    // Its block leaves; once cool it is forgotten, and with it the highest number of any slot.
    let elsewhere = settings(vec![pool("default", "10.9.0.0/29")]);
    node.ipam.reconfigure(elsewhere.clone(), at(0), &mut node.out);
    let mut out = Effects::default();
    node.ipam.tick(at(COOLDOWN), &mut out);
    assert!(out.records.contains(&Record::Forget(ip("10.0.0.2"))));
    let clock = out.records.iter().find_map(|record| match record {
        Record::Clock(clock) => Some(*clock),
        _ => None,
    });
    let block = BlockRecord { prefix: "10.9.0.0/29".parse().unwrap(), since: None };
    let kept = Kept { clock, blocks: vec![block], ..Kept::default() };
    node.seconds = COOLDOWN;
    (node.ipam, _) = Ipam::open(elsewhere, kept, at(COOLDOWN));
    node.add(&pod("b")).unwrap();
    assert!(seq(&mut node, "10.9.0.2") > first);
}

#[test]
fn a_gc_releases_who_is_left_out_but_not_who_lives_and_tells_of_that_once() {
    let mut node = Node::small();
    let [a, b, c, d] = ["a", "b", "c", "d"].map(pod);
    let mut other = pod("e");
    other.attachment.network = "other".into();
    for add in [&a, &b, &c, &d, &other] {
        node.add(add).unwrap();
    }
    let valid = [("a".to_owned(), "eth0".to_owned()), ("b".to_owned(), "eth1".to_owned())];
    let left_out = node.ipam.left_out("n", &valid);
    let containers: Vec<_> = left_out.iter().map(|l| &*l.attachment.container_id).collect();
    assert_eq!(containers, ["b", "c", "d"], "another interface is another attachment");

    // While the kernel was asked, d was released and its container asked again.
    node.del(&d);
    node.add(&d).unwrap();
    let alive = [Some(Alive::Configured), None, None];
    let judged: Vec<_> = left_out.into_iter().zip(alive).collect();
    for said in [&["outlived a GC: b", "released: c"][..], &[]] {
        node.out = Effects::default();
        node.ipam.gc(&judged, at(5), &mut node.out);
        let name = |report: &Report| match report {
            Report::OutlivedGc { slot, alive: Alive::Configured } => {
                format!("outlived a GC: {}", slot.owner.name)
            }
            Report::Released { slot, why: Why::Gc } => format!("released: {}", slot.owner.name),
            report => format!("{report:?}"),
        };
        assert_eq!(node.out.reports.iter().map(name).collect::<Vec<_>>(), said);
    }
    assert_eq!(node.ipam.assigned().count(), 4, "a, b, d and the other network's");
}
