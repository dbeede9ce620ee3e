//! Whole tables, without holding up the speaker: first a walk collects the prefixes, then their routes
//! are looked up, both in portions between which everything else has its turn.

use super::{Api, Ask, question};
use crate::show;
use bgp_core::speaker::Scan;
use bgp_core::types::Prefix;
use bgp_core::view::{Match, RouteQuery, RouteView};
use futures_util::stream::{self, Stream, StreamExt};
use mainstay_proto::bgp::v1::{CountRoutesReply, ListRoutesRequest, Route};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tonic::Status;

/// Entries a walk visits, and routes that are looked up, in one go: well below a millisecond each.
const STEPS: usize = 8192;
const PAGE: usize = 256;
/// Pages made ahead of who reads them.
const AHEAD: usize = 4;
/// How long a client may read nothing.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Below this many prefixes the loop may sort them itself.
const FEW: usize = 4096;
/// Tables told at the same time: the prefixes of each are held meanwhile.
pub(super) const AT_ONCE: usize = 4;

/// The answer to one question, and the right to hold it.
struct Found {
    query: RouteQuery,
    prefixes: Vec<Prefix>,
    _permit: OwnedSemaphorePermit,
}

impl Api {
    pub(super) async fn tell_routes(
        &self,
        request: &ListRoutesRequest,
    ) -> Result<impl Stream<Item = Result<Route, Status>> + Send + use<>, Status> {
        let found = self.find(request).await?;
        let (to, pages) = mpsc::channel(AHEAD);
        let (fail, failed) = oneshot::channel();
        let api = self.clone();
        tokio::spawn(async move {
            if let Err(status) = api.tell_pages(found, to).await {
                let _ = fail.send(status);
            }
        });
        let next = |(mut pages, mut failed): (mpsc::Receiver<Vec<RouteView>>, Failed)| async move {
            if let Some(page) = pages.recv().await {
                let page: Vec<_> = page.into_iter().map(|r| Ok(show::route(r))).collect();
                return Some((page, (pages, failed)));
            }
            let status = failed.take()?.await.ok()?;
            Some((vec![Err(status)], (pages, None)))
        };
        Ok(stream::unfold((pages, Some(failed)), next).flat_map(stream::iter))
    }

    pub(super) async fn count(
        &self,
        request: &ListRoutesRequest,
    ) -> Result<CountRoutesReply, Status> {
        let found = self.find(request).await?;
        let mut count = CountRoutesReply::default();
        for page in found.prefixes.chunks(page_of(&found.query)) {
            for route in self.look(&found.query, page).await? {
                count.routes += 1;
                count.paths += route.paths.len() as u64;
            }
        }
        Ok(count)
    }

    async fn tell_pages(
        &self,
        found: Found,
        to: mpsc::Sender<Vec<RouteView>>,
    ) -> Result<(), Status> {
        for page in found.prefixes.chunks(page_of(&found.query)) {
            let routes = self.look(&found.query, page).await?;
            let slow = |_| Status::deadline_exceeded("too slow: nothing was read for too long");
            // Whoever has hung up needs no reason.
            let Ok(room) = tokio::time::timeout(self.patience, to.reserve()).await.map_err(slow)?
            else {
                return Ok(());
            };
            room.send(routes);
        }
        Ok(())
    }

    async fn look(&self, query: &RouteQuery, page: &[Prefix]) -> Result<Vec<RouteView>, Status> {
        let (query, prefixes) = (Box::new(query.clone()), page.to_vec());
        self.ask(|to| Ask::Look { query, prefixes, to }).await
    }

    /// In order; for a longest match the most specific first.
    async fn find(&self, request: &ListRoutesRequest) -> Result<Found, Status> {
        let query = question::query(request)?;
        let full = |_| Status::resource_exhausted("too many tables are being told; try again");
        let permit = self.tables.clone().try_acquire_owned().map_err(full)?;
        let nobody = |peer| Status::not_found(format!("there is no peer {peer:?}"));
        let query =
            self.ask(|to| Ask::Resolve { query: Box::new(query), to }).await?.map_err(nobody)?;
        let (mut scan, mut prefixes) = (Scan::default(), Vec::new());
        while !scan.is_over() {
            let asked = query.clone();
            let part = self.ask(|to| Ask::Scan { query: asked, scan, steps: STEPS, to }).await?;
            prefixes.extend(part.1);
            scan = part.0;
        }
        if !is_longest(&query) {
            prefixes = in_order(prefixes).await;
        }
        Ok(Found { query: *query, prefixes, _permit: permit })
    }
}

type Failed = Option<oneshot::Receiver<Status>>;

const fn is_longest(query: &RouteQuery) -> bool {
    matches!(query.prefix, Some((_, Match::Longest)))
}

/// Of a longest match only the first counts, so it is looked up in one go.
const fn page_of(query: &RouteQuery) -> usize {
    if is_longest(query) { usize::MAX } else { PAGE }
}

/// A walk over a table that changes may meet a prefix twice.
async fn in_order(prefixes: Vec<Prefix>) -> Vec<Prefix> {
    let sorted = |mut prefixes: Vec<Prefix>| {
        prefixes.sort_unstable();
        prefixes.dedup();
        prefixes
    };
    if prefixes.len() <= FEW {
        return sorted(prefixes);
    }
    tokio::task::spawn_blocking(move || sorted(prefixes)).await.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Plan;
    use bgp_core::event::{Event, Start};
    use bgp_core::speaker::Speaker;
    use std::sync::Arc;
    use std::time::Instant;
    use tokio::sync::Semaphore;

    const FILE: &str = "
nodes: [{name: node-a, address: 192.0.2.11}]
network: {mode: bgp}
bgp: {asn: 64512}
";
    const ROUTES: u32 = 3000;

    /// A speaker with many prefixes of its own.
    fn speaker() -> Speaker {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("mainstay.yaml");
        std::fs::write(&file, FILE).unwrap();
        let cluster = mainstay_config::read(&file).unwrap();
        let plan = Plan::new(&cluster.resolve("node-a").unwrap()).unwrap();
        let mut speaker = Speaker::new(plan.speaker, Start::default(), Instant::now());
        let address = |n: u32| std::net::Ipv4Addr::from((10 << 24) + n);
        let blocks = (0..ROUTES).map(|n| Prefix::host(address(n).into())).collect();
        speaker.handle(Event::Blocks(blocks), Instant::now(), &mut Vec::new());
        speaker
    }

    /// The API over a loop that does nothing else.
    fn serve(patience: Duration) -> Api {
        let (asks, mut asked) = mpsc::channel(8);
        std::thread::spawn(move || {
            let speaker = speaker();
            while let Some(ask) = asked.blocking_recv() {
                match ask {
                    Ask::Resolve { mut query, to } => {
                        let resolved = speaker.resolve(&mut query);
                        drop(to.send(resolved.map(|()| query)));
                    }
                    Ask::Scan { query, mut scan, steps, to } => {
                        let found = speaker.scan(&query, &mut scan, steps);
                        drop(to.send((scan, found)));
                    }
                    Ask::Look { query, prefixes, to } => {
                        drop(to.send(speaker.look(&query, &prefixes, Instant::now())));
                    }
                    other => panic!("{other:?}"),
                }
            }
        });
        Api { asks, tables: Arc::new(Semaphore::new(AT_ONCE)), patience }
    }

    #[tokio::test]
    async fn a_table_of_many_pages_is_told_whole_and_in_order() {
        let api = serve(PATIENCE);
        let routes = api.tell_routes(&ListRoutesRequest::default()).await.unwrap();
        let all: Vec<Route> = routes.map(Result::unwrap).collect().await;
        let prefix = |route: &Route| route.prefix.parse::<Prefix>().unwrap();
        assert_eq!(all.len(), ROUTES as usize);
        assert!(all.is_sorted_by_key(prefix));
        let count = api.count(&ListRoutesRequest::default()).await.unwrap();
        assert_eq!((count.routes, count.paths), (ROUTES.into(), ROUTES.into()));
    }

    #[tokio::test]
    async fn who_does_not_read_is_dropped_with_the_reason_and_makes_room() {
        let api = serve(Duration::from_millis(20));
        let routes = api.tell_routes(&ListRoutesRequest::default()).await.unwrap();
        while api.tables.available_permits() < AT_ONCE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let told: Vec<_> = routes.collect().await;
        assert!(told.len() < ROUTES as usize, "what was made ahead, and no more");
        let why = told.last().unwrap().as_ref().unwrap_err();
        assert_eq!(why.code(), tonic::Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn more_tables_at_once_than_there_is_room_for_are_refused() {
        let api = serve(PATIENCE);
        let mut told = Vec::new();
        for _ in 0..AT_ONCE {
            told.push(api.tell_routes(&ListRoutesRequest::default()).await.unwrap());
        }
        let full = api.count(&ListRoutesRequest::default()).await.unwrap_err();
        assert_eq!(full.code(), tonic::Code::ResourceExhausted);
        drop(told);
        while api.tables.available_permits() < AT_ONCE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        api.count(&ListRoutesRequest::default()).await.unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_is_not_there_is_named() {
        let request = ListRoutesRequest { from: "p9".into(), ..Default::default() };
        let why = serve(PATIENCE).count(&request).await.unwrap_err();
        assert_eq!((why.code(), why.message()), (tonic::Code::NotFound, "there is no peer \"p9\""));
    }
}
