//! Clients, a log and a clock that do as random steps tell them, and hold the coordinator to its
//! word: one answer a request (G5), none before its write (G6), generations that only grow (G1).

use crate::room::config;
use plimsoll_group_coordinator::*;
use plimsoll_types::{Monotonic, Timestamp, TopicName};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// One thing that happens; numbers choose among what is there at the time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Join {
        group: u8,
        who: u8,
        instance: u8,
        protocols: u8,
        twice: bool,
        skip: bool,
    },
    Sync {
        group: u8,
        who: u8,
        generation: i8,
    },
    Heartbeat {
        group: u8,
        who: u8,
        generation: i8,
    },
    Leave {
        group: u8,
        who: u8,
        instance: u8,
    },
    Commit {
        group: u8,
        who: u8,
        generation: i8,
        partition: u8,
    },
    DeleteOffset {
        group: u8,
        partition: u8,
    },
    DeleteGroup {
        group: u8,
    },
    DeleteTopic,
    Write {
        fails: bool,
    },
    Pass {
        ms: u32,
    },
}

pub(crate) struct World {
    pub(crate) coordinator: Coordinator,
    elapsed: Duration,
    next_reply: u64,
    pub(crate) waiting: BTreeSet<ReplyTo>,
    /// What a waiting commit promises, if it is answered with success.
    commits: BTreeMap<ReplyTo, LogRecord>,
    /// Group and generation of waiting syncs.
    syncs: BTreeMap<ReplyTo, (Text, i32)>,
    pub(crate) under_way: VecDeque<(WriteId, Vec<LogRecord>)>,
    log: Vec<LogRecord>,
    /// Every member id a group was heard to use.
    members: BTreeMap<Text, Vec<Text>>,
    generations: BTreeMap<Text, i32>,
}

impl World {
    pub(crate) fn new() -> Self {
        let config = GroupConfig {
            initial_rebalance_delay: Duration::from_secs(1),
            max_group_members: 4,
            ..config()
        };
        let mut world = Self {
            coordinator: Coordinator::new(config),
            elapsed: Duration::ZERO,
            next_reply: 0,
            waiting: BTreeSet::new(),
            commits: BTreeMap::new(),
            syncs: BTreeMap::new(),
            under_way: VecDeque::new(),
            log: Vec::new(),
            members: BTreeMap::new(),
            generations: BTreeMap::new(),
        };
        let actions = world.coordinator.finish_loading(world.now());
        assert!(actions.is_empty());
        world
    }

    fn now(&self) -> Now {
        let ms = i64::try_from(self.elapsed.as_millis()).expect("small");
        Now {
            monotonic: Monotonic::from_start(self.elapsed),
            wall: Timestamp::from_millis(ms),
        }
    }

    fn input(&mut self, input: Input) {
        for action in self.coordinator.handle(self.now(), input) {
            match action {
                Action::Reply { to, response } => self.answered(to, &response),
                Action::Write { write, records } => self.under_way.push_back((write, records)),
                Action::Note(event) => self.note(&event),
                _ => unreachable!("no other action is known"),
            }
        }
    }

    fn note(&mut self, event: &Event) {
        let before = self
            .generations
            .insert(event.group.clone(), event.generation);
        let restarted = event.from == GroupState::Empty && event.generation == 0;
        assert!(
            restarted || before.is_none_or(|g| g <= event.generation),
            "G1: {event}"
        );
    }

    fn answered(&mut self, to: ReplyTo, response: &Response) {
        assert!(self.waiting.remove(&to), "G5: {to:?} is answered once");
        match response {
            Response::Commit(results) if results == &[Ok(())] => {
                let promised = &self.commits[&to];
                assert!(
                    self.log.contains(promised),
                    "G6: {promised:?} is in the log"
                );
            }
            Response::Sync(Ok(_)) => {
                let (id, generation) = &self.syncs[&to];
                let kept = |record: &LogRecord| match record {
                    LogRecord::Group {
                        group,
                        value: Some(v),
                    } => group == id && v.generation == *generation,
                    _ => false,
                };
                assert!(
                    self.log.iter().any(kept),
                    "G6: generation {generation} is in the log"
                );
            }
            Response::Join(Ok(joined)) => self.heard(&joined.member),
            Response::Join(Err(refused)) => self.heard(&refused.member),
            _ => {}
        }
    }

    fn heard(&mut self, member: &Text) {
        // The client id names the group, so that the id tells where it belongs.
        let group = member.split('-').next().unwrap_or_default();
        self.members
            .entry(group.into())
            .or_default()
            .push(member.clone());
    }

    fn ask(&mut self, input: impl FnOnce(ReplyTo) -> Input) -> ReplyTo {
        self.next_reply += 1;
        let reply = ReplyTo(self.next_reply);
        self.waiting.insert(reply);
        self.input(input(reply));
        reply
    }

    /// Mostly a member, else an id heard of lately (a promised one, a dead one), or none.
    fn who(&self, group: &Text, who: u8) -> Text {
        let heard = self.members.get(group).map_or(&[][..], Vec::as_slice);
        let described = self.coordinator.describe(group).ok();
        let members = described.into_iter().flat_map(|group| group.members);
        let mut ids: Vec<Text> = members.map(|member| member.member).collect();
        ids.extend_from_slice(&heard[heard.len().saturating_sub(2)..]);
        match usize::from(who) % (ids.len() + 1) {
            0 => "".into(),
            n => ids.swap_remove(n - 1),
        }
    }

    fn generation(&self, group: &Text, off: i8) -> i32 {
        let current = self
            .coordinator
            .describe(group)
            .map_or(-1, |g| g.generation);
        current + i32::from(off)
    }

    fn instance(&self, group: &Text, member: &Text, n: u8) -> Option<Text> {
        let instance = Text::from(format!("{group}-i{n}"));
        // An instance belongs to ids made of it, or is the wrong one now and then.
        (n < 2 && (member.is_empty() || member.starts_with(&*instance))).then_some(instance)
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Join {
                group,
                who,
                instance,
                protocols,
                twice,
                skip,
            } => {
                self.join(&name(group), who, instance, protocols, twice, skip);
            }
            Step::Sync {
                group,
                who,
                generation,
            } => self.sync(&name(group), who, generation),
            Step::Heartbeat {
                group,
                who,
                generation,
            } => {
                let group = name(group);
                let (member, generation) =
                    (self.who(&group, who), self.generation(&group, generation));
                let request = HeartbeatRequest {
                    group,
                    member,
                    instance: None,
                    generation,
                };
                self.ask(|reply| Input::Heartbeat { reply, request });
            }
            Step::Leave {
                group,
                who,
                instance,
            } => {
                let group = name(group);
                let member = self.who(&group, who);
                let instance = self.instance(&group, &member, instance);
                let members = vec![Leaver { member, instance }];
                let request = LeaveRequest { group, members };
                self.ask(|reply| Input::Leave { reply, request });
            }
            Step::Commit {
                group,
                who,
                generation,
                partition,
            } => {
                self.commit(&name(group), who, generation, partition);
            }
            Step::DeleteOffset { group, partition } => {
                let request = OffsetDeleteRequest {
                    group: name(group),
                    offsets: vec![(topic(partition), 0)],
                };
                self.ask(|reply| Input::DeleteOffsets { reply, request });
            }
            Step::DeleteGroup { group } => {
                self.ask(|reply| Input::DeleteGroup {
                    reply,
                    group: name(group),
                });
            }
            Step::DeleteTopic => self.input(Input::TopicsDeleted {
                topics: vec![topic(0)],
            }),
            Step::Write { fails } => self.end_write(fails),
            Step::Pass { ms } => self.pass(Duration::from_millis(ms.into())),
        }
    }

    fn join(
        &mut self,
        group: &Text,
        who: u8,
        instance: u8,
        protocols: u8,
        twice: bool,
        skip: bool,
    ) {
        let member = self.who(group, who);
        let names = ["range", "sticky"].into_iter().enumerate();
        let offered = names.filter(|(n, _)| protocols & (1 << n) != 0);
        let request = JoinRequest {
            group: group.clone(),
            instance: self.instance(group, &member, instance),
            member,
            client_id: group.clone(),
            client_host: "host".into(),
            session_timeout: Duration::from_secs(10),
            rebalance_timeout: Duration::from_secs(30),
            protocol_type: "consumer".into(),
            protocols: offered
                .map(|(_, name)| crate::room::protocol(name, "t1"))
                .collect(),
            require_member_id: twice,
            may_skip_assignment: skip,
            fresh_id: self.next_reply.to_string().into(),
        };
        self.ask(|reply| Input::Join { reply, request });
    }

    fn sync(&mut self, group: &Text, who: u8, generation: i8) {
        let member = self.who(group, who);
        let generation = self.generation(group, generation);
        let request = SyncRequest {
            group: group.clone(),
            member: member.clone(),
            instance: None,
            generation,
            protocol_type: None,
            protocol: None,
            assignments: vec![(member, Blob::from(&b"all"[..]))],
        };
        self.syncs
            .insert(ReplyTo(self.next_reply + 1), (group.clone(), generation));
        self.ask(|reply| Input::Sync { reply, request });
    }

    fn commit(&mut self, group: &Text, who: u8, generation: i8, partition: u8) {
        let member = self.who(group, who);
        let outside = member.is_empty();
        let generation = if outside {
            -1
        } else {
            self.generation(group, generation)
        };
        let offset = i64::try_from(self.next_reply).expect("small");
        let promised = CommittedOffset {
            offset,
            leader_epoch: None,
            metadata: "".into(),
            committed_at: self.now().wall,
            expires_at: None,
        };
        let record = LogRecord::Offset {
            group: group.clone(),
            topic: topic(partition),
            partition: 0,
            value: Some(promised),
        };
        self.commits.insert(ReplyTo(self.next_reply + 1), record);
        let to_commit = OffsetToCommit {
            topic: topic(partition),
            partition: 0,
            offset,
            leader_epoch: None,
            metadata: "".into(),
        };
        let request = CommitRequest {
            group: group.clone(),
            member,
            instance: None,
            generation,
            retention: None,
            offsets: vec![to_commit],
        };
        self.ask(|reply| Input::Commit { reply, request });
    }

    pub(crate) fn end_write(&mut self, fails: bool) {
        let Some((write, records)) = self.under_way.pop_front() else {
            return;
        };
        let result = if fails {
            Err(WriteError::Unavailable)
        } else {
            Ok(())
        };
        if !fails {
            self.log.extend(records);
        }
        self.input(Input::Written { write, result });
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.elapsed + time;
        let mut ticks = 0;
        while let Some(at) = self
            .coordinator
            .next_deadline()
            .filter(|at| at.since_start() <= end)
        {
            self.elapsed = self.elapsed.max(at.since_start());
            self.input(Input::Tick);
            ticks += 1;
            assert!(ticks < 10_000, "deadlines move on");
        }
        self.elapsed = end;
    }

    /// The offsets that the log says there are.
    pub(crate) fn offsets_in_log(&self) -> BTreeMap<(Text, TopicName), i64> {
        let mut offsets = BTreeMap::new();
        for record in &self.log {
            if let LogRecord::Offset {
                group,
                topic,
                value,
                ..
            } = record
            {
                let key = (group.clone(), topic.clone());
                match value {
                    Some(value) => offsets.insert(key, value.offset),
                    None => offsets.remove(&key),
                };
            }
        }
        offsets
    }

    pub(crate) fn offsets_of(coordinator: &Coordinator) -> BTreeMap<(Text, TopicName), i64> {
        let mut offsets = BTreeMap::new();
        for listed in coordinator.list(&ListFilter::default()).expect("loaded") {
            let kept = coordinator.offsets(&listed.group).expect("loaded");
            for (topic, _, value) in kept.iter() {
                offsets.insert((listed.group.clone(), topic.clone()), value.offset);
            }
        }
        offsets
    }

    pub(crate) fn reload(&self) -> Coordinator {
        let mut coordinator = Coordinator::new(config());
        for record in self.log.clone() {
            coordinator.load(record);
        }
        let _ = coordinator.finish_loading(self.now());
        coordinator
    }
}

fn name(group: u8) -> Text {
    format!("g{group}").into()
}

fn topic(n: u8) -> TopicName {
    TopicName::new(&format!("t{n}")).expect("legal")
}
