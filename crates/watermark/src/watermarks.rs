//! One partition's offsets: publishing, reading, awaiting them, and changing the tenure.
//!
//! Decides nothing about who is in sync and touches no bytes. Publishing and reading take no lock,
//! except that a publisher who reaches a waiter takes the waiters' lock to wake it.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use plimsoll_types::{LeaderEpoch, NodeId, Offset};

use crate::position::{Ends, Position};
use crate::signal::Signal;
use crate::snapshot::{Mark, Snapshot, Superseded, Untracked};
use crate::sync::{Mutex, Swap, Weakness, fence, weakened};
use crate::tenure::{Advance, Sealed, Tenure, TenureStart};
use crate::waiters::{Bell, Parked, Waiters, WatchState};
use crate::watch::{Wait, Watch};

/// The offsets of one partition on one node, and those who wait for them.
///
/// Shared by reference between the log's writer, its flusher, the followers' acks and all readers.
/// Each `publish_*` names its one writer; `begin` and `cut` may be called from any thread and take
/// turns.
pub struct Watermarks {
    current: Swap<Tenure>,
    waiters: Arc<Waiters>,
    /// Held while one tenure gives way to the next.
    transition: Mutex<()>,
}

/// Publishing.
impl Watermarks {
    /// Moves the local log end. For the log's writer alone, which is also who cuts the log or is
    /// told before it next appends. What is below `to` is readable.
    pub fn publish_log_end(&self, to: Offset) {
        let tenure = self.current.load();
        if tenure.local().raise_log_end(to) {
            self.local_moved(&tenure);
        }
    }

    /// Moves the local durable end. For the flusher alone, and only while nothing can cut the log
    /// between the sync and this call; else see [`Watermarks::publish_durable_end_on`].
    pub fn publish_durable_end(&self, to: Offset) {
        let tenure = self.current.load();
        if tenure.local().raise_durable_end(to) {
            self.local_moved(&tenure);
        }
    }

    /// Moves the durable end of the course that `position` was taken from, which was taken before
    /// the sync began. If that course was cut since, the offset counts for nothing.
    pub fn publish_durable_end_on(&self, position: &Position, to: Offset) {
        if position.cell.raise_durable_end(to) {
            self.local_moved(&self.current.load());
        }
    }

    /// Moves the local log start. For the log's writer alone; never above the high watermark.
    pub fn publish_log_start(&self, to: Offset) {
        let tenure = self.current.load();
        debug_assert!(
            to <= tenure.high_watermark(),
            "W5: only what is committed is deleted"
        );
        tenure.local().raise_log_start(to);
    }

    /// Moves a follower's ends. For the acks of that follower alone, and only while nothing can
    /// cut its course between the check of its session and this call; else see
    /// [`Watermarks::publish_follower_on`].
    ///
    /// # Errors
    /// If the current tenure does not track `replica`.
    pub fn publish_follower(
        &self,
        replica: NodeId,
        log_end: Offset,
        durable_end: Offset,
    ) -> Result<(), Untracked> {
        let tenure = self.current.load();
        let Some(cell) = tenure.cell(replica) else {
            return Err(Untracked {
                replica,
                leader_epoch: tenure.leader_epoch,
            });
        };
        if cell.raise(log_end, durable_end) {
            self.fence_after_position();
            self.advance_from(&tenure);
        }
        Ok(())
    }

    /// Moves a follower's ends on the course that `position` was taken from, which is when its
    /// session began. If that course was cut since, the offsets count for nothing.
    pub fn publish_follower_on(&self, position: &Position, log_end: Offset, durable_end: Offset) {
        if position.cell.raise(log_end, durable_end) {
            self.fence_after_position();
            self.advance();
        }
    }

    /// Moves the high watermark to where the positions allow and wakes whom that reaches.
    ///
    /// Every `publish_*` does so itself; this is for a clock's tick. `true` says that there was
    /// something left to do: a missed wake-up, unless a publisher was caught between its two
    /// steps, so it is the rate that tells.
    pub fn recompute(&self) -> bool {
        self.fence_after_position();
        let moved = self.advance();
        let now = self.snapshot();
        let woke = [Mark::LogEnd, Mark::DurableEnd, Mark::HighWatermark]
            .map(|mark| self.waiters.reached(mark, now.value(mark)));
        moved || woke.contains(&true)
    }

    /// What follows a move of either local end. The writer and the flusher each look at both
    /// words after their own store, for the lesser of the two is the durable end that counts.
    #[inline]
    fn local_moved(&self, tenure: &Tenure) {
        self.fence_after_position();
        let Ends {
            log_end,
            durable_end,
        } = tenure.local().ends();
        self.waiters.reached(Mark::LogEnd, log_end);
        self.waiters.reached(Mark::DurableEnd, durable_end);
        self.advance_from(tenure);
    }

    /// Stands between a publisher's store and its look at everybody else's words. Pairs with
    /// itself in another publisher (one of the two sees both positions), with the fence in
    /// `succeed` (either the seal is seen here or the position there), and with the fence in
    /// `park_in` (either the waiter is seen here or the position there).
    #[inline]
    fn fence_after_position(&self) {
        if !weakened(Weakness::FenceAfterPosition) {
            fence(SeqCst);
        }
    }

    fn advance(&self) -> bool {
        self.advance_from(&self.current.load())
    }

    /// Moves the high watermark of `tenure`, or of the one that took its place.
    #[inline]
    fn advance_from(&self, tenure: &Tenure) -> bool {
        match tenure.advance() {
            Advance::Still => false,
            Advance::Moved(to) => {
                self.high_watermark_moved(to);
                true
            }
            Advance::Sealed => self.advance_after_seal(tenure),
        }
    }

    /// After the seal comes a look at all positions on behalf of the next tenure. Either this
    /// publisher's is among them, and there is nothing to wait for here, or that look is over, and
    /// then the next tenure is seen by now. So publishers never block.
    #[cold]
    fn advance_after_seal(&self, sealed: &Tenure) -> bool {
        let guard = self.current.load();
        let next: &Tenure = &guard;
        if std::ptr::eq(next, sealed) || weakened(Weakness::SealNotRetried) {
            return false;
        }
        self.advance_from(next)
    }

    #[inline]
    fn high_watermark_moved(&self, to: Offset) {
        // Pairs with the fence in `park_in`: either the waiter is seen here, or the high watermark
        // there.
        if !weakened(Weakness::FenceAfterAdvance) {
            fence(SeqCst);
        }
        self.waiters.reached(Mark::HighWatermark, to);
    }
}

/// Reading.
impl Watermarks {
    /// The offsets, true together. Takes no lock.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.current.load().snapshot()
    }

    /// End of what every replica that counts has.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.current.load().high_watermark()
    }

    /// End of the local log.
    #[must_use]
    pub fn log_end(&self) -> Offset {
        self.current.load().local().log_end()
    }

    /// End of the local log's synced prefix.
    #[must_use]
    pub fn durable_end(&self) -> Offset {
        self.current.load().local().ends().durable_end
    }

    /// Oldest readable offset.
    #[must_use]
    pub fn log_start(&self) -> Offset {
        self.current.load().local().log_start()
    }

    /// The epoch of the current tenure.
    #[must_use]
    pub fn leader_epoch(&self) -> LeaderEpoch {
        self.current.load().leader_epoch
    }

    /// Whether the committed ISR has as many members as acks=all demands.
    #[must_use]
    pub fn min_isr_met(&self) -> bool {
        self.current.load().min_isr_met()
    }

    /// How many replicas the committed ISR has.
    #[must_use]
    pub fn committed_isr(&self) -> usize {
        self.current.load().committed_isr
    }

    /// The least committed ISR with which the high watermark moves.
    #[must_use]
    pub fn min_isr(&self) -> usize {
        self.current.load().min_isr
    }

    /// The members of the maximal ISR, the local replica first.
    #[must_use]
    pub fn maximal_isr(&self) -> Vec<NodeId> {
        self.current.load().maximal_isr()
    }

    /// How far `replica` has come, as far as published here.
    ///
    /// # Errors
    /// If the current tenure does not track it.
    pub fn ends(&self, replica: NodeId) -> Result<Ends, Untracked> {
        Ok(self.position(replica)?.cell.ends())
    }

    /// A handle on which to publish for `replica` as long as its course is not cut.
    ///
    /// # Errors
    /// If the current tenure does not track it.
    pub fn position(&self, replica: NodeId) -> Result<Position, Untracked> {
        let tenure = self.current.load();
        match tenure.cell(replica) {
            Some(cell) => Ok(Position {
                cell: Arc::clone(cell),
            }),
            None => Err(Untracked {
                replica,
                leader_epoch: tenure.leader_epoch,
            }),
        }
    }

    /// The local replica's handle; for a flusher, before it syncs.
    #[must_use]
    pub fn local_position(&self) -> Position {
        Position {
            cell: Arc::clone(self.current.load().local()),
        }
    }

    /// The offsets, if `course` goes on.
    pub(crate) fn snapshot_in(&self, course: u64) -> Result<Snapshot, Superseded> {
        let tenure = self.current.load();
        if tenure.course == course {
            Ok(tenure.snapshot())
        } else {
            Err(Superseded {
                leader_epoch: tenure.leader_epoch,
            })
        }
    }
}

/// Awaiting.
impl Watermarks {
    /// Rings `signal` when `mark` stands at or above `at_least`, or when that can no longer be.
    /// The answer may be there at once, in which case nothing rings: ask [`Watch::state`].
    pub fn watch(&self, mark: Mark, at_least: Offset, signal: &Arc<Signal>) -> Watch {
        let course = self.current.load().course;
        self.park_in(course, mark, at_least, Bell::Shared(Arc::clone(signal)))
    }

    /// As [`Watermarks::watch`], for an offset that was given out in `epoch`: superseded at once
    /// if another epoch rules by now. An acknowledgement of what was appended waits this way.
    pub fn watch_in(
        &self,
        epoch: LeaderEpoch,
        mark: Mark,
        at_least: Offset,
        signal: &Arc<Signal>,
    ) -> Watch {
        let bell = Bell::Shared(Arc::clone(signal));
        match self.course_of(epoch) {
            Some(course) => self.park_in(course, mark, at_least, bell),
            None => Watch::decided(Arc::new(Parked::new(0, bell)), WatchState::Superseded),
        }
    }

    /// Completes when `mark` stands at or above `at_least`, with the offsets of that moment or a
    /// later one. What was given out in an earlier epoch is waited for with
    /// [`Watermarks::wait_in`].
    pub fn wait(&self, mark: Mark, at_least: Offset) -> Wait<'_> {
        Wait::new(self, mark, at_least, self.current.load().course)
    }

    /// As [`Watermarks::wait`], for an offset that was given out in `epoch`.
    ///
    /// # Errors
    /// If another epoch rules by now.
    pub fn wait_in(
        &self,
        epoch: LeaderEpoch,
        mark: Mark,
        at_least: Offset,
    ) -> Result<Wait<'_>, Superseded> {
        let tenure = self.current.load();
        if tenure.leader_epoch == epoch {
            Ok(Wait::new(self, mark, at_least, tenure.course))
        } else {
            Err(Superseded {
                leader_epoch: tenure.leader_epoch,
            })
        }
    }

    fn course_of(&self, epoch: LeaderEpoch) -> Option<u64> {
        let tenure = self.current.load();
        (tenure.leader_epoch == epoch).then_some(tenure.course)
    }

    pub(crate) fn park(&self, course: u64, mark: Mark, at_least: Offset) -> Watch {
        self.park_in(course, mark, at_least, Bell::Own(Signal::new()))
    }

    fn park_in(&self, course: u64, mark: Mark, at_least: Offset, bell: Bell) -> Watch {
        let parked = Arc::new(Parked::new(course, bell));
        // Most who ask need not wait, and then no lock is taken.
        if let Some(state) = self.look(course, mark, at_least) {
            return Watch::decided(parked, state);
        }
        let mut watch = Watch::queue(&self.waiters, mark, at_least, parked);
        if weakened(Weakness::CheckBeforeRegister) {
            return watch;
        }
        // Pairs with the publishers' fences: either they see the least threshold just written,
        // or the look below sees what they published. A new course is seen below, or its
        // `supersede`, which takes the queue's lock, finds this waiter in the queue.
        if !weakened(Weakness::FenceAfterRegister) {
            fence(SeqCst);
        }
        if let Some(state) = self.look(course, mark, at_least) {
            watch.settle(state);
        }
        watch
    }

    /// How a wait on `course` would end now; `None` if it would not.
    fn look(&self, course: u64, mark: Mark, at_least: Offset) -> Option<WatchState> {
        let tenure = self.current.load();
        if tenure.course != course {
            return Some(WatchState::Superseded);
        }
        (tenure.value(mark) >= at_least).then_some(WatchState::Reached)
    }
}

/// Changing the tenure.
impl Watermarks {
    /// The offsets of a partition that has just been opened.
    ///
    /// # Panics
    /// If `start` contradicts itself (W1 to W3).
    #[must_use]
    pub fn new(start: TenureStart) -> Self {
        let watermarks = Self {
            current: Swap::new(Tenure::first(0, &start)),
            waiters: Arc::new(Waiters::new()),
            transition: Mutex::new(()),
        };
        drop(start);
        watermarks.advance();
        watermarks
    }

    /// Ends the current tenure and begins the next: another ISR, another min ISR, other replicas
    /// (all in the same leader epoch, and waiters stay), or a new leader epoch (a new course:
    /// waiters are superseded).
    ///
    /// `next` sees the final high watermark of the ended tenure. While it runs the high watermark
    /// stands still, so it only puts the start together; it must not begin a tenure itself.
    ///
    /// # Panics
    /// If the start contradicts itself (W1 to W3), goes back to an earlier epoch, or `next`
    /// panics; the current tenure then goes on.
    pub fn begin(&self, next: impl FnOnce(Sealed) -> TenureStart) {
        self.succeed(next, |before, start| {
            start.leader_epoch != before.leader_epoch
        });
    }

    /// As [`Watermarks::begin`], but always a new course: the log was truncated or replaced, in
    /// the same epoch or another.
    ///
    /// # Panics
    /// As [`Watermarks::begin`].
    pub fn cut(&self, next: impl FnOnce(Sealed) -> TenureStart) {
        self.succeed(next, |_, _| true);
    }

    fn succeed(
        &self,
        next: impl FnOnce(Sealed) -> TenureStart,
        is_cut: impl FnOnce(&Tenure, &TenureStart) -> bool,
    ) {
        let transition = self.transition.lock();
        let before = self.current.load_full();
        let reopen = Reopen {
            watermarks: self,
            tenure: &before,
        };
        let sealed = before.seal();
        let start = next(sealed);
        assert!(
            start.leader_epoch >= before.leader_epoch,
            "W7: epochs never go back"
        );
        let tenure = if is_cut(&before, &start) {
            Tenure::first(before.course + 1, &start)
        } else {
            Tenure::after(&before, sealed.high_watermark, &start)
        };
        std::mem::forget(reopen);
        let course = tenure.course;
        debug_assert!(
            course != before.course || tenure.high_watermark() == sealed.high_watermark,
            "W4"
        );
        if weakened(Weakness::SupersedeFirst) {
            self.waiters.supersede(course);
        }
        self.current.store(tenure);
        drop(transition);
        if course != before.course && !weakened(Weakness::SupersedeFirst) {
            self.waiters.supersede(course);
        }
        self.look_after_change();
    }

    /// Moves the high watermark on behalf of all who published while the word was sealed.
    fn look_after_change(&self) {
        // Pairs with `fence_after_position`: whoever published during the change and met the
        // seal, or the old rule, is seen by the advance below.
        if !weakened(Weakness::FenceAfterTenure) {
            fence(SeqCst);
        }
        self.advance();
    }
}

/// Takes the seal back if no next tenure came of it.
struct Reopen<'a> {
    watermarks: &'a Watermarks,
    tenure: &'a Tenure,
}

impl Drop for Reopen<'_> {
    fn drop(&mut self) {
        self.tenure.unseal();
        self.watermarks.look_after_change();
    }
}

impl fmt::Debug for Watermarks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watermarks").field(&self.snapshot()).finish()
    }
}
