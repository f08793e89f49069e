//! What a leader is told and what it wants done.

use std::fmt;

use plimsoll_types::{
    BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionEpoch, PartitionKey,
};

use crate::guards::{Guard, holds};
use crate::session::{CloseWhy, Refusal};

/// By which end a replica counts towards the high watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counts {
    /// By what is synced.
    Durable,
    /// By what is written.
    Written,
}

/// The way of a follower that has caught up into the ISR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinStatus {
    /// It is there, or has not caught up, or nothing holds it back.
    Idle,
    /// It has come and gone, and must keep up for longer.
    Held {
        /// For how much longer.
        remaining: std::time::Duration,
        /// How many times it left of late.
        evictions: u32,
    },
    /// The controller was asked for it.
    Proposed {
        /// How long ago, first.
        since: std::time::Duration,
    },
}

/// One replica as the metadata has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaView {
    /// The node.
    pub node: NodeId,
    /// Its uptime; `None` when it is not registered.
    pub broker_epoch: Option<BrokerEpoch>,
    /// Unfenced and not draining: the controller would take it into the ISR.
    pub eligible: bool,
}

/// The metadata of one partition, at one version, as a leader of `leader_epoch` needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// Its version.
    pub partition_epoch: PartitionEpoch,
    /// All replicas, the leader among them.
    pub replicas: Vec<ReplicaView>,
    /// The committed ISR, the leader among them.
    pub isr: Vec<NodeId>,
    /// Eligible leader replicas: out of the ISR, and complete.
    pub elr: Vec<NodeId>,
    /// In-sync replicas without which nothing commits.
    pub min_isr: usize,
    /// By which end a replica counts.
    pub counts: Counts,
}

impl View {
    /// The uptime of `node`.
    #[must_use]
    pub fn broker_epoch(&self, node: NodeId) -> Option<BrokerEpoch> {
        self.replica(node)?.broker_epoch
    }

    pub(crate) fn replica(&self, node: NodeId) -> Option<&ReplicaView> {
        self.replicas.iter().find(|replica| replica.node == node)
    }

    /// The rule of the first tenure of an epoch, for the log to begin it with.
    #[must_use]
    pub fn first_rule(&self, me: NodeId) -> Rule {
        Rule::of(self, me, &[])
    }
}

/// What a leader begins with.
#[derive(Clone, Debug)]
pub struct LeaderTerm {
    /// The partition.
    pub key: PartitionKey,
    /// This node.
    pub me: NodeId,
    /// The epoch it leads in.
    pub leader_epoch: LeaderEpoch,
    /// The log end when the epoch began, already in the durable epoch vector.
    pub epoch_start: Offset,
    /// The metadata that made it leader.
    pub view: View,
}

/// Who counts towards the high watermark: the rule of a tenure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// All other replicas, counted or not.
    pub followers: Vec<NodeId>,
    /// Whoever holds back the high watermark, this node first.
    pub maximal_isr: Vec<NodeId>,
    /// How many the committed ISR has.
    pub committed_isr: usize,
    /// With fewer the high watermark stands still.
    pub min_isr: usize,
    /// By which end a replica counts.
    pub counts: Counts,
}

impl Rule {
    /// The committed ISR and `more`. Invariant R4: a superset of everybody who may be elected
    /// without loss, whenever the high watermark may move.
    pub(crate) fn of(view: &View, me: NodeId, more: &[NodeId]) -> Self {
        let is_replica = |node: NodeId| view.replica(node).is_some();
        let may_move = view.isr.len() >= view.min_isr;
        let elr: &[NodeId] = if may_move && holds(Guard::EligibleLeadersCount) {
            &view.elr
        } else {
            &[]
        };
        let mut maximal_isr = vec![me];
        for &node in view.isr.iter().chain(more).chain(elr) {
            if !maximal_isr.contains(&node) && is_replica(node) {
                maximal_isr.push(node);
            }
        }
        let others = view.replicas.iter().map(|replica| replica.node);
        Self {
            followers: others.filter(|node| *node != me).collect(),
            maximal_isr,
            committed_isr: view.isr.len(),
            min_isr: view.min_isr,
            counts: view.counts,
        }
    }
}

/// What the lock-free cells say at one time.
#[derive(Clone, Copy, Debug)]
pub struct Marks<'a> {
    /// End of the leader's log.
    pub log_end: Offset,
    /// End of its synced prefix.
    pub durable_end: Offset,
    /// The high watermark of the current tenure.
    pub high_watermark: Offset,
    /// One sample a follower; followers without one are taken not to have moved.
    pub followers: &'a [Sample],
}

/// One follower at one time. `log_end` and `durable_end` are those of its cell.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The follower.
    pub node: NodeId,
    /// End of its log.
    pub log_end: Offset,
    /// End of its synced prefix.
    pub durable_end: Offset,
    /// End of what was sent to it; its `log_end` when nothing is under way.
    pub sent_end: Offset,
    /// When its link last brought anything. An idle follower is caught up as of then.
    pub heard_at: Option<Monotonic>,
    /// When the newest frame that it has echoed was sent.
    pub echo_sent_at: Option<Monotonic>,
    /// Bytes of its session are moving through the link, or wait for the throttle.
    pub busy: bool,
}

/// A change of the ISR for the controller to decide. It is idempotent by its partition epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// The version it changes.
    pub partition_epoch: PartitionEpoch,
    /// The proposed members, each in the uptime in which it was judged.
    pub new_isr: Vec<(NodeId, BrokerEpoch)>,
}

/// What became of a proposal.
///
/// [`Decision::Ineligible`] and [`Decision::NotAttempted`] vouch that neither this nor an earlier
/// copy of it was or will be applied: the copies are evaluated against versions of the metadata,
/// and whatever could turn the answer has made the older copies void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is committed, and the partition is at this version.
    Committed(PartitionEpoch),
    /// Some of the proposed members cannot be in an ISR now.
    Ineligible(Vec<NodeId>),
    /// It was not looked at.
    NotAttempted,
    /// The partition is at another version: its metadata is on the way here.
    StaleVersion,
    /// Another leader, epoch or partition: metadata is on the way here.
    Superseded,
    /// No answer, or one that says nothing: it may have been applied.
    Unknown,
}

/// Until when no other leader can act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Granted by the in-sync followers until then, which may be past.
    Until(Monotonic),
    /// There is no follower to grant it: the heartbeat with the controller decides.
    Controller,
    /// Granted until then by those in sync, and only while the controller hears this node: below
    /// min ISR a member of the ELR may be elected, who grants nothing.
    Both(Monotonic),
}

/// Why a follower is to leave the ISR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveWhy {
    /// It lacks what was there long ago.
    Lag,
    /// It alone held back what enough others had.
    CommitStall,
    /// Its disk is full or failed.
    Disk,
    /// It attached without records that it had acknowledged.
    LostLog,
    /// It is not registered any more.
    Gone,
}

/// What a leader wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderAction {
    /// Begin a tenure by this rule. `fresh` followers get new cells that count for nothing until
    /// their session is confirmed; older handles on their cells are dead.
    SetRule {
        /// Who counts.
        rule: Rule,
        /// Whose cells are new.
        fresh: Vec<NodeId>,
    },
    /// Read the cells again and call `tick`, after all before this is done.
    Measure,
    /// Bring this before the controller and call `decided`. Replaces an unanswered one.
    Propose(Proposal),
    /// Forget the session; tell the follower that there is none ([`Refusal::Throttled`]).
    CloseSession {
        /// The follower.
        node: NodeId,
        /// The session.
        session: u64,
        /// Why.
        why: CloseWhy,
    },
    /// Tell the follower to start afresh, in its session.
    ResetFollower {
        /// The follower.
        node: NodeId,
        /// The session.
        session: u64,
        /// Where it begins.
        start: Offset,
    },
    /// Check the batch at this offset of the leader's own log: a follower refused it twice.
    Scrub {
        /// The batch's base offset.
        at: Offset,
    },
    /// Until when this leader may answer what no older leader may.
    Lease(Lease),
    /// For the flight recorder.
    Event(LeaderEvent),
}

/// What happened, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaderEvent {
    /// A follower got a session.
    Attached {
        /// The follower.
        node: NodeId,
        /// Where it was told to cut its log.
        truncate_to: Option<Offset>,
    },
    /// A follower was told to start afresh.
    Reset {
        /// The follower.
        node: NodeId,
        /// Where.
        start: Offset,
    },
    /// A follower got none.
    Refused {
        /// The follower.
        node: NodeId,
        /// Why.
        why: Refusal,
    },
    /// The watchdog closed a session.
    Stalled {
        /// The follower.
        node: NodeId,
        /// Where it stands.
        at: Offset,
        /// How often in a row.
        times: u32,
    },
    /// A follower counts, to see whether it can join.
    Joining {
        /// The follower.
        node: NodeId,
    },
    /// It could not catch the high watermark in time.
    JoinGivenUp {
        /// The follower.
        node: NodeId,
    },
    /// A follower is to leave.
    Leaving {
        /// The follower.
        node: NodeId,
        /// Why.
        why: LeaveWhy,
    },
    /// A proposal was answered.
    Decided(Decision),
}

impl fmt::Display for LeaderEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attached {
                node,
                truncate_to: None,
            } => write!(f, "replica {node} attached"),
            Self::Attached {
                node,
                truncate_to: Some(to),
            } => {
                write!(f, "replica {node} attached, truncates to {to}")
            }
            Self::Reset { node, start } => write!(f, "replica {node} starts afresh at {start}"),
            Self::Refused { node, why } => write!(f, "replica {node} refused: {why}"),
            Self::Stalled { node, at, times } => {
                write!(
                    f,
                    "replica {node} does not move from {at}, {times} times in a row"
                )
            }
            Self::Joining { node } => write!(f, "replica {node} is about to join"),
            Self::JoinGivenUp { node } => write!(f, "replica {node} did not catch up in time"),
            Self::Leaving { node, why } => write!(f, "replica {node} is to leave: {why}"),
            Self::Decided(decision) => write!(f, "the change of the ISR: {decision}"),
        }
    }
}

impl fmt::Display for LeaveWhy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lag => "it lacks what was there long ago",
            Self::CommitStall => "it alone holds back what enough others have",
            Self::Disk => "its disk is full or failed",
            Self::LostLog => "it came back without what it had acknowledged",
            Self::Gone => "it is not registered any more",
        })
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Committed(version) => write!(f, "committed as version {}", version.0),
            Self::Ineligible(nodes) => {
                f.write_str("refused, as these cannot be in it now:")?;
                nodes.iter().try_for_each(|node| write!(f, " {node}"))
            }
            Self::NotAttempted => f.write_str("not looked at"),
            Self::StaleVersion => f.write_str("made at another version"),
            Self::Superseded => f.write_str("of a term that is over"),
            Self::Unknown => f.write_str("not answered, so it may have been made"),
        }
    }
}
