//! The cluster as one answer, whichever node is asked.
//!
//! Each node knows its own replicas, and those of its followers. Whoever is asked asks the others
//! ([`Colleagues`]) and [merges](merge) what they say; a node that does not answer is told as such,
//! with the cause. From the merged rows follow the [`verdict`] and what `doctor` says.

mod colleagues;
mod gather;
mod merge;
mod sighting;
mod verdict;
mod view;

pub use colleagues::Colleagues;
pub(crate) use colleagues::{EventView, Linked};
pub(crate) use gather::{Cluster, Gathered};
pub(crate) use merge::Row;
pub(crate) use sighting::Sighting;
pub(crate) use verdict::Finding;
pub use view::ClusterView;
