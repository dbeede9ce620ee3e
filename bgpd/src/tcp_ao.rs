//! TCP-AO (RFC 5925) as Linux has it since 6.7, where it is built with CONFIG_TCP_AO.
//!
//! A connection is signed from its first packet on, or never: so one whose keys the kernel does not
//! take is not used at all.

use crate::sockopt::Key;
use mainstay_config as config;
use mainstay_prefix::Prefix;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

pub(crate) const MISSING: &str = "this kernel has no TCP-AO (CONFIG_TCP_AO)";

/// linux/tcp.h
const TCP_AO_ADD_KEY: libc::c_int = 38;
const TCP_AO_DEL_KEY: libc::c_int = 39;
const TCP_AO_INFO: libc::c_int = 40;
const MAX_KEY: usize = 80;
/// The first two bits of both requests; the third of a removal.
const SET_CURRENT: u32 = bit(0);
const SET_RNEXT: u32 = bit(1);
/// RFC 5926 §3.2: both algorithms leave 96 bits.
const MAC_LEN: u8 = 12;

/// Of C's bit fields, the first is the lowest on little-endian machines and the highest on others.
const fn bit(n: u32) -> u32 {
    if cfg!(target_endian = "little") { 1 << n } else { 1 << (31 - n) }
}

/// One of a peer's keys (RFC 5925 §3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AoKey {
    send_id: u8,
    receive_id: u8,
    algorithm: config::AoAlgorithm,
    key: Key,
}

impl AoKey {
    pub(crate) const fn new(of: &config::AoKey, key: Key) -> Self {
        let config::AoKey { send_id, receive_id, algorithm, .. } = of;
        Self { send_id: *send_id, receive_id: *receive_id, algorithm: *algorithm, key }
    }

    /// As the kernel's cryptography calls it.
    const fn algorithm(&self) -> &'static [u8] {
        match self.algorithm {
            config::AoAlgorithm::HmacSha1 => b"hmac(sha1)",
            config::AoAlgorithm::Aes128Cmac => b"cmac(aes128)",
        }
    }
}

/// `struct tcp_ao_add` of linux/tcp.h.
#[repr(C, align(8))]
struct Add {
    addr: [u8; 128],
    alg_name: [u8; 64],
    ifindex: i32,
    flags: u32,
    reserved: u16,
    prefix: u8,
    send_id: u8,
    receive_id: u8,
    mac_len: u8,
    key_flags: u8,
    key_len: u8,
    key: [u8; MAX_KEY],
}

/// `struct tcp_ao_del` of linux/tcp.h.
#[repr(C, align(8))]
struct Remove {
    addr: [u8; 128],
    ifindex: i32,
    flags: u32,
    reserved: u16,
    prefix: u8,
    send_id: u8,
    receive_id: u8,
    current_key: u8,
    rnext: u8,
    key_flags: u8,
}

/// `struct tcp_ao_info_opt` of linux/tcp.h.
#[repr(C, align(8))]
struct Info {
    flags: u32,
    reserved: u16,
    current_key: u8,
    rnext: u8,
    counters: [u64; 5],
}

/// Whether this kernel knows of it at all.
pub(crate) fn is_there() -> bool {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    socket.is_ok_and(|socket| !is_missing(info(&socket)))
}

fn is_missing(answer: io::Result<()>) -> bool {
    answer.is_err_and(|error| error.raw_os_error() == Some(libc::ENOPROTOOPT))
}

/// Signs a connection that is about to be opened, and demands that the peer does.
pub(crate) fn sign(socket: &impl AsFd, peer: IpAddr, keys: &[AoKey]) -> io::Result<()> {
    for (n, key) in keys.iter().enumerate() {
        let flags = if n == 0 { SET_CURRENT | SET_RNEXT } else { 0 };
        set(socket, TCP_AO_ADD_KEY, &add_request(Prefix::host(peer), key, flags)).map_err(named)?;
    }
    Ok(())
}

/// On a listening socket: who dials in from there has to sign.
pub(crate) fn expect(listener: &impl AsFd, peers: Prefix, key: &AoKey) -> io::Result<()> {
    set(listener, TCP_AO_ADD_KEY, &add_request(peers, key, 0)).map_err(named)
}

pub(crate) fn expect_no_more(listener: &impl AsFd, peers: Prefix, key: &AoKey) -> io::Result<()> {
    set(listener, TCP_AO_DEL_KEY, &remove_request(peers, key, None))
}

/// The keys `new` instead of `old` in a session that is up: new ones first, so that there is no moment
/// without one; the first of them signs from now on, and the peer is asked to use it too.
pub(crate) fn exchange(
    socket: &impl AsFd,
    peer: IpAddr,
    old: &[AoKey],
    new: &[AoKey],
) -> io::Result<()> {
    let host = Prefix::host(peer);
    for key in new.iter().filter(|key| !old.contains(key)) {
        // The same number with other octets.
        if let Some(was) = old.iter().find(|was| was.send_id == key.send_id) {
            set(socket, TCP_AO_DEL_KEY, &remove_request(host, was, None))?;
        }
        set(socket, TCP_AO_ADD_KEY, &add_request(host, key, 0)).map_err(named)?;
    }
    let Some(first) = new.first() else { return Ok(()) };
    let now = Info {
        flags: SET_CURRENT | SET_RNEXT,
        reserved: 0,
        current_key: first.send_id,
        rnext: first.receive_id,
        counters: [0; 5],
    };
    set(socket, TCP_AO_INFO, &now)?;
    let numbers = |key: &AoKey| (key.send_id, key.receive_id);
    for key in old.iter().filter(|old| !new.iter().any(|new| numbers(new) == numbers(old))) {
        set(socket, TCP_AO_DEL_KEY, &remove_request(host, key, Some(first)))?;
    }
    Ok(())
}

/// Whether a connection is signed: one that the kernel let in without is not to be used.
pub(crate) fn check(socket: &impl AsFd) -> io::Result<()> {
    info(socket).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => io::Error::other("it is not signed by TCP-AO"),
        _ => named(error),
    })
}

fn named(error: io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(libc::ENOPROTOOPT) => io::Error::other(MISSING),
        _ => error,
    }
}

#[allow(unsafe_code)]
fn set<T>(socket: &impl AsFd, option: libc::c_int, request: &T) -> io::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    // SAFETY: `request` is one of the structs above, laid out as the kernel's (their sizes are
    // tested), initialised throughout, and outlives the call; the kernel only reads it.
    let answer = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            option,
            std::ptr::from_ref(request).cast(),
            size,
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[allow(unsafe_code)]
fn info(socket: &impl AsFd) -> io::Result<()> {
    let mut info = Info { flags: 0, reserved: 0, current_key: 0, rnext: 0, counters: [0; 5] };
    let mut size = libc::socklen_t::try_from(size_of::<Info>()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes `size` octets at most into `info`, which any octets are good for; both
    // outlive the call.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            TCP_AO_INFO,
            (&raw mut info).cast(),
            &raw mut size,
        )
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn add_request(peers: Prefix, key: &AoKey, flags: u32) -> Add {
    let mut add = Add {
        addr: crate::sockopt::storage(peers.addr()),
        alg_name: [0; 64],
        ifindex: 0,
        flags,
        reserved: 0,
        prefix: peers.len(),
        send_id: key.send_id,
        receive_id: key.receive_id,
        mac_len: MAC_LEN,
        key_flags: 0,
        key_len: 0,
        key: [0; MAX_KEY],
    };
    for (to, from) in add.alg_name.iter_mut().zip(key.algorithm()) {
        *to = *from;
    }
    let octets = key.key.octets();
    add.key_len = u8::try_from(octets.len()).unwrap_or_default();
    for (to, from) in add.key.iter_mut().zip(octets) {
        *to = *from;
    }
    add
}

/// `next`: the key that is to be used instead.
fn remove_request(peers: Prefix, key: &AoKey, next: Option<&AoKey>) -> Remove {
    Remove {
        addr: crate::sockopt::storage(peers.addr()),
        ifindex: 0,
        flags: if next.is_some() { SET_CURRENT | SET_RNEXT } else { 0 },
        reserved: 0,
        prefix: peers.len(),
        send_id: key.send_id,
        receive_id: key.receive_id,
        current_key: next.map_or(0, |key| key.send_id),
        rnext: next.map_or(0, |key| key.receive_id),
        key_flags: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    fn key(algorithm: config::AoAlgorithm) -> AoKey {
        let of = config::AoKey { send_id: 7, receive_id: 9, file: "/k".into(), algorithm };
        AoKey::new(&of, Key::new(b"secret").unwrap())
    }

    #[test]
    fn requests_are_laid_out_as_the_kernel_reads_them() {
        assert_eq!((size_of::<Add>(), size_of::<Remove>(), size_of::<Info>()), (288, 144, 48));
        assert_eq!((offset_of!(Add, flags), offset_of!(Add, prefix)), (196, 202));
        assert_eq!((offset_of!(Add, mac_len), offset_of!(Add, key_len)), (205, 207));
        assert_eq!(offset_of!(Add, key), 208);
        assert_eq!((offset_of!(Remove, prefix), offset_of!(Remove, key_flags)), (138, 143));
        assert_eq!((offset_of!(Info, current_key), offset_of!(Info, counters)), (6, 8));
    }

    #[test]
    fn a_key_is_told_with_its_numbers_its_algorithm_and_whose_it_is() {
        let peers: Prefix = "192.0.2.0/24".parse().unwrap();
        let add = add_request(peers, &key(config::AoAlgorithm::Aes128Cmac), SET_CURRENT);
        assert_eq!(&add.addr[4..8], [192, 0, 2, 0]);
        assert_eq!(&add.alg_name[..13], b"cmac(aes128)\0");
        assert_eq!((add.prefix, add.send_id, add.receive_id, add.mac_len), (24, 7, 9, 12));
        assert_eq!((add.key_len, &add.key[..7]), (6, &b"secret\0"[..]));
        let remove = remove_request(peers, &key(config::AoAlgorithm::HmacSha1), None);
        assert_eq!((remove.flags, remove.send_id, remove.receive_id), (0, 7, 9));
    }

    /// Whichever kernel this is: the keys are taken, or the reason says what is missing.
    #[test]
    fn a_kernel_without_it_says_so() {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let key = key(config::AoAlgorithm::HmacSha1);
        let signed = sign(&socket.unwrap(), "192.0.2.1".parse().unwrap(), &[key]);
        assert_eq!(signed.map_err(|e| e.to_string()).err(), (!is_there()).then(|| MISSING.into()));
    }
}
