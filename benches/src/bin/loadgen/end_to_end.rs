//! From the intended send of a record to its receipt by a consumer that waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use plimsoll_benches::contention::now;
use plimsoll_record_batch::{Batches, DecodeLimits};
use tokio::task::JoinSet;

use crate::batches::moment;
use crate::consume::{Read, Reader};
use crate::load::Load;
use crate::process::Watched;
use crate::rate::OpenLoop;
use crate::report::Report;
use crate::tally::Tally;
use crate::target::Target;
use crate::window::Window;

const LIMITS: DecodeLimits = DecodeLimits {
    max_decompressed_bytes: 64 << 20,
    max_records: 1 << 20,
};

/// Sends at the load's rate and reads along for the whole window.
pub(crate) async fn run(target: &Target, load: &Load, watched: Option<&Watched>) -> Result<Report> {
    let (sending, reading) = (
        target.lanes(load.connections).await?,
        target.lanes(1).await?,
    );
    let window = Window::open(load);
    let all_sent = Arc::new(AtomicBool::new(false));
    let mut readers = JoinSet::new();
    for lane in reading {
        let reader = Reader::new(&target.topic, lane)?;
        readers.spawn(receive(reader, window, Arc::clone(&all_sent)));
    }
    let sending = OpenLoop::new(target, load, sending, window)?;
    let (sent, used) = tokio::join!(sending.run(), window.watch(watched));
    all_sent.store(true, Ordering::Relaxed);
    let sent = sent?;
    let (mut received, mut all_received) = (Tally::new(), 0);
    while let Some(reader) = readers.join_next().await {
        let (tally, bytes) = reader??;
        received.add(&tally);
        all_received += bytes;
    }
    let mut report = Report::of(load, &sent.tally);
    report.produced(&sent.tally, sent.all_bytes);
    report.lateness(&sent.tally);
    report.received(&received, all_received, &sent.tally);
    report.used(used.as_ref(), &sent.tally);
    Ok(report)
}

/// Reads until all is sent and a poll has brought nothing more.
async fn receive(
    mut reader: Reader,
    window: Window,
    all_sent: Arc<AtomicBool>,
) -> Result<(Tally, u64)> {
    let (mut tally, mut all_bytes) = (Tally::new(), 0);
    loop {
        let were_sent = all_sent.load(Ordering::Relaxed);
        let read = reader.read().await?;
        if let Some(error) = read.refused {
            tally.refuse(error);
        }
        if read.bytes == 0 && were_sent {
            return Ok((tally, all_bytes));
        }
        all_bytes += read.bytes;
        record(&mut tally, &read, window)?;
    }
}

/// Records how long ago each record should have been sent.
fn record(tally: &mut Tally, read: &Read, window: Window) -> Result<()> {
    let came = now();
    tally.requests += 1;
    for bytes in &read.batches {
        // A batch cut short at the end comes whole with the next answer.
        for batch in Batches::new(bytes) {
            let batch = batch?;
            for record in batch.records(&LIMITS)?.iter() {
                let Some(moment) = record?.value.and_then(moment) else {
                    continue;
                };
                let intended = window.begins + moment;
                if window.measures(intended) {
                    tally.records += 1;
                    tally
                        .latencies
                        .record(came.saturating_duration_since(intended));
                }
            }
        }
    }
    Ok(())
}
