//! Removing a replica's files once its topic is gone.
//!
//! How a directory goes without a crash bringing half of it back is the data directory's business;
//! here is what comes before it. Slices that a fetch still holds stay readable: the files die with
//! them.

use plimsoll_segment_log::{DataDir, DataDirError};

use crate::Partition;

/// The topic of this partition was deleted.
#[derive(Debug, thiserror::Error)]
#[error("the topic was deleted")]
struct Deleted;

impl Partition {
    /// Takes the replica offline for good and removes its files from `data`. Blocks on the disk.
    ///
    /// # Errors
    /// What is left is removed at the next start; the replica is offline all the same.
    pub fn remove(&self, data: &DataDir) -> Result<(), DataDirError> {
        // As the writer: no append is half-way, and none comes after.
        self.with_writer(|writer| {
            writer.shared.fail(&Deleted);
            writer.log = None;
        });
        data.remove_partition(&self.reader().identity())
    }
}
