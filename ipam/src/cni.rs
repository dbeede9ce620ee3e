//! The plugins' socket: one request and one reply a connection, each as a 4-byte big-endian length
//! and the message (proto/mainstay/ipam/v1/ipam.proto). Sizes, time and callers are bounded.

mod annotations;
mod request;

use crate::committer::Stopped;
use crate::daemon::{AddFailed, Daemon};
use ipam_core::{AddError, CheckError, Grant};
use mainstay_proto::ipam::v1::{Address, CniError, CniReply, CniRequest};
use prost::Message;
pub(crate) use request::Request;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, sink};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const MAX_FRAME: u32 = 1 << 20;
/// A plugin sends its whole request at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait for the end of a request that is refused.
const DRAIN: Duration = Duration::from_millis(100);
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
pub(crate) async fn serve(listener: UnixListener, daemon: Arc<Daemon>, callers: Arc<Semaphore>) {
    loop {
        let Ok(permit) = Arc::clone(&callers).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => drop(tokio::spawn(converse(stream, Arc::clone(&daemon), permit))),
            Err(error) => {
                // Out of descriptors, most likely: others will close theirs.
                tracing::warn!(%error, "cannot accept on the CNI socket");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
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

async fn converse(mut stream: UnixStream, daemon: Arc<Daemon>, _permit: OwnedSemaphorePermit) {
    let reply = match tokio::time::timeout(PATIENCE, read(&mut stream)).await {
        Ok(Ok(Some(request))) => answer(&daemon, request).await,
        // Nothing was asked: somebody looked whether we are there.
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            drain(&mut stream).await;
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
    let sent = tokio::time::timeout(PATIENCE, write(&mut stream, &reply)).await;
    if !matches!(sent, Ok(Ok(()))) {
        // The runtime gave up on its plugin; it will ask again or send a DEL.
        tracing::debug!("a plugin was gone before its reply");
    }
}

/// A plugin sends its request in one piece, and here it is taken in one.
async fn read(stream: &mut UnixStream) -> io::Result<Option<CniRequest>> {
    let mut bytes = Vec::with_capacity(2048);
    while bytes.len() < 4 {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    let length = bytes.iter().take(4).fold(0, |length, byte| length << 8 | u32::from(*byte));
    if length > MAX_FRAME {
        return Err(io::Error::other(format!("{length} bytes; at most {MAX_FRAME}")));
    }
    let length = length as usize;
    while bytes.len() < 4 + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            let read = bytes.len() - 4;
            return Err(io::Error::other(format!("ends after {read} of {length} bytes")));
        }
    }
    let message = bytes.get(4..4 + length).unwrap_or_default();
    CniRequest::decode(message).map(Some).map_err(io::Error::other)
}

/// Closed with bytes unread, the socket would give its other end a reset and no reply.
async fn drain(stream: &mut UnixStream) {
    let (mut rest, mut nowhere) = (stream.take(MAX_FRAME.into()), sink());
    let _ = tokio::time::timeout(DRAIN, tokio::io::copy(&mut rest, &mut nowhere)).await;
}

async fn write(stream: &mut UnixStream, reply: &CniReply) -> io::Result<()> {
    let message = reply.encode_to_vec();
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    // That it is all is told by the stream's end, which comes with its drop.
    stream.write_all(&[&length.to_be_bytes(), &*message].concat()).await
}

async fn answer(daemon: &Daemon, request: CniRequest) -> Result<CniReply, Refusal> {
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
        Request::Gc { network, valid: Some(valid) } => daemon.gc(&network, &valid)?,
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
