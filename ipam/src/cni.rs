//! The plugins' socket: one request and one reply a connection (proto/mainstay/ipam/v1/ipam.proto).
//! Sizes, time and callers are bounded.

mod annotations;
mod caller;
mod request;

use crate::committer::Stopped;
use crate::daemon::{AddFailed, Daemon};
use crate::gc;
use caller::Caller;
use ipam_core::{AddError, CheckError, Grant};
use mainstay_proto::ipam::v1::{Address, CniError, CniReply, CniRequest};
pub(crate) use request::Request;
use rtnetlink::Handle;
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A plugin sends its whole request at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for the end of a request that is refused.
const DRAIN: Duration = Duration::from_millis(100);
/// How often it is said that nobody can be served.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// Callers served at once; more wait in the listen queue.
pub(crate) const CALLERS: usize = 256;

/// CNI error codes (specification 1.1.0; from 100 on they are the plugin's own).
pub(crate) mod code {
    pub(crate) const UNKNOWN_CONTAINER: u32 = 3;
    pub(crate) const INVALID_ENVIRONMENT: u32 = 4;
    pub(crate) const IO: u32 = 5;
    pub(crate) const DECODE: u32 = 6;
    pub(crate) const INVALID_CONFIG: u32 = 7;
    pub(crate) const TRY_AGAIN: u32 = 11;
    pub(crate) const NOT_AVAILABLE: u32 = 50;
    pub(crate) const NOT_ITS_OWN: u32 = 101;
}

/// Serves until it is dropped; each caller has one of the permits until it is answered.
pub(crate) async fn serve(
    listener: UnixListener,
    daemon: Arc<Daemon>,
    kernel: Handle,
    callers: Arc<Semaphore>,
) {
    let mut told: Option<Instant> = None;
    loop {
        let Ok(permit) = Arc::clone(&callers).acquire_owned().await else { return };
        match accept(&listener).await {
            Ok(caller) => {
                let (daemon, kernel) = (Arc::clone(&daemon), kernel.clone());
                drop(tokio::spawn(converse(caller, daemon, kernel, permit)));
            }
            Err(error) => {
                // Out of descriptors, most likely: others will close theirs.
                if told.is_none_or(|at| at.elapsed() > TELL_AGAIN) {
                    tracing::warn!(%error, "cannot accept on the CNI socket");
                    told = Some(Instant::now());
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Of many who come at once the runtime gets to know the last one only.
async fn accept(listener: &UnixListener) -> io::Result<Caller> {
    match accept_with(listener, SocketFlags::CLOEXEC) {
        Ok(fd) => Ok(Caller::Quick(fd, 0)),
        Err(Errno::AGAIN) => Ok(Caller::Slow(listener.accept().await?.0)),
        Err(error) => Err(error.into()),
    }
}

/// Why a request has no result.
enum Refusal {
    Error(CniError),
    /// The daemon is being restarted. Without a reply the plugin asks again, and the next daemon
    /// answers; an error would fail the pod.
    Stopping,
}

impl From<CniError> for Refusal {
    fn from(error: CniError) -> Self {
        Self::Error(error)
    }
}

impl From<Stopped> for Refusal {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::Closed => Self::Stopping,
            Stopped::Failed => Self::Error(failure(code::IO, stopped.to_string())),
        }
    }
}

async fn converse(
    mut caller: Caller,
    daemon: Arc<Daemon>,
    kernel: Handle,
    _permit: OwnedSemaphorePermit,
) {
    let reply = match tokio::time::timeout(PATIENCE, caller.request()).await {
        Ok(Ok(Some(request))) => answer(&daemon, &kernel, request).await,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            let _ = tokio::time::timeout(DRAIN, caller.drain()).await;
            Err(failure(code::DECODE, format!("bad request: {error}")).into())
        }
        Err(_) => Err(failure(code::IO, "the request did not come in time".into()).into()),
    };
    let reply = match reply {
        Ok(reply) => reply,
        Err(Refusal::Stopping) => return,
        Err(Refusal::Error(error)) => {
            let (code, msg) = (error.code, &error.msg);
            tracing::debug!(code, msg, "refused");
            CniReply { error: Some(error), addresses: Vec::new() }
        }
    };
    let sent = tokio::time::timeout(PATIENCE, caller.reply(&reply)).await;
    if !matches!(sent, Ok(Ok(()))) {
        // The runtime gave up on its plugin; it will ask again or send a DEL.
        tracing::debug!("a plugin was gone before its reply");
    }
}

async fn answer(
    daemon: &Daemon,
    kernel: &Handle,
    request: CniRequest,
) -> Result<CniReply, Refusal> {
    let mut reply = CniReply::default();
    match Request::try_from(request)? {
        Request::Add(_) if let Some(why) = daemon.room.warning() => {
            return Err(failure(code::TRY_AGAIN, why).into());
        }
        Request::Add(add) => {
            // A DEL of the same attachment that is still in the spool came first.
            daemon.spool.apply_before(daemon, &add.attachment).await?;
            let grants = daemon.add(*add).await.map_err(add_failure)?;
            reply.addresses = grants.iter().map(address).collect();
        }
        Request::Del(attachment) => daemon.del(&attachment)?,
        Request::Gc { network, valid: Some(valid) } => {
            let left_out = daemon.state().ipam.left_out(&network, &valid);
            daemon.gc(&gc::alive(kernel, left_out).await)?;
        }
        // Then only what is proven to be gone goes.
        Request::Gc { valid: None, .. } => daemon.gc_wanted.notify_one(),
        Request::Check(attachment, expected) => {
            daemon.check(&attachment, &expected).map_err(|e| check_failure(&e))?;
        }
        Request::Status { fail_when_exhausted } => status(daemon, fail_when_exhausted)?,
    }
    Ok(reply)
}

/// A full pool is no failure unless asked for: containerd would call the whole node NotReady, and its
/// running pods would be evicted.
fn status(daemon: &Daemon, fail_when_exhausted: bool) -> Result<(), Refusal> {
    let unavailable = |why| Err(failure(code::NOT_AVAILABLE, why).into());
    if !daemon.can_serve() {
        return unavailable(AddError::NoPool.to_string());
    }
    match daemon.exhausted().filter(|_| fail_when_exhausted) {
        Some(pools) => unavailable(format!("no address is free now in {pools}")),
        None => Ok(()),
    }
}

fn address(grant: &Grant) -> Address {
    Address {
        address: format!("{}/{}", grant.address, grant.len),
        gateway: grant.gateway.map(|gateway| gateway.to_string()).unwrap_or_default(),
    }
}

fn add_failure(failed: AddFailed) -> Refusal {
    use AddError::{BlockCooling, Cooling, Full, InUse, Kept, OnHold, Taken};
    let error = match failed {
        AddFailed::Refused(error) => error,
        AddFailed::Stopped(stopped) => return stopped.into(),
    };
    let code = match &error {
        // Time, a DEL or an operator helps.
        Full(_)
        | Taken { .. }
        | Cooling { .. }
        | BlockCooling { .. }
        | Kept { .. }
        | OnHold { .. }
        | InUse { .. } => code::TRY_AGAIN,
        AddError::NoPool
        | AddError::NotHere(_)
        | AddError::TwoOfAFamily(..)
        | AddError::HasAnother { .. }
        | AddError::ReservedFor { .. }
        | AddError::Excluded(_)
        | AddError::OtherPool { .. }
        | AddError::UnknownPool { .. }
        | AddError::TwoPools(..)
        | AddError::NotAdmitted { .. }
        | AddError::NoBlockOf(_) => code::INVALID_CONFIG,
    };
    failure(code, error.to_string()).into()
}

fn check_failure(error: &CheckError) -> CniError {
    let code = match error {
        CheckError::Unknown { .. } => code::UNKNOWN_CONTAINER,
        CheckError::NotItsOwn { .. } => code::NOT_ITS_OWN,
    };
    failure(code, error.to_string())
}

fn failure(code: u32, msg: String) -> CniError {
    CniError { code, msg, details: String::new() }
}
