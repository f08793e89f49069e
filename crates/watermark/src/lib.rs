//! How far a partition of a replicated log has come: its offsets, published, read and awaited
//! without locks.
//!
//! Not here: bytes, files, clocks, and every decision about who is in sync.

mod position;
mod signal;
mod snapshot;
mod sync;
mod tenure;
mod waiters;
mod watch;
mod watermarks;

pub use position::{Ends, Position};
pub use signal::{Notified, Signal};
pub use snapshot::{Mark, Snapshot, Superseded, Untracked};
pub use tenure::{Counts, Sealed, TenureStart};
pub use waiters::WatchState;
pub use watch::{Wait, Watch};
pub use watermarks::Watermarks;

#[cfg(all(test, not(loom)))]
mod tests;
