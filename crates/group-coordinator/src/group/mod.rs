//! One group: its state, members, protocol and timers.
//!
//! A file a family of transitions: [`join`], [`sync`], [`leave`] (heartbeats too), [`rebalance`],
//! [`expire`] and [`persist`]. Here is what they share.

mod expire;
mod join;
mod leave;
mod persist;
mod protocol;
mod rebalance;
mod sync;

use crate::member::Member;
use crate::offsets::{Expiry, Offsets};
use crate::writes::Context;
use crate::{
    Action, Blob, Cause, Event, GroupError, Joined, JoinedMember, Refused, ReplyTo, Response, Text,
    WriteId,
};
use plimsoll_types::{Monotonic, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// Protocol type of consumers: the one whose metadata tells topics.
pub(crate) const CONSUMER: &str = "consumer";

/// Charged for each group beside its members and offsets.
const GROUP_OVERHEAD_BYTES: usize = 512;

/// What a group is doing. Its `Display` is what Kafka clients know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum GroupState {
    /// No members; perhaps offsets.
    Empty,
    /// Members are to join again.
    PreparingRebalance,
    /// Members have joined and wait for the leader's assignment.
    CompletingRebalance,
    /// Members have their assignment.
    Stable,
    /// Being deleted.
    Dead,
}

impl fmt::Display for GroupState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
            Self::Dead => "Dead",
        })
    }
}

/// When the join phase ends at the latest.
#[derive(Debug)]
struct JoinTimer {
    at: Monotonic,
    /// For the first rebalance of an empty group: it waits for more members in such steps.
    initial: Option<InitialDelay>,
}

#[derive(Debug)]
struct InitialDelay {
    step: Duration,
    remaining: Duration,
    /// A member came during this step: wait another.
    extend: bool,
}

/// The leader's assignment on its way to the log.
#[derive(Debug)]
struct Assigning {
    assignments: BTreeMap<Text, Blob>,
    /// When those who wait for it are refused; none while nobody waits.
    deadline: Option<Monotonic>,
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: Text,
    pub(crate) state: GroupState,
    pub(crate) state_since: Option<Timestamp>,
    pub(crate) protocol_type: Option<Text>,
    pub(crate) protocol: Option<Text>,
    /// G1.
    pub(crate) generation: i32,
    /// G4.
    pub(crate) leader: Option<Text>,
    pub(crate) members: BTreeMap<Text, Member>,
    /// G7: instance id to member id.
    instances: BTreeMap<Text, Text>,
    /// Member ids given out whose members have not yet joined with them, and until when.
    promised: BTreeMap<Text, Monotonic>,
    /// Members of this generation that have not yet asked for their assignment.
    unsynced: BTreeSet<Text>,
    /// How many members can do a protocol.
    supporters: BTreeMap<Text, usize>,
    /// Members that wait for the generation.
    joining: usize,
    /// Sum over the members.
    bytes: usize,
    /// Of all assignments.
    assigned_bytes: usize,
    /// Topics of all members; none where their metadata cannot be read.
    subscribed: Option<BTreeSet<Text>>,
    join_timer: Option<JoinTimer>,
    sync_deadline: Option<Monotonic>,
    assigning: Option<Assigning>,
    /// The log has, or will have, a record of the group.
    pub(crate) persisted: bool,
    pub(crate) offsets: Offsets,
    /// No deadline of the group comes before this.
    pub(crate) wake: Option<Monotonic>,
}

impl Group {
    pub(crate) fn new(id: Text) -> Self {
        Self {
            id,
            state: GroupState::Empty,
            state_since: None,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            promised: BTreeMap::new(),
            unsynced: BTreeSet::new(),
            supporters: BTreeMap::new(),
            joining: 0,
            bytes: 0,
            assigned_bytes: 0,
            subscribed: None,
            join_timer: None,
            sync_deadline: None,
            assigning: None,
            persisted: false,
            offsets: Offsets::default(),
            wake: None,
        }
    }

    /// Nothing in it is worth remembering, in memory or in the log.
    pub(crate) fn is_void(&self) -> bool {
        self.state == GroupState::Empty
            && !self.persisted
            && self.promised.is_empty()
            && self.offsets.is_empty()
    }

    /// What it is charged for all that it keeps.
    pub(crate) fn bytes(&self) -> usize {
        GROUP_OVERHEAD_BYTES + self.bytes + self.assigned_bytes + self.offsets.bytes()
    }

    fn set_state(&mut self, cx: &mut Context<'_>, to: GroupState, cause: Cause) {
        let from = self.state;
        debug_assert!(from.may_become(to), "{from} -> {to}");
        self.state = to;
        self.state_since = Some(cx.now.wall);
        let (group, members) = (self.id.clone(), self.members.len());
        let generation = self.generation;
        let event = Event {
            group,
            from,
            to,
            generation,
            members,
            cause,
        };
        cx.actions.push(Action::Note(event));
    }

    /// Makes sure of a tick no later than `at`.
    fn arm(&mut self, at: Monotonic) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Who speaks for whom: G7 seen from the request.
    pub(crate) fn check_member(
        &self,
        member: &str,
        instance: Option<&Text>,
    ) -> Result<(), GroupError> {
        if let Some(instance) = instance {
            let owner = self
                .instances
                .get(instance)
                .ok_or(GroupError::UnknownMemberId)?;
            if **owner != *member {
                return Err(GroupError::FencedInstanceId);
            }
        }
        if self.members.contains_key(member) {
            Ok(())
        } else {
            Err(GroupError::UnknownMemberId)
        }
    }

    pub(crate) fn check_generation(&self, generation: i32) -> Result<(), GroupError> {
        if generation == self.generation {
            Ok(())
        } else {
            Err(GroupError::IllegalGeneration)
        }
    }

    fn is_leader(&self, member: &str) -> bool {
        self.leader.as_deref() == Some(member)
    }

    fn everyone_joined(&self) -> bool {
        self.joining == self.members.len() && self.promised.is_empty()
    }

    fn rebalance_timeout(&self) -> Duration {
        let timeouts = self.members.values().map(|m| m.rebalance_timeout);
        timeouts.max().unwrap_or(Duration::ZERO)
    }

    /// Starts the member's session anew.
    pub(crate) fn keep_alive(&mut self, now: Monotonic, member: &str) {
        let Some(known) = self.members.get_mut(member) else {
            return;
        };
        let at = now + known.session_timeout;
        known.deadline = Some(at);
        self.arm(at);
    }

    /// Adds or replaces the request that waits for the generation. Whoever waited before has given
    /// up, or is a double of the same member.
    fn await_join(&mut self, cx: &mut Context<'_>, id: &Text, to: ReplyTo) {
        let member = self
            .members
            .get_mut(id)
            .expect("the caller found or added the member");
        match member.join.replace(to) {
            None => self.joining += 1,
            Some(before) => {
                let error = GroupError::RebalanceInProgress;
                cx.reply(before, refuse_join(error, id));
            }
        }
    }

    fn answer_join(&mut self, cx: &mut Context<'_>, id: &Text, result: Result<Joined, Refused>) {
        let waiting = self.members.get_mut(id).and_then(|m| m.join.take());
        if let Some(to) = waiting {
            self.joining -= 1;
            cx.reply(to, Response::Join(result));
        }
    }

    /// What a member of the current generation hears.
    fn joined(&self, id: &Text) -> Joined {
        let members = if self.is_leader(id) {
            self.everyone()
        } else {
            Vec::new()
        };
        Joined {
            member: id.clone(),
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_else(|| Text::from("")),
            skip_assignment: false,
            members,
        }
    }

    fn everyone(&self) -> Vec<JoinedMember> {
        let described =
            |(id, m): (&Text, &Member)| m.described_to_leader(id, self.protocol.as_ref());
        self.members.iter().map(described).collect()
    }

    fn add_member(&mut self, id: &Text, member: Member, protocol_type: &Text) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.clone());
        }
        if let Some(instance) = &member.instance {
            self.instances.insert(instance.clone(), id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(id.clone());
        }
        self.promised.remove(id);
        self.count_in(&member);
        self.joining += usize::from(member.join.is_some());
        self.members.insert(id.clone(), member);
    }

    /// Takes a member out, answers what it waits for with `error`, and passes leadership on. What
    /// becomes of the generation is the caller's next thought.
    fn remove_member(&mut self, cx: &mut Context<'_>, id: &Text, error: GroupError) {
        let Some(member) = self.members.remove(id) else {
            return;
        };
        self.count_out(&member);
        if let Some(instance) = &member.instance {
            self.instances.remove(instance);
        }
        self.unsynced.remove(id);
        if let Some(to) = member.join {
            self.joining -= 1;
            let told = if error == GroupError::FencedInstanceId {
                id
            } else {
                &Text::from("")
            };
            cx.reply(to, refuse_join(error, told));
        }
        if let Some(to) = member.sync {
            cx.reply(to, Response::Sync(Err(error)));
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
    }

    fn count_in(&mut self, member: &Member) {
        self.bytes += member.bytes();
        for protocol in &member.protocols {
            *self.supporters.entry(protocol.name.clone()).or_default() += 1;
        }
    }

    fn count_out(&mut self, member: &Member) {
        self.bytes -= member.bytes();
        for protocol in &member.protocols {
            if let Some(count) = self.supporters.get_mut(&protocol.name) {
                *count -= 1;
                if *count == 0 {
                    self.supporters.remove(&protocol.name);
                }
            }
        }
    }

    pub(crate) fn is_promised(&self) -> bool {
        !self.promised.is_empty()
    }

    /// Whether the members read this topic, as far as can be told: a consumer group whose metadata
    /// cannot be read may read anything.
    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        match &self.subscribed {
            Some(topics) => topics.contains(topic),
            None => self.protocol_type.as_deref() == Some(CONSUMER) && !self.members.is_empty(),
        }
    }

    /// From when on the retention of the offsets counts.
    pub(crate) fn expiry(&self) -> Expiry<'_> {
        match (self.state, &self.protocol_type, &self.subscribed) {
            (GroupState::Dead, _, _) => Expiry::Never,
            (_, None, _) => Expiry::SinceCommit,
            (GroupState::Empty, Some(_), _) => Expiry::Since(self.state_since),
            (GroupState::Stable, Some(_), Some(topics)) => Expiry::Unsubscribed(topics),
            _ => Expiry::Never,
        }
    }

    /// Tells everyone who waits, and waits for nothing any more.
    pub(crate) fn abandon(&mut self, cx: &mut Context<'_>, error: GroupError) {
        for (id, member) in &mut self.members {
            if let Some(to) = member.join.take() {
                cx.reply(to, refuse_join(error, id));
            }
            if let Some(to) = member.sync.take() {
                cx.reply(to, Response::Sync(Err(error)));
            }
        }
        self.joining = 0;
    }

    /// The invariants of one group, for debug builds and tests.
    pub(crate) fn check(&self) {
        let waiting = |f: fn(&Member) -> bool| self.members.values().filter(|m| f(m)).count();
        let joining = waiting(|m| m.join.is_some());
        let syncing = waiting(|m| m.sync.is_some());
        assert_eq!(joining, self.joining, "G2: joins are counted");
        assert!(
            joining == 0 || self.state == GroupState::PreparingRebalance,
            "G2: join"
        );
        assert!(
            syncing == 0 || self.state == GroupState::CompletingRebalance,
            "G2: sync"
        );
        match self.state {
            GroupState::Empty | GroupState::Dead => assert!(self.members.is_empty(), "G3"),
            GroupState::PreparingRebalance => {}
            GroupState::CompletingRebalance | GroupState::Stable => {
                assert!(!self.members.is_empty(), "G3");
            }
        }
        match &self.leader {
            None => assert!(
                self.members.is_empty(),
                "G4: a group with members has a leader"
            ),
            Some(leader) => assert!(
                self.members.contains_key(leader),
                "G4: the leader is a member"
            ),
        }
        let agreed = self
            .supporters
            .values()
            .any(|count| *count == self.members.len());
        assert!(
            self.members.is_empty() || agreed,
            "G4: some protocol is everyone's"
        );
        let instances = self
            .members
            .iter()
            .filter_map(|(id, m)| Some((m.instance.clone()?, id.clone())));
        assert!(
            instances.collect::<BTreeMap<_, _>>() == self.instances,
            "G7"
        );
        assert_eq!(
            self.bytes,
            self.members.values().map(Member::bytes).sum::<usize>(),
            "G8"
        );
    }
}

impl GroupState {
    fn may_become(self, to: Self) -> bool {
        use GroupState::{CompletingRebalance, Dead, Empty, PreparingRebalance, Stable};
        match to {
            Empty => matches!(self, PreparingRebalance | Dead),
            PreparingRebalance => matches!(self, Empty | CompletingRebalance | Stable),
            CompletingRebalance => self == PreparingRebalance,
            Stable => self == CompletingRebalance,
            Dead => self == Empty,
        }
    }
}

pub(crate) fn refuse_join(error: GroupError, member: &Text) -> Response {
    Response::Join(Err(Refused {
        error,
        member: member.clone(),
    }))
}

/// What a transition wrote, if it wrote: an answer may have to wait for it.
pub(crate) type Wrote = Option<WriteId>;
