//! Failure detection, watchdogs and the diagnosis of replicas; no I/O, no clock.
//!
//! Two halves. The detectors turn events into facts: [`FailureDetector`] (is the other still
//! there?), [`Progress`] (does it move?), [`Stall`] (does the disk, or this process, hang?).
//! [`diagnose`] turns the facts about one replica into what a person needs at night: the state, the
//! one cause with a stable code, the evidence in numbers, what is being done, when it is tried
//! next, how long it may take, and what the person may do. [`judge`] does so for a whole cluster.
//!
//! Not here: who gathers the facts, and who acts. What always holds: a replica that is not in sync
//! has a cause; a healthy one has none; a cause is what has to end for the replica to heal, not
//! what followed from it.
//!
//! ```
//! use std::time::Duration;
//! use plimsoll_health::{Cause, Link, ReplicaFacts, ReplicaState, diagnose, explain};
//! use plimsoll_types::{NodeId, Offset};
//!
//! let [one, three] = [1, 3].map(|id| NodeId::new(id).expect("small"));
//! let mut facts = ReplicaFacts::healthy(three, one, Offset::new(12_000));
//! assert_eq!(diagnose(&facts).cause, None);
//!
//! // Node 3 stops answering; its copy falls behind and leaves the set of those in sync.
//! facts.in_isr = false;
//! facts.leader_log_end = Some(Offset::new(52_400));
//! facts.link = Link::Down {
//!     since: Duration::from_secs(4),
//!     attempts: 7,
//!     next_attempt: Duration::from_millis(800),
//! };
//! let diagnosis = diagnose(&facts);
//! assert_eq!(diagnosis.state, ReplicaState::Offline);
//! assert_eq!(diagnosis.cause, Some(Cause::PeerUnreachable));
//! assert_eq!(
//!     diagnosis.evidence,
//!     "no connection between nodes 1 and 3 for 4.0 s, 7 attempts failed; 40,400 records behind",
//! );
//! let words = explain("R002").expect("a known code");
//! assert_eq!(words.name, "peer-unreachable");
//! ```

mod cause;
mod detector;
mod diagnosis;
mod facts;
mod progress;
mod rules;
mod stall;
mod state;
mod text;
mod verdict;

pub use cause::{Cause, Explanation, causes_page, explain};
pub use detector::{DetectorConfig, FailureDetector, Liveness};
pub use diagnosis::{Diagnosis, diagnose};
pub use facts::{Disk, Join, Link, MetadataLag, Repair, ReplicaFacts, Session};
pub use progress::Progress;
pub use stall::{LoopLag, Stall, StallConfig, StallVerdict};
pub use state::ReplicaState;
pub use verdict::{ClusterFacts, ClusterVerdict, Level, NodeFacts, QuorumFacts, judge};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
