//! The metadata quorum, as an ideal of one: what is committed, who leads, who knows of it.
//!
//! The Raft library has tests of its own in `quorum`; here only what it promises is kept, and no
//! more: entries are committed by a leader that reaches most members, in one order, for ever; a
//! leader that is cut off believes in itself until it hears of the next one, and what it takes
//! comes to nothing, or is committed by its successor after all; nobody is told of either.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use plimsoll_broker::MetadataLog;
use plimsoll_quorum::raft::{Event, QuorumError, Role, Status};
use plimsoll_quorum::{Entry, Room, Snapshot, SnapshotError, Stopped};
use plimsoll_types::NodeId;

use crate::kernel::Kernel;
use crate::net::{Net, Slot, Way, await_reply, fill, slot};

/// Between two heartbeats of the leader.
const BEAT: Duration = Duration::from_millis(20);
/// How long a member waits for a leader at least before it would be one.
const LEAST_ELECTION: Duration = Duration::from_millis(300);
/// And at most.
const MOST_ELECTION: Duration = Duration::from_millis(700);
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(2);
/// How far behind a member is when it is given a snapshot in place of entries.
const FAR_BEHIND: usize = 60;

/// See the module.
pub(crate) struct Quorum {
    net: Arc<Net>,
    state: Mutex<State>,
}

struct State {
    term: u64,
    leader: Option<u32>,
    /// What is committed; the first entry's index is 1.
    log: Vec<Bytes>,
    /// What the leader took and has not committed.
    pending: VecDeque<Pending>,
    members: BTreeMap<u32, Member>,
}

struct Pending {
    entry: Bytes,
    told: Slot<Result<u64, QuorumError>>,
    way: Way,
}

struct Member {
    life: u32,
    up: bool,
    /// How much of the log it has on its disk.
    durable: usize,
    /// How much of it its process was given.
    delivered: usize,
    unread: VecDeque<Event>,
    waker: Option<Waker>,
    snapshot: Option<Snapshot>,
    /// What it believes.
    term: u64,
    leader: Option<u32>,
    heard: Duration,
    patience: Duration,
    watching: Vec<Waker>,
}

impl Member {
    fn believe(&mut self, term: u64, leader: Option<u32>) {
        if (self.term, self.leader) != (term, leader) {
            (self.term, self.leader) = (term, leader);
            self.watching.drain(..).for_each(Waker::wake);
        }
    }

    fn give(&mut self, event: Event) {
        self.unread.push_back(event);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

fn id(node: u32) -> NodeId {
    NodeId::new(node).expect("nodes have ids")
}

impl Quorum {
    pub(crate) fn new(net: &Arc<Net>, nodes: u32) -> Arc<Self> {
        let member = || Member {
            life: 0,
            up: false,
            durable: 0,
            delivered: 0,
            unread: VecDeque::new(),
            waker: None,
            snapshot: None,
            term: 0,
            leader: None,
            heard: Duration::ZERO,
            patience: LEAST_ELECTION,
            watching: Vec::new(),
        };
        Arc::new(Self {
            net: Arc::clone(net),
            state: Mutex::new(State {
                term: 0,
                leader: None,
                log: Vec::new(),
                pending: VecDeque::new(),
                members: (1..=nodes).map(|node| (node, member())).collect(),
            }),
        })
    }

    /// A new process of a node takes part; what its directory has of the log is there.
    pub(crate) fn open(self: &Arc<Self>, node: u32, life: u32) -> (Arc<SimLog>, Option<Snapshot>) {
        let mut state = self.state.lock();
        let snapshot = state.members.get_mut(&node).and_then(|member| {
            member.life = life;
            member.up = true;
            member.unread.clear();
            member.waker = None;
            member.leader = None;
            member.heard = self.net.kernel.now();
            let index = member
                .snapshot
                .as_ref()
                .map_or(0, |snapshot| snapshot.index);
            member.delivered = usize::try_from(index).unwrap_or(0);
            member.snapshot.clone()
        });
        let log = SimLog {
            quorum: Arc::clone(self),
            node,
            life,
        };
        (Arc::new(log), snapshot)
    }

    /// A node's process is gone.
    pub(crate) fn close(&self, node: u32) {
        if let Some(member) = self.state.lock().members.get_mut(&node) {
            member.up = false;
        }
    }

    /// A node's directory is gone.
    pub(crate) fn wipe(&self, node: u32) {
        if let Some(member) = self.state.lock().members.get_mut(&node) {
            (member.durable, member.snapshot) = (0, None);
        }
    }

    /// Beats for ever.
    pub(crate) async fn run(self: Arc<Self>) {
        let kernel = Arc::clone(&self.net.kernel);
        loop {
            kernel.sleep(BEAT).await;
            self.beat(&kernel);
        }
    }

    /// Whether a member's process runs.
    fn runs(&self, member: u32) -> bool {
        let process = self.net.process(member);
        process.is_some_and(|process| !self.net.kernel.is_paused(process.owner))
    }

    fn beat(&self, kernel: &Kernel) {
        let now = kernel.now();
        let running: BTreeMap<u32, bool> = {
            let state = self.state.lock();
            let members: Vec<u32> = state.members.keys().copied().collect();
            drop(state);
            members
                .into_iter()
                .map(|node| (node, self.runs(node)))
                .collect()
        };
        let runs = |node: u32| running.get(&node).copied().unwrap_or(false);
        let talk = |a: u32, b: u32| a == b || (self.net.is_open(a, b) && self.net.is_open(b, a));
        let most = running.len() / 2 + 1;
        let mut state = self.state.lock();
        if let Some(leader) = state.leader.filter(|leader| runs(*leader)) {
            self.lead(&mut state, leader, now, kernel, &runs, &talk, most);
        }
        self.elect(&mut state, now, kernel, &runs, &talk, most);
    }

    fn lead(
        &self,
        state: &mut State,
        leader: u32,
        now: Duration,
        kernel: &Kernel,
        runs: &dyn Fn(u32) -> bool,
        talk: &dyn Fn(u32, u32) -> bool,
        most: usize,
    ) {
        let members: Vec<u32> = state.members.keys().copied().collect();
        let reached = |node: &&u32| runs(**node) && talk(leader, **node);
        let has_most = members.iter().filter(reached).count() >= most;
        if has_most {
            while let Some(pending) = state.pending.pop_front() {
                state.log.push(pending.entry);
                let index = state.log.len() as u64;
                let told = pending.told;
                self.net.send(pending.way, move || fill(&told, Ok(index)));
            }
        }
        let (term, end) = (state.term, state.log.len());
        let snapshot = state
            .members
            .get(&leader)
            .and_then(|member| member.snapshot.clone());
        for node in members {
            let heard = node == leader || (runs(node) && self.net.is_open(leader, node));
            let State { log, members, .. } = state;
            let Some(member) = members.get_mut(&node).filter(|_| heard) else {
                continue;
            };
            member.heard = now;
            member.patience = kernel.between(LEAST_ELECTION, MOST_ELECTION);
            member.believe(term, Some(leader));
            if !talk(leader, node) || (node == leader && !has_most) {
                continue;
            }
            member.durable = end;
            if let Some(snapshot) = &snapshot
                && usize::try_from(snapshot.index).unwrap_or(0) > member.delivered + FAR_BEHIND
            {
                member.delivered = usize::try_from(snapshot.index).unwrap_or(0);
                member.unread.clear();
                member.give(Event::Snapshot(snapshot.clone()));
            }
            for (at, entry) in log.iter().enumerate().skip(member.delivered) {
                let (index, bytes) = (at as u64 + 1, entry.clone());
                member.give(Event::Entry(Entry { index, bytes }));
            }
            member.delivered = end;
        }
        if !has_most && let Some(member) = state.members.get_mut(&leader) {
            // It is still its leader's role, but it knows that nobody follows.
            member.believe(term, None);
        }
    }

    fn elect(
        &self,
        state: &mut State,
        now: Duration,
        kernel: &Kernel,
        runs: &dyn Fn(u32) -> bool,
        talk: &dyn Fn(u32, u32) -> bool,
        most: usize,
    ) {
        let impatient = |member: &Member| now.saturating_sub(member.heard) > member.patience;
        let would = |node: u32, state: &State| {
            let member = state.members.get(&node);
            runs(node) && state.leader != Some(node) && member.is_some_and(impatient)
        };
        let members: Vec<u32> = state.members.keys().copied().collect();
        let mut candidates: Vec<u32> = members
            .iter()
            .copied()
            .filter(|n| would(*n, state))
            .collect();
        kernel.draw(|rng| rng.shuffle(&mut candidates));
        for candidate in candidates {
            let voters = members.iter().filter(|node| {
                let member = state.members.get(node);
                let idle = member.is_some_and(|m| now.saturating_sub(m.heard) > LEAST_ELECTION);
                let led = state.leader == Some(**node);
                runs(**node) && talk(candidate, **node) && (**node == candidate || (idle && !led))
            });
            let durable = |node: u32| state.members.get(&node).map_or(0, |member| member.durable);
            let voters: Vec<u32> = voters.copied().collect();
            let newest = voters
                .iter()
                .all(|node| durable(*node) <= durable(candidate));
            if voters.len() < most || !newest || durable(candidate) < state.log.len() {
                continue;
            }
            state.term += 1;
            state.leader = Some(candidate);
            // What the last leader had begun: a front of it may have reached the candidate.
            let reached = kernel.draw(|rng| rng.usize(..=state.pending.len()));
            let front: Vec<Pending> = state.pending.drain(..reached).collect();
            state
                .log
                .extend(front.into_iter().map(|pending| pending.entry));
            state.pending.clear();
            break;
        }
    }

    fn believed_leader(&self, node: u32) -> Option<u32> {
        self.state.lock().members.get(&node)?.leader
    }

    /// Asks the leader, as far as `node` knows it, for something.
    async fn ask(
        self: &Arc<Self>,
        node: u32,
        what: impl FnOnce(&Self, u32, Way, Slot<Result<u64, QuorumError>>) + Send + 'static,
    ) -> Result<u64, QuorumError> {
        let kernel = Arc::clone(&self.net.kernel);
        let mut leader = None;
        for _ in 0..10 {
            leader = self.believed_leader(node);
            if leader.is_some() {
                break;
            }
            kernel.sleep(BEAT * 2).await;
        }
        let leader = leader.ok_or(QuorumError::NoLeader)?;
        let slot = slot();
        let connection = self.net.connection();
        let way = |from, to| Way {
            from,
            to,
            connection,
        };
        let (back, told, quorum) = (way(leader, node), Arc::clone(&slot), Arc::clone(self));
        self.net
            .send(way(node, leader), move || what(&quorum, leader, back, told));
        let answer = await_reply(&kernel, &slot, ANSWER).await;
        self.net.forget(connection);
        let reason = || Arc::from("no answer in time");
        answer.unwrap_or_else(|| Err(QuorumError::Unknown { reason: reason() }))
    }
}

/// One process's part of the quorum.
pub(crate) struct SimLog {
    quorum: Arc<Quorum>,
    node: u32,
    life: u32,
}

impl SimLog {
    fn with<T>(&self, read: impl FnOnce(&mut Member) -> T) -> Option<T> {
        let mut state = self.quorum.state.lock();
        let member = state.members.get_mut(&self.node)?;
        (member.life == self.life).then(|| read(member))
    }
}

#[async_trait]
impl MetadataLog for SimLog {
    async fn propose(&self, entry: Bytes, _room: Room) -> Result<u64, QuorumError> {
        let propose = move |quorum: &Quorum, at: u32, way, told| {
            let mut state = quorum.state.lock();
            let believes = state.members.get(&at).and_then(|member| member.leader);
            if state.leader == Some(at) && quorum.net.process(at).is_some() {
                state.pending.push_back(Pending { entry, told, way });
            } else if believes != Some(at) {
                quorum
                    .net
                    .send(way, move || fill(&told, Err(QuorumError::NoLeader)));
            }
            // Else it is taken by one who leads no more, and nobody will ever hear of it.
        };
        self.quorum.ask(self.node, propose).await
    }

    async fn read_barrier(&self) -> Result<u64, QuorumError> {
        let look = move |quorum: &Quorum, at: u32, way: Way, told| {
            let nodes: Vec<u32> = quorum.state.lock().members.keys().copied().collect();
            let open = |node: &&u32| {
                let ways = quorum.net.is_open(at, **node) && quorum.net.is_open(**node, at);
                **node == at || (ways && quorum.runs(**node))
            };
            let has_most = nodes.iter().filter(open).count() > nodes.len() / 2;
            let state = quorum.state.lock();
            if state.leader == Some(at) && has_most {
                let index = state.log.len() as u64;
                drop(state);
                quorum.net.send(way, move || fill(&told, Ok(index)));
            } else {
                quorum
                    .net
                    .send(way, move || fill(&told, Err(QuorumError::NoLeader)));
            }
        };
        self.quorum.ask(self.node, look).await
    }

    async fn next(&self) -> Result<Event, Stopped> {
        poll_fn(|cx| {
            let next = self.with(|member| {
                let event = member.unread.pop_front();
                if event.is_none() {
                    member.waker = Some(cx.waker().clone());
                }
                event
            });
            match next {
                Some(Some(event)) => Poll::Ready(Ok(event)),
                Some(None) | None => Poll::Pending,
            }
        })
        .await
    }

    fn status(&self) -> Status {
        let state = self.quorum.state.lock();
        let member = state.members.get(&self.node);
        let term = member.map_or(0, |member| member.term);
        let leads = state.leader == Some(self.node) && state.term == term;
        let leads = leads || member.is_some_and(|member| member.leader == Some(self.node));
        let voters = state.members.keys();
        Status {
            me: id(self.node),
            role: if leads { Role::Leader } else { Role::Follower },
            leader: member.and_then(|member| member.leader).map(id),
            term,
            last_index: member.map_or(0, |member| member.durable as u64),
            committed_index: member.map_or(0, |member| member.delivered as u64),
            voters: voters.map(|node| (id(*node), node.to_string())).collect(),
            learners: BTreeMap::new(),
            progress: Vec::new(),
        }
    }

    async fn leadership(
        &self,
        known: (Option<NodeId>, u64),
    ) -> Result<(Option<NodeId>, u64), Stopped> {
        poll_fn(|cx| {
            let now = self.with(|member| {
                let now = (member.leader.map(id), member.term);
                if now == known {
                    member.watching.push(cx.waker().clone());
                }
                now
            });
            match now {
                Some(now) if now != known => Poll::Ready(Ok(now)),
                Some(_) | None => Poll::Pending,
            }
        })
        .await
    }

    fn stopped(&self) -> Option<Stopped> {
        None
    }

    fn wants_snapshot(&self) -> bool {
        let grown = self.with(|member| {
            let kept = member
                .snapshot
                .as_ref()
                .map_or(0, |snapshot| snapshot.index);
            member.delivered as u64 - kept.min(member.delivered as u64)
        });
        grown.unwrap_or(0) > 40
    }

    fn install_snapshot(&self, snapshot: &Snapshot) -> Result<(), SnapshotError> {
        self.with(|member| member.snapshot = Some(snapshot.clone()));
        Ok(())
    }

    async fn handle(&self, _request: Bytes) -> Bytes {
        Bytes::new()
    }

    fn suspect(&self, node: NodeId) {
        self.with(|member| {
            if member.leader == Some(node.get()) {
                member.patience = LEAST_ELECTION;
            }
        });
    }

    async fn promote(&self, _node: NodeId) -> Result<(), QuorumError> {
        Ok(())
    }

    async fn remove(&self, _node: NodeId) -> Result<(), QuorumError> {
        Ok(())
    }

    fn shutdown(&self) {}
}
