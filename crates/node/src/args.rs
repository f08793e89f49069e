//! The command line: what there is to type, and what `--help` teaches.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use plimsoll_cli::{Failure, Output, Verb};

use crate::config::{Layers, Origin};
use crate::sim::Sim;

/// A durable log that speaks the Kafka protocol.
#[derive(Debug, Parser)]
#[command(
    name = "plimsoll",
    bin_name = "plimsoll",
    version,
    max_term_width = 100,
    propagate_version = false,
    disable_help_subcommand = true,
    arg_required_else_help = true,
    after_help = "\
Try it:
  plimsoll dev                          a cluster to play with, gone when you stop it
  plimsoll topic create hello -p 3      in another terminal
  echo hello, log | plimsoll produce hello
  plimsoll consume hello -o beginning -e

Exit codes: 0 ok, 1 failed, 2 usage, 3 unreachable or timed out, 4 not found, 5 denied,
6 conflict, 7 refused as unsafe, 10 unhealthy, 11 degraded but serving."
)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node
    #[command(after_help = "\
Every setting is a key of the configuration; see plimsoll config explain. What wins: flags, then
PLIMSOLL_… variables (PLIMSOLL_NODE__ID=2 is node.id), then the file, then the default.

Examples:
  plimsoll serve
  plimsoll serve --data-dir /var/lib/plimsoll --kafka-listen 0.0.0.0:9092 --advertise log1:9092
  plimsoll serve --config plimsoll.toml --set log.retention.ms=86400000

A cluster of three, where log1 to log3 are their hosts (the same voters on each, its own id):
  plimsoll serve --node-id 1 --voters 1@log1:9093,2@log2:9093,3@log3:9093 --kafka-listen log1:9092
And a fourth node later:
  plimsoll serve --node-id 4 --join log1:9093 --peer-listen log4:9093 --kafka-listen log4:9092

TERM or INT stops it gracefully, a second one at once; HUP reads the log level again; USR1 logs
the state of every partition.")]
    Serve(Serve),
    /// Run a cluster to play with, and say how to reach it
    #[command(after_help = "\
Three real nodes in one process. Data lives in a temporary directory that goes with them, unless
--data-dir names one.

Examples:
  plimsoll dev
  plimsoll dev --nodes 1
  plimsoll dev --kafka-port 19092 --data-dir ./playground")]
    Dev(Dev),
    /// Run whole clusters on a simulated clock, network and disk
    #[command(after_help = "\
Three or five real nodes on one thread, with clients, and one trouble after another: kills, power
losses, cuts, pauses, full, slow and failing disks, flipped bits. What happens follows from the
seed, so that a run can be repeated. The trouble ends, and then every replica must be in sync and
equal, and every acknowledged record there, once and in order.

Examples:
  plimsoll sim --seed 7
  plimsoll sim --runs 500
  plimsoll sim --minutes 10 --faults kill,power-all,flip-bit
  plimsoll sim --seed 7 --verbose 2>nodes.log")]
    Sim(Sim),
    /// A verb that talks to a running cluster
    #[command(flatten)]
    Verb(Verb),
    /// What the configuration is, and where each value comes from
    #[command(subcommand, disable_help_subcommand = true)]
    Config(ConfigCommand),
    /// Print completions for a shell
    #[command(after_help = "\
Example:
  plimsoll completions bash > ~/.local/share/bash-completion/completions/plimsoll")]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `plimsoll config …`
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Tell a key's value, who set it, its default and its meaning
    #[command(after_help = "\
Examples:
  plimsoll config explain
  plimsoll config explain log.retention.ms
  plimsoll config explain node.id --config plimsoll.toml --output json")]
    Explain {
        /// The key; all keys if left out
        key: Option<String>,
        /// Where the configuration comes from
        #[command(flatten)]
        sources: Sources,
        /// The form of the answer: table, wide, json, jsonl, yaml or name
        #[arg(
            short,
            long,
            value_name = "FORM",
            value_enum,
            default_value_t,
            hide_possible_values = true
        )]
        output: Output,
    },
}

/// Where the configuration comes from.
#[derive(Args, Clone, Debug, Default)]
pub struct Sources {
    /// A configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "PLIMSOLL_CONFIG")]
    pub config: Option<PathBuf>,
    /// Set any key; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// `plimsoll serve`
#[derive(Args, Clone, Debug, Default)]
pub struct Serve {
    #[command(flatten)]
    sources: Sources,
    /// This node's number in the cluster [default: 1]
    #[arg(long, value_name = "N")]
    node_id: Option<String>,
    /// Where everything durable lives [default: ./data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Where Kafka clients connect; port 0 takes a free one [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    kafka_listen: Option<String>,
    /// The nodes that form the cluster, by their peer ports; the same on each of them
    #[arg(long, value_name = "ID@HOST:PORT,...", conflicts_with = "join")]
    voters: Option<String>,
    /// Join the cluster that these nodes belong to, by their peer ports
    #[arg(long, value_name = "HOST:PORT,...")]
    join: Option<String>,
    /// Where other nodes connect [default: its own of --voters, or 127.0.0.1:9093]
    #[arg(long, value_name = "HOST:PORT")]
    peer_listen: Option<String>,
    /// The address that other nodes are told to come back to [default: the one listened on]
    #[arg(long, value_name = "HOST:PORT")]
    peer_advertise: Option<String>,
    /// Where health, metrics and the admin API are served [default: 127.0.0.1:9644]
    #[arg(long, value_name = "HOST:PORT")]
    http_listen: Option<String>,
    /// The address that clients are told to come back to [default: the one listened on]
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
}

/// `plimsoll dev`
#[derive(Args, Clone, Debug)]
pub struct Dev {
    /// How many nodes: 1, 3 or 5
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = nodes)]
    pub nodes: u16,
    /// The first node's Kafka port, the others' being 1000 apart; 0 takes free ones
    #[arg(long, value_name = "PORT", default_value_t = 9092)]
    pub kafka_port: u16,
    /// The first node's HTTP port, the others' being 1000 apart; 0 takes free ones
    #[arg(long, value_name = "PORT", default_value_t = 9644)]
    pub http_port: u16,
    /// Keep the data below here instead of in a temporary directory
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<String>,
    #[command(flatten)]
    sources: Sources,
}

fn nodes(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(nodes @ (1 | 3 | 5)) => Ok(nodes),
        _ => Err("1, 3 or 5 nodes make a cluster to play with".to_owned()),
    }
}

impl Serve {
    /// Everything that flags, environment and file set.
    ///
    /// # Errors
    /// The first thing that is wrong in one of them.
    pub fn layers(&self) -> Result<Layers, Failure> {
        let mut layers = self.sources.layers()?;
        let flags = [
            ("node.id", "--node-id", &self.node_id),
            ("data.dir", "--data-dir", &self.data_dir),
            ("kafka.listen", "--kafka-listen", &self.kafka_listen),
            ("cluster.voters", "--voters", &self.voters),
            ("cluster.join", "--join", &self.join),
            ("peer.listen", "--peer-listen", &self.peer_listen),
            ("peer.advertise", "--peer-advertise", &self.peer_advertise),
            ("http.listen", "--http-listen", &self.http_listen),
            ("kafka.advertise", "--advertise", &self.advertise),
        ];
        for (key, flag, value) in flags {
            if let Some(value) = value {
                layers.set(
                    key,
                    value,
                    Origin::Flag {
                        flag: flag.to_owned(),
                    },
                )?;
            }
        }
        Ok(layers)
    }
}

/// What `plimsoll dev` sets that a real node does not: things happen at once, nothing lasts, and
/// several nodes share a machine.
const DEV: &[(&str, &str)] = &[
    ("group.initial.rebalance.delay.ms", "0"),
    ("logging.level", "warn"),
    ("num.flush.threads", "4"),
    ("offsets.topic.num.partitions", "10"),
    ("shutdown.grace.ms", "1000"),
];

/// Where one node of `plimsoll dev` lives.
pub(crate) struct Place {
    pub(crate) node: u16,
    pub(crate) dir: String,
    pub(crate) kafka: u16,
    pub(crate) peer: u16,
    pub(crate) http: u16,
    /// All nodes by their peer addresses, as `cluster.voters` has it; empty for one alone.
    pub(crate) voters: String,
}

impl Dev {
    /// Everything that flags, environment, file and the habits of `plimsoll dev` set for the node
    /// at `place`.
    ///
    /// # Errors
    /// The first thing that is wrong in one of them.
    pub(crate) fn layers(&self, place: &Place) -> Result<Layers, Failure> {
        let mut layers = self.sources.layers()?;
        for (key, value) in DEV.iter().copied() {
            layers.set(key, value, Origin::Preset("plimsoll dev"))?;
        }
        let local = |port: u16| format!("127.0.0.1:{port}");
        let flags = [
            ("node.id", "--nodes", place.node.to_string()),
            ("cluster.voters", "--nodes", place.voters.clone()),
            ("data.dir", "--data-dir", place.dir.clone()),
            ("kafka.listen", "--kafka-port", local(place.kafka)),
            ("peer.listen", "--kafka-port", local(place.peer)),
            ("http.listen", "--http-port", local(place.http)),
        ];
        for (key, flag, value) in flags {
            if !value.is_empty() {
                let flag = flag.to_owned();
                layers.set(key, &value, Origin::Flag { flag })?;
            }
        }
        Ok(layers)
    }
}

impl Sources {
    /// What `--config`, the environment and `--set` set.
    ///
    /// # Errors
    /// The first thing that is wrong in one of them.
    pub fn layers(&self) -> Result<Layers, Failure> {
        let mut layers = Layers::default();
        if let Some(file) = &self.config {
            layers.set_from_file(file)?;
        }
        layers.set_from_environment(variables())?;
        for pair in &self.set {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Failure::usage(format!("--set takes KEY=VALUE, and {pair:?} has no \"=\""))
            })?;
            layers.set(
                key.trim(),
                value.trim(),
                Origin::Flag {
                    flag: "--set".to_owned(),
                },
            )?;
        }
        Ok(layers)
    }
}

/// The environment's variables that are text; none of ours is anything else.
fn variables() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
