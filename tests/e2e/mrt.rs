//! MRT files, read by bgpdump.

use crate::pair::{BIRD, Pair, tor};
use mainstay_tests::bird::Bird;
use mainstay_tests::daemons::Daemon;
use mainstay_tests::proc::tool;
use mainstay_tests::wait::{eventually, until};
use std::path::Path;
use std::process::Command;

/// One line a record, as `bgpdump -m` tells them.
fn read(file: &Path) -> String {
    let out = Command::new(tool("bgpdump", "bgpdump")).arg("-m").arg(file).output().unwrap();
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// All files of that directory whose names begin so, read.
fn all(dir: &Path, name: &str) -> String {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let mut files: Vec<_> = files.map(|f| f.path()).collect();
    files.retain(|f| f.file_name().is_some_and(|n| n.to_string_lossy().starts_with(name)));
    files.sort();
    files.iter().map(|f| read(f)).collect()
}

#[test]
fn updates_and_tables_are_written_as_bgpdump_reads_them() {
    let pair = Pair::new(&tor("import: all"));
    let dir = pair.node.dir.path().join("mrt");
    let keys = format!(
        "  mrt:
    updates: {{path: {dir}/updates.%Y%m%d.%H%M%S, rotate: 2s}}
    rib: {{path: {dir}/rib, interval: 1s}}
",
        dir = dir.display()
    );
    pair.node.configure(&crate::pair::config(&(tor("import: all") + &keys)));
    let bird = Bird::start(&pair.peer, BIRD);
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    let announced = "|A|192.0.2.1|65001|198.51.100.0/24|65001|IGP|192.0.2.1|";
    let announced_v6 = "|A|192.0.2.1|65001|2001:db8:51::/48|65001|IGP|2001:db8::1|";
    let withdrawn = "|W|192.0.2.1|65001|198.51.100.0/24";
    eventually(30, "announcements of both families are in the file", || {
        let text = all(&dir, "updates");
        let done = text.contains(announced) && text.contains(announced_v6);
        if done { Ok(()) } else { Err(text) }
    });
    let held = "|B|192.0.2.1|65001|198.51.100.0/24|65001|IGP|192.0.2.1|";
    let held_v6 = "|B|192.0.2.1|65001|2001:db8:51::/48|65001|IGP|2001:db8::1|";
    eventually(30, "the table is in the file", || {
        let text = all(&dir, "rib");
        let done = text.contains(held) && text.contains(held_v6);
        if done { Ok(()) } else { Err(text) }
    });
    let file = pair.node.dir.path().join("asked.mrt");
    let out = pair.node.cli(&["bgp", "dump", "--mrt", &file.display().to_string()]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let asked = read(&file);
    assert!(asked.contains(held) && asked.contains(held_v6), "{asked}");
    assert!(asked.contains("|198.18.7.0/24|"), "what is originated here: {asked}");
    bird.ask("disable static1").unwrap();
    until(30, "the withdrawal is in the file", || all(&dir, "updates").contains(withdrawn));
    bird.ask("disable peer").unwrap();
    until(30, "and the end of the session", || {
        all(&dir, "updates").contains("|STATE|192.0.2.1|65001|6|1")
    });
    until(30, "files are rotated", || std::fs::read_dir(&dir).unwrap().count() > 2);
}

#[test]
fn a_disk_that_takes_nothing_is_told_and_costs_records_alone() {
    let pair = Pair::new(&(tor("import: all") + "  mrt: {updates: {path: /dev/full}}\n"));
    let full = pair.node.dir.path().join("full.%Y");
    let year = Command::new("date").args(["-u", "+%Y"]).output().unwrap().stdout;
    let year = String::from_utf8(year).unwrap();
    let link = pair.node.dir.path().join(format!("full.{}", year.trim()));
    std::os::unix::fs::symlink("/dev/full", link).unwrap();
    let keys = format!("  mrt: {{updates: {{path: {}}}}}\n", full.display());
    pair.node.configure(&crate::pair::config(&(tor("import: all") + &keys)));
    let bird = Bird::start(&pair.peer, BIRD);
    let bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    eventually(30, "what is lost is counted and told", || {
        let said = pair.node.json(&["bgp", "outlets"])?;
        let file = &said["files"][0];
        let told =
            file["lost"].as_u64() > Some(0) && file["last_error"] == "no space left on device";
        if told { Ok(()) } else { Err(said.to_string()) }
    });
    let status = pair.node.json(&["status"]).unwrap().to_string();
    assert!(status.contains("bgp.mrt.updates cannot be written"), "{status}");
    assert_eq!(bgpd.log().matches("MRT records cannot be written").count(), 1, "said once");
    until(10, "routes are none the worse", || pair.kernel().contains("198.51.100.0/24"));
}

#[test]
fn several_paths_of_a_prefix_stand_in_both_files_with_their_identifiers() {
    let pair = Pair::new("");
    let dir = pair.node.dir.path().join("mrt");
    let keys = format!(
        "  mrt:
    updates: {{path: {dir}/updates}}
    rib: {{path: {dir}/rib, interval: 1s}}
",
        dir = dir.display()
    );
    pair.node.configure(&crate::pair::config(&(tor("import: all, add_paths: receive") + &keys)));
    let twice = "protocol static { ipv4; route 198.51.102.0/24 blackhole; }
protocol static { ipv4 { preference 150; }; route 198.51.102.0/24 blackhole; }\n";
    let paths = BIRD.replace("  ipv4 { import all;", "  ipv4 { add paths on; import all;");
    let bird = Bird::start(&pair.peer, &(twice.to_owned() + &paths));
    let _bgpd = pair.node.start(Daemon::Bgpd);
    bird.established("peer", 20);
    for file in ["updates", "rib"] {
        eventually(30, "both paths of the one prefix, and the one of the other family", || {
            let text = all(&dir, file);
            // Between the prefix and its AS path stands the identifier.
            let path = |id: &&str| text.contains(&format!("|198.51.102.0/24|{id}|65001|IGP|"));
            let both = ["1", "2", "3", "4"].iter().filter(|id| path(id)).count() == 2;
            let single = text.contains("|2001:db8:51::/48|65001|IGP|2001:db8::1|");
            if both && single { Ok(()) } else { Err(text) }
        });
    }
}
