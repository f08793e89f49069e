//! An open loop: requests go out at intended times, whether answers come or not.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use plimsoll_benches::contention::now;
use plimsoll_client::Pending;
use plimsoll_wire::ApiKey;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::batches::{BatchMaker, request};
use crate::load::Load;
use crate::pace::Pace;
use crate::process::Watched;
use crate::produce::{ANSWER_TIMEOUT, outcome};
use crate::report::Report;
use crate::tally::Tally;
use crate::target::{Lane, Target};
use crate::window::Window;

/// Sends at the load's rate for the whole window.
pub(crate) async fn run(target: &Target, load: &Load, watched: Option<&Watched>) -> Result<Report> {
    let lanes = target.lanes(load.connections).await?;
    let window = Window::open(load);
    let sending = OpenLoop::new(target, load, lanes, window)?;
    let (sent, used) = tokio::join!(sending.run(), window.watch(watched));
    let sent = sent?;
    let mut report = Report::of(load, &sent.tally);
    report.produced(&sent.tally, sent.all_bytes);
    report.lateness(&sent.tally);
    report.used(used.as_ref(), &sent.tally);
    Ok(report)
}

/// What an open loop sent: within the measured time, and at all.
pub(crate) struct Sent {
    pub(crate) tally: Tally,
    pub(crate) all_bytes: u64,
}

/// Sends from one task; each connection's answers are taken by a task of their own.
pub(crate) struct OpenLoop<'a> {
    target: &'a Target,
    load: &'a Load,
    lanes: Vec<Lane>,
    window: Window,
    maker: BatchMaker,
    pace: Pace,
}

/// A request on its way: when it should have been sent, and what is in it.
struct Sending {
    intended: Instant,
    bytes: u64,
    pending: Pending,
}

impl<'a> OpenLoop<'a> {
    pub(crate) fn new(
        target: &'a Target,
        load: &'a Load,
        lanes: Vec<Lane>,
        window: Window,
    ) -> Result<Self> {
        let (maker, pace) = (BatchMaker::new(load)?, Pace::new(load.spin)?);
        Ok(Self {
            target,
            load,
            lanes,
            window,
            maker,
            pace,
        })
    }

    /// Sends until the window closes, and takes the last answers.
    pub(crate) async fn run(mut self) -> Result<Sent> {
        let mut takers = JoinSet::new();
        let mut sinks = Vec::with_capacity(self.lanes.len());
        for _ in &self.lanes {
            let (sink, source) = mpsc::channel(self.load.in_flight);
            let records = u64::from(self.load.batch_records);
            takers.spawn(take(source, self.window, records));
            sinks.push(sink);
        }
        let mut lateness = Tally::new();
        for nth in 0_u64.. {
            let intended = self.window.begins + at(nth, self.load.rate);
            if intended >= self.window.until {
                break;
            }
            self.pace.until(intended).await?;
            let lane = usize::try_from(nth).context("a run of ages")? % self.lanes.len();
            let sending = self.send(nth, intended, lane).await?;
            if self.window.measures(intended) {
                lateness
                    .lateness
                    .record(now().saturating_duration_since(intended));
            }
            // The taker ends early only with an error, which is told below.
            let _ = sinks[lane].send(sending).await;
        }
        drop(sinks);
        let mut sum = Sent {
            tally: lateness,
            all_bytes: 0,
        };
        while let Some(taken) = takers.join_next().await {
            let taken = taken??;
            sum.tally.add(&taken.tally);
            sum.all_bytes += taken.all_bytes;
        }
        Ok(sum)
    }

    async fn send(&mut self, nth: u64, intended: Instant, lane: usize) -> Result<Sending> {
        let batch = self.maker.make(intended - self.window.begins)?;
        let bytes = u64::try_from(batch.len()).context("a batch larger than files")?;
        let lane_of = &self.lanes[lane];
        // Rounds of the lanes, so that each goes through all its partitions.
        let round = usize::try_from(nth).context("a run of ages")? / self.lanes.len();
        let partition = lane_of.partitions[round % lane_of.partitions.len()];
        let request = request(&self.target.topic, partition, self.load.acks, batch)?;
        let version = lane_of.connection.version_of(ApiKey::Produce)?;
        let pending = lane_of
            .connection
            .submit(version, &request, ANSWER_TIMEOUT)
            .await?;
        Ok(Sending {
            intended,
            bytes,
            pending,
        })
    }
}

/// Takes a connection's answers, in turn.
async fn take(mut source: mpsc::Receiver<Sending>, window: Window, records: u64) -> Result<Sent> {
    let mut sum = Sent {
        tally: Tally::new(),
        all_bytes: 0,
    };
    while let Some(Sending {
        intended,
        bytes,
        pending,
    }) = source.recv().await
    {
        let outcome = outcome(&pending.answer().await?);
        let came = now();
        if outcome.is_ok() {
            sum.all_bytes += bytes;
        }
        // By the intended time: what should have been sent within the window counts, however
        // late its answer, or the slowest would go missing.
        if window.measures(intended) {
            match outcome {
                Ok(()) => sum.tally.count(records, bytes, came - intended),
                Err(error) => sum.tally.refuse(error),
            }
        }
    }
    Ok(sum)
}

/// When the `nth` of `rate` a second is due.
fn at(nth: u64, rate: u32) -> Duration {
    let rate = u64::from(rate.max(1));
    let whole = Duration::from_secs(nth / rate);
    whole + Duration::from_nanos((nth % rate) * 1_000_000_000 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intended_times_do_not_drift() {
        assert_eq!(at(0, 3), Duration::ZERO);
        assert_eq!(at(3_000_000, 3), Duration::from_secs(1_000_000));
        assert_eq!(at(1, 1000), Duration::from_millis(1));
    }
}
