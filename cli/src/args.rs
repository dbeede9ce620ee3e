//! The command line, and the help a newcomer works from.

use crate::{bgp, config, drain, guard, ipam};
use clap::{Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  mainstay status                                  is this node well, and if not, why
  mainstay bgp peers                               sessions and how many routes they carry
  mainstay bgp routes 198.51.100.7                 the route an address would take
  mainstay bgp routes --peer tor-a --advertised    what a peer is told
  mainstay bgp explain 198.51.100.7                why that route, who is told, is it in the kernel
  mainstay ipam show                               blocks, addresses and their owners
  mainstay config check mainstay.yaml              every fault of a file, with line and column
  mainstay config diff new.yaml                    what a new file changes, and which sessions it resets
  mainstay policy test NAME --prefix 10.0.0.0/8    which rule decides about a route, and what it changes
  mainstay peer-config --platform frr              what the switch has to be told
  mainstay peers check                             whether the peers will help over a restart
  mainstay drill restart                           restart the speaker and count what that cost
  mainstay reload                                  make the daemons read the file again
  mainstay -o json bgp peers | jq '.peers[].state'

Exit codes: 0 all is well; 1 something is wrong, which is said; 2 the command line is.";

const EVERYWHERE: &str = "Options of every command";

/// Look at Mainstay on this node, and check its configuration.
#[derive(Debug, Parser)]
#[command(
    name = "mainstay",
    version,
    after_help = EXAMPLES,
    max_term_width = 100,
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// Where the daemons' sockets are
    #[arg(
        long,
        global = true,
        help_heading = EVERYWHERE,
        hide_env_values = true,
        value_name = "DIR",
        env = "MAINSTAY_RUN_DIR",
        default_value = "/run/mainstay"
    )]
    pub(crate) run_dir: PathBuf,

    /// The cluster's configuration
    #[arg(
        long,
        global = true,
        help_heading = EVERYWHERE,
        hide_env_values = true,
        value_name = "FILE",
        env = "MAINSTAY_CONFIG",
        default_value = "/etc/mainstay/mainstay.yaml"
    )]
    pub(crate) config: PathBuf,

    /// For people, or for programs
    #[arg(short, long, global = true, help_heading = EVERYWHERE, value_enum, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Format,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Whether this node is well: daemons, sessions, routes, addresses
    #[command(after_help = crate::status::HELP)]
    Status,
    /// Peers and routes of the speaker
    #[command(subcommand)]
    Bgp(bgp::Verb),
    /// Blocks and addresses
    #[command(subcommand)]
    Ipam(ipam::Verb),
    /// Check and show the cluster's configuration; needs no daemon
    #[command(subcommand)]
    Config(config::Verb),
    /// Judge from each peer's OPEN whether it will help over a restart
    #[command(subcommand)]
    Peers(crate::peers::Verb),
    /// What the policies of the configuration do to routes; needs no daemon
    #[command(subcommand)]
    Policy(crate::policy::Verb),
    /// Restart the speaker for real, and report what that cost
    #[command(after_help = crate::drill::HELP)]
    Drill(crate::drill::Args),
    /// What a switch has to be told to be one of our peers; needs no daemon
    #[command(after_help = crate::peer_config::HELP)]
    PeerConfig(crate::peer_config::Args),
    /// Make the running daemons read the configuration again
    #[command(after_help = crate::reload::HELP)]
    Reload,
    /// Take traffic away from this node, keeping its sessions
    #[command(after_help = drain::DRAIN)]
    Drain(drain::Args),
    /// Take a drain back
    Undrain,
    /// Drain, end all sessions, remove the speaker's kernel routes and end it
    #[command(after_help = drain::LEAVE)]
    Leave(drain::Args),
    /// Drain this node when it shuts down (mainstay-shutdown.service runs it)
    #[command(after_help = guard::HELP)]
    ShutdownGuard(guard::Args),
    /// Which release this is
    Version,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// What `mainstay … --help` prints for this command and those below it.
    fn helps(command: &clap::Command, path: &[&str], all: &mut String) {
        let path = [path, &[command.get_name()]].concat();
        let words = path.iter().copied().chain(["--help"]);
        let wide = Cli::command().term_width(100);
        let help = wide.try_get_matches_from(words).unwrap_err().to_string();
        all.push_str(&format!("$ {} --help\n{help}\n", path.join(" ")));
        for below in command.get_subcommands() {
            helps(below, &path, all);
        }
    }

    #[test]
    fn the_help_reads_as_before() {
        let mut all = String::new();
        helps(&Cli::command(), &[], &mut all);
        insta::assert_snapshot!(all);
    }

    #[test]
    fn global_options_may_stand_anywhere() {
        for words in [
            &["mainstay", "--run-dir", "/x", "-o", "json", "bgp", "peers"][..],
            &["mainstay", "bgp", "peers", "-o", "json", "--run-dir", "/x"],
            &["mainstay", "bgp", "--output=json", "peers", "--run-dir=/x"],
        ] {
            let cli = Cli::try_parse_from(words).unwrap();
            assert_eq!((cli.output, cli.run_dir), (Format::Json, PathBuf::from("/x")));
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anyone_is_asked() {
        for words in [
            "bgp routes --received",
            "bgp routes --peer a --received --advertised",
            "bgp routes --longest",
            "bgp routes 10.0.0.0/8 --longest --covered",
            "bgp routes 10.0.0.0/33",
            "bgp routes 10.0.0.1/8",
            "bgp routes --family ipx",
            "bgp routes --peer a --fib",
            "bgp routes --covering",
            "bgp explain",
            "bgp reset",
            "bgp reset a --all",
            "bgp inject",
            "bgp inject a 10.0.0.0/8 --ttl soon",
            "bgp withdraw a",
            "ipam show --state lost",
            "ipam show 10.0.0.0/8",
            "frobnicate",
        ] {
            let all = ["mainstay"].into_iter().chain(words.split(' '));
            assert!(Cli::try_parse_from(all).is_err(), "{words}");
        }
    }
}
