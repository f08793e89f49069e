//! Metrics of replication: of this node's replicas, and of the followers of those that lead.

use super::encode::{Labels, counter, signed};
use crate::cluster::Sighting;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use std::fmt;

/// The replicator's name for what has a metric of its own; see `broker.rs`.
pub(super) const MISSED_WAKEUPS: &str = "hw_missed_wakeups";

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    sightings: &[Sighting],
    counters: &[(&'static str, u64)],
    details: bool,
) -> fmt::Result {
    for (name, value) in counters.iter().filter(|(name, _)| *name != MISSED_WAKEUPS) {
        let help = format!("What replication counted as {name}");
        counter(
            encoder,
            &format!("plimsoll_replicator_{name}"),
            &help,
            None,
            *value,
        )?;
    }
    if details {
        lags(encoder, sightings)?;
    }
    causes(encoder, sightings)
}

fn lags(encoder: &mut DescriptorEncoder<'_>, sightings: &[Sighting]) -> fmt::Result {
    let name = "plimsoll_replica_lag_records";
    let help = "Records that the leader has beyond the replica, as this node knows";
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for sighting in sightings {
        let (partition, node) = numbers(sighting);
        let labels: Labels<'_> = &[
            ("topic", &sighting.topic),
            ("partition", &partition),
            ("node", &node),
        ];
        metric
            .encode_family(&labels)?
            .encode_gauge(&signed(sighting.behind))?;
    }
    Ok(())
}

/// These are told without details, too: a healthy cluster has none.
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

fn numbers(sighting: &Sighting) -> (String, String) {
    (sighting.partition.to_string(), sighting.node.to_string())
}
