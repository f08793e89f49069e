//! How a session begins at the leader: who may ask, where the logs part, where acks will count.
//!
//! A follower that must cut or copy first gets no session, and what is stored about it is not
//! touched (KAFKA-13141); it attaches again when it is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use plimsoll_replication::{Agreement, LogShape, divergence};
use plimsoll_segment_log::{EpochEntry, LogReader, Minimum};
use plimsoll_types::{Monotonic, Offset};

use crate::counters::count;
use crate::frame::{
    Attach, Attached, EpochStart, Refused, RefusedReason, Reset, StreamFrame, to_rules, to_wire,
};
use crate::lead::{LeadLink, first_base};
use crate::replica::{Replica, Role, State};
use crate::send::Sending;
use crate::session::Session;
use crate::status::Cause;

/// A follower with this many stalls in a row gets one batch at a time.
const STRIKES_ONE_BATCH: u32 = 3;
/// And with this many begins anew.
const STRIKES_RESET: u32 = 5;

impl LeadLink {
    pub(crate) fn attach(&mut self, attach: &Attach, now: Monotonic) -> StreamFrame {
        let refused = |reason| {
            StreamFrame::Refused(Refused {
                key: attach.key,
                leader_epoch: attach.leader_epoch,
                reason,
            })
        };
        let Some(replica) = self.replicas.replica(attach.key) else {
            count(&self.replicas.counters().refusals);
            return refused(RefusedReason::UnknownEpoch);
        };
        let mut state = replica.state.lock();
        match self.agree_on(&replica, &mut state, attach, now) {
            Ok(answer) => answer,
            Err(reason) => {
                count(&self.replicas.counters().refusals);
                refused(reason)
            }
        }
    }

    fn agree_on(
        &mut self,
        replica: &Arc<Replica>,
        state: &mut State,
        attach: &Attach,
        now: Monotonic,
    ) -> Result<StreamFrame, RefusedReason> {
        let follower = self.shared.follower;
        self.check(state, attach)?;
        if replica.store.offline().is_some() {
            return Err(RefusedReason::Storage);
        }
        // Whatever comes of it, the follower is where it says: an earlier session is over.
        replica.close_session(state, follower, None);
        let view = state.view.clone();
        let Role::Leader(leading) = &mut state.role else {
            return Err(RefusedReason::NotLeader { leader: None });
        };
        let record = leading.records.entry(follower).or_default();
        let reader = replica.store.reader();
        let own = own_log(&reader).ok_or(RefusedReason::Storage)?;
        let marks = replica.store.watermarks().snapshot();
        let claimed = to_rules(&attach.epochs);
        let mine = to_rules(&to_wire(&own.epochs));
        let agreement = if record.strikes >= STRIKES_RESET {
            Agreement::Reset
        } else {
            let mine = LogShape {
                log_start: own.start,
                log_end: own.end,
                epochs: &mine,
            };
            let theirs = LogShape {
                log_start: attach.log_start,
                log_end: attach.log_end,
                epochs: &claimed,
            };
            divergence(&mine, &theirs)
        };
        let epochs_at = |end: Offset| -> Vec<EpochStart> {
            let reached = |entry: &&EpochEntry| entry.start <= end;
            let reached: Vec<_> = own.epochs.iter().filter(reached).copied().collect();
            to_wire(&reached)
        };
        let attached = |session, end, truncate_to| {
            StreamFrame::Attached(Attached {
                key: attach.key,
                session,
                leader_epoch: leading.leader_epoch,
                truncate_to,
                log_start: marks.log_start,
                high_watermark: marks.high_watermark,
                log_end: marks.log_end,
                epochs: epochs_at(end),
                unclean_epoch: view.unclean_epoch,
            })
        };
        match agreement {
            Agreement::TruncateTo(to) => Ok(attached(0, to, Some(to))),
            Agreement::Reset => {
                if leading.isr.maximal().contains(&follower) && marks.high_watermark > own.start {
                    // It must not count while it copies; it leaves the ISR first.
                    record.faulted = true;
                    record.cause = Some(Cause::BehindLogStart);
                    return Err(RefusedReason::Throttled { ms: 100 });
                }
                record.strikes = 0;
                replica.note(
                    now,
                    format!("has node {follower} begin anew at {}", own.start),
                );
                Ok(StreamFrame::Reset(Reset {
                    key: attach.key,
                    session: 0,
                    high_watermark: marks.high_watermark,
                    leader_epoch: leading.leader_epoch,
                    start: own.start,
                    log_start: marks.log_start,
                    epochs: epochs_at(own.start),
                }))
            }
            Agreement::Aligned => {
                let answer = attached(self.replicas.next_id(), attach.log_end, None);
                self.begin_session(replica, state, attach, &answer, now)?;
                Ok(answer)
            }
        }
    }

    /// Whether this node may be asked, and by that follower.
    fn check(&self, state: &State, attach: &Attach) -> Result<(), RefusedReason> {
        let leader = state.view.leader;
        let current = state.view.leader_epoch;
        if attach.leader_epoch > current {
            return Err(RefusedReason::UnknownEpoch);
        }
        let Role::Leader(leading) = &state.role else {
            return Err(RefusedReason::NotLeader { leader });
        };
        if attach.leader_epoch < leading.leader_epoch {
            return Err(RefusedReason::FencedEpoch {
                current: leading.leader_epoch,
            });
        }
        if !state.view.replicas.contains(&self.shared.follower) {
            return Err(RefusedReason::NotAReplica);
        }
        let known = self.replicas.peer(self.shared.follower);
        let known = known.map(|peer| peer.broker_epoch);
        if attach.broker_epoch != self.shared.broker_epoch
            || known.is_some_and(|known| known > attach.broker_epoch)
        {
            return Err(RefusedReason::StaleBrokerEpoch);
        }
        if known.is_none_or(|known| known < attach.broker_epoch) {
            return Err(RefusedReason::UnknownEpoch);
        }
        Ok(())
    }

    fn begin_session(
        &mut self,
        replica: &Arc<Replica>,
        state: &mut State,
        attach: &Attach,
        answer: &StreamFrame,
        now: Monotonic,
    ) -> Result<(), RefusedReason> {
        let StreamFrame::Attached(attached) = answer else {
            return Err(RefusedReason::Storage);
        };
        let follower = self.shared.follower;
        let position = self.position(replica, state, attach)?;
        let Role::Leader(leading) = &mut state.role else {
            return Err(RefusedReason::NotLeader { leader: None });
        };
        let record = leading.records.entry(follower).or_default();
        record.faulted = false;
        let session = Arc::new(Session {
            id: attached.session,
            follower,
            broker_epoch: attach.broker_epoch,
            leader_epoch: leading.leader_epoch,
            replica: Arc::clone(replica),
            link: Arc::clone(&self.shared),
            position,
            window: attach.window.max(1),
            one_batch: record.strikes >= STRIKES_ONE_BATCH,
            verify: record.damaged > 0,
            dirty: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            confirmed: AtomicBool::new(false),
            log_end: Default::default(),
            durable_end: Default::default(),
            sent_end: Default::default(),
            told_high_watermark: Default::default(),
            caught_up: Default::default(),
            moved: Default::default(),
            suspect: AtomicU64::new(u64::MAX),
        });
        session.log_end.set(attach.log_end);
        session.sent_end.set(attach.log_end);
        session
            .durable_end
            .set(attach.durable_end.min(attach.log_end));
        session.told_high_watermark.set(attached.high_watermark);
        session.moved.set(now);
        leading.sessions.insert(follower, Arc::clone(&session));
        let sending = Sending::new(Arc::clone(&session), attach.log_end, attached, now);
        self.sessions.insert(session.id, sending);
        replica.listen(state);
        count(&self.replicas.counters().attaches);
        replica.note(
            now,
            format!("node {follower} attached at {}", attach.log_end),
        );
        Ok(())
    }

    /// Where the follower's acks will count: a new cell if it has less than it had.
    fn position(
        &self,
        replica: &Arc<Replica>,
        state: &mut State,
        attach: &Attach,
    ) -> Result<plimsoll_watermark::Position, RefusedReason> {
        let later = RefusedReason::Throttled { ms: 100 };
        let follower = self.shared.follower;
        let marks = replica.store.watermarks();
        let known = marks.ends(follower).map_err(|_| later)?;
        let Role::Leader(leading) = &mut state.role else {
            return Err(later);
        };
        if known.log_end > attach.log_end {
            if leading.isr.maximal().contains(&follower) {
                // It lost what it had acknowledged, and still counts: it leaves the ISR first.
                let record = leading.records.entry(follower).or_default();
                record.faulted = true;
                return Err(later);
            }
            self.replicas.set_rule(replica, state, vec![follower]);
        }
        marks.position(follower).map_err(|_| later)
    }
}

struct OwnLog {
    start: Offset,
    end: Offset,
    epochs: Vec<EpochEntry>,
}

/// The leader's log, for comparing; `None` if its first batch cannot be read.
fn own_log(reader: &LogReader) -> Option<OwnLog> {
    let (log_start, end) = (reader.log_start(), reader.log_end());
    let first = reader.read(log_start, end, 1, Minimum::OneBatch).ok()?;
    let base = first.chunks.first().and_then(|chunk| first_base(chunk));
    Some(OwnLog {
        start: base.unwrap_or(log_start).min(log_start),
        end,
        epochs: reader.epochs().entries().to_vec(),
    })
}
