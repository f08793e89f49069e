//! Members of a consumer group: they join, read what they are assigned, commit, leave and come back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_wire::find_coordinator::FindCoordinatorRequest;
use plimsoll_wire::heartbeat::HeartbeatRequest;
use plimsoll_wire::join_group::{JoinGroupRequest, JoinGroupRequestProtocol, JoinGroupResponse};
use plimsoll_wire::leave_group::LeaveGroupRequest;
use plimsoll_wire::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use plimsoll_wire::offset_fetch::{OffsetFetchRequest, OffsetFetchRequestTopic};
use plimsoll_wire::sync_group::{SyncGroupRequest, SyncGroupRequestAssignment};
use plimsoll_wire::{ErrorCode, Request, Response};

use crate::client::{Client, Scene};
use crate::offsets::Offsets;

const GROUP: &str = "g";
const PROTOCOL: &str = "by-number";
/// Silence after which a member is taken for dead.
const SESSION: Duration = Duration::from_secs(6);
/// How long the others get to join.
const REBALANCE: Duration = Duration::from_secs(2);
/// Between two rounds of reading.
const ROUND: Duration = Duration::from_millis(100);

/// See the module.
pub(crate) struct Member {
    scene: Arc<Scene>,
    client: Client,
    offsets: Arc<Offsets>,
    who: String,
    /// As the coordinator named it; empty for a new one.
    id: String,
    coordinator: Option<u32>,
    partitions: i32,
    number: u32,
}

/// A generation that a member is in.
struct Term {
    generation: i32,
    /// Where it reads on, and what it committed last, by partition.
    at: BTreeMap<i32, (i64, i64)>,
}

/// What an error makes of a member.
enum Next {
    GoOn,
    /// It joins again as who it is.
    Join,
    /// It joins again as somebody else.
    Begin,
}

fn ms(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).unwrap_or(i32::MAX)
}

impl Member {
    pub(crate) fn new(
        scene: &Arc<Scene>,
        offsets: &Arc<Offsets>,
        number: u32,
        partitions: i32,
    ) -> Self {
        Self {
            scene: Arc::clone(scene),
            client: Client::new(scene, number),
            offsets: Arc::clone(offsets),
            who: format!("member {number}"),
            id: String::new(),
            coordinator: None,
            partitions,
            number,
        }
    }

    /// Lives for ever.
    pub(crate) async fn live(mut self) {
        let kernel = Arc::clone(&self.scene.kernel);
        loop {
            let Some(term) = self.join().await else {
                self.client.pause().await;
                continue;
            };
            match self.read(term).await {
                Next::Begin => self.id.clear(),
                Next::Join => {}
                Next::GoOn => {
                    self.leave().await;
                    let away = kernel.between(Duration::ZERO, Duration::from_secs(2));
                    kernel.sleep(away).await;
                }
            }
        }
    }

    async fn ask(&mut self, version: i16, request: Request) -> Option<Response> {
        if self.coordinator.is_none() {
            let find = FindCoordinatorRequest {
                key: GROUP.into(),
                ..Default::default()
            };
            let node = self.client.any_node();
            let answer = self.client.ask(node, 3, Request::FindCoordinator(find));
            if let Some(Response::FindCoordinator(found)) = answer.await
                && found.error_code == 0
            {
                self.coordinator = u32::try_from(found.node_id).ok();
            }
        }
        let answer = self.client.ask(self.coordinator?, version, request).await;
        if answer.is_none() {
            self.coordinator = None;
        }
        answer
    }

    /// What to do after an answer with that code.
    fn after(&mut self, code: i16) -> Next {
        match ErrorCode::from_code(code) {
            Some(ErrorCode::None) => Next::GoOn,
            Some(ErrorCode::RebalanceInProgress) => Next::Join,
            Some(ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration) => Next::Begin,
            _ => {
                self.coordinator = None;
                Next::GoOn
            }
        }
    }

    /// Comes to be in a generation, and learns from where to read; `None`: again.
    async fn join(&mut self) -> Option<Term> {
        let request = JoinGroupRequest {
            group_id: GROUP.into(),
            session_timeout_ms: ms(SESSION),
            rebalance_timeout_ms: ms(REBALANCE),
            member_id: self.id.as_str().into(),
            protocol_type: "consumer".into(),
            protocols: vec![JoinGroupRequestProtocol {
                name: PROTOCOL.into(),
                metadata: Bytes::new(),
            }],
            ..Default::default()
        };
        let Response::JoinGroup(joined) = self.ask(5, Request::JoinGroup(request)).await? else {
            return None;
        };
        if ErrorCode::from_code(joined.error_code) == Some(ErrorCode::MemberIdRequired) {
            self.id = joined.member_id.to_string();
            return None;
        }
        match self.after(joined.error_code) {
            Next::Begin => self.id.clear(),
            Next::GoOn if joined.error_code == 0 => {
                self.id = joined.member_id.to_string();
                return self.sync(joined).await;
            }
            Next::GoOn | Next::Join => {}
        }
        None
    }

    async fn sync(&mut self, joined: JoinGroupResponse) -> Option<Term> {
        let generation = joined.generation_id;
        let mut assigned: Vec<Vec<u8>> = joined.members.iter().map(|_| Vec::new()).collect();
        for partition in 0..self.partitions {
            let at = usize::try_from(partition + generation).unwrap_or(0) % assigned.len().max(1);
            if let Some(bytes) = assigned.get_mut(at) {
                bytes.extend(partition.to_be_bytes());
            }
        }
        let assignments = joined.members.iter().zip(assigned);
        let request = SyncGroupRequest {
            group_id: GROUP.into(),
            generation_id: generation,
            member_id: self.id.as_str().into(),
            assignments: assignments
                .map(|(member, bytes)| SyncGroupRequestAssignment {
                    member_id: member.member_id.clone(),
                    assignment: bytes.into(),
                })
                .collect(),
            ..Default::default()
        };
        let Response::SyncGroup(synced) = self.ask(3, Request::SyncGroup(request)).await? else {
            return None;
        };
        if let Next::Begin = self.after(synced.error_code) {
            self.id.clear();
        }
        if synced.error_code != 0 {
            return None;
        }
        let now = self.scene.kernel.now();
        let words = synced.assignment.chunks_exact(4);
        let mine: Vec<i32> = words
            .filter_map(|word| Some(i32::from_be_bytes(word.try_into().ok()?)))
            .collect();
        for partition in &mine {
            self.offsets.owns(now, generation, *partition, &self.id);
        }
        let at = match mine.is_empty() {
            true => BTreeMap::new(),
            false => self.positions(mine).await?,
        };
        Some(Term { generation, at })
    }

    async fn positions(&mut self, mine: Vec<i32>) -> Option<BTreeMap<i32, (i64, i64)>> {
        let asked = self.offsets.asks();
        let request = OffsetFetchRequest {
            group_id: GROUP.into(),
            topics: Some(vec![OffsetFetchRequestTopic {
                name: self.scene.topic.as_str().into(),
                partition_indexes: mine,
            }]),
            ..Default::default()
        };
        let answer = self.ask(5, Request::OffsetFetch(request)).await?;
        let Response::OffsetFetch(fetched) = answer else {
            return None;
        };
        let rows = fetched.topics.iter().flat_map(|topic| &topic.partitions);
        let codes = rows.clone().map(|row| row.error_code);
        if codes.chain([fetched.error_code]).any(|code| code != 0) {
            self.coordinator = None;
            return None;
        }
        let now = self.scene.kernel.now();
        let mut at = BTreeMap::new();
        for row in rows {
            let (partition, value) = (row.partition_index, row.committed_offset);
            self.offsets
                .fetched(now, &self.who, partition, value, asked);
            at.insert(partition, (value.max(0), value));
        }
        Some(at)
    }

    /// Reads what is its own until it has to join again ([`Next::GoOn`]: until it wants to leave).
    async fn read(&mut self, mut term: Term) -> Next {
        let kernel = Arc::clone(&self.scene.kernel);
        let mut readers: BTreeMap<i32, Client> = term
            .at
            .keys()
            .map(|partition| (*partition, Client::new(&self.scene, self.number)))
            .collect();
        loop {
            for (partition, (at, _)) in &mut term.at {
                if let Some(reader) = readers.get_mut(partition) {
                    let next = reader.read_once(&self.who, *partition, *at).await;
                    let now = kernel.now();
                    let offsets = &self.offsets;
                    if next > *at {
                        offsets.delivered(now, &self.who, *partition, *at, next);
                        *at = next;
                    }
                }
            }
            let next = match kernel.one_in(3) {
                true => self.commit(&mut term).await,
                false => self.beat(term.generation).await,
            };
            if !matches!(next, Next::GoOn) {
                return next;
            }
            if kernel.one_in(50) && !self.scene.is_over() {
                // Mostly with all committed, as who closes a consumer; sometimes without a word.
                return match kernel.one_in(3) {
                    true => Next::Begin,
                    false => self.commit(&mut term).await,
                };
            }
            kernel.sleep(kernel.between(ROUND / 2, ROUND)).await;
        }
    }

    async fn beat(&mut self, generation: i32) -> Next {
        let request = HeartbeatRequest {
            group_id: GROUP.into(),
            generation_id: generation,
            member_id: self.id.as_str().into(),
            ..Default::default()
        };
        match self.ask(3, Request::Heartbeat(request)).await {
            Some(Response::Heartbeat(answer)) => self.after(answer.error_code),
            _ => Next::GoOn,
        }
    }

    async fn commit(&mut self, term: &mut Term) -> Next {
        let due = term.at.iter_mut();
        let mut due: Vec<_> = due.filter(|(_, (at, kept))| at > kept).collect();
        if due.is_empty() {
            return self.beat(term.generation).await;
        }
        let row = |partition: i32, at: i64| OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: at,
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: GROUP.into(),
            generation_id_or_member_epoch: term.generation,
            member_id: self.id.as_str().into(),
            topics: vec![OffsetCommitRequestTopic {
                name: self.scene.topic.as_str().into(),
                partitions: due.iter().map(|(p, (at, _))| row(**p, *at)).collect(),
            }],
            ..Default::default()
        };
        let numbers: BTreeMap<i32, u64> = due
            .iter()
            .map(|(partition, (at, _))| (**partition, self.offsets.commits(**partition, *at)))
            .collect();
        let answer = self.ask(7, Request::OffsetCommit(request)).await;
        let Some(Response::OffsetCommit(answer)) = answer else {
            // It may come to be committed later, so whoever goes on must be somebody else.
            return Next::Begin;
        };
        let rows = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let mut worst = Next::GoOn;
        for row in rows {
            let Some(number) = numbers.get(&row.partition_index) else {
                continue;
            };
            let place = due.iter_mut().find(|(p, _)| **p == row.partition_index);
            match (self.after(row.error_code), place) {
                (Next::GoOn, Some((_, (at, kept)))) if row.error_code == 0 => {
                    self.offsets.committed(*number);
                    *kept = *at;
                }
                // What the coordinator began to write may be there all the same.
                (Next::GoOn, _) => worst = Next::Begin,
                (next, _) => {
                    self.offsets.refused(*number);
                    worst = next;
                }
            }
        }
        worst
    }

    async fn leave(&mut self) {
        let request = LeaveGroupRequest {
            group_id: GROUP.into(),
            member_id: self.id.as_str().into(),
            ..Default::default()
        };
        // Who is not heard is dead in a while.
        let _ = self.ask(1, Request::LeaveGroup(request)).await;
        self.id.clear();
    }
}
