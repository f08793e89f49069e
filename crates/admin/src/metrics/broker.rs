//! What the broker counts as a whole.

use super::encode::{counter, gauge, times};
use super::replication::MISSED_WAKEUPS;
use plimsoll_broker::{Broker, LATENCY_BOUNDS_US, Latencies, disk_space};
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    broker: &Broker,
    counted: &[(&'static str, u64)],
) -> fmt::Result {
    traffic(encoder, broker)?;
    missed(encoder, broker, counted)?;
    requests(encoder, broker)?;
    durations(encoder, broker)?;
    let nodes = broker.image().nodes().len();
    let nodes = u64::try_from(nodes).unwrap_or(u64::MAX);
    gauge(
        encoder,
        "kafka_brokers",
        "Number of nodes of the cluster",
        None,
        nodes,
    )?;
    let (sum, _, buckets) = histogram(&broker.device().syncs);
    let help = "How long syncs of the data directory's disk took";
    times(encoder, "plimsoll_fsync_duration", help, sum, &buckets)?;
    // The disk may be dead; the other metrics then say so.
    if let Ok(space) = disk_space(broker.data_dir()) {
        let (bytes, total, free) = (Some(&Unit::Bytes), space.total_bytes, space.usable_bytes);
        gauge(
            encoder,
            "plimsoll_disk_total",
            "Size of the data directory's volume",
            bytes,
            total,
        )?;
        gauge(
            encoder,
            "plimsoll_disk_free",
            "Room left on the data directory's volume",
            bytes,
            free,
        )?;
    }
    Ok(())
}

fn traffic(encoder: &mut DescriptorEncoder<'_>, broker: &Broker) -> fmt::Result {
    let counters = broker.counters();
    let bytes = Some(&Unit::Bytes);
    let families = [
        (
            "plimsoll_produced_batches",
            "Batches appended for producers",
            None,
            &counters.batches_in,
        ),
        (
            "plimsoll_produced_records",
            "Records appended for producers",
            None,
            &counters.records_in,
        ),
        (
            "plimsoll_produced",
            "Bytes appended for producers",
            bytes,
            &counters.bytes_in,
        ),
        (
            "plimsoll_fetched",
            "Record bytes sent to consumers",
            bytes,
            &counters.bytes_out,
        ),
        (
            "plimsoll_duplicate_batches",
            "Retries of idempotent producers that were answered from the log",
            None,
            &counters.duplicates,
        ),
        (
            "plimsoll_scrubbed",
            "Bytes read in the background to see whether they still are what was written",
            bytes,
            &counters.scrubbed_bytes,
        ),
        (
            "plimsoll_scrub_rounds",
            "Rounds of that over all logs",
            None,
            &counters.scrub_rounds,
        ),
        (
            "plimsoll_scrub_damage",
            "Damaged ranges that it found",
            None,
            &counters.scrub_damage,
        ),
        (
            "plimsoll_malformed_requests",
            "Requests that could not be read; each closed its connection",
            None,
            &counters.malformed,
        ),
    ];
    for (name, help, unit, cell) in families {
        counter(encoder, name, help, unit, value(cell))?;
    }
    Ok(())
}

/// The broker's and the replicator's.
fn missed(
    encoder: &mut DescriptorEncoder<'_>,
    broker: &Broker,
    counted: &[(&'static str, u64)],
) -> fmt::Result {
    let replicators = counted.iter().find(|(name, _)| *name == MISSED_WAKEUPS);
    let replicators = replicators.map_or(0, |(_, counted)| *counted);
    counter(
        encoder,
        "plimsoll_hw_missed_wakeup",
        "Wake-ups that the tick made up for; more than a few are a bug (a thread that the machine stopped in the middle counts as one)",
        None,
        value(&broker.counters().missed_wakeups).saturating_add(replicators),
    )
}

fn requests(encoder: &mut DescriptorEncoder<'_>, broker: &Broker) -> fmt::Result {
    let (name, help) = ("plimsoll_requests", "Requests answered");
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (api, counted) in broker.counters().apis() {
        let labels = [("api", api.name())];
        let mut metric = metric.encode_family(&labels)?;
        metric.encode_counter::<NoLabelSet, _, f64>(&value(&counted.total.count), None)?;
    }
    Ok(())
}

fn durations(encoder: &mut DescriptorEncoder<'_>, broker: &Broker) -> fmt::Result {
    let (name, kind) = ("plimsoll_request_duration", MetricType::Histogram);
    let help = "Time from a request's frame to its answer, long polls included (total); work before \
                it first had to wait, and the waiting of those that had to";
    let mut metric = encoder.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
    for (api, counted) in broker.counters().apis() {
        let phases = [
            ("total", &counted.total),
            ("work", &counted.work),
            ("wait", &counted.wait),
        ];
        for (phase, counted) in phases {
            let labels = [("api", api.name()), ("phase", phase)];
            let (sum, count, buckets) = histogram(counted);
            let mut metric = metric.encode_family(&labels)?;
            metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
    }
    Ok(())
}

/// Sum in seconds, count, and each bucket's bound with its own count.
fn histogram(counted: &Latencies) -> (f64, u64, Vec<(f64, u64)>) {
    let bounds = LATENCY_BOUNDS_US.iter().map(|us| seconds(*us));
    let bounds = bounds.chain(std::iter::once(f64::INFINITY));
    let buckets: Vec<_> = bounds.zip(counted.buckets.iter().map(value)).collect();
    // Counted from the buckets, so that the last one and the count agree in every scrape.
    let count = buckets.iter().map(|(_, count)| count).sum();
    (seconds(value(&counted.sum_us)), count, buckets)
}

fn seconds(us: u64) -> f64 {
    std::time::Duration::from_micros(us).as_secs_f64()
}

fn value(cell: &AtomicU64) -> u64 {
    cell.load(Ordering::Relaxed)
}
