//! Which segments are to be compacted.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use plimsoll_types::{Offset, Timestamp};

use super::{Compaction, CompactionConfig, Turn};
use crate::layout::Name;
use crate::segment::Segment;
use crate::writer::LogWriter;

impl LogWriter {
    /// Plans a compaction of the sealed segments below `below` (the high watermark) that are
    /// durable and in a checkpoint; `None` if it is not worth it now, or the last one is not
    /// installed and its upkeep run: there is one at a time. No I/O.
    #[must_use]
    pub fn compactor(
        &self,
        config: &CompactionConfig,
        now: Timestamp,
        below: Offset,
    ) -> Option<Compaction> {
        if self.is_poisoned() {
            return None;
        }
        // Also not above what the checkpoint has as sealed: it must not name what will be gone.
        let sealed_below = Offset::new(self.log.sealed_below.load(Ordering::Acquire));
        let below = below.min(self.log.durable_end()).min(sealed_below);
        let list = self.log.segments.load();
        let cleanable = |segment: &&Arc<Segment>| {
            let lag = now.since(segment.max_timestamp());
            let rested = config.min_lag.is_zero() || lag >= config.min_lag;
            segment.is_sealed() && segment.end() <= below && rested
        };
        let segments: Vec<_> = list.all().iter().take_while(cleanable).cloned().collect();
        if segments
            .iter()
            .any(|segment| segment.name() != Name::Segment(segment.base))
        {
            return None;
        }
        let dirty_from = self.cleaned_to.max(self.log_start());
        let bytes_where = |dirty: bool| -> u64 {
            let wanted = segments.iter().filter(|s| (s.end() > dirty_from) == dirty);
            wanted.map(|segment| segment.bytes()).sum()
        };
        let (dirty, clean) = (bytes_where(true), bytes_where(false));
        if dirty == 0 || ratio(dirty, dirty + clean) < config.min_dirty_ratio {
            return None;
        }
        let producers = self.producers().iter();
        Some(Compaction {
            log: Arc::clone(&self.log),
            turn: Turn::take(&self.log)?,
            config: *config,
            now,
            segments,
            dirty_from,
            producers: producers
                .filter_map(|p| Some((p.id, p.last_offset?)))
                .collect(),
            segment_bytes: u64::from(self.config().segment_bytes),
        })
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a ratio of byte counts needs no more than 52 bits"
)]
fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}
