//! How far a partition of a replicated log has come: its offsets, published, read and awaited
//! without locks.
//!
//! One [`Watermarks`] a partition holds the log start, the durable end, the high watermark and the
//! log end, and how far each follower has come. The log's writer, its flusher and the followers'
//! acks each publish their own position; whoever publishes also moves the high watermark and wakes
//! whom that concerns. Readers see all offsets true together, and take no lock.
//!
//! Not here: bytes, files, clocks, and every decision about who is in sync. Not a consensus: it
//! carries out the rule that a [`TenureStart`] states, in the face of threads.
//!
//! ```
//! use std::pin::pin;
//! use std::task::{Context, Poll, Waker};
//! use plimsoll_types::{LeaderEpoch, NodeId, Offset};
//! use plimsoll_watermark::{Counts, Mark, TenureStart, Watermarks};
//!
//! let node = |id| NodeId::new(id).expect("a small number");
//! let rule = |isr: Vec<NodeId>| TenureStart {
//!     leader_epoch: LeaderEpoch::new(1),
//!     log_start: Offset::ZERO,
//!     durable_end: Offset::ZERO,
//!     log_end: Offset::ZERO,
//!     high_watermark: Offset::ZERO,
//!     local: node(1),
//!     followers: vec![node(2), node(3)],
//!     fresh: Vec::new(),
//!     committed_isr: isr.len(),
//!     maximal_isr: isr,
//!     min_isr: 2,
//!     counts: Counts::Durable,
//! };
//! let marks = Watermarks::new(rule(vec![node(1), node(2), node(3)]));
//!
//! // An acknowledgement waits until all in-sync replicas have synced ten records.
//! let mut acknowledged = pin!(marks.wait(Mark::HighWatermark, Offset::new(10)));
//! let mut task = Context::from_waker(Waker::noop());
//! assert!(acknowledged.as_mut().poll(&mut task).is_pending());
//!
//! marks.publish_log_end(Offset::new(10)); // the writer
//! marks.publish_durable_end(Offset::new(10)); // the flusher
//! marks.publish_follower(node(2), Offset::new(10), Offset::new(10))?; // an ack
//! assert_eq!(marks.high_watermark(), Offset::ZERO); // replica 3 has nothing yet
//!
//! // Replica 3 leaves the ISR; the next tenure goes on with all positions there are.
//! marks.begin(|_| rule(vec![node(1), node(2)]));
//! assert_eq!(marks.high_watermark(), Offset::new(10));
//! assert!(matches!(acknowledged.as_mut().poll(&mut task), Poll::Ready(Ok(_))));
//! # Ok::<(), plimsoll_watermark::Untracked>(())
//! ```
//!
//! # Tenures and courses
//!
//! A *tenure* is a stretch under one leader epoch and one rule of who counts. Its rule never
//! changes and its high watermark only grows. A change of the rule *seals* the high watermark,
//! hands the value on, and publishes the next tenure; an advance that comes too late finds the
//! seal and does nothing, and whoever sealed looks at all positions once more afterwards. So an
//! ISR can grow safely: begin a tenure that counts the joiner, *then* ask whether the joiner has
//! all below the high watermark, and propose it, or go back to a tenure without it.
//!
//! A *course* is a run of tenures in which the log only grows. Tenures of a course share one cell
//! a replica, so no position is lost between two of them, and those who wait go on waiting. A
//! truncation or a new leader epoch ends the course: cells are new, and those who wait are told
//! [`Superseded`]. A [`Position`] is a handle on one replica's course; what is published on it
//! after the course was cut counts for nothing. A follower that attaches anew, perhaps with less
//! than it had, can be given a new cell by itself ([`TenureStart::fresh`]).
//!
//! A replica that follows has tenures too: it tracks its leader as the one other replica that
//! counts, and publishes the leader's high watermark as the leader's position.
//!
//! # Waiting
//!
//! [`Watermarks::wait`] is a plain future and needs no runtime. [`Watermarks::watch`] registers one
//! [`Signal`] with many partitions, for a request that waits on them all. A publisher takes no
//! lock unless someone waits for what it published: it compares one word, the least threshold.
//! Only those reached are woken.
//!
//! # Invariants
//!
//! | id | at all times |
//! |---|---|
//! | W1 | every member of the maximal ISR is tracked, and the local replica is one of them |
//! | W2 | the high watermark is never above the local log end, and never moves past the least counted position of the maximal ISR |
//! | W3 | a replica's durable end is never above its log end |
//! | W4 | within a course no offset goes back, for any reader |
//! | W5 | the log start is never above the high watermark |
//! | W6 | what is published on a course that was cut, or by a follower before it began afresh, counts for nothing |
//! | W7 | leader epochs never go back |
//! | W8 | the high watermark stands still while the committed ISR is smaller than min ISR |
//! | W9 | a waiter registers before it looks for the last time; who is reached is woken once, who is not is not |
//!
//! W1, W2, W3 and W7 are checked in every build where a tenure begins, the rest where they live in
//! builds with debug assertions. The `models` module has loom try every order of a few threads on
//! this code, with a weakened twin for each fence, ordering and step that matters.

mod position;
mod signal;
mod snapshot;
mod sync;
mod tenure;
mod waiters;
mod watch;
mod watermarks;

pub use position::{Ends, Position};
pub use signal::{Notified, Signal};
pub use snapshot::{Mark, Snapshot, Superseded, Untracked};
pub use tenure::{Counts, Sealed, TenureStart};
pub use waiters::WatchState;
pub use watch::{Wait, Watch};
pub use watermarks::Watermarks;

#[cfg(all(test, not(loom)))]
mod tests;

#[cfg(all(test, loom))]
mod models;
