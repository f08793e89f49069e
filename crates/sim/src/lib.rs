//! Whole clusters on a simulated clock, network and disk, decided by a seed.
//!
//! A run ([`run()`]) starts three or five real brokers, with all that is below them (logs, replicas,
//! controllers, groups), on one thread: their tasks are polled in an order that is drawn, their
//! clocks stand still until nothing can run, their messages take drawn times, their files are kept
//! by a disk that knows what was synced. Clients produce and consume over the Kafka protocol.
//! Faults are drawn, one after another. In the end they stop, and there must be peace: every
//! replica in sync and equal, every acknowledged record once and in order, no rule of the history
//! ever broken.
//!
//! Not simulated: sockets and the Raft library, which have tests of their own; the quorum here is
//! an ideal of one that keeps what Raft promises and no more.
//!
//! A plan gives nearly one run: tasks, times and faults follow from the seed, but what the brokers
//! keep in hashed maps is walked in an order of its own, so two runs of a plan may part late.
//! [`Report::hash`] is what they are compared by.

mod campaign;
mod client;
mod disk;
mod faults;
mod history;
mod kernel;
mod links;
mod machine;
mod net;
mod peace;
mod quorum;
mod run;
mod world;

pub use campaign::{Tally, run_many, shrink};
pub use faults::kinds;
pub use kernel::moment;
pub use run::{Plan, Report, run};
