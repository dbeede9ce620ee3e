//! `mainstay ipam check`: what must be true of leases, of the kernel's routes and namespaces, and of
//! what the runtime remembers, all together. What is found is looked at twice, for pods come and go
//! while we look.

mod kernel;
mod sandboxes;

use super::formats::Entry;
use super::{Client, blocks, files, leases};
use crate::ask::{Daemons, answer};
use crate::failure::{Failure, Verdict};
use crate::print::Printer;
use crate::table::Table;
use crate::text::{count, or_dash};
use kernel::HostRoute;
use mainstay_prefix::Prefix;
use mainstay_proto::ipam::v1::{
    Block, Lease, ListWithheldRequest, PoolStatus, StatusRequest, Withheld,
};
use sandboxes::Sandbox;
pub(super) use sandboxes::is_gone;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

pub(super) const HELP: &str = "\
What is looked for:
  double        an address with two leases, or a container with two addresses of a family
  astray        a lease outside the blocks of this node, a block outside its pool or over another
  counts        leases that do not add up to what the pools say
  time          a cooldown that is longer than configured
  leaked        an address whose container's network namespace is gone
  unconfigured  an address that its container's network namespace does not have
  elsewhere     an address that another network namespace has configured
  not-leased    an address that has a host route, a network namespace of this host or the runtime's
                memory, and no lease
  other         an address that the runtime remembers of another container
  quarantined   an address that somebody uses and nobody has
  no-route      a block without its blackhole route

Examples:
  mainstay ipam check
  mainstay -o json ipam check | jq '.faults[].address'

Exit codes: 0 all is well; 1 there are faults, or ipamd does not answer.";

/// Before what was found is looked at again.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What libcni remembers
    #[arg(long, value_name = "DIR", default_value = "/var/lib/cni/results")]
    pub(super) cache: PathBuf,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Fault {
    kind: &'static str,
    /// Or a block, or a pool.
    pub(super) address: String,
    pub(super) text: String,
}

impl Fault {
    /// Somebody else could get an address that is in use, or one that is not this node's.
    pub(super) fn is_grave(&self) -> bool {
        ["double", "astray", "counts", "elsewhere", "not-leased", "other"].contains(&self.kind)
    }

    fn new(kind: &'static str, address: impl ToString, text: impl Into<String>) -> Self {
        Self { kind, address: address.to_string(), text: text.into() }
    }
}

/// All that is compared.
#[derive(Debug, Default)]
struct Seen {
    cooldown: f64,
    pools: Vec<PoolStatus>,
    blocks: Vec<Block>,
    leases: Vec<Lease>,
    withheld: Vec<Withheld>,
    routes: Vec<HostRoute>,
    cache: Vec<Entry>,
    sandboxes: Vec<Sandbox>,
    /// Of those leases, the network namespaces that are proven gone.
    gone: BTreeSet<String>,
}

#[derive(Debug, Serialize)]
struct Checked {
    faults: Vec<Fault>,
    leases: usize,
    blocks: usize,
    host_routes: usize,
    namespaces: usize,
    /// Of these, not to be looked into.
    closed: usize,
    remembered: usize,
}

pub(super) async fn run(
    daemons: &Daemons,
    args: &Args,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let mut ipamd = daemons.ipamd().await?;
    let checked = check(&mut ipamd, args).await?;
    let verdict = if checked.faults.is_empty() { Verdict::Well } else { Verdict::Wrong };
    if out.is_json() {
        out.json(&checked)?;
    } else {
        out.text(&told(&checked))?;
    }
    Ok(verdict)
}

/// What is wrong, for who goes on only if nothing is.
pub(super) async fn faults(
    ipamd: &mut Client,
    cache: &std::path::Path,
) -> Result<Vec<Fault>, Failure> {
    Ok(check(ipamd, &Args { cache: cache.into() }).await?.faults)
}

async fn check(ipamd: &mut Client, args: &Args) -> Result<Checked, Failure> {
    let mut seen = look(ipamd, args).await?;
    let mut faults = compare(&seen);
    if !faults.is_empty() {
        tokio::time::sleep(PAUSE).await;
        seen = look(ipamd, args).await?;
        let again = compare(&seen);
        faults.retain(|fault| again.contains(fault));
    }
    Ok(Checked {
        faults: faults.into_iter().collect(),
        leases: seen.leases.len(),
        blocks: seen.blocks.len(),
        host_routes: seen.routes.len(),
        namespaces: seen.sandboxes.len(),
        closed: seen.sandboxes.iter().filter(|s| s.addresses.is_none()).count(),
        remembered: seen.cache.len(),
    })
}

async fn look(ipamd: &mut Client, args: &Args) -> Result<Seen, Failure> {
    let before = leases(ipamd, "", "").await?;
    // The kernel and the runtime first: an address that is handed out meanwhile is leased then.
    let sandboxes = sandboxes::look(&before).map_err(Failure::Said)?;
    let routes = kernel::host_routes().map_err(Failure::Said)?;
    let (cache, _) = files::read_cache(&args.cache).map_err(Failure::Said)?;
    let status = answer("ipamd", ipamd.status(StatusRequest {})).await?;
    let leases = leases(ipamd, "", "").await?;
    let withheld = answer("ipamd", ipamd.list_withheld(ListWithheldRequest {})).await?.withheld;
    let assigned = leases.iter().filter(|lease| lease.state == "assigned");
    let gone = assigned.map(|lease| lease.netns.clone()).filter(|path| is_gone(path));
    Ok(Seen {
        cooldown: status.cooldown_seconds,
        pools: status.pools,
        blocks: blocks(ipamd).await?,
        gone: gone.collect(),
        leases,
        withheld,
        sandboxes,
        routes,
        cache,
    })
}

fn compare(seen: &Seen) -> BTreeSet<Fault> {
    let of_address: HashMap<IpAddr, &Lease> =
        seen.leases.iter().filter_map(|l| Some((l.address.parse().ok()?, l))).collect();
    let mut faults = BTreeSet::new();
    doubles(seen, &mut faults);
    astray(seen, &mut faults);
    counts(seen, &mut faults);
    leaked(seen, &mut faults);
    sandboxes::compare(seen, &mut faults);
    unleased(seen, &of_address, &mut faults);
    remembered(seen, &of_address, &mut faults);
    let used = seen.withheld.iter().filter(|w| !w.in_use.is_empty() && w.gone_seconds.is_none());
    faults.extend(used.map(|w| Fault::new("quarantined", &w.address, w.in_use.as_str())));
    let routeless = seen.blocks.iter().filter(|block| !block.route);
    let text = "its blackhole route is missing: bgpd does not announce it";
    faults.extend(routeless.map(|block| Fault::new("no-route", &block.cidr, text)));
    faults
}

fn doubles(seen: &Seen, faults: &mut BTreeSet<Fault>) {
    let mut owners = BTreeMap::<&str, usize>::new();
    let mut attachments = BTreeMap::<_, Vec<&str>>::new();
    for lease in &seen.leases {
        *owners.entry(&lease.address).or_default() += 1;
        if lease.state == "assigned" {
            let family = lease.address.contains(':');
            let key = (&lease.network, &lease.container_id, &lease.ifname, family);
            attachments.entry(key).or_default().push(&lease.address);
        }
    }
    let twice = owners.into_iter().filter(|(_, leases)| *leases > 1);
    faults.extend(twice.map(|(a, leases)| Fault::new("double", a, format!("has {leases} leases"))));
    for ((_, container, ifname, _), has) in attachments {
        if let [first, _, ..] = *has {
            let text = format!("container {container}/{ifname} has {}", has.join(", "));
            faults.insert(Fault::new("double", first, text));
        }
    }
}

fn astray(seen: &Seen, faults: &mut BTreeSet<Fault>) {
    let read = |text: &str| text.parse::<Prefix>().ok();
    for lease in &seen.leases {
        let block = seen.blocks.iter().find(|block| block.cidr == lease.block);
        let address = lease.address.parse::<IpAddr>().ok();
        let inside = read(&lease.block).zip(address).is_some_and(|(b, a)| b.contains(a));
        if block.is_none() || !inside {
            let text = format!("its lease is of block {}, which is not around it", lease.block);
            faults.insert(Fault::new("astray", &lease.address, text));
        } else if block.is_some_and(|block| block.leaving) {
            let text = format!("block {} is not this node's any more", lease.block);
            faults.insert(Fault::new("astray", &lease.address, text));
        }
        let longer = lease.cooldown_left_seconds.is_some_and(|left| left > seen.cooldown + 1.0);
        if longer {
            let text = "cools for longer than ipam.cooldown";
            faults.insert(Fault::new("time", &lease.address, text));
        }
    }
    let ours: Vec<_> = seen.blocks.iter().filter(|block| !block.leaving).collect();
    for (n, block) in ours.iter().enumerate() {
        let prefix = read(&block.cidr);
        let pool = seen.pools.iter().find(|pool| pool.name == block.pool);
        let within = prefix.zip(pool.and_then(|pool| read(&pool.cidr)));
        if !within.is_some_and(|(prefix, pool)| pool.covers(&prefix)) {
            let text = format!("the block is not inside its pool {}", block.pool);
            faults.insert(Fault::new("astray", &block.cidr, text));
        }
        let others = ours.iter().skip(n + 1).filter_map(|other| Some((other, read(&other.cidr)?)));
        for (other, _) in others.filter(|(_, o)| prefix.is_some_and(|prefix| prefix.overlaps(o))) {
            let text = format!("the block overlaps {}", other.cidr);
            faults.insert(Fault::new("astray", &block.cidr, text));
        }
    }
}

fn counts(seen: &Seen, faults: &mut BTreeSet<Fault>) {
    let in_pool = |lease: &&Lease, pool: &PoolStatus| {
        let block = seen.blocks.iter().find(|block| block.cidr == lease.block);
        block.is_some_and(|block| block.pool == pool.name && !block.leaving)
    };
    for pool in &seen.pools {
        let leases = seen.leases.iter().filter(|lease| in_pool(lease, pool));
        let (assigned, held): (Vec<_>, Vec<_>) = leases.partition(|l| l.state == "assigned");
        let listed = (assigned.len() as u64, held.len() as u64);
        if listed != (pool.assigned, pool.held) {
            let text = format!(
                "{} assigned and {} held are listed, {} and {} counted",
                listed.0, listed.1, pool.assigned, pool.held
            );
            faults.insert(Fault::new("counts", &pool.name, text));
        }
    }
}

fn leaked(seen: &Seen, faults: &mut BTreeSet<Fault>) {
    let assigned = seen.leases.iter().filter(|lease| lease.state == "assigned");
    for lease in assigned.filter(|lease| seen.gone.contains(&lease.netns)) {
        let text = format!(
            "{} has it, and its namespace {} is gone: mainstay ipam release {} --seq {} --force",
            lease.owner, lease.netns, lease.address, lease.seq
        );
        faults.insert(Fault::new("leaked", &lease.address, text));
    }
}

fn is_ours(seen: &Seen, address: IpAddr) -> bool {
    let contains = |b: &Block| b.cidr.parse::<Prefix>().is_ok_and(|cidr| cidr.contains(address));
    let gateway = |b: &Block| b.gateway.parse() == Ok(address);
    seen.blocks.iter().any(|block| contains(block) && !gateway(block))
}

fn unleased(seen: &Seen, leases: &HashMap<IpAddr, &Lease>, faults: &mut BTreeSet<Fault>) {
    for HostRoute { address, interface } in seen.routes.iter().filter(|r| is_ours(seen, r.address))
    {
        let lease = leases.get(address);
        if lease.is_none_or(|lease| lease.state != "assigned") {
            let text = format!("has a host route by {interface} and no lease");
            faults.insert(Fault::new("not-leased", address, text));
        }
    }
}

fn remembered(seen: &Seen, leases: &HashMap<IpAddr, &Lease>, faults: &mut BTreeSet<Fault>) {
    for entry in seen.cache.iter().filter(|entry| is_ours(seen, entry.address)) {
        let Entry { address, container_id, ifname, network, .. } = entry;
        let who = format!("the runtime remembers it of {container_id}/{ifname} in {network}");
        match leases.get(address).filter(|lease| lease.state == "assigned") {
            None => {
                faults.insert(Fault::new("not-leased", address, format!("{who}; it has no lease")))
            }
            Some(lease) if !entry.is_of(lease) => {
                let (owner, container) = (&lease.owner, &lease.container_id);
                let text = format!("{who}; the lease is of {owner}, container {container}");
                faults.insert(Fault::new("other", address, text))
            }
            Some(_) => false,
        };
    }
}

fn told(checked: &Checked) -> String {
    let Checked { faults, leases, blocks, host_routes, namespaces, closed, remembered } = checked;
    let not_into = match closed {
        0 => String::new(),
        closed => format!("; {closed} of the namespaces could not be looked into"),
    };
    let against = format!(
        "{} in {} against {}, {} and {} that the runtime remembers{not_into}",
        count(*leases as u64, "lease"),
        count(*blocks as u64, "block"),
        count(*host_routes as u64, "host route"),
        count(*namespaces as u64, "network namespace"),
        count(*remembered as u64, "address"),
    );
    if faults.is_empty() {
        return format!("all is well: {against}\n");
    }
    let mut table = Table::new(&["FAULT", "ADDRESS", "WHAT"]);
    for fault in faults {
        let address = or_dash(&fault.address).to_owned();
        table.row([fault.kind.to_owned(), address, fault.text.clone()]);
    }
    format!("{}{}: {against}\n", table.take(), count(faults.len() as u64, "fault"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn well() -> Seen {
        let mut blocks = sample::blocks();
        let mut pools = sample::pools();
        (pools[0].assigned, pools[0].held) = (1, 1);
        (blocks[0].assigned, blocks[0].held) = (1, 1);
        let leases = sample::leases();
        let address = "10.244.0.2".parse().unwrap();
        Seen {
            cooldown: 130.0,
            pools,
            blocks,
            routes: vec![
                HostRoute { address, interface: "veth1".into() },
                HostRoute { address: "192.0.2.7".parse().unwrap(), interface: "eth0".into() },
            ],
            cache: vec![
                Entry::new(address, "mainstay", "3f2a9c", "eth0"),
                Entry::new("192.0.2.9".parse().unwrap(), "other", "x", "net1"),
            ],
            leases,
            ..Seen::default()
        }
    }

    fn found(change: impl FnOnce(&mut Seen)) -> Vec<String> {
        let mut seen = well();
        change(&mut seen);
        let show = |f: Fault| format!("{} {} {}", f.kind, f.address, f.text);
        compare(&seen).into_iter().map(show).collect()
    }

    fn sandbox(path: &str, addresses: &[&str]) -> Sandbox {
        let addresses = addresses.iter().map(|a| a.parse().unwrap()).collect();
        Sandbox { paths: [path.into()].into(), addresses: Some(addresses) }
    }

    #[test]
    fn a_node_that_is_well_has_no_fault() {
        assert_eq!(found(|_| {}), [""; 0]);
        let of_the_lease = |s: &Seen| s.leases[0].netns.clone();
        assert_eq!(
            found(|s| s.sandboxes = vec![sandbox(&of_the_lease(s), &["10.244.0.2"])]),
            [""; 0]
        );
        let young = |s: &mut Seen| {
            s.leases[0].assigned_seconds = 0.5;
            s.sandboxes = vec![sandbox(&of_the_lease(s), &[])];
        };
        assert_eq!(found(young), [""; 0], "its ADD goes on");
        let closed = |s: &mut Seen| {
            let paths = [of_the_lease(s).into()].into();
            s.sandboxes = vec![Sandbox { paths, addresses: None }];
        };
        assert_eq!(found(closed), [""; 0], "nothing is known of it");
        let renamed = |s: &mut Seen| s.sandboxes = vec![sandbox("/run/netns/x", &["10.244.0.2"])];
        assert_eq!(found(renamed), [""; 0], "it may be its own");
    }

    #[test]
    fn every_kind_of_fault_is_found() {
        let all = [
            found(|s| s.leases.push(s.leases[0].clone())),
            found(|s| {
                let second = Lease { address: "10.244.0.9".into(), ..s.leases[0].clone() };
                s.leases.push(second);
                s.pools[0].assigned = 2;
            }),
            found(|s| s.leases[0].block = "10.9.0.0/26".into()),
            found(|s| s.blocks[0].leaving = true),
            found(|s| s.pools[0].cidr = "10.9.0.0/16".into()),
            found(|s| {
                let within = Block { cidr: "10.244.0.32/28".into(), ..s.blocks[0].clone() };
                s.blocks.push(within);
            }),
            found(|s| s.leases[1].cooldown_left_seconds = Some(500.0)),
            found(|s| s.pools[0].held = 3),
            found(|s| s.gone = [s.leases[0].netns.clone()].into()),
            found(|s| s.sandboxes = vec![sandbox(&s.leases[0].netns, &[])]),
            found(|s| {
                let own = sandbox(&s.leases[0].netns, &["10.244.0.2"]);
                s.sandboxes = vec![own, sandbox("/run/netns/x", &["10.244.0.2", "192.0.2.9"])];
            }),
            found(|s| s.sandboxes.push(sandbox("/run/netns/x", &["10.244.0.3"]))),
            found(|s| s.routes[0].address = "10.244.0.3".parse().unwrap()),
            found(|s| s.cache[0].address = "10.244.0.33".parse().unwrap()),
            found(|s| s.cache[0].container_id = "else".into()),
            found(|s| {
                let used = Withheld { in_use: "host route by veth7".into(), ..Withheld::default() };
                s.withheld.push(Withheld { address: "10.244.0.40".into(), ..used });
            }),
            found(|s| s.blocks[0].route = false),
        ];
        assert!(all.iter().all(|faults| !faults.is_empty()));
        insta::assert_snapshot!(all.map(|faults| faults.join("\n")).join("\n--\n"));
    }
}
