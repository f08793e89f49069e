//! A member's talk with its group's coordinator: join, sync, heartbeat, commit, leave.
//!
//! Each function is one exchange or one loop of exchanges with an end. Not here: what is done with
//! the assignment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_types::{Offset, TopicName, TopicPartition};
use plimsoll_wire::consumer::{
    self, ConsumerProtocolAssignment, ConsumerProtocolSubscription, PROTOCOL_TYPE,
};
use plimsoll_wire::heartbeat::HeartbeatRequest;
use plimsoll_wire::join_group::{
    JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse, JoinGroupResponseMember,
};
use plimsoll_wire::leave_group::{LeaveGroupRequest, MemberIdentity};
use plimsoll_wire::offset_commit::OffsetCommitRequest;
use plimsoll_wire::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use plimsoll_wire::{ApiKey, ErrorCode, Str};

use super::assignor::{Assignment, Assignor, Subscriber};
use super::config::GroupConfig;
use crate::client::Owned;
use crate::commit::{CommittedOffset, commit_outcome, commit_topics};
use crate::error::check;
use crate::offsets::{index, millis, topic_partition};
use crate::retry::Retry;
use crate::{Client, ClientError, Lane, commit};

/// The version of subscriptions and assignments that is written: the first, since nothing of later
/// ones is used.
const PROTOCOL_VERSION: i16 = 0;
/// What a join may take beyond the rebalance timeout.
const JOIN_SLACK: Duration = Duration::from_secs(5);

/// A member in one generation of its group.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Shared with its heartbeat.
    pub(super) own: Arc<Owned>,
    pub(super) config: GroupConfig,
    /// The coordinator's address.
    coordinator: String,
    pub(super) member_id: Str,
    pub(super) generation: i32,
    pub(super) is_leader: bool,
    /// As the leader: how many partitions of which topics it shared out.
    shared_out: BTreeMap<TopicName, u32>,
    pub(super) assignment: Vec<TopicPartition>,
}

/// Joins until there is a generation with an assignment. `member_id` is the one it had, if any.
pub(super) async fn join(
    own: Arc<Owned>,
    config: GroupConfig,
    mut member_id: Str,
) -> Result<Member, ClientError> {
    let timing = own.client().config();
    let within = config.rebalance_timeout + timing.retry_timeout;
    let mut retry = Retry::within(within, timing.retry_backoff);
    loop {
        match join_once(&own, &config, &mut member_id).await {
            Ok(member) => return Ok(member),
            Err(error) if may_rejoin(&error) => retry.pause("a place in the group", error).await?,
            Err(error) => return Err(error),
        }
    }
}

/// Whether joining again can help.
fn may_rejoin(error: &ClientError) -> bool {
    error.is_retriable()
        || matches!(
            error.code(),
            Some(
                ErrorCode::RebalanceInProgress
                    | ErrorCode::UnknownMemberId
                    | ErrorCode::IllegalGeneration
            )
        )
}

async fn join_once(
    own: &Arc<Owned>,
    config: &GroupConfig,
    member_id: &mut Str,
) -> Result<Member, ClientError> {
    let coordinator = own.client().coordinator(&config.group).await?;
    let joined = join_group(own, config, &coordinator, member_id).await;
    let joined = forget_if_unknown(member_id, joined)?;
    let mut member = Member {
        own: own.clone(),
        config: config.clone(),
        coordinator,
        member_id: joined.member_id.detached(),
        generation: joined.generation_id,
        is_leader: joined.leader == joined.member_id,
        shared_out: BTreeMap::new(),
        assignment: Vec::new(),
    };
    let assignments = if member.is_leader && !joined.skip_assignment {
        member.assign(&joined).await?
    } else {
        Vec::new()
    };
    let synced = member.sync(joined.protocol_name, assignments).await;
    member.assignment = forget_if_unknown(member_id, synced)?;
    Ok(member)
}

/// A member id that the group does not know is not offered again.
fn forget_if_unknown<T>(
    member_id: &mut Str,
    outcome: Result<T, ClientError>,
) -> Result<T, ClientError> {
    outcome.inspect_err(|error| {
        if error.code() == Some(ErrorCode::UnknownMemberId) {
            *member_id = Str::default();
        }
    })
}

/// Joins the next generation. A coordinator that gives a new member its id first has it join
/// again with it.
async fn join_group(
    own: &Owned,
    config: &GroupConfig,
    coordinator: &str,
    member_id: &mut Str,
) -> Result<JoinGroupResponse, ClientError> {
    let subscription = ConsumerProtocolSubscription {
        topics: config
            .topics
            .iter()
            .map(|topic| topic.as_str().into())
            .collect(),
        ..Default::default()
    };
    let metadata = subscription.to_member(PROTOCOL_VERSION);
    let protocols = config
        .assignors
        .iter()
        .map(|assignor| JoinGroupRequestProtocol {
            name: assignor.name().into(),
            metadata: metadata.clone(),
        });
    let mut request = JoinGroupRequest {
        group_id: config.group.as_str().into(),
        session_timeout_ms: millis(config.session_timeout),
        rebalance_timeout_ms: millis(config.rebalance_timeout),
        group_instance_id: config.instance_id.as_deref().map(Str::from),
        protocol_type: PROTOCOL_TYPE.into(),
        protocols: protocols.collect(),
        ..Default::default()
    };
    let timeout = own.client().config().request_timeout;
    let timeout = timeout.max(config.rebalance_timeout + JOIN_SLACK);
    let lane = Lane::Join(own.owner());
    for _ in 0..2 {
        request.member_id = member_id.clone();
        let asked = own
            .client()
            .ask_at(coordinator, lane, request.clone(), timeout);
        let answer = asked.await?;
        if answer.error_code != ErrorCode::MemberIdRequired.code() {
            let subject = || format!("group {}", config.group);
            check(ApiKey::JoinGroup, answer.error_code, None, subject)?;
            *member_id = answer.member_id.detached();
            return Ok(answer);
        }
        *member_id = answer.member_id.detached();
    }
    Err(ClientError::Nonsense {
        api: ApiKey::JoinGroup,
        what: "it asks for the member id that it was given",
    })
}

impl Member {
    /// As the leader: shares out the topics' partitions.
    async fn assign(
        &mut self,
        joined: &JoinGroupResponse,
    ) -> Result<Vec<SyncGroupRequestAssignment>, ClientError> {
        let api = ApiKey::JoinGroup;
        let chosen = joined.protocol_name.as_deref().unwrap_or_default();
        let what = "it chose an assignor that was not offered";
        let assignor = Assignor::from_name(chosen);
        let assignor = assignor.ok_or(ClientError::Nonsense { api, what })?;
        let members = joined.members.iter().map(subscriber);
        let members = members.collect::<Result<Vec<_>, _>>()?;
        let topics: BTreeSet<_> = members.iter().flat_map(|member| &member.topics).collect();
        let mut partitions = BTreeMap::new();
        for topic in topics {
            partitions.insert(topic.clone(), self.partitions_of(topic).await?);
        }
        let assignment = assignor.assign(&members, &partitions);
        self.shared_out = partitions;
        Ok(as_requested(&assignment))
    }

    /// Whether the topics have other partitions by now. What cannot be asked has not changed.
    pub(super) async fn have_partitions_changed(&self) -> bool {
        for (topic, shared_out) in &self.shared_out {
            match self.partitions_of(topic).await {
                Ok(now) if now != *shared_out => return true,
                Ok(_) | Err(_) => {}
            }
        }
        false
    }

    /// How many partitions a topic has; none if it does not exist (yet).
    async fn partitions_of(&self, topic: &TopicName) -> Result<u32, ClientError> {
        match self.client().topic_anew(topic).await {
            Ok(topic) => Ok(u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX)),
            Err(error) if error.code() == Some(ErrorCode::UnknownTopicOrPartition) => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Hands in the assignments, if it is the leader, and gets its own.
    async fn sync(
        &self,
        protocol_name: Option<Str>,
        assignments: Vec<SyncGroupRequestAssignment>,
    ) -> Result<Vec<TopicPartition>, ClientError> {
        let request = SyncGroupRequest {
            group_id: self.config.group.as_str().into(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance_id(),
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name,
            assignments,
        };
        let timeout = self.client().config().request_timeout;
        let timeout = timeout.max(self.config.rebalance_timeout + JOIN_SLACK);
        let asked = self
            .client()
            .ask_at(&self.coordinator, self.join_lane(), request, timeout);
        let answer = asked.await?;
        check(ApiKey::SyncGroup, answer.error_code, None, || {
            self.subject()
        })?;
        let malformed = |malformed| ClientError::Malformed {
            address: self.coordinator.as_str().into(),
            api: ApiKey::SyncGroup,
            malformed,
        };
        if answer.assignment.is_empty() {
            return Ok(Vec::new()); // the leader left it out
        }
        let given = ConsumerProtocolAssignment::from_member(&answer.assignment);
        let given = given.map_err(malformed)?.assigned_partitions;
        let what = "it names a partition that cannot be one";
        let api = ApiKey::SyncGroup;
        let given = given.iter().flat_map(|topic| {
            let indexes = topic.partitions.iter();
            indexes.map(|partition| topic_partition(&topic.topic, *partition))
        });
        given
            .map(|partition| partition.ok_or(ClientError::Nonsense { api, what }))
            .collect()
    }

    /// One sign of life.
    pub(super) async fn heartbeat(&self) -> Result<(), ClientError> {
        let request = HeartbeatRequest {
            group_id: self.config.group.as_str().into(),
            generation_id: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance_id(),
        };
        let timeout = self.config.session_timeout;
        let asked = self
            .client()
            .ask_at(&self.coordinator, self.group_lane(), request, timeout);
        let answer = asked.await?;
        check(ApiKey::Heartbeat, answer.error_code, None, || {
            self.subject()
        })
    }

    /// Looks for the coordinator anew.
    pub(super) async fn find_coordinator(&mut self) -> Result<(), ClientError> {
        self.coordinator = self.client().coordinator(&self.config.group).await?;
        Ok(())
    }

    /// Commits in this generation.
    pub(super) async fn commit(
        &self,
        offsets: &BTreeMap<TopicPartition, Offset>,
    ) -> Result<(), ClientError> {
        let request = OffsetCommitRequest {
            group_id: self.config.group.as_str().into(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.member_id.clone(),
            group_instance_id: self.instance_id(),
            topics: commit_topics(offsets),
            ..Default::default()
        };
        let timeout = self.client().config().request_timeout;
        let mut retry = Retry::new(self.client().config());
        loop {
            let coordinator = self.client().coordinator(&self.config.group).await?;
            let asked =
                self.client()
                    .ask_at(&coordinator, self.group_lane(), request.clone(), timeout);
            let outcome = asked.await;
            match outcome.and_then(|answer| commit_outcome(&self.config.group, &answer)) {
                Err(error) if error.is_retriable() => retry.pause("the commit", error).await?,
                outcome => return outcome,
            }
        }
    }

    /// What the group has committed of the assignment.
    pub(super) async fn committed(
        &self,
    ) -> Result<BTreeMap<TopicPartition, CommittedOffset>, ClientError> {
        let group = &self.config.group;
        let request = commit::committed_request(group, Some(&self.assignment));
        let timeout = self.client().config().request_timeout;
        let mut retry = Retry::new(self.client().config());
        let mut coordinator = self.coordinator.clone();
        loop {
            let asked =
                self.client()
                    .ask_at(&coordinator, self.group_lane(), request.clone(), timeout);
            match asked
                .await
                .and_then(|answer| commit::committed_response(group, answer))
            {
                Err(error) if error.is_retriable() => {
                    retry.pause("the committed offsets", error).await?;
                }
                outcome => return outcome,
            }
            coordinator = self.client().coordinator(group).await?;
        }
    }

    /// Says good-bye, so that others get its partitions at once. A static member does not: it
    /// means to come back.
    pub(super) async fn leave(&self) -> Result<(), ClientError> {
        if self.config.instance_id.is_some() {
            return Ok(());
        }
        let request = LeaveGroupRequest {
            group_id: self.config.group.as_str().into(),
            member_id: self.member_id.clone(),
            members: vec![MemberIdentity {
                member_id: self.member_id.clone(),
                ..Default::default()
            }],
        };
        let timeout = self.client().config().request_timeout;
        let asked = self
            .client()
            .ask_at(&self.coordinator, self.group_lane(), request, timeout);
        let answer = asked.await?;
        check(ApiKey::LeaveGroup, answer.error_code, None, || {
            self.subject()
        })?;
        for member in answer.members {
            check(ApiKey::LeaveGroup, member.error_code, None, || {
                self.subject()
            })?;
        }
        Ok(())
    }

    pub(super) fn client(&self) -> &Client {
        self.own.client()
    }

    fn group_lane(&self) -> Lane {
        Lane::Group(self.own.owner())
    }

    fn join_lane(&self) -> Lane {
        Lane::Join(self.own.owner())
    }

    fn instance_id(&self) -> Option<Str> {
        self.config.instance_id.as_deref().map(Str::from)
    }

    fn subject(&self) -> String {
        format!("group {}", self.config.group)
    }
}

fn subscriber(member: &JoinGroupResponseMember) -> Result<Subscriber, ClientError> {
    let api = ApiKey::JoinGroup;
    let what = "a member's subscription is none of a consumer";
    let subscription = ConsumerProtocolSubscription::from_member(&member.metadata);
    let subscription = subscription.map_err(|_| ClientError::Nonsense { api, what })?;
    // Names that no topic can have are topics that do not exist.
    let topics = subscription
        .topics
        .iter()
        .filter_map(|name| TopicName::new(name).ok());
    Ok(Subscriber {
        member_id: member.member_id.to_string(),
        instance_id: member.group_instance_id.as_ref().map(ToString::to_string),
        topics: topics.collect(),
    })
}

/// The assignment as SyncGroup carries it.
fn as_requested(assignment: &Assignment) -> Vec<SyncGroupRequestAssignment> {
    let each = assignment.iter().map(|(member_id, given)| {
        let mut topics: BTreeMap<&TopicName, Vec<i32>> = BTreeMap::new();
        for partition in given {
            topics
                .entry(&partition.topic)
                .or_default()
                .push(index(partition.partition));
        }
        let topics = topics
            .into_iter()
            .map(|(name, partitions)| consumer::TopicPartition {
                topic: name.as_str().into(),
                partitions,
            });
        let assignment = ConsumerProtocolAssignment {
            assigned_partitions: topics.collect(),
            ..Default::default()
        };
        SyncGroupRequestAssignment {
            member_id: member_id.into(),
            assignment: assignment.to_member(PROTOCOL_VERSION),
        }
    });
    each.collect()
}
