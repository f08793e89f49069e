//! A coordinator with a clock, a log and clients, all played by the test.

use plimsoll_group_coordinator::*;
use plimsoll_types::{LeaderEpoch, Monotonic, Timestamp, TopicName};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub(crate) const SESSION: Duration = Duration::from_secs(10);
pub(crate) const REBALANCE: Duration = Duration::from_secs(60);
pub(crate) const GROUP: &str = "g";

pub(crate) fn config() -> GroupConfig {
    GroupConfig {
        min_session_timeout: Duration::from_secs(6),
        max_session_timeout: Duration::from_secs(1800),
        initial_rebalance_delay: Duration::ZERO,
        new_member_join_timeout: Duration::from_secs(300),
        max_group_members: 10,
        max_groups: 10,
        max_member_bytes: 1000,
        max_group_bytes: 5000,
        max_bytes: 100_000,
        max_offset_metadata_bytes: 16,
        offsets_retention: Duration::from_secs(7 * 24 * 3600),
        retention_check_interval: Duration::from_secs(600),
        write_timeout: Duration::from_secs(5),
        max_writes_in_flight: 100,
        max_records_per_write: 3,
    }
}

pub(crate) struct Room {
    pub(crate) coordinator: Coordinator,
    elapsed: Duration,
    next_reply: u64,
    fresh: u64,
    replies: BTreeMap<ReplyTo, Response>,
    pub(crate) under_way: VecDeque<(WriteId, Vec<LogRecord>)>,
    /// What became durable.
    pub(crate) log: Vec<LogRecord>,
    /// Whether writes end well at once.
    pub(crate) writes_at_once: bool,
    pub(crate) notes: Vec<Event>,
}

impl Room {
    pub(crate) fn new() -> Self {
        Self::with(config())
    }

    pub(crate) fn with(config: GroupConfig) -> Self {
        Self::loaded_with(config, Vec::new())
    }

    pub(crate) fn loaded_with(config: GroupConfig, log: Vec<LogRecord>) -> Self {
        let mut coordinator = Coordinator::new(config);
        for record in log.clone() {
            coordinator.load(record);
        }
        let mut room = Self {
            coordinator,
            elapsed: Duration::from_secs(1000),
            next_reply: 0,
            fresh: 0,
            replies: BTreeMap::new(),
            under_way: VecDeque::new(),
            log,
            writes_at_once: true,
            notes: Vec::new(),
        };
        let actions = room.coordinator.finish_loading(room.now());
        room.perform(actions);
        room
    }

    pub(crate) fn now(&self) -> Now {
        let ms = i64::try_from(self.elapsed.as_millis()).expect("small");
        Now {
            monotonic: Monotonic::from_start(self.elapsed),
            wall: Timestamp::from_millis(ms),
        }
    }

    fn perform(&mut self, actions: Actions) {
        for action in actions {
            match action {
                Action::Reply { to, response } => {
                    let twice = self.replies.insert(to, response);
                    assert!(twice.is_none(), "G5: {to:?} is answered once");
                }
                Action::Write { write, records } => self.under_way.push_back((write, records)),
                Action::Note(event) => self.notes.push(event),
                _ => unreachable!("no other action is known"),
            }
        }
        if self.writes_at_once && !self.under_way.is_empty() {
            self.write_all();
        }
    }

    pub(crate) fn input(&mut self, input: Input) {
        let actions = self.coordinator.handle(self.now(), input);
        self.perform(actions);
    }

    /// The oldest write ends.
    pub(crate) fn end_write(&mut self, result: Result<(), WriteError>) {
        let (write, records) = self.under_way.pop_front().expect("a write is under way");
        if result.is_ok() {
            self.log.extend(records);
        }
        self.input(Input::Written { write, result });
    }

    pub(crate) fn write_all(&mut self) {
        while !self.under_way.is_empty() {
            self.end_write(Ok(()));
        }
    }

    /// Lets time pass, ticking at each deadline on the way.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.elapsed + time;
        while let Some(at) = self.coordinator.next_deadline() {
            if at.since_start() > end {
                break;
            }
            self.elapsed = self.elapsed.max(at.since_start());
            self.input(Input::Tick);
        }
        self.elapsed = end;
        self.input(Input::Tick);
    }

    pub(crate) fn ask(&mut self, input: impl FnOnce(ReplyTo) -> Input) -> ReplyTo {
        self.next_reply += 1;
        let reply = ReplyTo(self.next_reply);
        self.input(input(reply));
        reply
    }

    pub(crate) fn is_answered(&self, reply: ReplyTo) -> bool {
        self.replies.contains_key(&reply)
    }

    pub(crate) fn answer(&self, reply: ReplyTo) -> &Response {
        self.replies
            .get(&reply)
            .unwrap_or_else(|| panic!("{reply:?} has no answer yet"))
    }

    pub(crate) fn join_request(&mut self, member: &str, instance: Option<&str>) -> JoinRequest {
        self.fresh += 1;
        JoinRequest {
            group: GROUP.into(),
            member: member.into(),
            instance: instance.map(Text::from),
            client_id: "client".into(),
            client_host: "host".into(),
            session_timeout: SESSION,
            rebalance_timeout: REBALANCE,
            protocol_type: "consumer".into(),
            protocols: vec![protocol("range", "orders")],
            require_member_id: false,
            may_skip_assignment: false,
            fresh_id: self.fresh.to_string().into(),
        }
    }

    pub(crate) fn ask_join(&mut self, request: JoinRequest) -> ReplyTo {
        self.ask(|reply| Input::Join { reply, request })
    }

    pub(crate) fn ask_to_join(&mut self, member: &str) -> ReplyTo {
        let request = self.join_request(member, None);
        self.ask_join(request)
    }

    pub(crate) fn ask_to_join_as(&mut self, instance: &str) -> ReplyTo {
        let request = self.join_request("", Some(instance));
        self.ask_join(request)
    }

    pub(crate) fn joined(&self, reply: ReplyTo) -> Joined {
        match self.answer(reply) {
            Response::Join(Ok(joined)) => joined.clone(),
            other => panic!("not joined: {other:?}"),
        }
    }

    pub(crate) fn refused(&self, reply: ReplyTo) -> Refused {
        match self.answer(reply) {
            Response::Join(Err(refused)) => refused.clone(),
            other => panic!("not refused: {other:?}"),
        }
    }

    pub(crate) fn sync_request(&self, member: &str, generation: i32) -> SyncRequest {
        SyncRequest {
            group: GROUP.into(),
            member: member.into(),
            instance: None,
            generation,
            protocol_type: None,
            protocol: None,
            assignments: Vec::new(),
        }
    }

    pub(crate) fn ask_sync(&mut self, request: SyncRequest) -> ReplyTo {
        self.ask(|reply| Input::Sync { reply, request })
    }

    pub(crate) fn ask_to_sync(&mut self, member: &str, generation: i32) -> ReplyTo {
        let request = self.sync_request(member, generation);
        self.ask_sync(request)
    }

    /// The leader gives each member its own id as assignment.
    pub(crate) fn ask_to_lead(&mut self, joined: &Joined) -> ReplyTo {
        let mut request = self.sync_request(&joined.member, joined.generation);
        let own = |m: &JoinedMember| (m.member.clone(), Blob::from(m.member.as_bytes()));
        request.assignments = joined.members.iter().map(own).collect();
        self.ask_sync(request)
    }

    pub(crate) fn synced(&self, reply: ReplyTo) -> Result<Blob, GroupError> {
        match self.answer(reply) {
            Response::Sync(result) => result.clone().map(|synced| synced.assignment),
            other => panic!("not a sync: {other:?}"),
        }
    }

    pub(crate) fn heartbeat(&mut self, member: &str, generation: i32) -> Result<(), GroupError> {
        self.heartbeat_as(member, None, generation)
    }

    pub(crate) fn heartbeat_as(
        &mut self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(), GroupError> {
        let request = HeartbeatRequest {
            group: GROUP.into(),
            member: member.into(),
            instance: instance.map(Text::from),
            generation,
        };
        let reply = self.ask(|reply| Input::Heartbeat { reply, request });
        match self.answer(reply) {
            Response::Heartbeat(result) => *result,
            other => panic!("not a heartbeat: {other:?}"),
        }
    }

    pub(crate) fn ask_to_leave(&mut self, leavers: &[(&str, Option<&str>)]) -> ReplyTo {
        let leaver = |(member, instance): &(&str, Option<&str>)| Leaver {
            member: (*member).into(),
            instance: instance.map(Text::from),
        };
        let members = leavers.iter().map(leaver).collect();
        let request = LeaveRequest {
            group: GROUP.into(),
            members,
        };
        self.ask(|reply| Input::Leave { reply, request })
    }

    pub(crate) fn left(&self, reply: ReplyTo) -> Result<Vec<LeaveResult>, GroupError> {
        match self.answer(reply) {
            Response::Leave(result) => result.clone(),
            other => panic!("not a leave: {other:?}"),
        }
    }

    pub(crate) fn commit_request(
        &self,
        member: &str,
        generation: i32,
        offset: i64,
    ) -> CommitRequest {
        CommitRequest {
            group: GROUP.into(),
            member: member.into(),
            instance: None,
            generation,
            retention: None,
            offsets: vec![to_commit("orders", 0, offset)],
        }
    }

    pub(crate) fn ask_commit(&mut self, request: CommitRequest) -> ReplyTo {
        self.ask(|reply| Input::Commit { reply, request })
    }

    pub(crate) fn ask_to_commit(&mut self, member: &str, generation: i32, offset: i64) -> ReplyTo {
        let request = self.commit_request(member, generation, offset);
        self.ask_commit(request)
    }

    pub(crate) fn committed(&self, reply: ReplyTo) -> Vec<Result<(), GroupError>> {
        match self.answer(reply) {
            Response::Commit(results) => results.clone(),
            other => panic!("not a commit: {other:?}"),
        }
    }

    pub(crate) fn offset(&self, topic: &str, partition: u32) -> Option<i64> {
        let offsets = self.coordinator.offsets(GROUP).expect("loaded");
        offsets.get(topic, partition).map(|o| o.offset)
    }

    pub(crate) fn ask_to_delete_group(&mut self) -> ReplyTo {
        self.ask(|reply| Input::DeleteGroup {
            reply,
            group: GROUP.into(),
        })
    }

    pub(crate) fn group_deleted(&self, reply: ReplyTo) -> Result<(), GroupError> {
        match self.answer(reply) {
            Response::DeleteGroup(result) => *result,
            other => panic!("not a deletion: {other:?}"),
        }
    }

    pub(crate) fn state(&self) -> GroupState {
        self.coordinator
            .describe(GROUP)
            .expect("the group is known")
            .state
    }

    /// A stable group of this many members, leader first, and its generation.
    pub(crate) fn stable(&mut self, members: usize) -> (Vec<Text>, i32) {
        let mut ids: Vec<Text> = Vec::new();
        for _ in 0..members {
            let newcomer = self.ask_to_join("");
            let rejoining: Vec<_> = ids.iter().map(|id| self.ask_to_join(id)).collect();
            let all: Vec<_> = rejoining.into_iter().chain([newcomer]).collect();
            let joined: Vec<_> = all.into_iter().map(|reply| self.joined(reply)).collect();
            self.settle(&joined);
            ids = joined.iter().map(|j| j.member.clone()).collect();
        }
        let generation = self.coordinator.describe(GROUP).expect("known").generation;
        (ids, generation)
    }

    /// Everyone who joined syncs, the leader last.
    pub(crate) fn settle(&mut self, joined: &[Joined]) {
        for follower in joined.iter().filter(|j| j.member != j.leader) {
            self.ask_to_sync(&follower.member, follower.generation);
        }
        let leader = joined
            .iter()
            .find(|j| j.member == j.leader)
            .expect("the leader joined");
        self.ask_to_lead(leader);
    }

    pub(crate) fn reloaded(&self, config: GroupConfig) -> Self {
        let mut room = Self::loaded_with(config, self.log.clone());
        room.fresh = self.fresh;
        room
    }
}

pub(crate) fn protocol(name: &str, topic: &str) -> Protocol {
    Protocol {
        name: name.into(),
        metadata: topic.as_bytes().into(),
        topics: Some(vec![topic.into()]),
    }
}

pub(crate) fn to_commit(topic: &str, partition: u32, offset: i64) -> OffsetToCommit {
    OffsetToCommit {
        topic: TopicName::new(topic).expect("legal"),
        partition,
        offset,
        leader_epoch: Some(LeaderEpoch::new(3)),
        metadata: "note".into(),
    }
}
