//! The two sockets of ipamd, as plugins and the command line use them.

use super::ledger::Ledger;
use super::log;
use mainstay_proto::ipam::v1::cni_request::Command;
use mainstay_proto::ipam::v1::ipam_client::IpamClient;
use mainstay_proto::ipam::v1::{CniReply, CniRequest, Lease, ListLeasesRequest};
use prost::Message;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// One request; an error is a daemon that is gone.
pub fn ask(socket: &Path, command: Command, container: &str) -> io::Result<CniReply> {
    let request = CniRequest {
        command: command.into(),
        network: "pods".into(),
        container_id: container.into(),
        ifname: "eth0".into(),
        netns: "/run/netns/none".into(),
        ..CniRequest::default()
    };
    call(socket, &request)
}

pub fn call(socket: &Path, request: &CniRequest) -> io::Result<CniReply> {
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).expect("small").to_be_bytes();
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(&[&length[..], &message].concat())?;
    CniReply::decode(&*read_frame(&mut stream)?).map_err(io::Error::other)
}

/// A message without its length. As the plugin does, it does not wait for the stream's end.
fn read_frame(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; 4096];
    let mut read = 0;
    loop {
        match stream.read(&mut frame[read..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => read += more,
        }
        let Some(length) = frame[..read].first_chunk() else { continue };
        let end = 4 + u32::from_be_bytes(*length) as usize;
        if read >= end {
            return Ok(frame[4..end].to_vec());
        }
        frame.resize(end.max(frame.len()), 0);
    }
}

/// The addresses of a reply, without their lengths; the refusal, if it is one.
pub fn addresses(reply: CniReply) -> Result<Vec<String>, String> {
    match reply.error {
        Some(error) => Err(format!("code {}: {}", error.code, error.msg)),
        None => Ok(reply
            .addresses
            .into_iter()
            .map(|a| a.address.split('/').next().unwrap_or_default().to_owned())
            .collect()),
    }
}

/// Someone who adds and deletes until told to stop, or until the daemon is gone.
#[derive(Debug)]
pub struct Caller<'a> {
    pub socket: PathBuf,
    pub ledger: &'a Ledger,
    /// The log of calls, if there is one.
    pub log: Option<&'a Path>,
    /// Of its containers.
    pub name: String,
    /// Who is answered with an error stops too; where none may be, that is a failure.
    pub refusals: bool,
}

impl Caller<'_> {
    pub fn run(&self, stop: &AtomicBool) {
        let mut live: Vec<String> = Vec::new();
        for n in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let container = format!("{}-{n}", self.name);
            let Ok(reply) = ask(&self.socket, Command::Add, &container) else { return };
            let at = self.log_length();
            match addresses(reply) {
                Ok(addresses) => self.ledger.given(&container, addresses, at),
                Err(_) if self.refusals => return,
                Err(why) => panic!("{container} was refused: {why}"),
            }
            live.push(container);
            if n % 3 == 2 {
                let container = live.remove(0);
                self.ledger.deleting(&container, self.log_length());
                if ask(&self.socket, Command::Del, &container).is_err() {
                    return;
                }
            }
        }
    }

    fn log_length(&self) -> u64 {
        self.log.map_or(0, log::length)
    }
}

/// Every lease the daemon of this run directory knows.
pub fn leases(run_dir: &Path) -> Result<Vec<Lease>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let socket = run_dir.join("ipamd.sock");
    runtime.map_err(|e| e.to_string())?.block_on(async {
        let client = IpamClient::connect(format!("unix://{}", socket.display())).await;
        let mut client = client.map_err(|e| format!("{}: {e}", socket.display()))?;
        let stream = client.list_leases(ListLeasesRequest::default()).await;
        let mut stream = stream.map_err(|e| e.to_string())?.into_inner();
        let mut leases = Vec::new();
        while let Some(lease) = stream.message().await.map_err(|e| e.to_string())? {
            leases.push(lease);
        }
        Ok(leases)
    })
}
