//! Where a stream stands. The kernel knows; the rings' positions are what a process last said
//! before it died, and may lag by what it did and could no longer say.

use crate::rings::Positions;
use std::time::Duration;

/// What the kernel says of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Kernel {
    /// Both directions open.
    pub established: bool,
    /// `tcpi_bytes_acked`
    pub acked: u64,
    /// `SIOCOUTQ`: accepted from us, not yet acknowledged.
    pub unacked: u64,
    /// `tcpi_bytes_received`
    pub received: u64,
    /// `SIOCINQ`: received, not yet read by us.
    pub unread: u64,
    /// `tcpi_last_data_recv`: how long ago the peer's last data came.
    pub idle: Duration,
}

impl Kernel {
    /// Bytes of the stream that were ever accepted for sending.
    #[must_use]
    pub const fn sent(&self, tx_skew: u64) -> Option<u64> {
        self.acked.saturating_add(self.unacked).checked_sub(tx_skew)
    }

    /// Bytes of the stream that the peer's kernel has.
    #[must_use]
    pub const fn delivered(&self, tx_skew: u64) -> u64 {
        self.acked.saturating_sub(tx_skew)
    }

    /// Bytes of the peer's stream that were ever read.
    #[must_use]
    pub const fn read(&self) -> Option<u64> {
        self.received.checked_sub(self.unread)
    }
}

/// Where both directions go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resume {
    /// The next byte to send; from here to `tx_appended` lies in the TX ring.
    pub sent: u64,
    /// The next byte to read from the socket; from `rx_applied` to here lies in the RX ring.
    pub read: u64,
}

/// Ring and kernel contradict each other: the session falls back to graceful restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Desync {
    #[error("the connection is closed")]
    Closed,
    #[error("the positions in the ring contradict each other")]
    Positions,
    #[error("{ring} bytes were said to be sent, the kernel knows of {kernel}")]
    SentLess { ring: u64, kernel: u64 },
    #[error("the kernel has sent {kernel} bytes, only {ring} were ever appended")]
    SentMore { ring: u64, kernel: u64 },
    #[error("{ring} bytes were said to be read, the kernel knows of {kernel}")]
    ReadLess { ring: u64, kernel: u64 },
    #[error("the kernel has given {kernel} bytes, the ring has room up to {ring}")]
    ReadMore { ring: u64, kernel: u64 },
    #[error(transparent)]
    Stream(#[from] crate::walk::NoMessage),
}

/// The arithmetic alone; [`crate::rings::Rings::resume`] looks at the messages too.
pub fn resume(kernel: &Kernel, at: &Positions) -> Result<Resume, Desync> {
    if !kernel.established {
        return Err(Desync::Closed);
    }
    if !at.sound() {
        return Err(Desync::Positions);
    }
    let sent = kernel.sent(at.tx_skew).ok_or(Desync::Positions)?;
    let read = kernel.read().ok_or(Desync::Positions)?;
    let said = at.tx_handed.max(at.tx_boundary);
    let room = at.rx_applied + at.rx_len;
    match () {
        () if sent < said => Err(Desync::SentLess { ring: said, kernel: sent }),
        () if sent > at.tx_appended => Err(Desync::SentMore { ring: at.tx_appended, kernel: sent }),
        () if read < at.rx_read => Err(Desync::ReadLess { ring: at.rx_read, kernel: read }),
        () if read > room => Err(Desync::ReadMore { ring: room, kernel: read }),
        () => Ok(Resume { sent, read }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring() -> Positions {
        Positions {
            tx_len: 1000,
            tx_skew: 1,
            tx_boundary: 5000,
            tx_handed: 5010,
            tx_appended: 5500,
            rx_len: 1000,
            rx_applied: 7000,
            rx_read: 7100,
            ..Positions::default()
        }
    }

    fn kernel(sent: u64, read: u64) -> Kernel {
        let (unacked, unread) = (300, 77);
        let acked = sent + 1 - unacked;
        let received = read + unread;
        Kernel { established: true, acked, unacked, received, unread, idle: Duration::ZERO }
    }

    #[test]
    fn the_kernel_decides_where_to_go_on() {
        for (sent, read) in [(5010, 7100), (5011, 7101), (5500, 8000)] {
            assert_eq!(resume(&kernel(sent, read), &ring()), Ok(Resume { sent, read }));
        }
    }

    #[test]
    fn every_contradiction_has_its_name() {
        let told = |sent, read| resume(&kernel(sent, read), &ring());
        assert_eq!(told(5009, 7100), Err(Desync::SentLess { ring: 5010, kernel: 5009 }));
        assert_eq!(told(5501, 7100), Err(Desync::SentMore { ring: 5500, kernel: 5501 }));
        assert_eq!(told(5010, 7099), Err(Desync::ReadLess { ring: 7100, kernel: 7099 }));
        assert_eq!(told(5010, 8001), Err(Desync::ReadMore { ring: 8000, kernel: 8001 }));
        let closed = Kernel { established: false, ..kernel(5010, 7100) };
        assert_eq!(resume(&closed, &ring()), Err(Desync::Closed));
        for broken in [
            Positions { tx_appended: 6001, ..ring() },
            Positions { tx_boundary: 5501, ..ring() },
            Positions { rx_applied: 7101, ..ring() },
            Positions { rx_applied: u64::MAX, rx_read: u64::MAX, ..ring() },
        ] {
            assert_eq!(resume(&kernel(5010, 7100), &broken), Err(Desync::Positions));
        }
        let nothing = Kernel { established: true, ..Kernel::default() };
        assert_eq!(resume(&nothing, &ring()), Err(Desync::Positions));
    }
}
