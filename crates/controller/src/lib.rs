//! What the cluster knows about itself, and who may change it.
//!
//! An [`Image`] is the metadata at one version: nodes, topics, partitions, configs. A [`Record`]
//! is one fact that changes it. A rule in [`rules`] reads an image and a command and answers with
//! the records that carry it out, or with a [`Refusal`] in words for the client. Whoever runs this
//! makes the records durable first and applies them after: every node that applies the same
//! records in the same order holds the same image.
//!
//! Not here: bytes, files, sockets, clocks, threads or randomness. Ids are drawn by the caller.
//!
//! Always: only records change an image; a record that a rule made for an image applies to it; a
//! clone of an image costs a few reference counts and never changes. And:
//!
//! - C1: a partition's leader epoch strictly grows with every change of its leader and with every
//!   restart of it, so that no process leads twice in one epoch.
//!
//! ```
//! use plimsoll_controller::{Image, Limits, rules};
//! use plimsoll_types::{NodeId, TopicId};
//!
//! let node = NodeId::new(1).expect("in range");
//! let mut image = Image::default();
//! let register = rules::RegisterNode { node, incarnation: [7; 16], rack: None, listeners: vec![] };
//! for record in rules::register_node(&image, &register)? {
//!     image.apply(&record)?;
//! }
//! let limits = Limits { default_partitions: 1, default_replication: 1, max_partitions_per_node: 100 };
//! let create = rules::CreateTopic::named("orders", TopicId::from_bytes([1; 16]));
//! for record in rules::create_topic(&image, &limits, &create)? {
//!     image.apply(&record)?;
//! }
//! assert_eq!(image.topic("orders").expect("created").partitions[0].leader, Some(node));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod changes;
pub mod config;
mod image;
mod limits;
mod record;
mod refusal;
pub mod rules;
mod sorted_map;

pub use changes::{Changes, TopicChange};
pub use config::{NodeDefaults, TopicConfig};
pub use image::{Image, Node, Partition, Topic};
pub use limits::Limits;
pub use record::{Assignment, ConfigResource, Listener, Misfit, Record};
pub use refusal::{AssignmentFault, ConfigFault, Refusal};
pub use sorted_map::SortedMap;
