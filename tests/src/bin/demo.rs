//! `make demo`: three nodes, a switch and a client on this machine, and what Mainstay does for them.
//!
//! The program runs itself a second time to do the work; the first one only waits, and cleans up
//! whatever way the second ends: done, failed, killed or interrupted.

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

#[path = "demo/show.rs"]
mod show;
#[path = "demo/story.rs"]
mod story;

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let keep = std::env::var("KEEP").is_ok_and(|v| !v.is_empty() && v != "0");
    match args.first().map(String::as_str) {
        None => watch_over(keep),
        Some("--clean") => {
            clean();
            ExitCode::SUCCESS
        }
        Some("--tell") => story::tell(keep),
        Some(other) => {
            eprintln!(
                "mainstay-demo: {other:?}: only --clean is known\n\nKEEP=1 leaves the demo running."
            );
            ExitCode::from(2)
        }
    }
}

/// Runs the demo in a process of its own and cleans up behind it.
fn watch_over(keep: bool) -> ExitCode {
    if !rustix::process::geteuid().is_root() {
        eprintln!("mainstay-demo makes network namespaces: run it as root (sudo make demo)");
        return ExitCode::FAILURE;
    }
    clean();
    let me = std::env::current_exe().expect("the path of this program");
    // A group of its own: Ctrl-C reaches us alone, and we end the child.
    let mut child =
        Command::new(me).arg("--tell").process_group(0).spawn().expect("start the demo");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let interrupted = runtime.block_on(async {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
                .expect("signals");
        loop {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => return true,
                _ = terminate.recv() => return true,
                () = tokio::time::sleep(std::time::Duration::from_millis(50)) => {
                    if !matches!(child.try_wait(), Ok(None)) {
                        return false;
                    }
                }
            }
        }
    });
    let _ = child.kill();
    let ended = child.wait();
    let good = !interrupted && ended.is_ok_and(|status| status.success());
    if !(good && keep) {
        clean();
    }
    if interrupted {
        eprintln!("\ninterrupted; everything is cleaned up");
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ends what runs in the demo's namespaces, and removes them and the demo's directory.
fn clean() {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return };
    let prefix = format!("{}-", story::PREFIX);
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with(&prefix) {
            continue;
        }
        // Only what we started can be in a namespace of ours.
        let pids = Command::new("ip").args(["netns", "pids", &name]).output();
        for pid in pids.iter().flat_map(|out| {
            String::from_utf8_lossy(&out.stdout)
                .into_owned()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        }) {
            if let Some(pid) = pid.parse().ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = Command::new("ip").args(["netns", "del", &name]).output();
    }
    let _ = std::fs::remove_dir_all(format!("/tmp/{}", story::PREFIX));
    mainstay_tests::scratch::sweep();
}
