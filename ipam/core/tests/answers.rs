//! Single answers, in the words a pod's event log shows.

#![allow(clippy::unwrap_used)]

use ipam_core::*;
use std::net::IpAddr;
use std::time::Duration;

fn settings(blocks: &[&str]) -> Settings {
    let pool = |(name, block): (&&str, &&str)| {
        PoolSettings::new(name, block.parse().unwrap(), vec![block.parse().unwrap()])
    };
    Settings {
        pools: ["default", "extra", "more"].iter().zip(blocks).map(pool).collect(),
        cooldown: Duration::from_secs(130),
        stickiness: Policy::Ttl(Duration::from_secs(3600)),
    }
}

struct Node {
    ipam: Ipam,
    seconds: f64,
    out: Effects,
}

impl Node {
    fn new(blocks: &[&str]) -> Self {
        let (ipam, _) = Ipam::open(settings(blocks), Kept::default(), at(0.0));
        Self { ipam, seconds: 0.0, out: Effects::default() }
    }

    fn add(&mut self, add: &Add) -> Result<Vec<String>, String> {
        self.out = Effects::default();
        let grants = self.ipam.add(add, at(self.seconds), &mut self.out);
        let text = |g: &Grant| format!("{}/{} via {:?}", g.address, g.len, g.gateway);
        grants.map(|g| g.iter().map(text).collect()).map_err(|e| e.to_string())
    }

    fn address(&mut self, add: &Add) -> IpAddr {
        self.add(add).unwrap()[0].split('/').next().unwrap().parse().unwrap()
    }

    fn reconfigure(&mut self, settings: Settings) -> Vec<String> {
        self.ipam.reconfigure(settings, at(self.seconds), &mut self.out)
    }

    fn del(&mut self, add: &Add) {
        self.ipam.del(&add.attachment, at(self.seconds), &mut self.out);
    }
}

fn at(seconds: f64) -> Now {
    let boottime = Duration::from_secs_f64(seconds);
    Now { boot: BootId(1), boottime, wall: boottime }
}

fn pod(name: &str, uid: &str, container: &str) -> Add {
    Add {
        attachment: Attachment {
            network: "pods".into(),
            container_id: container.into(),
            ifname: "eth0".into(),
        },
        owner: Owner {
            namespace: "default".into(),
            name: name.into(),
            uid: uid.into(),
            ..Owner::default()
        },
        ..Add::default()
    }
}

fn asking(mut add: Add, addresses: &[&str]) -> Add {
    add.requested = addresses.iter().map(|a| a.parse().unwrap()).collect();
    add
}

#[test]
fn both_families_are_answered_with_their_gateways() {
    let mut node = Node::new(&["10.0.0.0/26", "fd00::40/122"]);
    assert_eq!(
        node.add(&pod("a", "1", "c1")).unwrap(),
        ["10.0.0.2/26 via Some(10.0.0.1)", "fd00::42/122 via Some(fd00::41)"]
    );
}

#[test]
fn a_full_pool_says_when_the_next_address_is_free() {
    let mut node = Node::new(&["10.0.0.0/29"]);
    for n in 0..5 {
        node.add(&pod(&format!("p{n}"), "", &format!("c{n}"))).unwrap();
    }
    assert_eq!(
        node.add(&pod("new", "", "c9")).unwrap_err(),
        "pool default is full: 5 addresses, 5 assigned, 0 cooling; \
         none will be free before a pod is deleted"
    );
    node.seconds = 10.0;
    node.del(&pod("p3", "", "c3"));
    node.seconds = 98.5;
    assert_eq!(
        node.add(&pod("new", "", "c9")).unwrap_err(),
        "pool default is full: 5 addresses, 4 assigned, 1 cooling; next free in 42 s"
    );
    node.seconds = 140.0;
    assert_eq!(node.address(&pod("new", "", "c9")).to_string(), "10.0.0.5");
}

#[test]
fn a_full_second_family_leaves_the_first_untouched() {
    let mut node = Node::new(&["10.0.0.0/29", "fd00::4/127"]);
    node.add(&pod("a", "", "c1")).unwrap();
    let error = node.add(&pod("b", "", "c2")).unwrap_err();
    assert!(error.starts_with("pool extra is full: 1 addresses"), "{error}");
    assert!(node.out.records.is_empty());
    assert_eq!(node.ipam.pool_views(at(0.0))[0].counts.assigned, 1);
}

#[test]
fn a_node_without_blocks_says_what_to_do() {
    assert_eq!(
        Node::new(&[]).add(&pod("a", "", "c")).unwrap_err(),
        "this node holds no address block; give it one under ipam.pools"
    );
}

#[test]
fn a_requested_address_is_given_or_refused_with_the_reason() {
    let mut node = Node::new(&["10.0.0.0/26"]);
    let ask = |node: &mut Node, name: &str, addresses: &[&str]| {
        node.add(&asking(pod(name, "", name), addresses))
    };
    assert_eq!(ask(&mut node, "a", &["10.0.0.9"]).unwrap(), ["10.0.0.9/26 via Some(10.0.0.1)"]);
    for (addresses, why) in [
        (&["10.0.0.9"][..], "requested address 10.0.0.9 belongs to pod default/a"),
        (&["10.0.0.1"], "requested address 10.0.0.1 is not one this node can hand out"),
        (&["10.0.0.63"], "requested address 10.0.0.63 is not one this node can hand out"),
        (&["192.0.2.1"], "requested address 192.0.2.1 is not one this node can hand out"),
        (&["10.0.0.8", "10.0.0.7"], "two addresses of one family requested: 10.0.0.8 and 10.0.0.7"),
    ] {
        assert_eq!(ask(&mut node, "b", addresses).unwrap_err(), why);
    }
    node.del(&pod("a", "", "a"));
    node.seconds = 30.0;
    assert_eq!(
        ask(&mut node, "b", &["10.0.0.9"]).unwrap_err(),
        "requested address 10.0.0.9 was released lately by pod default/a; free in 100 s"
    );
    assert_eq!(
        ask(&mut node, "a", &["10.0.0.9"]).unwrap().len(),
        1,
        "its owner need not wait for the cooldown"
    );
    assert_eq!(
        ask(&mut node, "a", &["10.0.0.20"]).unwrap_err(),
        "requested address 10.0.0.20, but this container already has 10.0.0.9"
    );
}

#[test]
fn the_same_pod_in_a_new_sandbox_takes_its_address_along_and_a_late_del_finds_nothing() {
    let mut node = Node::new(&["10.0.0.0/26"]);
    let first = node.address(&pod("web-0", "u1", "old"));
    assert_eq!(node.address(&pod("web-0", "u1", "new")), first);
    assert!(matches!(&node.out.reports[..], [Report::Assigned { how: How::TakenOver, .. }]));
    node.out = Effects::default();
    node.del(&pod("web-0", "u1", "old"));
    assert_eq!(node.out, Effects::default());
}

#[test]
fn a_name_in_use_is_not_stolen_and_that_is_reported() {
    let mut node = Node::new(&["10.0.0.0/26"]);
    let first = node.address(&pod("web-0", "u1", "old"));
    assert_ne!(node.address(&pod("web-0", "u2", "new")), first);
    let in_use = Report::InUse {
        address: first,
        owner: "pod default/web-0".into(),
        container_id: "old".into(),
    };
    assert!(node.out.reports.contains(&in_use), "{:?}", node.out.reports);
}

#[test]
fn each_lease_records_which_rung_decided() {
    let mut node = Node::new(&["10.0.0.0/26"]);
    let mut rung = |mut add: Add, key: &str| {
        add.owner.sticky_key = key.into();
        let before = node.add(&add).unwrap();
        let Some(Report::Assigned { slot, how }) = node.out.reports.last().cloned() else {
            panic!("no report")
        };
        node.del(&add);
        (before[0].split('/').next().unwrap().to_owned(), slot.rung, how)
    };
    let row = |address: &str, rung, how| (address.to_owned(), rung, how);
    assert_eq!(rung(pod("a", "u1", "c1"), "k"), row("10.0.0.2", Rung::StickyKey, How::New));
    assert_eq!(rung(pod("b", "u2", "c2"), "k"), row("10.0.0.2", Rung::StickyKey, How::Returned));
    assert_eq!(rung(pod("x", "u2", "c3"), ""), row("10.0.0.2", Rung::PodUid, How::Returned));
    assert_eq!(rung(pod("x", "u4", "c4"), ""), row("10.0.0.2", Rung::Name, How::Returned));
    assert_eq!(rung(pod("", "", "c4"), ""), row("10.0.0.2", Rung::None, How::Returned));
    assert_eq!(rung(pod("", "", "c5"), ""), row("10.0.0.3", Rung::None, How::New));
}

#[test]
fn replicas_that_share_a_sticky_key_get_back_their_own() {
    let mut node = Node::new(&["10.0.0.0/26"]);
    let replica = |n: u8, container: &str| {
        let mut add = pod(&format!("db-{n}"), "", container);
        add.owner.sticky_key = "db".into();
        add
    };
    let had = [node.address(&replica(0, "a0")), node.address(&replica(1, "a1"))];
    node.del(&replica(0, "a0"));
    node.del(&replica(1, "a1"));
    assert_eq!([node.address(&replica(0, "b0")), node.address(&replica(1, "b1"))], had);
}

#[test]
fn without_stickiness_only_the_container_itself_is_recognised() {
    let off = Policy::Ttl(Duration::ZERO);
    let off = Settings { stickiness: off, ..settings(&["10.0.0.0/26"]) };
    let mut node = Node::new(&["10.0.0.0/26"]);
    node.reconfigure(off);
    let first = node.address(&pod("a", "", "c1"));
    node.del(&pod("a", "", "c1"));
    assert_ne!(node.address(&pod("a", "", "c2")), first);
    assert_eq!(node.address(&pod("a", "", "c1")), first);
}

#[test]
fn check_knows_what_belongs_to_whom() {
    let mut node = Node::new(&["10.0.0.0/26"]);
    let (a, b) = (pod("a", "", "c1"), pod("b", "", "c2"));
    let (of_a, of_b) = (node.address(&a), node.address(&b));
    assert_eq!(node.ipam.check(&a.attachment, &[of_a]), Ok(()));
    assert_eq!(
        node.ipam.check(&a.attachment, &[of_b]).unwrap_err().to_string(),
        "10.0.0.3 is not assigned to container c1 on eth0"
    );
    node.del(&a);
    assert_eq!(
        node.ipam.check(&a.attachment, &[of_a]).unwrap_err().to_string(),
        "container c1 has no address on eth0 of network pods"
    );
}

#[test]
fn a_block_that_moved_away_serves_del_and_goes_when_it_is_empty() {
    let mut node = Node::new(&["10.0.0.0/26"]);
    let a = pod("a", "", "c1");
    let had = node.add(&a).unwrap();
    assert_eq!(
        node.reconfigure(settings(&["10.9.0.0/26"])),
        ["pool default: block 10.0.0.0/26 removed", "pool default: block 10.9.0.0/26 added"]
    );
    assert_eq!(
        node.ipam.warnings(),
        ["block 10.0.0.0/26 is not this node's any more but has 1 lease; \
          nothing new is handed out of it"]
    );
    assert_eq!(node.add(&a).unwrap(), had, "a repeat is answered as before");
    assert_eq!(
        node.add(&pod("b", "", "c2")).unwrap_err(),
        "pool default is full: 61 addresses, 0 assigned, 61 cooling; next free in 130 s",
        "another node may have handed them out until now"
    );
    node.seconds = 130.0;
    assert_eq!(node.address(&pod("b", "", "c2")).to_string(), "10.9.0.2");
    node.del(&a);
    assert_eq!(node.address(&pod("a", "", "c3")).to_string(), "10.9.0.3");
    node.ipam.tick(at(259.0), &mut Effects::default());
    assert_eq!(node.ipam.routed_blocks().len(), 2, "still cooling");
    let mut out = Effects::default();
    node.ipam.tick(at(261.0), &mut out);
    assert!(out.records.contains(&Record::Forget("10.0.0.2".parse().unwrap())));
    assert_eq!(node.ipam.routed_blocks(), ["10.9.0.0/26".parse().unwrap()]);
    assert!(node.ipam.warnings().is_empty());
}
