//! TCP: listeners, dialling, and one reading and one writing task a connection.
//!
//! The tasks own no state of BGP. They tell the loop what happened ([`Input`], through a bounded
//! channel: who sends faster than we work has to wait), and write what they are given.

use crate::kernel::interfaces::{self, Interfaces};
use crate::plan::Way;
use crate::sockopt;
use bgp_core::event::Link;
use bgp_core::types::ConnId;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::{Arc, Weak};
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{sleep, timeout};

/// What is read or written at once.
pub(crate) const CHUNK: usize = 64 * 1024;
/// Connections that have come in and not said a word yet; more are turned away.
const SILENT: usize = 256;
const BACKLOG: u32 = 1024;
const DIAL: Duration = Duration::from_secs(10);
/// How long a last message may take to leave.
const LINGER: Duration = Duration::from_secs(1);

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
    Received {
        conn: ConnId,
        bytes: Vec<u8>,
    },
    /// The buffer given to [`Conn::send`] has been taken by the kernel: here it is, for the next.
    Sent {
        conn: ConnId,
        buffer: Vec<u8>,
    },
    Closed {
        conn: ConnId,
        why: String,
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
    let remote = match &dial.way.interface {
        Some(interface) => on(dial.remote, interface)?,
        None => dial.remote,
    };
    let socket = new_socket(ip)?;
    if let Some(ttl) = dial.way.ttl {
        sockopt::set_ttl(&socket, ip.is_ipv4(), ttl)?;
    }
    if let Some(key) = &dial.way.key {
        sockopt::set_md5(&socket, mainstay_prefix::Prefix::host(ip), Some(key))?;
    }
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

async fn link(stream: &TcpStream, interfaces: &Interfaces) -> io::Result<Link> {
    let (local, remote) = (stream.local_addr()?, stream.peer_addr()?);
    let reach = interfaces.reach(local).await;
    Ok(Link {
        local,
        remote,
        ipv4: reach.ipv4,
        ipv6: reach.ipv6,
        ipv6_link_local: reach.ipv6_link_local,
    })
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: Arc<TcpStream>,
    remote: IpAddr,
    reader: AbortHandle,
    writer: JoinHandle<()>,
    outbox: mpsc::Sender<Vec<u8>>,
    /// Ours while the writer has nothing to do.
    buffer: Option<Vec<u8>>,
    silent: Option<OwnedSemaphorePermit>,
}

impl Conn {
    /// Starts to read.
    #[must_use]
    pub(crate) fn start(
        conn: ConnId,
        stream: TcpStream,
        remote: IpAddr,
        silent: Option<OwnedSemaphorePermit>,
        to: mpsc::Sender<Input>,
    ) -> Self {
        let stream = Arc::new(stream);
        let (outbox, given) = mpsc::channel(2);
        let reader = tokio::spawn(read(conn, Arc::clone(&stream), to.clone())).abort_handle();
        let writer = tokio::spawn(write(conn, Arc::clone(&stream), given, to));
        Self { stream, remote, reader, writer, outbox, buffer: Some(Vec::new()), silent }
    }

    #[must_use]
    pub(crate) const fn remote(&self) -> IpAddr {
        self.remote
    }

    #[must_use]
    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// It has said something: it no longer counts as silent.
    pub(crate) fn heard(&mut self) {
        self.silent = None;
    }

    /// Somebody dialled in and has not said a word yet.
    #[must_use]
    pub(crate) const fn is_silent(&self) -> bool {
        self.silent.is_some()
    }

    /// An empty buffer to fill and [`Self::send`]; `None` while the last one is being written.
    pub(crate) fn buffer(&mut self) -> Option<Vec<u8>> {
        let mut buffer = self.buffer.take()?;
        buffer.clear();
        Some(buffer)
    }

    /// Hands `bytes` to the writer; an empty buffer is kept for the next time.
    pub(crate) fn send(&mut self, bytes: Vec<u8>) {
        if bytes.is_empty() {
            self.buffer = Some(bytes);
        } else {
            // There is room: one at a time is under way.
            let _ = self.outbox.try_send(bytes);
        }
    }

    /// The writer is done with `buffer`.
    pub(crate) fn sent(&mut self, buffer: Vec<u8>) {
        self.buffer = Some(buffer);
    }

    /// It is over already: nothing more is read or written.
    pub(crate) fn abandon(self) {
        self.reader.abort();
        self.writer.abort();
    }

    /// Writes what is under way and then `last`, and closes, within a second.
    ///
    /// What the peer still sends is read and thrown away until it closes as well: closing over
    /// unread bytes would send an RST, which may overtake our last message.
    pub(crate) fn finish(self, last: Vec<u8>) -> JoinHandle<()> {
        self.reader.abort();
        let Self { stream, mut writer, outbox, .. } = self;
        if !last.is_empty() {
            let _ = outbox.try_send(last);
        }
        drop(outbox);
        tokio::spawn(async move {
            let leave = async {
                let _ = (&mut writer).await;
                let _ = rustix::net::shutdown(&*stream, rustix::net::Shutdown::Write);
                drain(&stream).await;
            };
            if timeout(LINGER, leave).await.is_err() {
                writer.abort();
            }
        })
    }
}

async fn read(conn: ConnId, stream: Arc<TcpStream>, to: mpsc::Sender<Input>) {
    let why = loop {
        if let Err(error) = stream.readable().await {
            break words(&error);
        }
        // Made only now: a thousand idle peers hold no buffers.
        let mut bytes = Vec::with_capacity(CHUNK);
        match stream.try_read_buf(&mut bytes) {
            Ok(0) => break "closed by the peer".to_owned(),
            Ok(_) => {
                if to.send(Input::Received { conn, bytes }).await.is_err() {
                    return;
                }
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => break words(&e),
        }
    };
    let _ = to.send(Input::Closed { conn, why }).await;
}

/// What operators know an error by, without its number.
pub(crate) fn words(error: &io::Error) -> String {
    let text = match error.kind() {
        io::ErrorKind::TimedOut => return "timed out".into(),
        _ => error.to_string(),
    };
    text.split_once(" (os error ").map_or(text.as_str(), |(words, _)| words).to_lowercase()
}

async fn write(
    conn: ConnId,
    stream: Arc<TcpStream>,
    mut given: mpsc::Receiver<Vec<u8>>,
    to: mpsc::Sender<Input>,
) {
    while let Some(buffer) = given.recv().await {
        // The reader tells why, after what the peer may have said before it closed.
        if write_all(&stream, &buffer).await.is_err() {
            return;
        }
        // A loop that is gone takes no buffer, but it may have left last words.
        if !given.is_closed() {
            let _ = to.send(Input::Sent { conn, buffer }).await;
        }
    }
}

async fn write_all(stream: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        stream.writable().await?;
        match stream.try_write(bytes) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

async fn drain(stream: &TcpStream) {
    let mut waste = vec![0; CHUNK];
    while stream.readable().await.is_ok() {
        match stream.try_read(&mut waste) {
            Ok(0) => return,
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn last_words_are_sent_also_when_the_loop_ends_while_it_is_told_of_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, remote) = listener.accept().await.unwrap();
        let (to, inputs) = mpsc::channel(1);
        to.try_send(Input::Closed { conn: ConnId(9), why: String::new() }).unwrap();
        let mut conn = Conn::start(ConnId(1), stream, remote.ip(), None, to);
        conn.buffer().unwrap();
        conn.send(b"one ".into());
        let mut first = [0; 4];
        peer.read_exact(&mut first).await.unwrap();
        drop(inputs);
        let leaving = conn.finish(b"two".into());
        let mut rest = Vec::new();
        peer.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"two");
        drop(peer);
        leaving.await.unwrap();
    }
}
