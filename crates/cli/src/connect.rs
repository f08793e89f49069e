//! The arguments that verbs share: how to reach the cluster, the form of the answer, confirming.

use std::time::Duration;

use clap::Args;

use crate::output::Output;
use crate::verb::seconds;

/// Where the cluster is.
#[derive(Args, Clone, Debug)]
pub struct Bootstrap {
    /// Where the cluster is; several addresses are separated by commas and tried in turn [default:
    /// the nodes of plimsoll dev, or a node on its usual port]
    #[arg(
        short,
        long,
        value_name = "HOST:PORT",
        env = "PLIMSOLL_BOOTSTRAP_SERVER",
        default_value = "127.0.0.1:9092,127.0.0.1:10092,127.0.0.1:11092",
        hide_default_value = true,
        hide_env_values = true
    )]
    pub bootstrap_server: String,
}

/// How to reach the cluster.
#[derive(Args, Clone, Debug)]
pub struct Connect {
    /// Where it is
    #[command(flatten)]
    pub at: Bootstrap,
    /// How long to wait for an answer, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub timeout: Duration,
}

/// How to reach the cluster, and the form of the answer.
#[derive(Args, Clone, Debug)]
pub struct Ask {
    #[command(flatten)]
    pub(crate) connect: Connect,
    /// The form of the answer: table, wide, json, jsonl, yaml or name
    #[arg(
        short,
        long,
        value_name = "FORM",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub(crate) output: Output,
}

/// How to confirm what destroys something.
#[derive(Args, Clone, Copy, Debug)]
pub struct Confirm {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}
