//! Writes under way: what each changes when it ends, and who waits for it.

use crate::offsets::Change;
use crate::{
    Action, Actions, GroupConfig, GroupError, LogRecord, Now, ReplyTo, Response, Text, WriteId,
};
use plimsoll_types::Monotonic;
use std::collections::{BTreeMap, BTreeSet};

/// What a transition has at hand: the time, the rules, and where actions go.
pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    pub(crate) config: &'a GroupConfig,
    pub(crate) actions: &'a mut Actions,
    pub(crate) writes: &'a mut Writes,
}

impl Context<'_> {
    pub(crate) fn reply(&mut self, to: ReplyTo, response: Response) {
        self.actions.push(Action::Reply { to, response });
    }

    /// Asks for a write; `then` happens when it ends.
    pub(crate) fn write(&mut self, group: &Text, records: Vec<LogRecord>, then: Then) -> WriteId {
        debug_assert!(!records.is_empty(), "a write has records");
        let write = WriteId(self.writes.next);
        self.writes.next += 1;
        let waiting = None;
        self.writes.under_way.insert(
            write,
            UnderWay {
                group: group.clone(),
                then,
                waiting,
            },
        );
        self.actions.push(Action::Write { write, records });
        write
    }

    /// Keeps an answer back until the write ends, or refuses it when that takes too long.
    pub(crate) fn reply_after(&mut self, write: WriteId, to: ReplyTo, response: Response) {
        let deadline = self.now.monotonic + self.config.write_timeout;
        self.writes.wait(
            write,
            Waiting {
                to,
                response,
                deadline,
            },
        );
    }
}

/// What a write changes when it ends well.
#[derive(Debug)]
pub(crate) enum Then {
    /// Nothing: memory was ahead of the log.
    Nothing,
    /// The assignment of this generation holds.
    Assign { generation: i32 },
    /// The static member has its new id, if the group is still in this generation.
    Rejoin { generation: i32, member: Text },
    /// Offsets change.
    Change(Vec<Change>),
    /// The group goes, if all its offsets have.
    Delete,
}

#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) to: ReplyTo,
    /// What to say if all goes well.
    pub(crate) response: Response,
    deadline: Monotonic,
}

#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) group: Text,
    pub(crate) then: Then,
    pub(crate) waiting: Option<Waiting>,
}

#[derive(Debug, Default)]
pub(crate) struct Writes {
    next: u64,
    under_way: BTreeMap<WriteId, UnderWay>,
    deadlines: BTreeSet<(Monotonic, WriteId)>,
}

impl Writes {
    pub(crate) fn is_full(&self, config: &GroupConfig) -> bool {
        self.under_way.len() >= config.max_writes_in_flight
    }

    pub(crate) fn len(&self) -> usize {
        self.under_way.len()
    }

    fn wait(&mut self, write: WriteId, waiting: Waiting) {
        let under_way = self
            .under_way
            .get_mut(&write)
            .expect("the write was asked for just now");
        debug_assert!(
            under_way.waiting.is_none(),
            "G5: one reply waits for a write"
        );
        self.deadlines.insert((waiting.deadline, write));
        under_way.waiting = Some(waiting);
    }

    /// Takes a write that ended; none if it is not (or no longer) known.
    pub(crate) fn take(&mut self, write: WriteId) -> Option<UnderWay> {
        let under_way = self.under_way.remove(&write)?;
        debug_assert!(
            self.under_way
                .keys()
                .next()
                .is_none_or(|first| *first > write),
            "writes end in their order"
        );
        if let Some(waiting) = &under_way.waiting {
            self.deadlines.remove(&(waiting.deadline, write));
        }
        Some(under_way)
    }

    pub(crate) fn next_deadline(&self) -> Option<Monotonic> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Refuses those who waited too long; their writes go on.
    pub(crate) fn expire(&mut self, now: Monotonic, actions: &mut Actions) {
        while let Some((at, write)) = self.deadlines.first().copied() {
            if at > now {
                break;
            }
            self.deadlines.remove(&(at, write));
            let waiting = self
                .under_way
                .get_mut(&write)
                .and_then(|w| w.waiting.take());
            if let Some(Waiting { to, response, .. }) = waiting {
                let response = response.failed(GroupError::CoordinatorNotAvailable);
                actions.push(Action::Reply { to, response });
            }
        }
    }

    /// Forgets all writes and refuses those who wait.
    pub(crate) fn clear(&mut self, error: GroupError, actions: &mut Actions) {
        self.deadlines.clear();
        for (_, under_way) in std::mem::take(&mut self.under_way) {
            if let Some(Waiting { to, response, .. }) = under_way.waiting {
                actions.push(Action::Reply {
                    to,
                    response: response.failed(error),
                });
            }
        }
    }
}
