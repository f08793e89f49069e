//! One row a replica, out of what its leader and its own node say.
//!
//! The metadata says which replicas there are, so none is left out. The leader's word about a
//! follower wins over silence; the follower's own word gives its offsets, and a cause that only it
//! can know (its disk, its log).

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use plimsoll_controller::{Image, Partition};
use plimsoll_health::{Cause, ReplicaState};
use plimsoll_types::NodeId;
use serde::{Serialize, Serializer};

use super::sighting::{Report, Sighting};

/// One replica.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Row {
    pub(crate) topic: String,
    pub(crate) partition: u32,
    pub(crate) node: u32,
    pub(crate) leader: Option<u32>,
    #[serde(serialize_with = "word")]
    pub(crate) state: ReplicaState,
    pub(crate) log_end: Option<u64>,
    pub(crate) durable_end: Option<u64>,
    pub(crate) high_watermark: Option<u64>,
    /// Records that the leader has beyond it.
    pub(crate) lag_records: Option<u64>,
    /// Whether it counts for what is committed.
    pub(crate) in_sync: bool,
    #[serde(serialize_with = "code")]
    pub(crate) cause: Option<Cause>,
    pub(crate) cause_name: Option<&'static str>,
    pub(crate) evidence: String,
    pub(crate) action: String,
    #[serde(serialize_with = "seconds")]
    pub(crate) next_attempt: Option<Duration>,
    #[serde(serialize_with = "seconds")]
    pub(crate) estimate: Option<Duration>,
    pub(crate) advice: Option<String>,
}

fn word<S: Serializer>(state: &ReplicaState, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.as_str())
}

fn code<S: Serializer>(cause: &Option<Cause>, serializer: S) -> Result<S::Ok, S::Error> {
    cause.map(Cause::code).serialize(serializer)
}

/// With milliseconds.
pub(crate) fn seconds<S: Serializer>(
    time: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let rounded = time.map(|time| (time.as_secs_f64() * 1000.0).round() / 1000.0);
    rounded.serialize(serializer)
}

impl Row {
    /// Whether there is nothing to tell about it.
    pub(crate) fn is_well(&self) -> bool {
        self.state.is_well() && self.cause.is_none()
    }

    /// `topic/partition`.
    pub(crate) fn partition_name(&self) -> String {
        format!("{}/{}", self.topic, self.partition)
    }
}

/// What is known, and from whom.
pub(crate) struct Heard<'a> {
    pub(crate) image: &'a Image,
    /// By node.
    pub(crate) reports: &'a BTreeMap<u32, Report>,
    /// Those who did not answer, and why.
    pub(crate) silent: &'a BTreeMap<u32, String>,
}

/// What is said about one replica.
#[derive(Default)]
struct Said<'a> {
    own: Option<&'a Sighting>,
    leaders: Option<&'a Sighting>,
}

/// Every replica of the cluster, by topic, partition and place in the assignment.
pub(crate) fn rows(heard: &Heard<'_>) -> Vec<Row> {
    let mut said: HashMap<(&str, u32, u32), Said<'_>> = HashMap::new();
    for (by, report) in heard.reports {
        for sighting in &report.sightings {
            let of = (sighting.topic.as_str(), sighting.partition, sighting.node);
            let said = said.entry(of).or_default();
            if sighting.node == *by {
                said.own = Some(sighting);
            } else if said
                .leaders
                .is_none_or(|other| other.leader_epoch < sighting.leader_epoch)
            {
                said.leaders = Some(sighting);
            }
        }
    }
    let mut rows = Vec::new();
    for topic in heard.image.topics() {
        for (index, partition) in (0_u32..).zip(&topic.partitions) {
            let below = too_few(heard.image, topic.id, index, partition);
            for node in partition.replicas.iter() {
                let of = (topic.name.as_str(), index, node.get());
                let said = said.get(&of);
                let own = said.and_then(|said| said.own);
                let leaders = said.and_then(|said| said.leaders);
                // Who leads speaks for itself.
                let leaders = leaders.filter(|_| partition.leader != Some(*node));
                let mut row = blank(topic.name.as_str(), index, *node, partition);
                fill(&mut row, own, leaders);
                judge(&mut row, heard, partition, own, leaders);
                if let Some(evidence) = below.as_ref().filter(|_| row.leader == Some(row.node))
                    && row.cause.is_none()
                {
                    row.cause = Some(Cause::BelowMinIsr);
                    row.evidence.clone_from(evidence);
                    "refusing acks=all until enough replicas are back".clone_into(&mut row.action);
                }
                finish(&mut row);
                rows.push(row);
            }
        }
    }
    rows
}

/// The evidence that too few replicas are in sync for acks=all, if so.
fn too_few(
    image: &Image,
    topic: plimsoll_types::TopicId,
    index: u32,
    partition: &Partition,
) -> Option<String> {
    let min = image.min_isr(plimsoll_types::PartitionKey { topic, index });
    let in_sync = partition.isr.len();
    (partition.leader.is_some() && in_sync < min)
        .then(|| format!("{in_sync} in sync, {min} are asked for (min.insync.replicas)"))
}

fn blank(topic: &str, index: u32, node: NodeId, partition: &Partition) -> Row {
    Row {
        topic: topic.to_owned(),
        partition: index,
        node: node.get(),
        leader: partition.leader.map(NodeId::get),
        state: ReplicaState::Unknown,
        log_end: None,
        durable_end: None,
        high_watermark: None,
        lag_records: None,
        in_sync: partition.isr.contains(&node),
        cause: None,
        cause_name: None,
        evidence: String::new(),
        action: String::new(),
        next_attempt: None,
        estimate: None,
        advice: None,
    }
}

/// The numbers.
fn fill(row: &mut Row, own: Option<&Sighting>, leaders: Option<&Sighting>) {
    if let Some(offsets) = own.or(leaders) {
        row.log_end = Some(offsets.log_end);
        row.durable_end = Some(offsets.durable_end);
        row.high_watermark = Some(offsets.high_watermark);
    }
    row.lag_records = leaders.or(own).map(|sighting| sighting.behind);
    if let Some(leaders) = leaders {
        row.in_sync = leaders.in_isr;
    }
}

/// State and cause.
fn judge(
    row: &mut Row,
    heard: &Heard<'_>,
    partition: &Partition,
    own: Option<&Sighting>,
    leaders: Option<&Sighting>,
) {
    let telling = match (own, leaders) {
        (Some(own), Some(leaders)) => Some(match knows_better(own) {
            true => own,
            false => leaders,
        }),
        (own, leaders) => leaders.or(own),
    };
    if let Some(telling) = telling {
        row.state = telling.state();
        row.cause = telling.cause();
        row.evidence.clone_from(&telling.evidence);
        row.action.clone_from(&telling.action);
        row.advice.clone_from(&telling.advice);
        row.estimate = telling.estimate_ms.map(Duration::from_millis);
        let next = telling.next_attempt_ms;
        let next = next.or(own.and_then(|own| own.next_attempt_ms));
        row.next_attempt = next.map(Duration::from_millis);
    }
    if partition.leader.is_none() && row.state != ReplicaState::Offline && own.is_some() {
        row.state = ReplicaState::Stalled;
        row.cause = Some(Cause::NoLeader);
        row.evidence = format!("in sync when it had one: {}", names(&partition.isr));
        if !partition.elr.is_empty() {
            row.evidence += &format!(", may lead as well: {}", names(&partition.elr));
        }
        "electing the first of them to come back".clone_into(&mut row.action);
        row.next_attempt = None;
        row.advice = None;
        return;
    }
    if telling.is_none() {
        unheard(row, heard);
    } else if !row.state.is_well() && row.cause.is_none() {
        row.cause = Some(Cause::CatchingUp);
    }
}

/// Nobody tells about it: say why.
fn unheard(row: &mut Row, heard: &Heard<'_>) {
    let node = NodeId::new(row.node);
    let fenced = node.is_some_and(|node| !heard.image.is_alive(node));
    match heard.silent.get(&row.node) {
        Some(why) => {
            let fenced = if fenced {
                "the controller fenced it; "
            } else {
                ""
            };
            row.state = match fenced.is_empty() {
                true => ReplicaState::Unknown,
                false => ReplicaState::Offline,
            };
            row.cause = Some(Cause::PeerUnreachable);
            row.evidence = format!("{fenced}node {} does not answer: {why}", row.node);
            "connecting again, at most two seconds apart".clone_into(&mut row.action);
        }
        None if fenced => {
            row.state = ReplicaState::Offline;
            row.cause = Some(Cause::Fenced);
            row.evidence = format!("the controller does not let node {} take part", row.node);
            "waiting for its signs of life".clone_into(&mut row.action);
        }
        None => {
            row.state = ReplicaState::CatchingUp;
            row.cause = Some(Cause::MetadataLag);
            row.evidence = format!("node {} does not tell of it yet", row.node);
            "waiting for it to know the newest metadata".clone_into(&mut row.action);
        }
    }
    row.in_sync &= row.state.is_well();
}

/// Whether the follower's own word tells more than its leader's.
fn knows_better(own: &Sighting) -> bool {
    let vague = [
        Cause::CatchingUp,
        Cause::PeerUnreachable,
        Cause::MetadataLag,
        Cause::Fenced,
        Cause::NoLeader,
        Cause::NoNews,
    ];
    own.cause().is_some_and(|cause| !vague.contains(&cause))
}

fn finish(row: &mut Row) {
    row.cause_name = row.cause.map(Cause::name);
    let person = row.cause.map(|cause| cause.explanation().person.to_owned());
    row.advice = row.advice.take().filter(|_| person.is_some()).or(person);
    if row.is_well() {
        row.action.clear();
        row.next_attempt = None;
    }
}

fn names(nodes: &[NodeId]) -> String {
    match nodes {
        [] => "none".to_owned(),
        nodes => nodes
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(", "),
    }
}
