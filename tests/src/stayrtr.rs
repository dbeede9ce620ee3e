//! StayRTR as an RPKI cache.

use crate::netns::Netns;
use crate::proc::{Proc, start_in, tool};
use crate::scratch::Scratch;
use std::path::PathBuf;

#[derive(Debug)]
pub struct StayRtr {
    proc: Proc,
    dir: Scratch,
}

impl StayRtr {
    /// Serves these VRPs (prefix, longest, AS) in this version of the protocol at most.
    #[must_use]
    pub fn start(host: &Netns, version: u8, vrps: &[(&str, u8, u32)]) -> Self {
        let dir = Scratch::new("stayrtr");
        let path = dir.write("vrps.json", &json(vrps)).display().to_string();
        let protocol = format!("-protocol={version}");
        let bind = ":8282".to_owned();
        let args = [
            "-cache",
            &path,
            "-bind",
            &bind,
            "-checktime=false",
            "-refresh=1",
            "-metrics.addr",
            "",
            &protocol,
            "-rtr.refresh=60",
            "-rtr.retry=1",
            "-rtr.expire=600",
        ];
        let proc = start_in(host, "stayrtr", &tool("stayrtr", "stayrtr"), &args, dir.path());
        Self { proc, dir }
    }

    /// What it says from now on: it looks at its file every second.
    pub fn serve(&self, vrps: &[(&str, u8, u32)]) {
        let new: PathBuf = self.dir.write("new.json", &json(vrps));
        std::fs::rename(new, self.dir.path().join("vrps.json")).expect("rename");
    }

    /// Ends it, as a machine that goes away would.
    pub fn stop(&mut self) {
        self.proc.kill();
    }
}

/// As RPKI validators export them.
fn json(vrps: &[(&str, u8, u32)]) -> String {
    let roa = |(prefix, longest, asn): &(&str, u8, u32)| {
        serde_json::json!({"prefix": prefix, "maxLength": longest, "asn": format!("AS{asn}"),
                           "ta": "test"})
    };
    let roas: Vec<_> = vrps.iter().map(roa).collect();
    serde_json::json!({"metadata": {"buildtime": "2026-01-01T00:00:00Z"}, "roas": roas}).to_string()
}
