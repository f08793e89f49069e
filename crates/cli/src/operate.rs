//! The verbs for whoever looks after a cluster, as they are typed.

use clap::{Args, Subcommand};

use crate::http::{Http, HttpAsk, HttpAt};
use crate::repeat::{Waiting, Watching};
use crate::verb::{Ask, Bootstrap, Confirm};

/// `plimsoll doctor`
#[derive(Args, Clone, Debug)]
pub struct Doctor {
    #[command(flatten)]
    pub(crate) watching: Watching,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) ask: HttpAsk,
}

/// `plimsoll top`
#[derive(Args, Clone, Debug)]
pub struct Top {
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = crate::verb::seconds)]
    pub(crate) every: std::time::Duration,
    /// Stop after this many looks
    #[arg(short, long, value_name = "N")]
    pub(crate) count: Option<u64>,
    #[command(flatten)]
    pub(crate) http: Http,
}

/// `plimsoll explain`
#[derive(Args, Clone, Debug)]
pub struct Explain {
    /// The code, or a cause's name; all codes if left out
    pub(crate) code: Option<String>,
}

/// `plimsoll replica …`
#[derive(Clone, Debug, Subcommand)]
pub enum Replica {
    /// List replicas, and what is wrong with them
    #[command(after_help = "\
Examples:
  plimsoll replica list --unhealthy
  plimsoll replica list --topic orders -o wide
  plimsoll replica list -o json | jq '.replicas[] | select(.in_sync | not)'")]
    List(ReplicaList),
}

/// `plimsoll replica list`
#[derive(Args, Clone, Debug)]
pub struct ReplicaList {
    /// Only those that are not well
    #[arg(long)]
    pub(crate) unhealthy: bool,
    /// Only those of this topic
    #[arg(long, value_name = "TOPIC")]
    pub(crate) topic: Option<String>,
    #[command(flatten)]
    pub(crate) watching: Watching,
    #[command(flatten)]
    pub(crate) ask: HttpAsk,
}

/// `plimsoll node …`
#[derive(Clone, Debug, Subcommand)]
pub enum Node {
    /// List nodes
    #[command(after_help = "\
Example:
  plimsoll node list -o wide")]
    List(NodeList),
    /// Tell whether a node can stop without anything being out of service
    #[command(after_help = "\
Example:
  plimsoll node can-stop 2 && ssh log2 systemctl stop plimsoll

Exit code 7 when it cannot.")]
    CanStop(OneNode),
    /// Move leaderships away from a node, and keep them away
    #[command(after_help = "\
Example:
  plimsoll node drain 2 --wait")]
    Drain(DrainNode),
    /// Let a drained node take part again
    Resume(OneNode),
    /// Take a node out of the cluster for good
    #[command(after_help = "\
Its leaderships go to other nodes, then each of its replicas is copied to another node and served
all the while. When it holds nothing any more, stop its process: it is then taken out of the
cluster. Interrupted, the command may be given again; plimsoll node resume takes the node back.

Examples:
  plimsoll node decommission 4 --dry-run
  plimsoll node decommission 4 --yes")]
    Decommission(Decommission),
}

/// `plimsoll node list`
#[derive(Args, Clone, Debug)]
pub struct NodeList {
    #[command(flatten)]
    pub(crate) watching: Watching,
    #[command(flatten)]
    pub(crate) ask: HttpAsk,
}

/// A verb about one node.
#[derive(Args, Clone, Debug)]
pub struct OneNode {
    /// The node's number
    #[arg(value_name = "NODE")]
    pub(crate) node: u32,
    #[command(flatten)]
    pub(crate) ask: HttpAsk,
}

/// `plimsoll node drain`
#[derive(Args, Clone, Debug)]
pub struct DrainNode {
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) node: OneNode,
}

/// `plimsoll node decommission`
#[derive(Args, Clone, Debug)]
pub struct Decommission {
    #[command(flatten)]
    pub(crate) node: OneNode,
    #[command(flatten)]
    pub(crate) confirm: Confirm,
    #[command(flatten)]
    pub(crate) at: Bootstrap,
}

/// `plimsoll partition …`
#[derive(Clone, Debug, Subcommand)]
pub enum Partition {
    /// Show what happened to a partition's replicas
    #[command(after_help = "\
Examples:
  plimsoll partition history orders/3
  plimsoll partition history orders/3 --since 15m -o json")]
    History(History),
    /// Move a partition to other nodes
    #[command(after_help = "\
The copies are made first; the partition is served all the while. How far they are is told on
standard error until the move is done; Ctrl-C ends the telling and not the move.

Examples:
  plimsoll partition move orders/3 --to 2,3,4
  plimsoll partition move orders/3 --to 2,3,4 --no-wait
  plimsoll partition move orders/3 --cancel")]
    Move(Move),
}

/// `plimsoll partition move`
#[derive(Args, Clone, Debug)]
pub struct Move {
    /// The partition
    #[arg(value_name = "TOPIC/PARTITION", value_parser = partition)]
    pub(crate) partition: (String, u32),
    /// The nodes that are to hold it, the preferred leader first
    #[arg(
        long,
        value_name = "NODES",
        value_delimiter = ',',
        required_unless_present = "cancel",
        conflicts_with = "cancel"
    )]
    pub(crate) to: Vec<u32>,
    /// Stop the move under way
    #[arg(long)]
    pub(crate) cancel: bool,
    /// Begin the move, and do not wait for its end
    #[arg(long)]
    pub(crate) no_wait: bool,
    #[command(flatten)]
    pub(crate) ask: Ask,
    #[command(flatten)]
    pub(crate) http: HttpAt,
}

/// `plimsoll partition history`
#[derive(Args, Clone, Debug)]
pub struct History {
    /// The partition
    #[arg(value_name = "TOPIC/PARTITION", value_parser = partition)]
    pub(crate) partition: (String, u32),
    /// How far back: 90s, 30m, 2h, 1d
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = span)]
    pub(crate) since: u64,
    #[command(flatten)]
    pub(crate) ask: HttpAsk,
}

pub(crate) fn partition(text: &str) -> Result<(String, u32), String> {
    let parts = text.rsplit_once('/');
    let parsed = parts.and_then(|(topic, index)| Some((topic, index.parse().ok()?)));
    let (topic, index) = parsed.ok_or("is not TOPIC/PARTITION, such as orders/3")?;
    plimsoll_types::TopicName::new(topic).map_err(|fault| fault.to_string())?;
    Ok((topic.to_owned(), index))
}

/// Seconds.
fn span(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err("is not a span such as 90s, 30m, 2h or 1d".to_owned()),
    };
    let number: Option<u64> = digits.parse().ok();
    number
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "is not a span such as 90s, 30m, 2h or 1d".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_units() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("15m", 900),
            ("2h", 7200),
            ("1d", 86_400),
        ] {
            assert_eq!(span(text), Ok(seconds), "{text}");
        }
        for text in ["", "h", "1w", "-1h", "1.5h", "99999999999999999999s"] {
            assert!(span(text).is_err(), "{text}");
        }
    }

    #[test]
    fn partitions_are_written_with_their_topic() {
        assert_eq!(partition("a.b/12"), Ok(("a.b".to_owned(), 12)));
        for text in ["a", "a/", "/1", "a/x", "a b/1"] {
            assert!(partition(text).is_err(), "{text}");
        }
    }
}
