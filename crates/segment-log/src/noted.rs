//! Notes of how far a log is durable: in the `durable` file, and in the fronts of segments.
//!
//! ```text
//!  0 "PLIM"   4 "MARK"   8 generation u64   16 durable end u64
//! 24 segment base u64 (all ones: not known)   32 position u64   40 CRC-32 of 0..40
//! ```
//! Not here: where they are written (see `segment_file`), and when (see `sync`).

use std::io;
use std::path::Path;

use plimsoll_types::Offset;

use crate::disk::Disk;
use crate::format::Fields;
use crate::layout;

/// A position in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: Offset,
    pub(crate) position: u64,
}

/// That everything below an offset is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Noted {
    /// Raised by each cut: a note from before one says nothing.
    pub(crate) generation: u64,
    pub(crate) durable_end: Offset,
    /// Where that is, if it was known.
    pub(crate) place: Option<Place>,
}

pub(crate) const NOTE_BYTES: usize = 44;
const NO_SEGMENT: u64 = u64::MAX;

impl Noted {
    /// What orders notes: the greatest says most.
    pub(crate) fn rank(&self) -> (u64, Offset, bool) {
        (self.generation, self.durable_end, self.place.is_some())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(NOTE_BYTES);
        bytes.extend_from_slice(b"PLIMMARK");
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&self.durable_end.get().to_be_bytes());
        let (segment, position) = self.place.map_or((NO_SEGMENT, 0), |place| {
            (place.segment.get(), place.position)
        });
        bytes.extend_from_slice(&segment.to_be_bytes());
        bytes.extend_from_slice(&position.to_be_bytes());
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        let checked = bytes.get(..NOTE_BYTES - 4)?;
        if fields.take(8).ok()? != b"PLIMMARK" {
            return None;
        }
        let generation = fields.u64().ok()?;
        let durable_end = fields.offset().ok()?;
        let segment = fields.u64().ok()?;
        let position = fields.u64().ok()?;
        if fields.u32().ok()? != crc32fast::hash(checked) {
            return None;
        }
        let segment = Offset::from_wire(segment.cast_signed());
        Some(Self {
            generation,
            durable_end,
            place: segment.map(|segment| Place { segment, position }),
        })
    }

    /// What the `durable` file in `dir` says, if it can be believed.
    pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> io::Result<Option<Self>> {
        match disk.read(&dir.join(layout::DURABLE)) {
            Ok(bytes) => Ok(Self::decode(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_round_trips_and_every_flipped_bit_is_noticed() {
        let noted = Noted {
            generation: 3,
            durable_end: Offset::new(77),
            place: Some(Place {
                segment: Offset::new(50),
                position: 4096,
            }),
        };
        let bytes = noted.encode();
        assert_eq!(bytes.len(), NOTE_BYTES);
        assert_eq!(Noted::decode(&bytes), Some(noted));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Noted::decode(&flipped), None, "bit {bit}");
        }
    }

    #[test]
    fn a_note_without_a_place_round_trips() {
        let noted = Noted {
            generation: 0,
            durable_end: Offset::ZERO,
            place: None,
        };
        assert_eq!(Noted::decode(&noted.encode()), Some(noted));
    }
}
