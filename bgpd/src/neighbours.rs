//! Interfaces that peers are on, and who is at the other end of them: a task that owns the raw socket
//! and watches the kernel's interfaces; [`Discovery`] says what to do.
//!
//! There is none while no peer has an interface.

use crate::kernel::interfaces;
use crate::run::Run;
use crate::tcp::Input;
use bgp_core::discovery::{ALL_ROUTERS, Action, Discovery, Event, Lack, Port};
use bgp_core::event::Event as Told;
use futures_util::{StreamExt, TryStreamExt};
use keeper::os::icmp6;
use mainstay_config as config;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use rtnetlink::MulticastGroup;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

/// Interfaces by name; true: whoever is there is the peer.
pub(crate) type Wanted = BTreeMap<String, bool>;

/// When something that has to work does not, as where the process may not open raw sockets.
const TRY_AGAIN: Duration = Duration::from_secs(10);
/// No message of router discovery is longer than a packet on any usual link.
const LONGEST: usize = 9216;
/// Messages in one go, before others get their turn.
const TURN: usize = 64;

/// What the task tells the loop.
#[derive(Debug)]
pub(crate) enum News {
    Interface {
        name: String,
        index: Option<u32>,
    },
    Neighbour {
        interface: String,
        address: Option<std::net::Ipv6Addr>,
    },
    /// By interface; the whole set.
    Lacks(BTreeMap<String, String>),
}

/// The loop's side.
#[derive(Debug, Default)]
pub(crate) struct Neighbours {
    task: Option<(watch::Sender<Wanted>, AbortHandle)>,
    lacks: BTreeMap<String, String>,
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        if let Some((_, task)) = &self.task {
            task.abort();
        }
    }
}

pub(crate) fn wanted(bgp: &config::Bgp) -> Wanted {
    let mut wanted = Wanted::new();
    for peer in &bgp.peers {
        if let Some(interface) = &peer.interface {
            *wanted.entry(interface.clone()).or_default() |= peer.address.is_none();
        }
    }
    wanted
}

impl Run {
    /// The numbers of the peers' interfaces, before anything of an earlier process is looked at.
    pub(crate) fn number_interfaces(&mut self) {
        for name in self.plan.interfaces.keys().cloned().collect::<Vec<_>>() {
            let index = interfaces::index(&name);
            self.tell(Told::Interface { name, index });
        }
    }

    /// As the configuration now has it.
    pub(crate) fn look_for_neighbours(&mut self) {
        let wanted = self.plan.interfaces.clone();
        match &self.neighbours.task {
            Some((task, _)) => {
                task.send_if_modified(|old| std::mem::replace(old, wanted.clone()) != wanted);
            }
            None if wanted.is_empty() => {}
            None => {
                let (sender, receiver) = watch::channel(wanted);
                let task = tokio::spawn(attend(receiver, self.inputs.clone()));
                self.neighbours.task = Some((sender, task.abort_handle()));
            }
        }
    }

    pub(crate) fn link_told(&mut self, news: News) {
        match news {
            News::Interface { name, index } => {
                tracing::info!(interface = name, ?index, "an interface that peers are on");
                self.tell(Told::Interface { name, index });
            }
            News::Neighbour { interface, address } => {
                match address {
                    Some(address) => tracing::info!(interface, %address, "neighbour found"),
                    None => tracing::info!(interface, "the neighbour is not heard any more"),
                }
                self.sign_neighbour(&interface, address.map(IpAddr::V6));
                self.tell(Told::Neighbour { interface, address });
                self.bfd.changed();
            }
            News::Lacks(lacks) => {
                let new = lacks
                    .iter()
                    .filter(|(name, why)| self.neighbours.lacks.get(*name) != Some(why));
                new.for_each(|(name, why)| tracing::info!(interface = name, "{why}"));
                self.neighbours.lacks = lacks;
            }
        }
    }

    /// Unnumbered peers that nobody is found for.
    pub(crate) fn neighbour_warnings(&self) -> Vec<String> {
        let views = self.speaker.peers(Instant::now());
        let lost = views.iter().filter(|p| p.state != "Established" && !p.dynamic);
        let lack = |interface: &String| self.neighbours.lacks.get(interface);
        lost.filter_map(|p| Some(format!("peer {}: {}", p.name, lack(p.interface.as_ref()?)?)))
            .collect()
    }
}

/// Until the loop is gone.
async fn attend(mut wanted: watch::Receiver<Wanted>, to: mpsc::Sender<Input>) {
    let mut watcher = Watcher { discovery: Discovery::default(), to, told: BTreeMap::new() };
    loop {
        let Err(error) = watcher.watch(&mut wanted).await else { return };
        // Another socket has joined nothing.
        watcher.discovery = Discovery::default();
        tracing::warn!(%error, "cannot look for neighbours on links; trying again");
        let why = format!("cannot look for neighbours: {error}");
        let lacks = wanted.borrow().keys().map(|name| (name.clone(), why.clone())).collect();
        if watcher.tell_lacks(lacks).await.is_none() {
            return;
        }
        tokio::time::sleep(TRY_AGAIN).await;
    }
}

struct Watcher {
    discovery: Discovery,
    to: mpsc::Sender<Input>,
    /// What is missing where, as it was last told.
    told: BTreeMap<String, String>,
}

impl Watcher {
    /// `Ok`: the loop is gone.
    async fn watch(&mut self, wanted: &mut watch::Receiver<Wanted>) -> io::Result<()> {
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv6Ifaddr];
        let (connection, handle, mut events) = rtnetlink::new_multicast_connection(&groups)?;
        let _connection = Task(tokio::spawn(connection).abort_handle());
        let socket = crate::poller::readable(icmp6::routers()?)?;
        let mut ports = Ports::look(&handle).await?;
        let mut next = Next::Ports;
        loop {
            let told = match next {
                Next::Ports => self.look_again(&socket, &ports, wanted).await,
                Next::Readable => self.hear(&socket).await,
                Next::Due => self.handle(&socket, Event::Due).await,
                Next::Nothing => Some(()),
                Next::Over => None,
            };
            if told.is_none() {
                return Ok(());
            }
            let due = self.discovery.deadline().map(tokio::time::Instant::from_std);
            next = tokio::select! {
                changed = wanted.changed() => changed.map_or(Next::Over, |()| Next::Ports),
                event = events.next() => {
                    let (message, _) = event.ok_or(io::ErrorKind::BrokenPipe)?;
                    match ports.note(&message) {
                        Noted::Nothing => Next::Nothing,
                        Noted::Changed => Next::Ports,
                        Noted::Lost => {
                            ports = Ports::look(&handle).await?;
                            Next::Ports
                        }
                    }
                }
                ready = socket.readable() => {
                    ready?.retain_ready();
                    Next::Readable
                }
                () = crate::run::sleep_until(due) => Next::Due,
            };
        }
    }

    async fn look_again(
        &mut self,
        socket: &AsyncFd<OwnedFd>,
        ports: &Ports,
        wanted: &mut watch::Receiver<Wanted>,
    ) -> Option<()> {
        let now = wanted.borrow_and_update().clone();
        let mut actions = Vec::new();
        self.discovery.handle(Event::Wanted(&now), Instant::now(), &mut actions);
        self.discovery.handle(Event::Ports(ports.of(&now)), Instant::now(), &mut actions);
        self.carry_out(socket, actions).await
    }

    /// Some of the messages that wait.
    async fn hear(&mut self, socket: &AsyncFd<OwnedFd>) -> Option<()> {
        let mut message = vec![0; LONGEST];
        for _ in 0..TURN {
            let received = socket.try_io(Interest::READABLE, |socket| {
                icmp6::receive(socket, &mut message)?
                    .ok_or_else(|| io::ErrorKind::WouldBlock.into())
            });
            // Any other error is of an earlier message, which could not be sent.
            let datagram = match received {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => continue,
            };
            let IpAddr::V6(from) = datagram.from else { continue };
            let message = message.get(..datagram.len).unwrap_or_default();
            let (scope, hops) = (datagram.interface, datagram.ttl);
            self.handle(socket, Event::Heard { scope, from, hops, message }).await?;
        }
        Some(())
    }

    /// `None`: the loop is gone.
    async fn handle(&mut self, socket: &AsyncFd<OwnedFd>, event: Event<'_>) -> Option<()> {
        let mut actions = Vec::new();
        self.discovery.handle(event, Instant::now(), &mut actions);
        self.carry_out(socket, actions).await
    }

    async fn carry_out(&mut self, socket: &AsyncFd<OwnedFd>, actions: Vec<Action>) -> Option<()> {
        for action in actions {
            let news = match action {
                Action::Join { scope } => {
                    let done = icmp6::join(socket.get_ref(), ALL_ROUTERS, scope);
                    done.unwrap_or_else(|error| {
                        tracing::warn!(scope, %error, "solicitations are not heard");
                    });
                    continue;
                }
                Action::Send { scope, to, message } => {
                    // The next one is not far.
                    if let Err(error) = icmp6::send(socket.get_ref(), to, scope, &message) {
                        tracing::debug!(scope, %error, "router discovery: not sent");
                    }
                    continue;
                }
                Action::Interface { name, index } => News::Interface { name, index },
                Action::Neighbour { interface, address } => News::Neighbour { interface, address },
            };
            self.to.send(Input::Link(news)).await.ok()?;
        }
        let lacks = self.discovery.lacks().map(|(name, lack)| (name.to_owned(), words(name, lack)));
        let lacks = lacks.collect();
        self.tell_lacks(lacks).await
    }

    async fn tell_lacks(&mut self, lacks: BTreeMap<String, String>) -> Option<()> {
        if lacks != self.told {
            self.told.clone_from(&lacks);
            self.to.send(Input::Link(News::Lacks(lacks))).await.ok()?;
        }
        Some(())
    }
}

/// Ends with whoever waits for it.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn words(name: &str, lack: Lack) -> String {
    match lack {
        Lack::Interface => format!("there is no interface {name} yet"),
        Lack::Carrier => format!("the interface {name} is down, or has no carrier"),
        Lack::LinkLocal if has_no_ipv6(name) => format!(
            "IPv6 is switched off on {name} (net.ipv6.conf.{name}.disable_ipv6 = 1), and an unnumbered peer needs it"
        ),
        Lack::LinkLocal => {
            format!("{name} has no IPv6 link-local address, or not a usable one yet")
        }
        Lack::Router => {
            format!("no router advertisement is heard on {name}: the other end has to send them")
        }
    }
}

fn has_no_ipv6(name: &str) -> bool {
    let path = format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6");
    // Where IPv6 is not there at all, this is not either.
    std::fs::read_to_string(path).map_or(true, |text| text.trim() == "1")
}

/// The kernel's interfaces.
#[derive(Debug, Default)]
struct Ports {
    links: BTreeMap<u32, (String, bool)>,
    /// Link-local addresses that may be used.
    addresses: BTreeSet<(u32, IpAddr)>,
}

/// What comes next.
enum Next {
    /// Interfaces may be others, or others may be wanted.
    Ports,
    Readable,
    Due,
    Nothing,
    /// The loop is gone.
    Over,
}

enum Noted {
    Nothing,
    Changed,
    /// Events are lost.
    Lost,
}

impl Ports {
    async fn look(handle: &rtnetlink::Handle) -> io::Result<Self> {
        let mut ports = Self::default();
        let links: Vec<LinkMessage> =
            handle.link().get().execute().try_collect().await.map_err(io::Error::other)?;
        for link in &links {
            ports.link(link, true);
        }
        let addresses: Vec<AddressMessage> =
            handle.address().get().execute().try_collect().await.map_err(io::Error::other)?;
        for address in &addresses {
            ports.address(address, true);
        }
        Ok(ports)
    }

    fn of(&self, wanted: &Wanted) -> BTreeMap<String, Port> {
        let wanted = self.links.iter().filter(|(_, (name, _))| wanted.contains_key(name));
        let port = |(index, (name, up)): (&u32, &(String, bool))| {
            let link_local = self.addresses.iter().any(|(on, _)| on == index);
            (name.clone(), Port { scope: *index, up: *up, link_local })
        };
        wanted.map(port).collect()
    }

    fn note(&mut self, message: &NetlinkMessage<RouteNetlinkMessage>) -> Noted {
        let changed = match &message.payload {
            NetlinkPayload::Overrun(_) | NetlinkPayload::Error(_) => return Noted::Lost,
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(l)) => self.link(l, true),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(l)) => self.link(l, false),
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewAddress(a)) => {
                self.address(a, true)
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelAddress(a)) => {
                self.address(a, false)
            }
            _ => false,
        };
        if changed { Noted::Changed } else { Noted::Nothing }
    }

    fn link(&mut self, link: &LinkMessage, there: bool) -> bool {
        // Of other families are a bridge's ports.
        if u8::from(link.header.interface_family) != 0 {
            return false;
        }
        let index = link.header.index;
        if !there {
            return self.links.remove(&index).is_some();
        }
        let name = link.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        let up = link.header.flags.contains(LinkFlags::Up | LinkFlags::Running);
        name.is_some_and(|name| {
            let new = (name, up);
            self.links.insert(index, new.clone()) != Some(new)
        })
    }

    fn address(&mut self, message: &AddressMessage, there: bool) -> bool {
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        let mut address = None;
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Address(a) | AddressAttribute::Local(a) => address = Some(*a),
                AddressAttribute::Flags(f) => flags = *f,
                _ => {}
            }
        }
        let Some(own) = address.filter(|a| bgp_core::event::is_link_local(*a)) else {
            return false;
        };
        let usable = !flags.intersects(AddressFlags::Tentative | AddressFlags::Dadfailed);
        let key = (message.header.index, own);
        if there && usable { self.addresses.insert(key) } else { self.addresses.remove(&key) }
    }
}
