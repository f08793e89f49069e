//! The five codecs of a batch, with a bound on what comes out.
//!
//! What is written is what the Java client and librdkafka read: gzip members, xerial-framed
//! snappy, lz4 frames of independent blocks, zstd frames. What is read is what any of them
//! writes: also raw snappy, several gzip members or lz4 or zstd frames after each other, linked
//! lz4 blocks. A bomb costs its `max` and the codec's own fixed state, never what it claims.

use std::fmt;
use std::io::{Read, Write};

use crate::{BatchError, BuildError, lz4, snappy};

/// How much is taken from a decoder at a time, and the least that the output grows by.
const STEP_BYTES: usize = 16 << 10;
const ZSTD_LEVEL: i32 = 3;

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// As they are.
    #[default]
    None,
    /// Deflate in gzip members.
    Gzip,
    /// Snappy, raw or in xerial framing.
    Snappy,
    /// The lz4 frame format.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// All of them, in the order of their wire bits.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec of these wire bits, if there is one.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The wire bits.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    /// Kafka's name for it, as topic and client configurations spell it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of that name, in Kafka's spelling; also `uncompressed`, as topics may say.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name == "uncompressed" {
            return Some(Self::None);
        }
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Appends `plain`, compressed, to `out`.
    ///
    /// # Errors
    /// [`BuildError::Compress`] when the codec cannot: input beyond its range, or no memory.
    pub fn compress(self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), BuildError> {
        let failed = BuildError::Compress { compression: self };
        match self {
            Self::None => {
                out.extend_from_slice(plain);
                Ok(())
            }
            Self::Gzip => {
                let level = flate2::Compression::default();
                let mut encoder = flate2::write::GzEncoder::new(out, level);
                encoder.write_all(plain).map_err(|_| failed)?;
                encoder.finish().map_err(|_| failed).map(drop)
            }
            Self::Snappy => snappy::compress(plain, out),
            Self::Lz4 => lz4::compress(plain, out),
            Self::Zstd => {
                let compressed = zstd::bulk::compress(plain, ZSTD_LEVEL).map_err(|_| failed)?;
                out.extend_from_slice(&compressed);
                Ok(())
            }
        }
    }

    /// `data` decompressed, if that is at most `max` bytes.
    ///
    /// # Errors
    /// [`BatchError::TooLarge`] past `max`, [`BatchError::Corrupt`] when `data` is not of this
    /// codec, is cut short, or has bytes after its end.
    pub fn decompress(self, data: &[u8], max: usize) -> Result<Vec<u8>, BatchError> {
        match self {
            Self::None if data.len() > max => Err(self.too_large(max)),
            Self::None => Ok(data.to_vec()),
            Self::Gzip => self.read_bounded(flate2::bufread::MultiGzDecoder::new(data), max),
            Self::Snappy => snappy::decompress(data, max),
            Self::Lz4 => lz4::decompress(data, max),
            Self::Zstd => self.zstd_frames(data, max),
        }
    }

    /// Into one buffer at once, so that no window is allocated however large a frame asks.
    fn zstd_frames(self, data: &[u8], max: usize) -> Result<Vec<u8>, BatchError> {
        if data.is_empty() {
            return Err(self.corrupt());
        }
        // The bound counts block headers; a frame that states a size states it exactly.
        let bound = zstd::bulk::Decompressor::upper_bound(data).ok_or(self.corrupt())?;
        match zstd::bulk::decompress(data, bound.min(max)) {
            Ok(plain) => Ok(plain),
            Err(_) if bound > max => Err(self.too_large(max)),
            Err(_) => Err(self.corrupt()),
        }
    }

    /// All that `source` yields, within `max` bytes.
    fn read_bounded(self, mut source: impl Read, max: usize) -> Result<Vec<u8>, BatchError> {
        let mut out = Vec::new();
        let mut step = [0; STEP_BYTES];
        loop {
            let read = source.read(&mut step).map_err(|_| self.corrupt())?;
            let Some(bytes) = step.get(..read).filter(|bytes| !bytes.is_empty()) else {
                return Ok(out);
            };
            if bytes.len() > max - out.len() {
                return Err(self.too_large(max));
            }
            reserve_within(max, &mut out, bytes.len());
            out.extend_from_slice(bytes);
        }
    }

    pub(crate) fn corrupt(self) -> BatchError {
        BatchError::Corrupt { compression: self }
    }

    pub(crate) fn too_large(self, max: usize) -> BatchError {
        BatchError::TooLarge {
            compression: self,
            max,
        }
    }
}

/// Makes room in `out` for `more` bytes, which stay within `max`: doubling, so that growth costs
/// little, but never past what may be filled.
pub(crate) fn reserve_within(max: usize, out: &mut Vec<u8>, more: usize) {
    if out.capacity() - out.len() < more {
        let room = max.saturating_sub(out.len());
        out.reserve_exact(room.min(more.max(out.len()).max(STEP_BYTES)));
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
