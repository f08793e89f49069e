//! What a replica is at a time: leader, follower, or neither.
//!
//! A change of role is made as the log's one writer and begins a new course of the watermarks, so
//! that nothing that was under way counts for the new role. Not here: who decides it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plimsoll_segment_log::{AppendError as LogAppendError, LogWriter};
use plimsoll_types::{LeaderEpoch, NodeId, Offset};

use crate::Partition;
use crate::append::Writer;
use crate::config::Durability;
use crate::lease::Lease;
use crate::shared::{Following, describe};

/// What a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Nothing yet: it serves nobody and copies nobody.
    Idle,
    /// It takes appends, in this epoch only.
    Leader {
        /// Its term.
        leader_epoch: LeaderEpoch,
        /// Where its log ended when the term began. Until the high watermark is there, what
        /// earlier terms committed is not known.
        leso: Offset,
    },
    /// It copies the leader's log.
    Follower {
        /// The leader's term.
        leader_epoch: LeaderEpoch,
        /// Whom it copies; `None` while nobody leads.
        leader: Option<NodeId>,
    },
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Idle => f.write_str("idle"),
            Self::Leader { leader_epoch, leso } => {
                write!(f, "leader in epoch {leader_epoch} from {leso}")
            }
            Self::Follower {
                leader_epoch,
                leader: Some(leader),
            } => write!(f, "follower of node {leader} in epoch {leader_epoch}"),
            Self::Follower {
                leader_epoch,
                leader: None,
            } => write!(f, "follower without a leader in epoch {leader_epoch}"),
        }
    }
}

/// Who holds back a leader's high watermark.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IsrRule {
    /// All other replicas, in sync or not.
    pub followers: Vec<NodeId>,
    /// Committed and proposed in-sync replicas. The leader counts whether it is named or not.
    pub maximal_isr: Vec<NodeId>,
    /// How many replicas the committed ISR has, the leader among them.
    pub committed_isr: usize,
    /// With fewer than this the high watermark stands still.
    pub min_isr: usize,
    /// Followers that attached anew: they count from zero until their next ack, and the
    /// [`Position`](plimsoll_watermark::Position) of before counts for nothing.
    pub fresh: Vec<NodeId>,
}

impl IsrRule {
    /// The rule of a leader that is its own only replica.
    #[must_use]
    pub fn alone() -> Self {
        Self {
            committed_isr: 1,
            min_isr: 1,
            ..Self::default()
        }
    }

    /// With `local` where it belongs, and every member tracked.
    fn completed(mut self, local: NodeId) -> Self {
        self.followers.retain(|node| *node != local);
        self.maximal_isr.retain(|node| *node != local);
        for node in &self.maximal_isr {
            if !self.followers.contains(node) {
                self.followers.push(*node);
            }
        }
        self.maximal_isr.insert(0, local);
        self
    }
}

/// What a leader begins with.
#[derive(Clone, Debug)]
pub struct LeaderTerm {
    /// Its term, later than any this replica led in before.
    pub leader_epoch: LeaderEpoch,
    /// Who counts.
    pub rule: IsrRule,
}

/// Why a replica's role is what it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoleError {
    /// A later epoch is known, or this replica led in that epoch already and no longer does.
    #[error("leader epoch {got} is over, {current} rules")]
    StaleEpoch {
        /// The epoch that rules here.
        current: LeaderEpoch,
        /// The epoch asked for.
        got: LeaderEpoch,
    },
    /// Only a leader has such a rule.
    #[error("the replica is {role}")]
    NotLeader {
        /// What it is.
        role: Role,
    },
    /// The machine has no space, descriptor or memory to make the epoch durable. It may later.
    #[error("{why}")]
    Refused {
        /// What is short.
        why: Arc<str>,
    },
    /// The replica is offline after a storage error.
    #[error("the replica is offline: {why}")]
    Offline {
        /// The error that took it offline.
        why: Arc<str>,
    },
}

impl Partition {
    /// What it is now.
    #[must_use]
    pub fn role(&self) -> Arc<Role> {
        self.shared().role.load_full()
    }

    /// Begins to lead: the epoch is durable before this returns (unless the log is wholly empty, or
    /// it is its own only replica: then with the first batch), and so is the log where durability
    /// asks for it. Returns the log end at which the term began. Leading in that epoch already,
    /// only the rule changes. Blocks on the disk.
    ///
    /// # Errors
    /// See [`RoleError`]; the role is as it was.
    pub fn become_leader(&self, term: LeaderTerm) -> Result<Offset, RoleError> {
        let shared = self.shared();
        let epoch = term.leader_epoch;
        self.with_writer(|writer| {
            if let Role::Leader { leader_epoch, leso } = **shared.role.load()
                && leader_epoch == epoch
            {
                change_rule(writer, term.rule)?;
                return Ok(leso);
            }
            let current = shared.leader_epoch();
            if epoch < current || writer.led == Some(epoch) {
                return Err(RoleError::StaleEpoch {
                    current,
                    got: epoch,
                });
            }
            let rule = term.rule.completed(shared.node);
            let log = usable(writer)?;
            begin_epoch(log, epoch, &rule).map_err(|error| refused(writer, error))?;
            let parts = shared.parts.load_full();
            if shared.config.load().durability == Durability::Fsync
                && parts.reader.durable_end() < parts.reader.log_end()
            {
                parts.sync.sync().map_err(|error| RoleError::Offline {
                    why: shared.fail(&error),
                })?;
            }
            let leso = parts.reader.log_end();
            writer.led = Some(epoch);
            shared.set_lease(Lease::NONE);
            let role = Role::Leader {
                leader_epoch: epoch,
                leso,
            };
            shared.following.store(None);
            shared.begin_course(Some(epoch), Offset::MAX, || {
                shared.rule.store(Arc::new(rule));
                shared.role.store(Arc::new(role));
            });
            Ok(leso)
        })
    }

    /// Another rule for the term that this replica leads: the ISR, min ISR or replicas changed, or
    /// a follower attached anew.
    ///
    /// # Errors
    /// See [`RoleError`]; the rule is as it was.
    pub fn set_rule(&self, rule: IsrRule) -> Result<(), RoleError> {
        self.with_writer(|writer| change_rule(writer, rule))
    }

    /// Begins to follow `leader`, or to wait until somebody leads. Changes nothing in the log.
    ///
    /// # Errors
    /// See [`RoleError`]; the role is as it was.
    pub fn become_follower(
        &self,
        leader_epoch: LeaderEpoch,
        leader: Option<NodeId>,
    ) -> Result<(), RoleError> {
        let role = Role::Follower {
            leader_epoch,
            leader,
        };
        self.give_up(leader_epoch, role)
    }

    /// Stops leading or following, as of `leader_epoch`.
    ///
    /// # Errors
    /// See [`RoleError`]; the role is as it was.
    pub fn become_idle(&self, leader_epoch: LeaderEpoch) -> Result<(), RoleError> {
        self.give_up(leader_epoch, Role::Idle)
    }

    fn give_up(&self, epoch: LeaderEpoch, role: Role) -> Result<(), RoleError> {
        let shared = self.shared();
        self.with_writer(|_| {
            let current = shared.leader_epoch();
            if **shared.role.load() == role && epoch == current {
                return Ok(());
            }
            if epoch < current {
                return Err(RoleError::StaleEpoch {
                    current,
                    got: epoch,
                });
            }
            shared.set_lease(Lease::NONE);
            shared.begin_course(Some(epoch), Offset::MAX, || {
                shared.role.store(Arc::new(role));
            });
            shared.follow(role);
            Ok(())
        })
    }

    /// Whether it leads and knows all that earlier terms committed: its high watermark has reached
    /// the log end at which its term began.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let shared = self.shared();
        // The role first: within a term the high watermark only grows.
        match **shared.role.load() {
            Role::Leader { leader_epoch, leso } => {
                let marks = shared.watermarks.snapshot();
                marks.leader_epoch == leader_epoch && marks.high_watermark >= leso
            }
            Role::Idle | Role::Follower { .. } => false,
        }
    }

    /// Until when nobody else can lead. A change of role takes it back.
    #[must_use]
    pub fn lease(&self) -> Lease {
        Lease::of_word(self.shared().lease.load(Ordering::Acquire))
    }

    /// Nobody else can lead but by the end of `lease`.
    pub fn set_lease(&self, lease: Lease) {
        self.shared().set_lease(lease);
    }
}

/// The log, if it takes writes.
fn usable(writer: &mut Writer) -> Result<&mut LogWriter, RoleError> {
    if let Some(why) = writer.shared.offline() {
        return Err(RoleError::Offline { why });
    }
    writer.log.as_mut().ok_or_else(|| RoleError::Offline {
        why: "the partition is closed".into(),
    })
}

/// Makes the epoch durable, if anybody else will compare logs by it.
fn begin_epoch(
    log: &mut LogWriter,
    epoch: LeaderEpoch,
    rule: &IsrRule,
) -> Result<(), LogAppendError> {
    if let Some(latest) = log.epochs().latest()
        && latest > epoch
    {
        return Err(LogAppendError::StaleEpoch { latest, got: epoch });
    }
    if rule.followers.is_empty() {
        return Ok(());
    }
    log.assign_epoch(epoch)
}

fn refused(writer: &Writer, error: LogAppendError) -> RoleError {
    match error {
        LogAppendError::Poisoned(poisoned) => RoleError::Offline {
            why: writer.shared.fail(&poisoned),
        },
        LogAppendError::StaleEpoch { latest, got } => RoleError::StaleEpoch {
            current: latest,
            got,
        },
        other => RoleError::Refused {
            why: describe(&other).into(),
        },
    }
}

fn change_rule(writer: &mut Writer, rule: IsrRule) -> Result<(), RoleError> {
    let shared = Arc::clone(&writer.shared);
    let role = **shared.role.load();
    let Role::Leader { leader_epoch, .. } = role else {
        return Err(RoleError::NotLeader { role });
    };
    let mut rule = rule.completed(shared.node);
    let log = usable(writer)?;
    begin_epoch(log, leader_epoch, &rule).map_err(|error| refused(writer, error))?;
    let fresh = std::mem::take(&mut rule.fresh);
    shared.watermarks.begin(|sealed| {
        shared.rule.store(Arc::new(rule));
        let mut tenure = shared.tenure(sealed);
        tenure.fresh = fresh;
        tenure
    });
    shared.taps.ring();
    Ok(())
}

impl Following {
    /// Whom `role` follows.
    pub(crate) fn of(role: Role) -> Option<(LeaderEpoch, NodeId)> {
        match role {
            Role::Follower {
                leader_epoch,
                leader,
            } => Some((leader_epoch, leader?)),
            Role::Idle | Role::Leader { .. } => None,
        }
    }
}
