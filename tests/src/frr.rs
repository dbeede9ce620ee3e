//! FRR (zebra and bgpd) as a peer.

use crate::bird::Since;
use crate::netns::Netns;
use crate::proc::{Proc, start_in, tool};
use crate::scratch::Scratch;
use crate::wait::eventually;
use rustix::process::Signal;
use std::process::Command;

#[derive(Debug)]
pub struct Frr {
    zebra: Proc,
    _bfdd: Option<Proc>,
    bgpd: Proc,
    dir: Scratch,
}

impl Frr {
    /// Starts zebra and bgpd with this configuration and waits until bgpd answers.
    #[must_use]
    pub fn start(host: &Netns, config: &str) -> Self {
        Self::start_all(host, config, None, &[])
    }

    /// The same with bfdd, which reads `bfd`.
    #[must_use]
    pub fn start_with_bfd(host: &Netns, config: &str, bfd: &str) -> Self {
        Self::start_all(host, config, Some(bfd), &[])
    }

    /// With further arguments for zebra.
    #[must_use]
    pub fn start_with_zebra(host: &Netns, config: &str, zebra: &[&str]) -> Self {
        Self::start_all(host, config, None, zebra)
    }

    fn start_all(host: &Netns, config: &str, bfd: Option<&str>, zebra: &[&str]) -> Self {
        let dir = Scratch::new("frr");
        let text = format!("log stdout\n{config}");
        dir.write("frr.conf", &text);
        dir.write("bfdd.conf", &format!("log stdout\n{}", bfd.unwrap_or_default()));
        // FRR gives up root for its own user, who then makes its sockets here.
        let chown = Command::new("chown").args(["-R", "frr:frr"]).arg(dir.path()).status();
        assert!(chown.is_ok_and(|s| s.success()), "no user frr: apt-get install frr");
        let zebra = daemon(host, "zebra", &dir, zebra);
        eventually(10, "zebra listens", || exists(&dir, "zserv.api"));
        let bfdd = bfd.map(|_| daemon(host, "bfdd", &dir, &[]));
        let bgpd = daemon(host, "bgpd", &dir, &[]);
        let frr = Self { zebra, _bfdd: bfdd, bgpd, dir };
        eventually(10, "FRR answers", || frr.ask("show version"));
        frr
    }

    /// `vtysh -c WORDS`
    pub fn ask(&self, words: &str) -> Result<String, String> {
        self.ask_daemon("bgpd", words)
    }

    fn ask_daemon(&self, daemon: &str, words: &str) -> Result<String, String> {
        self.vtysh(daemon, &[words])
    }

    /// Lines of bgpd's configuration, in order.
    pub fn configure(&self, lines: &[&str]) -> Result<String, String> {
        self.vtysh("bgpd", &[&["configure terminal"], lines].concat())
    }

    /// Lines of bfdd's configuration, below `bfd`.
    pub fn configure_bfd(&self, lines: &[&str]) -> Result<String, String> {
        self.vtysh("bfdd", &[&["configure terminal", "bfd"], lines].concat())
    }

    fn vtysh(&self, daemon: &str, lines: &[&str]) -> Result<String, String> {
        let out = Command::new(tool("vtysh", "frr"))
            .arg("--vty_socket")
            .arg(self.dir.path())
            .args(["-d", daemon])
            .args(lines.iter().flat_map(|line| ["-c", line]))
            .output()
            .map_err(|e| format!("vtysh: {e}"))?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        if out.status.success() {
            Ok(text)
        } else {
            Err(text + &String::from_utf8_lossy(&out.stderr))
        }
    }

    /// The same, as JSON.
    pub fn json(&self, words: &str) -> Result<serde_json::Value, String> {
        let text = self.ask(&format!("{words} json"))?;
        serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))
    }

    /// What bfdd says of its session with this peer.
    pub fn bfd(&self, peer: &str) -> Result<serde_json::Value, String> {
        let text = self.ask_daemon("bfdd", "show bfd peers json")?;
        let all: Vec<serde_json::Value> =
            serde_json::from_str(&text).map_err(|e| format!("{e}: {text}"))?;
        all.into_iter().find(|p| p["peer"] == peer).ok_or(text)
    }

    /// Waits until the session with `peer` is Established.
    #[track_caller]
    pub fn established(&self, peer: &str, seconds: u64) {
        eventually(seconds, &format!("FRR's session with {peer} is Established"), || {
            let json = self.json(&format!("show bgp neighbors {peer}"))?;
            match json[peer]["bgpState"].as_str() {
                Some("Established") => Ok(()),
                other => Err(format!("{other:?}: {json}")),
            }
        });
    }

    /// How often the session has come up and gone: another text after it was lost.
    #[must_use]
    pub fn since(&self, peer: &str) -> Since {
        let all = self.json(&format!("show bgp neighbors {peer}")).expect("FRR answers");
        let session = &all[peer];
        let (up, lost) = (&session["connectionsEstablished"], &session["connectionsDropped"]);
        Since(format!("{up} up, {lost} lost"))
    }

    /// Whether a route for exactly this prefix is in its table.
    #[must_use]
    pub fn has_route(&self, prefix: &str) -> bool {
        let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
        self.json(&format!("show bgp {family} unicast {prefix}"))
            .is_ok_and(|json| json["paths"].as_array().is_some_and(|p| !p.is_empty()))
    }

    pub fn proc(&mut self) -> &mut Proc {
        &mut self.bgpd
    }

    pub fn zebra(&mut self) -> &mut Proc {
        &mut self.zebra
    }

    pub fn signal(&self, signal: Signal) {
        self.bgpd.signal(signal);
    }

    /// What bgpd has written.
    #[must_use]
    pub fn log(&self) -> String {
        self.bgpd.log()
    }
}

fn daemon(host: &Netns, name: &str, dir: &Scratch, more: &[&str]) -> Proc {
    let at = |file: &str| dir.path().join(file).display().to_string();
    let vty = dir.path().display().to_string();
    let conf = at(if name == "bfdd" { "bfdd.conf" } else { "frr.conf" });
    let (zserv, pid, bfdctl) = (at("zserv.api"), at(&format!("{name}.pid")), at("bfdd.sock"));
    let mut args =
        vec!["-f", &conf, "-z", &zserv, "-i", &pid, "--vty_socket", &vty, "-A", "127.0.0.1"];
    if name == "bfdd" {
        args.extend(["--bfdctl", &bfdctl]);
    }
    args.extend(more);
    let program = tool(&format!("/usr/lib/frr/{name}"), "frr");
    start_in(host, name, &program, &args, dir.path())
}

fn exists(dir: &Scratch, file: &str) -> Result<(), String> {
    let path = dir.path().join(file);
    if path.exists() { Ok(()) } else { Err(format!("no {}", path.display())) }
}
