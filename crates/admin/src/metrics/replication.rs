//! Metrics of replication: of this node's replicas, and of the followers of those that lead.

use super::encode::{Labels, counter, seconds, signed};
use crate::cluster::Sighting;
use plimsoll_broker::Broker;
use plimsoll_health::Cause;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;
use std::collections::BTreeMap;
use std::fmt;

/// The replicator's name for what has a metric of its own; see `broker.rs`.
pub(super) const MISSED_WAKEUPS: &str = "hw_missed_wakeups";
/// What holds a stream up: the replicator's names, and those of the label `reason`.
const STALLS: [(&str, &str); 4] = [
    ("stalls", "no_progress"),
    ("refusals", "refused"),
    ("nacks", "nacked"),
    ("bad_runs", "damaged_run"),
];
/// Others whose metrics have names of their own.
const NAMED: [(&str, &str, &str); 1] = [(
    "divergences",
    "plimsoll_replica_divergence",
    "Times that a log here parted from its leader's below the high watermark",
)];

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    broker: &Broker,
    sightings: &[Sighting],
    counters: &[(&'static str, u64)],
    details: bool,
) -> fmt::Result {
    counts(encoder, counters)?;
    if details {
        positions(encoder, broker, sightings)?;
        causes(encoder, sightings)?;
    }
    summed(encoder, sightings)
}

fn counts(encoder: &mut DescriptorEncoder<'_>, counters: &[(&'static str, u64)]) -> fmt::Result {
    let of = |name: &str| counters.iter().find(|(known, _)| *known == name);
    let (name, help) = (
        "plimsoll_replica_stalls",
        "Times that a stream between replicas stood still or was refused, by reason",
    );
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (known, reason) in STALLS {
        let value = of(known).map_or(0, |(_, value)| *value);
        let labels: Labels<'_> = &[("reason", reason)];
        let mut metric = metric.encode_family(&labels)?;
        metric.encode_counter::<prometheus_client::encoding::NoLabelSet, _, f64>(&value, None)?;
    }
    for (known, name, help) in NAMED {
        let value = of(known).map_or(0, |(_, value)| *value);
        counter(encoder, name, help, None, value)?;
    }
    let told = |name: &str| {
        name == MISSED_WAKEUPS
            || STALLS.iter().any(|(known, _)| *known == name)
            || NAMED.iter().any(|(known, ..)| *known == name)
    };
    for (name, value) in counters.iter().filter(|(name, _)| !told(name)) {
        let help = format!("What replication counted as {name}");
        let name = format!("plimsoll_replicator_{name}");
        counter(encoder, &name, &help, None, *value)?;
    }
    Ok(())
}

type Value = fn(&Sighting, u64) -> Option<f64>;

/// How far each replica is.
fn positions(
    encoder: &mut DescriptorEncoder<'_>,
    broker: &Broker,
    sightings: &[Sighting],
) -> fmt::Result {
    let families: [(&str, &str, Option<&Unit>, Value); 4] = [
        (
            "plimsoll_replica_lag_records",
            "Records that the leader has beyond the replica, as this node knows",
            None,
            |sighting, _| Some(number(sighting.behind)),
        ),
        (
            "plimsoll_replica_lag",
            "Bytes of these records, by the average size of those in the log here",
            Some(&Unit::Bytes),
            |sighting, record_bytes| Some(number(sighting.behind) * number(record_bytes)),
        ),
        (
            "plimsoll_replica_lag",
            "For how long the replica has lacked something that the leader has",
            seconds(),
            |sighting, _| Some(number(sighting.lag_ms.unwrap_or(0)) / 1000.0),
        ),
        (
            "plimsoll_replica_verified_offset",
            "Up to where the follower's log was compared with its leader's",
            None,
            |sighting, _| sighting.verified_end.map(number),
        ),
    ];
    let sizes: Vec<u64> = sightings
        .iter()
        .map(|sighting| record_bytes(broker, sighting))
        .collect();
    for (name, help, unit, value) in families {
        let mut metric = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
        for (sighting, record_bytes) in sightings.iter().zip(&sizes) {
            let Some(value) = value(sighting, *record_bytes) else {
                continue;
            };
            let (partition, node) = numbers(sighting);
            let labels: Labels<'_> = &[
                ("topic", &sighting.topic),
                ("partition", &partition),
                ("node", &node),
            ];
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
    }
    Ok(())
}

/// How large a record is in the log here, on average; looked up only where something is missing.
fn record_bytes(broker: &Broker, sighting: &Sighting) -> u64 {
    let index = i32::try_from(sighting.partition).unwrap_or(i32::MAX);
    if sighting.behind == 0 {
        return 0;
    }
    let Ok(partition) = broker.catalog().partition(&sighting.topic, index) else {
        return 0;
    };
    let now = partition.describe();
    now.size_bytes / now.log_end.since(now.log_start).max(1)
}

/// A healthy cluster has none.
fn causes(encoder: &mut DescriptorEncoder<'_>, sightings: &[Sighting]) -> fmt::Result {
    let name = "plimsoll_replica_out_of_sync_cause";
    let help = "1 for the cause for which the replica is not well";
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for sighting in sightings {
        let Some(cause) = sighting.cause() else {
            continue;
        };
        let (partition, node) = numbers(sighting);
        let labels: Labels<'_> = &[
            ("topic", &sighting.topic),
            ("partition", &partition),
            ("node", &node),
            ("code", cause.code()),
            ("cause", cause.name()),
        ];
        metric.encode_family(&labels)?.encode_gauge(&1_i64)?;
    }
    Ok(())
}

/// The same as one number a cause, which is told without details, too.
fn summed(encoder: &mut DescriptorEncoder<'_>, sightings: &[Sighting]) -> fmt::Result {
    let mut sums: BTreeMap<Cause, u64> = Cause::ALL.iter().map(|cause| (*cause, 0)).collect();
    for cause in sightings.iter().filter_map(Sighting::cause) {
        *sums.entry(cause).or_default() += 1;
    }
    let name = "plimsoll_replicas_out_of_sync";
    let help = "Replicas here, and followers of those that lead here, that are not well, by cause";
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (cause, replicas) in sums {
        let labels: Labels<'_> = &[("code", cause.code()), ("cause", cause.name())];
        let replicas = signed(replicas);
        metric.encode_family(&labels)?.encode_gauge(&replicas)?;
    }
    Ok(())
}

fn numbers(sighting: &Sighting) -> (String, String) {
    (sighting.partition.to_string(), sighting.node.to_string())
}

/// Above 2^53 the last digits go.
#[expect(
    clippy::cast_precision_loss,
    reason = "a metric needs no more than 53 bits"
)]
const fn number(count: u64) -> f64 {
    count as f64
}
