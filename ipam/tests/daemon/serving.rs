//! What callers get.

use crate::client::{Api, Cni, Pod};
use crate::{config, node};
use mainstay_tests::daemons::Daemon;
use mainstay_tests::wait::until;
use rustix::process::Signal;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const BOTH: &str = "10.244.0.0/26, 'fd00:244::/122'";

#[test]
fn a_pod_gets_one_address_of_each_family_and_a_repeat_gets_the_same() {
    let node = node(BOTH, "");
    let _ipamd = node.start(Daemon::Ipamd);
    let cni = Cni::of(&node);
    let pod = Pod::new("web-0", "c1");
    assert_eq!(cni.add(&pod).unwrap(), ["10.244.0.2/26", "fd00:244::2/122"]);
    assert_eq!(cni.add(&pod).unwrap(), ["10.244.0.2/26", "fd00:244::2/122"]);
    assert_eq!(cni.add(&Pod::new("web-1", "c2")).unwrap(), ["10.244.0.3/26", "fd00:244::3/122"]);
}

#[test]
fn a_pod_returns_to_its_address_and_nobody_else_gets_it_within_the_cooldown() {
    let node = node("10.244.0.0/29", "  cooldown: 3s");
    let ipamd = node.start(Daemon::Ipamd);
    let cni = Cni::of(&node);
    let web = |container: &str| Pod::new("web-0", container);
    assert_eq!(cni.addresses(&web("c1")), ["10.244.0.2"]);
    cni.del(&web("c1"));
    assert_eq!(cni.addresses(&web("c2")), ["10.244.0.2"], "at once, within the cooldown");
    cni.del(&web("c1"));
    assert_eq!(cni.addresses(&web("c2")), ["10.244.0.2"], "a late DEL changes nothing");

    for n in 3..7 {
        assert_eq!(
            cni.addresses(&Pod::new(&n.to_string(), &n.to_string())),
            [format!("10.244.0.{n}")]
        );
    }
    cni.del(&web("c2"));
    let released = Instant::now();
    // An ADD's answer waits for all that came before. A restart does not make the clock forget.
    cni.add(&Pod::new("3", "3")).unwrap();
    drop(ipamd);
    let _ipamd = node.start(Daemon::Ipamd);
    let other = Pod::new("other", "c9");
    let error = cni.add(&other).unwrap_err();
    assert_eq!(error.code, 11);
    assert!(
        error
            .msg
            .starts_with("pool default is full: 5 addresses, 4 assigned, 1 cooling; next free in "),
        "{}",
        error.msg
    );
    until(5, "the address becomes free", || cni.add(&other).is_ok());
    assert!(released.elapsed() >= Duration::from_secs(3), "after {:?}", released.elapsed());
    assert_eq!(cni.addresses(&other), ["10.244.0.2"]);
}

#[test]
fn sticky_keys_and_pod_uids_are_recognised() {
    let node = node("10.244.0.0/26", "");
    let _ipamd = node.start(Daemon::Ipamd);
    let (cni, mut api) = (Cni::of(&node), Api::of(&node));
    let keyed =
        |name: &str, container: &str| Pod { sticky_key: "db".into(), ..Pod::new(name, container) };
    let first = cni.addresses(&keyed("db-7f9c-x", "c1"));
    cni.del(&keyed("db-7f9c-x", "c1"));
    assert_eq!(cni.addresses(&keyed("db-7f9c-y", "c2")), first);
    assert_eq!(api.leases("", &first[0]).unwrap()[0].rung, "sticky-key");

    let with_uid = |container: &str| Pod { uid: "u-1".into(), ..Pod::new("web-0", container) };
    let first = cni.addresses(&with_uid("before-reboot"));
    assert_eq!(cni.addresses(&with_uid("after-reboot")), first, "no DEL was needed");
    let lease = &api.leases("", &first[0]).unwrap()[0];
    assert_eq!((lease.rung.as_str(), lease.container_id.as_str()), ("pod-uid", "after-reboot"));
    assert_eq!(lease.owner, "pod default/web-0");
    assert_eq!(api.status().sticky_hits, 2);
}

#[test]
fn check_status_and_gc_answer_as_the_specification_asks() {
    let node = node("10.244.0.0/30", "");
    let _ipamd = node.start(Daemon::Ipamd);
    let cni = Cni::of(&node);
    let (a, b) = (Pod::new("a", "c1"), Pod::new("b", "c2"));
    cni.add(&a).unwrap();
    cni.check(&a, &["10.244.0.2/30"]).unwrap();
    assert_eq!(cni.check(&a, &["10.244.0.3/30"]).unwrap_err().code, 101);
    assert_eq!(cni.check(&b, &["10.244.0.2/30"]).unwrap_err().code, 3);
    assert_eq!(cni.add(&b).unwrap_err().code, 11);
    cni.status().expect("a full pool is no reason to evict the node's pods");
    cni.gc(&[&a]).unwrap();
    cni.check(&a, &[]).unwrap();
    cni.gc(&[]).unwrap();
    assert_eq!(cni.check(&a, &[]).unwrap_err().code, 3);
    cni.del(&a);
}

#[test]
fn a_node_without_blocks_cannot_serve_and_says_so() {
    let node = node("10.244.0.0/26", "");
    node.configure("nodes: [{name: n1, address: 192.0.2.11}]\nbgp: {asn: 64512}\n");
    let _ipamd = node.start(Daemon::Ipamd);
    let cni = Cni::of(&node);
    assert_eq!(cni.status().unwrap_err().code, 50);
    assert_eq!(cni.add(&Pod::new("a", "c1")).unwrap_err().code, 7);
    cni.del(&Pod::new("a", "c1"));
    assert_eq!(Api::of(&node).status().warnings, ["this node holds no address block"]);
}

#[test]
fn the_api_shows_pools_blocks_and_leases() {
    let node = node(BOTH, "  cooldown: 60s");
    let ipamd = node.start(Daemon::Ipamd);
    let (cni, mut api) = (Cni::of(&node), Api::of(&node));
    for n in 0..3 {
        cni.add(&Pod::new(&format!("p{n}"), &format!("c{n}"))).unwrap();
    }
    cni.del(&Pod::new("p1", "c1"));
    let status = api.status();
    assert_eq!((status.node.as_str(), status.pid), ("n1", ipamd.pid()));
    assert_eq!((status.adds, status.dels, status.add_failures), (3, 1, 0));
    assert_eq!((status.cooldown_seconds, status.stickiness_seconds), (60.0, 86400.0));
    assert_eq!(status.store, "sled 0.34.7, format 2, 11 records");
    let pool = &status.pools[0];
    assert_eq!(
        (pool.name.as_str(), pool.cidr.as_str(), pool.blocks),
        ("default", "10.244.0.0/14", 1)
    );
    let counts = (pool.addresses, pool.assigned, pool.held, pool.cooling, pool.free);
    assert_eq!((counts, pool.next_free_seconds), ((61, 2, 1, 1, 58), None));
    assert_eq!(status.pools[1].addresses, 62);

    let blocks = api.blocks();
    let lines: Vec<_> =
        blocks.iter().map(|b| (b.cidr.as_str(), b.gateway.as_str(), b.free, b.route)).collect();
    let six = ("fd00:244::/122", "fd00:244::1", 59, true);
    assert_eq!(lines, [("10.244.0.0/26", "10.244.0.1", 58, true), six]);

    let addresses = |leases: Vec<mainstay_proto::ipam::v1::Lease>| -> Vec<String> {
        leases.into_iter().map(|lease| lease.address).collect()
    };
    assert_eq!(api.leases("", "").unwrap().len(), 6);
    assert_eq!(addresses(api.leases("cooling", "").unwrap()), ["10.244.0.3", "fd00:244::3"]);
    assert_eq!(addresses(api.leases("assigned", "fd00:244::4").unwrap()), ["fd00:244::4"]);
    assert!(api.leases("held", "").unwrap().is_empty());
    assert!(api.leases("", "10.244.0.60").unwrap().is_empty());
    let cooling = &api.leases("", "10.244.0.3").unwrap()[0];
    assert!(cooling.cooldown_left_seconds.is_some_and(|left| left > 50.0 && left <= 60.0));
    for (state, address) in [("lost", ""), ("", "10.0")] {
        assert_eq!(api.leases(state, address).unwrap_err().code(), tonic::Code::InvalidArgument);
    }
}

#[test]
fn more_leases_than_fit_a_page_are_listed_each_once() {
    let node = node("10.244.0.0/22", "");
    let _ipamd = node.start(Daemon::Ipamd);
    let cni = Cni::of(&node);
    for n in 0..600 {
        cni.add(&Pod::new("", &format!("c{n}"))).unwrap();
    }
    let leases = Api::of(&node).leases("", "").unwrap();
    let containers: std::collections::HashSet<_> = leases.iter().map(|l| &l.container_id).collect();
    assert_eq!((leases.len(), containers.len()), (600, 600));
}

#[test]
fn a_reload_applies_the_difference_and_a_bad_file_changes_nothing() {
    let node = node("10.244.0.0/26", "  cooldown: 60s");
    let ipamd = node.start(Daemon::Ipamd);
    let (cni, mut api) = (Cni::of(&node), Api::of(&node));
    let pod = Pod::new("a", "c1");
    cni.add(&pod).unwrap();

    node.configure(&config("10.244.0.64/26", "  cooldown: soon"));
    let refused = api.reload().unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    assert!(refused.message().contains("mainstay.yaml:9:13: ipam.cooldown"), "{refused}");
    assert_eq!(api.status().cooldown_seconds, 60.0);

    node.configure(&config("10.244.0.64/26", "  cooldown: 1s"));
    let done = api.reload().unwrap();
    assert_eq!(
        done.changes,
        [
            "cooldown: 60s -> 1s",
            "pool default: block 10.244.0.0/26 removed",
            "pool default: block 10.244.0.64/26 added"
        ]
    );
    let warning = "block 10.244.0.0/26 is not this node's any more but has 1 lease; \
                   nothing new is handed out of it";
    assert_eq!(done.warnings, [warning]);
    assert_eq!(cni.addresses(&pod), ["10.244.0.2"], "as answered before");
    let other = Pod::new("b", "c2");
    let refused = cni.add(&other).unwrap_err();
    assert_eq!(refused.code, 11, "another node may have used that block until now");
    until(10, "the block is cool", || cni.add(&other).is_ok());
    assert_eq!(cni.addresses(&other), ["10.244.0.66"]);
    cni.del(&pod);

    node.configure(&config("10.244.0.64/26", "  cooldown: 7s"));
    ipamd.signal(Signal::HUP);
    until(5, "SIGHUP is obeyed", || api.status().cooldown_seconds == 7.0);
}

#[test]
fn nonsense_on_the_socket_is_answered_and_hurts_nobody() {
    let node = node("10.244.0.0/26", "");
    let _ipamd = node.start(Daemon::Ipamd);
    let cni = Cni::of(&node);
    // Callers that say nothing do not keep others waiting.
    let mute: Vec<_> = (0..100).map(|_| UnixStream::connect(&cni.0).unwrap()).collect();
    let mut slow = UnixStream::connect(&cni.0).unwrap();
    slow.write_all(&[0, 0]).unwrap();
    for (bytes, why) in [
        (&[0xff, 0xff, 0xff, 0xff, 1][..], "4294967295 bytes; at most 1048576"),
        (&[0, 0, 0, 9, 1, 2, 3], "ends after 3 of 9 bytes"),
        (&[0, 0, 0, 2, 0xff, 0xff], "bad request"),
        (&[0, 0, 0, 0], "unknown command 0"),
    ] {
        let reply = String::from_utf8_lossy(&cni.exchange(bytes).unwrap()).into_owned();
        assert!(reply.contains(why), "{reply:?}");
    }
    assert!(cni.exchange(b"").unwrap().is_empty());
    assert_eq!(cni.addresses(&Pod::new("a", "c1")), ["10.244.0.2"]);
    drop((mute, slow));
}

#[test]
fn stopping_answers_who_waits_and_keeps_everything() {
    let node = node("10.244.0.0/26", "");
    let mut ipamd = node.start(Daemon::Ipamd);
    let cni = Cni::of(&node);
    cni.add(&Pod::new("a", "c1")).unwrap();
    cni.add(&Pod::new("b", "c2")).unwrap();
    cni.del(&Pod::new("b", "c2"));
    assert!(ipamd.terminate().success());
    assert!(ipamd.log().contains("every lease is on disk"), "{}", ipamd.log());
    let _ipamd = node.start(Daemon::Ipamd);
    let leases = Api::of(&node).leases("", "").unwrap();
    let states: Vec<_> = leases.iter().map(|l| (l.owner.as_str(), l.state.as_str())).collect();
    assert_eq!(states, [("pod default/a", "assigned"), ("pod default/b", "cooling")]);
}
