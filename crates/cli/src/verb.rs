//! The verbs as they are typed, and what `--help` teaches about them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

pub use crate::connect::{Ask, Bootstrap, Confirm, Connect};
use crate::harm::Chaos;
use crate::http::HttpAt;
use crate::operate::{Doctor, Explain, Node, Partition, Replica, Top};
use crate::output::Output;
use crate::repeat::{Waiting, Watching};

/// The verbs that talk to a running cluster.
#[derive(Clone, Debug, Subcommand)]
pub enum Verb {
    /// Create, list, describe, change and delete topics
    #[command(subcommand, disable_help_subcommand = true)]
    Topic(Topic),
    /// Write records from standard input or a file
    #[command(after_help = "\
One record a line, unless -D says otherwise. The answer, how many records went where, is a note on
standard error.

Examples:
  echo hello | plimsoll produce greetings
  plimsoll produce orders -K : -z zstd < orders.txt      key before the first colon
  plimsoll produce photos -p 2 --whole cat.jpg            the file is one record
  echo alice: | plimsoll produce users -K : -Z            a tombstone: empty values are null")]
    Produce(Produce),
    /// Read records
    #[command(after_help = "\
Where to start (-o): beginning, end, an offset, -N for the last N records of each partition, or
@TIMESTAMP (milliseconds, or 2026-01-31T12:00:00Z). Without -g it starts at the end, and with -g
where the group left off.

Formats (-f): %s or %v value, %k key, %o offset, %p partition, %t topic, %T timestamp (ms),
%h headers, %S or %V and %K lengths, %% a percent sign; \\n \\t \\r \\0 \\xHH.

The form of the answer is --output here, since -o is the offset, as in kcat.

Examples:
  plimsoll consume greetings -o beginning -e
  plimsoll consume orders -o -10 -e -f '%p/%o %k: %v\\n'
  plimsoll consume orders -g billing --output json
  plimsoll consume orders -o @2026-01-31T00:00:00Z -c 1")]
    Consume(Consume),
    /// List and describe consumer groups
    #[command(subcommand, disable_help_subcommand = true)]
    Group(Group),
    /// Tell whether the cluster is up, and what it holds
    #[command(after_help = "\
Examples:
  plimsoll status
  plimsoll status -b log1:9092 -o json

Exit codes: 0 all is well, 10 something is not served, 11 all is served with less to spare,
3 no node answers.")]
    Status(Status),
    /// Tell what is wrong, what is being done about it, and what you may do
    #[command(after_help = "\
Examples:
  plimsoll doctor
  plimsoll doctor --http http://log1:9644,http://log2:9644 -o json

Exit codes: 0 all is well, 10 something is not served, 11 all is served with less to spare,
3 nobody knows.")]
    Doctor(Doctor),
    /// Watch nodes and the replicas that are not well
    Top(Top),
    /// List replicas, and what is wrong with them
    #[command(subcommand, disable_help_subcommand = true)]
    Replica(Replica),
    /// Show what happened to a partition, and move it
    #[command(subcommand, disable_help_subcommand = true)]
    Partition(Partition),
    /// List nodes, and take them out of service and back
    #[command(subcommand, disable_help_subcommand = true)]
    Node(Node),
    /// Break a cluster to play with, and see it heal
    #[command(subcommand, disable_help_subcommand = true)]
    Chaos(Chaos),
    /// Tell what a code such as R002 or P0307 means
    Explain(Explain),
}

/// `plimsoll topic …`
#[derive(Clone, Debug, Subcommand)]
pub enum Topic {
    /// Create a topic
    #[command(after_help = "\
Examples:
  plimsoll topic create orders -p 12
  plimsoll topic create users -p 6 -c cleanup.policy=compact -c durability=os")]
    Create(TopicCreate),
    /// List topics
    #[command(after_help = "\
Examples:
  plimsoll topic list
  plimsoll topic list -o name | xargs -n1 plimsoll topic describe")]
    List(TopicList),
    /// Show topics, their partitions and their configs
    #[command(after_help = "\
Examples:
  plimsoll topic describe orders
  plimsoll topic describe orders users -o json")]
    Describe(TopicDescribe),
    /// Change a topic's configs
    #[command(after_help = "\
Examples:
  plimsoll topic set orders retention.ms=86400000
  plimsoll topic set orders retention.ms=                 back to the default")]
    Set(TopicSet),
    /// Delete topics and all their records
    #[command(after_help = "\
Examples:
  plimsoll topic delete orders --dry-run
  plimsoll topic delete orders --yes")]
    Delete(TopicDelete),
}

/// `plimsoll topic create`
#[derive(Args, Clone, Debug)]
pub struct TopicCreate {
    /// Its name
    pub(crate) name: String,
    /// Its partitions [default: the cluster's]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) partitions: Option<u32>,
    /// Replicas of each partition [default: the cluster's]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) replicas: Option<u16>,
    /// A config by Kafka's name; may be repeated
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) config: Vec<(String, String)>,
    /// Succeed if it exists already
    #[arg(long)]
    pub(crate) if_not_exists: bool,
    /// Check only
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

/// `plimsoll topic list`
#[derive(Args, Clone, Debug)]
pub struct TopicList {
    #[command(flatten)]
    pub(crate) watching: Watching,
    /// Internal topics too
    #[arg(long)]
    pub(crate) internal: bool,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

/// `plimsoll topic describe`
#[derive(Args, Clone, Debug)]
pub struct TopicDescribe {
    #[command(flatten)]
    pub(crate) watching: Watching,
    /// Their names
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

/// `plimsoll topic set`
#[derive(Args, Clone, Debug)]
pub struct TopicSet {
    /// The topic's name
    pub(crate) name: String,
    /// A config by Kafka's name; an empty value goes back to the default
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) configs: Vec<(String, String)>,
    /// Check only
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// `plimsoll topic delete`
#[derive(Args, Clone, Debug)]
pub struct TopicDelete {
    /// Their names
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) confirm: Confirm,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// `plimsoll produce`
#[derive(Args, Clone, Debug)]
pub struct Produce {
    /// The topic
    pub(crate) topic: String,
    /// Read from this file instead of standard input
    pub(crate) file: Option<PathBuf>,
    /// The partition [default: by the key, or in turn]
    #[arg(short, long, value_name = "N")]
    pub(crate) partition: Option<u32>,
    /// What separates key and value; without it records have no key
    #[arg(short = 'K', long, value_name = "TEXT", value_parser = escaped)]
    pub(crate) key_delimiter: Option<Delimiter>,
    /// What ends a record
    #[arg(short = 'D', long, value_name = "TEXT", default_value = "\\n", value_parser = escaped)]
    pub(crate) delimiter: Delimiter,
    /// The whole input is one record
    #[arg(long, conflicts_with = "delimiter")]
    pub(crate) whole: bool,
    /// A header for every record; may be repeated
    #[arg(short = 'H', long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) header: Vec<(String, String)>,
    /// Empty values are null (tombstones)
    #[arg(short = 'Z', long)]
    pub(crate) null: bool,
    /// How batches are compressed: none, gzip, snappy, lz4 or zstd
    #[arg(
        short = 'z',
        long,
        value_name = "CODEC",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    pub(crate) compression: Codec,
    /// Who must have a record before it counts as written: all in-sync replicas, the leader (1), or
    /// nobody (0)
    #[arg(short, long, value_enum, default_value_t, hide_possible_values = true)]
    pub(crate) acks: Acks,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// A codec for record batches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Codec {
    /// Not at all
    #[default]
    None,
    /// gzip
    Gzip,
    /// snappy
    Snappy,
    /// lz4
    Lz4,
    /// zstd
    Zstd,
}

/// Who must have a record before it counts as written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Acks {
    /// Every in-sync replica
    #[default]
    All,
    /// The leader
    #[value(name = "1")]
    Leader,
    /// Nobody
    #[value(name = "0")]
    None,
}

/// `plimsoll consume`
#[derive(Args, Clone, Debug)]
pub struct Consume {
    /// The topic
    pub(crate) topic: String,
    /// Only this partition; may be repeated
    #[arg(short, long, value_name = "N", conflicts_with = "group")]
    pub(crate) partition: Vec<u32>,
    /// Where to start
    #[arg(
        short,
        long,
        value_name = "OFFSET",
        allow_hyphen_values = true,
        value_parser = Start::parse
    )]
    pub(crate) offset: Option<Start>,
    /// Stop after this many records
    #[arg(short, long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Stop at the end of the log
    #[arg(short, long)]
    pub(crate) exit: bool,
    /// As a member of this group, which remembers how far it read
    #[arg(short, long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// How to print a record
    #[arg(short, long, value_name = "FORMAT", value_parser = crate::format::Format::parse)]
    pub(crate) format: Option<crate::format::Format>,
    /// The form of the answer: table (the value of each record on a line), wide, json or jsonl (one
    /// document a record), or yaml
    #[arg(
        long,
        value_name = "FORM",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        conflicts_with = "format"
    )]
    pub(crate) output: Output,
    #[command(flatten)]
    pub(crate) connect: Connect,
}

/// `plimsoll group …`
#[derive(Clone, Debug, Subcommand)]
pub enum Group {
    /// List groups
    #[command(after_help = "\
Example:
  plimsoll group list -o wide")]
    List(GroupList),
    /// Show groups, their members, and how far behind they are
    #[command(after_help = "\
Examples:
  plimsoll group describe billing
  plimsoll group describe billing -o json")]
    Describe(GroupDescribe),
}

/// `plimsoll group list`
#[derive(Args, Clone, Debug)]
pub struct GroupList {
    #[command(flatten)]
    pub(crate) watching: Watching,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

/// `plimsoll group describe`
#[derive(Args, Clone, Debug)]
pub struct GroupDescribe {
    #[command(flatten)]
    pub(crate) watching: Watching,
    /// Their names
    #[arg(required = true, value_name = "GROUP")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) ask: Ask,
}

/// `plimsoll status`
#[derive(Args, Clone, Debug)]
pub struct Status {
    #[command(flatten)]
    pub(crate) watching: Watching,
    #[command(flatten)]
    pub(crate) ask: Ask,
    #[command(flatten)]
    pub(crate) http: HttpAt,
}

/// Where to start reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    Beginning,
    End,
    Offset(u64),
    /// So many records before the end.
    Last(u64),
    /// The first record from this time on, in milliseconds since 1970.
    Time(i64),
}

impl Start {
    fn parse(text: &str) -> Result<Self, String> {
        let expected = "is none of beginning, end, OFFSET, -N, @TIMESTAMP";
        match text {
            "beginning" | "earliest" => return Ok(Self::Beginning),
            "end" | "latest" => return Ok(Self::End),
            _ => {}
        }
        if let Some(time) = text.strip_prefix('@') {
            return time.parse().or_else(|_| moment(time)).map(Self::Time);
        }
        let number = |text: &str| match text.parse::<u64>() {
            Ok(number) if i64::try_from(number).is_ok() => Ok(number),
            _ => Err(expected.to_owned()),
        };
        match text.strip_prefix('-') {
            Some(last) => number(last).map(Self::Last),
            None => number(text).map(Self::Offset),
        }
    }
}

fn moment(text: &str) -> Result<i64, String> {
    text.parse::<jiff::Timestamp>()
        .map(jiff::Timestamp::as_millisecond)
        .map_err(|_| {
            "is neither milliseconds since 1970 nor a time such as 2026-01-31T12:00:00Z".to_owned()
        })
}

/// Bytes between records, or between key and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delimiter(pub(crate) Vec<u8>);

fn escaped(text: &str) -> Result<Delimiter, String> {
    let bytes = crate::format::unescape(text)?;
    if bytes.is_empty() {
        Err("is empty".to_owned())
    } else {
        Ok(Delimiter(bytes))
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("is not KEY=VALUE".to_owned()),
    }
}

/// A span: `90`, `1.5`, `90s`, `500ms`, `5m`, `1h`.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match text.get(number.len()..).unwrap_or_default() {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err("is not a span such as 90, 90s or 5m".to_owned()),
    };
    let span = number.parse::<f64>().map(|number| number * unit);
    match span.map(Duration::try_from_secs_f64) {
        Ok(Ok(time)) if !time.is_zero() => Ok(time),
        _ => Err("is not a span above zero, such as 90, 90s or 5m".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_are_read_as_kcat_reads_them() {
        for (text, expected) in [
            ("beginning", Start::Beginning),
            ("end", Start::End),
            ("0", Start::Offset(0)),
            ("-10", Start::Last(10)),
            ("@1700000000000", Start::Time(1_700_000_000_000)),
            ("@1970-01-01T00:00:01Z", Start::Time(1000)),
        ] {
            assert_eq!(Start::parse(text), Ok(expected), "{text}");
        }
        for text in ["", "first", "--1", "1.5", "@noon", "99999999999999999999"] {
            assert!(Start::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn timeouts_are_above_zero() {
        for (text, ms) in [
            ("1.5", 1500),
            ("60s", 60_000),
            ("250ms", 250),
            ("5m", 300_000),
            ("1h", 3_600_000),
        ] {
            assert_eq!(seconds(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["0", "-1", "soon", "1e300", "NaN", "3d", "s", ""] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_may_hold_what_separates_it_from_its_key() {
        assert_eq!(pair("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(pair("=b").is_err());
    }
}
