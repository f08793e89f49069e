//! The rules: from an image and a command to the records that carry it out.
//!
//! A rule changes nothing. To carry out several commands at once, apply the records of one to a
//! clone of the image before asking for the next; to only validate, throw the records away.

mod alter_partition;
mod change;
mod configs;
mod create_partitions;
mod create_topic;
mod delete_topic;
mod elect;
mod fencing;
mod placement;
mod producer_ids;
mod reassign;
mod recovery;
mod register_node;
mod settle;

pub use alter_partition::{AlterPartition, AlterRefusal, Altered, IsrChange, alter_partition};
pub use change::MAX_CHANGES;
pub use configs::{AlterConfig, AlterOperation, alter_configs, check_topic_configs};
pub use create_partitions::{CreatePartitions, create_partitions};
pub use create_topic::{CreateTopic, ManualAssignment, create_internal_topic, create_topic};
pub use delete_topic::{TopicRef, delete_topic};
pub use elect::{Election, balance_leaders, elect};
pub use fencing::{
    begin_again, drain_node, fence_node, is_drained, remove_node, report_corrupt,
    resign_leaderships, resume_node, stop_node, unfence_node,
};
pub use producer_ids::{ReservedProducerIds, reserve_producer_ids};
pub use reassign::{Reassign, reassign};
pub use recovery::{LogAnswer, RecoverUnclean, RecoveryWanted, recover_unclean, recoveries_wanted};
pub use register_node::{RegisterNode, Shutdown, register_node};
pub use settle::{choose_leaders, settle};

/// Topics in which the cluster keeps its own state; the protocol marks them as internal.
pub const INTERNAL_TOPICS: &[&str] = &["__consumer_offsets", "__transaction_state"];

/// Whether `name` is one of [`INTERNAL_TOPICS`].
#[must_use]
pub fn is_internal(name: &str) -> bool {
    INTERNAL_TOPICS.contains(&name)
}
