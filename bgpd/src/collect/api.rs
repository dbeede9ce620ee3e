//! What the API tells of it.

use super::mrt::Dump;
use crate::api::{Api, Ask};
use futures_util::{Stream, stream};
use mainstay_prefix::Prefix;
use mainstay_proto::collect::v1::collect_server::Collect;
use mainstay_proto::collect::v1::{
    DumpMrtReply, DumpMrtRequest, OutletsReply, OutletsRequest, RpkiReply, RpkiRequest,
};
use std::pin::Pin;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl Collect for Api {
    async fn rpki(&self, request: Request<RpkiRequest>) -> Result<Response<RpkiReply>, Status> {
        let RpkiRequest { prefix, origin } = request.into_inner();
        let about = match prefix.as_str() {
            "" => None,
            text => {
                let bad = |e| Status::invalid_argument(format!("prefix {text:?}: {e}"));
                Some((text.parse::<Prefix>().map_err(bad)?, origin))
            }
        };
        Ok(Response::new(self.ask(|to| Ask::Rpki { about, to }).await?))
    }

    async fn outlets(&self, _: Request<OutletsRequest>) -> Result<Response<OutletsReply>, Status> {
        Ok(Response::new(self.ask(Ask::Outlets).await?))
    }

    type DumpMrtStream = Pin<Box<dyn Stream<Item = Result<DumpMrtReply, Status>> + Send>>;

    async fn dump_mrt(
        &self,
        _: Request<DumpMrtRequest>,
    ) -> Result<Response<Self::DumpMrtStream>, Status> {
        let api = self.clone();
        let pieces = stream::unfold(Some(Box::<Dump>::default()), move |dump| {
            let api = api.clone();
            async move {
                let dump = dump.filter(|dump| !dump.is_over())?;
                Some(match api.ask(|to| Ask::Dump { dump, to }).await {
                    Ok((dump, piece)) => (Ok(DumpMrtReply { piece }), Some(dump)),
                    Err(status) => (Err(status), None),
                })
            }
        });
        Ok(Response::new(Box::pin(pieces)))
    }
}
