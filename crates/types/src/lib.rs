//! The words every Plimsoll crate shares: offsets, epochs, ids and time.
//!
//! Not here: anything that does I/O, reads a clock or knows a protocol. A value of one of these
//! types is always valid, so what took a check at the edge takes none further in.
//!
//! ```
//! use plimsoll_types::{LeaderEpoch, Offset};
//! let end = Offset::new(10) + 5;
//! assert_eq!(end - Offset::new(10), 5);
//! assert_eq!(Offset::from_wire(-1), None);
//! assert_eq!(LeaderEpoch::from_wire(3), Some(LeaderEpoch::new(3)));
//! ```

mod epoch;
mod id;
mod offset;
mod time;
mod topic;

pub use epoch::{BrokerEpoch, LeaderEpoch, PartitionEpoch};
pub use id::{InvalidTopicId, NodeId, ProducerEpoch, ProducerId, TopicId};
pub use offset::Offset;
pub use time::{Monotonic, Timestamp};
pub use topic::{InvalidTopicName, PartitionKey, TopicName, TopicPartition};
