//! One caller's connection: a request and a reply, each as a 4-byte big-endian length and the
//! message.
//!
//! A plugin sends its request in one piece, mostly before we look, and has room for its reply: that
//! takes three system calls. Only of those who are slower does the runtime get to know.
//!
//! The third takes the request off the socket, once it is answered: done before, it would tell the
//! plugin, which sleeps until there is a reply, that there is room for a second request.

use mainstay_proto::ipam::v1::{CniReply, CniRequest};
use prost::Message;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use tokio::io::{AsyncReadExt, AsyncWriteExt, sink};
use tokio::net::UnixStream;

const MAX_FRAME: u32 = 1 << 20;
/// Longer than a request usually is.
const USUAL: usize = 2048;

pub(super) enum Caller {
    /// And how long its request was, which is still on the socket.
    Quick(OwnedFd, usize),
    /// Had to be waited for.
    Slow(UnixStream),
}

impl Caller {
    /// Nothing, if nothing was asked: somebody looked whether we are there.
    pub(super) async fn request(&mut self) -> io::Result<Option<CniRequest>> {
        let mut bytes = Vec::with_capacity(USUAL);
        self.peek(&mut bytes)?;
        if whole(&bytes)?.is_none() {
            bytes.clear();
            self.read(&mut bytes).await?;
        }
        match whole(&bytes)? {
            Some(message) => CniRequest::decode(message).map(Some).map_err(io::Error::other),
            None => ended(&bytes),
        }
    }

    /// That it is all is told by the stream's end, which comes with our drop.
    pub(super) async fn reply(&mut self, reply: &CniReply) -> io::Result<()> {
        let length = u32::try_from(reply.encoded_len()).map_err(io::Error::other)?;
        let mut frame = length.to_be_bytes().to_vec();
        reply.encode(&mut frame).map_err(io::Error::other)?;
        let mut sent = 0;
        if let Self::Quick(fd, _) = self {
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            sent = quick(send(fd, &frame, flags))?.unwrap_or(0);
        }
        match frame.get(sent..) {
            None | Some([]) => Ok(()),
            Some(rest) => self.slow()?.write_all(rest).await,
        }
    }

    /// Closed with bytes unread, the socket would give its other end a reset and no reply.
    pub(super) async fn drain(&mut self) -> io::Result<()> {
        let mut rest = self.slow()?.take(MAX_FRAME.into());
        tokio::io::copy(&mut rest, &mut sink()).await.map(drop)
    }

    /// What is there now, if it is all.
    fn peek(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        if let Self::Quick(fd, asked) = self {
            let flags = RecvFlags::DONTWAIT | RecvFlags::PEEK;
            quick(recv(&*fd, spare_capacity(bytes), flags))?;
            if whole(bytes)?.is_some() {
                *asked = bytes.len();
            }
        }
        Ok(())
    }

    /// All of it, or until the stream ends.
    async fn read(&mut self, bytes: &mut Vec<u8>) -> io::Result<()> {
        let stream = self.slow()?;
        while whole(bytes)?.is_none() {
            bytes.reserve(1);
            if stream.read_buf(bytes).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    fn slow(&mut self) -> io::Result<&mut UnixStream> {
        if let Self::Quick(fd, _) = self {
            let stream = std::os::unix::net::UnixStream::from(fd.try_clone()?);
            stream.set_nonblocking(true)?;
            *self = Self::Slow(UnixStream::from_std(stream)?);
        }
        match self {
            Self::Slow(stream) => Ok(stream),
            Self::Quick(..) => Err(io::ErrorKind::NotConnected.into()),
        }
    }
}

/// Left on the socket, the request would make of our close a reset.
impl Drop for Caller {
    fn drop(&mut self) {
        if let Self::Quick(fd, asked @ 1..) = self {
            let mut bytes = [MaybeUninit::<u8>::uninit(); USUAL];
            let asked = bytes.get_mut(..*asked).unwrap_or_default();
            let _ = recv(fd, asked, RecvFlags::DONTWAIT);
        }
    }
}

/// Nothing, where it would have had to wait.
fn quick<T>(result: Result<T, Errno>) -> io::Result<Option<T>> {
    match result {
        Err(Errno::AGAIN | Errno::INTR) => Ok(None),
        result => Ok(Some(result?)),
    }
}

/// The message, once it is all there.
fn whole(bytes: &[u8]) -> io::Result<Option<&[u8]>> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let length = u32::from_be_bytes(*length);
    if length > MAX_FRAME {
        return Err(io::Error::other(format!("{length} bytes; at most {MAX_FRAME}")));
    }
    Ok(rest.get(..length as usize))
}

fn ended(bytes: &[u8]) -> io::Result<Option<CniRequest>> {
    let Some((length, rest)) = bytes.split_first_chunk() else { return Ok(None) };
    let (read, length) = (rest.len(), u32::from_be_bytes(*length));
    Err(io::Error::other(format!("ends after {read} of {length} bytes")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_proto::ipam::v1::CniError;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream as Plugin;

    fn pair() -> (Plugin, Caller) {
        let (plugin, ours) = Plugin::pair().unwrap();
        (plugin, Caller::Quick(ours.into(), 0))
    }

    fn asked(network: &str) -> (CniRequest, Vec<u8>) {
        let request = CniRequest { network: network.into(), ..CniRequest::default() };
        let message = request.encode_to_vec();
        let frame = [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
        (request, frame)
    }

    fn reply() -> CniReply {
        let error = CniError { code: 11, msg: "later".into(), details: String::new() };
        CniReply { error: Some(error), addresses: Vec::new() }
    }

    /// A reset instead of the end would be an error here.
    fn read_to_its_end(mut plugin: Plugin) -> CniReply {
        let mut bytes = Vec::new();
        plugin.read_to_end(&mut bytes).unwrap();
        CniReply::decode(whole(&bytes).unwrap().unwrap()).unwrap()
    }

    #[tokio::test]
    async fn a_request_in_one_piece_is_read_without_waiting_and_its_reply_ends_the_stream() {
        let (mut plugin, mut caller) = pair();
        let (request, frame) = asked("pods");
        plugin.write_all(&frame).unwrap();
        assert_eq!(caller.request().await.unwrap(), Some(request));
        assert!(matches!(caller, Caller::Quick(..)), "the runtime need not know it");
        caller.reply(&reply()).await.unwrap();
        drop(caller);
        assert_eq!(read_to_its_end(plugin), reply());
    }

    #[tokio::test]
    async fn who_is_left_without_a_reply_sees_the_stream_end_and_no_reset() {
        let (mut plugin, mut caller) = pair();
        plugin.write_all(&asked("pods").1).unwrap();
        caller.request().await.unwrap();
        drop(caller);
        assert_eq!(plugin.read_to_end(&mut Vec::new()).unwrap(), 0);
    }

    #[tokio::test]
    async fn a_request_in_pieces_and_a_long_one_are_waited_for() {
        for network in ["pods".into(), "x".repeat(5 * USUAL)] {
            let (mut plugin, mut caller) = pair();
            let (request, frame) = asked(&network);
            let (first, rest) = frame.split_at(6);
            plugin.write_all(first).unwrap();
            let rest = rest.to_vec();
            let asking = tokio::spawn(async move {
                let request = caller.request().await.unwrap();
                caller.reply(&reply()).await.unwrap();
                request
            });
            tokio::task::yield_now().await;
            plugin.write_all(&rest).unwrap();
            assert_eq!(asking.await.unwrap(), Some(request));
            assert_eq!(read_to_its_end(plugin), reply());
        }
    }

    #[tokio::test]
    async fn a_stream_that_ends_early_is_told_from_one_that_asks_nothing() {
        let (plugin, mut caller) = pair();
        drop(plugin);
        assert_eq!(caller.request().await.unwrap(), None);
        let (mut plugin, mut caller) = pair();
        plugin.write_all(&[0, 0, 0, 9, 1, 2]).unwrap();
        drop(plugin);
        let error = caller.request().await.unwrap_err();
        assert_eq!(error.to_string(), "ends after 2 of 9 bytes");
    }

    #[tokio::test]
    async fn a_length_beyond_the_bound_is_refused_before_it_is_read() {
        let (mut plugin, mut caller) = pair();
        plugin.write_all(&[0xff; 64]).unwrap();
        let error = caller.request().await.unwrap_err();
        assert_eq!(error.to_string(), "4294967295 bytes; at most 1048576");
    }
}
