//! Who lives of those that a runtime's GC leaves out: a route of the host leads to it, or its network
//! namespace still has its address.

use super::evidence;
use ipam_core::{Alive, Leased, Seen};
use mainstay_netns::{Place, Visitor, place, visit};
use rtnetlink::Handle;
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// Each of them, with what shows it alive.
pub(crate) async fn alive(handle: &Handle, leases: Vec<Leased>) -> Vec<(Leased, Option<Alive>)> {
    if leases.is_empty() {
        return Vec::new();
    }
    // File systems may be slow, and ADDs are served on this thread.
    let looked = tokio::task::spawn_blocking(move || look_inside(leases)).await;
    let mut judged = Vec::new();
    for (lease, inside) in looked.unwrap_or_default() {
        let alive = match evidence::route(handle, &lease).await {
            Seen::There => Some(Alive::Routed),
            Seen::Gone => inside,
            Seen::Unknown => inside.or(Some(Alive::Untold)),
        };
        judged.push((lease, alive));
    }
    judged
}

fn look_inside(leases: Vec<Leased>) -> Vec<(Leased, Option<Alive>)> {
    let asked = leases.clone();
    let look = move |visitor: &Visitor| {
        let look = |lease| inside(lease, |path| visitor.addresses(path));
        asked.iter().map(look).collect::<Vec<_>>()
    };
    match visit(look) {
        Ok(signs) => leases.into_iter().zip(signs).collect(),
        Err(error) => {
            tracing::warn!(%error, "cannot look into network namespaces");
            let closed = |lease: &Leased| inside(lease, |_| Err(io::ErrorKind::Other.into()));
            let signs: Vec<_> = leases.iter().map(closed).collect();
            leases.into_iter().zip(signs).collect()
        }
    }
}

fn inside(lease: &Leased, addresses: impl Fn(&Path) -> io::Result<Vec<IpAddr>>) -> Option<Alive> {
    let path = Path::new(&lease.netns);
    if place(path) != Place::There {
        return None;
    }
    match addresses(path) {
        Ok(has) => has.iter().any(|a| lease.addresses.contains(a)).then_some(Alive::Configured),
        // It may have gone just now.
        Err(_) if place(path) != Place::There => None,
        Err(_) => Some(Alive::Closed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_sign_of_life_with_its_address_or_closed() {
        let lease = |netns: &str| Leased {
            attachment: ipam_core::Attachment::default(),
            netns: netns.into(),
            addresses: vec![[10, 0, 0, 2].into(), [10, 0, 0, 3].into()],
            seq: 1,
        };
        let has = |last: u8| move |_: &Path| Ok(vec![IpAddr::from([10, 0, 0, last])]);
        let there = lease("/proc/self/ns/net");
        assert_eq!(inside(&there, has(3)), Some(Alive::Configured));
        assert_eq!(inside(&there, has(4)), None, "it was taken down inside");
        assert_eq!(inside(&there, |_| Err(io::ErrorKind::Other.into())), Some(Alive::Closed));
        assert_eq!(inside(&lease("/proc/self/ns/none"), has(3)), None);
        assert_eq!(inside(&lease(""), has(3)), None);
    }
}
