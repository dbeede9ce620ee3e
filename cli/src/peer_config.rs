//! `mainstay peer-config`: the switch's side of our sessions, in the switch's own words.
//!
//! `side` works out what the other side has to be told, whatever it is; one file a platform says
//! it. What a vendor's documents leave open is marked in the output instead of being guessed.

mod bird;
mod eos;
mod frr;
mod iosxe;
mod junos;
mod nxos;
mod side;
mod sonic;
#[cfg(test)]
mod tests;
mod write;

use crate::failure::{Failure, Verdict, chain};
use crate::print::{Printer, complain_plainly};
use clap::ValueEnum;
use mainstay_prefix::Prefix;
use side::{Side, Wanted};
use std::path::Path;

pub(crate) const HELP: &str = "\
Prints what a switch needs to be told to be the peer that the file describes: neighbours or a
listen range, graceful restart helper and its timers, BFD, limits, filters, the default route.
Comments say which lines reset sessions on a switch that runs already, and what to verify.
A key is never printed; a placeholder stands in its place.

Examples:
  mainstay peer-config --platform frr
  mainstay peer-config --platform eos --peer tor-a --config mainstay.yaml
  mainstay peer-config --platform junos --peer tor-a --listen-range 192.0.2.0/24
  mainstay -o json peer-config --platform nxos | jq -r '.peers[].configuration'

Exit codes: 0 printed; 1 the file has faults, there is no such peer, or the file does not say enough.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What the switch runs
    #[arg(long, value_enum, value_name = "PLATFORM")]
    platform: Platform,

    /// One of bgp.peers [default: all of them]
    #[arg(long, value_name = "NAME")]
    peer: Option<String>,

    /// Only the session with this node [default: every node that has the peer]
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// Let the switch take whoever dials in from here, instead of a neighbour for each node
    #[arg(long, value_name = "PREFIX")]
    listen_range: Option<Prefix>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Platform {
    /// FRRouting, also under Cumulus Linux
    Frr,
    /// SONiC, which runs FRR
    Sonic,
    /// Arista EOS
    Eos,
    /// Cisco NX-OS
    Nxos,
    /// Cisco IOS XE
    Iosxe,
    /// Juniper Junos
    Junos,
    /// BIRD 2
    Bird,
}

impl Platform {
    fn render(self, side: &Side) -> String {
        match self {
            Self::Frr => frr::render(side),
            Self::Sonic => sonic::render(side),
            Self::Eos => eos::render(side),
            Self::Nxos => nxos::render(side),
            Self::Iosxe => iosxe::render(side),
            Self::Junos => junos::render(side),
            Self::Bird => bird::render(side),
        }
    }

    fn name(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }
}

pub(crate) fn run(args: &Args, config: &Path, out: &mut Printer) -> Result<Verdict, Failure> {
    let cluster = match mainstay_config::read(config) {
        Ok(cluster) => cluster,
        Err(mainstay_config::ReadConfigError::Faults(faults)) => {
            complain_plainly(&faults.to_string());
            return Ok(Verdict::Wrong);
        }
        Err(error) => return Err(Failure::Said(chain(&error))),
    };
    let wanted = Wanted {
        peer: args.peer.as_deref(),
        node: args.node.as_deref(),
        listen_range: args.listen_range,
    };
    let sides = side::sides(&cluster, &wanted).map_err(|e| Failure::Said(chain(&e)))?;
    let platform = args.platform;
    if out.is_json() {
        let peers = sides.iter().map(|side| as_json(side, platform));
        let peers: Vec<_> = peers.collect();
        out.json(&serde_json::json!({"platform": platform.name(), "peers": peers}))?;
    } else {
        let texts: Vec<_> = sides.iter().map(|side| platform.render(side)).collect();
        out.text(&texts.join("\n"))?;
    }
    Ok(Verdict::Well)
}

fn as_json(side: &Side, platform: Platform) -> serde_json::Value {
    serde_json::json!({
        "peer": side.peer,
        "address": side.address,
        "nodes": side.neighbors.iter().map(|n| n.node.as_str()).collect::<Vec<_>>(),
        "configuration": platform.render(side),
    })
}
