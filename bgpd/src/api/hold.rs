//! A lease that lasts as long as a stream.

use super::{Api, Ask};
use futures_util::stream::{self, Stream};
use mainstay_proto::bgp::v1::Lease;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Status;

/// How often the lease is told.
const BEAT: Duration = Duration::from_secs(10);

/// Lets the lease run again when the stream has gone, however that came.
struct Holding {
    asks: mpsc::Sender<Ask>,
    client: String,
}

impl Drop for Holding {
    fn drop(&mut self) {
        let (asks, client) = (self.asks.clone(), std::mem::take(&mut self.client));
        // Without a runtime there is no loop to tell either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { asks.send(Ask::LetRun { client }).await });
        }
    }
}

impl Api {
    pub(super) async fn hold(
        self,
        client: String,
    ) -> Result<impl Stream<Item = Result<Lease, Status>> + Send + use<>, Status> {
        let name = client.clone();
        if !self.ask(|to| Ask::Hold { client: name, to }).await? {
            return Err(no_lease(&client));
        }
        let holding = Holding { asks: self.asks.clone(), client };
        let next = |(api, holding, beat): (Self, Option<Holding>, Duration)| async move {
            tokio::time::sleep(beat).await;
            let client = holding.as_ref()?.client.clone();
            let lease = match api.leases(Some(client.clone()), false).await {
                Ok(leases) => leases.into_iter().next().ok_or_else(|| no_lease(&client)),
                Err(status) => Err(status),
            };
            // An error is the last word.
            let holding = holding.filter(|_| lease.is_ok());
            Some((lease, (api, holding, BEAT)))
        };
        Ok(stream::unfold((self, Some(holding), Duration::ZERO), next))
    }
}

pub(super) fn no_lease(client: &str) -> Status {
    Status::not_found(format!("there is no lease {client:?}"))
}
