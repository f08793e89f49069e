//! Putting cleaned segments in the place of those they were made of.

use std::sync::Arc;

use super::clean::discard;
use super::{Compacted, Group};
use crate::damage::Poisoned;
use crate::list::SegmentList;
use crate::segment::Segment;
use crate::upkeep::{FileChange, Upkeep};
use crate::writer::LogWriter;

/// Why cleaned segments were not installed. They are taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// The log takes no changes.
    #[error(transparent)]
    Poisoned(#[from] Poisoned),
    /// What was cleaned has left the log meanwhile, by retention, a cut or another compaction.
    #[error("the segments that were compacted are no longer in the log")]
    Overtaken,
}

impl LogWriter {
    /// Swaps cleaned segments in. Readers see them from here on; the files move in the upkeep.
    ///
    /// # Errors
    /// See [`InstallError`]. The log is as it was.
    pub fn install(&mut self, compacted: Compacted) -> Result<Upkeep, InstallError> {
        let list = self.log.segments.load_full();
        let installed = match self.log.poison.check() {
            Err(poisoned) => Err(poisoned.into()),
            Ok(()) => replace(&list, &compacted.groups).ok_or(InstallError::Overtaken),
        };
        let segments = match installed {
            Ok(segments) => segments,
            Err(error) => {
                discard(&self.log, &compacted.groups);
                return Err(error);
            }
        };
        self.set_segments(segments);
        let mut changes = Vec::new();
        for Group { output, replaced } in compacted.groups {
            // Before a name of theirs goes to another file.
            replaced.iter().for_each(|segment| segment.retire());
            changes.push(FileChange::Install { output, replaced });
        }
        self.cleaned_to = self.cleaned_to.max(compacted.cleaned_to);
        Ok(self.stage(changes))
    }
}

/// `list` with each group's output in the place of its sources, if those are all there.
fn replace(list: &SegmentList, groups: &[Group]) -> Option<Vec<Arc<Segment>>> {
    let mut segments = list.all().to_vec();
    for group in groups {
        let first = group.replaced.first()?;
        let at = segments
            .iter()
            .position(|segment| Arc::ptr_eq(segment, first))?;
        let range = at..at + group.replaced.len();
        let same = segments.get(range.clone())?.iter().zip(&group.replaced);
        if !same
            .into_iter()
            .all(|(ours, theirs)| Arc::ptr_eq(ours, theirs))
        {
            return None;
        }
        segments.splice(range, [Arc::clone(&group.output)]);
    }
    Some(segments)
}
