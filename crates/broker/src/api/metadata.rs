//! Metadata: the nodes, and who leads which partition; creates topics on request if that is on.

use std::sync::Arc;

use plimsoll_controller::{Image, Topic, rules};
use plimsoll_types::{NodeId, TopicId};
use plimsoll_wire::metadata::{
    MetadataRequest, MetadataRequestTopic, MetadataResponse, MetadataResponseBroker,
    MetadataResponsePartition, MetadataResponseTopic, OPERATIONS_NOT_ASKED,
};
use plimsoll_wire::{ErrorCode, Str};

use crate::api::leaders::offline_replicas;
use crate::api::operations;
use crate::cluster::Trust;
use crate::context::Context;
use crate::error_code::Coded;
use crate::groups::OFFSETS_TOPIC;
use crate::metadata::ChangeError;

pub(crate) async fn handle(context: &Context, request: MetadataRequest) -> MetadataResponse {
    let broker = &context.broker;
    let mut failed = Vec::new();
    if let Some(topics) = &request.topics {
        let may_create = request.allow_auto_topic_creation && broker.config.auto_create_topics;
        if may_create {
            failed = create_missing(context, topics).await;
        }
    }
    let led_by = |image: &Image, nodes: &[NodeId]| led_by(image, request.topics.as_deref(), nodes);
    let image = broker.image_after_losses(led_by).await;
    let mut topics: Vec<MetadataResponseTopic> = match &request.topics {
        None => image
            .topics()
            .map(|topic| described(context, topic))
            .collect(),
        Some(asked) => asked
            .iter()
            .map(|topic| look_up(context, &image, topic, &failed))
            .collect(),
    };
    if request.include_topic_authorized_operations {
        for topic in topics.iter_mut().filter(|topic| topic.error_code == 0) {
            topic.topic_authorized_operations = operations::TOPIC;
        }
    }
    let cluster_authorized_operations = match request.include_cluster_authorized_operations {
        true => operations::CLUSTER,
        false => OPERATIONS_NOT_ASKED,
    };
    let lately_lost = broker.lately_lost();
    MetadataResponse {
        brokers: image
            .nodes()
            .filter(|node| !node.fenced || lately_lost.contains(&node.id))
            .filter_map(described_node)
            .collect(),
        cluster_id: Some(broker.config.cluster_id.as_str().into()),
        controller_id: broker.active_controller().map_or(-1, NodeId::to_wire),
        topics,
        cluster_authorized_operations,
        ..Default::default()
    }
}

/// Whether one of `nodes` leads a partition that is asked about.
fn led_by(image: &Image, asked: Option<&[MetadataRequestTopic]>, nodes: &[NodeId]) -> bool {
    let led = |topic: &Topic| {
        let mut leaders = topic.partitions.iter().filter_map(|it| it.leader);
        leaders.any(|leader| nodes.contains(&leader))
    };
    match asked {
        None => image.topics().any(|topic| led(topic)),
        Some(asked) => asked.iter().any(|topic| {
            let known = match &topic.name {
                Some(name) => image.topic(name),
                None => image.topic_by_id(topic.topic_id),
            };
            known.is_some_and(|topic| led(topic))
        }),
    }
}

fn described_node(node: &plimsoll_controller::Node) -> Option<MetadataResponseBroker> {
    let listener = node.listeners.first()?;
    Some(MetadataResponseBroker {
        node_id: node.id.to_wire(),
        host: listener.host.as_str().into(),
        port: listener.port.into(),
        rack: node.rack.as_deref().map(Str::from),
    })
}

/// Creates those of `topics` that are asked for by name and are not there. Returns those that
/// cannot be created, with the code that says why.
async fn create_missing(
    context: &Context,
    topics: &[MetadataRequestTopic],
) -> Vec<(Str, ErrorCode)> {
    let image = context.broker.metadata.image();
    let missing: Vec<Str> = topics
        .iter()
        .filter(|topic| topic.topic_id.is_absent())
        .filter_map(|topic| topic.name.clone())
        .filter(|name| image.topic(name).is_none())
        .collect();
    let (offsets, missing): (Vec<_>, Vec<_>) = missing
        .into_iter()
        .partition(|name| &**name == OFFSETS_TOPIC);
    let mut failed = Vec::new();
    if let Some(name) = offsets.into_iter().next() {
        // Not as a client's topic: as the groups would make it, were one of them asked for.
        if let Err(error) = context.broker.ensure_offsets_topic().await {
            failed.push((name, error.code()));
        }
    }
    failed.extend(create_named(context, missing).await);
    failed
}

async fn create_named(context: &Context, missing: Vec<Str>) -> Vec<(Str, ErrorCode)> {
    if missing.is_empty() {
        return Vec::new();
    }
    let limits = context.broker.config.limits;
    let names = missing.clone();
    let clock = Arc::clone(&context.broker.clock);
    let created = context
        .broker
        .change(move |image| {
            let mut after = Image::clone(image);
            let mut records = Vec::new();
            let mut failed = Vec::new();
            for name in &names {
                let id = TopicId::from_bytes(clock.fresh_id());
                let wish = rules::CreateTopic::named(name, id);
                match rules::create_topic(&after, &limits, &wish) {
                    Ok(made) => {
                        for record in &made {
                            // A rule's own records fit the image that it made them for.
                            let applied = after.apply(record);
                            debug_assert!(applied.is_ok(), "{applied:?}");
                        }
                        records.extend(made);
                    }
                    // Somebody else was faster, or it is named twice: then it is there.
                    Err(plimsoll_controller::Refusal::TopicExists { .. }) => {}
                    Err(refusal) => failed.push((name.clone(), refusal.code())),
                }
            }
            Ok::<_, plimsoll_controller::Refusal>((records, failed))
        })
        .await;
    match created {
        Ok(failed) => failed,
        Err(error) => {
            let code = ChangeError::code(&error);
            missing.into_iter().map(|name| (name, code)).collect()
        }
    }
}

fn look_up(
    context: &Context,
    image: &Image,
    asked: &MetadataRequestTopic,
    failed: &[(Str, ErrorCode)],
) -> MetadataResponseTopic {
    let refused = |code: ErrorCode| MetadataResponseTopic {
        error_code: code.code(),
        name: asked.name.clone(),
        topic_id: asked.topic_id,
        ..Default::default()
    };
    if !asked.topic_id.is_absent() {
        return image.topic_by_id(asked.topic_id).map_or_else(
            || refused(ErrorCode::UnknownTopicId),
            |topic| described(context, topic),
        );
    }
    let Some(name) = &asked.name else {
        return refused(ErrorCode::InvalidRequest);
    };
    if let Some(topic) = image.topic(name) {
        return described(context, topic);
    }
    if let Some((_, code)) = failed.iter().find(|(failed, _)| failed == name) {
        return refused(*code);
    }
    match plimsoll_types::TopicName::new(name) {
        Ok(_) => refused(ErrorCode::UnknownTopicOrPartition),
        Err(_) => refused(ErrorCode::InvalidTopicException),
    }
}

fn described(context: &Context, topic: &Arc<Topic>) -> MetadataResponseTopic {
    let hosted = context.catalog().topic_by_id(topic.id);
    let own = context.broker.config.node;
    let trusted = context.broker.trust() == Trust::Full;
    let partitions = (0i32..).zip(&topic.partitions).map(|(index, partition)| {
        // A replica here that is offline is told as such; the client asks again.
        let offline = partition.replicas.contains(&own)
            && hosted
                .as_ref()
                .is_some_and(|hosted| hosted.partition(index).is_err());
        let wire = |nodes: &[NodeId]| nodes.iter().map(|node| node.to_wire()).collect();
        let leader = partition
            .leader
            .filter(|leader| *leader != own || !offline && trusted);
        MetadataResponsePartition {
            error_code: match leader {
                Some(_) => 0,
                None => ErrorCode::LeaderNotAvailable.code(),
            },
            partition_index: index,
            leader_id: leader.map_or(-1, NodeId::to_wire),
            leader_epoch: partition.leader_epoch.to_wire(),
            replica_nodes: wire(&partition.replicas),
            isr_nodes: wire(&partition.isr),
            offline_replicas: offline_replicas(context, partition, offline),
        }
    });
    MetadataResponseTopic {
        name: Some(topic.name.as_str().into()),
        topic_id: topic.id,
        is_internal: rules::is_internal(topic.name.as_str()),
        partitions: partitions.collect(),
        ..Default::default()
    }
}
