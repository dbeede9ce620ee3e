//! The gRPC service for the CLI and netmon (proto/mainstay/bgp/v1/bgp.proto).
//!
//! Each call becomes an [`Ask`] to the loop, which answers at once.
//!
//! - `question`: a request as the core is asked
//! - `tables`: whole tables in portions, so that a slow reader holds up nobody
//! - `orders`: injected routes and resets
//! - `trial`: what a policy would do
//! - `hold`: a lease that lasts as long as a stream

mod hold;
mod orders;
mod question;
mod tables;
mod trial;

use crate::collect::mrt::Dump;
use crate::intent::For;
use crate::watch;
use bgp_core::event::Reset;
use bgp_core::inject::{InjectError, InjectedRoute, Injection, LeaseView};
use bgp_core::speaker::{Scan, TrialOf};
use bgp_core::types::Prefix;
use bgp_core::view::{RouteQuery, RouteView};
use futures_util::stream::Stream;
use mainstay_proto::bgp::v1::bgp_server::{Bgp, BgpServer};
use mainstay_proto::bgp::v1::{
    self as proto, ConfigurationReply, ConfigurationRequest, CountRoutesReply, DrainReply,
    DrainRequest, ExplainReply, ExplainRequest, HoldLeaseRequest, InjectReply, InjectRequest,
    LeaveReply, LeaveRequest, ListLeasesReply, ListLeasesRequest, ListPeersReply, ListPeersRequest,
    ListRoutesRequest, ReleaseLeaseReply, ReleaseLeaseRequest, ReloadReply, ReloadRequest,
    ResetPeerReply, ResetPeerRequest, StatusReply, StatusRequest, TryPolicyReply, TryPolicyRequest,
    UndrainReply, UndrainRequest, WatchEvent, WatchRequest,
};
use mainstay_proto::collect::v1::collect_server::CollectServer;
use mainstay_proto::collect::v1::{OutletsReply, RpkiReply};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tonic::{Request, Response, Status};

/// From GRACEFUL_SHUTDOWN to the withdrawal.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// A client that hangs is gone after twice this: what it holds is let go.
const PING: Duration = Duration::from_secs(10);

/// What the loop is asked.
#[derive(Debug)]
pub(crate) enum Ask {
    Status(oneshot::Sender<StatusReply>),
    Peers(oneshot::Sender<Vec<proto::Peer>>),
    /// Names for addresses; `Err`: there is no such peer.
    Resolve {
        query: Box<RouteQuery>,
        to: oneshot::Sender<Result<Box<RouteQuery>, String>>,
    },
    Scan {
        query: Box<RouteQuery>,
        scan: Scan,
        steps: usize,
        to: ScanTo,
    },
    Look {
        query: Box<RouteQuery>,
        prefixes: Vec<Prefix>,
        to: oneshot::Sender<Vec<RouteView>>,
    },
    Explain {
        prefix: Prefix,
        to: oneshot::Sender<ExplainReply>,
    },
    Try {
        of: TrialOf,
        to: oneshot::Sender<trial::Tried>,
    },
    Watch {
        wanted: watch::Wanted,
        to: oneshot::Sender<Option<mpsc::Receiver<WatchEvent>>>,
    },
    Reset {
        peer: String,
        how: Reset,
        to: oneshot::Sender<Option<Vec<String>>>,
    },
    Inject {
        asked: Box<Injection>,
        to: oneshot::Sender<Result<LeaseView, InjectError>>,
    },
    /// False: there is no such lease.
    Hold {
        client: String,
        to: oneshot::Sender<bool>,
    },
    LetRun {
        client: String,
    },
    Release {
        client: String,
        to: oneshot::Sender<Option<usize>>,
    },
    Leases {
        client: Option<String>,
        routes: bool,
        to: LeasesTo,
    },
    Reload(oneshot::Sender<Result<ReloadReply, String>>),
    Configuration(oneshot::Sender<ConfigurationReply>),
    Drain {
        wait: Duration,
        on: For,
        to: IntentTo,
    },
    Undrain {
        by: For,
        to: IntentTo,
    },
    Leave {
        wait: Duration,
        to: IntentTo,
    },
    Rpki {
        about: Option<(Prefix, Option<u32>)>,
        to: oneshot::Sender<RpkiReply>,
    },
    Outlets(oneshot::Sender<OutletsReply>),
    /// The next piece of a table dump.
    Dump {
        dump: Box<Dump>,
        to: oneshot::Sender<(Box<Dump>, Vec<u8>)>,
    },
}

/// The word for what the node is meant for now.
pub(crate) type IntentTo = oneshot::Sender<Result<&'static str, String>>;
pub(crate) type ScanTo = oneshot::Sender<(Scan, Vec<Prefix>)>;
pub(crate) type LeasesTo = oneshot::Sender<Vec<(LeaseView, Vec<InjectedRoute>)>>;

#[derive(Clone)]
pub(crate) struct Api {
    asks: mpsc::Sender<Ask>,
    /// Tables that may still be told.
    tables: Arc<Semaphore>,
    /// How long a client may read nothing of a table.
    patience: Duration,
}

type Many<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Serves until `stop` resolves, and lets calls end that have begun.
pub(crate) async fn serve(
    listener: UnixListener,
    asks: mpsc::Sender<Ask>,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let tables = Arc::new(Semaphore::new(tables::AT_ONCE));
    let api = Api { asks, tables, patience: tables::PATIENCE };
    tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(PING))
        .http2_keepalive_timeout(Some(PING))
        .add_service(CollectServer::new(api.clone()))
        .add_service(BgpServer::new(api))
        .serve_with_incoming_shutdown(mainstay_daemon::incoming(listener), stop)
        .await
}

impl Api {
    pub(crate) async fn ask<T>(
        &self,
        ask: impl FnOnce(oneshot::Sender<T>) -> Ask,
    ) -> Result<T, Status> {
        let stopping = |()| Status::unavailable("bgpd is stopping");
        let (to, answer) = oneshot::channel();
        self.asks.send(ask(to)).await.map_err(|_| stopping(()))?;
        answer.await.map_err(|_| stopping(()))
    }

    async fn intend(&self, ask: impl FnOnce(IntentTo) -> Ask) -> Result<String, Status> {
        let intent = self.ask(ask).await?.map_err(Status::failed_precondition)?;
        Ok(intent.to_owned())
    }

    async fn leases(
        &self,
        client: Option<String>,
        routes: bool,
    ) -> Result<Vec<proto::Lease>, Status> {
        let leases = self.ask(|to| Ask::Leases { client, routes, to }).await?;
        Ok(leases.into_iter().map(|(view, routes)| orders::lease(view, &routes)).collect())
    }
}

#[tonic::async_trait]
impl Bgp for Api {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        Ok(Response::new(self.ask(Ask::Status).await?))
    }

    async fn list_peers(
        &self,
        _: Request<ListPeersRequest>,
    ) -> Result<Response<ListPeersReply>, Status> {
        let peers = self.ask(Ask::Peers).await?;
        Ok(Response::new(ListPeersReply { peers }))
    }

    type ListRoutesStream = Many<proto::Route>;

    async fn list_routes(
        &self,
        request: Request<ListRoutesRequest>,
    ) -> Result<Response<Self::ListRoutesStream>, Status> {
        let routes = self.tell_routes(&request.into_inner()).await?;
        Ok(Response::new(Box::pin(routes)))
    }

    async fn count_routes(
        &self,
        request: Request<ListRoutesRequest>,
    ) -> Result<Response<CountRoutesReply>, Status> {
        Ok(Response::new(self.count(&request.into_inner()).await?))
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<ExplainReply>, Status> {
        let prefix = question::prefix(&request.into_inner().prefix)?;
        Ok(Response::new(self.ask(|to| Ask::Explain { prefix, to }).await?))
    }

    async fn try_policy(
        &self,
        request: Request<TryPolicyRequest>,
    ) -> Result<Response<TryPolicyReply>, Status> {
        let of = trial::of(request.into_inner())?;
        let tried = self.ask(|to| Ask::Try { of, to }).await?;
        Ok(Response::new(trial::reply(tried)?))
    }

    type WatchStream = Many<WatchEvent>;

    async fn watch(
        &self,
        request: Request<WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let wanted = watch::Wanted::of(request.into_inner(), question::prefix)?;
        let events = self.ask(|to| Ask::Watch { wanted, to }).await?;
        let events = events.ok_or_else(|| Status::resource_exhausted("too many watch already"))?;
        Ok(Response::new(Box::pin(watch::stream(events))))
    }

    async fn reset_peer(
        &self,
        request: Request<ResetPeerRequest>,
    ) -> Result<Response<ResetPeerReply>, Status> {
        let request = request.into_inner();
        let (how, peer) = (orders::how(&request), request.peer);
        let nobody = Status::not_found(format!("there is no peer {peer:?}"));
        let done = self.ask(|to| Ask::Reset { peer, how, to }).await?;
        Ok(Response::new(ResetPeerReply { done: done.ok_or(nobody)? }))
    }

    async fn inject(
        &self,
        request: Request<InjectRequest>,
    ) -> Result<Response<InjectReply>, Status> {
        let asked = Box::new(orders::injection(request.into_inner())?);
        let lease = self.ask(|to| Ask::Inject { asked, to }).await?;
        let lease = lease.map_err(|error| orders::refused(&error))?;
        Ok(Response::new(InjectReply { lease: Some(orders::lease(lease, &[])) }))
    }

    type HoldLeaseStream = Many<proto::Lease>;

    async fn hold_lease(
        &self,
        request: Request<HoldLeaseRequest>,
    ) -> Result<Response<Self::HoldLeaseStream>, Status> {
        let client = orders::client(request.into_inner().client)?;
        Ok(Response::new(Box::pin(self.clone().hold(client).await?)))
    }

    async fn release_lease(
        &self,
        request: Request<ReleaseLeaseRequest>,
    ) -> Result<Response<ReleaseLeaseReply>, Status> {
        let client = orders::client(request.into_inner().client)?;
        let unknown = hold::no_lease(&client);
        let withdrawn = self.ask(|to| Ask::Release { client, to }).await?.ok_or(unknown)?;
        let withdrawn = u32::try_from(withdrawn).unwrap_or(u32::MAX);
        Ok(Response::new(ReleaseLeaseReply { withdrawn }))
    }

    async fn list_leases(
        &self,
        request: Request<ListLeasesRequest>,
    ) -> Result<Response<ListLeasesReply>, Status> {
        let ListLeasesRequest { routes, client } = request.into_inner();
        let client = Some(client).filter(|client| !client.is_empty());
        Ok(Response::new(ListLeasesReply { leases: self.leases(client, routes).await? }))
    }

    async fn reload(&self, _: Request<ReloadRequest>) -> Result<Response<ReloadReply>, Status> {
        let done = self.ask(Ask::Reload).await?;
        Ok(Response::new(done.map_err(Status::invalid_argument)?))
    }

    async fn configuration(
        &self,
        _: Request<ConfigurationRequest>,
    ) -> Result<Response<ConfigurationReply>, Status> {
        Ok(Response::new(self.ask(Ask::Configuration).await?))
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<DrainReply>, Status> {
        let DrainRequest { wait_seconds, shutdown } = request.into_inner();
        let (wait, on) = (wait(wait_seconds)?, on_word(shutdown));
        let intent = self.intend(|to| Ask::Drain { wait, on, to }).await?;
        Ok(Response::new(DrainReply { intent }))
    }

    async fn undrain(
        &self,
        request: Request<UndrainRequest>,
    ) -> Result<Response<UndrainReply>, Status> {
        let by = on_word(request.into_inner().shutdown);
        let intent = self.intend(|to| Ask::Undrain { by, to }).await?;
        Ok(Response::new(UndrainReply { intent }))
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Result<Response<LeaveReply>, Status> {
        let wait = wait(request.into_inner().wait_seconds)?;
        let intent = self.intend(|to| Ask::Leave { wait, to }).await?;
        Ok(Response::new(LeaveReply { intent }))
    }
}

const fn on_word(shutdown: bool) -> For {
    if shutdown { For::Shutdown } else { For::Operator }
}

/// How long peers have to find other ways.
fn wait(seconds: f64) -> Result<Duration, Status> {
    let wait = Duration::try_from_secs_f64(seconds).ok().filter(|wait| *wait <= LONGEST_WAIT);
    let refused = || {
        let longest = LONGEST_WAIT.as_secs();
        Status::invalid_argument(format!("wait: {seconds} s is not between 0 and {longest} s"))
    };
    wait.ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_wait_is_too_odd_to_be_refused() {
        assert_eq!(wait(2.5).unwrap(), Duration::from_millis(2500));
        for odd in [-1.0, f64::NAN, f64::INFINITY, 3600.5] {
            let said = wait(odd).unwrap_err();
            assert!(said.message().contains("between 0 and 3600 s"), "{said}");
        }
    }
}
