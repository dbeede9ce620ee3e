//! A real containerd with runc: its own root, state and socket, in the network namespace of one of
//! the test's hosts, and in a mount and a process namespace that end with the test. There /opt/cni,
//! /etc/cni and /var/lib/cni are its own as well. Its one image is made here, of busybox.

use crate::daemons::Node;
use crate::proc::{Proc, bin, tool};
use crate::scratch::Scratch;
use crate::wait::{eventually, until};
use hyper_util::rt::TokioIo;
use mainstay_proto::runtime::v1 as cri;
use mainstay_proto::runtime::v1::runtime_service_client::RuntimeServiceClient;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs::File;
use std::net::IpAddr;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use tonic::transport::{Channel, Endpoint};

pub const IMAGE: &str = "mainstay.test/pod:1";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Runs until it is dropped, with everything it has started.
#[derive(Debug)]
pub struct Containerd<'a> {
    node: &'a Node,
    dir: Scratch,
    /// The name of its control groups.
    group: String,
    cage: Option<Cage>,
}

/// The namespaces, held by a process that sleeps; all that is in them ends with it.
#[derive(Debug)]
struct Cage {
    holder: Proc,
    init: u32,
    daemon: Proc,
}

/// A pod as the kubelet describes it.
#[derive(Debug, Clone, Default)]
pub struct PodSpec {
    pub name: String,
    pub uid: String,
    pub attempt: u32,
    pub annotations: HashMap<String, String>,
}

impl PodSpec {
    #[must_use]
    pub fn new(name: &str, uid: &str) -> Self {
        Self { name: name.into(), uid: uid.into(), ..Self::default() }
    }
}

impl<'a> Containerd<'a> {
    /// Starts it with `conflist` as its only network.
    #[must_use]
    pub fn start(node: &'a Node, conflist: &Value) -> Self {
        let dir = Scratch::new("containerd");
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let group = format!("mainstay-{}-{n}", std::process::id());
        for name in ["etc/upper/cni/net.d", "etc/work", "var/upper/cni", "var/work", "bin", "image"]
        {
            std::fs::create_dir_all(dir.path().join(name)).expect("a directory");
        }
        dir.write("etc/upper/cni/net.d/10-pods.conflist", &conflist.to_string());
        for plugin in ["ptp", "bridge", "macvlan", "portmap", "loopback"] {
            let there = tool(&format!("/usr/lib/cni/{plugin}"), "containernetworking-plugins");
            symlink(there, dir.path().join("bin").join(plugin)).expect("a link");
        }
        symlink(bin("mainstay-ipam"), dir.path().join("bin/mainstay-ipam")).expect("a link");
        make_image(&dir);
        dir.write("config.toml", &config(dir.path()));
        let mut this = Self { node, dir, group, cage: None };
        this.boot();
        let image = this.dir.path().join("image.tar").display().to_string();
        for namespace in ["k8s.io", &this.group.clone()] {
            let import = ["image", "import", "--snapshotter", "native", &image];
            this.ctr(namespace, &import).expect("the image is good");
        }
        this
    }

    /// The machine goes down without a word, and up again with what was on its disk.
    pub fn reboot(&mut self) {
        self.cage = None;
        let _ = std::fs::remove_dir_all(self.dir.path().join("state"));
        self.boot();
    }

    /// SIGKILL and a new one; the pods run on.
    pub fn restart(&mut self) {
        let cage = self.cage.as_mut().expect("it runs");
        for pid in children(cage.daemon.pid()) {
            let pid = rustix::process::Pid::from_raw(pid.try_into().expect("a pid"));
            let _ =
                rustix::process::kill_process(pid.expect("not 0"), rustix::process::Signal::KILL);
        }
        cage.daemon.kill();
        cage.daemon = daemon(self.node, &self.dir, cage.init);
        self.wait();
    }

    /// What makes a command see the mounts that containerd sees.
    pub fn among_its_mounts(&self) -> impl FnOnce(&mut Command) + use<> {
        let init = self.cage.as_ref().expect("it runs").init;
        let mounts = File::open(format!("/proc/{init}/ns/mnt")).expect("it is ours");
        move |command| {
            // SAFETY: one system call on a descriptor that the closure owns.
            unsafe {
                command.pre_exec(move || {
                    let kind = Some(rustix::thread::LinkNameSpaceType::Mount);
                    Ok(rustix::thread::move_into_link_name_space(mounts.as_fd(), kind)?)
                });
            }
        }
    }

    /// Its CRI socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("containerd.sock")
    }

    /// `ctr run --cni` of a command that runs to its end: what it printed.
    pub fn run(&self, id: &str, command: &[&str]) -> Result<String, String> {
        let namespace = self.group.clone();
        let mut args = vec!["run", "--rm", "--cni", "--snapshotter", "native", IMAGE, id];
        args.extend(command);
        self.ctr(&namespace, &args)
    }

    fn ctr(&self, namespace: &str, args: &[&str]) -> Result<String, String> {
        let init = self.cage.as_ref().expect("it runs").init;
        let mut command = enter(self.node, init);
        command.arg(tool("ctr", "containerd")).arg("-a").arg(self.socket());
        let out = command.args(["-n", namespace]).args(args).output().expect("nsenter runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if out.status.success() {
            return Ok(text(&out.stdout));
        }
        Err(format!("ctr {args:?}: {}{}", text(&out.stdout), text(&out.stderr)))
    }

    /// RunPodSandbox: its id.
    pub fn run_pod(&self, pod: &PodSpec) -> Result<String, String> {
        let PodSpec { name, uid, attempt, annotations } = pod.clone();
        let namespace = "default".to_owned();
        let config = cri::PodSandboxConfig {
            metadata: Some(cri::PodSandboxMetadata { name, uid, namespace, attempt }),
            annotations,
            linux: Some(cri::LinuxPodSandboxConfig { cgroup_parent: format!("/{}", self.group) }),
            ..cri::PodSandboxConfig::default()
        };
        let request =
            cri::RunPodSandboxRequest { config: Some(config), runtime_handler: String::new() };
        self.ask(async |mut runtime| runtime.run_pod_sandbox(request).await)
            .map(|reply| reply.pod_sandbox_id)
    }

    pub fn stop_pod(&self, id: &str) -> Result<(), String> {
        let request = cri::StopPodSandboxRequest { pod_sandbox_id: id.into() };
        self.ask(async |mut runtime| runtime.stop_pod_sandbox(request).await).map(drop)
    }

    pub fn remove_pod(&self, id: &str) -> Result<(), String> {
        let request = cri::RemovePodSandboxRequest { pod_sandbox_id: id.into() };
        self.ask(async |mut runtime| runtime.remove_pod_sandbox(request).await).map(drop)
    }

    /// Takes a sandbox that does not run from containerd's memory, behind the back of its CRI: no
    /// DEL will ever come for it.
    pub fn forget(&mut self, id: &str) {
        self.ctr("k8s.io", &["containers", "delete", id]).expect("it does not run");
        self.restart();
    }

    /// The pod's address, as the kubelet would put it into the pod's status.
    pub fn address(&self, id: &str) -> Result<IpAddr, String> {
        let request = cri::PodSandboxStatusRequest { pod_sandbox_id: id.into(), verbose: false };
        let reply = self.ask(async |mut runtime| runtime.pod_sandbox_status(request).await)?;
        let network = reply.status.and_then(|status| status.network).unwrap_or_default();
        network.ip.parse().map_err(|e| format!("{e}: {:?}", network.ip))
    }

    fn ask<T>(
        &self,
        call: impl AsyncFnOnce(
            RuntimeServiceClient<Channel>,
        ) -> Result<tonic::Response<T>, tonic::Status>,
    ) -> Result<T, String> {
        let socket = self.socket();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let connector = tower::service_fn(move |_| {
                let socket = socket.clone();
                async move {
                    let stream = tokio::net::UnixStream::connect(socket).await?;
                    Ok::<_, std::io::Error>(TokioIo::new(stream))
                }
            });
            let endpoint = Endpoint::from_static("http://localhost");
            let channel = endpoint.connect_with_connector(connector).await;
            let client = RuntimeServiceClient::new(channel.map_err(|e| e.to_string())?);
            let reply = call(client).await.map_err(|status| status.message().to_owned())?;
            Ok(reply.into_inner())
        })
    }

    fn boot(&mut self) {
        let dir = self.dir.path();
        let mut command = self.node.host.command(tool("unshare", "util-linux"));
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-ec", PREPARE]);
        command.arg(dir);
        let holder = Proc::start("containerd's namespaces", command, &dir.join("cage.log"));
        let ready = dir.join("state/ready");
        until(20, "the namespaces stand", || ready.exists());
        let init = eventually(20, "the first process", || {
            children(holder.pid()).first().copied().ok_or("not there yet")
        });
        let daemon = daemon(self.node, &self.dir, init);
        self.cage = Some(Cage { holder, init, daemon });
        self.wait();
    }

    /// Until its CRI answers and has read the network.
    fn wait(&self) {
        eventually(30, "containerd answers", || {
            let list = cri::ListPodSandboxRequest {};
            self.ask(async |mut runtime| runtime.list_pod_sandbox(list).await)
        });
    }
}

impl Drop for Containerd<'_> {
    fn drop(&mut self) {
        self.cage = None;
        let Ok(controllers) = std::fs::read_dir("/sys/fs/cgroup") else { return };
        for controller in controllers.flatten() {
            remove_groups(&controller.path().join(&self.group));
        }
        remove_groups(&Path::new("/sys/fs/cgroup").join(&self.group));
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        self.holder.kill();
        let init = PathBuf::from(format!("/proc/{}", self.init));
        until(20, "containerd's processes have ended", || !init.exists());
        self.daemon.kill();
    }
}

/// Stands on the machine's own files and has some in their place; the last line says so.
const PREPARE: &str = r#"
mount -t proc proc /proc
mount -t tmpfs tmpfs /opt
mkdir -p /opt/cni && ln -s "$0/bin" /opt/cni/bin
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$0/etc/upper,workdir=$0/etc/work" /etc
mount -t overlay overlay -o "lowerdir=/var/lib,upperdir=$0/var/upper,workdir=$0/var/work" /var/lib
mkdir -p "$0/state" && touch "$0/state/ready"
exec sleep infinity
"#;

fn config(dir: &Path) -> String {
    let dir = dir.display();
    format!(
        r#"version = 2
root = "{dir}/root"
state = "{dir}/state"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.overlayfs", "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing"]
[grpc]
  address = "{dir}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  netns_mounts_under_state_dir = true
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
"#
    )
}

fn daemon(node: &Node, dir: &Scratch, init: u32) -> Proc {
    let mut command = enter(node, init);
    let _ = tool("/usr/sbin/runc", "runc");
    command.arg(tool("containerd", "containerd"));
    command.arg("-c").arg(dir.path().join("config.toml"));
    Proc::start("containerd", command, &dir.path().join("containerd.log"))
}

/// A command that runs among containerd's processes and mounts.
fn enter(node: &Node, init: u32) -> Command {
    let mut command = node.host.command(tool("nsenter", "util-linux"));
    command.args(["--target", &init.to_string(), "--mount", "--pid", "--"]);
    command
}

/// The processes that a process has started.
fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    text.unwrap_or_default().split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

fn remove_groups(group: &Path) {
    let Ok(entries) = std::fs::read_dir(group) else { return };
    entries.flatten().filter(|e| e.path().is_dir()).for_each(|e| remove_groups(&e.path()));
    let _ = std::fs::remove_dir(group);
}

/// An image of one layer with nothing but busybox, in Docker's format.
fn make_image(dir: &Scratch) {
    const LAYER: &str = r#"
mkdir -p rootfs/bin rootfs/proc rootfs/sys rootfs/dev rootfs/etc
cp /bin/busybox rootfs/bin/busybox
tar -C rootfs -cf layer.tar .
sha256sum layer.tar
"#;
    let _ = tool("/bin/busybox", "busybox-static");
    let image = dir.path().join("image");
    let shell = |script: &str| {
        let out = Command::new("sh").args(["-ec", script]).current_dir(&image).output();
        let out = out.expect("sh runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let said = shell(LAYER);
    let digest = said.split_whitespace().next().expect("a digest").to_owned();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let config = json!({
        "architecture": architecture, "os": "linux",
        "config": {"Entrypoint": ["/bin/busybox", "sleep", "86400"]},
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
    });
    dir.write("image/config.json", &config.to_string());
    let manifest = json!([{"Config": "config.json", "RepoTags": [IMAGE], "Layers": ["layer.tar"]}]);
    dir.write("image/manifest.json", &manifest.to_string());
    shell("tar -cf ../image.tar manifest.json config.json layer.tar");
}
