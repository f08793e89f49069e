//! A partition's log on disk.

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
mod producers;
mod producers_file;
mod read;
mod rebuild;
mod recover;
mod scan;
mod seek;
mod segment;
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
pub use sync::LogSync;
pub use upkeep::{Upkeep, UpkeepError};
pub use writer::{AppendError, Appended, LogWriter, ToAppend, TrimError, TruncateError};
