//! The shell of a plugin: process in, process out. One JSON document or nothing goes to stdout, the
//! exit status is 0 or 1, and nothing that happens in between leaves the runtime without an answer.

use std::any::Any;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use crate::call::{Call, Command};
use crate::config::version_of;
use crate::env::{self, Lookup};
use crate::error::{Code, Error};
use crate::version::{NEWEST, SpecVersion, VersionReply};

/// The longest configuration we read.
pub const MAX_STDIN: u64 = 1 << 20;

/// What a plugin does with a call. `Some` is printed.
pub type Answer = fn(&Call) -> Result<Option<String>, Error>;

/// What a plugin process leaves behind.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    pub stdout: String,
    pub success: bool,
}

/// The whole of a plugin's `main`.
pub fn main(name: &str, answer: Answer) -> ExitCode {
    if let Some(argument) = std::env::args_os().nth(1) {
        return about(name, &argument);
    }
    let stdin = io::stdin();
    let outcome = if std::env::var_os("CNI_COMMAND").is_none() && stdin.is_terminal() {
        // Someone at a terminal wants to know what this is.
        return about(name, &"--help".into());
    } else if stdin.is_terminal() {
        outcome(answer, &|name| std::env::var_os(name), &mut io::empty())
    } else {
        outcome(answer, &|name| std::env::var_os(name), &mut stdin.lock())
    };
    match (print(&outcome.stdout), outcome.success) {
        (Ok(()), true) => ExitCode::SUCCESS,
        (Ok(()), false) => ExitCode::FAILURE,
        (Err(e), _) => {
            complain(name, &format!("cannot write to stdout: {e}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs a plugin on an environment and a stdin. It does not panic, and what it says on failure is
/// an error object in the caller's version.
pub fn outcome(answer: Answer, env: Lookup<'_>, stdin: &mut dyn Read) -> Outcome {
    let mut input = Vec::new();
    let done = catch_unwind(AssertUnwindSafe(|| respond(answer, env, stdin, &mut input)))
        .unwrap_or_else(|panic| Err(internal(panic.as_ref())));
    match done {
        Ok(printed) => Outcome { stdout: printed.unwrap_or_default(), success: true },
        Err(error) => {
            let version = version_of(&input).unwrap_or(NEWEST);
            Outcome { stdout: error.to_json(version), success: false }
        }
    }
}

fn respond(
    answer: Answer,
    env: Lookup<'_>,
    stdin: &mut dyn Read,
    input: &mut Vec<u8>,
) -> Result<Option<String>, Error> {
    let command = env::text(env, "CNI_COMMAND")?;
    if command.is_empty() {
        return Err(Error::environment("required env variables [CNI_COMMAND] missing"));
    }
    let read = read_all(stdin, input);
    if command == "VERSION" {
        // Whatever stands on stdin, VERSION succeeds.
        let reply = VersionReply::to(version_of(input));
        return Ok(serde_json::to_string(&reply).ok());
    }
    let Some(command) = Command::parse(&command) else {
        return Err(Error::environment(format!("unknown CNI_COMMAND: {command}")));
    };
    read?;
    answer(&Call::read(command, env, input)?)
}

fn read_all(stdin: &mut dyn Read, input: &mut Vec<u8>) -> Result<(), Error> {
    stdin
        .take(MAX_STDIN + 1)
        .read_to_end(input)
        .map_err(|e| Error::new(Code::IO, format!("cannot read stdin: {e}")))?;
    if input.len() as u64 > MAX_STDIN {
        return Err(Error::new(Code::DECODE, "the network configuration is too long")
            .details(format!("at most {MAX_STDIN} bytes")));
    }
    Ok(())
}

fn internal(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or_default();
    Error::new(Code::INTERNAL, "internal error").details(text)
}

fn print(text: &str) -> io::Result<()> {
    if text.is_empty() {
        return Ok(());
    }
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.write_all(b"\n")?;
    stdout.flush()
}

/// A runtime passes no arguments, so this is a person.
fn about(name: &str, argument: &OsString) -> ExitCode {
    let known = matches!(argument.to_str(), Some("--help" | "-h" | "--version" | "-V"));
    if !known {
        complain(name, &format!("unknown argument {argument:?}; a CNI runtime passes none"));
        return ExitCode::from(2);
    }
    let text = format!(
        "CNI plugin {name} {}\nCNI protocol versions supported: {}",
        env!("CARGO_PKG_VERSION"),
        SpecVersion::list()
    );
    match print(&text) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// `eprintln!` panics when stderr is closed.
fn complain(name: &str, text: &str) {
    let _ = writeln!(io::stderr(), "{name}: {text}");
}
