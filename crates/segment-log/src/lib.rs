//! A partition's log on disk: segments of Kafka v2 record batches, and all that keeps them true.
//!
//! One writer appends whole batches, many in one vectored write; any number of readers take slices
//! without a lock, of the mapped last segment or of what is read from an older one's file, and keep
//! what they took; a flusher makes it durable, in groups.
//! Around that: roll, recovery, retention, DeleteRecords, truncation, compaction, leader epochs,
//! idempotent producers, lookup by time, checkpoints, and the data directory itself.
//!
//! Not here: leaders and followers, high watermarks, the Kafka protocol, clocks (time is an
//! argument), transactions, encryption.
//!
//! ```
//! use std::time::Duration;
//! use plimsoll_record_batch::{Batch, BatchBuilder, Compression, DecodeLimits, RecordToWrite};
//! use plimsoll_segment_log::{Identity, LogConfig, LogHost, Minimum, ToAppend, open};
//! use plimsoll_types::{LeaderEpoch, Offset, Timestamp, TopicId};
//!
//! let data = tempfile::tempdir()?;
//! let identity = Identity { topic_id: TopicId::from_bytes([1; 16]), partition: 0 };
//! let config = LogConfig {
//!     segment_bytes: 1 << 30,
//!     segment_age: None,
//!     index_interval_bytes: 4096,
//!     producer_expiry: Duration::from_secs(7 * 24 * 3600),
//!     decode: DecodeLimits { max_decompressed_bytes: 64 << 20, max_records: 1 << 20 },
//! };
//! let host = LogHost::new(4096);
//! let mut log = open(&data.path().join("orders-0"), identity, config, &host)?;
//!
//! let mut builder = BatchBuilder::new(Compression::None);
//! builder.push(&RecordToWrite {
//!     timestamp: Timestamp::from_millis(1_700_000_000_000),
//!     key: None,
//!     value: Some(b"hello"),
//!     headers: &[],
//! })?;
//! let bytes = builder.build(Offset::ZERO)?;
//! let header = *Batch::parse(&bytes)?.header();
//!
//! let appended = log.writer.append(LeaderEpoch::ZERO, &[ToAppend { header, bytes }])?;
//! assert_eq!(log.sync.sync()?, appended.log_end); // now it survives a power loss
//! let read = log.reader.read(Offset::ZERO, appended.log_end, 1 << 20, Minimum::OneBatch)?;
//! assert_eq!(Batch::parse(&read.chunks[0])?.header().base, Offset::ZERO);
//! log.writer.close(appended.log_end)?; // a crash would do as well; this spares the next start a scan
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Invariants
//! - L1: the log start and the durable end are never above the log end.
//! - L2: what a segment published only grows, and stands still once the segment is sealed.
//! - L3: segments are in order and do not overlap; a gap between two is damage.
//! - L4: the durable end is a log end that was captured before the sync that made it durable.
//! - L5: in the epoch vector epochs strictly increase and starts never decrease.
//! - L6: a producer's remembered batches are its last ones, in the order of the log.
//! - L7: nothing is published that was not written whole.
//! - L8: recovery gives no offset below the durable end out again, whatever is broken.
//!
//! # Damage and poison
//! Bytes that cannot be believed are *damage*: reported by recovery, by the read that meets them
//! ([`ReadError::Damaged`]) and by [`LogReader::damage`]; never served, never cut below the durable
//! end, and everything around them is served. A failed write or sync is *poison* ([`Poisoned`]): the
//! log takes no more writes until it is opened again, and a sync is never tried twice. A full disk
//! is neither: the append is refused before anything is written, and works again when there is room.
//!
//! # Threads
//! [`LogWriter`] is the one writer and cannot be cloned. Its methods that stage work ([`Upkeep`])
//! cost no I/O; the work runs on any thread, after the writer was let go. [`LogReader`] and
//! [`LogSync`] are shared freely. Files and maps are opened when they are used and closed by the
//! [`LogHost`]'s bound, so an idle log costs about a kibibyte of memory and nothing else.

mod checkpoint;
mod compact;
mod config;
mod cursor;
mod damage;
mod data_dir;
pub mod disk;
mod epochs;
mod epochs_file;
mod flush;
mod format;
mod host;
mod index;
mod index_builder;
mod index_file;
mod layout;
mod list;
mod log;
pub mod map;
mod meta;
mod noted;
mod producers;
mod producers_file;
mod read;
mod rebuild;
mod recover;
mod scan;
mod seek;
mod segment;
mod segment_file;
mod sync;
mod upkeep;
mod verify;
mod writer;

pub use compact::{
    Compacted, Compaction, CompactionConfig, CompactionError, CompactionReport, InstallError,
};
pub use config::{Identity, LogConfig, Minimum, Retention};
pub use damage::{Damage, DamageKind, FailedStep, Poisoned};
pub use data_dir::{
    CleanShutdown, DataDir, DataDirError, DirId, NodeIdentity, PartitionDir, Shutdown,
};
pub use epochs::{EpochEntry, EpochVector};
pub use flush::{FlushPool, FlushTarget};
pub use format::Unreadable;
pub use host::LogHost;
pub use producers::{Admission, ProducerStates, ProducerView, Verdict, WINDOW};
pub use read::{LogReader, ReadError, SegmentView, Slices};
pub use recover::{OpenError, Opened, Recovery, SideFile, TornTail, open};
pub use seek::TimedOffset;
pub use segment_file::FRONT_BYTES;
pub use sync::LogSync;
pub use upkeep::{Upkeep, UpkeepError};
pub use writer::{
    AdoptError, AppendError, Appended, LogWriter, ToAppend, TrimError, TruncateError,
};
