//! The real binaries, run as a runtime runs them. Who answers on the socket here is only there to
//! get the framing wrong; mainstay-ipam against the real mainstay-ipamd is in `tests/`.
#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mainstay_proto::ipam::v1::{Address, CniError, CniReply, CniRequest};
use prost::Message;
use serde_json::{Value, json};

const IPAM: &str = env!("CARGO_BIN_EXE_mainstay-ipam");
const NONE: &str = env!("CARGO_BIN_EXE_mainstay-none");

struct Done {
    stdout: String,
    stderr: String,
    status: Option<i32>,
    took: Duration,
}

impl Done {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {:?}", self.stdout))
    }

    fn code(&self) -> u64 {
        assert_eq!(self.status, Some(1), "{}{}", self.stdout, self.stderr);
        self.json()["code"].as_u64().expect("a code")
    }

    fn msg(&self) -> String {
        self.json()["msg"].as_str().expect("a msg").to_owned()
    }
}

fn run(binary: &str, env: &[(&str, &str)], stdin: &[u8]) -> Done {
    let start = Instant::now();
    let mut child = Command::new(binary)
        .env_clear()
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A plugin that has seen enough may be gone before it has read everything.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    Done {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        status: output.status.code(),
        took: start.elapsed(),
    }
}

fn call(binary: &str, command: &str, stdin: &Value) -> Done {
    let env = [
        ("CNI_COMMAND", command),
        ("CNI_CONTAINERID", "3f2a"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", "/run/netns/a"),
        ("CNI_PATH", "/opt/cni/bin"),
    ];
    run(binary, &env, &serde_json::to_vec(stdin).unwrap())
}

fn conf(socket: &Path, timeout: &str) -> Value {
    json!({
        "cniVersion": "1.1.0",
        "name": "mainstay",
        "ipam": {"type": "mainstay-ipam", "socket": socket, "timeout": timeout},
        "cni.dev/valid-attachments": [],
        "prevResult": {"ips": [{"address": "10.244.0.5/26"}]},
    })
}

/// A socket in a directory of its own.
struct Place {
    _dir: tempfile::TempDir,
    socket: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("cni.sock");
    Place { _dir: dir, socket }
}

/// What the other end does with one connection.
type Turn = fn(UnixStream);

/// Handles each connection with the next of `turns`, in order, then listens no more.
fn serve(socket: &Path, turns: Vec<Turn>) {
    let listener = UnixListener::bind(socket).unwrap();
    thread::spawn(move || {
        for turn in turns {
            let (stream, _) = listener.accept().unwrap();
            turn(stream);
        }
    });
}

fn read_request(stream: &mut UnixStream) -> CniRequest {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).unwrap();
    let mut request = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut request).unwrap();
    CniRequest::decode(request.as_slice()).unwrap()
}

fn write_reply(stream: &mut UnixStream, reply: &CniReply) {
    let reply = reply.encode_to_vec();
    stream.write_all(&u32::try_from(reply.len()).unwrap().to_be_bytes()).unwrap();
    stream.write_all(&reply).unwrap();
}

fn one_address() -> CniReply {
    let address = Address { address: "10.244.0.5/26".into(), gateway: "10.244.0.1".into() };
    CniReply { error: None, addresses: vec![address] }
}

fn answers(mut stream: UnixStream) {
    read_request(&mut stream);
    write_reply(&mut stream, &one_address());
}

fn hangs_up(mut stream: UnixStream) {
    read_request(&mut stream);
}

fn stops_in_mid_reply(mut stream: UnixStream) {
    read_request(&mut stream);
    stream.write_all(&[0, 0, 0, 40, 1, 2, 3]).unwrap();
}

fn claims_a_gigabyte(mut stream: UnixStream) {
    read_request(&mut stream);
    stream.write_all(&0x4000_0000_u32.to_be_bytes()).unwrap();
}

fn sends_garbage(mut stream: UnixStream) {
    read_request(&mut stream);
    stream.write_all(&[0, 0, 0, 3, 0xff, 0xff, 0xff]).unwrap();
}

fn says_nothing(mut stream: UnixStream) {
    read_request(&mut stream);
    thread::sleep(Duration::from_secs(30));
}

/// One byte every 50 ms: no single read ever waits long.
fn dribbles(mut stream: UnixStream) {
    read_request(&mut stream);
    let _ = stream.write_all(&[0, 0, 4, 0]);
    while stream.write_all(&[0]).is_ok() {
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn version_is_answered_whatever_stands_on_stdin() {
    for binary in [IPAM, NONE] {
        for stdin in [r#"{"cniVersion":"1.1.0"}"#, "", "{{{"] {
            let done = run(binary, &[("CNI_COMMAND", "VERSION")], stdin.as_bytes());
            assert_eq!(
                (done.status, done.stdout.as_str()),
                (
                    Some(0),
                    "{\"cniVersion\":\"1.1.0\",\"supportedVersions\":[\"0.1.0\",\"0.2.0\",\
                     \"0.3.0\",\"0.3.1\",\"0.4.0\",\"1.0.0\",\"1.1.0\"]}\n"
                )
            );
        }
        let old = run(binary, &[("CNI_COMMAND", "VERSION")], br#"{"cniVersion":"0.4.0"}"#);
        assert_eq!(old.json()["cniVersion"], "0.4.0");
    }
}

#[test]
fn a_node_without_container_network_says_so_and_is_ready() {
    let conf = json!({
        "cniVersion": "1.1.0", "name": "none", "type": "mainstay-none",
        "cni.dev/valid-attachments": [], "prevResult": {},
    });
    for command in ["DEL", "GC", "STATUS"] {
        let done = call(NONE, command, &conf);
        assert_eq!((done.status, done.stdout.as_str()), (Some(0), ""), "{command}");
    }
    let add = call(NONE, "ADD", &conf);
    assert_eq!(
        (add.code(), add.stdout.as_str()),
        (100, call(NONE, "CHECK", &conf).stdout.as_str())
    );
    insta::assert_snapshot!(add.stdout.trim_end(), @r#"{"cniVersion":"1.1.0","code":100,"msg":"this node has no container network","details":"set hostNetwork: true in the pod, or network.mode: bgp in mainstay.yaml and a conflist with mainstay-ipam"}"#);
}

#[test]
fn bad_calls_get_the_code_of_the_specification() {
    let none = Path::new("/nonexistent/cni.sock");
    let good = conf(none, "100ms");
    let with = |key: &str, value: Value| {
        let mut conf = good.clone();
        conf[key] = value;
        conf
    };
    let ipam = |key: &str, value: Value| {
        let mut conf = good.clone();
        conf["ipam"][key] = value;
        conf
    };
    let without = |key: &str| {
        let mut conf = good.clone();
        conf.as_object_mut().unwrap().remove(key);
        conf
    };
    let cases = [
        ("UPDATE", good.clone()),
        ("ADD", with("cniVersion", json!("9.9.9"))),
        ("ADD", with("cniVersion", json!(7))),
        ("ADD", with("name", json!("a/b"))),
        ("ADD", json!([])),
        ("ADD", without("ipam")),
        ("ADD", ipam("subnet", json!("10.0.0.0/8"))),
        ("ADD", with("args", json!({"cni": {"ips": ["10.0.0"]}}))),
        ("ADD", with("runtimeConfig", json!({"ips": "10.0.0.1"}))),
        ("ADD", with("runtimeConfig", json!({"io.kubernetes.cri.pod-annotations": {"a/b": 1}}))),
        ("CHECK", without("prevResult")),
        ("CHECK", with("prevResult", json!({"ips": [{"address": "x"}]}))),
        ("CHECK", with("cniVersion", json!("0.3.1"))),
        ("GC", with("cni.dev/valid-attachments", json!([{"containerID": "a"}]))),
        ("GC", with("cniVersion", json!("1.0.0"))),
        ("STATUS", with("cniVersion", json!("1.0.0"))),
    ];
    let lines = cases.map(|(command, stdin)| {
        let done = call(IPAM, command, &stdin);
        done.code();
        assert_eq!(done.stderr, "");
        format!("{command:7}{}", done.stdout)
    });
    insta::assert_snapshot!(lines.concat());
}

#[test]
fn a_configuration_without_end_is_cut_off() {
    let done = run(NONE, &[("CNI_COMMAND", "STATUS")], &vec![b' '; 3 << 20]);
    assert_eq!((done.code(), done.msg().as_str()), (6, "the network configuration is too long"));
}

#[test]
fn a_person_is_told_what_this_is() {
    for binary in [IPAM, NONE] {
        assert!(run_with_arg(binary, "--version").starts_with("CNI plugin mainstay-"));
        assert_eq!(run_with_arg(binary, "--frobnicate"), "");
    }
    let done = run(IPAM, &[], b"");
    assert_eq!(
        (done.code(), done.msg().as_str()),
        (4, "required env variables [CNI_COMMAND] missing")
    );
}

fn run_with_arg(binary: &str, argument: &str) -> String {
    let output = Command::new(binary).arg(argument).stdin(Stdio::null()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_answer_becomes_a_result() {
    let at = place();
    serve(&at.socket, vec![answers]);
    let done = call(IPAM, "ADD", &conf(&at.socket, "5s"));
    insta::assert_snapshot!(done.stdout.trim_end(), @r#"{"cniVersion":"1.1.0","ips":[{"address":"10.244.0.5/26","gateway":"10.244.0.1"}],"routes":[{"dst":"0.0.0.0/0"}],"dns":{}}"#);
    assert_eq!((done.status, done.stderr.as_str()), (Some(0), ""));
}

#[test]
fn an_error_of_the_daemon_passes_through() {
    let at = place();
    serve(
        &at.socket,
        vec![|mut stream| {
            read_request(&mut stream);
            let error =
                CniError { code: 11, msg: "pool is full".into(), details: "in 12 s".into() };
            write_reply(&mut stream, &CniReply { error: Some(error), addresses: Vec::new() });
        }],
    );
    let done = call(IPAM, "ADD", &conf(&at.socket, "5s"));
    assert_eq!(done.code(), 11);
    insta::assert_snapshot!(done.stdout.trim_end(), @r#"{"cniVersion":"1.1.0","code":11,"msg":"pool is full","details":"in 12 s"}"#);
}

#[test]
fn a_daemon_that_comes_late_is_waited_for() {
    let at = place();
    let socket = at.socket.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(400));
        serve(&socket, vec![answers]);
    });
    assert_eq!(call(IPAM, "ADD", &conf(&at.socket, "10s")).status, Some(0));
}

#[test]
fn a_daemon_that_restarts_in_mid_call_is_asked_again() {
    let at = place();
    serve(&at.socket, vec![hangs_up, stops_in_mid_reply, answers]);
    assert_eq!(call(IPAM, "ADD", &conf(&at.socket, "10s")).status, Some(0));
}

#[test]
fn without_a_daemon_the_runtime_is_told_to_try_again() {
    let at = place();
    for command in ["ADD", "DEL", "CHECK", "GC"] {
        let done = call(IPAM, command, &conf(&at.socket, "200ms"));
        assert_eq!(done.code(), 11, "{command}");
        assert!(done.msg().starts_with("mainstay-ipamd does not answer at /"), "{}", done.msg());
        assert!(done.took < Duration::from_secs(3), "{:?}", done.took);
    }
    let done = call(IPAM, "STATUS", &conf(&at.socket, "200ms"));
    assert_eq!(done.code(), 50);
}

#[test]
fn a_status_takes_no_longer_than_two_seconds() {
    let at = place();
    let done = call(IPAM, "STATUS", &conf(&at.socket, "1m"));
    assert_eq!(done.code(), 50);
    assert!(done.took < Duration::from_secs(5), "{:?}", done.took);
}

#[test]
fn a_daemon_that_never_ends_its_reply_is_not_waited_for_longer_than_said() {
    let turns: [(Turn, &str); 2] =
        [(says_nothing, "no reply in time"), (dribbles, "no reply in time")];
    for (turn, why) in turns {
        let at = place();
        serve(&at.socket, vec![turn]);
        let done = call(IPAM, "ADD", &conf(&at.socket, "300ms"));
        assert_eq!(done.code(), 11);
        assert!(done.msg().ends_with(why), "{}", done.msg());
        assert!(done.took < Duration::from_secs(3), "{:?}", done.took);
    }
}

#[test]
fn a_daemon_that_only_hangs_up_is_not_asked_for_ever() {
    let at = place();
    serve(&at.socket, vec![stops_in_mid_reply; 1000]);
    let done = call(IPAM, "DEL", &conf(&at.socket, "300ms"));
    assert_eq!(done.code(), 11);
    assert!(done.msg().ends_with("the connection was closed before the reply"), "{}", done.msg());
}

/// A stopped daemon: its backlog is full, so connect(2) itself waits.
#[test]
fn a_daemon_that_does_not_accept_is_not_waited_for_longer_than_said() {
    let at = place();
    let listener = UnixListener::bind(&at.socket).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let _queued = UnixStream::connect(&at.socket).unwrap();
    let done = call(IPAM, "ADD", &conf(&at.socket, "300ms"));
    assert_eq!((done.code(), done.msg().ends_with("no reply in time")), (11, true));
    assert!(done.took < Duration::from_secs(3), "{:?}", done.took);
}

#[test]
fn a_reply_that_is_none_is_refused_at_once() {
    let turns: [(Turn, &str); 2] = [
        (claims_a_gigabyte, "a reply of 1073741824 bytes, more than 1048576"),
        (sends_garbage, "a reply that is no reply"),
    ];
    for (turn, why) in turns {
        let at = place();
        serve(&at.socket, vec![turn]);
        let done = call(IPAM, "ADD", &conf(&at.socket, "20s"));
        assert_eq!(done.code(), 5);
        assert!(done.msg().contains(why), "{}", done.msg());
        assert!(done.took < Duration::from_secs(5), "{:?}", done.took);
    }
}

#[test]
fn an_empty_success_is_no_result() {
    let at = place();
    serve(
        &at.socket,
        vec![|mut stream| {
            read_request(&mut stream);
            write_reply(&mut stream, &CniReply::default());
        }],
    );
    let done = call(IPAM, "ADD", &conf(&at.socket, "5s"));
    assert_eq!(
        (done.code(), done.msg().as_str()),
        (999, "mainstay-ipamd answered without an address")
    );
}

#[test]
fn the_daemon_is_told_all_the_runtime_said() {
    let at = place();
    serve(
        &at.socket,
        vec![|mut stream| {
            let request = read_request(&mut stream);
            // The request itself comes back as the text of an error.
            let error =
                CniError { code: 100, msg: format!("{request:#?}"), details: String::new() };
            write_reply(&mut stream, &CniReply { error: Some(error), addresses: Vec::new() });
        }],
    );
    let mut conf = conf(&at.socket, "5s");
    conf["args"] = json!({"cni": {"ips": ["10.244.0.7", "10.244.0.6/26"]}});
    conf["runtimeConfig"] = json!({
        "ips": ["10.244.0.7/26", "fd00::7"],
        "io.kubernetes.cri.pod-annotations": {"mainstay.io/sticky-key": "db"},
    });
    let env = [
        ("CNI_COMMAND", "ADD"),
        ("CNI_CONTAINERID", "3f2a"),
        ("CNI_IFNAME", "eth0"),
        ("CNI_NETNS", "/run/netns/a"),
        ("CNI_ARGS", "K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0;K8S_POD_UID=u1;IP=10.244.0.6"),
    ];
    let done = run(IPAM, &env, &serde_json::to_vec(&conf).unwrap());
    insta::assert_snapshot!(done.msg());
}
