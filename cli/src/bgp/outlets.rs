//! `mainstay bgp outlets`: BMP stations and MRT files; `mainstay bgp dump`: all routes as an MRT file.

use crate::ask::{Daemons, answer, next};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::table::Table;
use crate::text::count;
use mainstay_proto::collect::v1::{DumpMrtRequest, OutletsReply, OutletsRequest};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

pub(crate) const HELP: &str = "\
Examples:
  mainstay bgp outlets                   is every station connected, is every file written

Exit codes: 0 told and well; 1 a station is away, records were lost, or the speaker is.";

pub(crate) const DUMP_HELP: &str = "\
Every route with all of its paths that the import policies let in, in TABLE_DUMP_V2 (RFC 6396).

Examples:
  mainstay bgp dump --mrt rib.mrt        then, for example: bgpdump -m rib.mrt
  mainstay bgp dump --mrt - | gzip > rib.mrt.gz

Exit codes: 0 written; 1 not, and why.";

#[derive(Debug, clap::Args)]
pub(crate) struct DumpArgs {
    /// Where to; - is standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) mrt: PathBuf,
}

pub(crate) async fn run(daemons: &Daemons, out: &mut Printer) -> Result<Verdict, Failure> {
    let mut bgpd = daemons.collect().await?;
    let reply = answer("bgpd", bgpd.outlets(OutletsRequest {})).await?;
    if out.is_json() {
        out.json(&reply)?;
    } else {
        out.text(&outlets(&reply))?;
    }
    let cut = reply.stations.iter().any(|station| station.state != "up");
    let lost = reply.files.iter().any(|file| !file.last_error.is_empty());
    Ok(if cut || lost { Verdict::Wrong } else { Verdict::Well })
}

fn outlets(reply: &OutletsReply) -> String {
    if reply.stations.is_empty() && reply.files.is_empty() {
        return "none; bgp.bmp and bgp.mrt of the configuration name them\n".into();
    }
    let mut text = String::new();
    if !reply.stations.is_empty() {
        let mut table = Table::new(&[
            "STATION",
            "STATE",
            ">MESSAGES",
            ">BYTES",
            ">QUEUED",
            ">CUT OFF",
            "LAST ERROR",
        ]);
        for station in &reply.stations {
            let state = if station.syncing { "syncing" } else { &station.state };
            table.row([
                station.address.clone(),
                state.into(),
                station.messages.to_string(),
                station.bytes.to_string(),
                station.queued.to_string(),
                station.cut_off.to_string(),
                station.last_error.clone(),
            ]);
        }
        text += &table.take();
    }
    if !reply.files.is_empty() {
        let mut table = Table::new(&["MRT", "FILE", ">RECORDS", ">BYTES", ">LOST", "LAST ERROR"]);
        for file in &reply.files {
            table.row([
                file.kind.clone(),
                file.path.clone(),
                file.records.to_string(),
                file.bytes.to_string(),
                file.lost.to_string(),
                file.last_error.clone(),
            ]);
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text += &table.take();
    }
    text
}

pub(crate) async fn dump(
    daemons: &Daemons,
    args: &DumpArgs,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let mut bgpd = daemons.collect().await?;
    let mut pieces = answer("bgpd", bgpd.dump_mrt(DumpMrtRequest {})).await?;
    let to_stdout = args.mrt.as_os_str() == "-";
    let failed = |error: std::io::Error| {
        Failure::Said(format!("cannot write {}: {error}", args.mrt.display()))
    };
    let mut file: Box<dyn Write> = match to_stdout {
        true => Box::new(std::io::stdout().lock()),
        false => Box::new(File::create(&args.mrt).map_err(failed)?),
    };
    let mut bytes = 0;
    while let Some(piece) = next("bgpd", &mut pieces).await? {
        bytes += piece.piece.len() as u64;
        file.write_all(&piece.piece).map_err(failed)?;
    }
    file.flush().map_err(failed)?;
    if !to_stdout {
        let told = format!("{} written to {}\n", count(bytes, "byte"), args.mrt.display());
        if out.is_json() {
            out.json(&serde_json::json!({ "bytes": bytes }))?
        } else {
            out.text(&told)?
        }
    }
    Ok(Verdict::Well)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_proto::collect::v1::{MrtFile, Station};

    #[test]
    fn stations_and_files_stand_in_tables() {
        let station = Station {
            address: "bmp.example.net:1790".into(),
            state: "up".into(),
            syncing: false,
            messages: 1024,
            bytes: 99_000,
            queued: 0,
            cut_off: 1,
            connected: 2,
            last_error: String::new(),
        };
        let away = Station {
            address: "192.0.2.9:1790".into(),
            state: "connecting".into(),
            last_error: "connection refused".into(),
            ..Station::default()
        };
        let file = MrtFile {
            kind: "updates".into(),
            path: "/var/log/mrt/updates.20261123.1700".into(),
            records: 7,
            bytes: 700,
            lost: 0,
            last_error: String::new(),
        };
        let reply = OutletsReply { stations: vec![station, away], files: vec![file] };
        let told = outlets(&reply);
        let words = |line: usize| -> Vec<&str> {
            told.lines().nth(line).unwrap_or_default().split_whitespace().collect()
        };
        assert_eq!(words(1), ["bmp.example.net:1790", "up", "1024", "99000", "0", "1"]);
        let away = ["192.0.2.9:1790", "connecting", "0", "0", "0", "0", "connection", "refused"];
        assert_eq!(words(2), away);
        assert_eq!(words(5), ["updates", "/var/log/mrt/updates.20261123.1700", "7", "700", "0"]);
        assert_eq!(
            outlets(&OutletsReply::default()),
            "none; bgp.bmp and bgp.mrt of the configuration name them\n"
        );
    }
}
