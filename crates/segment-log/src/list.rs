//! The segments of a log, in order.

use std::sync::Arc;

use plimsoll_types::Offset;

use crate::segment::Segment;

/// Segments by base offset, the tail last. Never changed: the log swaps in another list.
///
/// Always holds: bases strictly increase, and no segment begins before the one before it ends
/// (L3). A gap between two is a missing segment, which is damage.
#[derive(Clone, Debug, Default)]
pub(crate) struct SegmentList(Vec<Arc<Segment>>);

impl SegmentList {
    pub(crate) fn new(segments: Vec<Arc<Segment>>) -> Self {
        for pair in segments.windows(2) {
            if let [before, after] = pair {
                assert!(before.base < after.base, "L3: segments are in order");
                assert!(before.end() <= after.base, "L3: segments do not overlap");
            }
        }
        Self(segments)
    }

    pub(crate) fn all(&self) -> &[Arc<Segment>] {
        &self.0
    }

    /// The segment that is written, if there is one.
    pub(crate) fn tail(&self) -> Option<&Arc<Segment>> {
        self.0.last().filter(|last| !last.is_sealed())
    }

    /// The place of the last segment that begins at or before `offset`.
    pub(crate) fn find(&self, offset: Offset) -> Option<usize> {
        self.0.partition_point(|s| s.base <= offset).checked_sub(1)
    }

    /// The list with `segment` behind the others.
    pub(crate) fn with(&self, segment: Arc<Segment>) -> Self {
        let mut segments = self.0.clone();
        segments.push(segment);
        Self::new(segments)
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.0.iter().map(|segment| segment.bytes()).sum()
    }
}
