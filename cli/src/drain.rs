//! `mainstay drain`, `undrain` and `leave`: what bgpd is to intend, and waiting until it is so.

use crate::ask::{AskError, Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use mainstay_proto::bgp::v1::{DrainRequest, LeaveRequest, StatusRequest, UndrainRequest};
use std::time::Duration;
use tokio::time::Instant;

pub(crate) const DRAIN: &str = "\
Every peer is told that this node's paths are about to go (GRACEFUL_SHUTDOWN, RFC 8326), has --wait
to find other ways, and then gets a withdrawal. Sessions stay, and so do the kernel's routes. The
node stays drained, over restarts and reboots, until `mainstay undrain`.

Exit codes: 0 it is drained; 1 not within --timeout, or no speaker runs.";

pub(crate) const LEAVE: &str = "\
For a node that does not come back soon: drains it, ends every session for good (Hard Reset,
RFC 8538), removes the speaker's routes from the kernel, and ends the speaker. Its next start is a
first one.

Exit codes: 0 it has left; 1 not within --timeout, or no speaker runs.";

/// Between two looks at how far the speaker is.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long peers have to find other ways
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    wait: Duration,

    /// When to give up waiting for the end of it, beyond --wait; the speaker goes on
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    timeout: Duration,
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    mainstay_config::duration(text).ok_or_else(|| "not a duration such as 30s or 2m".to_owned())
}

pub(crate) async fn drain(
    daemons: &Daemons,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let request = DrainRequest { wait_seconds: args.wait.as_secs_f64(), shutdown: false };
    let end = Instant::now() + args.wait + args.timeout;
    let intent = drain_until(daemons, request, end).await?;
    tell(out, &intent)?;
    Ok(if intent == "drained" { Verdict::Well } else { Verdict::Wrong })
}

/// Has the speaker drain, and waits until it is done or `end` comes; its intent then.
pub(crate) async fn drain_until(
    daemons: &Daemons,
    request: DrainRequest,
    end: Instant,
) -> Result<String, AskError> {
    let mut intent = answer("bgpd", daemons.bgpd().await?.drain(request)).await?.intent;
    while intent == "draining" && Instant::now() < end {
        tokio::time::sleep(LOOK).await;
        let mut client = daemons.bgpd().await?;
        intent = answer("bgpd", client.status(StatusRequest {})).await?.intent;
    }
    Ok(intent)
}

pub(crate) async fn undrain(daemons: &Daemons, out: &mut Printer) -> Result<Verdict, Failure> {
    let request = UndrainRequest { shutdown: false };
    let intent = answer("bgpd", daemons.bgpd().await?.undrain(request)).await?.intent;
    tell(out, &intent)?;
    Ok(if intent == "serving" { Verdict::Well } else { Verdict::Wrong })
}

pub(crate) async fn leave(
    daemons: &Daemons,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let request = LeaveRequest { wait_seconds: args.wait.as_secs_f64() };
    let end = Instant::now() + args.wait + args.timeout;
    let mut intent = answer("bgpd", daemons.bgpd().await?.leave(request)).await?.intent;
    while Instant::now() < end {
        tokio::time::sleep(LOOK).await;
        match intent_now(daemons).await {
            Ok(now) => intent = now,
            // It has ended, as it should.
            Err(AskError::Unreachable { .. } | AskError::Refused { .. }) => {
                tell(out, "left")?;
                return Ok(Verdict::Well);
            }
            Err(error) => return Err(error.into()),
        }
    }
    tell(out, &intent)?;
    Ok(Verdict::Wrong)
}

async fn intent_now(daemons: &Daemons) -> Result<String, AskError> {
    let mut client = daemons.bgpd().await?;
    Ok(answer("bgpd", client.status(StatusRequest {})).await?.intent)
}

fn tell(out: &mut Printer, intent: &str) -> Result<(), Failure> {
    if out.is_json() {
        return out.json(&serde_json::json!({ "intent": intent }));
    }
    out.text(&format!("bgpd: {intent}\n"))
}
