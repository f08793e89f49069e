//! What a leader's link sends, and in which order.
//!
//! Sessions with something to send take turns, one frame each. A run that is larger than a frame
//! is cut, and other sessions' whole frames go between its pieces. What is in flight is bounded by
//! the follower's window, but for a batch that is larger: that one goes alone.
//!
//! Nothing is sent beyond the log end that was published, nor before the follower confirmed its
//! position.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use plimsoll_record_batch::{Batch, BatchHeader};
use plimsoll_replication::{Credits, Refusal, Room};
use plimsoll_segment_log::{Minimum, ReadError, Slices};
use plimsoll_types::{Monotonic, Offset};
use plimsoll_watermark::Snapshot;

use crate::frame::{Append, Mark, Marks, StreamFrame, seal};
use crate::lead::{LeadLink, first_base};
use crate::leader::is_one_batch;
use crate::session::{OnLink, Session};

/// What a link knows of one of its sessions.
pub(crate) struct Sending {
    pub(crate) session: Arc<Session>,
    /// Its log begins afresh here, and acks of less are those of the log before.
    pub(crate) begins_at: Option<Offset>,
    pub(crate) credits: Credits,
    sent_end: Offset,
    told: (Offset, Offset),
    queued: bool,
    marked: bool,
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

/// Frames under way to one session, for their bookkeeping's sake.
const MAX_FRAMES: usize = 1024;

impl Sending {
    pub(crate) fn new(session: Arc<Session>, begins_at: Option<Offset>) -> Self {
        let window = u64::from(session.window);
        Self {
            begins_at,
            credits: Credits::new(window, MAX_FRAMES, is_one_batch(&session)),
            sent_end: session.sent_end.get(),
            told: (session.told_high_watermark.get(), Offset::ZERO),
            queued: false,
            marked: false,
            session,
        }
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
            let rung = self.shared.end.poll_woken(cx);
            while let Some(session) = self.shared.end.take_due() {
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
        while let Some(frame) = self.shared.end.take_said() {
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
        sending.session.fed.set(now);
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
        sending.credits.set_one_batch(is_one_batch(&session));
        let room = sending.credits.room();
        if room == Room::None {
            // An ack wakes it.
            return Turn::Idle;
        }
        if let Some(throttle) = &mut self.throttle
            && let Some(until) = throttle.wait(now)
        {
            self.throttled_until = Some(until);
            session.fed.set(now);
            return Turn::Later;
        }
        self.send_run(&session, &marks, room, now, out)
    }

    fn send_run(
        &mut self,
        session: &Arc<Session>,
        marks: &Snapshot,
        room: Room,
        now: Monotonic,
        out: &mut Vec<StreamFrame>,
    ) -> Turn {
        let Some(sending) = self.sessions.get_mut(&session.id) else {
            return Turn::Gone;
        };
        let chunk = self.replicas.config().chunk_bytes as usize;
        let from = sending.sent_end;
        let most = match room {
            Room::Bytes(left) | Room::AtLeastOne(left) => {
                chunk.min(usize::try_from(left).unwrap_or(chunk))
            }
            Room::ExactlyOne | Room::None => 1,
        };
        let slices = match read(session, from, marks.log_end, most.max(1)) {
            Ok(slices) => slices,
            Err(ReadError::Damaged(damage)) => {
                self.own_damage(session, damage.from, now);
                return Turn::Gone;
            }
            Err(ReadError::BelowStart { .. }) => return self.afresh(session, now),
            Err(_) => {
                self.replicas
                    .end_session(session, Some(Refusal::Storage), now);
                return Turn::Gone;
            }
        };
        let Some(base) = slices.chunks.first().and_then(|chunk| first_base(chunk)) else {
            return Turn::Idle;
        };
        let log_start = session.replica.store.reader().log_start();
        if base < from || base > from && from < log_start {
            // Retention was faster than the follower, or compaction has made one batch of what
            // lies to both sides of its end: there is nothing that continues its log.
            return self.afresh(session, now);
        }
        let bytes = slices.bytes;
        if matches!(room, Room::Bytes(left) if bytes as u64 > left) {
            // Larger than what is left: alone, once all before it is acknowledged.
            return Turn::Idle;
        }
        let is_cut = bytes > chunk;
        if is_cut && self.cut.is_some() {
            return Turn::Later;
        }
        let Some(seal) = seal(&slices.chunks) else {
            // What was read is no batches: the log is not what its index says.
            self.own_damage(session, from, now);
            return Turn::Gone;
        };
        debug_assert!(
            slices.next <= marks.log_end,
            "only what is published is sent"
        );
        sending.sent_end = slices.next;
        sending.told = (marks.high_watermark, marks.log_start);
        sending.credits.sent(slices.next, bytes as u64);
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
            seal,
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

    fn afresh(&mut self, session: &Arc<Session>, now: Monotonic) -> Turn {
        match self.begin_afresh(session, now) {
            true => Turn::Idle,
            false => Turn::Gone,
        }
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

fn read(
    session: &Session,
    from: Offset,
    below: Offset,
    max_bytes: usize,
) -> Result<Slices, ReadError> {
    let reader = session.replica.store.reader();
    // The batch that holds the log start may begin before it, and a reset begins there.
    let from = from.max(reader.log_start());
    reader.read(from, below, max_bytes, Minimum::OneBatch)
}

/// Checks every batch of a run; the offset of the bad one.
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
