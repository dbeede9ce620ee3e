//! The gRPC service for the CLI and netmon (proto/mainstay/ipam/v1/ipam.proto).

use crate::daemon::{Daemon, ReloadError};
use crate::store::FORMAT;
use futures_util::stream::{self, Stream, StreamExt};
use ipam_core::{BlockView, LeaseView, PoolView};
use mainstay_prefix::Prefix;
use mainstay_proto::ipam::v1::ipam_server::{Ipam, IpamServer};
use mainstay_proto::ipam::v1::{
    Block, Lease, ListBlocksReply, ListBlocksRequest, ListLeasesRequest, PoolStatus, ReloadReply,
    ReloadRequest, StatusReply, StatusRequest,
};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// Leases read under one lock; a full /16 does not keep an ADD waiting.
const PAGE: usize = 256;

struct Api(Arc<Daemon>);

/// Serves until `stop` resolves, and lets calls end that have begun.
pub(crate) async fn serve(
    listener: UnixListener,
    daemon: Arc<Daemon>,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    tonic::transport::Server::builder()
        .add_service(IpamServer::new(Api(daemon)))
        .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop)
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
        let done = self.0.reload().map_err(|error| match &error {
            ReloadError::Load(_) => Status::invalid_argument(mainstay_daemon::chain(&error)),
            ReloadError::NotNeeded => Status::failed_precondition(error.to_string()),
        })?;
        Ok(Response::new(ReloadReply { changes: done.changes, warnings: done.warnings }))
    }
}

fn status(daemon: &Daemon) -> StatusReply {
    let counted = daemon.counted();
    let mut state = daemon.state();
    let mut warnings = state.warnings();
    warnings.extend(daemon.standing.warnings());
    warnings.extend(daemon.room.warning());
    let settings = state.ipam.settings();
    let (cooldown, stickiness) = (settings.cooldown, settings.stickiness);
    // The leases, the clock and the format.
    let records = state.ipam.remembered() + 2;
    StatusReply {
        node: daemon.args.node_name(),
        version: mainstay_daemon::VERSION.into(),
        pid: std::process::id(),
        uptime_seconds: daemon.started.elapsed().as_secs_f64(),
        pools: state.ipam.pool_views(daemon.now()).into_iter().map(pool).collect(),
        cooldown_seconds: cooldown.as_secs_f64(),
        stickiness_seconds: stickiness.as_secs_f64(),
        store: format!("{}, format {FORMAT}, {records} records", daemon.engine),
        adds: counted.adds,
        dels: counted.dels,
        add_failures: counted.add_failures,
        sticky_hits: counted.sticky_hits,
        spooled_dels: counted.spooled_dels,
        warnings,
        disk_full: daemon.room.is_short(),
        ..StatusReply::default()
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
    }
}

/// What of the leases is wanted.
struct Filter {
    state: String,
    /// Where to begin, and with `only` also where to end.
    from: IpAddr,
    only: bool,
}

impl TryFrom<ListLeasesRequest> for Filter {
    type Error = Status;

    fn try_from(asked: ListLeasesRequest) -> Result<Self, Status> {
        if !["", "assigned", "held", "cooling"].contains(&asked.state.as_str()) {
            let text = format!("state {:?} is none of assigned, held, cooling", asked.state);
            return Err(Status::invalid_argument(text));
        }
        let bad = |_| Status::invalid_argument(format!("{:?} is not an address", asked.address));
        let only = !asked.address.is_empty();
        let first = || Ok(Prefix::DEFAULT_V4.addr());
        let from = if only { asked.address.parse().map_err(bad) } else { first() }?;
        Ok(Self { state: asked.state, from, only })
    }
}

impl Filter {
    fn wants(&self, lease: &LeaseView<'_>) -> bool {
        (self.state.is_empty() || self.state == lease.state.as_str())
            && (!self.only || self.from == lease.slot.address)
    }
}

/// The leases of one page, and where the next one begins.
fn page(daemon: &Daemon, from: IpAddr, filter: &Filter) -> (Vec<Lease>, Option<IpAddr>) {
    let mut state = daemon.state();
    let most = if filter.only { 1 } else { PAGE };
    let mut leases = state.ipam.leases(from, daemon.now());
    let wanted = leases.by_ref().take(most).filter(|l| filter.wants(l)).map(|l| lease(&l));
    let page = wanted.collect();
    let next = leases.next().filter(|_| !filter.only).map(|lease| lease.slot.address);
    (page, next)
}

fn lease(view: &LeaseView<'_>) -> Lease {
    let (slot, at) = (view.slot, view.slot.attachment.clone());
    Lease {
        address: slot.address.to_string(),
        pool: slot.pool.clone(),
        block: slot.block.to_string(),
        state: view.state.as_str().into(),
        owner: slot.describe_owner(),
        rung: slot.rung.to_string(),
        container_id: at.container_id,
        ifname: at.ifname,
        network: at.network,
        netns: slot.netns.clone(),
        assigned_seconds: view.assigned_ago.as_secs_f64(),
        released_seconds: view.released_ago.map(|ago| ago.as_secs_f64()),
        cooldown_left_seconds: view.cooldown_left.as_ref().map(Duration::as_secs_f64),
    }
}
