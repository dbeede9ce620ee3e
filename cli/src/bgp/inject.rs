//! `mainstay bgp inject`, `withdraw` and `leases`: routes that another program announces.

use super::routes;
use crate::ask::{AskError, Daemons, answer, next_ever};
use crate::drain::duration;
use crate::failure::{Failure, Verdict};
use crate::print::{Printer, complain};
use crate::table::Table;
use crate::text::{age, clean_line, count, dash, or_dash};
use mainstay_proto::bgp::v1::{
    HoldLeaseRequest, InjectRequest, InjectedRoute, Lease, ListLeasesReply, ListLeasesRequest,
    ReleaseLeaseRequest,
};
use std::time::Duration;

pub(crate) const INJECT: &str = "\
Announces prefixes under a lease named CLIENT. They stay until they are withdrawn or the lease ends:
it does when nobody has renewed it for --ttl. Calling again renews it; with no prefix that is all.
A restart of the speaker changes nothing: it comes back with the leases and the time they had left.
A prefix belongs to one client at a time.

Examples:
  mainstay bgp inject lb 198.18.0.1/32 198.18.0.2/32 --ttl 1m --community 64512:80
  mainstay bgp inject lb                                renew
  mainstay bgp inject lb 198.18.0.1 --replace           this one and no other any more
  mainstay bgp inject lb 198.18.0.1 --hold              renewed until you end it (Ctrl-C)
  mainstay bgp inject egress 203.0.113.0/24 --next-hop 192.0.2.77    into the kernel as well

Exit codes: 0 done; 1 refused (all of it), or the speaker does not answer.";

pub(crate) const WITHDRAW: &str = "\
Examples:
  mainstay bgp withdraw lb 198.18.0.1/32
  mainstay bgp withdraw lb --all               its lease ends

Exit codes: 0 done; 1 there is no such lease, or the speaker does not answer.";

pub(crate) const LEASES: &str = "\
Examples:
  mainstay bgp leases
  mainstay bgp leases lb        with its routes

Exit codes: 0 told; 1 there is no such lease, or the speaker does not answer.";

/// Between two tries to reach a speaker that restarts.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct InjectArgs {
    /// Names the lease: who announces
    #[arg(value_name = "CLIENT")]
    client: String,

    /// What to announce; an address stands for its host prefix
    #[arg(value_name = "PREFIX", value_parser = routes::wanted)]
    prefixes: Vec<routes::Wanted>,

    /// How long the routes stay without another call [a new lease: 30s; else: as before]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    ttl: Option<Duration>,

    /// Install the routes into the kernel, through this neighbour
    #[arg(long, value_name = "ADDRESS")]
    next_hop: Option<std::net::IpAddr>,

    /// 65001:100, or a well-known name; may be given several times
    #[arg(long = "community", value_name = "COMMUNITY")]
    communities: Vec<String>,

    /// 65001:1:2; may be given several times
    #[arg(long = "large-community", value_name = "COMMUNITY")]
    large_communities: Vec<String>,

    /// Local preference, for internal peers
    #[arg(long, value_name = "NUMBER")]
    local_pref: Option<u32>,

    /// Multi-exit discriminator
    #[arg(long, value_name = "NUMBER")]
    med: Option<u32>,

    /// Withdraw whatever else this client has announced
    #[arg(long)]
    replace: bool,

    /// Keep the lease until this command is ended, over restarts of the speaker
    #[arg(long)]
    hold: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct WithdrawArgs {
    /// Whose lease
    #[arg(value_name = "CLIENT")]
    client: String,

    /// What to withdraw
    #[arg(value_name = "PREFIX", value_parser = routes::wanted, required_unless_present = "all")]
    prefixes: Vec<routes::Wanted>,

    /// All of it: the lease ends
    #[arg(long, conflicts_with = "prefixes")]
    all: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LeasesArgs {
    /// One lease, with its routes
    #[arg(value_name = "CLIENT")]
    client: Option<String>,
}

impl InjectArgs {
    fn request(&self) -> InjectRequest {
        let route = |wanted: &routes::Wanted| InjectedRoute {
            prefix: wanted.prefix().to_string(),
            next_hop: self.next_hop.map(|hop| hop.to_string()).unwrap_or_default(),
            install: self.next_hop.is_some(),
            communities: self.communities.clone(),
            large_communities: self.large_communities.clone(),
            local_pref: self.local_pref,
            med: self.med,
        };
        InjectRequest {
            client: self.client.clone(),
            ttl_seconds: self.ttl.map(|ttl| ttl.as_secs_f64()).unwrap_or_default(),
            announce: self.prefixes.iter().map(route).collect(),
            withdraw: Vec::new(),
            replace: self.replace,
        }
    }
}

pub(crate) async fn run(
    daemons: &Daemons,
    args: &InjectArgs,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let lease = inject(daemons, args).await?;
    tell(&lease, out)?;
    if args.hold {
        hold(daemons, args).await?;
    }
    Ok(Verdict::Well)
}

async fn inject(daemons: &Daemons, args: &InjectArgs) -> Result<Lease, AskError> {
    let mut bgpd = daemons.bgpd().await?;
    let reply = answer("bgpd", bgpd.inject(args.request())).await?;
    Ok(reply.lease.unwrap_or_default())
}

/// Until it is refused. A speaker that restarts has kept the lease: it is found again in time.
async fn hold(daemons: &Daemons, args: &InjectArgs) -> Result<(), AskError> {
    loop {
        if let Err(error) = held(daemons, args).await {
            complain(&format!("{error}; trying again"));
        }
        tokio::time::sleep(AGAIN).await;
        if let Err(error @ AskError::Refused { .. }) = inject(daemons, args).await {
            return Err(error);
        }
    }
}

async fn held(daemons: &Daemons, args: &InjectArgs) -> Result<(), AskError> {
    let mut bgpd = daemons.bgpd().await?;
    let request = HoldLeaseRequest { client: args.client.clone() };
    let mut leases = answer("bgpd", bgpd.hold_lease(request)).await?;
    while next_ever("bgpd", &mut leases).await?.is_some() {}
    Ok(())
}

fn tell(lease: &Lease, out: &mut Printer) -> Result<(), Failure> {
    if out.is_json() {
        out.json(lease)?;
    } else {
        let (name, routes) = (clean_line(&lease.client), count(lease.routes.into(), "route"));
        let left = age(lease.left_seconds);
        out.text(&format!("{name}: {routes}, {left} left until they are withdrawn\n"))?;
    }
    out.finish()
}

pub(crate) async fn withdraw(
    daemons: &Daemons,
    args: &WithdrawArgs,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let mut bgpd = daemons.bgpd().await?;
    let client = args.client.clone();
    if args.all {
        let reply = answer("bgpd", bgpd.release_lease(ReleaseLeaseRequest { client })).await?;
        if out.is_json() {
            out.json(&reply)?;
        } else {
            let routes = count(reply.withdrawn.into(), "route");
            out.text(&format!("{}: released, {routes} withdrawn\n", clean_line(&args.client)))?;
        }
        return Ok(Verdict::Well);
    }
    // A withdrawal would begin a lease that is not there.
    one(daemons, &args.client, false).await?;
    let withdraw = args.prefixes.iter().map(|p| p.prefix().to_string()).collect();
    let request = InjectRequest { client, withdraw, ..Default::default() };
    let reply = answer("bgpd", bgpd.inject(request)).await?;
    tell(&reply.lease.unwrap_or_default(), out)?;
    Ok(Verdict::Well)
}

async fn one(daemons: &Daemons, client: &str, routes: bool) -> Result<ListLeasesReply, Failure> {
    let mut bgpd = daemons.bgpd().await?;
    let request = ListLeasesRequest { routes, client: client.to_owned() };
    let reply = answer("bgpd", bgpd.list_leases(request)).await?;
    if reply.leases.is_empty() {
        return Err(Failure::Said(format!("no lease {client}; see mainstay bgp leases")));
    }
    Ok(reply)
}

pub(crate) async fn leases(
    daemons: &Daemons,
    args: &LeasesArgs,
    out: &mut Printer,
) -> Result<Verdict, Failure> {
    let reply = match &args.client {
        Some(client) => one(daemons, client, true).await?,
        None => {
            let mut bgpd = daemons.bgpd().await?;
            answer("bgpd", bgpd.list_leases(ListLeasesRequest::default())).await?
        }
    };
    match (out.is_json(), &args.client) {
        (true, _) => out.json(&reply)?,
        (false, _) if reply.leases.is_empty() => out.text("no leases\n")?,
        (false, one) => {
            out.text(&table(&reply.leases))?;
            if one.is_some() {
                out.text("\n")?;
                out.text(&reply.leases.iter().map(routes_of).collect::<String>())?;
            }
        }
    }
    Ok(Verdict::Well)
}

fn table(leases: &[Lease]) -> String {
    let mut table = Table::new(&["CLIENT", ">ROUTES", ">TTL", ">LEFT", ">AGE"]);
    for lease in leases {
        table.row([
            lease.client.clone(),
            lease.routes.to_string(),
            age(lease.ttl_seconds),
            if lease.held { "held".into() } else { age(lease.left_seconds) },
            age(lease.age_seconds),
        ]);
    }
    table.take()
}

fn routes_of(lease: &Lease) -> String {
    let mut table = Table::new(&["PREFIX", "NEXT HOP", "COMMUNITIES", ">PREF", ">MED"]);
    for route in &lease.route {
        let all = route.communities.iter().chain(&route.large_communities);
        let communities: Vec<&str> = all.map(String::as_str).collect();
        table.row([
            route.prefix.clone(),
            or_dash(&route.next_hop).to_owned(),
            or_dash(&communities.join(" ")).to_owned(),
            route.local_pref.map_or_else(dash, |pref| pref.to_string()),
            route.med.map_or_else(dash, |med| med.to_string()),
        ]);
    }
    table.take()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn leases_stand_in_a_table_and_one_with_its_routes() {
        let leases = sample::leases_of_bgp().leases;
        insta::assert_snapshot!(format!("{}\n{}", table(&leases), routes_of(&leases[0])));
    }
}
