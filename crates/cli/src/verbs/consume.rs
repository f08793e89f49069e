//! `plimsoll consume`

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use plimsoll_client::{
    At, Client, ConsumedRecord, Consumer, ConsumerConfig, GroupConfig, GroupConsumer, StartAt,
};
use plimsoll_types::{Offset, Timestamp, TopicName, TopicPartition};
use tokio::time::Instant;

use crate::failure::{Code, Failure};
use crate::offsets;
use crate::output::{note, unless_gone};
use crate::reach::{client, topic_name};
use crate::record::Printer;
use crate::verb::{Consume, Start};

/// How long a poll waits; a Ctrl-C is seen at its end.
const POLL: Duration = Duration::from_millis(250);
/// How often a group's progress is committed.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Records in one poll.
const POLL_RECORDS: u64 = 500;

pub(super) async fn consume(args: Consume) -> Result<(), Failure> {
    let topic = topic_name(&args.topic)?;
    let printer = Printer::new(args.format.clone(), args.output)?;
    let client = client(&args.connect).await?;
    // Asked first, so that a wrong name is told at once.
    let partitions = client.topic(&topic).await?.partitions.len();
    let mut reading = match &args.group {
        Some(group) => Reading::in_group(client, topic, group, &args)?,
        None => Reading::by_hand(client, &topic, partitions, &args).await?,
    };
    if args.offset.is_none() && args.group.is_none() && !args.exit && io::stderr().is_terminal() {
        note("Waiting for new records; -o beginning shows old ones, Ctrl-C stops.");
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let done = print_all(&mut reading, &printer, &args, &mut out).await;
    let left = reading.leave().await;
    done.and(left)
}

/// Prints until there is enough, or nobody reads any more.
async fn print_all(
    reading: &mut Reading,
    printer: &Printer,
    args: &Consume,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let stop = stop_on_ctrl_c();
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 && !stop.load(Ordering::Relaxed) {
        for record in reading.poll().await? {
            if left == 0 {
                break;
            }
            if !unless_gone(printer.print(out, &record))? {
                return Ok(());
            }
            left -= 1;
            reading.printed(&record);
        }
        if !unless_gone(out.flush())? {
            return Ok(());
        }
        reading.commit_if_due().await?;
        if args.exit && reading.is_at_end() {
            break;
        }
    }
    Ok(())
}

/// A flag that the first Ctrl-C raises; the second ends the process.
fn stop_on_ctrl_c() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = Arc::clone(&stop);
    tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            raised.store(true, Ordering::Relaxed);
        }
        if tokio::signal::ctrl_c().await.is_ok() {
            std::process::exit(i32::from(crate::Exit::Failed as u8));
        }
    });
    stop
}

/// What is read from, and how far it got.
struct Reading {
    way: Way,
    /// The next offset of each partition after what was printed.
    next: BTreeMap<TopicPartition, Offset>,
    committed: Instant,
}

enum Way {
    Partitions(Box<Consumer>),
    Group(Box<GroupConsumer>),
}

impl Reading {
    fn new(way: Way) -> Self {
        Self {
            way,
            next: BTreeMap::new(),
            committed: Instant::now(),
        }
    }

    /// As a member of a group; where it starts is said by what the group has committed, and only
    /// where that is nothing by the arguments.
    fn in_group(
        client: Client,
        topic: TopicName,
        group: &str,
        args: &Consume,
    ) -> Result<Self, Failure> {
        let start = match args.offset {
            None | Some(Start::End) => StartAt::Latest,
            Some(Start::Beginning) => StartAt::Earliest,
            Some(Start::Time(ms)) => StartAt::Timestamp(Timestamp::from_millis(ms)),
            Some(Start::Offset(_) | Start::Last(_)) => {
                let what = "-o with a group is where to start in partitions that the group has not \
                            read yet: beginning, end or @TIMESTAMP";
                return Err(Failure::usage(what));
            }
        };
        let config = GroupConfig {
            start,
            // Commits follow what was printed, not what was fetched.
            auto_commit: None,
            ..GroupConfig::new(group, [topic])
        };
        let consumer = GroupConsumer::new(client, consumer_config(args), config);
        Ok(Self::new(Way::Group(Box::new(consumer))))
    }

    async fn by_hand(
        client: Client,
        topic: &TopicName,
        partitions: usize,
        args: &Consume,
    ) -> Result<Self, Failure> {
        let all = 0..u32::try_from(partitions).unwrap_or(u32::MAX);
        if let Some(missing) = args
            .partition
            .iter()
            .find(|partition| !all.contains(partition))
        {
            let last = partitions.saturating_sub(1);
            let what = format!("topic {topic} has no partition {missing}; its last is {last}");
            return Err(Failure::new(Code::TopicNotFound, what));
        }
        let wanted = match args.partition.is_empty() {
            true => all.collect(),
            false => args.partition.clone(),
        };
        let partition = |partition| TopicPartition {
            topic: topic.clone(),
            partition,
        };
        let wanted: Vec<TopicPartition> = wanted.into_iter().map(partition).collect();
        let starts = starts(&client, wanted, args.offset.unwrap_or(Start::End)).await?;
        let mut consumer = Consumer::new(client, consumer_config(args));
        consumer.assign(starts);
        Ok(Self::new(Way::Partitions(Box::new(consumer))))
    }

    async fn poll(&mut self) -> Result<Vec<ConsumedRecord>, Failure> {
        Ok(match &mut self.way {
            Way::Partitions(consumer) => consumer.poll(POLL).await?,
            Way::Group(consumer) => consumer.poll(POLL).await?,
        })
    }

    fn printed(&mut self, record: &ConsumedRecord) {
        let partition = TopicPartition {
            topic: record.topic.clone(),
            partition: record.partition,
        };
        self.next.insert(partition, record.offset + 1);
    }

    async fn commit_if_due(&mut self) -> Result<(), Failure> {
        if self.committed.elapsed() >= COMMIT_EVERY {
            self.commit().await?;
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<(), Failure> {
        self.committed = Instant::now();
        let Way::Group(consumer) = &mut self.way else {
            return Ok(());
        };
        // What another member has by now is not ours to commit.
        let mine: Vec<_> = consumer.consumer().assignment().cloned().collect();
        self.next.retain(|partition, _| mine.contains(partition));
        match consumer
            .commit_offsets(std::mem::take(&mut self.next))
            .await
        {
            // The partitions will be read again from the last commit, by whoever gets them.
            Err(error) if error.is_retriable() || is_rebalance(&error) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Whether all was printed that there was at the last fetch.
    fn is_at_end(&self) -> bool {
        match &self.way {
            Way::Partitions(consumer) => consumer.are_all_at_end(),
            Way::Group(consumer) => {
                consumer.generation().is_some() && consumer.consumer().are_all_at_end()
            }
        }
    }

    async fn leave(mut self) -> Result<(), Failure> {
        let committed = self.commit().await;
        if let Way::Group(consumer) = self.way {
            consumer.leave().await?;
        }
        committed
    }
}

fn is_rebalance(error: &plimsoll_client::ClientError) -> bool {
    use plimsoll_wire::ErrorCode::{IllegalGeneration, RebalanceInProgress, UnknownMemberId};
    matches!(
        error.code(),
        Some(IllegalGeneration | RebalanceInProgress | UnknownMemberId)
    )
}

fn consumer_config(args: &Consume) -> ConsumerConfig {
    let max = args.count.unwrap_or(POLL_RECORDS).clamp(1, POLL_RECORDS);
    ConsumerConfig {
        max_poll_records: usize::try_from(max).unwrap_or(usize::MAX),
        ..ConsumerConfig::new()
    }
}

/// Where to start in each partition.
async fn starts(
    client: &Client,
    partitions: Vec<TopicPartition>,
    start: Start,
) -> Result<Vec<(TopicPartition, StartAt)>, Failure> {
    let at = match start {
        Start::Beginning => StartAt::Earliest,
        Start::End => StartAt::Latest,
        Start::Offset(offset) => StartAt::Offset(Offset::new(offset)),
        Start::Time(ms) => StartAt::Timestamp(Timestamp::from_millis(ms)),
        Start::Last(records) => return last(client, partitions, records).await,
    };
    Ok(partitions
        .into_iter()
        .map(|partition| (partition, at))
        .collect())
}

/// So many offsets before the end of each partition, or its first where it has fewer.
async fn last(
    client: &Client,
    partitions: Vec<TopicPartition>,
    records: u64,
) -> Result<Vec<(TopicPartition, StartAt)>, Failure> {
    let first = offsets::found(client, partitions.iter().cloned(), At::Earliest).await?;
    let end = offsets::found(client, partitions.iter().cloned(), At::Latest).await?;
    let start = |partition: TopicPartition| {
        let at = match (first.get(&partition), end.get(&partition)) {
            (Some(first), Some(end)) => StartAt::Offset(end.saturating_sub(records).max(*first)),
            // It cannot be asked now; reading it will say why.
            _ => StartAt::Latest,
        };
        (partition, at)
    };
    Ok(partitions.into_iter().map(start).collect())
}
