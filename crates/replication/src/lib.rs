//! Leader and follower of one partition as state machines: who is fed from where, who is in sync,
//! and how every failure ends.
//!
//! A follower *attaches*: it states its log's end and epochs. The leader compares them with its own
//! ([`divergence()`]), says where to cut, and *streams*. [`Leader`] decides about sessions and the
//! ISR, [`Follower`] about its own log; [`Credits`] and [`Throttle`] bound what is under way.
//!
//! Not here: record bytes, frames, files, clocks, threads. Time and samples of positions are
//! arguments; what is to be done comes out as actions. Acks move lock-free cells and never pass
//! through here. The protocol as a whole is told in `docs/replication.md`, with its invariants R1
//! to R12; those that these machines alone can keep are asserted here.
//!
//! Always: every state of both machines has an exit on a clock, every pause is bounded, jittered
//! and reset by success, and no failure is final.
//!
//! ```
//! use plimsoll_replication::{Agreement, EpochStart, LogShape, divergence};
//! use plimsoll_types::{LeaderEpoch, Offset};
//!
//! let epoch = |e, start| EpochStart { epoch: LeaderEpoch::new(e), start: Offset::new(start) };
//! let leader = [epoch(4, 0), epoch(6, 80)];
//! let follower = [epoch(4, 0), epoch(5, 90)];
//! let shape = |end, epochs| LogShape { log_start: Offset::ZERO, log_end: Offset::new(end), epochs };
//! // Both held epoch 4; the leader's ended at 80. What the follower has of epoch 5 goes too.
//! let agreed = divergence(&shape(100, &leader), &shape(95, &follower));
//! assert_eq!(agreed, Agreement::TruncateTo(Offset::new(80)));
//! ```

mod back_off;
mod credits;
mod divergence;
mod follower;
mod guards;
mod leader;
mod session;
mod throttle;
mod timing;

pub use back_off::BackOff;
pub use credits::{Credits, Room};
pub use divergence::{
    Agreement, EpochStart, LogShape, adopted, divergence, greatest_common, is_vector,
};
pub use follower::{
    AppendHead, Attached, Follower, FollowerAction, FollowerEvent, FollowerState, FollowerTerm,
    LocalFault, LocalLog, Reset, Verdict,
};
pub use leader::{
    Counts, Decision, JoinStatus, Leader, LeaderAction, LeaderEvent, LeaderTerm, Lease, LeaveWhy,
    Marks, PeerStatus, Proposal, ReplicaView, Rule, Sample, View,
};
pub use session::{Attach, AttachOutcome, CloseWhy, LeaderLog, Nack, Refusal};
pub use throttle::{FLOOR_BYTES_PER_SECOND, Throttle};
pub use timing::Timing;

#[cfg(test)]
mod tests;
