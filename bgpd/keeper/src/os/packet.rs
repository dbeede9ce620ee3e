//! Packets with descriptors over a unix socket; no call waits.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;

/// More come with no packet.
const MAX_FDS: usize = 2;

#[derive(Debug)]
pub struct Packet {
    pub bytes: Vec<u8>,
    pub fds: Vec<OwnedFd>,
    /// Descriptors came that could not be taken: this process may have no more open.
    pub cut: bool,
}

/// `WouldBlock` when there is no room.
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let attached = match fds.len() {
        0 => true,
        1..=MAX_FDS => control.push(SendAncillaryMessage::ScmRights(fds)),
        _ => false,
    };
    if !attached {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags).map_err(|errno| match errno {
        // Too many descriptors are on their way: they are fewer soon.
        rustix::io::Errno::TOOMANYREFS => io::ErrorKind::WouldBlock.into(),
        other => io::Error::from(other),
    })?;
    Ok(())
}

/// `None` at the end; `WouldBlock` when nothing is there. A packet that is longer than `max` comes
/// as an error, and is gone.
pub fn receive(socket: impl AsFd, max: usize) -> io::Result<Option<Packet>> {
    let mut bytes = vec![0; max];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let got = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, flags)?;
    let fds = control
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        })
        .flatten()
        .collect();
    if got.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the packet is too long"));
    }
    bytes.truncate(got.bytes);
    let cut = got.flags.contains(ReturnFlags::CTRUNC);
    Ok((got.bytes > 0).then_some(Packet { bytes, fds, cut }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn bytes_and_descriptors_arrive_together_and_too_many_are_refused() {
        let (a, b) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .unwrap();
        send(&a, b"hello", &[a.as_fd(), b.as_fd()]).unwrap();
        let packet = receive(&b, 16).unwrap().unwrap();
        assert_eq!((packet.bytes.as_slice(), packet.fds.len()), (b"hello".as_slice(), 2));
        assert_eq!(receive(&b, 16).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        send(&a, &[7; 17], &[]).unwrap();
        assert_eq!(receive(&b, 16).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(send(&a, b"x", &[a.as_fd(); 3]).is_err());
        drop(packet);
        drop(a);
        assert!(receive(&b, 16).unwrap().is_none());
    }
}
