//! DescribeTopicPartitions (KIP-966): partitions a page at a time, in the order of topic names.

use std::collections::BTreeSet;

use plimsoll_controller::{Partition, Topic, rules};
use plimsoll_types::{NodeId, TopicName};
use plimsoll_wire::describe_topic_partitions::{
    Cursor, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use plimsoll_wire::{ErrorCode, Str};

use crate::api::leaders::offline_replicas;
use crate::api::operations;
use crate::context::Context;

/// Most partitions of one page.
const MAX_PAGE: usize = 2_000;

pub(crate) async fn handle(
    context: &Context,
    request: DescribeTopicPartitionsRequest,
) -> DescribeTopicPartitionsResponse {
    let image = context.broker.metadata.image();
    let asked: BTreeSet<Str> = request
        .topics
        .iter()
        .map(|topic| topic.name.clone())
        .collect();
    if let Some(refused) = refused(request.cursor.as_ref(), &asked) {
        return refused;
    }
    let start = request
        .cursor
        .as_ref()
        .map_or("", |cursor| &*cursor.topic_name);
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let mut page = Page {
        context,
        cursor: request.cursor.as_ref(),
        room: limit.clamp(1, MAX_PAGE),
        response: DescribeTopicPartitionsResponse::default(),
    };
    if asked.is_empty() {
        for topic in image.topics_from(start) {
            if !page.push(topic) {
                break;
            }
        }
    } else {
        for name in asked.iter().filter(|name| &***name >= start) {
            match image.topic(name) {
                Some(topic) if !page.push(topic) => break,
                Some(_) => {}
                None => page.response.topics.push(unknown(name)),
            }
        }
    }
    page.response
}

/// A cursor that this node cannot have given.
fn refused(
    cursor: Option<&Cursor>,
    asked: &BTreeSet<Str>,
) -> Option<DescribeTopicPartitionsResponse> {
    let cursor = cursor?;
    let strange =
        cursor.partition_index < 0 || !asked.is_empty() && !asked.contains(&cursor.topic_name);
    // The response has no error of its own, so each topic carries it.
    let topic = |name: &Str| DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::InvalidRequest.code(),
        name: Some(name.clone()),
        ..Default::default()
    };
    let topics = asked
        .iter()
        .chain(asked.is_empty().then_some(&cursor.topic_name));
    strange.then(|| DescribeTopicPartitionsResponse {
        topics: topics.map(topic).collect(),
        ..Default::default()
    })
}

struct Page<'a> {
    context: &'a Context,
    cursor: Option<&'a Cursor>,
    /// Partitions that still fit.
    room: usize,
    response: DescribeTopicPartitionsResponse,
}

impl Page<'_> {
    /// Adds what fits of the topic; false when the page is full and the cursor set.
    fn push(&mut self, topic: &Topic) -> bool {
        let here = self
            .cursor
            .filter(|cursor| *cursor.topic_name == *topic.name.as_str());
        let first = here.map_or(0, |cursor| {
            usize::try_from(cursor.partition_index).unwrap_or(0)
        });
        let numbered = (0..).zip(&topic.partitions);
        let fitting: Vec<_> = numbered
            .skip(first)
            .take(self.room)
            .map(|(index, partition)| describe(self.context, topic, index, partition))
            .collect();
        if fitting.is_empty() && self.room == 0 {
            self.response.next_cursor = Some(cursor_at(topic, first));
            return false;
        }
        self.room -= fitting.len();
        let next = first + fitting.len();
        self.response
            .topics
            .push(DescribeTopicPartitionsResponseTopic {
                error_code: 0,
                name: Some(topic.name.as_str().into()),
                topic_id: topic.id,
                is_internal: rules::is_internal(topic.name.as_str()),
                partitions: fitting,
                topic_authorized_operations: operations::TOPIC,
            });
        if next < topic.partitions.len() {
            self.response.next_cursor = Some(cursor_at(topic, next));
            return false;
        }
        true
    }
}

fn cursor_at(topic: &Topic, partition: usize) -> Cursor {
    Cursor {
        topic_name: topic.name.as_str().into(),
        partition_index: i32::try_from(partition).unwrap_or(i32::MAX),
    }
}

fn describe(
    context: &Context,
    topic: &Topic,
    index: i32,
    partition: &Partition,
) -> DescribeTopicPartitionsResponsePartition {
    let own = context.broker.config.node;
    let hosted = context.catalog().topic_by_id(topic.id);
    let offline = partition.replicas.contains(&own)
        && hosted.is_none_or(|hosted| hosted.partition(index).is_err());
    let leader = partition
        .leader
        .filter(|leader| !(offline && *leader == own));
    let wire = |nodes: &[NodeId]| nodes.iter().map(|node| node.to_wire()).collect();
    DescribeTopicPartitionsResponsePartition {
        error_code: leader.map_or(ErrorCode::LeaderNotAvailable.code(), |_| 0),
        partition_index: index,
        leader_id: leader.map_or(-1, NodeId::to_wire),
        leader_epoch: partition.leader_epoch.to_wire(),
        replica_nodes: wire(&partition.replicas),
        isr_nodes: wire(&partition.isr),
        eligible_leader_replicas: Some(wire(&partition.elr)),
        last_known_elr: Some(wire(&partition.last_known_elr)),
        offline_replicas: offline_replicas(context, partition, offline),
    }
}

fn unknown(name: &Str) -> DescribeTopicPartitionsResponseTopic {
    let code = match TopicName::new(name) {
        Ok(_) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: code.code(),
        name: Some(name.clone()),
        ..Default::default()
    }
}
