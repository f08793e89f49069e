//! Bringing back replicas whose log failed, or could not be opened.
//!
//! A log whose write or sync failed is opened anew and read from end to end before it is used
//! again; the failed step itself is never repeated. Attempts are paced and never end. A replica
//! that has others first leaves the ISR, so that nobody counts on what it gives up; one that is
//! alone in having what it has keeps all that can be verified. Not here: telling the controller.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_controller::Image;
use plimsoll_partition::{Partition, RepairError, Role, describe};
use plimsoll_types::{LeaderEpoch, Monotonic, NodeId, Offset, PartitionKey};

use super::losses::ATTEMPTS;
use super::{Host, roster};
use crate::catalog::{Hosted, Place};

/// Before the first attempt, and the step that grows.
const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);
/// What is appended to the name of a directory that was given up.
const BROKEN: &str = ".broken";

/// How the others see a replica of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody counts on it.
    Out,
    /// There is nobody else to count on.
    Sole,
    /// It is counted on; it will be out once the controller knows of its failure.
    Counted,
}

/// The attempts to bring back one replica.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempts {
    made: u32,
    next: Monotonic,
}

/// Attempts by replica; only those that are ill.
pub(crate) type Healing = BTreeMap<PartitionKey, Attempts>;

/// Replicas whose log lost what others may have, and that are led by this node all the same: they
/// are idle until another term is begun. Each with the term in which that was found.
#[derive(Debug, Default)]
pub(crate) struct Shortened(BTreeMap<PartitionKey, LeaderEpoch>);

impl Shortened {
    fn found(&mut self, key: PartitionKey, epoch: LeaderEpoch) {
        self.0.insert(key, epoch);
    }

    /// Those whose term is still to be begun again by `node`: not if another one leads, or is in
    /// sync, and not if another term began since.
    pub(crate) fn waiting(&mut self, image: &Image, node: NodeId) -> Vec<PartitionKey> {
        self.0.retain(|key, epoch| {
            image.partition_by_key(*key).is_some_and(|partition| {
                let is_led_here = partition.leader.is_none_or(|leader| leader == node);
                is_led_here && *partition.isr == [node] && partition.leader_epoch == *epoch
            })
        });
        self.0.keys().copied().collect()
    }
}

impl Host {
    /// Replicas whose log failed since it was opened.
    pub(crate) fn failed(&self) -> Vec<(PartitionKey, Arc<Partition>)> {
        let mut failed = Vec::new();
        for topic in self.catalog.topics() {
            for partition in topic.online().filter(|p| p.offline().is_some()) {
                let id = partition.id();
                let (topic, index) = (id.topic_id, id.index);
                failed.push((PartitionKey { topic, index }, Arc::clone(partition)));
            }
        }
        failed
    }

    pub(crate) fn standing(&self, image: &Image, key: PartitionKey) -> Standing {
        let Some(partition) = image.partition_by_key(key) else {
            return Standing::Out;
        };
        let me = self.node;
        if !partition.isr.contains(&me) && !partition.elr.contains(&me) {
            return Standing::Out;
        }
        let mut eligible = partition.elr.iter();
        let others = eligible.any(|node| *node != me && image.is_alive(*node));
        match !self.in_cluster || *partition.isr == [me] && !others {
            true => Standing::Sole,
            false => Standing::Counted,
        }
    }

    /// Makes the attempts that are due. Blocks on the disk, for as long as reading the logs takes.
    /// Keeps in mind which replicas lead and lost what their followers may have.
    pub(crate) fn heal(&self, image: &Image) {
        let failed = self.failed();
        let now = self.clock.now();
        let due: Vec<_> = {
            let mut healing = self.healing.lock();
            healing.retain(|key, _| failed.iter().any(|(failed, _)| failed == key));
            let due = |key: &PartitionKey| {
                let first = Attempts {
                    made: 0,
                    next: now + FIRST,
                };
                now >= healing.entry(*key).or_insert(first).next
            };
            let failed = failed.into_iter();
            let mut due = due;
            failed.filter(|(key, _)| due(key)).collect()
        };
        for (key, partition) in due {
            let standing = self.standing(image, key);
            if standing == Standing::Counted {
                // The heartbeat tells of it; nothing is given up before it is out.
                continue;
            }
            match partition.reopen(standing == Standing::Sole) {
                Ok(reopened) => {
                    self.healing.lock().remove(&key);
                    crate::counters::add(&self.reopened, 1);
                    let (id, end) = (partition.id(), reopened.log_end.get());
                    let (given_up, damage) = (reopened.given_up, reopened.damage.len());
                    tracing::info!(event = "replica_reopened", partition = %id, end, given_up, damage);
                    if self.in_cluster {
                        self.replicas.reopened(key, now);
                    }
                    if let Some(damage) = reopened.damage.first() {
                        self.found_damage(key, damage.from);
                    }
                    let lost = standing == Standing::Sole && *partition.role() == Role::Idle;
                    let known = image.partition_by_key(key).filter(|_| lost && given_up > 0);
                    if let Some(known) = known {
                        self.shortened.lock().found(key, known.leader_epoch);
                    }
                }
                Err(error) => self.put_off(key, &partition, &error),
            }
        }
    }

    fn put_off(&self, key: PartitionKey, partition: &Partition, error: &RepairError) {
        let mut healing = self.healing.lock();
        let Some(attempts) = healing.get_mut(&key) else {
            return;
        };
        let pause = FIRST.saturating_mul(2_u32.saturating_pow(attempts.made.min(16)));
        let pause = pause.min(LONGEST);
        attempts.made = attempts.made.saturating_add(1);
        attempts.next = self.clock.now() + pause;
        let (partition, error, made) = (partition.id(), describe(error), attempts.made);
        tracing::warn!(event = "replica_not_reopened", %partition, %error, attempts = made, again_in = ?pause);
    }

    /// A replica's log is damaged from `from` on: it leaves the ISR, and copies it again.
    pub(crate) fn found_damage(&self, key: PartitionKey, from: Offset) {
        if self.in_cluster {
            self.replicas.damaged(key, from, self.clock.now());
        }
    }

    /// Gives up directories that cannot be used, of replicas that others have: they begin anew,
    /// empty. Blocks on the disk.
    pub(crate) fn give_up_unusable(&self, image: &Image) {
        for topic in self.catalog.topics() {
            for ((at, index), hosted) in (0..).zip(0_u32..).zip(&topic.partitions) {
                let key = PartitionKey {
                    topic: topic.id,
                    index,
                };
                let Hosted::Offline(why) = hosted else {
                    continue;
                };
                if topic.place(at) != Place::Here || !self.is_unusable(key) {
                    continue;
                }
                let led = image.partition_by_key(key).and_then(|p| p.leader);
                let led = led.is_some_and(|leader| leader != self.node);
                if led && self.standing(image, key) == Standing::Out {
                    self.set_aside(key, why);
                }
            }
        }
    }

    /// Whether a directory was found to be unusable often enough.
    fn is_unusable(&self, key: PartitionKey) -> bool {
        let unusable = self.unusable.lock();
        unusable.get(&key).is_some_and(|found| *found >= ATTEMPTS)
    }

    fn set_aside(&self, key: PartitionKey, why: &str) {
        let Some(data) = self.data.upgrade() else {
            return;
        };
        let dir = data.path().join(roster::name(key));
        let aside = data.path().join(roster::name(key) + BROKEN);
        // Of an earlier time: two are not kept.
        let _ = std::fs::remove_dir_all(&aside);
        match self.disk.rename(&dir, &aside) {
            Ok(()) => {
                self.unusable.lock().remove(&key);
                let dir = aside.display();
                tracing::warn!(event = "log_set_aside", %dir, why, "copied again from its leader");
            }
            Err(error) => {
                let dir = dir.display();
                tracing::warn!(event = "log_not_set_aside", %dir, %error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_controller::{Assignment, Record, rules};
    use plimsoll_types::{PartitionEpoch, TopicId, TopicName};

    use super::*;

    const TOPIC: TopicId = TopicId::from_bytes([7; 16]);
    const KEY: PartitionKey = PartitionKey {
        topic: TOPIC,
        index: 0,
    };

    fn id(node: u32) -> NodeId {
        NodeId::new(node).expect("in range")
    }

    fn apply(image: &mut Image, records: &[Record]) {
        for record in records {
            image.apply(record).expect("fits");
        }
    }

    fn led(leader: Option<u32>, isr: &[u32], leader_epoch: u32) -> Assignment {
        Assignment {
            replicas: vec![id(1), id(2)],
            isr: isr.iter().copied().map(id).collect(),
            elr: Vec::new(),
            last_known_elr: Vec::new(),
            adding: Vec::new(),
            removing: Vec::new(),
            leader: leader.map(id),
            leader_epoch: LeaderEpoch::new(leader_epoch),
            partition_epoch: PartitionEpoch(leader_epoch),
            unclean_epoch: None,
            recovering: false,
        }
    }

    /// Nodes 1 and 2, and a partition of theirs.
    fn image(partition: Assignment) -> Image {
        let mut image = Image::default();
        for node in [1, 2] {
            let clean = rules::Shutdown::Clean;
            let wish = rules::RegisterNode::new(id(node), [1; 16], [0; 16], clean);
            let register = rules::register_node(&image, &wish).expect("legal");
            apply(&mut image, &register);
            let epoch = image.node(id(node)).expect("registered").broker_epoch;
            let unfence = rules::unfence_node(&image, id(node), epoch).expect("legal");
            apply(&mut image, &unfence);
        }
        let name = TopicName::new("orders").expect("legal");
        let partitions = vec![partition];
        let id = TOPIC;
        apply(
            &mut image,
            &[Record::TopicCreated {
                name,
                id,
                partitions,
            }],
        );
        image
    }

    #[test]
    fn shortened_log_waits_for_another_term_until_there_is_one() {
        let led_by = |partition| {
            let mut shortened = Shortened::default();
            shortened.found(KEY, LeaderEpoch::new(4));
            let image = image(partition);
            let first = shortened.waiting(&image, id(1));
            assert_eq!(shortened.waiting(&image, id(1)), first, "it stays so");
            !first.is_empty()
        };
        assert!(led_by(led(Some(1), &[1], 4)), "the attempt before failed");
        assert!(led_by(led(None, &[1], 4)), "it may lead again");
        assert!(!led_by(led(Some(1), &[1], 5)), "it was begun again");
        assert!(!led_by(led(Some(1), &[1, 2], 4)), "others are in sync");
        assert!(!led_by(led(Some(2), &[2], 4)), "another leads");
        let mut shortened = Shortened::default();
        shortened.found(KEY, LeaderEpoch::new(4));
        assert_eq!(shortened.waiting(&Image::default(), id(1)), [], "deleted");
    }
}
