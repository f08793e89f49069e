//! What a leader's link sends, and in which order.
//!
//! Sessions with something to send take turns, one frame each. A run that is larger than a frame
//! is cut, and other sessions' whole frames go between its pieces. What is in flight is bounded by
//! the follower's window, but for a batch that is larger: that one goes alone.
//!
//! Nothing is sent beyond the log end that was published, nor before the follower confirmed its
//! position.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::AcqRel;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use plimsoll_record_batch::{Batch, BatchHeader};
use plimsoll_segment_log::{Minimum, ReadError, Slices};
use plimsoll_types::{Monotonic, Offset};
use plimsoll_watermark::Snapshot;

use crate::frame::{Append, Attached, Mark, Marks, RefusedReason, StreamFrame};
use crate::lead::{LeadLink, end_session, first_base};
use crate::session::Session;

/// What a link knows of one of its sessions.
pub(crate) struct Sending {
    pub(crate) session: Arc<Session>,
    sent_end: Offset,
    told: (Offset, Offset),
    in_flight: VecDeque<(Offset, u64)>,
    bytes_in_flight: u64,
    queued: bool,
    marked: bool,
    /// The leader's end at an earlier moment: who reaches it was caught up then.
    goal: (Offset, Monotonic),
}

/// A run on its way in pieces.
pub(crate) struct Cut {
    session: u64,
    head: Append,
    bytes: Bytes,
    at: usize,
}

enum Turn {
    Sent(usize),
    /// It has something to send, but not now.
    Later,
    Idle,
    Gone,
}

/// For the lease: how many points in time are remembered.
const MAX_SENT_AT: usize = 4096;

impl Sending {
    pub(crate) fn new(
        session: Arc<Session>,
        sent_end: Offset,
        attached: &Attached,
        now: Monotonic,
    ) -> Self {
        Self {
            session,
            sent_end,
            told: (attached.high_watermark, attached.log_start),
            in_flight: VecDeque::new(),
            bytes_in_flight: 0,
            queued: false,
            marked: false,
            goal: (attached.log_end, now),
        }
    }

    /// Takes back credits; whether the follower has all there is.
    pub(crate) fn acked(&mut self, to: Offset, log_end: Offset, now: Monotonic) -> bool {
        while let Some((end, bytes)) = self.in_flight.front()
            && *end <= to
        {
            self.bytes_in_flight -= bytes;
            self.in_flight.pop_front();
        }
        let all = to >= log_end;
        if all {
            self.goal = (log_end, now);
        }
        all
    }

    /// When the follower, which is at `to` now, had all there was.
    pub(crate) fn was_caught_up(
        &mut self,
        to: Offset,
        log_end: Offset,
        now: Monotonic,
    ) -> Option<Monotonic> {
        (to >= self.goal.0).then(|| std::mem::replace(&mut self.goal, (log_end, now)).1)
    }
}

impl LeadLink {
    /// What to send now. Pending: nothing, and the task is woken when there is; poll again after
    /// each frame received, and at [`LeadLink::deadline`].
    pub fn poll_outgoing(
        &mut self,
        cx: &mut Context<'_>,
        now: Monotonic,
        out: &mut Vec<StreamFrame>,
    ) -> Poll<()> {
        loop {
            let rung = self.shared.bell.poll_notified(cx).is_ready();
            while let Some(session) = self.shared.dirty.pop() {
                // AcqRel: Acquire pairs with the swap in `Session::ring`, before the look at the
                // log; Release with the next ring.
                session.dirty.swap(false, AcqRel);
                self.activate(session.id);
            }
            self.fill(now, out);
            if !out.is_empty() {
                self.last_sent = now;
                return Poll::Ready(());
            }
            if !rung {
                return Poll::Pending;
            }
        }
    }

    /// When to poll again though nothing rang.
    #[must_use]
    pub fn deadline(&self) -> Monotonic {
        let heartbeat = self.last_sent + self.replicas.config().heartbeat;
        let others = [self.marks_due, self.throttled_until];
        others.into_iter().flatten().fold(heartbeat, Monotonic::min)
    }

    pub(crate) fn activate(&mut self, id: u64) {
        if let Some(sending) = self.sessions.get_mut(&id)
            && !std::mem::replace(&mut sending.queued, true)
        {
            self.active.push_back(id);
        }
    }

    fn fill(&mut self, now: Monotonic, out: &mut Vec<StreamFrame>) {
        while let Some(frame) = self.shared.control.pop() {
            out.push(frame);
        }
        self.throttled_until = None;
        let mut budget = self.replicas.config().turn_bytes;
        let mut waiting = 0;
        while budget > 0 {
            let piece = self.send_piece(now, out);
            budget = budget.saturating_sub(piece);
            if piece > 0 {
                waiting = 0;
            }
            if waiting >= self.active.len() {
                if piece == 0 {
                    break;
                }
                continue;
            }
            let Some(id) = self.active.pop_front() else {
                continue;
            };
            match self.turn(id, now, out) {
                Turn::Sent(bytes) => {
                    budget = budget.saturating_sub(bytes);
                    waiting = 0;
                    self.active.push_back(id);
                }
                Turn::Later => {
                    waiting += 1;
                    self.active.push_back(id);
                }
                Turn::Idle => {
                    if let Some(sending) = self.sessions.get_mut(&id) {
                        sending.queued = false;
                    }
                }
                Turn::Gone => {
                    self.sessions.remove(&id);
                }
            }
        }
        self.send_marks(now, out);
    }

    /// The next piece of the run that is cut, if one is.
    fn send_piece(&mut self, now: Monotonic, out: &mut Vec<StreamFrame>) -> usize {
        let Some(cut) = &mut self.cut else {
            return 0;
        };
        let Some(sending) = self.sessions.get(&cut.session) else {
            self.cut = None;
            return 0;
        };
        if sending.session.is_closed() {
            self.cut = None;
            return 0;
        }
        sending.session.moved.set(now);
        let chunk = self.replicas.config().chunk_bytes as usize;
        let until = (cut.at + chunk).min(cut.bytes.len());
        let mut frame = cut.head.clone();
        frame.at = u32::try_from(cut.at).unwrap_or(u32::MAX);
        let piece = cut.bytes.slice(cut.at..until);
        let bytes = piece.len();
        frame.records = piece.into();
        cut.at = until;
        if until == cut.bytes.len() {
            self.cut = None;
        }
        frame.seq = self.next_seq(now);
        out.push(StreamFrame::Append(frame));
        bytes
    }

    fn next_seq(&mut self, now: Monotonic) -> u64 {
        self.seq += 1;
        let fresh = |at: &Monotonic| now.since(*at) >= Duration::from_millis(1);
        if self.sent_at.back().is_none_or(|(_, at)| fresh(at)) {
            if self.sent_at.len() >= MAX_SENT_AT {
                self.sent_at.pop_front();
            }
            self.sent_at.push_back((self.seq, now));
        }
        self.seq
    }

    fn turn(&mut self, id: u64, now: Monotonic, out: &mut Vec<StreamFrame>) -> Turn {
        let Some(sending) = self.sessions.get_mut(&id) else {
            return Turn::Gone;
        };
        let session = Arc::clone(&sending.session);
        if session.is_closed() {
            return Turn::Gone;
        }
        if !session.is_confirmed() {
            return Turn::Idle;
        }
        let marks = session.replica.store.watermarks().snapshot();
        if marks.leader_epoch != session.leader_epoch {
            return Turn::Gone;
        }
        if self.cut.as_ref().is_some_and(|cut| cut.session == id) {
            return Turn::Later;
        }
        if sending.sent_end >= marks.log_end {
            if sending.told != (marks.high_watermark, marks.log_start) && !sending.marked {
                sending.marked = true;
                self.marks.push(id);
                let delay = self.replicas.config().marks_delay;
                self.marks_due.get_or_insert(now + delay);
            }
            return Turn::Idle;
        }
        let credit = u64::from(session.window).saturating_sub(sending.bytes_in_flight);
        if credit == 0 {
            // An ack wakes it.
            return Turn::Idle;
        }
        if let Some(throttle) = &mut self.throttle
            && let Some(until) = throttle.wait(now)
        {
            self.throttled_until = Some(until);
            return Turn::Later;
        }
        self.send_run(&session, &marks, credit, now, out)
    }

    fn send_run(
        &mut self,
        session: &Arc<Session>,
        marks: &Snapshot,
        credit: u64,
        now: Monotonic,
        out: &mut Vec<StreamFrame>,
    ) -> Turn {
        let Some(sending) = self.sessions.get_mut(&session.id) else {
            return Turn::Gone;
        };
        let chunk = self.replicas.config().chunk_bytes as usize;
        let from = sending.sent_end;
        let slices = match read(session, from, marks.log_end, chunk) {
            Ok(slices) => slices,
            Err(ReadError::Damaged(damage)) => {
                self.own_damage(session, damage.from, now);
                return Turn::Gone;
            }
            Err(ReadError::BelowStart { .. }) => return restart(session),
            Err(ReadError::AboveEnd { .. } | ReadError::Io { .. }) => {
                end_session(session, Some(RefusedReason::Storage));
                return Turn::Gone;
            }
            Err(_) => return restart(session),
        };
        let Some(base) = slices.chunks.first().and_then(|chunk| first_base(chunk)) else {
            return Turn::Idle;
        };
        let compacted = from >= session.replica.store.reader().log_start();
        if base < from || base > from && !compacted {
            // Retention was faster than the follower, or the logs part: compare again.
            return restart(session);
        }
        let bytes = slices.bytes;
        if bytes as u64 > credit && !sending.in_flight.is_empty() {
            // Larger than what is left: alone, once all before it is acknowledged.
            return Turn::Idle;
        }
        let is_cut = bytes > chunk;
        if is_cut && self.cut.is_some() {
            return Turn::Later;
        }
        if session.verify
            && let Err(at) = verify(&slices)
        {
            self.own_damage(session, at.max(from), now);
            return Turn::Gone;
        }
        debug_assert!(
            slices.next <= marks.log_end,
            "only what is published is sent"
        );
        sending.sent_end = slices.next;
        sending.told = (marks.high_watermark, marks.log_start);
        sending.in_flight.push_back((slices.next, bytes as u64));
        sending.bytes_in_flight += bytes as u64;
        session.sent_end.set(slices.next);
        session.told_high_watermark.set(marks.high_watermark);
        let mut append = Append {
            session: session.id,
            seq: 0,
            from,
            high_watermark: marks.high_watermark,
            log_start: marks.log_start,
            log_end: marks.log_end,
            total: u32::try_from(bytes).unwrap_or(u32::MAX),
            at: 0,
            records: Bytes::new().into(),
        };
        if let Some(throttle) = &mut self.throttle {
            throttle.spent(bytes as u64);
        }
        if is_cut {
            let mut run = slices.chunks;
            let bytes = if run.len() == 1 {
                run.swap_remove(0)
            } else {
                run.concat().into()
            };
            self.cut = Some(Cut {
                session: session.id,
                head: append,
                bytes,
                at: 0,
            });
            return Turn::Sent(self.send_piece(now, out));
        }
        append.seq = self.next_seq(now);
        append.records = slices.chunks.into();
        out.push(StreamFrame::Append(append));
        Turn::Sent(bytes)
    }

    /// What moved without records, and the sign of life.
    fn send_marks(&mut self, now: Monotonic, out: &mut Vec<StreamFrame>) {
        let due = self.marks_due.is_some_and(|due| now >= due);
        let heartbeat = self.replicas.config().heartbeat;
        let quiet = out.is_empty() && now.since(self.last_sent) >= heartbeat;
        if !due && !quiet {
            return;
        }
        self.marks_due = None;
        let mut marks = Vec::with_capacity(self.marks.len());
        for id in std::mem::take(&mut self.marks) {
            let Some(sending) = self.sessions.get_mut(&id) else {
                continue;
            };
            sending.marked = false;
            let now = sending.session.replica.store.watermarks().snapshot();
            let told = (now.high_watermark, now.log_start);
            let ours = now.leader_epoch == sending.session.leader_epoch;
            if ours && std::mem::replace(&mut sending.told, told) != told {
                sending.session.told_high_watermark.set(now.high_watermark);
                marks.push(Mark {
                    session: id,
                    high_watermark: now.high_watermark,
                    log_start: now.log_start,
                    log_end: now.log_end,
                });
            }
        }
        if quiet || !marks.is_empty() {
            let seq = self.next_seq(now);
            out.push(StreamFrame::Marks(Marks { seq, marks }));
        }
    }
}

/// Has the follower attach again, which compares the logs anew.
fn restart(session: &Session) -> Turn {
    end_session(session, Some(RefusedReason::Throttled { ms: 10 }));
    Turn::Gone
}

fn read(
    session: &Session,
    from: Offset,
    below: Offset,
    max_bytes: usize,
) -> Result<Slices, ReadError> {
    let reader = session.replica.store.reader();
    // The batch that holds the log start may begin before it, and a reset begins there.
    let from = from.max(reader.log_start());
    let max_bytes = if session.one_batch { 1 } else { max_bytes };
    reader.read(from, below, max_bytes, Minimum::OneBatch)
}

/// Checks every batch of a run that the follower found damaged before; the offset of the bad one.
pub(crate) fn verify(slices: &Slices) -> Result<(), Offset> {
    for chunk in &slices.chunks {
        let mut rest: &[u8] = chunk;
        while !rest.is_empty() {
            let at = first_base(rest).unwrap_or(Offset::ZERO);
            let header = BatchHeader::decode(rest).map_err(|_| at)?;
            let (batch, after) = rest
                .split_at_checked(header.batch_bytes as usize)
                .ok_or(at)?;
            Batch::parse(batch).map_err(|_| at)?;
            rest = after;
        }
    }
    Ok(())
}
