//! The last words of a connection.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long they may take.
const LINGER: Duration = Duration::from_secs(1);
const CHUNK: usize = 64 * 1024;

/// Sends `last` and closes, within a second.
///
/// What the peer still sends is read and thrown away until it closes as well: closing over unread
/// bytes would send an RST, which may overtake our last message.
pub(crate) fn leave(socket: OwnedFd, last: Vec<u8>) -> io::Result<JoinHandle<()>> {
    let stream = TcpStream::from_std(socket.into())?;
    Ok(tokio::spawn(async move {
        let leave = async {
            if write_all(&stream, &last).await.is_ok() {
                let _ = rustix::net::shutdown(&stream, rustix::net::Shutdown::Write);
                drain(&stream).await;
            }
        };
        let _ = timeout(LINGER, leave).await;
    }))
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
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn last_words_arrive_also_over_what_nobody_reads_any_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        peer.try_write(b"unread").unwrap();
        stream.readable().await.unwrap();
        let leaving = leave(stream.into_std().unwrap().into(), b"goodbye".into()).unwrap();
        let mut said = Vec::new();
        peer.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, b"goodbye");
        drop(peer);
        leaving.await.unwrap();
    }
}
