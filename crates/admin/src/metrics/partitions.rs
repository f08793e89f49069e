//! Metrics of topics and partitions, under our names and under kafka_exporter's, which the
//! dashboards of many installations read.

use super::encode::{Labels, signed};
use crate::cluster::Sighting;
use crate::v1::partitions::{ReplicaView, replica};
use plimsoll_broker::Broker;
use plimsoll_controller::{Image, Partition, Topic};
use plimsoll_health::ReplicaState;
use plimsoll_types::NodeId;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// One partition with what its series say.
struct Row {
    topic: Arc<Topic>,
    index: usize,
    number: String,
    replica: Option<ReplicaView>,
}

impl Row {
    fn labels(&self) -> [(&str, &str); 2] {
        [
            ("topic", self.topic.name.as_str()),
            ("partition", self.number.as_str()),
        ]
    }

    fn partition(&self) -> Option<&Partition> {
        self.topic.partitions.get(self.index).map(AsRef::as_ref)
    }
}

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    broker: &Broker,
    sightings: &[Sighting],
    details: bool,
) -> fmt::Result {
    let image = broker.image();
    topics(encoder, &image)?;
    let rows = rows(broker, &image, sightings);
    states(encoder, &rows)?;
    if details {
        ours(encoder, &rows)?;
        kafka_exporters(encoder, &rows)?;
    }
    Ok(())
}

fn rows(broker: &Broker, image: &Image, sightings: &[Sighting]) -> Vec<Row> {
    let node = broker.config().node;
    let mut own = HashMap::new();
    for sighting in sightings.iter().filter(|said| said.node == node.get()) {
        let of = (sighting.topic.as_str(), sighting.partition);
        own.insert(of, sighting.state().as_str());
    }
    let mut rows = Vec::with_capacity(image.partition_count());
    for topic in image.topics() {
        let hosted = broker.catalog().topic_by_id(topic.id);
        for (index, partition) in topic.partitions.iter().enumerate() {
            let here = hosted
                .as_ref()
                .filter(|_| partition.replicas.contains(&node))
                .and_then(|hosted| hosted.partitions.get(index));
            let number = u32::try_from(index).unwrap_or(u32::MAX);
            let told = own.get(&(topic.name.as_str(), number)).copied();
            rows.push(Row {
                topic: Arc::clone(topic),
                index,
                number: index.to_string(),
                replica: here.map(|here| {
                    let mut view = replica(node, partition.leader == Some(node), here);
                    view.state = told.unwrap_or(view.state);
                    view
                }),
            });
        }
    }
    rows
}

fn topics(encoder: &mut DescriptorEncoder<'_>, image: &Image) -> fmt::Result {
    let (name, help) = (
        "kafka_topic_partitions",
        "Number of partitions of the topic",
    );
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for topic in image.topics() {
        let labels: Labels<'_> = &[("topic", topic.name.as_str())];
        let partitions = i64::try_from(topic.partitions.len()).unwrap_or(i64::MAX);
        metric.encode_family(&labels)?.encode_gauge(&partitions)?;
    }
    Ok(())
}

/// How many replicas of this node are in which state; this is told without details, too.
fn states(encoder: &mut DescriptorEncoder<'_>, rows: &[Row]) -> fmt::Result {
    let (name, help) = ("plimsoll_replicas", "Replicas of this node by state");
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for state in ReplicaState::ALL.map(ReplicaState::as_str) {
        let replicas = rows.iter().filter_map(|row| row.replica.as_ref());
        let count = replicas.filter(|replica| replica.state == state).count();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let labels: Labels<'_> = &[("state", state)];
        metric.encode_family(&labels)?.encode_gauge(&count)?;
    }
    Ok(())
}

type Value = fn(&Row) -> Option<i64>;

fn ours(encoder: &mut DescriptorEncoder<'_>, rows: &[Row]) -> fmt::Result {
    fn of(row: &Row, value: fn(&ReplicaView) -> Option<u64>) -> Option<i64> {
        value(row.replica.as_ref()?).map(signed)
    }
    let families: [(&str, &str, Value); 5] = [
        (
            "plimsoll_replica_log_start",
            "Oldest readable offset",
            |row| of(row, |r| r.log_start),
        ),
        (
            "plimsoll_replica_durable_end",
            "End of what is synced",
            |row| of(row, |r| r.durable_end),
        ),
        (
            "plimsoll_replica_high_watermark",
            "End of what is committed",
            |row| of(row, |r| r.high_watermark),
        ),
        (
            "plimsoll_replica_log_end",
            "Next offset to be written",
            |row| of(row, |r| r.log_end),
        ),
        (
            "plimsoll_replica_size_bytes",
            "Bytes of all segments",
            |row| of(row, |r| r.size_bytes),
        ),
    ];
    each(encoder, rows, &families)?;
    let (name, help) = (
        "plimsoll_replica_state",
        "1 for the state that the replica is in",
    );
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for row in rows {
        let Some(replica) = &row.replica else {
            continue;
        };
        let [topic, partition] = row.labels();
        let labels: Labels<'_> = &[topic, partition, ("state", replica.state)];
        metric.encode_family(&labels)?.encode_gauge(&1_i64)?;
    }
    Ok(())
}

fn kafka_exporters(encoder: &mut DescriptorEncoder<'_>, rows: &[Row]) -> fmt::Result {
    fn count(nodes: &[NodeId]) -> Option<i64> {
        i64::try_from(nodes.len()).ok()
    }
    fn flag(row: &Row, holds: fn(&Partition) -> bool) -> Option<i64> {
        row.partition().map(|partition| i64::from(holds(partition)))
    }
    let families: [(&str, &str, Value); 7] = [
        (
            "kafka_topic_partition_current_offset",
            "Current offset of the partition: its high watermark",
            |row| row.replica.as_ref()?.high_watermark.map(signed),
        ),
        (
            "kafka_topic_partition_oldest_offset",
            "Oldest offset of the partition: its log start",
            |row| row.replica.as_ref()?.log_start.map(signed),
        ),
        (
            "kafka_topic_partition_in_sync_replica",
            "Number of in-sync replicas of the partition",
            |row| count(&row.partition()?.isr),
        ),
        (
            "kafka_topic_partition_replicas",
            "Number of replicas of the partition",
            |row| count(&row.partition()?.replicas),
        ),
        (
            "kafka_topic_partition_leader",
            "Node that leads the partition, -1 for none",
            |row| {
                Some(
                    row.partition()?
                        .leader
                        .map_or(-1, |leader| leader.get().into()),
                )
            },
        ),
        (
            "kafka_topic_partition_leader_is_preferred",
            "1 if the partition is led by its first replica",
            |row| {
                flag(row, |p| {
                    p.leader.is_some() && p.leader == p.replicas.first().copied()
                })
            },
        ),
        (
            "kafka_topic_partition_under_replicated_partition",
            "1 if a replica of the partition is not in sync",
            |row| flag(row, |p| p.isr.len() < p.replicas.len()),
        ),
    ];
    each(encoder, rows, &families)
}

/// Each family with a value for each partition that has one.
fn each(
    encoder: &mut DescriptorEncoder<'_>,
    rows: &[Row],
    families: &[(&str, &str, Value)],
) -> fmt::Result {
    for (name, help, value) in families {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for row in rows {
            if let Some(value) = value(row) {
                metric.encode_family(&row.labels())?.encode_gauge(&value)?;
            }
        }
    }
    Ok(())
}
