//! Creating a topic.

use super::{configs, is_internal, placement};
use crate::image::Image;
use crate::limits::Limits;
use crate::record::{Assignment, ConfigResource, Record};
use crate::refusal::{AssignmentFault, Refusal};
use plimsoll_types::{TopicId, TopicName};
use std::collections::BTreeMap;

/// A partition with the nodes that its creator wants for it, the leader first; as the wire says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManualAssignment {
    /// The partition.
    pub partition: i32,
    /// The nodes.
    pub brokers: Vec<i32>,
}

/// The wish for a topic; as the wire says it, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopic {
    /// Its name.
    pub name: String,
    /// Its identity, freshly drawn by the caller.
    pub id: TopicId,
    /// How many partitions; -1 for the default.
    pub partitions: i32,
    /// How many replicas each; -1 for the default.
    pub replication_factor: i16,
    /// Where each partition goes; empty to leave it to the controller.
    pub assignments: Vec<ManualAssignment>,
    /// Its configs. `None` is a null value, which the protocol can say and which is refused.
    pub configs: Vec<(String, Option<String>)>,
}

impl CreateTopic {
    /// The wish for a topic with defaults throughout.
    #[must_use]
    pub fn named(name: &str, id: TopicId) -> Self {
        Self {
            name: name.to_owned(),
            id,
            partitions: -1,
            replication_factor: -1,
            assignments: Vec::new(),
            configs: Vec::new(),
        }
    }
}

/// The records that create the topic: first [`Record::TopicCreated`], then its configs.
///
/// # Errors
/// Why it cannot be created. One of the cluster's own never can, whatever its configs: that would
/// not be the topic that the cluster keeps its state in.
pub fn create_topic(
    image: &Image,
    limits: &Limits,
    wish: &CreateTopic,
) -> Result<Vec<Record>, Refusal> {
    let name = free_name(image, &wish.name)?;
    if is_internal(name.as_str()) {
        return Err(Refusal::InternalTopic { name });
    }
    create(image, limits, wish, name)
}

/// As [`create_topic`], for whoever keeps the cluster's state in the topic.
///
/// # Errors
/// Why it cannot be created.
pub fn create_internal_topic(
    image: &Image,
    limits: &Limits,
    wish: &CreateTopic,
) -> Result<Vec<Record>, Refusal> {
    let name = free_name(image, &wish.name)?;
    debug_assert!(is_internal(name.as_str()), "{name} is a client's");
    create(image, limits, wish, name)
}

fn create(
    image: &Image,
    limits: &Limits,
    wish: &CreateTopic,
    name: TopicName,
) -> Result<Vec<Record>, Refusal> {
    let partitions = if wish.assignments.is_empty() {
        let partitions = partition_count(wish.partitions, limits)?;
        let factor = replication_factor(wish.replication_factor, limits)?;
        placement::spread(image, limits, partitions, factor)?
    } else {
        assigned(image, limits, wish)?
    };
    let configs = configs::check_topic_configs(&wish.configs)?;
    Ok(records(name, wish.id, partitions, configs))
}

fn free_name(image: &Image, name: &str) -> Result<TopicName, Refusal> {
    let name = TopicName::new(name)?;
    if name.as_str() == "__cluster_metadata" {
        return Err(Refusal::ReservedName { name });
    }
    if image.topic(name.as_str()).is_some() {
        return Err(Refusal::TopicExists { name });
    }
    match image.collides_with(name.as_str()) {
        Some(existing) => Err(Refusal::Collides {
            existing: existing.clone(),
            name,
        }),
        None => Ok(name),
    }
}

fn partition_count(count: i32, limits: &Limits) -> Result<u32, Refusal> {
    match u32::try_from(count) {
        Ok(0) => Err(Refusal::PartitionCount { count }),
        Ok(count) => Ok(count),
        Err(_) if count == -1 => Ok(limits.default_partitions),
        Err(_) => Err(Refusal::PartitionCount { count }),
    }
}

fn replication_factor(factor: i16, limits: &Limits) -> Result<u32, Refusal> {
    match u32::try_from(factor) {
        Ok(0) => Err(Refusal::ReplicationFactor { factor }),
        Ok(factor) => Ok(factor),
        Err(_) if factor == -1 => Ok(limits.default_replication),
        Err(_) => Err(Refusal::ReplicationFactor { factor }),
    }
}

fn assigned(
    image: &Image,
    limits: &Limits,
    wish: &CreateTopic,
) -> Result<Vec<Assignment>, Refusal> {
    for (field, value) in [
        ("the replication factor", i32::from(wish.replication_factor)),
        ("the number of partitions", wish.partitions),
    ] {
        if value != -1 {
            return Err(Refusal::AssignmentAndCount { field, value });
        }
    }
    let mut by_partition = BTreeMap::new();
    for ManualAssignment { partition, brokers } in &wish.assignments {
        if by_partition
            .insert(*partition, brokers.as_slice())
            .is_some()
        {
            let partition = *partition;
            return Err(AssignmentFault::Repeated { partition }.into());
        }
    }
    let numbered = by_partition.keys().zip(0_u32..);
    for (&partition, expected) in numbered {
        if u32::try_from(partition) != Ok(expected) {
            let partition = expected;
            return Err(AssignmentFault::Gap { partition }.into());
        }
    }
    let lists: Vec<&[i32]> = by_partition.into_values().collect();
    placement::manual(image, limits, &lists, None)
}

fn records(
    name: TopicName,
    id: TopicId,
    partitions: Vec<Assignment>,
    configs: BTreeMap<String, String>,
) -> Vec<Record> {
    let resource = ConfigResource::Topic(name.clone());
    let created = Record::TopicCreated {
        name,
        id,
        partitions,
    };
    let configs = configs.into_iter().map(|(key, value)| Record::ConfigSet {
        resource: resource.clone(),
        key,
        value,
    });
    std::iter::once(created).chain(configs).collect()
}
