//! `mainstay bgp reset` and `refresh`: a session ended, or everything said again.

use crate::ask::{Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::text::clean_line;
use mainstay_proto::bgp::v1::ResetPeerRequest;
use mainstay_proto::bgp::v1::reset_peer_request::How;

pub(crate) const HELP: &str = "\
Without --soft the session is ended (Cease, Administrative Reset) and comes up again at once. Where
both sides have the N bit of graceful restart (RFC 8538) that moves no route; else the peer drops
what it has from us until the session is up.
  --soft in    the peer is asked for all its routes again; import judges them anew
  --soft out   the peer is told all our routes again

Examples:
  mainstay bgp reset tor-a
  mainstay bgp reset tor-a --message 'new optics, back at noon'
  mainstay bgp reset tor-a --soft in
  mainstay bgp reset --all --soft out

Exit codes: 0 done; 1 there is no such peer, or the speaker does not answer.";

pub(crate) const REFRESH: &str = "\
The same as `mainstay bgp reset PEER --soft in`.";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The peer, by name or address
    #[arg(value_name = "PEER", required_unless_present = "all")]
    peer: Option<String>,

    /// Every peer
    #[arg(long, conflicts_with = "peer")]
    all: bool,

    /// Keep the session
    #[arg(long, value_name = "DIRECTION", value_enum)]
    soft: Option<Direction>,

    /// A word to the operator on the other side (RFC 9003), at most 255 octets
    #[arg(
        long,
        value_name = "TEXT",
        conflicts_with = "soft",
        default_value = "",
        hide_default_value = true
    )]
    message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Direction {
    In,
    Out,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RefreshArgs {
    /// The peer, by name or address
    #[arg(value_name = "PEER")]
    peer: String,
}

pub(crate) async fn run(
    daemons: &Daemons,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let how = match args.soft {
        None => How::Hard,
        Some(Direction::In) => How::SoftIn,
        Some(Direction::Out) => How::SoftOut,
    };
    let peer = args.peer.clone().unwrap_or_default();
    let request = ResetPeerRequest { peer, how: how.into(), message: args.message.clone() };
    ask(daemons, request, out).await
}

pub(crate) async fn refresh(
    daemons: &Daemons,
    args: &RefreshArgs,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let (peer, how) = (args.peer.clone(), How::SoftIn.into());
    ask(daemons, ResetPeerRequest { peer, how, message: String::new() }, out).await
}

async fn ask(
    daemons: &Daemons,
    request: ResetPeerRequest,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let mut bgpd = daemons.bgpd().await?;
    let reply = answer("bgpd", bgpd.reset_peer(request)).await?;
    if out.is_json() {
        out.json(&reply)?;
    } else {
        for line in &reply.done {
            out.text(&format!("{}\n", clean_line(line)))?;
        }
    }
    Ok(Verdict::Well)
}
