//! What the kernel counts of a TCP connection.

#![allow(unsafe_code)]

use crate::resume::Kernel;
use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_linger, set_socket_oobinline, socket_domain, socket_protocol, socket_type,
};
use rustix::net::{AddressFamily, SocketType, ipproto};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::Duration;

/// `struct tcp_info` of linux/tcp.h, whose fields never move; glibc's ends before those we need.
const INFO_LEN: usize = 256;
const LAST_DATA_RECV: usize = 52;
const BYTES_ACKED: usize = 120;
const BYTES_RECEIVED: usize = 128;
const ESTABLISHED: u8 = 1;
/// A connection on which packets come and go is still between two calls soon enough.
const TRIES: u32 = 1000;

struct Info([u8; INFO_LEN]);

impl Info {
    fn u64(&self, at: usize) -> u64 {
        self.0[at..].first_chunk().map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }

    fn idle(&self) -> Duration {
        let ms = self.0[LAST_DATA_RECV..].first_chunk().map_or(0, |b| u32::from_ne_bytes(*b));
        Duration::from_millis(ms.into())
    }
}

/// Counters that belong together: none moved while the others were read.
pub fn measure(fd: impl AsFd) -> io::Result<Kernel> {
    let fd = fd.as_fd();
    for _ in 0..TRIES {
        let before = info(fd)?;
        let unacked = unacknowledged(fd)?;
        let unread = rustix::io::ioctl_fionread(fd)?;
        let after = info(fd)?;
        let steady = |at| before.u64(at) == after.u64(at);
        if steady(BYTES_ACKED) && steady(BYTES_RECEIVED) {
            return Ok(Kernel {
                established: after.0[0] == ESTABLISHED,
                acked: after.u64(BYTES_ACKED),
                unacked,
                received: after.u64(BYTES_RECEIVED),
                unread,
                idle: after.idle(),
            });
        }
    }
    Err(io::Error::other("the counters do not stand still"))
}

/// Whether the descriptor is a TCP socket.
pub fn check(fd: impl AsFd) -> io::Result<()> {
    let fd = fd.as_fd();
    let inet = matches!(socket_domain(fd)?, AddressFamily::INET | AddressFamily::INET6);
    let tcp = socket_protocol(fd)? == Some(ipproto::TCP) && socket_type(fd)? == SocketType::STREAM;
    if inet && tcp { Ok(()) } else { Err(io::Error::other("not a TCP socket")) }
}

/// Without this a peer's urgent byte would be counted but never read.
pub fn prepare(fd: impl AsFd) -> io::Result<()> {
    Ok(set_socket_oobinline(fd, true)?)
}

/// The next close resets the connection: what is unsent is dropped, and the peer hears at once.
pub fn reset_on_close(fd: impl AsFd) -> io::Result<()> {
    Ok(set_socket_linger(fd, Some(Duration::ZERO))?)
}

fn info(fd: BorrowedFd<'_>) -> io::Result<Info> {
    let mut bytes = [0; INFO_LEN];
    let mut len = libc::socklen_t::try_from(INFO_LEN).unwrap_or(0);
    // SAFETY: the kernel writes at most `len` bytes to where they are.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            bytes.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    // Older kernels count neither bytes acknowledged nor received (Linux 4.2 does).
    let told = usize::try_from(len).unwrap_or(0) >= BYTES_RECEIVED + 8;
    told.then_some(Info(bytes)).ok_or_else(|| Errno::NOSYS.into())
}

/// `SIOCOUTQ`
fn unacknowledged(fd: BorrowedFd<'_>) -> io::Result<u64> {
    let mut n: libc::c_int = 0;
    // SAFETY: this request writes one int.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut n) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::try_from(n).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn the_kernels_counts_are_the_streams_at_both_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut dialled = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut accepted, _) = listener.accept().unwrap();
        let skews = [measure(&dialled).unwrap().sent(0), measure(&accepted).unwrap().sent(0)];
        assert_eq!(skews, [Some(1), Some(0)], "the SYN of the side that dialled is counted");
        dialled.write_all(&[1; 1000]).unwrap();
        let mut some = [0; 300];
        accepted.read_exact(&mut some).unwrap();
        let (tx, rx) = (measure(&dialled).unwrap(), measure(&accepted).unwrap());
        assert_eq!((tx.sent(1), rx.read(), rx.unread), (Some(1000), Some(300), 700));
        assert!(tx.established && rx.established);
        drop(accepted);
        std::thread::sleep(Duration::from_millis(20));
        assert!(!measure(&dialled).unwrap().established);
    }

    #[test]
    fn only_tcp_sockets_pass() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        check(&listener).unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(check(&udp).is_err());
        assert!(check(std::fs::File::open("/dev/null").unwrap()).is_err());
    }
}
