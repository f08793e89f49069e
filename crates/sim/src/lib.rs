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
//! A plan gives one run, turn by turn: tasks, times, faults and ids all follow from the seed.
//! [`Report::hash`] is what runs are compared by, and [`run_twice`] tells where two part.
//!
//! What may go wrong at the same time is bounded by what replication promises: see `budget.rs`.

mod budget;
mod campaign;
mod client;
mod disk;
mod faults;
mod history;
mod kernel;
mod links;
mod machine;
mod marks;
mod member;
mod net;
mod offsets;
mod operate;
mod peace;
mod quorum;
mod run;
mod trace;
mod world;

pub use campaign::{Tally, run_many, shrink};
pub use faults::kinds;
pub use kernel::moment;
pub use marks::marks;
pub use run::{Plan, Report, run, run_twice};
