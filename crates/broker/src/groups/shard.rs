//! The groups of one partition of the offsets topic, behind a lock: a request's way into the
//! coordinator and back.
//!
//! The lock is held for a transition and for nothing else: what a transition wants written waits
//! in the outbox for the driver, and answers are given after the lock is let go.

use parking_lot::Mutex;
use plimsoll_group_coordinator::{
    Action, Actions, Coordinator, Event, GroupConfig, GroupError, Input, LogRecord, Now, ReplyTo,
    Response, WriteError, WriteId,
};
use plimsoll_types::Monotonic;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::held::{self, Held, Wish};
use super::slot::Slot;

/// What a request comes to.
pub(super) type Answer = Result<Response, GroupError>;

/// A write that the coordinator asked for.
pub(super) type Write = (WriteId, Vec<LogRecord>);

pub(super) struct Shard {
    /// The partition of the offsets topic.
    pub(super) index: usize,
    config: GroupConfig,
    core: Mutex<Core>,
}

struct Core {
    coordinator: Coordinator,
    /// Why nobody can be answered until the partition is loaded (again).
    away: Option<Away>,
    waiting: HashMap<ReplyTo, Arc<Slot<Answer>>>,
    held: Held,
    next_reply: u64,
    outbox: VecDeque<Write>,
    /// When the driver looks here again by itself.
    planned: Option<Monotonic>,
}

/// An answer, or where it will be.
pub(super) enum Asked {
    Answered(Response),
    Waits(Arc<Slot<Answer>>),
}

impl Asked {
    pub(super) async fn answer(self) -> Answer {
        match self {
            Self::Answered(response) => Ok(response),
            Self::Waits(slot) => slot.filled().await,
        }
    }
}

/// What time has brought.
pub(super) struct Ticked {
    /// When there will be more.
    pub(super) next: Option<Monotonic>,
    /// Something is to be written.
    pub(super) wrote: bool,
}

/// What is to be done once the lock is free.
#[derive(Default)]
struct Aftermath {
    answers: Vec<(Arc<Slot<Answer>>, Answer)>,
    looks: Vec<Arc<Slot<()>>>,
    notes: Vec<Event>,
    /// The answer to the one who asked.
    own: Option<Response>,
    ring: bool,
}

impl Shard {
    pub(super) fn new(index: usize, config: GroupConfig) -> Self {
        let core = Core {
            coordinator: Coordinator::new(config.clone()),
            away: Some(Away::Loading),
            waiting: HashMap::new(),
            held: Held::default(),
            next_reply: 0,
            outbox: VecDeque::new(),
            planned: None,
        };
        Self {
            index,
            config,
            core: Mutex::new(core),
        }
    }

    pub(super) fn config(&self) -> &GroupConfig {
        &self.config
    }

    /// Puts a request in. `ring` says that the driver has something to do.
    pub(super) fn ask(
        &self,
        now: Now,
        input: impl FnOnce(ReplyTo) -> Input,
    ) -> Result<(Asked, bool), GroupError> {
        let mut core = self.core.lock();
        let reply = ReplyTo(core.next_reply);
        let input = input(reply);
        // Whoever lives is told so while the groups are loaded: nobody's session runs then.
        let beat = matches!(input, Input::Heartbeat { .. });
        let holds = core.held.takes(core.away) && !(beat && core.away == Some(Away::Loading));
        if !holds {
            core.here()?;
        }
        core.next_reply += 1;
        if holds {
            let slot = Arc::new(Slot::new());
            core.waiting.insert(reply, Arc::clone(&slot));
            let ring = core.held.push(now, Wish::Ask(reply, input));
            return Ok((Asked::Waits(slot), ring));
        }
        let actions = core.coordinator.handle(now, input);
        let mut after = core.perform(actions, Some(reply));
        let asked = match after.own.take() {
            Some(response) => Asked::Answered(response),
            None => {
                let slot = Arc::new(Slot::new());
                core.waiting.insert(reply, Arc::clone(&slot));
                Asked::Waits(slot)
            }
        };
        drop(core);
        Ok((asked, after.finish()))
    }

    /// Puts in what is not a request. Returns whether the driver has something to do.
    pub(super) fn tell(&self, now: Now, input: Input) -> bool {
        let mut core = self.core.lock();
        // A held commit for a deleted topic must not outlive the deletion.
        let refused = matches!(input, Input::TopicsDeleted { .. });
        let actions = core.coordinator.handle(now, input);
        let mut after = core.perform(actions, None);
        if refused {
            let held = core.held.take().collect();
            core.refuse(held, &mut after);
        }
        drop(core);
        after.finish()
    }

    /// Where to wait for groups that are about to be here, if they are; filled when they are, or
    /// when there is no more to be waited for. `true` says that the driver has something to do.
    pub(super) fn look_later(&self, now: Now) -> Option<(Arc<Slot<()>>, bool)> {
        let mut core = self.core.lock();
        if !core.held.takes(core.away) {
            return None;
        }
        let slot = Arc::new(Slot::new());
        let ring = core.held.push(now, Wish::Look(Arc::clone(&slot)));
        Some((slot, ring))
    }

    /// Refuses those who waited long enough for the groups to be here, and says when there may be
    /// more of them. The driver calls this, and promises to come again then.
    pub(super) fn refuse_overdue(&self, now: Now) -> Option<Monotonic> {
        let mut core = self.core.lock();
        let away = core.away;
        let overdue = core.held.overdue(now.monotonic, away);
        let mut after = Aftermath::default();
        core.refuse(overdue, &mut after);
        let next = core.held.deadline(away);
        drop(core);
        after.finish();
        next
    }

    /// The outcome of writes, in their order.
    pub(super) fn written(&self, now: Now, writes: &[WriteId], result: Result<(), WriteError>) {
        for write in writes {
            self.tell(
                now,
                Input::Written {
                    write: *write,
                    result,
                },
            );
        }
    }

    /// Does what time has brought, and says when it will have brought more. The driver calls this,
    /// and promises to come again then.
    pub(super) fn tick(&self, now: Now) -> Ticked {
        let due = |core: &Core| {
            core.coordinator
                .next_deadline()
                .is_some_and(|at| at <= now.monotonic)
        };
        let mut core = self.core.lock();
        let mut after = Aftermath::default();
        if due(&core) {
            let actions = core.coordinator.handle(now, Input::Tick);
            after = core.perform(actions, None);
        }
        core.planned = core.coordinator.next_deadline();
        let ticked = Ticked {
            next: core.planned,
            wrote: !core.outbox.is_empty(),
        };
        drop(core);
        after.finish();
        ticked
    }

    pub(super) fn take_outbox(&self) -> VecDeque<Write> {
        std::mem::take(&mut self.core.lock().outbox)
    }

    /// The partition was read: answer from now on.
    pub(super) fn loaded(&self, now: Now, coordinator: Coordinator) {
        let mut core = self.core.lock();
        core.coordinator = coordinator;
        core.away = None;
        let actions = core.coordinator.finish_loading(now);
        let mut after = core.perform(actions, None);
        // Before anyone who comes now, and in the order in which they came.
        for wish in core.held.take() {
            match wish {
                Wish::Ask(_, input) => {
                    let actions = core.coordinator.handle(now, input);
                    let more = core.perform(actions, None);
                    after.add(more);
                }
                Wish::Look(slot) => after.looks.push(slot),
            }
        }
        drop(core);
        after.finish();
    }

    /// The partition cannot be read or written: whoever waits is told, and whoever comes, until
    /// it is loaded again.
    pub(super) fn failed(&self, now: Now) {
        self.unload(now, Away::Failed);
    }

    /// Another node keeps these groups: whoever waits is told, and whoever comes.
    pub(super) fn left(&self, now: Now) {
        self.unload(now, Away::Elsewhere);
    }

    /// This node keeps these groups, and is about to load them: whoever comes is held meanwhile.
    pub(super) fn expected(&self, now: Now) {
        self.unload(now, Away::Loading);
    }

    fn unload(&self, now: Now, away: Away) {
        let mut core = self.core.lock();
        let actions = core.coordinator.handle(now, Input::Unloaded);
        core.outbox.clear();
        core.away = Some(away);
        let mut after = core.perform(actions, None);
        if away == Away::Failed {
            let held = core.held.take().collect();
            core.refuse(held, &mut after);
        }
        if away == Away::Loading {
            core.coordinator = Coordinator::new(self.config.clone());
        }
        drop(core);
        after.finish();
    }

    /// Asks the coordinator what changes nothing.
    pub(super) fn query<R>(
        &self,
        question: impl FnOnce(&Coordinator) -> Result<R, GroupError>,
    ) -> Result<R, GroupError> {
        let core = self.core.lock();
        core.here()?;
        question(&core.coordinator)
    }
}

/// Why a partition's groups are not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Away {
    /// The partition cannot be read or written.
    Failed,
    /// Another node leads the partition, as far as this one knows.
    Elsewhere,
    /// The partition is about to be read, or is.
    Loading,
}

impl Core {
    fn here(&self) -> Result<(), GroupError> {
        match self.away {
            // The coordinator says itself that it is not loaded.
            None | Some(Away::Loading) => Ok(()),
            Some(Away::Failed) => Err(GroupError::CoordinatorNotAvailable),
            Some(Away::Elsewhere) => Err(GroupError::NotCoordinator),
        }
    }

    fn perform(&mut self, actions: Actions, asking: Option<ReplyTo>) -> Aftermath {
        let mut after = Aftermath::default();
        for action in actions {
            match action {
                Action::Reply { to, response } if asking == Some(to) => after.own = Some(response),
                Action::Reply { to, response } => {
                    let slot = self.waiting.remove(&to);
                    debug_assert!(slot.is_some(), "G5: {to:?} waits");
                    after.answers.extend(slot.map(|slot| (slot, Ok(response))));
                }
                Action::Write { write, records } => {
                    self.outbox.push_back((write, records));
                    after.ring = true;
                }
                Action::Note(event) => after.notes.push(event),
                other => debug_assert!(false, "{other} is not known"),
            }
        }
        let sooner = match (self.coordinator.next_deadline(), self.planned) {
            (Some(next), Some(planned)) => next < planned,
            (next, None) => next.is_some(),
            (None, Some(_)) => false,
        };
        after.ring |= sooner;
        after
    }

    /// Tells those who were held that the groups did not come.
    fn refuse(&mut self, wishes: Vec<Wish>, after: &mut Aftermath) {
        let error = held::refusal(self.away);
        for wish in wishes {
            match wish {
                Wish::Ask(reply, _) => {
                    let slot = self.waiting.remove(&reply);
                    debug_assert!(slot.is_some(), "G5: {reply:?} waits");
                    after.answers.extend(slot.map(|slot| (slot, Err(error))));
                }
                Wish::Look(slot) => after.looks.push(slot),
            }
        }
    }
}

impl Aftermath {
    fn add(&mut self, more: Self) {
        self.answers.extend(more.answers);
        self.notes.extend(more.notes);
        self.ring |= more.ring;
    }

    fn finish(self) -> bool {
        for (slot, answer) in self.answers {
            slot.fill(answer);
        }
        for slot in self.looks {
            slot.fill(());
        }
        for event in self.notes {
            let Event {
                group,
                from,
                to,
                generation,
                members,
                cause,
            } = event;
            tracing::info!(
                event = "group_changed", %group, %from, %to, generation, members, %cause
            );
        }
        self.ring
    }
}

#[cfg(test)]
mod tests;
