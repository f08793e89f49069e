//! Topic configs: which keys there are, what their values may be, and what holds for a topic.
//!
//! A value is looked for in the topic's own configs, the node's dynamic ones, the cluster-wide
//! dynamic ones, the node's static defaults ([`NodeDefaults`]) and the built-in default, in this
//! order. Every key in [`keys::KEYS`] is honoured; Kafka's other keys are refused with the reason
//! ([`keys::NOT_SUPPORTED`]), never taken and ignored.

pub mod keys;
mod resolve;
mod value;

pub use keys::{Kind, TopicKey};
pub use resolve::{
    Cleanup, Durability, Entry, NodeDefaults, Source, Synonym, TimestampSource, TopicCompression,
    TopicConfig, UncleanRecovery, durability, entries, entry, resolve, unclean_recovery,
};
pub use value::canonical;
