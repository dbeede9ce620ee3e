//! From the command line to the running loop, in the order that lets nothing be lost: kernel and
//! blocks are known before the first peer can connect.

use crate::api::{self, Ask};
use crate::bfd::Bfd;
use crate::collect::Collect;
use crate::intent::{For, Intent};
use crate::keep::Keeper;
use crate::kernel::interfaces::Interfaces;
use crate::kernel::{self, Found, Notice};
use crate::leases::LeaseFiles;
use crate::listen::Listeners;
use crate::marker::{self, Marker};
use crate::neighbours::Neighbours;
use crate::plan::Plan;
use crate::poller::Poller;
use crate::run::{End, Run, Sources, Tables};
use crate::sockopt;
use crate::tcp::Input;
use bgp_core::event::{Event, Start};
use bgp_core::inject::KeptLease;
use bgp_core::speaker::Speaker;
use keeper::client::Attached;
use mainstay_config::Mode;
use mainstay_daemon::{Args, Loaded, Lock, Ready, Signals, Watchdog};
use std::error::Error;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

const NAME: &str = "bgpd";
/// Chunks of received bytes that wait for the loop; then peers have to.
const INPUTS: usize = 32;
const NOTICES: usize = 1024;
const ASKS: usize = 64;

/// The whole life of the daemon.
pub fn run(args: Args) -> Result<(), Box<dyn Error>> {
    let ready = Ready::new(args.ready_fd)?;
    let loaded = args.load()?;
    if loaded.node.network.mode == Mode::None {
        tracing::info!(
            node = args.node_name(),
            "network.mode is none: mainstay-bgpd is not needed on this node"
        );
        ready.notify();
        return Ok(());
    }
    let plan = Plan::new(&loaded.node)?;
    loaded.warnings.iter().chain(&plan.warnings).for_each(|warning| tracing::warn!("{warning}"));
    // The state's first: two daemons with run directories of their own may share it.
    let state = args.state(NAME)?;
    let _locks = (Lock::take(&state, NAME)?, Lock::take(&args.run_dir, NAME)?);
    let here = marker::here(&mainstay_daemon::boot_id()?, sockopt::netns_cookie());
    let marker = Marker::set(&state, &here, Instant::now());
    let intent = Intent::read(&state, &here)?;
    let leases = LeaseFiles::read(&state, &here, mainstay_daemon::boottime());
    end_process_on_panic();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let before = Before { marker, intent, leases, state: (state.clone(), here.clone()) };
    let end = runtime.block_on(serve(args, loaded, plan, before, ready))?;
    if end == End::Left {
        // Whoever starts next is the first, and is there to serve.
        marker::clear(&state)?;
        Intent::read(&state, &here)?.undrain(For::Operator)?;
        LeaseFiles::clear(&state);
    }
    Ok(())
}

/// What an earlier process has left.
struct Before {
    marker: Marker,
    intent: Intent,
    leases: (LeaseFiles, Vec<KeptLease>),
    /// The state directory, and what its files must name to count.
    state: (PathBuf, String),
}

/// A core that panicked may be half changed. A process that dies is what graceful restart is for.
fn end_process_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}

async fn serve(
    args: Args,
    loaded: Loaded,
    plan: Plan,
    Before { marker, intent, leases, state: (state, here) }: Before,
    ready: Ready,
) -> Result<End, Box<dyn Error>> {
    let signals = Signals::new()?;
    let (tell, notices) = mpsc::channel::<Notice>(NOTICES);
    // Refused only when the loop has ended.
    let (kernel, found) =
        kernel::open(plan.target.clone(), move |notice| drop(tell.blocking_send(notice)))?;
    let (inputs_to, inputs) = mpsc::channel::<Input>(INPUTS);
    let (asks_to, asks) = mpsc::channel::<Ask>(ASKS);
    let mut keeper = Keeper::new(args.run_dir.clone(), plan.max_orphan);
    let attached = keeper.first();
    let earlier = was_here(&marker, &found, &attached);
    let drained = intent.drained().is_some();
    let now = Instant::now();
    let start = how_it_began(earlier, plan.target.install, drained);
    let (lease_files, kept) = leases;
    let mut run = Run {
        marker,
        intent,
        lease_files,
        speaker: Speaker::new(plan.speaker.clone(), start, now),
        warnings: loaded.warnings,
        text: loaded.text,
        kernel,
        interfaces: Interfaces::new()?,
        listeners: None,
        poller: Rc::new(Poller::new()?),
        keeper,
        bfd: Bfd::default(),
        neighbours: Neighbours::default(),
        collect: Collect::default(),
        inputs: inputs_to,
        started: now,
        tables: Tables::default(),
        args,
        plan,
    };
    announce(&run, start, &found);
    run.collect.caches.keep_in(&state, &here, &run.plan.collect.rpki);
    run.judge_by_caches();
    run.restore(kept);
    run.number_interfaces();
    run.tell(Event::Adopted(found.installed));
    run.tell(Event::Blocks(found.blocks));
    run.resume(attached).await;
    run.hold_nothing_unless_wanted();
    run.collect_anew();
    run.look_for_neighbours();
    let (plan, socket) = (&run.plan, run.args.socket("bgpd.sock"));
    let listeners = Listeners::open(&plan.listen, &plan.transport, &run.interfaces, &run.inputs)?;
    run.listeners = Some(listeners);

    let (stop_api, stopped) = oneshot::channel::<()>();
    let listener = mainstay_daemon::bind(&socket)?;
    let api = tokio::spawn(api::serve(listener, asks_to, async { drop(stopped.await) }));
    ready.notify();
    let watchdog = Watchdog::new();
    let mut sources = Sources { inputs, notices, asks, signals, watchdog };
    let ended = run.attend(&mut sources).await;
    // Whoever still waits to tell us something is let go.
    drop(sources);
    drop(stop_api);
    let _ = tokio::time::timeout(Duration::from_secs(5), run.stop()).await;
    let _ = tokio::time::timeout(Duration::from_millis(200), api).await;
    let _ = std::fs::remove_file(&socket);
    let end = ended?;
    if end == End::Stopped {
        tracing::info!("stopped; the kernel's routes stay, and peers that can keep ours");
    }
    Ok(end)
}

/// `earlier`: a speaker was here before, be it another one that we take over from, and what it has
/// left goes on.
fn how_it_began(earlier: bool, install: bool, drained: bool) -> Start {
    Start {
        restarting: earlier,
        // The kernel has just shown what it holds of ours.
        forwarding_kept: earlier && install,
        drained,
        elapsed: mainstay_daemon::age(),
    }
}

/// Whether somebody spoke for this kernel's routes before. Who takes over from another speaker goes
/// on with its restart. Where the disk takes no mark, routes and sessions tell.
fn was_here(marker: &Marker, found: &Found, attached: &Attached) -> bool {
    let unmarked = marker.warning().is_some() && !found.installed.is_empty();
    marker.was_running() || unmarked || found.inherited > 0 || !attached.sessions.is_empty()
}

fn announce(run: &Run, start: Start, found: &Found) {
    tracing::info!(
        node = run.args.node_name(),
        asn = %run.plan.speaker.asn,
        router_id = %run.plan.speaker.router_id,
        peers = run.plan.speaker.peers.len(),
        adopted = found.installed.len(),
        inherited = found.inherited,
        blocks = found.blocks.len(),
        restarting = start.restarting,
        drained = start.drained,
        "serving"
    );
    if let Some(problem) = run.keeper.problem() {
        tracing::info!(problem, "sessions survive a restart by graceful restart only");
    }
    let warnings = run.bfd_warnings().into_iter().chain(run.marker.warning());
    warnings.for_each(|warning| tracing::warn!("{warning}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_takes_over_goes_on_with_a_restart_and_says_what_the_kernel_keeps() {
        let first = how_it_began(false, true, false);
        assert!(!first.restarting && !first.forwarding_kept && !first.drained);
        let again = how_it_began(true, true, true);
        assert!(again.restarting && again.forwarding_kept && again.drained);
        assert!(!how_it_began(true, false, false).forwarding_kept, "nothing of ours is there");
    }
}
