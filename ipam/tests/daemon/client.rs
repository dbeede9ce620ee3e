//! The two sockets, as the plugins and the command line use them.

use mainstay_proto::ipam::v1::cni_request::Command;
use mainstay_proto::ipam::v1::ipam_client::IpamClient;
use mainstay_proto::ipam::v1::{
    Attachment, Block, CniError, CniReply, CniRequest, HoldReply, HoldRequest, Lease,
    ListBlocksRequest, ListLeasesRequest, ListWithheldRequest, ReleaseRequest, ReloadReply,
    ReloadRequest, StatusReply, StatusRequest, UnholdReply, UnholdRequest, Withheld,
};
use mainstay_tests::daemons::Node;
use prost::Message;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::Status;
use tonic::transport::Channel;

pub(crate) type Answer = Result<Vec<String>, CniError>;

/// What a plugin sends of one container.
#[derive(Clone, Default)]
pub(crate) struct Pod {
    pub(crate) container: String,
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) sticky_key: String,
    /// Of its namespace; empty: one that is not there.
    pub(crate) netns: String,
}

impl Pod {
    pub(crate) fn new(name: &str, container: &str) -> Self {
        Self { name: name.into(), container: container.into(), ..Self::default() }
    }

    fn request(&self, command: Command) -> CniRequest {
        let key = Some(self.sticky_key.clone()).filter(|key| !key.is_empty());
        let netns =
            Some(&self.netns).filter(|path| !path.is_empty()).map_or("/run/netns/x", |path| path);
        let named = |text: &str| if self.name.is_empty() { String::new() } else { text.into() };
        CniRequest {
            command: command.into(),
            network: "pods".into(),
            container_id: self.container.clone(),
            ifname: "eth0".into(),
            netns: netns.into(),
            pod_namespace: named("default"),
            pod_name: self.name.clone(),
            pod_uid: self.uid.clone(),
            annotations: key.into_iter().map(|k| ("mainstay.io/sticky-key".into(), k)).collect(),
            ..CniRequest::default()
        }
    }
}

/// The plugins' socket.
#[derive(Clone)]
pub(crate) struct Cni(pub(crate) PathBuf);

impl Cni {
    pub(crate) fn of(node: &Node) -> Self {
        Self(node.run_dir().join("cni.sock"))
    }

    pub(crate) fn add(&self, pod: &Pod) -> Answer {
        self.ask(&pod.request(Command::Add))
    }

    /// The addresses of an ADD that succeeds, without their lengths.
    #[track_caller]
    pub(crate) fn addresses(&self, pod: &Pod) -> Vec<String> {
        let with_length = self.add(pod).unwrap();
        with_length.iter().map(|a| a.split('/').next().unwrap().to_owned()).collect()
    }

    #[track_caller]
    pub(crate) fn del(&self, pod: &Pod) {
        self.ask(&pod.request(Command::Del)).unwrap();
    }

    pub(crate) fn check(&self, pod: &Pod, expected: &[&str]) -> Answer {
        let expected = expected.iter().map(ToString::to_string).collect();
        self.ask(&CniRequest { expected, ..pod.request(Command::Check) })
    }

    pub(crate) fn status(&self) -> Answer {
        self.ask(&CniRequest { command: Command::Status.into(), ..CniRequest::default() })
    }

    pub(crate) fn gc(&self, keep: &[&Pod]) -> Answer {
        let attachment =
            |pod: &&Pod| Attachment { container_id: pod.container.clone(), ifname: "eth0".into() };
        let valid = keep.iter().map(attachment).collect();
        self.ask(&CniRequest { valid, ..Pod::default().request(Command::Gc) })
    }

    pub(crate) fn ask(&self, request: &CniRequest) -> Answer {
        let reply = self.try_ask(request).expect("an answer");
        match reply.error {
            Some(error) => Err(error),
            None => Ok(reply.addresses.into_iter().map(|a| a.address).collect()),
        }
    }

    pub(crate) fn try_add(&self, pod: &Pod) -> io::Result<CniReply> {
        self.try_ask(&pod.request(Command::Add))
    }

    fn try_ask(&self, request: &CniRequest) -> io::Result<CniReply> {
        let message = request.encode_to_vec();
        let length = u32::try_from(message.len()).unwrap();
        let bytes = self.exchange(&[&length.to_be_bytes(), &*message].concat())?;
        let message = bytes.get(4..).ok_or(io::ErrorKind::UnexpectedEof)?;
        CniReply::decode(message).map_err(io::Error::other)
    }

    /// Any bytes, and all that comes back.
    pub(crate) fn exchange(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.0)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.write_all(bytes)?;
        stream.shutdown(std::net::Shutdown::Write)?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply)?;
        Ok(reply)
    }
}

/// The gRPC socket.
pub(crate) struct Api {
    runtime: tokio::runtime::Runtime,
    client: IpamClient<Channel>,
}

impl Api {
    pub(crate) fn of(node: &Node) -> Self {
        Self::at(&node.run_dir().join("ipamd.sock"))
    }

    fn at(socket: &Path) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = IpamClient::connect(format!("unix://{}", socket.display()));
        let client = runtime.block_on(client).unwrap();
        Self { runtime, client }
    }

    pub(crate) fn status(&mut self) -> StatusReply {
        let reply = self.client.status(StatusRequest {});
        self.runtime.block_on(reply).unwrap().into_inner()
    }

    pub(crate) fn blocks(&mut self) -> Vec<Block> {
        let reply = self.client.list_blocks(ListBlocksRequest {});
        self.runtime.block_on(reply).unwrap().into_inner().blocks
    }

    pub(crate) fn leases(&mut self, state: &str, address: &str) -> Result<Vec<Lease>, Status> {
        let request = ListLeasesRequest { state: state.into(), address: address.into() };
        self.runtime.block_on(async {
            let mut stream = self.client.list_leases(request).await?.into_inner();
            let mut leases = Vec::new();
            while let Some(lease) = stream.message().await? {
                leases.push(lease);
            }
            Ok(leases)
        })
    }

    pub(crate) fn withheld(&mut self) -> Vec<Withheld> {
        let reply = self.client.list_withheld(ListWithheldRequest {});
        self.runtime.block_on(reply).unwrap().into_inner().withheld
    }

    pub(crate) fn hold(&mut self, address: &str, reason: &str) -> Result<HoldReply, Status> {
        let request = HoldRequest { address: address.into(), reason: reason.into() };
        self.runtime.block_on(self.client.hold(request)).map(tonic::Response::into_inner)
    }

    pub(crate) fn unhold(&mut self, address: &str) -> Result<UnholdReply, Status> {
        let request = UnholdRequest { address: address.into() };
        self.runtime.block_on(self.client.unhold(request)).map(tonic::Response::into_inner)
    }

    /// The lease as it was before.
    pub(crate) fn release(
        &mut self,
        address: &str,
        seq: u64,
        dry_run: bool,
    ) -> Result<Option<Lease>, Status> {
        let request = ReleaseRequest { address: address.into(), seq, dry_run };
        let reply = self.runtime.block_on(self.client.release(request));
        reply.map(|reply| reply.into_inner().lease)
    }

    pub(crate) fn reload(&mut self) -> Result<ReloadReply, Status> {
        let reply = self.client.reload(ReloadRequest {});
        self.runtime.block_on(reply).map(tonic::Response::into_inner)
    }
}
