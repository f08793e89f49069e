//! One replica as the replicator keeps it: its store, its role and who is rung when it moves.
//!
//! `structure` is held while a role is taken up or a log is cut, and may be held for long; `state`
//! is held for moments, and never while a disk is waited for. Locks are taken in that order.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Release;
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use plimsoll_partition::{IsrRule, Tap};
use plimsoll_types::{
    BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionEpoch, PartitionKey,
};

use crate::frame::{Purpose, Refused, RefusedReason, StreamFrame};
use crate::isr::Isr;
use crate::session::{Intake, Session};
use crate::status::Cause;
use crate::store::Store;

/// One partition's metadata, as far as replication needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    /// The partition.
    pub key: PartitionKey,
    /// Who leads.
    pub leader: Option<NodeId>,
    /// In which term.
    pub leader_epoch: LeaderEpoch,
    /// The version of all this.
    pub partition_epoch: PartitionEpoch,
    /// Who is assigned, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// The committed ISR.
    pub isr: Vec<NodeId>,
    /// Out of the ISR, and complete: they count while the high watermark may move.
    pub elr: Vec<NodeId>,
    /// The least ISR for acks=all.
    pub min_isr: usize,
    /// The last term that began by an unclean election.
    pub unclean_epoch: Option<LeaderEpoch>,
}

/// A node, as the metadata has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerInfo {
    /// The node.
    pub node: NodeId,
    /// Where its peers reach it.
    pub address: String,
    /// Its current uptime.
    pub broker_epoch: BrokerEpoch,
    /// Whether it is fenced.
    pub fenced: bool,
    /// Whether it is about to leave: it joins no ISR.
    pub draining: bool,
}

/// Something that happened to a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightEvent {
    /// When.
    pub at: Monotonic,
    /// In which term.
    pub leader_epoch: LeaderEpoch,
    /// The high watermark then.
    pub high_watermark: Offset,
    /// The log end then.
    pub log_end: Offset,
    /// What.
    pub what: String,
}

pub(crate) struct Replica {
    pub(crate) key: PartitionKey,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) structure: Mutex<()>,
    pub(crate) state: Mutex<State>,
    listeners: ArcSwap<Listeners>,
    /// It stands in a link's queue of those who want to attach.
    pub(crate) kicked: AtomicBool,
    events: Mutex<Events>,
    max_events: usize,
    /// The tap, and what takes it away again.
    tap: OnceLock<(Arc<dyn Tap>, Box<dyn Any + Send + Sync>)>,
}

/// The last events; those not written to a file yet are the newest ones.
#[derive(Default)]
struct Events {
    ring: VecDeque<FlightEvent>,
    unwritten: usize,
}

impl Events {
    fn unwritten(&self) -> Vec<FlightEvent> {
        let skip = self.ring.len().saturating_sub(self.unwritten);
        self.ring.iter().skip(skip).cloned().collect()
    }
}

#[derive(Default)]
struct Listeners {
    leading: Vec<Arc<Session>>,
    following: Option<Arc<Intake>>,
}

pub(crate) struct State {
    pub(crate) view: View,
    pub(crate) role: Role,
    pub(crate) wanted: Option<(NodeId, Purpose)>,
    pub(crate) removed: bool,
    /// The role could not be taken up; when to try again.
    pub(crate) retry_role: Option<Monotonic>,
    /// What it granted as a follower runs until then; it does not lead before.
    pub(crate) not_before: Option<Monotonic>,
    pub(crate) cause: Option<Cause>,
    /// A reset kept the old files beside the new ones.
    pub(crate) aside: bool,
    /// Its log is damaged or differs: once it is out of the ISR it begins anew.
    pub(crate) rebuild: bool,
    pub(crate) verified: Verified,
}

/// How far this replica was compared with its leader.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verified {
    pub(crate) end: Option<Offset>,
    pub(crate) at: Option<Monotonic>,
}

pub(crate) enum Role {
    Idle,
    Leader(Box<Leading>),
    Follower(Following),
}

pub(crate) struct Leading {
    pub(crate) leader_epoch: LeaderEpoch,
    /// When the term began.
    pub(crate) began: Monotonic,
    /// Where the term began.
    pub(crate) leso: Offset,
    pub(crate) isr: Isr,
    pub(crate) sessions: BTreeMap<NodeId, Arc<Session>>,
    pub(crate) records: BTreeMap<NodeId, Record>,
}

/// What the leader remembers of a follower beyond its sessions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Record {
    /// Stalls in a row.
    pub(crate) strikes: u32,
    /// Damaged runs in a row.
    pub(crate) damaged: u32,
    /// Its disk failed or is full, or it lost records; until it attaches anew.
    pub(crate) faulted: bool,
    pub(crate) cause: Option<Cause>,
    /// When it last had a session.
    pub(crate) seen: Option<Monotonic>,
}

pub(crate) struct Following {
    pub(crate) leader: Option<NodeId>,
    pub(crate) leader_epoch: LeaderEpoch,
    pub(crate) phase: Phase,
    pub(crate) tries: u32,
    pub(crate) intake: Option<Arc<Intake>>,
    /// What the log held was kept aside in this term already.
    pub(crate) quarantined: bool,
    /// When it last had a session.
    pub(crate) seen: Option<Monotonic>,
}

/// Every phase but `Working` ends by a clock, and that one ends with its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Detached { attach_at: Monotonic },
    Attaching { since: Monotonic, link: u64 },
    Working,
    Following { since: Monotonic },
}

impl Replica {
    pub(crate) fn new(view: View, store: Arc<dyn Store>, max_events: usize) -> Arc<Self> {
        let replica = Arc::new(Self {
            key: view.key,
            store,
            structure: Mutex::new(()),
            state: Mutex::new(State {
                view,
                role: Role::Idle,
                wanted: None,
                removed: false,
                retry_role: None,
                not_before: None,
                cause: None,
                aside: false,
                rebuild: false,
                verified: Verified::default(),
            }),
            listeners: ArcSwap::default(),
            kicked: AtomicBool::new(false),
            events: Mutex::default(),
            max_events,
            tap: OnceLock::new(),
        });
        let tap: Arc<dyn Tap> = Arc::new(ReplicaTap(Arc::downgrade(&replica)));
        let guard = replica.store.tap(&tap);
        let _ = replica.tap.set((tap, guard));
        replica
    }

    /// Something moved: whoever sends or acknowledges looks. Takes no lock.
    pub(crate) fn ring(&self) {
        let listeners = self.listeners.load();
        for session in &listeners.leading {
            session.ring();
        }
        if let Some(intake) = &listeners.following {
            intake.ring();
        }
    }

    /// Publishes whom to ring, after the role or the sessions changed.
    pub(crate) fn listen(&self, state: &State) {
        let listeners = match &state.role {
            Role::Idle => Listeners::default(),
            Role::Leader(leading) => Listeners {
                leading: leading.sessions.values().cloned().collect(),
                following: None,
            },
            Role::Follower(following) => Listeners {
                leading: Vec::new(),
                following: following.intake.clone(),
            },
        };
        self.listeners.store(Arc::new(listeners));
    }

    pub(crate) fn note(&self, now: Monotonic, what: String) {
        let marks = self.store.watermarks().snapshot();
        let mut events = self.events.lock();
        while events.ring.len() >= self.max_events {
            events.ring.pop_front();
        }
        events.unwritten += 1;
        events.ring.push_back(FlightEvent {
            at: now,
            leader_epoch: marks.leader_epoch,
            high_watermark: marks.high_watermark,
            log_end: marks.log_end,
            what,
        });
    }

    /// The events that were not taken yet, as far as they are still there.
    pub(crate) fn take_unwritten(&self) -> Vec<FlightEvent> {
        let mut events = self.events.lock();
        let unwritten = events.unwritten();
        events.unwritten = 0;
        unwritten
    }

    /// The same, and they stay untaken.
    pub(crate) fn unwritten(&self) -> Vec<FlightEvent> {
        self.events.lock().unwritten()
    }

    pub(crate) fn events(&self, since: Monotonic) -> Vec<FlightEvent> {
        let events = self.events.lock();
        events
            .ring
            .iter()
            .filter(|event| event.at >= since)
            .cloned()
            .collect()
    }

    /// Ends the session of `node`, if it has one, and tells the follower why.
    pub(crate) fn close_session(
        &self,
        state: &mut State,
        node: NodeId,
        tell: Option<RefusedReason>,
    ) {
        let Role::Leader(leading) = &mut state.role else {
            return;
        };
        let Some(session) = leading.sessions.remove(&node) else {
            return;
        };
        // Release: who sees the session closed sees what replaced it.
        session.closed.store(true, Release);
        if let Some(reason) = tell {
            session.link.say(StreamFrame::Refused(Refused {
                key: self.key,
                leader_epoch: session.leader_epoch,
                reason,
            }));
        }
        self.listen(state);
    }

    /// Ends every session, at either end.
    pub(crate) fn close_all(&self, state: &mut State, tell: RefusedReason) {
        if let Role::Leader(leading) = &state.role {
            let nodes: Vec<NodeId> = leading.sessions.keys().copied().collect();
            for node in nodes {
                self.close_session(state, node, Some(tell));
            }
        }
        if let Role::Follower(following) = &mut state.role {
            following.drop_intake();
        }
        self.listen(state);
    }

    /// The rule as `leading` has it now.
    pub(crate) fn rule(&self, me: NodeId, view: &View, isr: &Isr, fresh: Vec<NodeId>) -> IsrRule {
        let mut maximal_isr = isr.maximal();
        let may_move = isr.committed().len() >= view.min_isr;
        // R4: whoever may be elected without loss counts whenever the high watermark may move.
        let complete = view.elr.iter().filter(|_| may_move);
        for node in complete.chain([&me]) {
            if !maximal_isr.contains(node) {
                maximal_isr.push(*node);
            }
        }
        let mut followers = view.replicas.clone();
        followers.extend(
            maximal_isr
                .iter()
                .filter(|node| !view.replicas.contains(node)),
        );
        followers.retain(|node| *node != me);
        IsrRule {
            followers,
            committed_isr: isr.committed().len().max(1),
            maximal_isr,
            min_isr: view.min_isr.max(1),
            fresh,
        }
    }
}

impl Following {
    pub(crate) fn drop_intake(&mut self) {
        if let Some(intake) = self.intake.take() {
            // Release: as in `close_session`.
            intake.closed.store(true, Release);
        }
    }

    /// Goes back to where it attaches, no sooner than at `attach_at`.
    pub(crate) fn detach(&mut self, attach_at: Monotonic) {
        self.drop_intake();
        self.phase = Phase::Detached { attach_at };
    }
}

struct ReplicaTap(Weak<Replica>);

impl Tap for ReplicaTap {
    fn moved(&self) {
        if let Some(replica) = self.0.upgrade() {
            replica.ring();
        }
    }
}
