//! The program itself, against sockets that answer: words in, text, JSON and exit codes out.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../src/sample.rs"]
#[allow(dead_code, reason = "not all of it is of use here")]
mod sample;

use mainstay_proto::bgp::v1::bgp_server::{Bgp, BgpServer};
use mainstay_proto::ipam::v1::ipam_server::{Ipam, IpamServer};
use mainstay_proto::{bgp, ipam};
use std::io::Read;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;
use tokio_stream::Stream;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// Answers as the sample has it; refuses a reload with these words.
struct Served {
    refusal: String,
    routes: usize,
}

type Reply<T> = Result<Response<T>, Status>;
type Many<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

fn many<T: Send + 'static>(items: impl Iterator<Item = T> + Send + 'static) -> Many<T> {
    Box::pin(tokio_stream::iter(items.map(Ok)))
}

/// What the speaker of the sample runs by.
fn configuration() -> bgp::v1::ConfigurationReply {
    let text = "\
nodes: [{name: node-a, address: 192.0.2.11}]
network: {families: [ipv4, ipv6]}
bgp:
  asn: 64512
  peers:
    - {name: tor-a, address: 192.0.2.1, asn: 65001}
    - {name: pods, listen_range: 192.0.2.0/24, asn: 4200000000, passive: true}
";
    let file = "/etc/mainstay/mainstay.yaml".into();
    bgp::v1::ConfigurationReply { node: "node-a".into(), file, text: text.into() }
}

#[tonic::async_trait]
impl Bgp for Served {
    async fn status(&self, _: Request<bgp::v1::StatusRequest>) -> Reply<bgp::v1::StatusReply> {
        Ok(Response::new(sample::speaker()))
    }

    async fn list_peers(
        &self,
        _: Request<bgp::v1::ListPeersRequest>,
    ) -> Reply<bgp::v1::ListPeersReply> {
        Ok(Response::new(sample::peers()))
    }

    async fn configuration(
        &self,
        _: Request<bgp::v1::ConfigurationRequest>,
    ) -> Reply<bgp::v1::ConfigurationReply> {
        Ok(Response::new(configuration()))
    }

    type ListRoutesStream = Many<bgp::v1::Route>;

    async fn list_routes(
        &self,
        request: Request<bgp::v1::ListRoutesRequest>,
    ) -> Reply<Self::ListRoutesStream> {
        let asked = request.into_inner();
        if !["", "tor-a"].contains(&asked.peer.as_str()) {
            return Err(Status::not_found("there is no peer \"\u{1b}[2Jx\""));
        }
        let fits = move |r: &bgp::v1::Route| asked.prefix.is_empty() || asked.prefix == r.prefix;
        let routes = sample::routes().into_iter().cycle().take(self.routes).filter(fits);
        Ok(Response::new(many(routes)))
    }

    async fn count_routes(
        &self,
        _: Request<bgp::v1::ListRoutesRequest>,
    ) -> Reply<bgp::v1::CountRoutesReply> {
        Ok(Response::new(bgp::v1::CountRoutesReply { routes: 3, paths: 1 }))
    }

    type WatchStream = Many<bgp::v1::WatchEvent>;

    async fn watch(&self, _: Request<bgp::v1::WatchRequest>) -> Reply<Self::WatchStream> {
        Ok(Response::new(many(sample::events().into_iter())))
    }

    async fn reset_peer(
        &self,
        request: Request<bgp::v1::ResetPeerRequest>,
    ) -> Reply<bgp::v1::ResetPeerReply> {
        let asked = request.into_inner();
        let done = vec![format!("{}: {:?}", asked.peer, asked.how())];
        Ok(Response::new(bgp::v1::ResetPeerReply { done }))
    }

    async fn inject(
        &self,
        request: Request<bgp::v1::InjectRequest>,
    ) -> Reply<bgp::v1::InjectReply> {
        let asked = request.into_inner();
        if asked.announce.iter().any(|r| r.prefix == "10.0.0.0/8") {
            return Err(Status::failed_precondition("10.0.0.0/8 is announced by other"));
        }
        let lease = bgp::v1::Lease {
            client: asked.client,
            routes: u32::try_from(asked.announce.len()).unwrap(),
            left_seconds: asked.ttl_seconds,
            ..Default::default()
        };
        Ok(Response::new(bgp::v1::InjectReply { lease: Some(lease) }))
    }

    type HoldLeaseStream = Many<bgp::v1::Lease>;

    async fn hold_lease(
        &self,
        _: Request<bgp::v1::HoldLeaseRequest>,
    ) -> Reply<Self::HoldLeaseStream> {
        Ok(Response::new(many(sample::leases_of_bgp().leases.into_iter())))
    }

    async fn release_lease(
        &self,
        _: Request<bgp::v1::ReleaseLeaseRequest>,
    ) -> Reply<bgp::v1::ReleaseLeaseReply> {
        Ok(Response::new(bgp::v1::ReleaseLeaseReply { withdrawn: 2 }))
    }

    async fn list_leases(
        &self,
        request: Request<bgp::v1::ListLeasesRequest>,
    ) -> Reply<bgp::v1::ListLeasesReply> {
        let asked = request.into_inner();
        let mut reply = sample::leases_of_bgp();
        reply.leases.retain(|lease| asked.client.is_empty() || asked.client == lease.client);
        Ok(Response::new(reply))
    }

    async fn explain(
        &self,
        request: Request<bgp::v1::ExplainRequest>,
    ) -> Reply<bgp::v1::ExplainReply> {
        let mut explained = sample::explanation();
        if request.into_inner().prefix == "203.0.113.0/24" {
            explained.route = None;
        }
        Ok(Response::new(explained))
    }

    async fn try_policy(
        &self,
        _: Request<bgp::v1::TryPolicyRequest>,
    ) -> Result<Response<bgp::v1::TryPolicyReply>, Status> {
        Err(Status::unimplemented("not here"))
    }

    async fn reload(&self, _: Request<bgp::v1::ReloadRequest>) -> Reply<bgp::v1::ReloadReply> {
        Err(Status::invalid_argument(self.refusal.clone()))
    }

    async fn drain(&self, asked: Request<bgp::v1::DrainRequest>) -> Reply<bgp::v1::DrainReply> {
        let at_once = asked.into_inner().wait_seconds == 0.0;
        let intent = if at_once { "drained" } else { "draining" }.into();
        Ok(Response::new(bgp::v1::DrainReply { intent }))
    }

    async fn undrain(&self, _: Request<bgp::v1::UndrainRequest>) -> Reply<bgp::v1::UndrainReply> {
        Ok(Response::new(bgp::v1::UndrainReply { intent: "serving".into() }))
    }

    async fn leave(&self, _: Request<bgp::v1::LeaveRequest>) -> Reply<bgp::v1::LeaveReply> {
        Err(Status::failed_precondition("no place to keep it"))
    }
}

#[tonic::async_trait]
impl Ipam for Served {
    async fn status(&self, _: Request<ipam::v1::StatusRequest>) -> Reply<ipam::v1::StatusReply> {
        Ok(Response::new(sample::ipamd()))
    }

    async fn list_blocks(
        &self,
        _: Request<ipam::v1::ListBlocksRequest>,
    ) -> Reply<ipam::v1::ListBlocksReply> {
        Ok(Response::new(ipam::v1::ListBlocksReply { blocks: sample::blocks() }))
    }

    type ListLeasesStream = Many<ipam::v1::Lease>;

    async fn list_leases(
        &self,
        request: Request<ipam::v1::ListLeasesRequest>,
    ) -> Reply<Self::ListLeasesStream> {
        let asked = request.into_inner();
        let fits = move |l: &ipam::v1::Lease| {
            (asked.state.is_empty() || asked.state == l.state)
                && (asked.address.is_empty() || asked.address == l.address)
        };
        Ok(Response::new(many(sample::leases().into_iter().filter(fits))))
    }

    async fn reload(&self, _: Request<ipam::v1::ReloadRequest>) -> Reply<ipam::v1::ReloadReply> {
        let changes = vec!["ipam.cooldown: 130s -> 60s".into()];
        Ok(Response::new(ipam::v1::ReloadReply { changes, warnings: vec![] }))
    }

    async fn list_withheld(
        &self,
        _: Request<ipam::v1::ListWithheldRequest>,
    ) -> Reply<ipam::v1::ListWithheldReply> {
        Ok(Response::new(ipam::v1::ListWithheldReply { withheld: vec![] }))
    }

    async fn hold(&self, _: Request<ipam::v1::HoldRequest>) -> Reply<ipam::v1::HoldReply> {
        Ok(Response::new(ipam::v1::HoldReply { lease: None }))
    }

    async fn unhold(&self, _: Request<ipam::v1::UnholdRequest>) -> Reply<ipam::v1::UnholdReply> {
        Err(Status::failed_precondition("10.244.0.2 is not on hold"))
    }

    async fn release(&self, _: Request<ipam::v1::ReleaseRequest>) -> Reply<ipam::v1::ReleaseReply> {
        Ok(Response::new(ipam::v1::ReleaseReply { lease: sample::leases().into_iter().next() }))
    }

    async fn import(&self, _: Request<ipam::v1::ImportRequest>) -> Reply<ipam::v1::ImportReply> {
        Ok(Response::new(sample::imported()))
    }

    async fn history(&self, _: Request<ipam::v1::HistoryRequest>) -> Reply<ipam::v1::HistoryReply> {
        Ok(Response::new(sample::history()))
    }
}

/// A run directory where bgpd and ipamd answer and netmon does not.
fn serve(refusal: &str, routes: usize) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let listen = |name: &str| {
        let listener = UnixListener::bind(dir.path().join(name)).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    };
    let (bgpd, ipamd) = (listen("bgpd.sock"), listen("ipamd.sock"));
    let served = || Served { refusal: refusal.to_owned(), routes };
    let services = (BgpServer::new(served()), IpamServer::new(served()));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let incoming =
                |l| UnixListenerStream::new(tokio::net::UnixListener::from_std(l).unwrap());
            let server = tonic::transport::Server::builder;
            let bgp = server().add_service(services.0).serve_with_incoming(incoming(bgpd));
            let ipam = server().add_service(services.1).serve_with_incoming(incoming(ipamd));
            tokio::try_join!(bgp, ipam).unwrap();
        });
    });
    dir
}

fn command(dir: &Path, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mainstay"));
    command.args(words.split_whitespace()).env("MAINSTAY_RUN_DIR", dir);
    command.env("MAINSTAY_CONFIG", dir.join("mainstay.yaml")).env_remove("NODE_NAME");
    command
}

fn mainstay(dir: &TempDir, words: &str) -> Output {
    command(dir.path(), words).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(dir: &TempDir, words: &str) -> serde_json::Value {
    serde_json::from_slice(&mainstay(dir, &format!("-o json {words}")).stdout).unwrap()
}

#[test]
fn status_is_one_when_something_is_wrong_and_tells_what() {
    let dir = serve("", 3);
    let out = mainstay(&dir, "status");
    assert_eq!(out.status.code(), Some(1));
    let shown = text(&out.stdout);
    assert!(shown.starts_with("node-a: something is wrong\n  cannot reach mainstay-netmon at "));
    assert!(shown.contains("\n  peer pods/192.0.2.77 (192.0.2.77) is Active: "), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let value = json(&dir, "status");
    assert_eq!(value["bgpd"]["asn"], 64512);
    assert_eq!(value["bgpd"]["running"], true);
    assert_eq!(value["netmon"]["running"], false);
    assert_eq!(value["well"], false);
}

#[test]
fn every_verb_answers_in_text_and_in_json() {
    let dir = serve("", 3);
    assert!(text(&mainstay(&dir, "bgp peers").stdout).contains("Established"));
    assert!(text(&mainstay(&dir, "bgp peers 192.0.2.1").stdout).contains("router ID"));
    assert_eq!(json(&dir, "bgp peers")["peers"][0]["name"], "tor-a");
    assert!(text(&mainstay(&dir, "bgp routes").stdout).contains("65001 65010"));
    assert_eq!(json(&dir, "bgp routes")["routes"].as_array().unwrap().len(), 3);
    assert_eq!(json(&dir, "bgp routes 203.0.113.0/24"), serde_json::json!({"routes": []}));
    assert!(text(&mainstay(&dir, "ipam show").stdout).contains("pod default/web-1"));
    assert_eq!(json(&dir, "ipam show --state cooling")["leases"][0]["address"], "10.244.0.3");
    assert_eq!(json(&dir, "version")["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn one_command_explains_a_prefix_and_its_exit_code_says_whether_there_is_a_route() {
    let dir = serve("", 3);
    let out = mainstay(&dir, "bgp explain 198.51.100.7");
    assert_eq!(out.status.code(), Some(0));
    let shown = text(&out.stdout);
    for said in
        ["lost by: longer AS path", "own AS in the path", "unreachable", "not told: it came"]
    {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    assert_eq!(mainstay(&dir, "bgp explain 203.0.113.0/24").status.code(), Some(1));
    assert_eq!(json(&dir, "bgp explain 198.51.100.7")["kernel"]["attempts"], 3);
}

#[test]
fn the_speaker_is_operated_and_watched() {
    let dir = serve("", 3);
    let said = |words: &str| text(&mainstay(&dir, words).stdout);
    assert!(said("bgp summary").contains("Established"));
    assert_eq!(json(&dir, "bgp summary")["status"]["asn"], 64512);
    assert!(said("bgp peer tor-a").contains("router ID"));
    assert_eq!(said("bgp routes --count"), "3 routes, 1 path\n");
    assert_eq!(said("bgp reset tor-a"), "tor-a: Hard\n");
    assert_eq!(said("bgp reset tor-a --soft out"), "tor-a: SoftOut\n");
    assert_eq!(said("bgp refresh tor-a"), "tor-a: SoftIn\n");
    assert_eq!(json(&dir, "bgp reset --all --soft in")["done"][0], ": SoftIn");
    let watch = mainstay(&dir, "bgp watch");
    assert_eq!(watch.status.code(), Some(1), "the speaker has ended it");
    let shown = text(&watch.stdout);
    assert!(shown.contains("session down tor-a: hold timer expired"), "{shown}");
    assert!(shown.contains("lost 17 events\n") && !shown.contains('\u{1b}'), "{shown}");
    let lines = text(&mainstay(&dir, "-o json bgp watch").stdout);
    let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((&first["what"], lines.lines().count()), (&"down".into(), 5));
}

#[test]
fn routes_are_injected_and_taken_back_from_the_shell() {
    let dir = serve("", 3);
    let said = |words: &str| text(&mainstay(&dir, words).stdout);
    let told = said("bgp inject lb 198.18.0.1 198.18.0.2/32 --ttl 1m --community 64512:80");
    assert_eq!(told, "lb: 2 routes, 1m00s left until they are withdrawn\n");
    let refused = mainstay(&dir, "bgp inject lb 10.0.0.0/8");
    assert_eq!(refused.status.code(), Some(1));
    let why = "mainstay: mainstay-bgpd: 10.0.0.0/8 is announced by other\n";
    assert_eq!(text(&refused.stderr), why);
    assert_eq!(said("bgp withdraw lb --all"), "lb: released, 2 routes withdrawn\n");
    let nobody = mainstay(&dir, "bgp withdraw nobody 198.18.0.1");
    assert_eq!(text(&nobody.stderr), "mainstay: no lease nobody; see mainstay bgp leases\n");
    assert!(said("bgp leases lb").contains("198.18.0.1/32"));
    assert_eq!(json(&dir, "bgp leases")["leases"][1]["client"], "egress");
}

#[test]
fn peers_are_judged_and_the_worst_one_is_the_exit_code() {
    let dir = serve("", 3);
    let out = mainstay(&dir, "peers check");
    assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
    let shown = text(&out.stdout);
    assert!(shown.starts_with("tor-a (192.0.2.1): would flap\n"), "{shown}");
    assert!(shown.contains("mainstay peer-config --peer tor-a "), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let down = mainstay(&dir, "peers check 192.0.2.77");
    assert_eq!(down.status.code(), Some(1));
    assert!(text(&down.stdout).contains(": cannot tell\n"), "{}", text(&down.stdout));
    assert_eq!(json(&dir, "peers check")["peers"][0]["verdict"], "would flap");
    let nobody = mainstay(&dir, "peers check x");
    assert_eq!(text(&nobody.stderr), "mainstay: no peer x; see mainstay bgp peers\n");
}

#[test]
fn a_new_file_is_compared_with_what_the_speaker_runs_by() {
    let dir = serve("", 3);
    let running = configuration().text;
    let file = dir.path().join("new.yaml");
    let diff = |text: &str| {
        std::fs::write(&file, text).unwrap();
        mainstay(&dir, &format!("config diff {}", file.display()))
    };
    let same = diff(&running);
    assert_eq!(text(&same.stdout), "no difference to what bgpd of node-a runs by\n");
    assert_eq!(same.status.code(), Some(0));
    let timer = diff(&running.replace("asn: 65001", "asn: 65001, hold_time: 30s"));
    assert_eq!(timer.status.code(), Some(0), "{}", text(&timer.stderr));
    assert!(text(&timer.stdout).contains("no reset: from the next session on"));
    let asn = diff(&running.replace("asn: 65001", "asn: 65002"));
    assert_eq!(asn.status.code(), Some(2));
    assert!(text(&asn.stdout).contains("RESETS the session with tor-a"), "{}", text(&asn.stdout));
    let bad = diff(&running.replace("asn: 65001", "asn: none"));
    assert_eq!(bad.status.code(), Some(1));
    assert!(text(&bad.stderr).contains("new.yaml:6:"), "{}", text(&bad.stderr));
}

#[test]
fn without_a_speaker_a_new_file_is_compared_with_the_one_at_hand() {
    let dir = tempfile::tempdir().unwrap();
    let running = configuration().text;
    std::fs::write(dir.path().join("mainstay.yaml"), &running).unwrap();
    let new = dir.path().join("new.yaml");
    std::fs::write(&new, running.replace("asn: 65001", "asn: 65002")).unwrap();
    let out = mainstay(&dir, &format!("config diff {}", new.display()));
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).starts_with("mainstay: bgpd does not run here; compared with "));
}

#[test]
fn a_drill_that_would_hurt_or_hit_the_wrong_node_is_refused() {
    let dir = serve("", 3);
    let hurts = mainstay(&dir, "drill restart");
    assert_eq!(hurts.status.code(), Some(1));
    assert!(text(&hurts.stderr).starts_with("mainstay: refused: a restart would flap tor-a"));
    let other = mainstay(&dir, "drill kill --node node-b");
    assert!(text(&other.stderr).starts_with("mainstay: this node is node-a, not node-b"));
    assert_eq!(mainstay(&dir, "drill upgrade").status.code(), Some(2), "without a binary");
}

#[test]
fn a_drain_is_waited_for_and_the_exit_code_tells_whether_it_came_about() {
    let dir = serve("", 3);
    for (words, code, said) in [
        ("drain --wait 0s", 0, "bgpd: drained\n"),
        ("drain --wait 5s", 1, "bgpd: serving\n"),
        ("undrain", 0, "bgpd: serving\n"),
        ("leave", 1, ""),
    ] {
        let out = mainstay(&dir, words);
        assert_eq!((out.status.code(), text(&out.stdout).as_str()), (Some(code), said), "{words}");
    }
    assert_eq!(json(&dir, "drain --wait 0s")["intent"], "drained");
    let refused = text(&mainstay(&dir, "leave").stderr);
    assert_eq!(refused, "mainstay: mainstay-bgpd: no place to keep it\n");
    assert_eq!(mainstay(&dir, "drain --wait soon").status.code(), Some(2));
}

#[test]
fn what_is_not_there_is_one_line_and_exit_code_one() {
    let dir = serve("", 3);
    for (words, said) in [
        ("bgp peers x", "mainstay: no peer x; see mainstay bgp peers\n"),
        ("bgp routes 203.0.113.0/24", "mainstay: no route for 203.0.113.0/24\n"),
        ("bgp routes --peer x", "mainstay: mainstay-bgpd: there is no peer \"\\u{1b}[2Jx\"\n"),
        ("ipam show 10.9.9.9", "mainstay: 10.9.9.9 is in no block of this node\n"),
    ] {
        let out = mainstay(&dir, words);
        assert_eq!((out.status.code(), text(&out.stderr).as_str()), (Some(1), said), "{words}");
    }
}

#[test]
fn a_socket_that_nobody_serves_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("bgpd.sock");
    let said = |why: &str| {
        format!("mainstay: cannot reach mainstay-bgpd at {}: {why}\n", socket.display())
    };
    let out = mainstay(&dir, "bgp peers");
    assert_eq!(text(&out.stderr), said("no such file; is it running?"));
    assert_eq!(out.status.code(), Some(1));
    drop(UnixListener::bind(&socket).unwrap());
    let out = mainstay(&dir, "bgp peers");
    assert_eq!(text(&out.stderr), said("nobody listens there; is it running?"));
}

#[test]
fn something_else_behind_the_socket_does_not_hang_us() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("bgpd.sock")).unwrap();
    let out = mainstay(&dir, "bgp peers");
    assert_eq!(text(&out.stderr), "mainstay: mainstay-bgpd did not answer within 5 s\n");
    assert_eq!(out.status.code(), Some(1));
    drop(listener);
}

#[test]
fn a_reload_tells_what_changed_and_the_faults_as_the_daemon_told_them() {
    let dir = serve("mainstay.yaml:5:14: bgp.hold_time: 2s is wrong\nmainstay.yaml:6:1: x: y", 0);
    let out = mainstay(&dir, "reload");
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(
        text(&out.stdout),
        "bgpd: refused; nothing has changed\n\
         ipamd: ipam.cooldown: 130s -> 60s\n\
         netmon: not running\n"
    );
    assert_eq!(
        text(&out.stderr),
        "mainstay: refused by bgpd:\n\
         mainstay.yaml:5:14: bgp.hold_time: 2s is wrong\n\
         mainstay.yaml:6:1: x: y\n"
    );
}

#[test]
fn the_faults_of_the_worst_file_come_through() {
    let line = "mainstay.yaml:5:14: bgp.peers[7].hold_tiem: unknown key (known here: …)\n";
    let faults = line.repeat(500) + "… and 123456 more";
    let dir = serve(&faults, 0);
    let out = mainstay(&dir, "reload");
    assert!(text(&out.stderr).ends_with(&format!("{faults}\n")), "{}", text(&out.stderr));
}

#[test]
fn whoever_stops_reading_hears_no_complaint() {
    let dir = serve("", 200_000);
    for words in ["bgp routes", "-o json bgp routes"] {
        let mut child = command(dir.path(), words)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = child.stdout.take().unwrap();
        let mut some = [0; 100];
        out.read_exact(&mut some).unwrap();
        drop(out);
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), text(&ended.stderr)), (Some(0), String::new()));
    }
}

#[test]
fn without_a_container_network_nobody_misses_the_speaker() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("mainstay.yaml"), "network: {mode: none}").unwrap();
    let out = mainstay(&dir, "status");
    let shown = text(&out.stdout);
    assert_eq!(shown.matches("not needed").count(), 2, "{shown}");
    assert!(!shown.contains("bgpd.sock") && shown.contains("netmon.sock"), "{shown}");
}

#[test]
fn a_bad_configuration_is_told_without_any_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.yaml");
    std::fs::write(&bad, "bgp:\n  asn: 0\n  hold_time: 2s\n").unwrap();
    let bad = bad.display();
    let out = mainstay(&dir, &format!("config check {bad}"));
    assert_eq!(out.status.code(), Some(1));
    assert_eq!(
        text(&out.stderr),
        format!(
            "{bad}:2:8: bgp.asn: 0 is not an AS number, 1 to 4294967295\n\
             {bad}:3:14: bgp.hold_time: 2s is neither 0s nor at least 3s\n\
             {bad}: 2 faults\n"
        )
    );
    let value = json(&dir, &format!("config check {bad}"));
    assert_eq!(value["faults"][1]["path"], "bgp.hold_time");
    assert_eq!(value["faults"][1]["column"], 14);
    let out = mainstay(&dir, "config check /nonexistent.yaml");
    let said = "cannot read /nonexistent.yaml: No such file or directory (os error 2)\n";
    assert_eq!(text(&out.stderr), said);
}

#[test]
fn a_good_configuration_is_checked_and_shown_without_any_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mainstay.yaml");
    std::fs::write(&file, "nodes: [{name: a}, {name: b}]\nbgp: {asn: 1}").unwrap();
    let out = mainstay(&dir, "config check");
    assert_eq!(text(&out.stdout), format!("{}: good, 2 nodes, 0 warnings\n", file.display()));
    let out = mainstay(&dir, "config check --node c");
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("no node c in "), "{}", text(&out.stderr));
    let out = mainstay(&dir, "config show --node b");
    assert!(text(&out.stdout).starts_with("name: b\naddress: null\n"), "{}", text(&out.stdout));
    assert_eq!(json(&dir, "config show --node b")["bgp"]["fib"]["metric"], 32);
    assert!(json(&dir, "config schema")["properties"]["bgp"].is_object());
}

#[test]
fn a_wrong_command_line_is_exit_code_two() {
    let dir = tempfile::tempdir().unwrap();
    for words in ["frobnicate", "", "bgp routes --received", "status extra"] {
        assert_eq!(mainstay(&dir, words).status.code(), Some(2), "{words}");
    }
}

#[test]
fn addresses_are_acted_on_only_with_what_names_them() {
    let dir = serve("", 3);
    let outcome = |words: &str| {
        let out = mainstay(&dir, words);
        let said = [out.stdout, out.stderr].concat();
        (out.status.code().unwrap(), text(&said))
    };
    let (code, said) = outcome("ipam release 10.244.0.2");
    assert!(code == 2 && said.contains("--seq <SEQ>"), "{said}");
    let (code, said) = outcome("ipam release 10.244.0.2 --seq 7");
    assert!(code == 1 && said.contains("is in use: pod default/web-0 has it"), "{said}");
    let (code, said) = outcome("ipam release 10.244.0.2 --seq 7 --force");
    assert_eq!((code, &*said), (0, "10.244.0.2 released, of pod default/web-0\n"));
    let (code, said) = outcome("ipam unhold 10.244.0.2");
    assert!(code == 1 && said.contains("10.244.0.2 is not on hold"), "{said}");
    let (code, said) = outcome("ipam hold 10.244.0.2 --reason printer");
    assert_eq!((code, &*said), (0, "10.244.0.2 on hold\n"));
    for words in [
        "ipam hold 10.244.0.2",
        "ipam history web-0",
        "ipam history --at 03:12",
        "ipam history 10.0.0.2 --at 03:12 --since 1h",
        "ipam import frobnicate /x",
        "ipam migrate",
        "ipam migrate --from host-local --to host-local",
    ] {
        assert_eq!(outcome(words).0, 2, "{words}");
    }
    let (code, said) = outcome("ipam history 10.244.0.2 --at tomorrow");
    assert!(code == 1 && said.contains("\"tomorrow\" is no time"), "{said}");
    let (code, said) = outcome("ipam history 10.244.0.2 --at 2026-11-23T03:01:00Z");
    assert!(code == 0 && said.contains("pod default/web-0  since 2026-11-23 03:00:00Z"), "{said}");
    assert_eq!(json(&dir, "ipam history")["events"][1]["why"], "del");
    let (code, said) = outcome("ipam show --pool none");
    assert!(code == 1 && said.contains("no block of a pool"), "{said}");
}

#[test]
fn an_import_of_files_as_other_allocators_write_them_is_told() {
    let dir = serve("", 3);
    let networks = dir.path().join("pods");
    std::fs::create_dir(&networks).unwrap();
    std::fs::write(networks.join("10.244.0.7"), "c7\r\neth0").unwrap();
    let words = format!("ipam import host-local {} --dry-run", networks.display());
    let said = text(&mainstay(&dir, &words).stdout);
    assert!(said.starts_with("    2 would be taken over: 10.244.0.7, 10.244.0.8\n"), "{said}");
    assert_eq!(json(&dir, &words)["adopted"][0], "10.244.0.7");
    std::fs::write(networks.join("10.244.0.8"), "").unwrap();
    let out = mainstay(&dir, &words);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("10.244.0.8: is not a container's id"), "{out:?}");
}
