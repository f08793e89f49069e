//! Random commands over a cluster with logs of a kind: whatever happens, who leads by the rules has
//! all that was committed.

mod common;

use common::{LIMITS, cluster, epoch, node, topic_id};
use plimsoll_controller::rules::{
    self, AlterConfig, AlterOperation, AlterPartition, Election, IsrChange, LogAnswer, Reassign,
    RecoverUnclean, RegisterNode, Shutdown,
};
use plimsoll_controller::{ConfigResource, Image, NodeDefaults, Record, Refusal};
use plimsoll_types::{NodeId, Offset, PartitionKey, TopicName};
use proptest::prelude::*;
use std::collections::BTreeMap;

const NODES: u32 = 4;
const TOPICS: [(&str, u8, &str); 2] = [("synced", 1, "fsync"), ("cached", 2, "os")];

/// The image, and of each partition how much every node has and how much is committed.
struct World {
    image: Image,
    logs: BTreeMap<(PartitionKey, NodeId), u64>,
    committed: BTreeMap<PartitionKey, u64>,
    incarnation: u8,
}

type Step = (u8, u8, u8, u8);

impl World {
    fn new() -> Self {
        let mut image = cluster(NODES);
        for (name, id, durability) in TOPICS {
            let wish = rules::CreateTopic {
                partitions: 2,
                replication_factor: 3,
                configs: vec![
                    ("durability".into(), Some(durability.into())),
                    ("min.insync.replicas".into(), Some("2".into())),
                ],
                ..rules::CreateTopic::named(name, topic_id(id))
            };
            let records = rules::create_topic(&image, &LIMITS, &wish);
            common::apply(&mut image, records);
        }
        Self {
            image,
            logs: BTreeMap::new(),
            committed: BTreeMap::new(),
            incarnation: 1,
        }
    }

    fn log(&self, key: PartitionKey, node: NodeId) -> u64 {
        self.logs.get(&(key, node)).copied().unwrap_or(0)
    }

    fn keys(&self) -> Vec<PartitionKey> {
        let topics = self.image.topics();
        let keys = topics.flat_map(|topic| {
            let count = u32::try_from(topic.partitions.len()).expect("few");
            (0..count).map(|index| PartitionKey {
                topic: topic.id,
                index,
            })
        });
        keys.collect()
    }

    /// Applies records and sees to what they mean for logs.
    fn apply(&mut self, records: &[Record]) -> Result<(), TestCaseError> {
        let before = self.image.clone();
        for record in records {
            prop_assert_eq!(self.image.apply(record), Ok(()));
        }
        for key in self.keys() {
            let (Some(old), Some(new)) = (
                before.partition_by_key(key),
                self.image.partition_by_key(key),
            ) else {
                continue;
            };
            prop_assert!(new.partition_epoch >= old.partition_epoch);
            prop_assert!(new == old || new.partition_epoch > old.partition_epoch);
            prop_assert!(new.leader == old.leader || new.leader_epoch > old.leader_epoch);
            if new.unclean_epoch != old.unclean_epoch {
                let leader = new.isr.first().copied().expect("just elected");
                let left = self.log(key, leader);
                let committed = self.committed.entry(key).or_default();
                *committed = left.min(*committed);
            }
            for id in 1..=NODES {
                if !new.replicas.contains(&node(id)) {
                    self.logs.remove(&(key, node(id)));
                }
            }
        }
        Ok(())
    }

    /// What holds after every step.
    fn check(&self) -> Result<(), TestCaseError> {
        for key in self.keys() {
            let partition = self.image.partition_by_key(key).expect("there");
            let committed = self.committed.get(&key).copied().unwrap_or(0);
            for member in partition.isr.iter().chain(partition.elr.iter()) {
                let log = self.log(key, *member);
                prop_assert!(
                    log >= committed,
                    "{member} has {log} of {committed} in {key}"
                );
                prop_assert!(partition.replicas.contains(member));
            }
            for member in partition.isr.iter() {
                prop_assert!(self.image.is_alive(*member));
                prop_assert!(!partition.elr.contains(member));
            }
            let enough = partition.isr.len() >= self.image.min_isr(key);
            prop_assert!(!enough || partition.elr.is_empty(), "C3");
            prop_assert!(partition.leader.iter().all(|l| partition.isr.contains(l)));
            let leaderless = self.image.leaderless().any(|k| k == key);
            prop_assert_eq!(leaderless, partition.leader.is_none());
            for id in 1..=NODES {
                let led = self.image.partitions_led_by(node(id)).any(|k| k == key);
                prop_assert_eq!(led, partition.leader == Some(node(id)));
                let held = self.image.partitions_on(node(id)).any(|k| k == key);
                prop_assert_eq!(held, partition.replicas.contains(&node(id)));
            }
        }
        let restored = Image::restore(self.image.version(), self.image.to_records());
        prop_assert_eq!(restored.as_ref(), Ok(&self.image));
        Ok(())
    }

    fn step(&mut self, (what, which, whose, how): Step) -> Result<(), TestCaseError> {
        let keys = self.keys();
        let key = keys[usize::from(which) % keys.len()];
        let who = node(1 + u32::from(whose) % NODES);
        match what {
            0 => return self.restart(who, how),
            1..=3 => self.replicate(key, how),
            4..=6 => return self.propose(key, who, how),
            _ => {}
        }
        let records = self.command(what, key, who, how).unwrap_or_default();
        if what == 15 && !records.is_empty() {
            self.logs.remove(&(key, who));
        }
        self.apply(&records)
    }

    fn command(
        &self,
        what: u8,
        key: PartitionKey,
        who: NodeId,
        how: u8,
    ) -> Result<Vec<Record>, Refusal> {
        let image = &self.image;
        let of = epoch(image, who);
        match what {
            7 => rules::fence_node(image, who, of),
            8 | 9 => rules::unfence_node(image, who, of),
            10 if how.is_multiple_of(2) => rules::drain_node(image, who),
            10 => rules::resume_node(image, who),
            11 => Ok(rules::settle(image)),
            12 => {
                let list = (0..3).map(|step| 1 + i32::from(how.wrapping_add(step) % 4));
                let replicas = (how > 60).then(|| list.take(usize::from(1 + how % 3)).collect());
                rules::reassign(image, &LIMITS, &Reassign { key, replicas })
            }
            13 => self.configure(key, how),
            14 if how < 30 => rules::elect(image, key, Election::Unclean, &self.answers(key)),
            14 => rules::elect(image, key, Election::Preferred, &[]),
            15 => rules::report_corrupt(image, who, of, &[key]),
            16 => rules::recover_unclean(
                image,
                &RecoverUnclean {
                    key,
                    answers: self.answers(key),
                    timed_out: how.is_multiple_of(2),
                },
            ),
            _ => Ok(rules::balance_leaders(image, &[who].into())),
        }
    }

    fn answers(&self, key: PartitionKey) -> Vec<LogAnswer> {
        let nodes = self.image.nodes();
        let answers = nodes.map(|node| LogAnswer {
            node: node.id,
            broker_epoch: node.broker_epoch,
            last_epoch: None,
            log_end: Offset::new(self.log(key, node.id)),
            durable_end: Offset::new(self.log(key, node.id)),
            trusted: true,
        });
        answers.collect()
    }

    fn configure(&self, key: PartitionKey, how: u8) -> Result<Vec<Record>, Refusal> {
        let name = self
            .image
            .topic_by_id(key.topic)
            .expect("there")
            .name
            .clone();
        let resource = if how > 100 {
            ConfigResource::Topic(TopicName::new(name.as_str()).expect("legal"))
        } else {
            ConfigResource::EveryNode
        };
        let (key, value) = match how % 5 {
            0 => ("unclean.recovery.strategy", "balanced".to_owned()),
            1 => ("unclean.recovery.strategy", "none".to_owned()),
            more => ("min.insync.replicas", (more - 1).to_string()),
        };
        let operation = if how.is_multiple_of(11) {
            AlterOperation::Delete
        } else {
            AlterOperation::Set
        };
        let change = AlterConfig {
            key: key.to_owned(),
            operation,
            value: Some(value),
        };
        let defaults = NodeDefaults::default();
        rules::alter_configs(&self.image, &defaults, node(1), &resource, &[change])
    }

    /// A process ends and another registers, with as much as the one before left.
    fn restart(&mut self, who: NodeId, how: u8) -> Result<(), TestCaseError> {
        self.incarnation = self.incarnation.wrapping_add(1);
        let known = self.image.node(who).expect("registered");
        let fresh_dir = how.is_multiple_of(8) && known.fenced;
        let dir_id = if fresh_dir {
            let mut drawn = [self.incarnation; 16];
            drawn[0] = 255;
            drawn
        } else {
            known.dir_id
        };
        let shutdown = match how % 3 {
            0 => Shutdown::Clean,
            1 => Shutdown::CrashSameBoot,
            _ => Shutdown::Lossy,
        };
        let mut incarnation = [self.incarnation; 16];
        incarnation[0] = how;
        let wish = RegisterNode::new(who, incarnation, dir_id, shutdown);
        let records = rules::register_node(&self.image, &wish).unwrap_or_default();
        prop_assert!(!records.is_empty());
        self.apply(&records)?;
        for key in self.keys() {
            let cached = key.topic == topic_id(2);
            if fresh_dir {
                self.logs.remove(&(key, who));
            } else if shutdown == Shutdown::Lossy && cached {
                let log = self.logs.entry((key, who)).or_default();
                *log = log.saturating_sub(u64::from(how % 5));
            }
        }
        Ok(())
    }

    /// The leader takes a record, followers fetch, and what enough of them have is committed.
    fn replicate(&mut self, key: PartitionKey, how: u8) {
        let partition = self.image.partition_by_key(key).expect("there").clone();
        let Some(leader) = partition.leader else {
            return;
        };
        let end = self.log(key, leader) + u64::from(how % 2);
        self.logs.insert((key, leader), end);
        for (bit, follower) in (1..).zip(partition.replicas.iter()) {
            if self.image.is_alive(*follower) && how >> bit & 1 == 1 {
                self.logs.insert((key, *follower), end);
            }
        }
        if partition.isr.len() >= self.image.min_isr(key) {
            let least = partition.isr.iter().map(|node| self.log(key, *node)).min();
            let committed = self.committed.entry(key).or_default();
            *committed = least.unwrap_or(0).max(*committed);
        }
    }

    /// The leader takes somebody in who has all that it has, or lets somebody go.
    fn propose(&mut self, key: PartitionKey, who: NodeId, how: u8) -> Result<(), TestCaseError> {
        let partition = self.image.partition_by_key(key).expect("there");
        let Some(leader) = partition.leader else {
            return Ok(());
        };
        let mut isr = partition.isr.to_vec();
        if isr.contains(&who) {
            isr.retain(|member| *member != who);
        } else if self.log(key, who) == self.log(key, leader) {
            isr.push(who);
        }
        let stale = u64::from(how == 7);
        let members = isr.iter().map(|member| {
            let mut of = epoch(&self.image, *member);
            of.0 -= stale;
            (*member, of)
        });
        let wish = AlterPartition {
            node: leader,
            broker_epoch: epoch(&self.image, leader),
            changes: vec![IsrChange {
                key,
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch,
                new_isr: members.collect(),
            }],
        };
        let altered = rules::alter_partition(&self.image, &wish).expect("the current process");
        prop_assert!(stale == 0 || altered.records.is_empty());
        self.apply(&altered.records)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]
    #[test]
    fn whoever_may_lead_has_all_that_was_committed(
        steps in prop::collection::vec((0_u8..18, any::<u8>(), any::<u8>(), any::<u8>()), 1..120),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step)?;
            world.check()?;
        }
        // And whatever was half done ends.
        for _ in 0..100 {
            let records = rules::settle(&world.image);
            if records.is_empty() {
                break;
            }
            world.apply(&records)?;
        }
        prop_assert_eq!(rules::settle(&world.image), vec![]);
    }
}
