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
//! - C1: a partition's leader epoch strictly grows with every change of its leader, and whenever a
//!   replica is taken out. A registration ends every leadership of the node's earlier process, so
//!   no process leads twice in one epoch.
//! - C2: a leader is in its ISR, the ISR and the ELR are replicas, and no replica is in both.
//! - C3: an ELR is kept only while the ISR is below min ISR, when nothing is committed; so each of
//!   its members has all that is committed.
//! - C4: no node is unfenced while it leads or is in sync by what it was before.
//! - C5: a node that may have lost records of a partition is neither in its ISR nor in its ELR
//!   when it is registered.
//! - C6: what is decided about a process (that it is gone, stops, or cannot use a log) does nothing
//!   to the node's next one. Only what a person asked of a node outlives its process.
//!
//! A rule over many partitions (fencing, registration, [`rules::settle`]) makes at most
//! [`rules::MAX_CHANGES`] partition records at once, so that an entry of the metadata log stays
//! small. Such rules are called again until they make none; what is half done is safe, because the
//! node is fenced first and unfenced or registered last.
//!
//! ```
//! use plimsoll_controller::{Image, Limits, rules};
//! use plimsoll_types::{NodeId, TopicId};
//!
//! let node = NodeId::new(1).expect("in range");
//! let mut image = Image::default();
//! let register = rules::RegisterNode::new(node, [7; 16], [1; 16], rules::Shutdown::Clean);
//! for record in rules::register_node(&image, &register)? {
//!     image.apply(&record)?;
//! }
//! let epoch = image.node(node).expect("registered").broker_epoch;
//! for record in rules::unfence_node(&image, node, epoch)? {
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
pub mod liveness;
mod record;
mod refusal;
pub mod rules;
mod sorted_map;

pub use changes::{Changes, TopicChange};
pub use config::{NodeDefaults, TopicConfig};
pub use image::{Image, Node, Partition, Topic, Void};
pub use limits::Limits;
pub use record::{Assignment, ConfigResource, Drain, Listener, Misfit, Record};
pub use refusal::{AssignmentFault, ConfigFault, Refusal};
pub use sorted_map::SortedMap;
