//! All replicas of one node: their roles, their sessions, and what they want from the outside.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, RwLock};
use plimsoll_health::Disk;
use plimsoll_types::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionKey};
use plimsoll_watermark::Signal;

use crate::config::Config;
use crate::counters::{Counters, count};
use crate::events::FlightEvent;
use crate::frame::Purpose;
use crate::leader::IsrProposal;
use crate::losses::Losses;
use crate::pause::Pauses;
use crate::recorder::Recorder;
use crate::replica::{PeerInfo, Replica, Role, State, View};
use crate::session::{Clock, FollowShared};
use crate::status::{Cause, Report};
use crate::store::Store;
use crate::work::{Work, WorkKind};

/// The replicas of one node. Shared; every method takes `&self` or an `Arc` of it.
pub struct Replicas {
    me: NodeId,
    config: Config,
    pub(crate) counters: Counters,
    replicas: RwLock<BTreeMap<PartitionKey, Arc<Replica>>>,
    peers: ArcSwap<BTreeMap<NodeId, PeerInfo>>,
    follow_links: Mutex<BTreeMap<(NodeId, Purpose), Arc<FollowShared>>>,
    /// How many replicas want each link.
    wanted: Mutex<BTreeMap<(NodeId, Purpose), usize>>,
    wanted_bell: Signal,
    proposals: Mutex<BTreeMap<PartitionKey, IsrProposal>>,
    proposals_bell: Signal,
    work: Mutex<VecDeque<Work>>,
    work_bell: Signal,
    reports: Mutex<VecDeque<Report>>,
    reports_bell: Signal,
    next_id: AtomicU64,
    pub(crate) last_check: Clock,
    pub(crate) recorder: Mutex<Option<Recorder>>,
    /// When each leader was last granted a lease; outlives links.
    grants: Mutex<BTreeMap<NodeId, Grants>>,
    /// This node's disk as a whole.
    disk: Mutex<Disk>,
    pub(crate) losses: Losses,
    pub(crate) pauses: Pauses,
}

/// What this node granted to the processes that ran as one node.
#[derive(Default)]
struct Grants {
    /// When last.
    latest: Arc<Clock>,
    /// What was granted until then was granted to processes that have ended.
    ended: Monotonic,
}

/// Reports that nobody takes are dropped beyond this, the oldest first.
const MAX_REPORTS: usize = 1024;

impl Replicas {
    /// The replicas of `me`; none yet.
    #[must_use]
    pub fn new(me: NodeId, config: Config) -> Arc<Self> {
        Arc::new(Self {
            me,
            config,
            counters: Counters::default(),
            replicas: RwLock::default(),
            peers: ArcSwap::default(),
            follow_links: Mutex::default(),
            wanted: Mutex::default(),
            wanted_bell: Signal::new(),
            proposals: Mutex::default(),
            proposals_bell: Signal::new(),
            work: Mutex::default(),
            work_bell: Signal::new(),
            reports: Mutex::default(),
            reports_bell: Signal::new(),
            next_id: AtomicU64::new(1),
            last_check: Clock::default(),
            recorder: Mutex::default(),
            grants: Mutex::default(),
            disk: Mutex::new(Disk::Healthy),
            losses: Losses::default(),
            pauses: Pauses::default(),
        })
    }

    /// This node.
    #[must_use]
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// Clocks and bounds.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The nodes as the metadata has them. Set before the views that go with them are applied.
    pub fn set_peers(&self, peers: Vec<PeerInfo>) {
        let peers = peers.into_iter().map(|peer| (peer.node, peer)).collect();
        self.peers.store(Arc::new(peers));
    }

    pub(crate) fn peer(&self, node: NodeId) -> Option<PeerInfo> {
        self.peers.load().get(&node).cloned()
    }

    pub(crate) fn my_epoch(&self) -> BrokerEpoch {
        let me = self.peer(self.me);
        me.map_or(BrokerEpoch::default(), |me| me.broker_epoch)
    }

    pub(crate) fn next_id(&self) -> u64 {
        // Relaxed: only uniqueness matters.
        self.next_id.fetch_add(1, Relaxed)
    }

    pub(crate) fn replica(&self, key: PartitionKey) -> Option<Arc<Replica>> {
        self.replicas.read().get(&key).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Replica>> {
        self.replicas.read().values().cloned().collect()
    }

    /// Takes up what the metadata says about a partition that is hosted here. Blocks on the disk
    /// when the role or the term changes. A view that is older than the last one does nothing.
    pub fn apply(&self, store: &Arc<dyn Store>, view: &View, now: Monotonic) {
        let replica = self.ensure(store, view);
        let structure = replica.structure.lock();
        if view.partition_epoch >= replica.state.lock().view.partition_epoch {
            self.take_role(&replica, view, now);
        }
        drop(structure);
    }

    /// The store had failed and was opened again, with a log that may be shorter: every session of
    /// before is void. A leader whose term goes on leads on; any other role is taken up anew. Blocks
    /// on the disk.
    pub fn reopened(&self, key: PartitionKey, now: Monotonic) {
        let Some(replica) = self.replica(key) else {
            return;
        };
        let structure = replica.structure.lock();
        let view = {
            let mut state = replica.state.lock();
            state.cause = None;
            replica.note(now, "opened again".into());
            if self.leads_on(&replica, &mut state, now) {
                return;
            }
            self.give_up(&replica, &mut state, None, now);
            state.view.clone()
        };
        self.take_role(&replica, &view, now);
        drop(structure);
    }

    /// What lies on this node's disk for a partition is not to be believed from `from` on, as a
    /// scrubber or a recovery found: the controller is told, and once nobody may elect this replica
    /// for what it has it begins anew.
    pub fn damaged(&self, key: PartitionKey, from: Offset, now: Monotonic) {
        if let Some(replica) = self.replica(key) {
            self.found_damage(&replica, from, now);
        }
    }

    /// How this node's disk does as a whole. While it is full, replicas that it stopped do not
    /// attach; they do at once when it is not.
    pub fn set_disk(&self, disk: Disk, now: Monotonic) {
        let before = std::mem::replace(&mut *self.disk.lock(), disk);
        if matches!(before, Disk::Full { .. }) && !self.disk_is_full() {
            for replica in self.all() {
                self.relink(&replica, &mut replica.state.lock(), now);
            }
        }
    }

    pub(crate) fn disk(&self) -> Disk {
        self.disk.lock().clone()
    }

    pub(crate) fn disk_is_full(&self) -> bool {
        matches!(*self.disk.lock(), Disk::Full { .. })
    }

    fn ensure(&self, store: &Arc<dyn Store>, view: &View) -> Arc<Replica> {
        let same = |replica: &Arc<Replica>| {
            std::ptr::addr_eq(Arc::as_ptr(&replica.store), Arc::as_ptr(store))
        };
        if let Some(known) = self.replica(view.key) {
            if same(&known) {
                return known;
            }
            // The same replica in another store: what became of its log is remembered.
            self.discard(view.key);
        }
        let replica = Replica::new(view.clone(), Arc::clone(store), self.config.events);
        let mut replicas = self.replicas.write();
        Arc::clone(replicas.entry(view.key).or_insert(replica))
    }

    /// Forgets a replica: it is not hosted here any more, or its store was closed.
    pub fn remove(&self, key: PartitionKey) {
        self.losses.forget(key);
        self.discard(key);
    }

    fn discard(&self, key: PartitionKey) {
        let Some(replica) = self.replicas.write().remove(&key) else {
            return;
        };
        let mut state = replica.state.lock();
        self.give_up(&replica, &mut state, None, Monotonic::default());
        self.set_wanted(&mut state, None);
        state.removed = true;
    }

    /// The clock of what this node grants to `leader`.
    pub(crate) fn grants_to(&self, leader: NodeId) -> Arc<Clock> {
        Arc::clone(&self.grants.lock().entry(leader).or_default().latest)
    }

    /// When this node last granted something to the process that runs as `leader`.
    pub(crate) fn granted(&self, leader: NodeId) -> Option<Monotonic> {
        let grants = self.grants.lock();
        let grants = grants.get(&leader)?;
        grants.latest.get().filter(|at| *at > grants.ended)
    }

    /// The process that ran as `node` at the time `before` has ended: it does not count any more
    /// on what it was granted until then, so that whoever is to lead in its place need not wait
    /// for that to run out.
    pub fn ended(&self, node: NodeId, before: Monotonic) {
        let mut grants = self.grants.lock();
        let known = grants.entry(node).or_default();
        known.ended = known.ended.max(before);
        drop(grants);
        for replica in self.all() {
            let mut state = replica.state.lock();
            state.promises.ended(node, before);
            self.lead_if_free(&replica, &mut state, before);
        }
    }

    pub(crate) fn link_opened(&self, link: &Arc<FollowShared>, now: Monotonic) {
        let place = (link.leader, link.purpose);
        self.follow_links.lock().insert(place, Arc::clone(link));
        for replica in self.all() {
            let mut state = replica.state.lock();
            if state.wanted == Some(place) {
                self.relink(&replica, &mut state, now);
            }
        }
    }

    /// The link is gone: whoever asked or was fed on it waits for another.
    pub(crate) fn link_closed(&self, link: &Arc<FollowShared>, now: Monotonic) {
        let place = (link.leader, link.purpose);
        let mut links = self.follow_links.lock();
        if links.get(&place).is_some_and(|known| known.id == link.id) {
            links.remove(&place);
        }
        drop(links);
        while link.wants.pop().is_some() {}
        for replica in self.all() {
            let mut state = replica.state.lock();
            let Role::Follower(following) = &mut state.role else {
                continue;
            };
            if following.carrier != Some(link.id) {
                continue;
            }
            (following.carrier, following.queued) = (None, false);
            self.follow_with(&replica, &mut state, now, |machine, _| {
                machine.link_down(now);
            });
            if state.cause.is_none() {
                state.cause = Some(Cause::Unreachable);
            }
            self.relink(&replica, &mut state, now);
        }
    }

    /// The link for a purpose, if it is open.
    pub(crate) fn follow_link_of(&self, place: (NodeId, Purpose)) -> Option<Arc<FollowShared>> {
        let link = self.follow_links.lock().get(&place).cloned();
        link.filter(|link| !link.end.is_closed())
    }

    pub(crate) fn has_link(&self, place: (NodeId, Purpose)) -> bool {
        self.follow_link_of(place).is_some()
    }

    pub(crate) fn set_wanted(&self, state: &mut State, to: Option<(NodeId, Purpose)>) {
        if state.wanted == to {
            return;
        }
        let mut wanted = self.wanted.lock();
        if let Some(before) = std::mem::replace(&mut state.wanted, to)
            && let Some(users) = wanted.get_mut(&before)
        {
            *users -= 1;
            if *users == 0 {
                wanted.remove(&before);
            }
        }
        if let Some(to) = to {
            *wanted.entry(to).or_insert(0) += 1;
        }
        drop(wanted);
        self.wanted_bell.notify();
    }

    /// The links that followers here need: to whom, and for what.
    #[must_use]
    pub fn wanted_links(&self) -> Vec<(NodeId, Purpose)> {
        self.wanted.lock().keys().copied().collect()
    }

    /// Completes when [`Replicas::wanted_links`] may be another. For one task.
    pub async fn wanted_changed(&self) {
        self.wanted_bell.notified().await;
    }

    /// The next proposals, at most one a partition. For one task.
    pub async fn proposals(&self) -> Vec<IsrProposal> {
        poll_fn(|cx| self.poll_proposals(cx)).await
    }

    /// As [`Replicas::proposals`], for a future written by hand.
    pub fn poll_proposals(&self, cx: &mut Context<'_>) -> Poll<Vec<IsrProposal>> {
        poll_taken(&self.proposals_bell, cx, || {
            let taken = std::mem::take(&mut *self.proposals.lock());
            (!taken.is_empty()).then(|| taken.into_values().collect())
        })
    }

    pub(crate) fn propose(&self, proposal: IsrProposal) {
        count(&self.counters.proposals);
        self.proposals.lock().insert(proposal.key, proposal);
        self.proposals_bell.notify();
    }

    pub(crate) fn unpropose(&self, proposal: &IsrProposal) {
        let mut waiting = self.proposals.lock();
        if waiting.get(&proposal.key) == Some(proposal) {
            waiting.remove(&proposal.key);
        }
    }

    /// The next piece of work that blocks, if there is one.
    #[must_use]
    pub fn take_work(&self) -> Option<Work> {
        self.work.lock().pop_front()
    }

    /// Completes with a piece of work to run on a thread that may block. For one task.
    pub async fn work(&self) -> Work {
        poll_fn(|cx| poll_taken(&self.work_bell, cx, || self.take_work())).await
    }

    pub(crate) fn push_work(
        &self,
        replica: &Arc<Replica>,
        leader_epoch: LeaderEpoch,
        ticket: Option<u64>,
        kind: WorkKind,
    ) {
        self.work.lock().push_back(Work {
            replica: Arc::clone(replica),
            leader_epoch,
            ticket,
            kind,
        });
        self.work_bell.notify();
    }

    /// What the broker must tell the controller or a person. For one task.
    pub async fn reports(&self) -> Vec<Report> {
        poll_fn(|cx| {
            poll_taken(&self.reports_bell, cx, || {
                let taken = self.take_reports();
                (!taken.is_empty()).then_some(taken)
            })
        })
        .await
    }

    /// The reports there are.
    #[must_use]
    pub fn take_reports(&self) -> Vec<Report> {
        self.reports.lock().drain(..).collect()
    }

    pub(crate) fn report(&self, report: Report) {
        let mut reports = self.reports.lock();
        if !reports.contains(&report) {
            if reports.len() >= MAX_REPORTS {
                reports.pop_front();
            }
            reports.push_back(report);
        }
        drop(reports);
        self.reports_bell.notify();
    }

    /// What happened to a partition's replica here since then, oldest first.
    #[must_use]
    pub fn history(&self, key: PartitionKey, since: Monotonic) -> Vec<FlightEvent> {
        let replica = self.replica(key);
        replica.map_or_else(Vec::new, |replica| replica.events.since(since))
    }
}

/// Takes what is there, or leaves the waker and looks once more.
fn poll_taken<T>(
    bell: &Signal,
    cx: &mut Context<'_>,
    mut take: impl FnMut() -> Option<T>,
) -> Poll<T> {
    loop {
        if let Some(taken) = take() {
            return Poll::Ready(taken);
        }
        if bell.poll_notified(cx).is_pending() {
            return Poll::Pending;
        }
    }
}
