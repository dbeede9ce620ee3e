//! The listening sockets, and the keys whose owners must sign.

use crate::kernel::interfaces::Interfaces;
use crate::plan::Transport;
use crate::sockopt;
use crate::tcp::{self, Input, ListenError};
use crate::tcp_ao::{self, AoKey};
use mainstay_prefix::Prefix;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

/// Closed when dropped.
#[derive(Debug)]
pub(crate) struct Listeners {
    open: Vec<(SocketAddr, Arc<TcpListener>, AbortHandle)>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenersError {
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error("the kernel does not take the TCP MD5 key of {peers}")]
    Key { peers: Prefix, source: io::Error },
    #[error("the kernel does not take the TCP-AO keys of {peers}")]
    AoKey { peers: Prefix, source: io::Error },
}

impl Listeners {
    /// All addresses or none. Keys are in place before the first connection is taken.
    pub(crate) fn open(
        at: &[SocketAddr],
        transport: &Transport,
        interfaces: &Interfaces,
        to: &mpsc::Sender<Input>,
    ) -> Result<Self, ListenersError> {
        let mut bound = Vec::new();
        for at in at {
            match tcp::listen(*at) {
                Ok(listener) => bound.push((*at, Arc::new(listener))),
                Err(error) if is_without_ipv6(at, &error) => {
                    tracing::info!("this host has no IPv6: listening on IPv4 alone");
                }
                Err(error) => return Err(error.into()),
            }
        }
        for (at, listener) in &bound {
            sign(listener, *at, &Transport::default(), transport)?;
        }
        let open = bound
            .into_iter()
            .map(|(at, listener)| {
                let accept = tcp::accept(Arc::downgrade(&listener), interfaces.clone(), to.clone());
                (at, listener, tokio::spawn(accept).abort_handle())
            })
            .collect();
        Ok(Self { open })
    }

    /// The keys of `new` in place of those of `old`.
    pub(crate) fn change_keys(
        &self,
        old: &Transport,
        new: &Transport,
    ) -> Result<(), ListenersError> {
        self.open.iter().try_for_each(|(at, listener, _)| sign(listener, *at, old, new))
    }

    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.open.iter().map(|(at, ..)| *at)
    }
}

impl Drop for Listeners {
    fn drop(&mut self) {
        self.open.iter().for_each(|(.., task)| task.abort());
    }
}

fn is_without_ipv6(at: &SocketAddr, error: &ListenError) -> bool {
    let ListenError::Io { source, .. } = error else { return false };
    at.is_ipv6() && at.ip().is_unspecified() && source.raw_os_error() == Some(libc::EAFNOSUPPORT)
}

fn sign(
    listener: &TcpListener,
    at: SocketAddr,
    old: &Transport,
    new: &Transport,
) -> Result<(), ListenersError> {
    let ours = |who: &Prefix| who.is_ipv4() == at.is_ipv4();
    let set = |peers, key| {
        sockopt::set_md5(listener, peers, key)
            .map_err(|source| ListenersError::Key { peers, source })
    };
    let known: BTreeSet<Prefix> = new.keys().map(|(who, _)| who).collect();
    for (who, key) in new.keys().filter(|(who, _)| ours(who)) {
        set(who, Some(key))?;
    }
    for (who, _) in old.keys().filter(|(who, _)| ours(who) && !known.contains(who)) {
        set(who, None)?;
    }
    sign_by_ao(listener, at, old, new)
}

/// A kernel without TCP-AO lets the peers in unsigned, and then they are turned away.
fn sign_by_ao(
    listener: &TcpListener,
    at: SocketAddr,
    old: &Transport,
    new: &Transport,
) -> Result<(), ListenersError> {
    let ours = |(who, _): &(Prefix, &AoKey)| who.is_ipv4() == at.is_ipv4();
    let (before, after): (Vec<_>, Vec<_>) =
        (old.ao_keys().filter(ours).collect(), new.ao_keys().filter(ours).collect());
    if before == after || !tcp_ao::is_there() {
        return Ok(());
    }
    let failed = |peers| move |source| ListenersError::AoKey { peers, source };
    for (who, key) in before.iter().filter(|one| !after.contains(one)) {
        tcp_ao::expect_no_more(listener, *who, key).map_err(failed(*who))?;
    }
    for (who, key) in after.iter().filter(|one| !before.contains(one)) {
        tcp_ao::expect(listener, *who, key).map_err(failed(*who))?;
    }
    Ok(())
}
