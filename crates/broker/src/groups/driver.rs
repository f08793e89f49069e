//! What moves the groups when no request does: writes that reach the log and become durable,
//! timers, the loading of partitions, and the end of waiting for it.
//!
//! One future for all partitions of the offsets topic; the node runs it as one task. It appends
//! what the coordinators ask for, in order and several writes to a batch, watches the high
//! watermark, and tells them of it. Requests ring its bell when there is something to do.

use plimsoll_group_coordinator::{Coordinator, Input, Now, WriteError, WriteId};
use plimsoll_partition::{Append, AppendError, Partition, Role, describe};
use plimsoll_record_batch::DecodeLimits;
use plimsoll_types::{LeaderEpoch, Monotonic, TopicName};
use plimsoll_watermark::{Mark, Signal, Watch, WatchState};
use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::OFFSETS_TOPIC;
use super::log::{self, Bundle, LoadError};
use super::shard::{Shard, Ticked};
use crate::Broker;
use crate::catalog::LookupError;

/// How long a partition that failed is left alone.
const RETRY: Duration = Duration::from_secs(5);
/// How often is looked for the offsets topic while the node opens its logs.
const LOOK: Duration = Duration::from_millis(100);
/// Most partitions loaded at once; each takes a worker.
const MAX_LOADS: usize = 4;

impl Broker {
    /// Drives the consumer groups for as long as it is polled. A node runs one of these; without
    /// it no group is loaded, no commit is answered and no session ends.
    pub fn run_groups(self: &Arc<Self>) -> impl Future<Output = ()> + Send + 'static + use<> {
        let mut driver = Driver::new(Arc::clone(self));
        std::future::poll_fn(move |cx| driver.poll(cx))
    }
}

type Load = Pin<Box<dyn Future<Output = Option<Result<Coordinator, LoadError>>> + Send>>;
type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

struct Driver {
    broker: Arc<Broker>,
    signal: Arc<Signal>,
    lanes: Vec<Lane>,
    sleep: Option<(Monotonic, Sleep)>,
}

/// One partition, as the driver sees it.
struct Lane {
    shard: Arc<Shard>,
    state: State,
    /// The term of this node's leadership that the state is of; `None` before the first look.
    term: Option<Option<LeaderEpoch>>,
    /// The last attempt failed; the next failure is no news.
    failing: bool,
}

enum State {
    /// Not read yet, or not readable before this moment.
    Idle { not_before: Option<Monotonic> },
    Loading {
        partition: Arc<Partition>,
        load: Load,
    },
    Serving {
        partition: Arc<Partition>,
        under_way: VecDeque<UnderWay>,
    },
}

/// Writes on their way, oldest first.
struct UnderWay {
    writes: Vec<WriteId>,
    stage: Stage,
}

enum Stage {
    Appending(Append),
    Syncing(Watch),
    /// Nothing was written.
    Refused(WriteError),
}

impl Driver {
    fn new(broker: Arc<Broker>) -> Self {
        let signal = Arc::clone(broker.groups.signal());
        Self {
            broker,
            signal,
            lanes: Vec::new(),
            sleep: None,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            // The bell is heard before anything is looked at, so no ring is lost.
            let mut again = self.signal.poll_notified(cx).is_ready();
            let next = self.step(cx);
            again |= self.poll_sleep(cx, next);
            if !again {
                return Poll::Pending;
            }
        }
    }

    /// Whether the moment `next` has come; if not, it will wake us.
    fn poll_sleep(&mut self, cx: &mut Context<'_>, next: Option<Monotonic>) -> bool {
        let Some(next) = next else { return false };
        // An earlier alarm than needed does no harm: deadlines mostly move away again.
        if self.sleep.as_ref().is_none_or(|(at, _)| *at > next) {
            let clock = Arc::clone(&self.broker.clock);
            let sleep = Box::pin(async move { clock.sleep_until(next).await });
            self.sleep = Some((next, sleep));
        }
        let Some((_, sleep)) = &mut self.sleep else {
            return false;
        };
        let rung = sleep.as_mut().poll(cx).is_ready();
        if rung {
            self.sleep = None;
        }
        rung
    }

    /// Does all that can be done now, and says when there will be more.
    fn step(&mut self, cx: &mut Context<'_>) -> Option<Monotonic> {
        if self.lanes.is_empty() && !self.open() {
            // One that is not there yet rings when it is created.
            self.broker.metadata.image().topic(OFFSETS_TOPIC)?;
            self.broker.groups.expect();
            return Some(self.broker.clock.now() + LOOK);
        }
        let now = self.broker.group_time();
        let mut loads = self.lanes.iter().filter(|lane| lane.is_loading()).count();
        let mut next: Option<Monotonic> = None;
        for lane in &mut self.lanes {
            let deadline = lane.step(&self.broker, now, &self.signal, &mut loads, cx);
            let held = lane.shard.refuse_overdue(now);
            next = [next, deadline, held].into_iter().flatten().min();
        }
        next
    }

    /// Finds the offsets topic, once the node hosts it.
    fn open(&mut self) -> bool {
        let Some(topic) = self.broker.host.catalog.topic(OFFSETS_TOPIC) else {
            return false;
        };
        let shards = self.broker.groups.open(topic.partitions.len());
        let lane = |shard: &Arc<Shard>| Lane {
            shard: Arc::clone(shard),
            state: State::Idle { not_before: None },
            term: None,
            failing: false,
        };
        self.lanes = shards.iter().map(lane).collect();
        true
    }
}

impl Lane {
    fn is_loading(&self) -> bool {
        matches!(self.state, State::Loading { .. })
    }

    fn step(
        &mut self,
        broker: &Arc<Broker>,
        now: Now,
        signal: &Arc<Signal>,
        loads: &mut usize,
        cx: &mut Context<'_>,
    ) -> Option<Monotonic> {
        let term = broker.offsets_term(self.shard.index);
        if self.term != Some(term) {
            self.begin_term(now, term, signal, loads);
        }
        // Without a term there is nothing to do; a change of the leader rings.
        term?;
        if let State::Idle { not_before } = &self.state {
            if let Some(at) = not_before.filter(|at| *at > now.monotonic) {
                return Some(at);
            }
            if *loads >= MAX_LOADS {
                return None; // One of the loads that run wakes us.
            }
            self.begin_load(broker, now);
            *loads += usize::from(self.is_loading());
        }
        if let State::Loading { load, .. } = &mut self.state {
            let Poll::Ready(outcome) = load.as_mut().poll(cx) else {
                return None;
            };
            *loads -= 1;
            // Another may begin in the place of this one.
            signal.notify();
            self.end_load(broker, now, outcome);
        }
        loop {
            if let Err(error) = self.serve(signal, now, cx) {
                self.fail(now, &error);
            }
            match &self.state {
                State::Serving { .. } => {
                    let Ticked { next, wrote } = self.shard.tick(now);
                    if !wrote {
                        return next;
                    }
                }
                State::Idle { not_before } => return *not_before,
                State::Loading { .. } => return None,
            }
        }
    }

    /// Leadership came, went or was renewed. What was written in another term is another
    /// leader's to answer for: everyone who waits is told, and the groups are read again.
    fn begin_term(
        &mut self,
        now: Now,
        term: Option<LeaderEpoch>,
        signal: &Arc<Signal>,
        loads: &mut usize,
    ) {
        if self.is_loading() {
            *loads -= 1;
            signal.notify();
        }
        self.term = Some(term);
        self.failing = false;
        self.state = State::Idle { not_before: None };
        match term {
            Some(_) => self.shard.expected(now),
            None => self.shard.left(now),
        }
    }

    /// Whether the replica leads in the term, and what earlier leaders committed is known to it
    /// (I6).
    fn may_load(&self, partition: &Partition) -> bool {
        let leads = match *partition.role() {
            Role::Leader { leader_epoch, .. } => self.term == Some(Some(leader_epoch)),
            Role::Follower { .. } | Role::Idle => false,
        };
        leads && partition.is_settled()
    }

    fn begin_load(&mut self, broker: &Arc<Broker>, now: Now) {
        let index = i32::try_from(self.shard.index).unwrap_or(i32::MAX);
        match broker.host.catalog.partition(OFFSETS_TOPIC, index) {
            Ok(partition) if !self.may_load(&partition) => {
                self.state = State::Idle {
                    not_before: Some(now.monotonic + LOOK),
                };
            }
            Ok(partition) => {
                let load = load(broker, &partition, &self.shard);
                self.state = State::Loading { partition, load };
            }
            // Rung for when it is open.
            Err(LookupError::Opening) => {}
            Err(error) => self.fail(now, &error),
        }
    }

    fn end_load(
        &mut self,
        broker: &Arc<Broker>,
        now: Now,
        outcome: Option<Result<Coordinator, LoadError>>,
    ) {
        let State::Loading { partition, .. } =
            std::mem::replace(&mut self.state, State::Idle { not_before: None })
        else {
            return;
        };
        match outcome {
            Some(Ok(coordinator)) => {
                let topics = coordinator.topics();
                self.failing = false;
                self.state = State::Serving {
                    partition,
                    under_way: VecDeque::new(),
                };
                self.shard.loaded(now, coordinator);
                // Looked up after the coordinator was put in place: from then on it is told.
                let gone = gone(broker, topics);
                if !gone.is_empty() {
                    self.shard.tell(now, Input::TopicsDeleted { topics: gone });
                }
            }
            Some(Err(error)) => self.fail(now, &error),
            // The node is stopping.
            None => {
                self.state = State::Idle {
                    not_before: Some(now.monotonic + RETRY),
                }
            }
        }
    }

    fn fail(&mut self, now: Now, error: &dyn std::error::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            let (partition, error) = (self.shard.index, describe(error));
            let topic = OFFSETS_TOPIC;
            tracing::error!(event = "group_coordinator_failed", topic, partition, %error);
        }
        self.shard.failed(now);
        self.state = State::Idle {
            not_before: Some(now.monotonic + RETRY),
        };
    }

    /// Moves every write as far as it goes.
    fn serve(&mut self, signal: &Arc<Signal>, now: Now, cx: &mut Context<'_>) -> Result<(), Lost> {
        let State::Serving {
            partition,
            under_way,
        } = &mut self.state
        else {
            return Ok(());
        };
        loop {
            let outbox = self.shard.take_outbox();
            for Bundle { writes, batch } in log::bundle(outbox, now.wall) {
                let stage = match batch {
                    Ok(batch) => Stage::Appending(partition.append(batch)),
                    Err(error) => Stage::Refused(error),
                };
                under_way.push_back(UnderWay { writes, stage });
            }
            for write in &mut *under_way {
                write.poll_append(partition, signal, cx);
            }
            let Some(result) = under_way.front().and_then(UnderWay::result) else {
                return Ok(());
            };
            let writes = under_way
                .pop_front()
                .map(|done| done.writes)
                .unwrap_or_default();
            if result == Err(WriteError::NotLeader) {
                return Err(Lost);
            }
            self.shard.written(now, &writes, result);
        }
    }
}

/// The partition's log stopped taking writes, or another node leads it.
#[derive(Debug, thiserror::Error)]
#[error("the partition takes no writes any more")]
struct Lost;

impl UnderWay {
    fn poll_append(&mut self, partition: &Partition, signal: &Arc<Signal>, cx: &mut Context<'_>) {
        let Stage::Appending(append) = &mut self.stage else {
            return;
        };
        let Poll::Ready(outcome) = Pin::new(append).poll(cx) else {
            return;
        };
        self.stage = match outcome {
            Ok(appended) => {
                let (epoch, end) = (appended.leader_epoch, appended.end);
                let marks = partition.watermarks();
                let watch = marks.watch_in(epoch, Mark::HighWatermark, end, signal);
                // A failure between the append and here has ended the course already, and this
                // watch began in the one after it, where nothing will move.
                match partition.offline() {
                    None => Stage::Syncing(watch),
                    Some(_) => Stage::Refused(WriteError::NotLeader),
                }
            }
            Err(AppendError::Refused { .. }) => Stage::Refused(WriteError::Unavailable),
            Err(_) => Stage::Refused(WriteError::NotLeader),
        };
    }

    /// How it ended, if it has.
    fn result(&self) -> Option<Result<(), WriteError>> {
        match &self.stage {
            Stage::Appending(_) => None,
            Stage::Refused(error) => Some(Err(*error)),
            Stage::Syncing(watch) => match watch.state() {
                WatchState::Pending => None,
                WatchState::Reached => Some(Ok(())),
                WatchState::Superseded => Some(Err(WriteError::NotLeader)),
            },
        }
    }
}

fn load(broker: &Arc<Broker>, partition: &Arc<Partition>, shard: &Shard) -> Load {
    let (broker, partition) = (Arc::clone(broker), Arc::clone(partition));
    let config = shard.config().clone();
    let limits = DecodeLimits {
        max_decompressed_bytes: broker.config.max_decompressed_bytes,
        max_records: u32::MAX,
    };
    Box::pin(async move {
        broker
            .blocking(move || log::load(&partition, config, &limits))
            .await
    })
}

/// Those of `topics` that were deleted while nobody was told: between a deletion and a crash.
fn gone(broker: &Broker, topics: BTreeSet<TopicName>) -> Vec<TopicName> {
    let image = broker.metadata.image();
    topics
        .into_iter()
        .filter(|topic| image.topic(topic.as_str()).is_none())
        .collect()
}
