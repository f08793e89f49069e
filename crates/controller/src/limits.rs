//! The numbers that bound and default what clients ask for. Made by `node`, the same on all nodes.

/// What the rules need to know beside the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Partitions of a topic whose creator leaves the count open (Kafka's `num.partitions`).
    pub default_partitions: u32,
    /// Replicas of a partition whose creator leaves the count open (`default.replication.factor`).
    pub default_replication: u32,
    /// Most replicas that one node may hold; more would outgrow its descriptors and memory.
    pub max_partitions_per_node: u32,
}
