//! How long a full table takes. Figures, not verdicts: `cargo test -- --ignored --nocapture load`.

use super::*;
use std::net::{IpAddr, Ipv4Addr};

#[test]
#[ignore = "prints figures"]
fn a_million_prefixes_come_in_and_go_out() {
    let count: u32 = 1_000_000;
    let mut lab = Lab::new(config(&[(1, 65001), (2, 65002)]));
    let (one, two) = (lab.establish(1, 65001), lab.establish(2, 65002));
    lab.sent(two);
    let mut messages = Vec::new();
    for block in 0..count / 250 {
        let prefixes: Vec<Prefix> = (0..250)
            .map(|n| {
                let bits = 0x0100_0000 + ((block * 250 + n) << 8);
                Prefix::new(IpAddr::V4(Ipv4Addr::from(bits)), 24).unwrap()
            })
            .collect();
        let attrs = attributes(&[65001, 1000 + block % 5000, 2000 + block % 7], 1);
        wire::announce(&OTHER_SIDE, Family::Ipv4Unicast, &attrs, &prefixes, &mut messages);
    }
    let clock = start();
    for bytes in messages.chunks(65536) {
        lab.tell(Event::Received { conn: one, bytes });
        lab.actions.clear();
    }
    println!("{count} prefixes in: {:?}", start() - clock);
    let clock = start();
    let mut sent = Vec::new();
    let mut total = 0;
    while lab.speaker.pull(two, lab.now, 65536, &mut sent) {
        total += sent.len();
        sent.clear();
    }
    println!("{total} bytes out: {:?}", start() - clock);
    assert_eq!(lab.peer(2).families[0].advertised, 1_000_000);
    let clock = start();
    lab.tell(Event::Closed { conn: one, why: "reset".into() });
    println!("marked stale: {:?}", start() - clock);
    let clock = start();
    lab.pass(seconds(121));
    println!("swept: {:?}", start() - clock);
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default());
}
