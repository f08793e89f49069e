//! The `checkpoint` file: what was durable when it was written, so that nothing before it is read
//! at the next start.
//!
//! ```text
//! frame "CKPT" (see `format`), body:
//!  0 log start i64        24 high watermark i64    48 producers u8   49 cutting u8
//!  8 generation u64       32 cleaned to i64        50 tail's base i64
//! 16 recovery point i64   40 log time i64          58 tail's bytes u64
//! 66 sealed segments u32, each: base i64, end i64, bytes u64, greatest timestamp i64
//! ```
//! The tail's base and bytes say where the recovery point is; without a tail the base is the
//! recovery point itself. `producers` is 1 if the snapshot of that offset holds the producers, and
//! 0 if there were none. `cutting` is 1 while segments from the recovery point on are left over from
//! before a cut of the log: they are not read but removed. Not here: when it is written, and what recovery does with it.

use std::io;
use std::path::Path;

use plimsoll_types::{Offset, Timestamp};

use crate::disk::{Disk, replace};
use crate::format::{self, Unreadable};
use crate::layout;
use crate::segment::Extent;

const KIND: [u8; 4] = *b"CKPT";
/// 2 since segment files have a front, which older builds would take for a broken batch.
const VERSION: u32 = 2;
const VERSION_BEFORE: u32 = 1;
const SEALED_BYTES: usize = 32;

/// What a checkpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    pub(crate) log_start: Offset,
    pub(crate) generation: u64,
    /// Everything below is durable, and indexed but for what is not written yet.
    pub(crate) recovery_point: Offset,
    /// A hint, never used to cut anything.
    pub(crate) high_watermark: Offset,
    /// Compaction has cleaned the log up to here.
    pub(crate) cleaned_to: Offset,
    /// The greatest timestamp the log has seen, which producers expire by.
    pub(crate) log_time: Timestamp,
    pub(crate) has_producers: bool,
    /// Segments from the recovery point on left the log by a cut.
    pub(crate) cutting: bool,
    pub(crate) tail_base: Offset,
    pub(crate) tail_bytes: u64,
    /// The segments before the tail.
    pub(crate) sealed: Vec<Extent>,
}

impl Checkpoint {
    /// Of an empty log that starts at `start`.
    pub(crate) fn empty(start: Offset) -> Self {
        Self {
            log_start: start,
            generation: 0,
            recovery_point: start,
            high_watermark: Offset::ZERO,
            cleaned_to: Offset::ZERO,
            log_time: Timestamp::NONE,
            has_producers: false,
            cutting: false,
            tail_base: start,
            tail_bytes: 0,
            sealed: Vec::new(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::with_capacity(64 + self.sealed.len() * SEALED_BYTES);
        body.extend_from_slice(&self.log_start.to_wire().to_be_bytes());
        body.extend_from_slice(&self.generation.to_be_bytes());
        body.extend_from_slice(&self.recovery_point.to_wire().to_be_bytes());
        body.extend_from_slice(&self.high_watermark.to_wire().to_be_bytes());
        body.extend_from_slice(&self.cleaned_to.to_wire().to_be_bytes());
        body.extend_from_slice(&self.log_time.as_millis().to_be_bytes());
        body.push(u8::from(self.has_producers));
        body.push(u8::from(self.cutting));
        body.extend_from_slice(&self.tail_base.to_wire().to_be_bytes());
        body.extend_from_slice(&self.tail_bytes.to_be_bytes());
        let sealed = u32::try_from(self.sealed.len()).expect("far fewer segments than 2^32");
        body.extend_from_slice(&sealed.to_be_bytes());
        for extent in &self.sealed {
            body.extend_from_slice(&extent.base.to_wire().to_be_bytes());
            body.extend_from_slice(&extent.end.to_wire().to_be_bytes());
            body.extend_from_slice(&extent.bytes.to_be_bytes());
            body.extend_from_slice(&extent.max_timestamp.as_millis().to_be_bytes());
        }
        format::frame(KIND, VERSION, &body)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let mut fields = match format::unframe(KIND, VERSION, bytes) {
            Err(Unreadable::Version { .. }) => format::unframe(KIND, VERSION_BEFORE, bytes)?,
            read => read?,
        };
        let mut checkpoint = Self {
            log_start: fields.offset()?,
            generation: fields.u64()?,
            recovery_point: fields.offset()?,
            high_watermark: fields.offset()?,
            cleaned_to: fields.offset()?,
            log_time: Timestamp::from_millis(fields.i64()?),
            has_producers: fields.u8()? != 0,
            cutting: fields.u8()? != 0,
            tail_base: fields.offset()?,
            tail_bytes: fields.u64()?,
            sealed: Vec::new(),
        };
        for _ in 0..fields.count(SEALED_BYTES)? {
            checkpoint.sealed.push(Extent {
                base: fields.offset()?,
                end: fields.offset()?,
                bytes: fields.u64()?,
                max_timestamp: Timestamp::from_millis(fields.i64()?),
            });
        }
        fields.end()?;
        Ok(checkpoint)
    }

    /// Replaces the checkpoint in `dir`, durably.
    pub(crate) fn write(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        replace(disk, &dir.join(layout::CHECKPOINT), &self.encode())?;
        disk.sync_dir(dir)
    }

    /// The checkpoint in `dir`; `None` if there is none.
    pub(crate) fn read(
        disk: &dyn Disk,
        dir: &Path,
    ) -> io::Result<Option<Result<Self, Unreadable>>> {
        match disk.read(&dir.join(layout::CHECKPOINT)) {
            Ok(bytes) => Ok(Some(Self::decode(&bytes))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_round_trips() {
        let extent = |base| Extent {
            base: Offset::new(base),
            end: Offset::new(base + 10),
            bytes: 99,
            max_timestamp: Timestamp::from_millis(5),
        };
        let checkpoint = Checkpoint {
            log_start: Offset::new(3),
            generation: 2,
            recovery_point: Offset::new(25),
            high_watermark: Offset::new(24),
            cleaned_to: Offset::new(10),
            log_time: Timestamp::from_millis(44),
            has_producers: true,
            cutting: true,
            tail_base: Offset::new(20),
            tail_bytes: 777,
            sealed: vec![extent(0), extent(10)],
        };
        assert_eq!(Checkpoint::decode(&checkpoint.encode()), Ok(checkpoint));
    }
}
