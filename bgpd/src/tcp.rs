//! TCP connections come to be: listeners and dialling. Their tasks own no state of BGP; they tell the
//! loop what happened ([`Input`]).

use crate::collect::bmp::News;
use crate::collect::rpki::CacheState;
use crate::kernel::interfaces::{self, Interfaces};
use crate::plan::{Remote, Transport, Way};
use crate::sockopt;
use crate::tcp_ao;
use bgp_core::event::Link;
use bgp_core::types::ConnId;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::os::fd::AsFd;
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// Connections that have come in and not said a word yet; more are turned away.
const SILENT: usize = 256;
const BACKLOG: u32 = 1024;
const DIAL: Duration = Duration::from_secs(10);

/// What the network has to tell.
#[derive(Debug)]
pub(crate) enum Input {
    Accepted {
        stream: TcpStream,
        link: Link,
        silent: OwnedSemaphorePermit,
    },
    Dialled {
        conn: ConnId,
        result: Result<(TcpStream, Link), String>,
    },
    /// Of an RPKI cache, by the number of its task.
    Cache {
        number: u64,
        state: Box<CacheState>,
    },
    /// Of the interfaces that peers are on.
    Link(crate::neighbours::News),
    /// Of a BMP station, likewise.
    Station {
        number: u64,
        news: News,
    },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    #[error(
        "port {port} of {address} is taken by another program; see which with `ss -lntp 'sport = \
         :{port}'`, and stop it or set `bgp.listen: false` (connect only) or another port",
        address = .0.ip(), port = .0.port()
    )]
    Taken(SocketAddr),
    #[error("cannot listen on {0}; bgp.listen.addresses must be addresses of this node")]
    NotOurs(SocketAddr),
    #[error("cannot listen on {at}")]
    Io { at: SocketAddr, source: io::Error },
}

/// Binds one address; an IPv6 socket takes IPv6 alone, so that both wildcards can stand.
pub(crate) fn listen(at: SocketAddr) -> Result<TcpListener, ListenError> {
    bind(at).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => ListenError::Taken(at),
        io::ErrorKind::AddrNotAvailable => ListenError::NotOurs(at),
        _ => ListenError::Io { at, source },
    })
}

fn bind(at: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(at.ip())?;
    if at.is_ipv6() {
        rustix::net::sockopt::set_ipv6_v6only(&socket, true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(at)?;
    socket.listen(BACKLOG)
}

fn new_socket(like: IpAddr) -> io::Result<TcpSocket> {
    let socket = if like.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    sockopt::prepare(&socket, like.is_ipv4())?;
    Ok(socket)
}

/// Takes in connections until the listener is closed.
pub(crate) async fn accept(
    listener: Weak<TcpListener>,
    interfaces: Interfaces,
    to: mpsc::Sender<Input>,
) {
    let silent = Arc::new(Semaphore::new(SILENT));
    while let Some(next) = next(&listener).await {
        match next {
            Ok((stream, remote)) => {
                let Ok(permit) = Arc::clone(&silent).try_acquire_owned() else {
                    tracing::warn!(%remote, "turned away: too many connections say nothing");
                    continue;
                };
                let Ok(link) = link(&stream, &interfaces).await else { continue };
                if to.send(Input::Accepted { stream, link, silent: permit }).await.is_err() {
                    return;
                }
            }
            // Out of descriptors, or the like: the connection waits in the backlog.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(Duration::from_millis(500)).await;
            }
        }
    }
}

/// Holds the listener only while it looks: a port that is given up has to be free at once, and not
/// when this task comes to its end.
async fn next(listener: &Weak<TcpListener>) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    poll_fn(|context| match listener.upgrade() {
        Some(listener) => listener.poll_accept(context).map(Some),
        None => Poll::Ready(None),
    })
    .await
}

/// How to reach one peer.
#[derive(Debug, Clone)]
pub(crate) struct Dial {
    pub(crate) conn: ConnId,
    pub(crate) remote: SocketAddr,
    /// Of a link-local address.
    pub(crate) interface: Option<String>,
    pub(crate) local: Option<IpAddr>,
    pub(crate) way: Way,
}

/// Dials, and tells the outcome; aborting the task gives it up.
pub(crate) fn dial(dial: Dial, interfaces: Interfaces, to: mpsc::Sender<Input>) -> AbortHandle {
    let task = async move {
        let connected = match timeout(DIAL, connect(&dial)).await {
            Ok(Ok(stream)) => link(&stream, &interfaces).await.map(|link| (stream, link)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let result = connected.map_err(|e| words(&e));
        let _ = to.send(Input::Dialled { conn: dial.conn, result }).await;
    };
    tokio::spawn(task).abort_handle()
}

async fn connect(dial: &Dial) -> io::Result<TcpStream> {
    let ip = dial.remote.ip();
    let remote = match &dial.interface {
        Some(interface) => on(dial.remote, interface)?,
        None => dial.remote,
    };
    let socket = new_socket(ip)?;
    sockopt::set_hops(&socket, ip.is_ipv4(), dial.way.ttl, dial.way.least_ttl)?;
    if let Some(key) = &dial.way.key {
        sockopt::set_md5(&socket, mainstay_prefix::Prefix::host(ip), Some(key))?;
    }
    tcp_ao::sign(&socket, ip, &dial.way.ao)?;
    if let Some(local) = dial.local {
        socket.bind(source(local, remote))?;
    }
    socket.connect(remote).await
}

/// A link-local address means something on one interface only.
fn on(remote: SocketAddr, interface: &str) -> io::Result<SocketAddr> {
    let index = interfaces::index(interface)
        .ok_or_else(|| io::Error::other(format!("there is no interface {interface}")))?;
    Ok(match remote {
        SocketAddr::V6(a) => SocketAddrV6::new(*a.ip(), a.port(), 0, index).into(),
        SocketAddr::V4(_) => remote,
    })
}

/// A link-local source needs the interface that the peer's address names.
fn source(local: IpAddr, remote: SocketAddr) -> SocketAddr {
    match (local, remote) {
        (IpAddr::V6(local), SocketAddr::V6(remote)) if local.is_unicast_link_local() => {
            SocketAddrV6::new(local, 0, 0, remote.scope_id()).into()
        }
        _ => SocketAddr::new(local, 0),
    }
}

/// A connection of an earlier process, as this configuration wants it: the key and the way may have
/// changed meanwhile, as in a reload.
pub(crate) fn go_on(socket: &impl AsFd, at: &Remote, to: &Transport) -> io::Result<()> {
    let (way, remote) = (to.way(at), at.ip);
    sockopt::set_hops(socket, remote.is_ipv4(), way.ttl, way.least_ttl)?;
    if !way.ao.is_empty() {
        return tcp_ao::check(socket);
    }
    match sockopt::set_md5(socket, mainstay_prefix::Prefix::host(remote), way.key.as_ref()) {
        // There was none to take away, or the kernel knows of no keys.
        Err(_) if way.key.is_none() => Ok(()),
        done => done,
    }
}

async fn link(stream: &TcpStream, interfaces: &Interfaces) -> io::Result<Link> {
    Ok(reach(stream.local_addr()?, stream.peer_addr()?, interfaces).await)
}

/// A connection between these two.
pub(crate) async fn reach(local: SocketAddr, remote: SocketAddr, interfaces: &Interfaces) -> Link {
    let reach = interfaces.reach(local).await;
    Link {
        local,
        remote,
        ipv4: reach.ipv4,
        ipv6: reach.ipv6,
        ipv6_link_local: reach.ipv6_link_local,
        interface: reach.interface.and_then(interfaces::name),
        scope: reach.interface.unwrap_or(0),
    }
}

/// What operators know an error by, without its number.
pub(crate) fn words(error: &io::Error) -> String {
    let text = match error.kind() {
        io::ErrorKind::TimedOut => return "timed out".into(),
        // Ours, and no number of the kernel's.
        _ if error.get_ref().is_some() => return error.to_string(),
        _ => error.to_string(),
    };
    text.split_once(" (os error ").map_or(text.as_str(), |(words, _)| words).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockopt::Key;
    use keeper::os::tcp::measure;
    use std::io::{Read, Write};

    fn at(from: SocketAddr) -> Remote {
        Remote::new(from.ip(), None)
    }

    fn signed(key: &str) -> Transport {
        let key = Some(Key::new(key.as_bytes()).unwrap());
        Transport::to("127.0.0.1".parse().unwrap(), Way { key, ..Way::default() })
    }

    #[test]
    fn a_connection_goes_on_with_the_key_that_is_configured_now() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut ours = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, from) = listener.accept().unwrap();
        let none = Transport::default();
        go_on(&ours, &at(from), &none).unwrap();
        go_on(&ours, &at(from), &signed("new")).unwrap();
        ours.write_all(b"hello").unwrap();
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(measure(&ours).unwrap().unacked, 5, "the other side has no key yet");
        go_on(&theirs, &at(from), &signed("new")).unwrap();
        let mut heard = [0; 5];
        theirs.read_exact(&mut heard).unwrap();
        for end in [&ours, &theirs] {
            go_on(end, &at(from), &none).unwrap();
        }
        theirs.write_all(b"again").unwrap();
        ours.read_exact(&mut heard).unwrap();
    }
}
