//! The quorum's thread: what all of its tasks share, and the loop that takes commands.

use super::campaign::Watchfulness;
use super::codec::Types;
use super::face::{Owner, Quorum, QuorumError};
use super::rpc::{Call, Change, Reply, Request};
use super::serve::Incoming;
use super::storage::{Applied, Machine};
use super::store::Store;
use super::stream::{Committed, Stream};
use super::{Opened, Options, Role, Start, Status, Target, Timing, Transport, TransportError};
use super::{rpc, start, to_node};
use crate::{Limits, OpenError, Recovery, Room, Snapshot, Stopped};
use bytes::Bytes;
use openraft::Raft;
use parking_lot::Mutex;
use plimsoll_types::NodeId;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

/// Requests that wait to be looked at.
const MAX_COMMANDS: usize = 4096;
/// Requests that are being worked on, of this node's callers and as many of other nodes.
const MAX_RUNNING: usize = 4096;

pub(crate) type Consensus = Raft<Types, Machine>;
type Sender<T> = oneshot::Sender<Result<T, QuorumError>>;

pub(crate) enum Command {
    Propose {
        entry: Bytes,
        room: Room,
        charge: Charge,
        reply: Sender<u64>,
    },
    Barrier {
        reply: Sender<u64>,
    },
    Change {
        change: Change,
        reply: Sender<()>,
    },
    Handle {
        request: Bytes,
        reply: oneshot::Sender<Bytes>,
    },
    /// There is a new snapshot.
    Kept,
    /// A node's process is gone.
    Suspect(u64),
}

impl Command {
    /// Answers that too many others are being worked on.
    fn refuse(self) {
        let busy = QuorumError::Busy;
        // Who does not wait for the answer loses nothing.
        match self {
            Self::Propose { reply, .. } | Self::Barrier { reply } => drop(reply.send(Err(busy))),
            Self::Change { reply, .. } => drop(reply.send(Err(busy))),
            Self::Handle { reply, .. } => drop(reply.send(Reply::Failed(busy).encode())),
            Self::Kept | Self::Suspect(_) => {}
        }
    }
}

/// Bytes of a proposal that count against the bound while it is on its way.
pub(crate) struct Charge(pub(crate) Arc<Shared>, pub(crate) usize);

impl Drop for Charge {
    fn drop(&mut self) {
        self.0.queued_bytes.fetch_sub(self.1, Ordering::Relaxed);
    }
}

/// What the tasks and the face share.
pub(crate) struct Shared {
    pub(crate) me: u64,
    pub(crate) limits: Limits,
    pub(crate) timing: Timing,
    pub(crate) transport: Arc<dyn Transport>,
    /// Addresses that take the place of those in the log.
    pub(crate) book: BTreeMap<u64, String>,
    pub(crate) store: Arc<Store>,
    pub(crate) stream: Arc<Stream>,
    pub(crate) applied: Arc<Applied>,
    pub(crate) raft: OnceLock<Consensus>,
    pub(crate) status: watch::Sender<Status>,
    /// Who leads and in which term; told only when it changes, as many wait for it.
    pub(crate) led: watch::Sender<(Option<NodeId>, u64)>,
    pub(crate) commands: mpsc::Sender<Command>,
    pub(crate) queued_bytes: AtomicUsize,
    pub(crate) incoming: Mutex<Option<Incoming>>,
    pub(crate) watchfulness: Watchfulness,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Shared");
        out.field("me", &self.me).finish_non_exhaustive()
    }
}

impl Shared {
    /// One request to another node. The answer is of a kind that the caller must check.
    pub(crate) async fn call(
        &self,
        target: Target,
        to: Option<u64>,
        request: Request,
        timeout: Duration,
    ) -> Result<Reply, TransportError> {
        let from = self.me;
        let bytes = Call { from, to, request }.encode();
        let lost = |why: &str| TransportError::Lost(why.to_owned());
        let answer = self.transport.call(target, bytes, timeout);
        let answer = tokio::time::timeout(timeout, answer).await;
        let answer = answer.map_err(|_| lost("no answer in time"))??;
        Reply::decode(answer).ok_or_else(|| lost("it is not understood"))
    }

    pub(crate) fn address_of(&self, node: u64, known: &str) -> String {
        self.book
            .get(&node)
            .map_or(known, String::as_str)
            .to_owned()
    }

    /// Takes no part any more.
    pub(crate) fn stop(&self, reason: &str) {
        self.stream.stop(reason.into());
    }

    pub(crate) fn stopped_error(&self) -> QuorumError {
        let stopped = self.stream.stopped();
        let reason = || Stopped {
            reason: "its thread ended".into(),
        };
        stopped.unwrap_or_else(reason).into()
    }

    /// The leader and its address, if one is known.
    pub(crate) fn leader(&self) -> Option<(u64, String)> {
        let status = self.status.borrow();
        let leader = status.leader?;
        let listed = status
            .voters
            .get(&leader)
            .or_else(|| status.learners.get(&leader));
        let id = u64::from(leader.get());
        Some((id, self.address_of(id, listed?)))
    }
}

pub(crate) fn start(
    store: Store,
    recovery: Recovery,
    options: Options,
) -> Result<Opened, OpenError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .map_err(OpenError::Thread)?;
    let kept = store.snapshot();
    let snapshot = kept.map(|kept| Snapshot {
        index: kept.index(),
        bytes: kept.bytes,
    });
    let last = snapshot.as_ref().map_or(0, |snapshot| snapshot.index);
    let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
    let applied = Arc::new(Applied::new(&store));
    let shared = Arc::new(Shared {
        me: u64::from(options.me.get()),
        limits: options.limits,
        timing: options.timing,
        transport: options.transport,
        book: book(&options.start),
        store: Arc::new(store),
        stream: Arc::new(Stream::new(last, options.limits.max_queued_bytes)),
        applied,
        raft: OnceLock::new(),
        status: watch::Sender::new(nothing_yet(options.me)),
        led: watch::Sender::new((None, 0)),
        commands,
        queued_bytes: AtomicUsize::new(0),
        incoming: Mutex::new(None),
        watchfulness: Watchfulness::default(),
    });
    let closing = watch::Sender::new(false);
    let told = closing.subscribe();
    let thread = std::thread::Builder::new()
        .name("quorum".to_owned())
        .spawn({
            let shared = Arc::clone(&shared);
            move || {
                let _stop = StopOnEnd(Arc::clone(&shared));
                runtime.block_on(run(Arc::clone(&shared), receiver, told, options.start));
                drop(runtime);
                shared.store.close();
            }
        });
    let thread = Mutex::new(Some(thread.map_err(OpenError::Thread)?));
    Ok(Opened {
        committed: Committed(Arc::clone(&shared.stream)),
        quorum: Quorum {
            shared,
            owner: Arc::new(Owner { closing, thread }),
        },
        snapshot,
        recovery,
    })
}

fn book(start: &Start) -> BTreeMap<u64, String> {
    match start {
        Start::Voters { voters, .. } => voters
            .iter()
            .map(|(id, address)| (u64::from(id.get()), address.clone()))
            .collect(),
        Start::Join { .. } => BTreeMap::new(),
    }
}

const fn nothing_yet(me: NodeId) -> Status {
    Status {
        me,
        role: Role::Learner,
        leader: None,
        term: 0,
        last_index: 0,
        committed_index: 0,
        voters: BTreeMap::new(),
        learners: BTreeMap::new(),
        progress: Vec::new(),
    }
}

/// Tells those who wait when the thread ends, whatever ends it.
struct StopOnEnd(Arc<Shared>);

impl Drop for StopOnEnd {
    fn drop(&mut self) {
        self.0.stop("it was shut down");
    }
}

async fn run(
    shared: Arc<Shared>,
    mut commands: mpsc::Receiver<Command>,
    mut closing: watch::Receiver<bool>,
    start: Start,
) {
    tokio::spawn(start::run(Arc::clone(&shared), start));
    let own = Arc::new(Semaphore::new(MAX_RUNNING));
    let others = Arc::new(Semaphore::new(MAX_RUNNING));
    loop {
        let command = tokio::select! {
            biased;
            _ = closing.wait_for(|closing| *closing) => break,
            command = commands.recv() => command,
        };
        let Some(command) = command else { break };
        // Never waits: what is behind may be the vote that all of them wait for.
        let places = match &command {
            Command::Handle { request, .. } if !rpc::waits(request) => None,
            Command::Handle { .. } => Some(&others),
            Command::Kept | Command::Suspect(_) => None,
            _ => Some(&own),
        };
        let permit = places.map(|places| Arc::clone(places).try_acquire_owned());
        let Ok(permit) = permit.transpose() else {
            command.refuse();
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            shared.execute(command).await;
            drop(permit);
        });
    }
    shared.stop("it was shut down");
    if let Some(raft) = shared.raft.get() {
        // It ends with the runtime if it does not end by itself.
        drop(tokio::time::timeout(shared.timing.election_max, raft.shutdown()).await);
    }
}

/// A status from what the library says.
pub(crate) fn status_of(shared: &Shared, metrics: &openraft::RaftMetrics<Types>) -> Option<Status> {
    use openraft::{Instant, ServerState};
    let members = metrics.membership_config.membership();
    let named = |id: u64| {
        let address = members.get_node(&id).map_or("", |node| &node.addr);
        Some((to_node(id)?, shared.address_of(id, address)))
    };
    let patience = shared.timing.election_max * 2;
    let silence = metrics.last_quorum_acked.map(|at| at.elapsed());
    let alone = members.voter_ids().count() > 1
        && metrics.state == ServerState::Leader
        && silence.is_some_and(|silence| silence > patience);
    let mut progress = Vec::new();
    if let Some(matched) = &metrics.replication {
        for (id, log_id) in matched {
            let contact = metrics.heartbeat.as_ref().and_then(|h| h.get(id)?.as_ref());
            let age = contact.map(|at| at.elapsed());
            let matched = log_id.as_ref().map_or(0, |id| id.index);
            progress.push((to_node(*id)?, matched, age));
        }
    }
    Some(Status {
        me: to_node(shared.me)?,
        role: match metrics.state {
            ServerState::Leader => Role::Leader,
            ServerState::Follower => Role::Follower,
            ServerState::Candidate => Role::Candidate,
            ServerState::Learner | ServerState::Shutdown => Role::Learner,
        },
        leader: metrics.current_leader.and_then(to_node).filter(|_| !alone),
        term: metrics.current_term,
        last_index: metrics.last_log_index.unwrap_or(0),
        committed_index: metrics.local_committed.map_or(0, |id| id.index),
        voters: members.voter_ids().filter_map(named).collect(),
        learners: members.learner_ids().filter_map(named).collect(),
        progress,
    })
}
