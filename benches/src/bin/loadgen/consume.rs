//! Reading back what was written, as fast as it is given.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use plimsoll_benches::contention::now;
use plimsoll_client::Topic;
use plimsoll_record_batch::{BatchHeader, HEADER_BYTES};
use plimsoll_types::Offset;
use plimsoll_wire::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use plimsoll_wire::{ApiKey, ErrorCode, Request, Response};
use tokio::task::JoinSet;

use crate::load::Load;
use crate::process::Watched;
use crate::produce::{ANSWER_TIMEOUT, Sender};
use crate::report::Report;
use crate::tally::Tally;
use crate::target::{Lane, Target};
use crate::window::Window;

const MAX_BYTES: i32 = 16 << 20;
const PARTITION_MAX_BYTES: i32 = 1 << 20;
/// A long poll's end; a reader that is behind never gets there.
const MAX_WAIT_MS: i32 = 500;

/// Writes, then reads for the whole window, from the start again whenever it comes to the end.
pub(crate) async fn run(target: &Target, load: &Load, watched: Option<&Watched>) -> Result<Report> {
    let written = preload(target, load).await?;
    let lanes = target.lanes(load.connections).await?;
    let window = Window::open(load);
    let mut readers = JoinSet::new();
    for lane in lanes {
        readers.spawn(Reader::new(&target.topic, lane)?.read_until(window));
    }
    let used = window.watch(watched).await;
    let (mut tally, mut all_bytes) = (Tally::new(), 0);
    while let Some(reader) = readers.join_next().await {
        let (read, bytes) = reader??;
        tally.add(&read);
        all_bytes += bytes;
    }
    let mut report = Report::of(load, &tally);
    report.preloaded(written);
    report.consumed(&tally, all_bytes);
    report.used(used.as_ref(), &tally);
    Ok(report)
}

async fn preload(target: &Target, load: &Load) -> Result<u64> {
    let lanes = target.lanes(load.connections).await?;
    let batches = load.preload_bytes.div_ceil(load.batch_value_bytes());
    let each = batches.div_ceil(u64::try_from(lanes.len()).context("too many connections")?);
    let window = Window::open(load);
    let mut senders = JoinSet::new();
    for lane in lanes {
        senders.spawn(Sender::new(target, load, lane)?.send_batches(window, each));
    }
    let mut written = 0;
    while let Some(sender) = senders.join_next().await {
        written += sender??.all_bytes;
    }
    ensure!(written > 0, "nothing could be written that could be read");
    Ok(written)
}

/// One connection that reads its partitions.
pub(crate) struct Reader {
    lane: Lane,
    version: i16,
    topic: Topic,
    /// The next offset to read of each partition.
    next: BTreeMap<u32, Offset>,
}

/// What one answer held.
#[derive(Default)]
pub(crate) struct Read {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// The chunks of records, whole batches.
    pub(crate) batches: Vec<Bytes>,
    pub(crate) refused: Option<ErrorCode>,
    at_end: bool,
}

impl Reader {
    pub(crate) fn new(topic: &Topic, lane: Lane) -> Result<Self> {
        let version = lane.connection.version_of(ApiKey::Fetch)?;
        let next = lane
            .partitions
            .iter()
            .map(|&partition| (partition, Offset::ZERO))
            .collect();
        Ok(Self {
            lane,
            version,
            topic: topic.clone(),
            next,
        })
    }

    async fn read_until(mut self, window: Window) -> Result<(Tally, u64)> {
        let (mut tally, mut all_bytes) = (Tally::new(), 0);
        while window.is_open() {
            let began = now();
            let read = self.read().await?;
            let came = now();
            all_bytes += read.bytes;
            count(&mut tally, &read, window, began, came);
            if read.at_end {
                self.next.values_mut().for_each(|next| *next = Offset::ZERO);
            }
        }
        Ok((tally, all_bytes))
    }

    /// One fetch of all partitions.
    pub(crate) async fn read(&mut self) -> Result<Read> {
        let request = Request::Fetch(self.request()?);
        let pending = self
            .lane
            .connection
            .submit(self.version, &request, ANSWER_TIMEOUT)
            .await?;
        match pending.answer().await? {
            Response::Fetch(answer) => self.take(answer),
            other => bail!("a fetch was answered with {:?}", other.api()),
        }
    }

    fn request(&self) -> Result<FetchRequest> {
        let partitions = self.next.iter().map(|(&partition, next)| {
            Ok(FetchPartition {
                partition: i32::try_from(partition).context("a partition beyond the protocol")?,
                fetch_offset: next.to_wire(),
                partition_max_bytes: PARTITION_MAX_BYTES,
                ..FetchPartition::default()
            })
        });
        let topic = FetchTopic {
            topic: self.topic.name.as_str().into(),
            topic_id: self.topic.id,
            partitions: partitions.collect::<Result<_>>()?,
        };
        Ok(FetchRequest {
            max_wait_ms: MAX_WAIT_MS,
            min_bytes: 1,
            max_bytes: MAX_BYTES,
            topics: vec![topic],
            ..FetchRequest::default()
        })
    }

    fn take(&mut self, answer: FetchResponse) -> Result<Read> {
        let mut read = Read {
            at_end: true,
            ..Read::default()
        };
        if answer.error_code != 0 {
            read.refused = ErrorCode::from_code(answer.error_code);
            return Ok(read);
        }
        for partition in answer
            .responses
            .into_iter()
            .flat_map(|topic| topic.partitions)
        {
            if partition.error_code != 0 {
                read.refused = ErrorCode::from_code(partition.error_code);
                continue;
            }
            let index = u32::try_from(partition.partition_index).context("a negative partition")?;
            let next = self
                .next
                .get_mut(&index)
                .context("a partition nobody asked for")?;
            if let Some(records) = partition.records {
                let bytes = records.to_bytes();
                *next = read.walk(&bytes, *next)?;
                read.batches.push(bytes);
            }
            read.at_end &= next.to_wire() >= partition.high_watermark;
        }
        Ok(read)
    }
}

impl Read {
    /// Counts the whole batches in `bytes` and returns where the next read begins. Looks at
    /// headers only: the checksums are not what is measured.
    fn walk(&mut self, bytes: &[u8], mut next: Offset) -> Result<Offset> {
        let mut rest = bytes;
        while rest.len() >= HEADER_BYTES {
            let header = BatchHeader::decode(rest)?;
            let len = usize::try_from(header.batch_bytes).context("a batch beyond memory")?;
            // The last batch may be cut short.
            let Some(after) = rest.get(len..) else { break };
            self.records += u64::from(header.records);
            self.bytes += u64::from(header.batch_bytes);
            next = header.end();
            rest = after;
        }
        Ok(next)
    }
}

fn count(tally: &mut Tally, read: &Read, window: Window, began: Instant, came: Instant) {
    if !window.measures(came) {
        return;
    }
    match read.refused {
        Some(error) => tally.refuse(error),
        None => tally.count(read.records, read.bytes, came - began),
    }
}
