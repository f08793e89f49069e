//! The verbs of `plimsoll chaos`, as they are typed.

use std::time::Duration;

use clap::{Args, Subcommand};

use crate::http::HttpAsk;
use crate::operate::{OneNode, partition};
use crate::verb::seconds;

/// `plimsoll chaos …`
#[derive(Clone, Debug, Subcommand)]
pub enum Chaos {
    /// End a node at once, as a crash would
    #[command(after_help = "\
Examples:
  plimsoll chaos kill 2                look at plimsoll doctor, then: plimsoll chaos restart 2
  plimsoll chaos kill 2 --for 5        killed, started again, and watched until all is well")]
    Kill(Passing),
    /// Start a node again, and tell when all is well
    Restart(OneNode),
    /// Let a node stand still for a while, as SIGSTOP would
    Pause(Lasting),
    /// Cut a node's links to the others
    #[command(after_help = "\
Examples:
  plimsoll chaos cut 2                 look at plimsoll doctor, then: plimsoll chaos heal 2
  plimsoll chaos cut 2 --for 5         cut, mended, and watched until all is well")]
    Cut(Passing),
    /// Mend a node's links, and tell when all is well
    Heal(OneNode),
    /// Make a node's disk slow for a while
    SlowDisk(SlowDisk),
    /// Leave a node's disk no room for a while
    FillDisk(Lasting),
    /// End what ails a node's disk, and tell when all is well
    MendDisk(OneNode),
    /// Flip a bit of a log on a node's disk
    #[command(after_help = "\
Example:
  plimsoll chaos flip-bit hello/0 --node 3 && plimsoll partition history hello/0")]
    FlipBit(FlipBit),
}

/// Harm that lasts until it is ended, or for a while.
#[derive(Args, Clone, Debug)]
pub struct Passing {
    #[command(flatten)]
    pub(crate) node: OneNode,
    /// End it after so long, and tell when all is well [default: it lasts]
    #[arg(long = "for", value_name = "SECONDS", value_parser = seconds)]
    pub(crate) lasting: Option<Duration>,
}

/// Harm that lasts for a while.
#[derive(Args, Clone, Debug)]
pub struct Lasting {
    #[command(flatten)]
    pub(crate) node: OneNode,
    /// For how long
    #[arg(long = "for", value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub(crate) lasting: Duration,
}

/// `plimsoll chaos slow-disk`
#[derive(Args, Clone, Debug)]
pub struct SlowDisk {
    #[command(flatten)]
    pub(crate) sick: Lasting,
    /// How much longer each sync takes, in milliseconds
    #[arg(value_name = "MS", default_value_t = 2000)]
    pub(crate) ms: u64,
}

/// `plimsoll chaos flip-bit`
#[derive(Args, Clone, Debug)]
pub struct FlipBit {
    /// The partition
    #[arg(value_name = "TOPIC/PARTITION", value_parser = partition)]
    pub(crate) partition: (String, u32),
    /// On which node
    #[arg(long, value_name = "NODE")]
    pub(crate) node: u32,
    #[command(flatten)]
    pub(crate) ask: HttpAsk,
}
