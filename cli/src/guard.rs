//! `mainstay shutdown-guard`: drains this node before it goes down.
//!
//! It holds a *delay* lock of logind: logind tells of a shutdown before anything is stopped and
//! waits for the lock, never longer than its `InhibitDelayMaxSec`. Where a shutdown does not go by
//! logind, systemd stops this process before the speaker, which is late but not too late.

mod logind;

use crate::ask::Daemons;
use crate::drain::{drain_until, duration};
use crate::failure::{Failure, Verdict, chain};
use logind::Logind;
use mainstay_proto::bgp::v1::{DrainRequest, UndrainRequest};
use sd_notify::NotifyState;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, interval, sleep, timeout};

pub(crate) const HELP: &str = "\
Runs until it is stopped. When the node is about to shut down or reboot, bgpd is drained: peers are
told at once that this node's paths will go, and after --wait they are withdrawn; the shutdown then
goes on, and never waits longer than --limit. A drain for a shutdown ends with the reboot.";

/// Often enough for a WatchdogSec of a few seconds.
const ALIVE: Duration = Duration::from_secs(2);
/// Until logind is asked again.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long peers have to find other ways
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = duration)]
    wait: Duration,

    /// How long the shutdown may be held up
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = duration)]
    limit: Duration,
}

pub(crate) async fn run(daemons: &Daemons, args: &Args) -> Result<Verdict, Failure> {
    let mut stop = signal(SignalKind::terminate())?;
    let guarding = guard(daemons, args);
    tokio::pin!(guarding);
    let mut alive = interval(ALIVE);
    loop {
        tokio::select! {
            never = &mut guarding => match never {},
            _ = stop.recv() => break,
            _ = alive.tick() => {
                let _ = sd_notify::notify(&[NotifyState::Watchdog]);
            }
        }
    }
    if going_down().await {
        drain(daemons, args).await;
    }
    Ok(Verdict::Well)
}

/// One connection to logind after the other.
async fn guard(daemons: &Daemons, args: &Args) -> std::convert::Infallible {
    let mut complained = false;
    loop {
        match Logind::connect().await {
            Ok(logind) => {
                complained = false;
                let ended = watch(logind, daemons, args).await;
                say(4, &format!("logind is asked again: {}", chain(&ended)));
            }
            Err(error) => {
                if !complained {
                    let why = chain(&error);
                    say(4, &format!("no lock of logind, only systemd's order of stopping: {why}"));
                }
                complained = true;
                ready("without logind");
            }
        }
        sleep(RETRY).await;
    }
}

async fn watch(mut logind: Logind, daemons: &Daemons, args: &Args) -> zbus::Error {
    loop {
        let lock = match logind.inhibit().await {
            Ok(lock) => lock,
            Err(error) => return error,
        };
        let limit = match logind.longest_delay().await {
            Ok(longest) => longest,
            Err(error) => return error,
        };
        if limit < args.limit {
            say(
                4,
                &format!(
                    "logind waits {limit:?} at most (InhibitDelayMaxSec), not {:?}",
                    args.limit
                ),
            );
        }
        ready("holding up shutdowns until this node is drained");
        let coming = match logind.next().await {
            Ok(coming) => coming,
            Err(error) => return error,
        };
        if !coming {
            continue;
        }
        drain(daemons, args).await;
        drop(lock);
        // True again only after a shutdown that was called off.
        match logind.next().await {
            Ok(true) => {}
            Ok(false) => undrain(daemons).await,
            Err(error) => return error,
        }
    }
}

/// Whatever goes wrong here, the shutdown goes on.
async fn drain(daemons: &Daemons, args: &Args) {
    say(6, "this node is going down: draining");
    let request = DrainRequest { wait_seconds: args.wait.as_secs_f64(), shutdown: true };
    let end = Instant::now() + args.limit;
    match timeout(args.limit, drain_until(daemons, request, end)).await {
        Ok(Ok(intent)) if intent == "drained" => say(6, "drained"),
        Ok(Ok(intent)) => say(4, &format!("the shutdown goes on: the speaker is {intent} still")),
        Ok(Err(error)) if error.is_absent() => say(6, "no speaker runs: nothing to drain"),
        Ok(Err(error)) => say(4, &format!("not drained: {error}")),
        Err(_) => say(4, "not drained: the speaker does not answer"),
    }
}

async fn undrain(daemons: &Daemons) {
    say(6, "the shutdown was called off");
    let undone = async {
        let request = UndrainRequest { shutdown: true };
        crate::ask::answer("bgpd", daemons.bgpd().await?.undrain(request)).await
    };
    if let Err(error) = undone.await {
        say(3, &format!("the node stays drained: {error}; mainstay undrain takes it back"));
    }
}

/// Whether the whole system is being stopped, and not this unit alone.
async fn going_down() -> bool {
    let ask = || std::process::Command::new("systemctl").arg("is-system-running").output();
    let asked = tokio::task::spawn_blocking(ask).await;
    asked.is_ok_and(|out| out.is_ok_and(|out| out.stdout.starts_with(b"stopping")))
}

fn ready(status: &str) {
    let _ = sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A line for the journal, with its priority (sd-daemon(3)).
fn say(priority: u8, text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "<{priority}>{text}");
}
