//! The controller: the real rules over the real image, as optimistic transactions.
//!
//! A node judges its own proposal by the image that it knows and sends the records with that
//! image's version; they are void when another transaction came first.

use plimsoll_controller::rules::{self, AlterPartition, AlterRefusal, Election, IsrChange};
use plimsoll_controller::rules::{LogAnswer, RecoverUnclean, RegisterNode, Shutdown};
use plimsoll_controller::{Image, Limits, NodeDefaults, Partition, Record, Refusal};
use plimsoll_types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch};

use super::super::{at, key};
use super::duty::Duty;
use super::node::End;
use super::world::World;
use crate::leader::{Counts, Decision, Proposal, ReplicaView, View};

pub(super) const LIMITS: Limits = Limits {
    default_partitions: 1,
    default_replication: 1,
    max_partitions_per_node: 50,
};

/// How a proposal is judged by `image`.
pub(super) struct Judged {
    pub(super) records: Vec<Record>,
    pub(super) decision: Decision,
}

/// A proposal on its way to the controller.
#[derive(Clone, Debug)]
pub(super) struct Transaction {
    pub(super) node: NodeId,
    pub(super) process: BrokerEpoch,
    pub(super) expected_version: u64,
    pub(super) leader_epoch: LeaderEpoch,
    pub(super) proposal: Proposal,
}

/// An answer on its way to a node.
pub(super) struct Answer {
    pub(super) node: NodeId,
    pub(super) partition_epoch: PartitionEpoch,
    pub(super) decision: Decision,
}

/// The partition under test.
pub(super) fn partition(image: &Image) -> &Partition {
    image.partition_by_key(key()).unwrap()
}

/// The partition as a leader needs it.
pub(super) fn view(image: &Image, counts: Counts) -> View {
    let partition = partition(image);
    let replica = |node: &NodeId| ReplicaView {
        node: *node,
        broker_epoch: image.node(*node).map(|known| known.broker_epoch),
        eligible: image
            .node(*node)
            .is_some_and(plimsoll_controller::Node::may_be_in_sync),
    };
    View {
        partition_epoch: partition.partition_epoch,
        replicas: partition.replicas.iter().map(replica).collect(),
        isr: partition.isr.to_vec(),
        elr: partition.elr.to_vec(),
        min_isr: image.min_isr(key()),
        counts,
    }
}

/// A cluster of four nodes with one partition on the first three of them.
pub(super) fn cluster(counts: Counts, min_isr: u32, recovery: &str) -> Image {
    let mut image = Image::default();
    let apply = |image: &mut Image, records: Result<Vec<Record>, Refusal>| {
        for record in records.unwrap() {
            image.apply(&record).unwrap();
        }
    };
    for id in 1..=4_u8 {
        let node = NodeId::new(u32::from(id)).unwrap();
        let wish = RegisterNode::new(node, [id; 16], [id * 50; 16], Shutdown::Clean);
        let records = rules::register_node(&image, &wish);
        apply(&mut image, records);
        let records = rules::unfence_node(&image, node, epoch_of(&image, node));
        apply(&mut image, records);
    }
    let durability = match counts {
        Counts::Durable => "fsync",
        Counts::Written => "os",
    };
    let config = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
    let wish = rules::CreateTopic {
        assignments: vec![rules::ManualAssignment {
            partition: 0,
            brokers: vec![1, 2, 3],
        }],
        configs: vec![
            config("durability", durability),
            config("min.insync.replicas", &min_isr.to_string()),
            config("unclean.recovery.strategy", recovery),
        ],
        ..rules::CreateTopic::named("t", key().topic)
    };
    let records = rules::create_topic(&image, &LIMITS, &wish);
    apply(&mut image, records);
    image
}

pub(super) fn epoch_of(image: &Image, node: NodeId) -> BrokerEpoch {
    image.node(node).unwrap().broker_epoch
}

/// How `image` takes a leader's proposal.
pub(super) fn judge(
    image: &Image,
    (node, broker_epoch): (NodeId, BrokerEpoch),
    leader_epoch: LeaderEpoch,
    proposal: &Proposal,
) -> Judged {
    let wish = AlterPartition {
        node,
        broker_epoch,
        changes: vec![IsrChange {
            key: key(),
            leader_epoch,
            partition_epoch: proposal.partition_epoch,
            new_isr: proposal.new_isr.clone(),
        }],
    };
    let Ok(altered) = rules::alter_partition(image, &wish) else {
        return Judged {
            records: Vec::new(),
            decision: Decision::Superseded,
        };
    };
    let decision = match &altered.outcomes[0] {
        Ok(version) => Decision::Committed(*version),
        Err(AlterRefusal::Ineligible(nodes)) => Decision::Ineligible(nodes.clone()),
        Err(AlterRefusal::NotAttempted) => Decision::NotAttempted,
        Err(AlterRefusal::StaleVersion) => Decision::StaleVersion,
        Err(_) => Decision::Superseded,
    };
    Judged {
        records: altered.records,
        decision,
    }
}

impl World {
    /// The newest image.
    pub(super) fn image(&self) -> &Image {
        self.history.last().unwrap()
    }

    /// One more version.
    pub(super) fn commit(&mut self, records: &[Record]) {
        if records.is_empty() {
            return;
        }
        let before = partition(self.image()).unclean_epoch;
        let mut image = self.image().clone();
        for record in records {
            image.apply(record).unwrap();
        }
        let after = partition(&image);
        if after.unclean_epoch != before {
            let leader = after.leader.unwrap();
            if !self.may_lose {
                self.broken = Some(format!("{leader} was elected uncleanly without need"));
            }
            // What it lacks is lost, and is said to be.
            let log = &self.nodes[&leader].log;
            let ledger = &mut self.ledger.records;
            let same = |offset: &usize| log.get(*offset as u64) == Some(&ledger[*offset]);
            let known = log.start.min(ledger.len() as u64) as usize;
            let kept = known + (known..ledger.len()).take_while(same).count();
            ledger.truncate(kept);
        }
        self.history.push(image);
    }

    /// Carries out a rule by the newest image, if there is a controller.
    pub(super) fn rule(
        &mut self,
        rule: impl FnOnce(&Image) -> Result<Vec<Record>, Refusal>,
    ) -> bool {
        if self.now < self.no_controller_until {
            return false;
        }
        let records = rule(self.image());
        let records = records.unwrap_or_default();
        self.commit(&records);
        !records.is_empty()
    }

    /// Proposals that have arrived, and who is alive.
    pub(super) fn control(&mut self) {
        if self.now < self.no_controller_until {
            // A new one takes everybody to be alive.
            let now = self.now;
            self.nodes.values_mut().for_each(|n| n.heartbeat_at = now);
            return;
        }
        let now = self.now;
        let waiting = std::mem::take(&mut self.transactions);
        let (ready, later) = waiting.into_iter().partition(|(at, _)| *at <= now);
        self.transactions = later;
        let ready: Vec<(_, Transaction)> = ready;
        for (_, transaction) in ready {
            let decision = self.decide(&transaction);
            if self.calm || !self.plan.lossy || !self.chance(3) {
                let at = self.soon(200);
                self.answers.push((
                    at,
                    Answer {
                        node: transaction.node,
                        partition_epoch: transaction.proposal.partition_epoch,
                        decision,
                    },
                ));
            }
        }
        self.watch();
        if now.since_start().as_millis().is_multiple_of(100) {
            self.rule(|image| Ok(rules::settle(image)));
            self.recover();
        }
    }

    fn decide(&mut self, transaction: &Transaction) -> Decision {
        let current = self.image().version() == transaction.expected_version;
        if !current && Duty::StaleProposalsAreVoid.kept() {
            return Decision::Unknown;
        }
        let mut proposal = transaction.proposal.clone();
        if !Duty::StaleProposalsAreVoid.kept() {
            for (node, epoch) in &mut proposal.new_isr {
                *epoch = epoch_of(self.image(), *node);
            }
        }
        let process = (transaction.node, transaction.process);
        let judged = judge(self.image(), process, transaction.leader_epoch, &proposal);
        self.commit(&judged.records);
        judged.decision
    }

    /// Fences who is silent, and trusts who is heard of and knows of its registration.
    fn watch(&mut self) {
        let now = self.now;
        for id in self.ids() {
            let reaches = self.reaches_controller(id) && self.is_awake(id);
            let node = self.nodes.get_mut(&id).unwrap();
            if reaches {
                node.heartbeat_at = now;
            }
            let silent = now.since(node.heartbeat_at) > super::world::SESSION;
            let (process, known) = (node.broker_epoch, node.image.version());
            let current = epoch_of(self.image(), id);
            let fenced = !self.image().is_alive(id);
            if silent && !fenced {
                self.rule(|image| rules::fence_node(image, id, current));
            } else if reaches && fenced && current == process && known >= process.0 {
                self.rule(|image| rules::unfence_node(image, id, process));
            }
        }
    }

    /// Asks logs, where nobody complete is left and the topic's policy allows it.
    fn recover(&mut self) {
        if partition(self.image()).leader.is_some() {
            return;
        }
        let wanted = rules::recoveries_wanted(self.image()).next();
        let asked = wanted.map_or_else(|| self.ids(), |wanted| wanted.ask);
        let asked = asked.iter();
        let answering = asked.filter(|id| self.is_awake(**id) && self.reaches_controller(**id));
        let answer = |id: &NodeId| {
            let node = &self.nodes[id];
            LogAnswer {
                node: *id,
                broker_epoch: node.broker_epoch,
                last_epoch: node.log.records.last().map(|r| LeaderEpoch::new(r.0)),
                log_end: at(node.log.end()),
                durable_end: at(node.log.durable),
                trusted: !node.damaged,
            }
        };
        let wish = RecoverUnclean {
            key: key(),
            answers: answering.map(answer).collect(),
            timed_out: false,
        };
        self.rule(|image| rules::recover_unclean(image, &wish));
        // Where nobody is left to ask, a person takes what there is.
        let left = partition(self.image());
        let nobody = left.elr.is_empty() && left.last_known_elr.is_empty();
        let all_up = self.nodes.values().all(|node| node.up);
        if self.calm && self.may_lose && left.leader.is_none() && nobody && all_up {
            let unclean = Election::Unclean;
            self.rule(|image| rules::elect(image, key(), unclean, &wish.answers));
        }
    }

    /// A new process of the node registers; whether it could.
    pub(super) fn register(&mut self, id: NodeId) -> bool {
        if self.now < self.no_controller_until || !self.reaches_controller(id) {
            return false;
        }
        let node = &self.nodes[&id];
        let reported = Duty::LossIsReported.kept();
        let shutdown = match node.end {
            End::Lossy if reported => Shutdown::Lossy,
            End::Harmless | End::Lossy | End::Wiped => Shutdown::CrashSameBoot,
        };
        let dir = node.dir + u8::from(node.end == End::Wiped && reported);
        let mut incarnation = [0; 16];
        incarnation[..8].copy_from_slice(&self.image().version().to_be_bytes());
        let wish = RegisterNode::new(id, incarnation, [dir; 16], shutdown);
        while self.rule(|image| rules::register_node(image, &wish)) {}
        if self.image().node(id).unwrap().incarnation != incarnation {
            return false;
        }
        let (epoch, now) = (epoch_of(self.image(), id), self.now);
        let node = self.nodes.get_mut(&id).unwrap();
        (node.up, node.end, node.dir) = (true, End::Harmless, dir);
        (node.broker_epoch, node.heartbeat_at) = (epoch, now);
        true
    }

    pub(super) fn set_config(&mut self, name: &str, value: &str) {
        let change = rules::AlterConfig {
            key: name.to_owned(),
            operation: rules::AlterOperation::Set,
            value: Some(value.to_owned()),
        };
        let defaults = NodeDefaults::default();
        let topic = plimsoll_types::TopicName::new("t").unwrap();
        let resource = plimsoll_controller::ConfigResource::Topic(topic);
        let node = self.ids()[0];
        self.rule(|image| rules::alter_configs(image, &defaults, node, &resource, &[change]));
    }
}
