//! What a container runtime gives a plugin: `CNI_ARGS`, a zero octet, standard input.

use mainstay_cni::call::{Call, Command};
use mainstay_cni::settings::Settings;
use mainstay_cni::version::VersionReply;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

pub(crate) fn stdin(bytes: &[u8]) {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or_default();
    let (args, stdin) = bytes.split_at(end);
    let stdin = stdin.strip_prefix(&[0]).unwrap_or(stdin);
    let environment = |name: &str| match name {
        "CNI_CONTAINERID" => Some("c1".into()),
        "CNI_IFNAME" => Some("eth0".into()),
        "CNI_NETNS" => Some("/run/netns/c1".into()),
        "CNI_ARGS" => Some(OsString::from_vec(args.to_vec())),
        _ => None,
    };
    for command in [Command::Add, Command::Del, Command::Gc] {
        if let Ok(call) = Call::read(command, &environment, stdin) {
            let _ = Settings::read(&call.conf.json);
            let _ = Settings::read_leniently(&call.conf.json);
        }
    }
    let _ = VersionReply::to(mainstay_cni::config::version_of(stdin));
}
