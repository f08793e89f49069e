//! One replica as the replicator keeps it: its store, its role and who is rung when it moves.
//!
//! `structure` is held while a role is taken up or a log is cut, and may be held for long; `state`
//! is held for moments, and never while a disk is waited for. Locks are taken in that order.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use plimsoll_partition::Tap;
use plimsoll_replication::{Follower, FollowerState, Leader};
use plimsoll_types::{
    BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionEpoch, PartitionKey,
};

use crate::events::Events;
use crate::frame::Purpose;
use crate::promises::Promises;
use crate::quiet::Quiet;
use crate::session::{Intake, OnLink, Session};
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
    /// Whether it is given no leaderships.
    pub draining: bool,
    /// Whether it is about to stop: it joins no ISR.
    pub stopping: bool,
}

pub(crate) struct Replica {
    pub(crate) key: PartitionKey,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) structure: Mutex<()>,
    pub(crate) state: Mutex<State>,
    listeners: ArcSwap<Listeners>,
    pub(crate) quiet: Quiet,
    pub(crate) events: Events,
    /// The tap, and what takes it away again.
    tap: OnceLock<(Arc<dyn Tap>, Box<dyn Any + Send + Sync>)>,
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
    /// What it granted as a follower; it does not lead while any of that runs.
    pub(crate) promises: Promises,
    /// Why it is not as it should be, as far as was found out here.
    pub(crate) cause: Option<Cause>,
    /// A reset kept the old files beside the new ones.
    pub(crate) aside: bool,
    /// Its log is damaged or differs: it begins anew once nobody may elect it for what it has.
    pub(crate) damaged: bool,
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
    Follower(Box<Following>),
}

pub(crate) struct Leading {
    pub(crate) machine: Leader,
    /// When the term began.
    pub(crate) began: Monotonic,
    pub(crate) sessions: BTreeMap<NodeId, Arc<Session>>,
    pub(crate) told: BTreeMap<NodeId, Told>,
}

/// What a follower said last, for people.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) cause: Option<Cause>,
    /// When it last had a session.
    pub(crate) seen: Option<Monotonic>,
}

pub(crate) struct Following {
    pub(crate) machine: Follower,
    pub(crate) intake: Option<Arc<Intake>>,
    /// The last session there was: what it granted may be counted on still.
    pub(crate) last_session: u64,
    /// The link that it asked on last, by its number.
    pub(crate) carrier: Option<u64>,
    /// It stands in that link's queue.
    pub(crate) queued: bool,
    /// The work that is under way for it. It does not attach meanwhile: where it stands is what
    /// comes out.
    pub(crate) work: Option<u64>,
    /// Attempts that failed in a row.
    pub(crate) tries: u32,
    /// When it last had a session.
    pub(crate) seen: Monotonic,
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
                promises: Promises::default(),
                cause: None,
                aside: false,
                damaged: false,
                verified: Verified::default(),
            }),
            listeners: ArcSwap::default(),
            quiet: Quiet::default(),
            events: Events::new(max_events),
            tap: OnceLock::new(),
        });
        let tap: Arc<dyn Tap> = Arc::new(ReplicaTap(Arc::downgrade(&replica)));
        let guard = replica.store.tap(&tap);
        let _ = replica.tap.set((tap, guard));
        replica
    }

    /// Something moved: whoever sends or acknowledges looks. Takes no lock.
    pub(crate) fn ring(&self) {
        self.quiet.stir();
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
        self.quiet.stir();
    }

    pub(crate) fn note(&self, now: Monotonic, what: String) {
        self.events
            .note(&self.store.watermarks().snapshot(), now, what);
    }
}

impl Following {
    /// Nothing is taken and acknowledged in its session any more; whether there was one.
    pub(crate) fn drop_intake(&mut self) -> bool {
        let intake = self.intake.take();
        if let Some(intake) = &intake {
            intake.close();
            // Its link forgets it.
            intake.ring();
        }
        intake.is_some()
    }

    /// When it acts next by itself, if it waits for that.
    pub(crate) fn next_attempt(&self) -> Option<Monotonic> {
        match self.machine.state() {
            FollowerState::Pausing { until }
            | FollowerState::Attaching { until }
            | FollowerState::Withdrawn { until }
            | FollowerState::Suspect { until } => Some(until),
            FollowerState::Waiting
            | FollowerState::Working { .. }
            | FollowerState::Rebuilding { .. }
            | FollowerState::Streaming { .. } => None,
        }
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
