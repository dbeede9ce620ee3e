//! Threads that listen to what the kernel announces.

use super::{Health, Moment};
use crate::netlink::socket::{self, NetlinkError};
use crate::netlink::wire::{self, Malformed, Message};
use netlink_sys::Socket;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One announcement is one datagram of at most this; larger ones do not occur.
const BUFFER: usize = 64 * 1024;
/// How long a socket that failed is left alone.
const PAUSE: Duration = Duration::from_secs(10);

/// What to listen to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) protocol: isize,
    pub(crate) groups: &'static [u32],
    /// Bytes of events the kernel keeps for a late reader.
    pub(crate) buffer: usize,
    /// NETLINK_BROADCAST_ERROR: whoever announces learns that we had no room.
    pub(crate) reliable: bool,
}

/// A thread that hands each message it hears to its handler.
#[derive(Debug)]
pub(crate) struct Feed {
    spec: Spec,
    turns: AtomicU64,
    busy: AtomicBool,
    overruns: AtomicU64,
    malformed: AtomicU64,
    reliable: AtomicBool,
    link: Mutex<Link>,
}

#[derive(Debug)]
struct Link {
    socket: Option<Arc<Socket>>,
    error: String,
    heard: Option<Moment>,
}

impl Feed {
    /// Subscribed when this returns, unless its health says otherwise; then it is tried again.
    pub(crate) fn start(
        spec: Spec,
        handle: impl Fn(&Message<'_>) -> Result<(), Malformed> + Send + 'static,
    ) -> io::Result<Arc<Self>> {
        let feed = Arc::new(Self {
            spec,
            turns: AtomicU64::new(0),
            busy: AtomicBool::new(false),
            overruns: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            reliable: AtomicBool::new(spec.reliable),
            link: Mutex::new(Link { socket: None, error: String::new(), heard: None }),
        });
        feed.connect();
        let thread = Arc::clone(&feed);
        std::thread::Builder::new()
            .name(spec.name.to_owned())
            .spawn(move || thread.run(&handle))?;
        Ok(feed)
    }

    /// A subscription that stands is up, however long the kernel has had nothing to announce.
    pub(crate) fn health(&self) -> Health {
        let link = self.link();
        let last_success = if link.socket.is_some() { Some(Moment::now()) } else { link.heard };
        Health { name: self.spec.name, error: link.error.clone(), last_success }
    }

    pub(crate) fn overruns(&self) -> u64 {
        self.overruns.load(Ordering::Relaxed)
    }

    pub(crate) fn malformed(&self) -> u64 {
        self.malformed.load(Ordering::Relaxed)
    }

    /// How often the reader has come back from the kernel, and whether it is away from it.
    pub(crate) fn progress(&self) -> (u64, bool) {
        (self.turns.load(Ordering::Relaxed), self.busy.load(Ordering::Relaxed))
    }

    pub(crate) fn reliable(&self) -> bool {
        self.reliable.load(Ordering::Relaxed)
    }

    /// Takes effect at once, whatever the reader does.
    pub(crate) fn set_reliable(&self, reliable: bool) -> io::Result<()> {
        self.reliable.store(reliable, Ordering::Relaxed);
        match &self.link().socket {
            Some(socket) => socket.set_broadcast_error(reliable),
            None => Ok(()), // the next connection sees the flag
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, handle: &dyn Fn(&Message<'_>) -> Result<(), Malformed>) {
        loop {
            let socket = self.link().socket.clone().or_else(|| self.connect());
            if let Some(socket) = socket {
                let error = self.read(&socket, handle);
                self.disconnect(&error.to_string());
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn connect(&self) -> Option<Arc<Socket>> {
        let open = || {
            let socket = socket::listen(self.spec.protocol, self.spec.groups, self.spec.buffer)?;
            socket.set_broadcast_error(self.reliable()).map_err(NetlinkError::Open)?;
            Ok::<_, NetlinkError>(Arc::new(socket))
        };
        match open() {
            Ok(socket) => {
                let mut link = self.link();
                link.error.clear();
                link.socket = Some(Arc::clone(&socket));
                Some(socket)
            }
            Err(error) => {
                self.disconnect(&mainstay_daemon::chain(&error));
                None
            }
        }
    }

    fn disconnect(&self, error: &str) {
        let mut link = self.link();
        if link.socket.take().is_some() {
            link.heard = Some(Moment::now());
        }
        if link.error != error {
            tracing::warn!(source = self.spec.name, error, "cannot listen to the kernel");
            error.clone_into(&mut link.error);
        }
    }

    /// Until the socket fails. Nothing in here waits for anything but the kernel.
    fn read(
        &self,
        socket: &Socket,
        handle: &dyn Fn(&Message<'_>) -> Result<(), Malformed>,
    ) -> io::Error {
        let mut buffer = Vec::with_capacity(BUFFER);
        loop {
            buffer.clear();
            self.busy.store(false, Ordering::Relaxed);
            let received = socket.recv(&mut buffer, 0);
            self.busy.store(true, Ordering::Relaxed);
            self.turns.fetch_add(1, Ordering::Relaxed);
            match received {
                Ok(_) => self.handle(&buffer, handle),
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.overruns.fetch_add(1, Ordering::Relaxed);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return e,
            }
        }
    }

    fn handle(&self, datagram: &[u8], handle: &dyn Fn(&Message<'_>) -> Result<(), Malformed>) {
        for message in wire::messages(datagram) {
            let Err(error) = message.and_then(|m| handle(&m)) else { continue };
            if self.malformed.fetch_add(1, Ordering::Relaxed) == 0 {
                let source = self.spec.name;
                tracing::warn!(source, %error, "cannot read an event (told once, counted always)");
            }
        }
    }
}
