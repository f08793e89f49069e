//! Making the hosted partitions what the metadata image says.
//!
//! Each new image is compared with what is hosted: the [`Catalog`] takes the new shape at once (who
//! leads what, what is here and what is elsewhere), and the replicas that must be opened, removed
//! or configured are [marked](queue) for the threads that do so. Only replicas that are assigned to
//! this node are opened; one that is assigned to others is removed once that is committed.

mod device;
mod drive;
mod heal;
mod losses;
mod queue;
mod replica;
mod role;
mod roster;
mod scrub;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use parking_lot::Mutex;
use plimsoll_controller::config;
use plimsoll_controller::{Changes, Image, NodeDefaults, Topic, TopicChange};
use plimsoll_partition::{PartitionConfig, describe};
use plimsoll_record_batch::DecodeLimits;
use plimsoll_replicator::{PeerInfo, Replicas};
use plimsoll_segment_log::disk::Disk;
use plimsoll_segment_log::{DataDir, FlushPool, Identity, LogHost};
use plimsoll_types::{NodeId, Offset, PartitionKey};
use plimsoll_watermark::Signal;

use crate::catalog::{Catalog, Hosted, HostedTopic, Leadership, Place, TopicPolicy};
use crate::clock::Clock;
pub use device::Device;
pub(crate) use device::WatchedDisk;
pub(crate) use heal::{Healing, Shortened};
pub(crate) use losses::Losses;
use queue::Key;
pub(crate) use queue::Queue;
pub(crate) use roster::Roster;
pub use scrub::ScrubRound;
pub(crate) use scrub::Scrubbing;

/// What it takes to host partitions.
pub(crate) struct Host {
    pub(crate) node: NodeId,
    pub(crate) logs: LogHost,
    /// The file system, as the machine gives it.
    pub(crate) disk: Arc<dyn Disk>,
    /// What is known of it.
    pub(crate) device: Arc<Device>,
    /// The node's, which unlocks it last.
    pub(crate) data: Weak<DataDir>,
    pub(crate) defaults: NodeDefaults,
    pub(crate) flushers: Arc<FlushPool>,
    pub(crate) decode: DecodeLimits,
    pub(crate) producer_id_expiration: std::time::Duration,
    pub(crate) catalog: Catalog,
    /// Rung when a replica was opened.
    pub(crate) bell: Arc<Signal>,
    pub(crate) queue: Queue,
    pub(crate) clock: Arc<dyn Clock>,
    /// Gives replicas their roles and keeps them in step, where there are other nodes.
    pub(crate) replicas: Arc<Replicas>,
    pub(crate) in_cluster: bool,
    pub(crate) shape: Mutex<Shape>,
    /// Rounds of [`Host::reopen_offline`].
    pub(crate) rounds: AtomicU64,
    pub(crate) losses: Mutex<Losses>,
    /// How often the directory of a replica was found to be unusable.
    pub(crate) unusable: Mutex<BTreeMap<PartitionKey, u32>>,
    /// The logs there are, as the file of them says; read before anything is opened.
    pub(crate) roster: Mutex<Roster>,
    pub(crate) healing: Mutex<Healing>,
    pub(crate) shortened: Mutex<Shortened>,
    pub(crate) scrubbing: Mutex<Scrubbing>,
    /// Replicas that came back after a storage error, and were not counted yet.
    pub(crate) reopened: AtomicU64,
}

/// What the catalog follows. Its lock is held while the catalog takes another shape, never across
/// work on a disk.
#[derive(Default)]
pub(crate) struct Shape {
    /// The image that it has the shape of; `None` until the logs were opened.
    image: Option<Arc<Image>>,
    /// Replicas to be removed with their files.
    doomed: HashMap<Key, Hosted>,
}

/// How far the recovery of the logs is; read while it runs.
#[derive(Debug, Default)]
pub struct RecoveryProgress {
    /// Partitions to open.
    pub total: AtomicUsize,
    /// Partitions opened, or found that they cannot be.
    pub done: AtomicUsize,
    /// Those that cannot be.
    pub failed: AtomicUsize,
}

impl Host {
    /// Opens every replica that `newest` gives to this node, `threads` at a time, also those of
    /// one topic. From then on images are followed: by as many threads where the node is alone,
    /// else by [`Broker::run_hosting`](crate::Broker::run_hosting).
    pub(crate) fn recover(
        self: &Arc<Self>,
        newest: impl Fn() -> Arc<Image>,
        threads: usize,
        progress: &RecoveryProgress,
    ) {
        let first = newest();
        self.meet(&first);
        self.open_all(&first, threads, progress);
        let mut shape = self.shape.lock();
        let image = newest();
        self.reshape(&mut shape, &image, &image.changes_since(&first));
        drop(shape);
        if self.in_cluster {
            // See `Broker::run_hosting`.
            return;
        }
        for number in 0..threads.max(1) {
            let host = Arc::clone(self);
            let work = move || {
                while let Some(key) = host.queue.take() {
                    host.reconcile(key);
                    host.queue.done(key);
                }
            };
            let thread = std::thread::Builder::new().name(format!("hosting-{number}"));
            if let Err(error) = thread.spawn(work) {
                tracing::error!(event = "no_hosting_thread", %error);
            }
        }
    }

    fn open_all(&self, image: &Image, threads: usize, progress: &RecoveryProgress) {
        let opening: Vec<Opening<'_>> = image
            .topics()
            .map(|topic| {
                let policy = self.policy(image, topic);
                let config = self.partition_config(&policy);
                let partitions = topic.partitions.iter().map(|_| OnceLock::new()).collect();
                Opening {
                    topic,
                    policy,
                    config,
                    partitions,
                }
            })
            .collect();
        let each = |opening| {
            let Opening { topic, .. }: &Opening<'_> = opening;
            let here = |index: &usize| places(topic, self.node, *index) == Place::Here;
            (0..topic.partitions.len())
                .filter(here)
                .map(move |index| (opening, index))
        };
        let total = opening.iter().flat_map(each).count();
        progress.total.store(total, Ordering::Relaxed);
        {
            let work = Mutex::new(opening.iter().flat_map(each));
            std::thread::scope(|scope| {
                for _ in 0..threads.max(1) {
                    scope.spawn(|| {
                        loop {
                            let Some((opening, index)) = work.lock().next() else {
                                return;
                            };
                            opening.open(self, image, index, progress);
                        }
                    });
                }
            });
        }
        for opening in opening {
            self.catalog.put(opening.opened(self.node));
        }
    }

    /// Follows the metadata from one image to the next. Does not wait for a disk: see
    /// [`Host::settled`].
    pub(crate) fn follow(&self, image: &Arc<Image>, changes: &Changes) {
        let mut shape = self.shape.lock();
        if changes.nodes_changed {
            self.meet(image);
        }
        if shape.image.is_some() {
            self.reshape(&mut shape, image, changes);
        }
    }

    /// Tells the replicas of the nodes; before they are told of a role that goes with them.
    pub(crate) fn meet(&self, image: &Image) {
        let peer = |node: &plimsoll_controller::Node| PeerInfo {
            node: node.id,
            address: node.peer.clone(),
            broker_epoch: node.broker_epoch,
            fenced: node.fenced,
            draining: node.is_draining(),
            stopping: node.drain.stopping,
        };
        self.replicas.set_peers(image.nodes().map(peer).collect());
    }

    /// Waits until what the image of this version asked for is done, or found that it cannot be.
    pub(crate) async fn settled(&self, version: u64) {
        std::future::poll_fn(|cx| self.queue.poll_settled(version, cx)).await;
    }

    /// Ends the following of images, and waits for what is under way.
    pub(crate) fn stop(&self) {
        self.queue.stop();
    }

    fn reshape(&self, shape: &mut Shape, image: &Arc<Image>, changes: &Changes) {
        shape.image = Some(Arc::clone(image));
        let mut marks = Vec::new();
        for change in &changes.topics {
            match change {
                TopicChange::Created(topic) | TopicChange::Changed { after: topic, .. } => {
                    self.reshape_topic(shape, image, topic, &mut marks);
                }
                TopicChange::Deleted(topic) => self.drop_topic(shape, topic, &mut marks),
            }
        }
        if changes.nodes_changed && self.in_cluster {
            // A replica's uptime is part of what its leader goes by.
            for topic in self.catalog.topics() {
                let here = (0..).zip(0_u32..).take(topic.partitions.len());
                let here = here.filter(|(at, _)| topic.place(*at) == Place::Here);
                marks.extend(here.map(|(_, index)| (topic.id, index)));
            }
        }
        if changes.node_configs_changed {
            for topic in image.topics() {
                self.reshape_topic(shape, image, topic, &mut marks);
            }
        }
        self.queue.mark(marks, image.version());
    }

    fn reshape_topic(&self, shape: &mut Shape, image: &Image, topic: &Topic, marks: &mut Vec<Key>) {
        let before = self.catalog.topic_by_id(topic.id);
        let policy = self.policy(image, topic);
        let same_policy = before
            .as_ref()
            .is_some_and(|before| *before.policy == policy);
        let leaders = leaders(topic);
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        let mut placed = Vec::with_capacity(topic.partitions.len());
        for (at, index) in (0..topic.partitions.len()).zip(0_u32..) {
            let key = (topic.id, index);
            let there = before.as_ref().and_then(|before| {
                let hosted = before.partitions.get(at)?.clone();
                Some((hosted, before.place(at))).filter(|(_, place)| *place != Place::Elsewhere)
            });
            let (hosted, place) = match (places(topic, self.node, at), there) {
                (Place::Elsewhere, None) => (elsewhere(), Place::Elsewhere),
                (Place::Elsewhere, Some((hosted, _))) => {
                    shape.doomed.insert(key, hosted);
                    marks.push(key);
                    (elsewhere(), Place::Elsewhere)
                }
                (_, Some(there)) => {
                    let led = before.as_ref().and_then(|before| before.leaders.get(at));
                    if !same_policy || led != leaders.get(at) {
                        marks.push(key);
                    }
                    there
                }
                (_, None) => {
                    marks.push(key);
                    let hosted = Hosted::Offline("the replica is being opened".into());
                    (hosted, Place::Opening)
                }
            };
            partitions.push(hosted);
            placed.push(place);
        }
        self.catalog.put(HostedTopic {
            name: topic.name.clone(),
            id: topic.id,
            partitions,
            places: placed,
            leaders,
            policy: Arc::new(policy),
        });
    }

    fn drop_topic(&self, shape: &mut Shape, topic: &Topic, marks: &mut Vec<Key>) {
        let Some(hosted) = self.catalog.take(topic.id) else {
            return;
        };
        for ((at, index), partition) in (0..).zip(0_u32..).zip(&hosted.partitions) {
            if hosted.place(at) != Place::Elsewhere {
                shape.doomed.insert((topic.id, index), partition.clone());
                marks.push((topic.id, index));
            }
        }
        tracing::info!(event = "topic_removed", topic = %topic.name, id = %topic.id);
    }

    /// Tries again to open what could not be opened: what failed then (no descriptors, no memory,
    /// no space) may have passed.
    pub(crate) fn reopen_offline(&self) {
        let mut marks = Vec::new();
        for topic in self.catalog.topics() {
            for ((at, index), hosted) in (0..).zip(0_u32..).zip(&topic.partitions) {
                if matches!(hosted, Hosted::Offline(_)) && topic.place(at) == Place::Here {
                    marks.push((topic.id, index));
                }
            }
        }
        if marks.is_empty() {
            return;
        }
        // No image has such a version.
        let token = u64::MAX - 1 - self.rounds.fetch_add(1, Ordering::Relaxed);
        self.queue.mark(marks, token);
        if !self.in_cluster {
            self.queue.settle(token);
        }
    }

    /// Looks how much room there is. Blocks on the machine.
    pub(crate) fn look_for_room(&self, data: &Path) {
        self.device.look(&*self.disk, data);
    }

    /// Writes down which logs there are, if that is another set than before. Blocks on the disk.
    ///
    /// Not while they are being opened: what is gone would be taken for what never was.
    pub(crate) fn note_logs(&self) {
        if self.shape.lock().image.is_none() {
            return;
        }
        let Some(data) = self.data.upgrade() else {
            return;
        };
        let mut known = self.roster.lock();
        let losses = self.losses.lock();
        let mut now = Roster::default();
        for topic in self.catalog.topics() {
            for ((at, index), hosted) in (0..).zip(0_u32..).zip(&topic.partitions) {
                let key = PartitionKey {
                    topic: topic.id,
                    index,
                };
                let is_there = match hosted {
                    Hosted::Online(partition) => {
                        // Who starts again before its loss is told must find it once more.
                        partition.reader().has_files() || known.has(key) && losses.is_untold(key)
                    }
                    Hosted::Offline(_) => topic.place(at) != Place::Elsewhere && known.has(key),
                };
                if is_there {
                    now.add(key);
                }
            }
        }
        drop(losses);
        if now == *known {
            return;
        }
        match now.write(&*self.disk, data.path()) {
            Ok(()) => *known = now,
            Err(error) => tracing::warn!(event = "roster_not_written", %error),
        }
    }

    /// Replicas whose log was found damaged or gone, and that nobody was told of yet.
    pub(crate) fn lost(&self) -> Vec<(PartitionKey, Offset)> {
        self.losses.lock().untold()
    }

    /// The controller knows of these: they copy what they lack.
    pub(crate) fn forget_lost(&self, told: &[(PartitionKey, Offset)]) {
        for (key, from) in told {
            let is_done = self.losses.lock().told(*key, *from);
            if is_done {
                self.found_damage(*key, *from);
            }
        }
    }

    /// Names directories of partitions that the metadata does not give to this node. They are
    /// left: a removal that a crash cut short looks the same as metadata that somebody restored.
    pub(crate) fn report_orphans(&self, image: &Image) {
        let Some(data) = self.data.upgrade() else {
            return;
        };
        match data.partitions() {
            Ok(found) => {
                let known = |id: &Identity| {
                    let at = usize::try_from(id.partition).unwrap_or(usize::MAX);
                    let topic = image.topic_by_id(id.topic_id);
                    topic.is_some_and(|topic| places(topic, self.node, at) == Place::Here)
                };
                for orphan in found.iter().filter(|dir| !known(&dir.identity)) {
                    let dir = orphan.path.display();
                    tracing::warn!(event = "orphaned_log", %dir, "no topic has this log here");
                }
            }
            Err(error) => {
                tracing::warn!(event = "data_dir_not_listed", error = %describe(&error));
            }
        }
    }

    fn policy(&self, image: &Image, topic: &Topic) -> TopicPolicy {
        let config = config::resolve(image, &self.defaults, self.node, Some(topic));
        let replicas = topic
            .partitions
            .iter()
            .map(|partition| partition.replicas.len())
            .min();
        let replicas = u32::try_from(replicas.unwrap_or(1)).unwrap_or(u32::MAX);
        let min_isr = config.min_insync_replicas.min(replicas);
        TopicPolicy { config, min_isr }
    }
}

/// Where the metadata has a partition's replica, as this node sees it.
fn places(topic: &Topic, node: NodeId, at: usize) -> Place {
    match topic.partitions.get(at) {
        Some(partition) if partition.replicas.contains(&node) => Place::Here,
        Some(_) | None => Place::Elsewhere,
    }
}

fn leaders(topic: &Topic) -> Vec<Leadership> {
    let leadership = topic.partitions.iter().map(|partition| Leadership {
        leader: partition.leader,
        epoch: partition.leader_epoch,
        version: partition.partition_epoch,
    });
    leadership.collect()
}

fn elsewhere() -> Hosted {
    Hosted::Offline("this node has no replica".into())
}

/// A topic whose partitions are being opened, by several threads.
struct Opening<'a> {
    topic: &'a Topic,
    policy: TopicPolicy,
    config: PartitionConfig,
    partitions: Vec<OnceLock<Hosted>>,
}

impl Opening<'_> {
    fn open(&self, host: &Host, image: &Image, index: usize, progress: &RecoveryProgress) {
        let hosted = host.open(image, self.topic, index, &self.config);
        if matches!(hosted, Hosted::Offline(_)) {
            progress.failed.fetch_add(1, Ordering::Relaxed);
        }
        progress.done.fetch_add(1, Ordering::Relaxed);
        if let Some(place) = self.partitions.get(index) {
            // Each index is handed to one thread, so the place is empty.
            let _ = place.set(hosted);
        }
    }

    fn opened(self, node: NodeId) -> HostedTopic {
        let count = self.topic.partitions.len();
        let partitions = self.partitions.into_iter();
        HostedTopic {
            name: self.topic.name.clone(),
            id: self.topic.id,
            partitions: partitions
                .map(|place| place.into_inner().unwrap_or_else(elsewhere))
                .collect(),
            places: (0..count).map(|at| places(self.topic, node, at)).collect(),
            leaders: leaders(self.topic),
            policy: Arc::new(self.policy),
        }
    }
}
