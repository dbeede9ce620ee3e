//! One call of a plugin: what the environment and stdin say, checked as far as every plugin must.

use crate::config::NetConf;
use crate::env::{Environment, Lookup};
use crate::error::{Code, Error};
use crate::version::SpecVersion;

/// An operation on a network. VERSION is none: `run` answers it before a `Call` exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Add,
    Del,
    Check,
    Gc,
    Status,
}

impl Command {
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "ADD" => Some(Self::Add),
            "DEL" => Some(Self::Del),
            "CHECK" => Some(Self::Check),
            "GC" => Some(Self::Gc),
            "STATUS" => Some(Self::Status),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Add => "ADD",
            Self::Del => "DEL",
            Self::Check => "CHECK",
            Self::Gc => "GC",
            Self::Status => "STATUS",
        }
    }

    /// The first version of the specification that has this command.
    fn since(self) -> SpecVersion {
        match self {
            Self::Add | Self::Del => SpecVersion::V0_1_0,
            Self::Check => SpecVersion::V0_4_0,
            Self::Gc | Self::Status => SpecVersion::V1_1_0,
        }
    }
}

/// A checked call.
#[derive(Clone, Debug)]
pub struct Call {
    pub command: Command,
    pub env: Environment,
    pub conf: NetConf,
}

impl Call {
    /// In the order of `pkg/skel`: environment, JSON, network name, version, command of that version.
    pub fn read(command: Command, env: Lookup<'_>, stdin: &[u8]) -> Result<Self, Error> {
        let env = Environment::read(command, env)?;
        let conf = NetConf::read(stdin)?;
        if conf.version < command.since() {
            return Err(Error::new(
                Code::INCOMPATIBLE_VERSION,
                format!("config version does not allow {}", command.as_str()),
            )
            .details(format!(
                "config is {:?}; {} exists since {}",
                conf.version.as_str(),
                command.as_str(),
                command.since().as_str()
            )));
        }
        Ok(Self { command, env, conf })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_refused_in_versions_that_lack_them() {
        let env = |name: &str| match name {
            "CNI_CONTAINERID" | "CNI_IFNAME" | "CNI_NETNS" => Some("x".into()),
            _ => None,
        };
        let mut table = String::new();
        for version in SpecVersion::ALL {
            let stdin = format!(r#"{{"cniVersion":"{}","name":"n"}}"#, version.as_str());
            let allowed: Vec<_> =
                [Command::Add, Command::Del, Command::Check, Command::Gc, Command::Status]
                    .into_iter()
                    .filter(|c| Call::read(*c, &env, stdin.as_bytes()).is_ok())
                    .map(Command::as_str)
                    .collect();
            table += &format!("{}: {}\n", version.as_str(), allowed.join(" "));
        }
        insta::assert_snapshot!(table, @r"
        0.1.0: ADD DEL
        0.2.0: ADD DEL
        0.3.0: ADD DEL
        0.3.1: ADD DEL
        0.4.0: ADD DEL CHECK
        1.0.0: ADD DEL CHECK
        1.1.0: ADD DEL CHECK GC STATUS
        ");
    }
}
