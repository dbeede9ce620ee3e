//! A look into namespaces from within.

use crate::netlink::Route;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::path::Path;

/// Goes from namespace to namespace, on a thread of its own.
pub struct Visitor {
    home: File,
    /// Asks at home, wherever the thread is.
    at_home: Route,
}

/// Runs `look` on a thread that ends in another namespace than it began in, and waits for it.
pub fn visit<T: Send + 'static>(
    look: impl FnOnce(&Visitor) -> T + Send + 'static,
) -> io::Result<T> {
    let begin = move || {
        let at_home = Route::open()?;
        at_home.name_other_ends()?;
        let home = File::open("/proc/thread-self/ns/net")?;
        Ok(look(&Visitor { home, at_home }))
    };
    let thread = std::thread::Builder::new().name("visitor".into()).spawn(begin)?;
    thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread has panicked")))
}

impl Visitor {
    /// The addresses that are configured there.
    pub fn addresses(&self, path: &Path) -> io::Result<Vec<IpAddr>> {
        enter(&File::open(path)?)?;
        Route::open()?.addresses()
    }

    /// The addresses of a namespace that a link joins with this host's; none of another. Hosts that
    /// share this machine's file system have namespaces beside ours.
    pub fn addresses_if_joined(&self, path: &Path) -> io::Result<Vec<IpAddr>> {
        let namespace = File::open(path)?;
        let leads_there = self.at_home.numbers(&namespace)?;
        enter(&namespace)?;
        let there = Route::open()?;
        if leads_there || leads(&there, &self.home)? { there.addresses() } else { Ok(Vec::new()) }
    }
}

/// A macvlan or ipvlan knows the link below it; that one, at home, knows nothing of it.
fn leads(there: &Route, home: &File) -> io::Result<bool> {
    there.name_other_ends()?;
    there.numbers(home)
}

fn enter(namespace: &File) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}
