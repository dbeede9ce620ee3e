//! `mainstay-ipam`: turns a call into a request to `mainstay-ipamd`, and its reply into a result.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use mainstay_proto::ipam::v1::cni_request::Command as Wanted;
use mainstay_proto::ipam::v1::{Attachment, CniReply, CniRequest};
use serde_json::Value;

use crate::call::{Call, Command};
use crate::client::{self, AskError};
use crate::config::{NetConf, array, dig, ip_of, object, string};
use crate::env::{is_ifname, is_name};
use crate::error::{Code, Error};
use crate::result::{self, Assigned};
use crate::settings::Settings;
use crate::spool;

pub const NAME: &str = "mainstay-ipam";

/// The runtime asks for the status every few seconds and with everything else waiting, so this is
/// the longest a STATUS may take: enough for the daemon to restart, too short to hold the node up.
const LONGEST_STATUS: Duration = Duration::from_secs(2);
/// A DEL that is not answered by then is left in the spool: ipamd applies it when it is back, and
/// nothing waits for the address meanwhile.
const LONGEST_DEL: Duration = Duration::from_secs(2);

const ANNOTATIONS: &str = "io.kubernetes.cri.pod-annotations";
/// Where the still valid attachments of GC stand: by the specification, and by its first edition.
const VALID: [&str; 2] = ["cni.dev/valid-attachments", "cni.dev/attachments"];

/// Answers one call by asking the daemon.
pub fn answer(call: &Call) -> Result<Option<String>, Error> {
    let (settings, request) = prepare(call)?;
    let spool = (call.command == Command::Del).then(|| settings.spool()).flatten();
    let wait = match call.command {
        Command::Status => settings.timeout.min(LONGEST_STATUS),
        Command::Del if spool.is_some() => settings.timeout.min(LONGEST_DEL),
        _ => settings.timeout,
    };
    match (client::ask(&settings.socket, wait, &request), spool) {
        (Ok(reply), _) => conclude(call, &settings, reply),
        (Err(error @ AskError::NoAnswer { .. }), Some(spool)) => {
            leave(&spool, &request, no_reply(call.command, &settings.socket, error))
        }
        (Err(error), _) => Err(no_reply(call.command, &settings.socket, error)),
    }
}

/// Leaves a DEL for the next ipamd. Only when that fails as well, the runtime has to ask again.
fn leave(spool: &Path, request: &CniRequest, unanswered: Error) -> Result<Option<String>, Error> {
    spool::put(spool, request).map(|()| None).map_err(|e| {
        let details =
            format!("{}; cannot leave it in {}: {e}", unanswered.details, spool.display());
        unanswered.details(details)
    })
}

/// What to ask and where: all of the call that can be wrong is found here, before anything happens.
pub fn prepare(call: &Call) -> Result<(Settings, CniRequest), Error> {
    let (settings, details) = match call.command {
        // DEL needs to know the attachment and nothing else, and must not fail for the rest.
        Command::Del => (Settings::read_leniently(&call.conf.json), CniRequest::default()),
        command => {
            let settings = Settings::read(&call.conf.json)?;
            let details = details(command, call, &settings)?;
            (settings, details)
        }
    };
    let env = call.env.clone();
    let request = CniRequest {
        command: wanted(call.command).into(),
        network: call.conf.name.clone(),
        container_id: env.container_id,
        ifname: env.ifname,
        netns: env.netns,
        pod_namespace: env.args.pod_namespace,
        pod_name: env.args.pod_name,
        pod_uid: env.args.pod_uid,
        ..details
    };
    Ok((settings, request))
}

/// The parts of a request that only some commands have.
fn details(command: Command, call: &Call, settings: &Settings) -> Result<CniRequest, Error> {
    let none = CniRequest::default();
    Ok(match command {
        Command::Add => CniRequest {
            annotations: annotations(&call.conf)?,
            requested: requested(call)?,
            ..none
        },
        Command::Check => CniRequest { expected: expected(&call.conf)?, ..none },
        Command::Gc => {
            let valid = valid(&call.conf)?;
            CniRequest { valid_unknown: valid.is_none(), valid: valid.unwrap_or_default(), ..none }
        }
        Command::Status => CniRequest { fail_when_exhausted: settings.fail_when_exhausted, ..none },
        Command::Del => none,
    })
}

fn wanted(command: Command) -> Wanted {
    match command {
        Command::Add => Wanted::Add,
        Command::Del => Wanted::Del,
        Command::Check => Wanted::Check,
        Command::Gc => Wanted::Gc,
        Command::Status => Wanted::Status,
    }
}

fn annotations(conf: &NetConf) -> Result<HashMap<String, String>, Error> {
    let Some(value) = dig(&conf.json, &["runtimeConfig", ANNOTATIONS]) else {
        return Ok(HashMap::new());
    };
    let place = format!("runtimeConfig[{ANNOTATIONS:?}]");
    object(&place, value)?
        .iter()
        .map(|(key, value)| {
            Ok((key.clone(), string(&format!("{place}[{key:?}]"), value)?.to_owned()))
        })
        .collect()
}

/// The addresses asked for, in whichever of the three customary ways, each once.
fn requested(call: &Call) -> Result<Vec<String>, Error> {
    let mut requested = call.env.args.ips.clone();
    for path in [["args", "cni", "ips"].as_slice(), &["runtimeConfig", "ips"]] {
        let Some(value) = dig(&call.conf.json, path) else { continue };
        let place = path.join(".");
        for (i, item) in array(&place, value)?.iter().enumerate() {
            let text = string(&format!("{place}[{i}]"), item)?;
            let Some(ip) = ip_of(text) else {
                return Err(Error::config(format!("{place}[{i}]: is not an address"))
                    .details(format!("{text:?}")));
            };
            requested.push(ip);
        }
    }
    let mut texts: Vec<_> = requested.iter().map(ToString::to_string).collect();
    let mut seen = std::collections::HashSet::new();
    texts.retain(|ip| seen.insert(ip.clone()));
    Ok(texts)
}

/// CHECK: the addresses of the result of ADD.
fn expected(conf: &NetConf) -> Result<Vec<String>, Error> {
    let Some(previous) = dig(&conf.json, &["prevResult"]) else {
        return Err(Error::config("prevResult: is missing").details("CHECK compares with it"));
    };
    let Some(ips) = object("prevResult", previous)?.get("ips") else { return Ok(Vec::new()) };
    array("prevResult.ips", ips)?
        .iter()
        .enumerate()
        .map(|(i, ip)| {
            let place = format!("prevResult.ips[{i}].address");
            let text = string(&place, ip.get("address").unwrap_or(&Value::Null))?;
            let address = ip_of(text).ok_or_else(|| {
                Error::config(format!("{place}: is not an address")).details(format!("{text:?}"))
            })?;
            Ok(address.to_string())
        })
        .collect()
}

/// GC: the attachments to keep. What is not listed loses its addresses, so an entry that cannot be
/// read is an error, and a list that is not there (libcni leaves it out when its caller, like
/// cnitool, has none) is never an empty one. Both keys count: the more kept the safer.
fn valid(conf: &NetConf) -> Result<Option<Vec<Attachment>>, Error> {
    let mut lists = VALID.into_iter().filter_map(|key| Some((key, conf.json.get(key)?))).peekable();
    if lists.peek().is_none() {
        return Ok(None);
    }
    let mut valid: Vec<Attachment> = Vec::new();
    for (key, list) in lists {
        for (i, item) in array(key, list)?.iter().enumerate() {
            valid.push(attachment(&format!("{key}[{i}]"), item)?);
        }
    }
    let mut seen = std::collections::HashSet::new();
    valid.retain(|a| seen.insert((a.container_id.clone(), a.ifname.clone())));
    Ok(Some(valid))
}

fn attachment(place: &str, value: &Value) -> Result<Attachment, Error> {
    let entry = object(place, value)?;
    let field = |key: &str, good: fn(&str) -> bool| {
        let place = format!("{place}.{key}");
        let text = string(&place, entry.get(key).unwrap_or(&Value::Null))?;
        if good(text) {
            return Ok(text.to_owned());
        }
        Err(Error::config(format!("{place}: is not valid")).details(format!("{text:?}")))
    };
    Ok(Attachment {
        container_id: field("containerID", is_name)?,
        ifname: field("ifname", is_ifname)?,
    })
}

/// From the daemon's reply to what is printed.
pub fn conclude(
    call: &Call,
    settings: &Settings,
    reply: CniReply,
) -> Result<Option<String>, Error> {
    if let Some(error) = reply.error {
        // Zero would read as success.
        let code = if error.code == 0 { Code::INTERNAL } else { Code(error.code) };
        return Err(Error::new(code, error.msg).details(error.details));
    }
    if call.command != Command::Add {
        return Ok(None);
    }
    let assigned = reply.addresses.iter().map(Assigned::read).collect::<Result<Vec<_>, _>>()?;
    if assigned.is_empty() {
        return Err(Error::new(Code::INTERNAL, "mainstay-ipamd answered without an address"));
    }
    Ok(Some(result::to_json(call.conf.version, &assigned, settings)))
}

fn no_reply(command: Command, socket: &Path, error: AskError) -> Error {
    let socket = socket.display();
    match error {
        AskError::NoAnswer { waited, source } => {
            let code = match command {
                Command::Status => Code::NOT_AVAILABLE,
                _ => Code::TRY_AGAIN,
            };
            Error::new(
                code,
                format!("mainstay-ipamd does not answer at {socket}: {}", why(&source)),
            )
            .details(format!("tried for {waited:?}; is mainstay-ipamd running on this node?"))
        }
        AskError::Broken { source } => {
            Error::new(Code::IO, format!("cannot ask mainstay-ipamd at {socket}: {}", why(&source)))
        }
        AskError::RequestTooLong(length) => {
            Error::config("the network configuration is too long for mainstay-ipamd")
                .details(format!("{length} bytes, at most {}", client::MAX_FRAME))
        }
    }
}

/// The kernel's and std's words for what a daemon does that is not there, in ours.
fn why(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "no reply in time".to_owned(),
        io::ErrorKind::UnexpectedEof => "the connection was closed before the reply".to_owned(),
        _ => error.to_string(),
    }
}
