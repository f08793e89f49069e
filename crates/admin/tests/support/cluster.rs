//! A cluster that is made up: three nodes with a replica of `hello/0` each, and what they know.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_admin::{Admin, Build, ClusterView, Colleagues};
use plimsoll_controller::{Assignment, Drain, Image, Listener, Record};
use plimsoll_health::{Cause, Diagnosis, QuorumFacts, ReplicaState};
use plimsoll_replicator::{Recorded, ReplicaStatus};
use plimsoll_types::{
    BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionKey, Timestamp, TopicId,
    TopicName,
};

use super::{ManualClock, Node};

pub fn id(node: u32) -> NodeId {
    NodeId::new(node).expect("small")
}

pub fn topic() -> TopicId {
    TopicId::from_bytes([7; 16])
}

pub fn key(index: u32) -> PartitionKey {
    PartitionKey {
        topic: topic(),
        index,
    }
}

/// Three nodes, one of them possibly fenced, and `hello` with a replica on each.
pub fn image(fenced: Option<u32>, isr: &[u32], leader: Option<u32>) -> Image {
    let mut image = Image::default();
    for node in 1..=3 {
        let broker_epoch = BrokerEpoch(image.version() + 1);
        let registered = Record::NodeRegistered {
            node: id(node),
            broker_epoch,
            incarnation: [1; 16],
            dir_id: [1; 16],
            listeners: vec![Listener {
                name: "PLAINTEXT".to_owned(),
                host: format!("log{node}"),
                port: 9092,
            }],
            peer: format!("log{node}:9093"),
            rack: None,
        };
        let unfenced = Record::NodeStateSet {
            node: id(node),
            fenced: fenced == Some(node),
            drain: Drain::NO,
        };
        image.apply(&registered).expect("fits");
        image.apply(&unfenced).expect("fits");
    }
    let assignment = Assignment {
        replicas: vec![id(1), id(2), id(3)],
        isr: isr.iter().copied().map(id).collect(),
        leader: leader.map(id),
        ..Assignment::default()
    };
    let created = Record::TopicCreated {
        name: TopicName::new("hello").expect("legal"),
        id: topic(),
        partitions: vec![assignment],
    };
    image.apply(&created).expect("fits");
    image
}

pub struct Fake {
    pub me: u32,
    pub image: Arc<Image>,
    pub controller: Option<u32>,
    pub statuses: Vec<ReplicaStatus>,
}

impl ClusterView for Fake {
    fn node(&self) -> NodeId {
        id(self.me)
    }

    fn cluster_id(&self) -> String {
        "test-cluster".to_owned()
    }

    fn image(&self) -> Arc<Image> {
        Arc::clone(&self.image)
    }

    fn quorum(&self) -> QuorumFacts {
        QuorumFacts {
            leader: self.controller.map(id),
            voters: 3,
            current: 3,
        }
    }

    fn stopped(&self) -> Option<Arc<str>> {
        None
    }

    fn is_self_fenced(&self) -> bool {
        self.controller.is_none()
    }

    fn is_recovered(&self) -> bool {
        true
    }

    fn statuses(&self, _now: Monotonic) -> Vec<ReplicaStatus> {
        self.statuses.clone()
    }

    fn history(
        &self,
        key: PartitionKey,
        since: Timestamp,
        (wall, _): (Timestamp, Monotonic),
    ) -> Vec<Recorded> {
        assert_eq!(wall.as_millis() - since.as_millis(), 2 * 3_600_000);
        assert_eq!(key.index, 0);
        vec![Recorded {
            // Before this process began.
            at: Timestamp::from_millis(1_699_999_000_000),
            leader_epoch: LeaderEpoch::default(),
            high_watermark: Offset::new(5),
            log_end: Offset::new(9),
            what: format!("seen by {}", self.me),
        }]
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![("hw_missed_wakeups", 0), ("stalls", 2)]
    }
}

pub fn status(node: u32, state: ReplicaState, cause: Option<Cause>, log_end: u64) -> ReplicaStatus {
    ReplicaStatus {
        key: key(0),
        node: id(node),
        leader: Some(id(1)),
        leader_epoch: LeaderEpoch::default(),
        log_start: Offset::new(0),
        log_end: Offset::new(log_end),
        durable_end: Offset::new(log_end),
        high_watermark: Offset::new(log_end.min(90)),
        behind: 100 - log_end,
        in_isr: cause.is_none(),
        lag: None,
        verified_end: None,
        diagnosis: Diagnosis {
            state,
            cause,
            evidence: cause.map_or(String::new(), |_| format!("seen at {log_end}")),
            action: "copying".to_owned(),
            next_attempt: cause.map(|_| Duration::from_millis(800)),
            estimate: None,
            advice: None,
        },
    }
}

/// Nodes that answer by their own `Admin`, or not at all.
#[derive(Default)]
pub struct Others(pub BTreeMap<u32, Arc<Admin>>);

#[async_trait::async_trait]
impl Colleagues for Others {
    fn nodes(&self) -> Vec<NodeId> {
        vec![id(2), id(3)]
    }

    async fn ask(&self, node: NodeId, query: Bytes) -> Result<Bytes, String> {
        match self.0.get(&node.get()) {
            Some(admin) => Ok(admin.answer_query(&query)),
            None => Err("connection refused".to_owned()),
        }
    }
}

pub fn other(view: Fake) -> Arc<Admin> {
    let build = Build {
        version: "1.2.3",
        commit: None,
    };
    let clock = Arc::new(ManualClock::default());
    let admin = Admin::new(build, clock, true);
    admin.attach_view(Arc::new(view));
    admin
}

/// Node 1 with what it sees; the others are those that answer, with what they see.
pub async fn cluster(
    image: Image,
    controller: Option<u32>,
    own: Vec<ReplicaStatus>,
    others: Vec<(u32, Vec<ReplicaStatus>)>,
) -> Node {
    let node = Node::start().await;
    let image = Arc::new(image);
    let view = |me, statuses| Fake {
        me,
        image: Arc::clone(&image),
        controller,
        statuses,
    };
    node.admin.attach_view(Arc::new(view(1, own)));
    let others = others
        .into_iter()
        .map(|(me, statuses)| (me, other(view(me, statuses))));
    node.admin
        .set_colleagues(Arc::new(Others(others.collect())));
    node
}

pub fn all_well() -> (Vec<ReplicaStatus>, Vec<(u32, Vec<ReplicaStatus>)>) {
    let well = |node| status(node, ReplicaState::InSync, None, 100);
    let own = vec![status(1, ReplicaState::Leader, None, 100), well(2), well(3)];
    (own, vec![(2, vec![well(2)]), (3, vec![well(3)])])
}
