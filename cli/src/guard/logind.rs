//! The few words of logind's that are needed (org.freedesktop.login1(5)).

use futures_util::StreamExt;
use std::time::Duration;
use zbus::message::Type;
use zbus::{Connection, Error, MatchRule, MessageStream, OwnedFd};

const SERVICE: &str = "org.freedesktop.login1";
const PATH: &str = "/org/freedesktop/login1";
const MANAGER: &str = "org.freedesktop.login1.Manager";

pub(super) struct Logind {
    bus: Connection,
    shutdowns: MessageStream,
}

impl Logind {
    pub(super) async fn connect() -> Result<Self, Error> {
        let bus = Connection::system().await?;
        let rule = MatchRule::builder()
            .msg_type(Type::Signal)
            .sender(SERVICE)
            .interface(MANAGER)
            .member("PrepareForShutdown")
            .build()?;
        let shutdowns = MessageStream::for_match_rule(rule, &bus, None).await?;
        Ok(Self { bus, shutdowns })
    }

    /// As long as the descriptor is open, a shutdown waits.
    pub(super) async fn inhibit(&self) -> Result<OwnedFd, Error> {
        let words = ("shutdown", "Mainstay", "traffic is led away from this node first", "delay");
        self.call(MANAGER, "Inhibit", &words).await?.body().deserialize()
    }

    /// How long it waits at most.
    pub(super) async fn longest_delay(&self) -> Result<Duration, Error> {
        let of = (MANAGER, "InhibitDelayMaxUSec");
        let reply = self.call("org.freedesktop.DBus.Properties", "Get", &of).await?;
        let value: zbus::OwnedVariant = reply.body().deserialize()?;
        Ok(Duration::from_micros(u64::try_from(value)?))
    }

    /// The next time a shutdown begins (true) or is called off (false). Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<bool, Error> {
        let gone = || Error::Failure("the connection to D-Bus has ended".into());
        self.shutdowns.next().await.ok_or_else(gone)??.body().deserialize()
    }

    async fn call<B>(&self, interface: &str, method: &str, body: &B) -> Result<zbus::Message, Error>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        self.bus.call_method(Some(SERVICE), PATH, Some(interface), method, body).await
    }
}
