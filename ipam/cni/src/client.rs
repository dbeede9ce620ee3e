//! The call to `mainstay-ipamd`: one message each way on a unix socket, each as a 4-byte big-endian
//! length and the message. It is bounded in time, whatever the daemon does, and in size.
//!
//! A daemon that restarts must not fail a pod, and every request can be asked twice: an identical
//! ADD gets the same addresses, DEL and GC find nothing left to do. So as long as time is left, a
//! missing socket, a refused connection or a connection that breaks is tried again.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use mainstay_proto::ipam::v1::{CniReply, CniRequest};
use prost::Message;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

/// The longest message either side sends.
pub const MAX_FRAME: usize = 1 << 20;

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It may be there later.
    #[error("no answer within {waited:?}")]
    NoAnswer { waited: Duration, source: io::Error },
    /// Asking again would not help.
    #[error("cannot ask")]
    Broken { source: io::Error },
    #[error("the request has {0} bytes, more than {MAX_FRAME}")]
    RequestTooLong(usize),
}

/// Sends the request to the daemon behind `socket` and waits for its reply, for `wait` at most.
pub fn ask(socket: &Path, wait: Duration, request: &CniRequest) -> Result<CniReply, AskError> {
    let frame = frame(request)?;
    let deadline = Instant::now() + wait;
    let mut pause = FIRST_PAUSE;
    loop {
        let cause = match attempt(socket, deadline, &frame) {
            Ok(reply) => return Ok(reply),
            Err(source) if is_passing(&source) => source,
            Err(source) => return Err(AskError::Broken { source }),
        };
        // No attempt without time for it: it could only hide this cause behind a timeout.
        if deadline.saturating_duration_since(Instant::now()) <= pause {
            return Err(AskError::NoAnswer { waited: wait, source: cause });
        }
        sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn frame(request: &CniRequest) -> Result<Vec<u8>, AskError> {
    let length = request.encoded_len();
    match u32::try_from(length) {
        Ok(prefix) if length <= MAX_FRAME => {
            let mut frame = prefix.to_be_bytes().to_vec();
            frame.extend(request.encode_to_vec());
            Ok(frame)
        }
        _ => Err(AskError::RequestTooLong(length)),
    }
}

/// What a daemon that is away, starting, stopping or busy looks like.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::ConnectionRefused
            | ErrorKind::ConnectionReset
            | ErrorKind::BrokenPipe
            | ErrorKind::UnexpectedEof
            | ErrorKind::WouldBlock
            | ErrorKind::TimedOut
    )
}

fn attempt(socket: &Path, deadline: Instant, frame: &[u8]) -> io::Result<CniReply> {
    let mut bounded = Bounded { stream: open(socket, deadline)?, deadline };
    bounded.write_all(frame)?;
    let mut prefix = [0; 4];
    bounded.read_exact(&mut prefix)?;
    let length = u32::from_be_bytes(prefix) as usize;
    if length > MAX_FRAME {
        let why = format!("a reply of {length} bytes, more than {MAX_FRAME}");
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    let mut reply = vec![0; length];
    bounded.read_exact(&mut reply)?;
    CniReply::decode(reply.as_slice()).map_err(|e| {
        io::Error::new(ErrorKind::InvalidData, format!("a reply that is no reply: {e}"))
    })
}

/// Connects. A daemon that does not accept lets its backlog run full, and connect(2) then waits for
/// as long as the send timeout says; std has no way to set that before the connection exists.
fn open(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    set_socket_timeout(&socket, Timeout::Send, Some(left(deadline)?))?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(UnixStream::from(socket))
}

/// The time left, or the error of having none. A timeout of zero would mean "for ever".
fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(left.max(Duration::from_millis(1))),
    }
}

/// A stream whose every read and write ends at the deadline: a peer that sends a byte now and then
/// cannot hold us.
struct Bounded {
    stream: UnixStream,
    deadline: Instant,
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
