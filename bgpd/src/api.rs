//! The gRPC service for the CLI and netmon (proto/mainstay/bgp/v1/bgp.proto).
//!
//! Each call becomes an [`Ask`] to the loop, which answers at once; long lists are fetched page by
//! page, so that a slow reader holds up nobody.

use crate::intent::For;
use crate::show;
use bgp_core::types::{Family, Prefix};
use bgp_core::view::{Match, RibKind, RouteQuery, RouteView};
use futures_util::stream::{self, Stream, StreamExt};
use mainstay_prefix::ParsePrefixError;
use mainstay_proto::bgp::v1::bgp_server::{Bgp, BgpServer};
use mainstay_proto::bgp::v1::{
    self as proto, ConfigurationReply, ConfigurationRequest, DrainReply, DrainRequest, LeaveReply,
    LeaveRequest, ListPeersReply, ListPeersRequest, ListRoutesRequest, ReloadReply, ReloadRequest,
    StatusReply, StatusRequest, UndrainReply, UndrainRequest,
};
use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};
use tonic::{Request, Response, Status};

/// A page costs the core a pass over its table.
const PAGE: usize = 4096;
/// From GRACEFUL_SHUTDOWN to the withdrawal.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// What the loop is asked.
#[derive(Debug)]
pub(crate) enum Ask {
    Status(oneshot::Sender<StatusReply>),
    Peers(oneshot::Sender<Vec<proto::Peer>>),
    Routes { query: RouteQuery, after: Option<Prefix>, limit: usize, to: RoutesTo },
    Reload(oneshot::Sender<Result<ReloadReply, String>>),
    Configuration(oneshot::Sender<ConfigurationReply>),
    Drain { wait: Duration, on: For, to: IntentTo },
    Undrain { by: For, to: IntentTo },
    Leave { wait: Duration, to: IntentTo },
}

/// The word for what the node is meant for now.
pub(crate) type IntentTo = oneshot::Sender<Result<&'static str, String>>;

/// `None`: there is no such peer.
pub(crate) type RoutesTo = oneshot::Sender<Option<Vec<RouteView>>>;

#[derive(Clone)]
struct Api(mpsc::Sender<Ask>);

/// Serves until `stop` resolves, and lets calls end that have begun.
pub(crate) async fn serve(
    listener: UnixListener,
    asks: mpsc::Sender<Ask>,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    tonic::transport::Server::builder()
        .add_service(BgpServer::new(Api(asks)))
        .serve_with_incoming_shutdown(mainstay_daemon::incoming(listener), stop)
        .await
}

impl Api {
    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Status> {
        let stopping = |()| Status::unavailable("bgpd is stopping");
        let (to, answer) = oneshot::channel();
        self.0.send(ask(to)).await.map_err(|_| stopping(()))?;
        answer.await.map_err(|_| stopping(()))
    }

    async fn intend(&self, ask: impl FnOnce(IntentTo) -> Ask) -> Result<String, Status> {
        let intent = self.ask(ask).await?.map_err(Status::failed_precondition)?;
        Ok(intent.to_owned())
    }

    async fn page(
        &self,
        query: &RouteQuery,
        after: Option<Prefix>,
    ) -> Result<Vec<RouteView>, Status> {
        let query = query.clone();
        let peer = query.peer.clone().unwrap_or_default();
        let page = self.ask(|to| Ask::Routes { query, after, limit: PAGE, to }).await?;
        page.ok_or_else(|| Status::not_found(format!("there is no peer {peer:?}")))
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

    type ListRoutesStream = Pin<Box<dyn Stream<Item = Result<proto::Route, Status>> + Send>>;

    async fn list_routes(
        &self,
        request: Request<ListRoutesRequest>,
    ) -> Result<Response<Self::ListRoutesStream>, Status> {
        let query = query(&request.into_inner())?;
        // The first page decides whether there is an answer at all.
        let first = self.page(&query, None).await?;
        let api = self.clone();
        let pages = stream::unfold(Some(Ok(first)), move |page| {
            let (api, query) = (api.clone(), query.clone());
            async move {
                let page: Result<Vec<RouteView>, Status> = page?;
                let last = page.as_ref().ok().filter(|p| p.len() == PAGE).and_then(|p| p.last());
                let next = match last.map(|route| route.prefix) {
                    Some(prefix) => Some(api.page(&query, Some(prefix)).await),
                    None => None,
                };
                Some((page, next))
            }
        });
        let routes = pages.flat_map(|page| match page {
            Ok(routes) => {
                stream::iter(routes.into_iter().map(|r| Ok(show::route(r)))).left_stream()
            }
            Err(status) => stream::iter([Err(status)]).right_stream(),
        });
        Ok(Response::new(Box::pin(routes)))
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

fn query(request: &ListRoutesRequest) -> Result<RouteQuery, Status> {
    let rib = match request.rib() {
        proto::Rib::Loc => RibKind::Loc,
        proto::Rib::AdjIn => RibKind::AdjIn,
        proto::Rib::AdjOut => RibKind::AdjOut,
    };
    let peer = Some(request.peer.clone()).filter(|p| !p.is_empty());
    if rib != RibKind::Loc && peer.is_none() {
        return Err(Status::invalid_argument("an Adj-RIB is one peer's: name the peer"));
    }
    let family = match request.family.as_str() {
        "" => None,
        "ipv4" => Some(Family::Ipv4Unicast),
        "ipv6" => Some(Family::Ipv6Unicast),
        other => {
            let text = format!("family {other:?} is neither \"ipv4\" nor \"ipv6\"");
            return Err(Status::invalid_argument(text));
        }
    };
    let kind = match request.r#match() {
        proto::list_routes_request::Match::Exact => Match::Exact,
        proto::list_routes_request::Match::Longest => Match::Longest,
        proto::list_routes_request::Match::Covered => Match::Covered,
    };
    let prefix = match request.prefix.as_str() {
        "" => None,
        text => {
            let bad = |e| Status::invalid_argument(format!("prefix {text:?}: {e}"));
            Some((prefix(text).map_err(bad)?, kind))
        }
    };
    Ok(RouteQuery { rib, peer, family, prefix, ..RouteQuery::default() })
}

/// A prefix, or an address, which stands for its host prefix.
fn prefix(text: &str) -> Result<Prefix, ParsePrefixError> {
    match text.parse::<IpAddr>() {
        Ok(addr) => Ok(Prefix::host(addr)),
        Err(_) => text.parse(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(
        peer: &str,
        family: &str,
        prefix: &str,
        rib: proto::Rib,
    ) -> Result<RouteQuery, String> {
        let request = ListRoutesRequest {
            rib: rib.into(),
            peer: peer.into(),
            family: family.into(),
            prefix: prefix.into(),
            r#match: proto::list_routes_request::Match::Longest.into(),
        };
        query(&request).map_err(|status| status.message().to_owned())
    }

    #[test]
    fn no_wait_is_too_odd_to_be_refused() {
        assert_eq!(wait(2.5).unwrap(), Duration::from_millis(2500));
        for odd in [-1.0, f64::NAN, f64::INFINITY, 3600.5] {
            let said = wait(odd).unwrap_err();
            assert!(said.message().contains("between 0 and 3600 s"), "{said}");
        }
    }

    #[test]
    fn an_address_is_asked_for_as_its_host_prefix() {
        let query = asked("", "", "10.0.0.1", proto::Rib::Loc).unwrap();
        assert_eq!(query.prefix, Some(("10.0.0.1/32".parse().unwrap(), Match::Longest)));
    }

    #[test]
    fn a_bad_question_is_refused_with_what_is_wrong_in_it() {
        let adj = asked("", "", "", proto::Rib::AdjIn).unwrap_err();
        assert_eq!(adj, "an Adj-RIB is one peer's: name the peer");
        let family = asked("", "ipx", "", proto::Rib::Loc).unwrap_err();
        assert_eq!(family, "family \"ipx\" is neither \"ipv4\" nor \"ipv6\"");
        let prefix = asked("", "", "10.0.0.1/8", proto::Rib::Loc).unwrap_err();
        assert!(prefix.starts_with("prefix \"10.0.0.1/8\": "), "{prefix}");
    }
}
