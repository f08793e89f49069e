//! Closed loops: each connection keeps so many requests in flight, as fast as they are answered.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use plimsoll_benches::contention::now;
use plimsoll_client::Pending;
use plimsoll_wire::{ApiKey, ErrorCode, Request, Response};
use tokio::task::JoinSet;

use crate::batches::{BatchMaker, request};
use crate::load::Load;
use crate::process::Watched;
use crate::report::Report;
use crate::tally::Tally;
use crate::target::{Lane, Target};
use crate::window::Window;

/// No answer takes this long but one that never comes.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Loads the broker for the whole window.
pub(crate) async fn run(target: &Target, load: &Load, watched: Option<&Watched>) -> Result<Report> {
    let lanes = target.lanes(load.connections).await?;
    let window = Window::open(load);
    let mut senders = JoinSet::new();
    for lane in lanes {
        let sender = Sender::new(target, load, lane)?;
        senders.spawn(sender.send_until(window));
    }
    let used = window.watch(watched).await;
    let mut sum = Sent {
        tally: Tally::new(),
        all_bytes: 0,
    };
    while let Some(sender) = senders.join_next().await {
        let sent = sender??;
        sum.tally.add(&sent.tally);
        sum.all_bytes += sent.all_bytes;
    }
    let mut report = Report::of(load, &sum.tally);
    report.produced(&sum.tally, sum.all_bytes);
    report.used(used.as_ref(), &sum.tally);
    Ok(report)
}

/// What a connection sent: within the measured time, and at all.
pub(crate) struct Sent {
    pub(crate) tally: Tally,
    pub(crate) all_bytes: u64,
}

/// One connection's loop.
pub(crate) struct Sender {
    lane: Lane,
    version: i16,
    /// One request a partition, the same every time, so that the generator costs little.
    requests: Vec<Request>,
    records: u64,
    batch_bytes: u64,
    in_flight: usize,
}

impl Sender {
    pub(crate) fn new(target: &Target, load: &Load, lane: Lane) -> Result<Self> {
        let version = lane.connection.version_of(ApiKey::Produce)?;
        let batch = BatchMaker::new(load)?.make(Duration::ZERO)?;
        let requests = lane.partitions.iter();
        let requests = requests.map(|&at| request(&target.topic, at, load.acks, batch.clone()));
        Ok(Self {
            version,
            requests: requests.collect::<Result<_>>()?,
            records: u64::from(load.batch_records),
            batch_bytes: u64::try_from(batch.len()).context("a batch larger than files")?,
            in_flight: load.in_flight,
            lane,
        })
    }

    /// Sends until the window closes, and takes the last answers.
    async fn send_until(self, window: Window) -> Result<Sent> {
        self.send(window, |_| window.is_open()).await
    }

    /// Sends `batches` of them, or somewhat more.
    pub(crate) async fn send_batches(self, window: Window, batches: u64) -> Result<Sent> {
        self.send(window, |sent| sent < batches).await
    }

    async fn send(self, window: Window, more: impl Fn(u64) -> bool) -> Result<Sent> {
        let mut sum = Sent {
            tally: Tally::new(),
            all_bytes: 0,
        };
        let mut awaited: VecDeque<(Instant, Pending)> = VecDeque::with_capacity(self.in_flight);
        let mut sent = 0;
        let mut requests = self.requests.iter().cycle();
        while more(sent) {
            if awaited.len() == self.in_flight {
                self.take(&mut awaited, window, &mut sum).await?;
            }
            let request = requests.next().context("a connection without partitions")?;
            let began = now();
            let pending = self
                .lane
                .connection
                .submit(self.version, request, ANSWER_TIMEOUT);
            awaited.push_back((began, pending.await?));
            sent += 1;
        }
        while !awaited.is_empty() {
            self.take(&mut awaited, window, &mut sum).await?;
        }
        Ok(sum)
    }

    /// Awaits the oldest answer.
    async fn take(
        &self,
        awaited: &mut VecDeque<(Instant, Pending)>,
        window: Window,
        sum: &mut Sent,
    ) -> Result<()> {
        let Some((began, pending)) = awaited.pop_front() else {
            return Ok(());
        };
        let outcome = outcome(&pending.answer().await?);
        let came = now();
        if outcome.is_ok() {
            sum.all_bytes += self.batch_bytes;
        }
        if window.measures(came) {
            match outcome {
                Ok(()) => sum
                    .tally
                    .count(self.records, self.batch_bytes, came - began),
                Err(error) => sum.tally.refuse(error),
            }
        }
        Ok(())
    }
}

/// What became of the one batch of a request.
pub(crate) fn outcome(answer: &Response) -> Result<(), ErrorCode> {
    let Response::Produce(answer) = answer else {
        return Err(ErrorCode::UnknownServerError);
    };
    let partitions = answer
        .responses
        .iter()
        .flat_map(|topic| &topic.partition_responses);
    for partition in partitions {
        if partition.error_code != 0 {
            let error = ErrorCode::from_code(partition.error_code);
            return Err(error.unwrap_or(ErrorCode::UnknownServerError));
        }
    }
    Ok(())
}
