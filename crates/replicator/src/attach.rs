//! How a session begins at the leader: the machine decides, and acks get where they count.

use std::sync::Arc;

use plimsoll_replication as rules;
use plimsoll_replication::{AttachOutcome, LeaderAction, LeaderLog, Refusal};
use plimsoll_segment_log::{EpochEntry, Minimum};
use plimsoll_types::{Monotonic, Offset};

use crate::counters::count;
use crate::frame::{
    Attach, Attached, Refused, Reset, StreamFrame, of_frame, of_log, to_frame, to_reason,
};
use crate::lead::{LeadLink, first_base};
use crate::replica::{Replica, Role, State};
use crate::send::Sending;
use crate::session::{Begins, OnLink, Session};
use crate::store::Store;

impl LeadLink {
    pub(crate) fn attach(&mut self, attach: &Attach, now: Monotonic) -> StreamFrame {
        let known = self.replicas.replica(attach.key);
        let answer = match known {
            Some(replica) => self.agree(&replica, attach, now),
            None => Err(Refusal::UnknownEpoch),
        };
        answer.unwrap_or_else(|why| {
            StreamFrame::Refused(Refused {
                key: attach.key,
                leader_epoch: attach.leader_epoch,
                reason: to_reason(why),
            })
        })
    }

    fn agree(
        &mut self,
        replica: &Arc<Replica>,
        attach: &Attach,
        now: Monotonic,
    ) -> Result<StreamFrame, Refusal> {
        let refused = |why| {
            count(&self.replicas.counters().refusals);
            Err(why)
        };
        // Before the lock: it may wait for a disk.
        let start = own_start(&*replica.store);
        let mut state = replica.state.lock();
        let state = &mut *state;
        let (leader, current) = (state.view.leader, state.view.leader_epoch);
        let unclean_epoch = state.view.unclean_epoch;
        let Role::Leader(leading) = &mut state.role else {
            return refused(match attach.leader_epoch > current {
                true => Refusal::UnknownEpoch,
                false => Refusal::NotLeader { leader },
            });
        };
        if attach.broker_epoch != self.shared.broker_epoch {
            return refused(Refusal::StaleBrokerEpoch);
        }
        let Some(start) = start.filter(|_| replica.store.offline().is_none()) else {
            return refused(Refusal::Storage);
        };
        // All else only now: before this term the log may have been shorter, and who has more than
        // that would be told to cut what is committed.
        let own = own_log(&*replica.store, start);
        let leader_epoch = leading.machine.leader_epoch();
        let marks = replica.store.watermarks().snapshot();
        let session = self.replicas.next_id();
        let (claimed, epochs) = (of_frame(&attach.epochs), of_log(&own.epochs));
        let asks = rules::Attach {
            node: self.shared.follower,
            session,
            leader_epoch: attach.leader_epoch,
            broker_epoch: attach.broker_epoch,
            log_start: attach.log_start,
            log_end: attach.log_end,
            epochs: &claimed,
        };
        let log = LeaderLog {
            log_start: own.start,
            reset_start: own.start,
            log_end: own.end,
            high_watermark: marks.high_watermark,
            epochs: &epochs,
        };
        let mut out = Vec::new();
        let outcome = leading.machine.attach(&asks, &log, now, &mut out);
        self.replicas.carry_out(replica, state, out, now);
        let up_to = |end: Offset| to_frame(epochs.iter().filter(move |entry| entry.start <= end));
        let (expects, one_batch) = match outcome {
            AttachOutcome::Attached {
                expects, one_batch, ..
            } => (expects, one_batch),
            AttachOutcome::Reset { start } => (start, false),
            AttachOutcome::Refused(why) => return Err(why),
        };
        let begins = |position| Begins {
            id: session,
            leader_epoch,
            position,
            window: attach.window,
            one_batch,
            expects,
            high_watermark: marks.high_watermark,
        };
        self.begin_session(replica, state, begins, now)?;
        let (log_start, high_watermark) = (marks.log_start, marks.high_watermark);
        Ok(match outcome {
            AttachOutcome::Attached { truncate_to, .. } => StreamFrame::Attached(Attached {
                key: attach.key,
                session,
                leader_epoch,
                truncate_to,
                log_start,
                high_watermark,
                log_end: own.end,
                epochs: up_to(expects),
                unclean_epoch,
            }),
            AttachOutcome::Reset { start } => StreamFrame::Reset(Reset {
                key: attach.key,
                session,
                leader_epoch,
                start,
                log_start,
                high_watermark,
                epochs: up_to(start),
            }),
            AttachOutcome::Refused(why) => return Err(why),
        })
    }

    /// The machine has given a session: its acks count from here on, once the first confirms it.
    fn begin_session(
        &mut self,
        replica: &Arc<Replica>,
        state: &mut State,
        begins: impl FnOnce(plimsoll_watermark::Position) -> Begins,
        now: Monotonic,
    ) -> Result<Arc<Session>, Refusal> {
        let follower = self.shared.follower;
        let position = replica.store.watermarks().position(follower);
        let Role::Leader(leading) = &mut state.role else {
            return Err(Refusal::NotLeader { leader: None });
        };
        // A tenure that does not track it belongs to another term: this one is ending.
        let position = position.map_err(|_| Refusal::UnknownEpoch)?;
        let session = Session::new(replica, &self.shared, begins(position), now);
        if let Some(before) = leading.sessions.insert(follower, Arc::clone(&session)) {
            before.close();
            self.sessions.remove(&before.id);
        }
        let sending = Sending::new(Arc::clone(&session), None);
        self.sessions.insert(session.id, sending);
        replica.listen(state);
        Ok(session)
    }

    /// What comes next for this session lies below the log's start: retention was faster. Whether
    /// the session goes on, with a log begun afresh.
    pub(crate) fn begin_afresh(&mut self, session: &Arc<Session>, now: Monotonic) -> bool {
        let replica = Arc::clone(&session.replica);
        let Some(start) = own_start(&*replica.store) else {
            self.replicas
                .end_session(session, Some(Refusal::Storage), now);
            return false;
        };
        let mut state = replica.state.lock();
        let Role::Leader(leading) = &mut state.role else {
            return false;
        };
        let own = own_log(&*replica.store, start);
        let mut out = Vec::new();
        leading
            .machine
            .behind_log_start(session.id, own.start, now, &mut out);
        let afresh = |action: &LeaderAction| matches!(action, LeaderAction::ResetFollower { .. });
        let afresh = out.iter().any(afresh);
        self.replicas.carry_out(&replica, &mut state, out, now);
        let current = match &state.role {
            Role::Leader(leading) => leading.sessions.get(&session.follower),
            Role::Idle | Role::Follower(_) => None,
        };
        if !afresh || current.is_none_or(|current| current.id != session.id) {
            return false;
        }
        let marks = replica.store.watermarks().snapshot();
        let begins = |position| Begins {
            id: session.id,
            leader_epoch: session.leader_epoch,
            position,
            window: session.window,
            one_batch: false,
            expects: own.start,
            high_watermark: marks.high_watermark,
        };
        let Ok(renewed) = self.begin_session(&replica, &mut state, begins, now) else {
            return false;
        };
        // What it acknowledges of its old log comes still.
        let sending = Sending::new(renewed, Some(own.start));
        self.sessions.insert(session.id, sending);
        let epochs = of_log(&own.epochs);
        let reached = epochs.iter().filter(|entry| entry.start <= own.start);
        self.shared.end.say(StreamFrame::Reset(Reset {
            key: replica.key,
            session: session.id,
            leader_epoch: session.leader_epoch,
            start: own.start,
            log_start: marks.log_start,
            high_watermark: marks.high_watermark,
            epochs: to_frame(reached),
        }));
        true
    }
}

struct OwnLog {
    /// The base of the batch that holds the log start.
    start: Offset,
    end: Offset,
    epochs: Vec<EpochEntry>,
}

/// The base of the batch that holds the log start; `None` if it cannot be read.
fn own_start(store: &dyn Store) -> Option<Offset> {
    let reader = store.reader();
    let (log_start, end) = (reader.log_start(), reader.log_end());
    let first = reader.read(log_start, end, 1, Minimum::OneBatch).ok()?;
    let base = first.chunks.first().and_then(|chunk| first_base(chunk));
    Some(base.unwrap_or(log_start).min(log_start))
}

/// The leader's log as it is, for comparing. Waits for no disk.
fn own_log(store: &dyn Store, start: Offset) -> OwnLog {
    let reader = store.reader();
    OwnLog {
        start: start.min(reader.log_start()),
        end: reader.log_end(),
        epochs: reader.epochs().entries().to_vec(),
    }
}
