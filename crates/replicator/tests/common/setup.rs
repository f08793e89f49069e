//! How the partitions of these tests are configured, and batches for them.

use std::path::Path;
use std::time::Duration;

use plimsoll_partition::{Cleanup, Durability, PartitionConfig};
use plimsoll_record_batch::{Batch, BatchBuilder, Compression, DecodeLimits, RecordToWrite};
use plimsoll_segment_log::{LogConfig, ToAppend};
use plimsoll_types::{Offset, Timestamp};

pub(crate) fn config(durability: Durability) -> PartitionConfig {
    PartitionConfig {
        log: LogConfig {
            segment_bytes: 1 << 20,
            segment_age: None,
            index_interval_bytes: 4096,
            producer_expiry: Duration::from_secs(3600),
            decode: DecodeLimits {
                max_decompressed_bytes: 64 << 20,
                max_records: 10_000,
            },
        },
        durability,
        cleanup: Cleanup {
            delete: true,
            compact: false,
        },
        retention_bytes: None,
        retention_age: None,
        tombstone_age: Duration::from_secs(3600),
        min_compaction_lag: Duration::ZERO,
        max_compaction_lag: None,
        min_dirty_ratio: 0.5,
    }
}

pub(crate) fn batch(bytes: usize, fill: u8) -> ToAppend {
    let value = vec![fill; bytes];
    let mut builder = BatchBuilder::new(Compression::None);
    builder
        .push(&RecordToWrite {
            timestamp: Timestamp::from_millis(1_700_000_000_000),
            key: None,
            value: Some(&value),
            headers: &[],
        })
        .unwrap();
    let bytes = builder.build(Offset::ZERO).unwrap();
    let header = *Batch::parse(&bytes).unwrap().header();
    ToAppend { header, bytes }
}

/// Flips a bit of a value in every first segment below `dir`.
pub(crate) fn flip(dir: &Path) {
    let mut dirs = vec![dir.to_owned()];
    let mut flipped = 0;
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|suffix| suffix == "log") {
                use std::os::unix::fs::FileExt;
                let file = std::fs::File::options().read(true).write(true).open(path);
                let file = file.unwrap();
                let mut byte = [0];
                let at = plimsoll_segment_log::FRONT_BYTES + 150;
                file.read_exact_at(&mut byte, at).unwrap();
                file.write_all_at(&[byte[0] ^ 4], at).unwrap();
                flipped += 1;
            }
        }
    }
    assert!(flipped > 0);
}

impl super::World {
    /// A node registers anew while it runs: its links stand, and are of its registration before.
    pub(crate) fn register_anew(&mut self, id: u32) {
        self.nodes.get_mut(&id).unwrap().epoch += 1;
        self.apply();
    }

    /// A leader is elected, and no time passes.
    pub(crate) fn elect_now(&mut self, id: u32, isr: &[u32]) {
        self.change(|view| {
            view.leader = Some(super::node(id));
            view.leader_epoch = view.leader_epoch.next();
            view.isr = isr.iter().map(|id| super::node(*id)).collect();
        });
        self.pump();
    }

    /// All nodes find that nobody listens any more where a stopped one did.
    pub(crate) fn refused(&mut self, id: u32) {
        for known in self.nodes.values().filter(|known| known.up) {
            known.replicas.ended(super::node(id), self.now);
        }
        self.pump();
    }
}
