//! Groups: who is in them, how far they have read, and forgetting both.

use std::collections::BTreeMap;

use plimsoll_types::{Offset, TopicName, TopicPartition};
use plimsoll_wire::consumer::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
use plimsoll_wire::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use plimsoll_wire::describe_groups::{DescribeGroupsRequest, DescribedGroup, DescribedGroupMember};
use plimsoll_wire::list_groups::ListGroupsRequest;
use plimsoll_wire::offset_commit::OffsetCommitRequest;
use plimsoll_wire::offset_delete::{
    OffsetDeleteRequest, OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
    OffsetDeleteResponse,
};
use plimsoll_wire::{ApiKey, ErrorCode};

use super::Admin;
use crate::commit::{self, committed_request, committed_response};
use crate::error::check;
use crate::offsets::{index, topic_partition};
use crate::{ClientError, Lane};

pub use crate::commit::CommittedOffset;

/// A group, as its coordinator lists it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupListing {
    /// Its id.
    pub group: String,
    /// What its members speak among themselves: `consumer` for consumers.
    pub protocol_type: String,
    /// Its state in Kafka's words, if told.
    pub state: Option<String>,
    /// `classic` or `consumer`, if told.
    pub kind: Option<String>,
}

/// A group and its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub group: String,
    /// Its state in Kafka's words; `Dead` if there is none.
    pub state: String,
    /// What its members speak among themselves.
    pub protocol_type: String,
    /// The protocol chosen: the assignor, for consumers.
    pub protocol: String,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub member_id: String,
    /// Its own name, if it is a static member.
    pub instance_id: Option<String>,
    /// Its client's name.
    pub client_id: String,
    /// Where it connects from.
    pub client_host: String,
    /// The topics it reads; empty if it is no consumer.
    pub subscription: Vec<String>,
    /// The partitions it was given; empty if it is no consumer.
    pub assignment: Vec<TopicPartition>,
}

impl Admin {
    /// All groups, from every node.
    ///
    /// # Errors
    /// When a node cannot be reached: the list would not be whole.
    pub async fn groups(&self) -> Result<Vec<GroupListing>, ClientError> {
        self.client.refresh(Some(&[])).await?;
        let mut groups = Vec::new();
        for node in self.client.known().nodes.keys() {
            let connection = self.client.node(*node, Lane::Requests).await?;
            let answer = connection.ask(ListGroupsRequest::default()).await?;
            let subject = || format!("groups of node {node}");
            check(ApiKey::ListGroups, answer.error_code, None, subject)?;
            let told = |word: &str| Some(word.to_owned()).filter(|word| !word.is_empty());
            groups.extend(answer.groups.iter().map(|group| GroupListing {
                group: group.group_id.to_string(),
                protocol_type: group.protocol_type.to_string(),
                state: told(&group.group_state),
                kind: told(&group.group_type),
            }));
        }
        groups.sort();
        groups.dedup();
        Ok(groups)
    }

    /// A group and its members. One that does not exist is `Dead` and has none.
    ///
    /// # Errors
    /// When its coordinator refuses or does not answer.
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, ClientError> {
        let request = DescribeGroupsRequest {
            groups: vec![group.into()],
            include_authorized_operations: false,
        };
        let api = ApiKey::DescribeGroups;
        let answer = self
            .ask_coordinator(group, request, |answer| {
                let code = answer.groups.first().map_or(0, |group| group.error_code);
                check(api, code, None, || format!("group {group}")).err()
            })
            .await?;
        let what = "the group asked for is not in it";
        let described = answer.groups.first();
        let described = described.ok_or(ClientError::Nonsense { api, what })?;
        // From version 6 on an unknown group is an error as well as dead.
        if described.error_code != ErrorCode::GroupIdNotFound.code() {
            let message = described.error_message.as_ref();
            check(api, described.error_code, message, || {
                format!("group {group}")
            })?;
        }
        Ok(description(described))
    }

    /// Forgets a group without members, and its offsets.
    ///
    /// # Errors
    /// When it has members or does not exist, or its coordinator does not answer.
    pub async fn delete_group(&self, group: &str) -> Result<(), ClientError> {
        let request = DeleteGroupsRequest {
            groups_names: vec![group.into()],
        };
        let api = ApiKey::DeleteGroups;
        let outcome = |answer: &DeleteGroupsResponse| {
            let what = "the group asked for is not in it";
            let result = answer.results.first();
            let result = result.ok_or(ClientError::Nonsense { api, what })?;
            check(api, result.error_code, None, || format!("group {group}"))
        };
        let answer = self.ask_coordinator(group, request, |answer| outcome(answer).err());
        outcome(&answer.await?)
    }

    /// How far a group has read: in `partitions`, or everywhere it has committed.
    ///
    /// # Errors
    /// When its coordinator refuses or does not answer.
    pub async fn committed(
        &self,
        group: &str,
        partitions: Option<&[TopicPartition]>,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
        let request = committed_request(group, partitions);
        let answer = self.ask_coordinator(group, request, |answer| {
            committed_response(group, answer.clone()).err()
        });
        committed_response(group, answer.await?)
    }

    /// Sets how far a group without members has read.
    ///
    /// # Errors
    /// When it has members, or its coordinator refuses or does not answer.
    pub async fn set_committed(
        &self,
        group: &str,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), ClientError> {
        let request = OffsetCommitRequest {
            group_id: group.into(),
            topics: commit::commit_topics(offsets),
            ..Default::default()
        };
        let outcome = |answer: &_| commit::commit_outcome(group, answer);
        let answer = self.ask_coordinator(group, request, |answer| outcome(answer).err());
        outcome(&answer.await?)
    }

    /// Forgets how far a group has read in some partitions that it reads no more.
    ///
    /// # Errors
    /// When it still reads one, does not exist, or its coordinator does not answer.
    pub async fn delete_committed(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<(), ClientError> {
        let mut topics: BTreeMap<&TopicName, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for partition in partitions {
            let partition_index = index(partition.partition);
            let entry = topics.entry(&partition.topic).or_default();
            entry.push(OffsetDeleteRequestPartition { partition_index });
        }
        let topics = topics
            .into_iter()
            .map(|(name, partitions)| OffsetDeleteRequestTopic {
                name: name.as_str().into(),
                partitions,
            });
        let request = OffsetDeleteRequest {
            group_id: group.into(),
            topics: topics.collect(),
        };
        let outcome = |answer: &OffsetDeleteResponse| {
            let api = ApiKey::OffsetDelete;
            check(api, answer.error_code, None, || format!("group {group}"))?;
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    let subject = || format!("{}/{}", topic.name, partition.partition_index);
                    check(api, partition.error_code, None, subject)?;
                }
            }
            Ok(())
        };
        let answer = self.ask_coordinator(group, request, |answer| outcome(answer).err());
        outcome(&answer.await?)
    }
}

fn description(group: &DescribedGroup) -> GroupDescription {
    GroupDescription {
        group: group.group_id.to_string(),
        state: group.group_state.to_string(),
        protocol_type: group.protocol_type.to_string(),
        protocol: group.protocol_data.to_string(),
        members: group.members.iter().map(member).collect(),
    }
}

fn member(member: &DescribedGroupMember) -> GroupMember {
    // Bytes of members that are no consumers mean nothing here.
    let subscription = ConsumerProtocolSubscription::from_member(&member.member_metadata);
    let assignment = ConsumerProtocolAssignment::from_member(&member.member_assignment);
    let assigned = assignment
        .map(|given| given.assigned_partitions)
        .unwrap_or_default();
    let assignment = assigned.iter().flat_map(|topic| {
        let indexes = topic.partitions.iter();
        indexes.filter_map(|partition| topic_partition(&topic.topic, *partition))
    });
    let topics = subscription.map(|wanted| wanted.topics).unwrap_or_default();
    GroupMember {
        member_id: member.member_id.to_string(),
        instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
        client_id: member.client_id.to_string(),
        client_host: member.client_host.to_string(),
        subscription: topics.iter().map(ToString::to_string).collect(),
        assignment: assignment.collect(),
    }
}
