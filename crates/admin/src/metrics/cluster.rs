//! Metrics of the cluster as this node knows it: the controllers, the nodes, what is not served,
//! and what changed since the process began.

use super::encode::{Labels, counter, gauge, times};
use crate::admin::Admin;
use crate::watch::HEAL_BOUNDS;
use plimsoll_broker::{Broker, Trust};
use plimsoll_controller::Node;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::MetricType;
use std::fmt;

pub(super) fn encode(
    encoder: &mut DescriptorEncoder<'_>,
    admin: &Admin,
    broker: &Broker,
) -> fmt::Result {
    controllers(encoder, admin, broker)?;
    nodes(encoder, broker)?;
    unserved(encoder, broker)?;
    changes(encoder, admin)
}

fn controllers(encoder: &mut DescriptorEncoder<'_>, admin: &Admin, broker: &Broker) -> fmt::Result {
    let Some(quorum) = admin.view().map(|view| view.quorum()) else {
        return Ok(());
    };
    let me = broker.config().node;
    let trust = match broker.trust() {
        Trust::Full => 2,
        Trust::Doubtful => 1,
        Trust::None => 0,
    };
    let families = [
        (
            "plimsoll_controller_known",
            "1 if this node knows a leader of the metadata quorum",
            u64::from(quorum.leader.is_some()),
        ),
        (
            "plimsoll_controller_active",
            "1 if this node leads the metadata quorum; the sum over all nodes is to be 1",
            u64::from(quorum.leader == Some(me)),
        ),
        (
            "plimsoll_quorum_voters",
            "Nodes that have a vote in the metadata quorum",
            u64::from(quorum.voters),
        ),
        (
            "plimsoll_quorum_voters_current",
            "Voters that keep up, as far as this node knows; the leader knows it of all",
            u64::from(quorum.current),
        ),
        (
            "plimsoll_metadata_version",
            "Version of the metadata that this node has applied",
            broker.image().version(),
        ),
        (
            "plimsoll_metadata_stopped",
            "1 if this node cannot change metadata until it is restarted",
            u64::from(broker.metadata_stopped().is_some()),
        ),
        (
            "plimsoll_node_trust",
            "2: the controller hears this node; 1: its answers are late; 0: others may lead in its \
             place",
            trust,
        ),
    ];
    for (name, help, value) in families {
        gauge(encoder, name, help, None, value)?;
    }
    Ok(())
}

type Holds = fn(&Node) -> bool;

fn nodes(encoder: &mut DescriptorEncoder<'_>, broker: &Broker) -> fmt::Result {
    let image = broker.image();
    let families: [(&str, &str, Holds); 2] = [
        (
            "plimsoll_node_fenced",
            "1 if the controller keeps the node out",
            |node| node.fenced,
        ),
        (
            "plimsoll_node_draining",
            "1 if the node is being drained",
            |node| node.is_draining(),
        ),
    ];
    for (name, help, holds) in families {
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for node in image.nodes() {
            let id = node.id.to_string();
            let labels: Labels<'_> = &[("node", &id)];
            let holds = i64::from(holds(node));
            metric.encode_family(&labels)?.encode_gauge(&holds)?;
        }
    }
    Ok(())
}

fn unserved(encoder: &mut DescriptorEncoder<'_>, broker: &Broker) -> fmt::Result {
    let image = broker.image();
    let families = [
        (
            "plimsoll_partitions_leaderless",
            "Partitions that nobody leads, in the whole cluster",
            image.leaderless().count(),
        ),
        (
            "plimsoll_partitions_under_min_isr",
            "Partitions that take no writes with acks=all, in the whole cluster",
            image.under_min_isr().count(),
        ),
        (
            "plimsoll_partitions_under_replicated",
            "Partitions with replicas that are not in sync, in the whole cluster",
            image.under_replicated().count(),
        ),
    ];
    for (name, help, value) in families {
        let value = u64::try_from(value).unwrap_or(u64::MAX);
        gauge(encoder, name, help, None, value)?;
    }
    Ok(())
}

/// Seen once a second, so what came and went within one is not counted.
fn changes(encoder: &mut DescriptorEncoder<'_>, admin: &Admin) -> fmt::Result {
    let counted = *admin.watch().counted();
    let families = [
        (
            "plimsoll_leader_elections",
            "Times that this node was made leader of a partition",
            counted.elections,
        ),
        (
            "plimsoll_isr_shrinks",
            "Replicas that left those in sync, of partitions led here",
            counted.shrinks,
        ),
        (
            "plimsoll_isr_expands",
            "Replicas that came in sync, of partitions led here",
            counted.expands,
        ),
    ];
    for (name, help, value) in families {
        counter(encoder, name, help, None, value)?;
    }
    let bounds = HEAL_BOUNDS.map(|bound| std::time::Duration::from_secs(bound).as_secs_f64());
    let bounds = bounds.into_iter().chain([f64::INFINITY]);
    let buckets: Vec<(f64, u64)> = bounds.zip(counted.heals).collect();
    let help = "How long replicas were out of sync that came back, of partitions led here";
    let sum = counted.heal_time.as_secs_f64();
    times(
        encoder,
        "plimsoll_replica_heal_duration",
        help,
        sum,
        &buckets,
    )
}
