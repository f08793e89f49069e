//! Metrics of consumer groups, under kafka_exporter's names, and of their coordinators.

use super::encode::{Labels, gauge, seconds, signed};
use crate::admin::Admin;
use crate::v1::groups::{self, CommittedView, Summary};
use plimsoll_broker::Broker;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use std::fmt;

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    admin: &Admin,
    broker: &Broker,
    details: bool,
) -> fmt::Result {
    let stats = broker.groups().stats();
    let families = [
        ("plimsoll_groups", "Consumer groups", stats.groups),
        (
            "plimsoll_group_members",
            "Members of all consumer groups",
            stats.members,
        ),
        (
            "plimsoll_group_offsets",
            "Committed offsets of all consumer groups",
            stats.offsets,
        ),
        (
            "plimsoll_group_bytes",
            "Memory that consumer groups are charged for",
            stats.bytes,
        ),
        (
            "plimsoll_group_writes_in_flight",
            "Group writes that wait for the log",
            stats.writes_in_flight,
        ),
    ];
    for (name, help, value) in families {
        gauge(
            encoder,
            name,
            help,
            None,
            u64::try_from(value).unwrap_or(u64::MAX),
        )?;
    }
    if details {
        let (_, groups) = groups::summaries(broker);
        members(encoder, &groups)?;
        offsets(encoder, admin, broker, &groups)?;
    }
    Ok(())
}

fn members(encoder: &mut DescriptorEncoder<'_>, groups: &[Summary]) -> fmt::Result {
    let (name, help) = (
        "kafka_consumergroup_members",
        "Number of members of the consumer group",
    );
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for group in groups {
        let labels: Labels<'_> = &[("consumergroup", group.name())];
        let members = i64::try_from(group.members).unwrap_or(i64::MAX);
        metric.encode_family(&labels)?.encode_gauge(&members)?;
    }
    Ok(())
}

type Value = fn(&CommittedView) -> Option<u64>;

fn offsets(
    encoder: &mut DescriptorEncoder<'_>,
    admin: &Admin,
    broker: &Broker,
    groups: &[Summary],
) -> fmt::Result {
    let held: Vec<_> = groups
        .iter()
        .map(|group| (group.name(), groups::committed(broker, group.name())))
        .collect();
    let families: [(&str, &str, Value); 2] = [
        (
            "kafka_consumergroup_current_offset",
            "Offset that the consumer group committed for the partition",
            |offset| Some(offset.committed),
        ),
        (
            "kafka_consumergroup_lag",
            "Records that the consumer group is behind the partition's high watermark",
            |offset| offset.lag_records,
        ),
    ];
    for (name, help, value) in families {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (group, offsets) in &held {
            for offset in offsets {
                let Some(value) = value(offset) else { continue };
                let partition = offset.partition.to_string();
                let labels: Labels<'_> = &[
                    ("consumergroup", group),
                    ("topic", &offset.topic),
                    ("partition", &partition),
                ];
                metric
                    .encode_family(&labels)?
                    .encode_gauge(&signed(value))?;
            }
        }
    }
    let (name, help) = (
        "plimsoll_consumer_lag",
        "Age of the next record that the consumer group has to read, to some seconds; at most ten \
         minutes are told",
    );
    let mut metric = encoder.encode_descriptor(name, help, seconds(), MetricType::Gauge)?;
    let (watch, now) = (admin.watch(), admin.now());
    for (group, offset) in held
        .iter()
        .flat_map(|(g, all)| all.iter().map(move |o| (g, o)))
    {
        let Some(high_watermark) = offset.high_watermark else {
            continue;
        };
        let of = (offset.topic.clone(), offset.partition);
        let Some(lag) = watch.lag(&of, offset.committed, high_watermark, now) else {
            continue;
        };
        let partition = offset.partition.to_string();
        let labels: Labels<'_> = &[
            ("consumergroup", group),
            ("topic", &offset.topic),
            ("partition", &partition),
        ];
        let lag = lag.as_secs_f64();
        metric.encode_family(&labels)?.encode_gauge(&lag)?;
    }
    Ok(())
}
