//! The gRPC service for the CLI and netmon (proto/mainstay/ipam/v1/ipam.proto).

mod history;
mod import;
mod leases;

use crate::committer::Stopped;
use crate::daemon::{Daemon, ReloadError};
use crate::store::FORMAT;
use futures_util::stream::{self, Stream, StreamExt};
use ipam_core::{BlockView, Policy, PoolView};
use leases::{Filter, address, page, reason};
use mainstay_proto::ipam::v1::ipam_server::{Ipam, IpamServer};
use mainstay_proto::ipam::v1::{
    Block, HistoryReply, HistoryRequest, HoldReply, HoldRequest, ImportReply, ImportRequest, Lease,
    ListBlocksReply, ListBlocksRequest, ListLeasesRequest, ListWithheldReply, ListWithheldRequest,
    PoolStatus, ReleaseReply, ReleaseRequest, ReloadReply, ReloadRequest, StatusReply,
    StatusRequest, UnholdReply, UnholdRequest,
};
use std::pin::Pin;
use std::sync::Arc;
use tokio::net::UnixListener;
use tonic::{Request, Response, Status};

struct Api(Arc<Daemon>);

/// Serves until `stop` resolves, and lets calls end that have begun.
pub(crate) async fn serve(
    listener: UnixListener,
    daemon: Arc<Daemon>,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    tonic::transport::Server::builder()
        .add_service(IpamServer::new(Api(daemon)))
        .serve_with_incoming_shutdown(mainstay_daemon::incoming(listener), stop)
        .await
}

#[tonic::async_trait]
impl Ipam for Api {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(status(&self.0)))
    }

    async fn list_blocks(
        &self,
        _: Request<ListBlocksRequest>,
    ) -> Result<Response<ListBlocksReply>, Status> {
        let views = self.0.state().ipam.block_views(self.0.now());
        let blocks = views.into_iter().map(|view| block(&self.0, view)).collect();
        Ok(Response::new(ListBlocksReply { blocks }))
    }

    type ListLeasesStream = Pin<Box<dyn Stream<Item = Result<Lease, Status>> + Send>>;

    async fn list_leases(
        &self,
        request: Request<ListLeasesRequest>,
    ) -> Result<Response<Self::ListLeasesStream>, Status> {
        let filter = Filter::try_from(request.into_inner())?;
        let daemon = Arc::clone(&self.0);
        let start = Some(filter.from);
        let pages = stream::unfold(start, move |from| {
            let page = from.map(|from| page(&daemon, from, &filter));
            async move { page }
        });
        let leases = pages.flat_map(|leases| stream::iter(leases.into_iter().map(Ok)));
        Ok(Response::new(Box::pin(leases)))
    }

    async fn reload(&self, _: Request<ReloadRequest>) -> Result<Response<ReloadReply>, Status> {
        let done = self.0.reload().await.map_err(|error| match &error {
            ReloadError::Load(_) => Status::invalid_argument(mainstay_daemon::chain(&error)),
            ReloadError::NotNeeded => Status::failed_precondition(error.to_string()),
            ReloadError::Stopped(stopped) => unavailable(*stopped),
        })?;
        Ok(Response::new(ReloadReply { changes: done.changes, warnings: done.warnings }))
    }

    async fn list_withheld(
        &self,
        _: Request<ListWithheldRequest>,
    ) -> Result<Response<ListWithheldReply>, Status> {
        let mut state = self.0.state();
        let views = state.ipam.withheld_views(self.0.now());
        let withheld = views.iter().map(|(address, view)| leases::withheld(*address, view));
        Ok(Response::new(ListWithheldReply { withheld: withheld.collect() }))
    }

    async fn hold(&self, asked: Request<HoldRequest>) -> Result<Response<HoldReply>, Status> {
        let HoldRequest { address: text, reason: why } = asked.into_inner();
        let (address, why) = (address(&text)?, reason(&why)?);
        let durable = self.0.decide(|ipam, now, out| ipam.hold(address, why, now, out));
        durable.map_err(|e| leases::hold_failure(&e))?.await.map_err(unavailable)?;
        let lease = leases::lease_of(&mut self.0.state(), address, self.0.now());
        Ok(Response::new(HoldReply { lease }))
    }

    async fn unhold(&self, asked: Request<UnholdRequest>) -> Result<Response<UnholdReply>, Status> {
        let address = address(&asked.into_inner().address)?;
        let durable = self.0.decide(|ipam, _, out| ipam.unhold(address, out));
        durable.map_err(|e| leases::hold_failure(&e))?.await.map_err(unavailable)?;
        Ok(Response::new(UnholdReply {}))
    }

    async fn release(
        &self,
        asked: Request<ReleaseRequest>,
    ) -> Result<Response<ReleaseReply>, Status> {
        let ReleaseRequest { address: text, seq, dry_run } = asked.into_inner();
        let address = address(&text)?;
        let mut lease = None;
        let durable = self.0.decide(|ipam, now, out| {
            let before = ipam.lease(address, now);
            lease = before.as_ref().map(leases::lease);
            if dry_run {
                ipam.may_release(address, seq)
            } else {
                ipam.release(address, seq, now, out)
            }
        });
        durable.map_err(|e| leases::release_failure(&e))?.await.map_err(unavailable)?;
        Ok(Response::new(ReleaseReply { lease }))
    }

    async fn import(&self, asked: Request<ImportRequest>) -> Result<Response<ImportReply>, Status> {
        Ok(Response::new(import::import(&self.0, asked.into_inner()).await?))
    }

    async fn history(
        &self,
        asked: Request<HistoryRequest>,
    ) -> Result<Response<HistoryReply>, Status> {
        Ok(Response::new(history::history(&self.0, asked.into_inner()).await?))
    }
}

fn unavailable(stopped: Stopped) -> Status {
    Status::unavailable(stopped.to_string())
}

fn status(daemon: &Daemon) -> StatusReply {
    let counted = daemon.counted();
    let mut state = daemon.state();
    let mut warnings = state.warnings();
    warnings.extend(daemon.standing.warnings());
    warnings.extend(daemon.room.warning());
    let settings = state.ipam.settings();
    let (cooldown, stickiness) = (settings.cooldown, settings.stickiness);
    let ttl = match stickiness {
        Policy::Ttl(ttl) => ttl.as_secs_f64(),
        Policy::Never | Policy::WhileOwnerExists => 0.0,
    };
    // With the clock, the format and the number of commits.
    let records = state.ipam.records() + 3;
    StatusReply {
        node: daemon.args.node_name(),
        version: mainstay_daemon::VERSION.into(),
        pid: std::process::id(),
        uptime_seconds: daemon.started.elapsed().as_secs_f64(),
        pools: state.ipam.pool_views(daemon.now()).into_iter().map(pool).collect(),
        cooldown_seconds: cooldown.as_secs_f64(),
        stickiness_seconds: ttl,
        stickiness: stickiness.to_string(),
        store: format!("{}, format {FORMAT}, {records} records", daemon.engine),
        adds: counted.adds,
        dels: counted.dels,
        add_failures: counted.add_failures,
        sticky_hits: counted.sticky_hits,
        warnings,
        gc_scans: counted.gc_scans,
        gc_suspects: counted.gc_suspects,
        gc_released: counted.gc_released,
        gc_outlived: counted.gc_outlived,
        spooled_dels: counted.spooled_dels,
        history_lost: daemon.history.lost(),
        disk_full: daemon.room.is_short(),
    }
}

fn pool(view: PoolView) -> PoolStatus {
    PoolStatus {
        name: view.name,
        cidr: view.cidr.to_string(),
        blocks: u32::try_from(view.blocks).unwrap_or(u32::MAX),
        addresses: view.counts.addresses,
        assigned: view.counts.assigned,
        held: view.counts.held,
        cooling: view.counts.cooling,
        free: view.counts.free,
        kept: view.counts.kept,
        reserved: view.counts.reserved,
        withheld: view.counts.withheld,
        quarantined: view.counts.quarantined,
        next_free_seconds: view.next_free.map(|left| left.as_secs_f64()),
    }
}

fn block(daemon: &Daemon, view: BlockView) -> Block {
    Block {
        cidr: view.block.prefix.to_string(),
        pool: view.pool,
        gateway: view.block.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
        addresses: view.counts.addresses,
        assigned: view.counts.assigned,
        held: view.counts.held,
        cooling: view.counts.cooling,
        free: view.counts.free,
        route: daemon.standing.stands(view.block.prefix),
        kept: view.counts.kept,
        reserved: view.counts.reserved,
        withheld: view.counts.withheld,
        quarantined: view.counts.quarantined,
        leaving: view.leaving,
    }
}
