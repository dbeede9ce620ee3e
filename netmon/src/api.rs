//! The gRPC service on netmon.sock.

use crate::run::Netmon;
use crate::sources::{Health, conntrack};
use mainstay_proto::netmon::v1 as pb;
use mainstay_proto::netmon::v1::netmon_server;
use std::sync::Arc;
use tonic::{Request, Response, Status};

pub(crate) struct Api(pub(crate) Arc<Netmon>);

#[tonic::async_trait]
impl netmon_server::Netmon for Api {
    async fn status(
        &self,
        _: Request<pb::StatusRequest>,
    ) -> Result<Response<pb::StatusReply>, Status> {
        Ok(Response::new(status(&self.0).await))
    }

    async fn reload(
        &self,
        _: Request<pb::ReloadRequest>,
    ) -> Result<Response<pb::ReloadReply>, Status> {
        match self.0.reload().await {
            Ok(reloaded) => Ok(Response::new(pb::ReloadReply {
                changes: reloaded.changes,
                warnings: reloaded.warnings,
            })),
            Err(error) => Err(Status::invalid_argument(mainstay_daemon::chain(&error))),
        }
    }
}

async fn status(netmon: &Netmon) -> pb::StatusReply {
    let look = netmon.monitor.look().await;
    let usage = conntrack::Usage::read().ok();
    let (flows_total, flow_bytes_total) = netmon.monitor.flow_sums();
    let in_force = netmon.in_force().await;
    let mut warnings = in_force.warnings;
    warnings.extend(usage.and_then(|u| conntrack::idle_hint(u, flows_total)));
    pb::StatusReply {
        node: in_force.node,
        version: mainstay_daemon::VERSION.to_owned(),
        pid: std::process::id(),
        uptime_seconds: netmon.started.elapsed().as_secs_f64(),
        listen: in_force.listen.to_string(),
        sources: look.health.iter().map(source).collect(),
        flows_total,
        flow_bytes_total,
        conntrack_entries: usage.map_or(0, |u| u.entries),
        conntrack_limit: usage.map_or(0, |u| u.limit),
        warnings,
    }
}

fn source(health: &Health) -> pb::Source {
    pb::Source {
        name: health.name.to_owned(),
        ok: health.ok(),
        error: health.error.clone(),
        age_seconds: health.last_success.map_or(0.0, |m| m.at.elapsed().as_secs_f64()),
    }
}
