//! The lz4 frame format.
//!
//! Frames are read here rather than by the codec's own reader, which takes a frame without an end
//! for a whole one and allocates what a frame's header asks for. Read are all frames of the
//! format's current version: linked or independent blocks, with or without checksums and size,
//! several frames after each other. Written is what every Kafka client reads: independent blocks
//! of 64 KiB without checksums, since the batch has one.
//!
//! ```text
//! magic u32 · flags u8 · block size u8 · [content size u64] · header checksum u8
//! { length u32, top bit: stored as it is · bytes · [checksum u32] }  0u32 · [checksum u32]
//! ```
//! All numbers are little-endian, unlike the batch's.

use std::io::Write;

use lz4_flex::block::{DecompressError, decompress_into, decompress_into_with_dict};
use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
use twox_hash::XxHash32;

use crate::compression::reserve_within;
use crate::{BatchError, BuildError, Compression};

const CODEC: Compression = Compression::Lz4;
const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// How far back a linked block may refer.
const WINDOW_BYTES: usize = 64 << 10;
/// No input byte makes more output bytes than this.
const GREATEST_RATIO: usize = 255;

const STORED: u32 = 1 << 31;
const DICTIONARY: u8 = 1 << 0;
const CONTENT_CHECKSUM: u8 = 1 << 2;
const CONTENT_SIZE: u8 = 1 << 3;
const BLOCK_CHECKSUM: u8 = 1 << 4;
const INDEPENDENT: u8 = 1 << 5;

/// Appends `plain` as one frame.
pub(crate) fn compress(plain: &[u8], out: &mut Vec<u8>) -> Result<(), BuildError> {
    let failed = BuildError::Compress { compression: CODEC };
    let frame = FrameInfo::new().block_size(BlockSize::Max64KB);
    let mut encoder = FrameEncoder::with_frame_info(frame, out);
    encoder.write_all(plain).map_err(|_| failed)?;
    encoder.finish().map_err(|_| failed).map(drop)
}

/// The frames of `data` decompressed, within `max` bytes.
pub(crate) fn decompress(data: &[u8], max: usize) -> Result<Vec<u8>, BatchError> {
    let mut input = Input { rest: data };
    let mut out = Vec::new();
    loop {
        input.frame(&mut out, max)?;
        if input.rest.is_empty() {
            return Ok(out);
        }
    }
}

/// What a frame's header says.
struct Frame {
    flags: u8,
    max_block_bytes: usize,
    content_bytes: Option<u64>,
}

impl Frame {
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// What is left to read.
struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    fn frame(&mut self, out: &mut Vec<u8>, max: usize) -> Result<(), BatchError> {
        let frame = self.header()?;
        let start = out.len();
        while let Some((block, stored)) = self.block(&frame)? {
            if stored {
                if block.len() > max - out.len() {
                    return Err(CODEC.too_large(max));
                }
                reserve_within(max, out, block.len());
                out.extend_from_slice(block);
            } else {
                append_block(&frame, block, start, out, max)?;
            }
        }
        let content = out.get(start..).unwrap_or_default();
        if frame.has(CONTENT_CHECKSUM) {
            self.checksum(content)?;
        }
        match frame.content_bytes {
            Some(bytes) if bytes != content.len() as u64 => Err(CODEC.corrupt()),
            _ => Ok(()),
        }
    }

    fn header(&mut self) -> Result<Frame, BatchError> {
        if self.array()? != MAGIC {
            return Err(CODEC.corrupt());
        }
        let descriptor = self.rest;
        let [flags, block_size] = self.array()?;
        let version = flags >> 6;
        let reserved = flags & 0b10 | block_size & 0b1000_1111;
        if version != 1 || reserved != 0 || flags & DICTIONARY != 0 {
            return Err(CODEC.corrupt());
        }
        let max_block_bytes = match block_size >> 4 {
            size @ 4..=7 => 1 << (8 + 2 * size),
            _ => return Err(CODEC.corrupt()),
        };
        let content_bytes = match flags & CONTENT_SIZE {
            0 => None,
            _ => Some(u64::from_le_bytes(self.array()?)),
        };
        let bytes = descriptor.len() - self.rest.len();
        let [_, checksum, ..] = hash(descriptor.get(..bytes).unwrap_or_default()).to_le_bytes();
        if self.array()? != [checksum] {
            return Err(CODEC.corrupt());
        }
        Ok(Frame {
            flags,
            max_block_bytes,
            content_bytes,
        })
    }

    /// The next block and whether it is stored as it is; `None` at the end mark.
    fn block(&mut self, frame: &Frame) -> Result<Option<(&'a [u8], bool)>, BatchError> {
        let length = u32::from_le_bytes(self.array()?);
        if length == 0 {
            return Ok(None);
        }
        let bytes = (length & !STORED) as usize;
        if bytes > frame.max_block_bytes {
            return Err(CODEC.corrupt());
        }
        let (block, rest) = self.rest.split_at_checked(bytes).ok_or(CODEC.corrupt())?;
        self.rest = rest;
        if frame.has(BLOCK_CHECKSUM) {
            self.checksum(block)?;
        }
        Ok(Some((block, length & STORED != 0)))
    }

    fn checksum(&mut self, of: &[u8]) -> Result<(), BatchError> {
        if u32::from_le_bytes(self.array()?) == hash(of) {
            Ok(())
        } else {
            Err(CODEC.corrupt())
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], BatchError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(CODEC.corrupt())?;
        self.rest = rest;
        Ok(*array)
    }
}

/// Decompresses `block` behind `out`, where the frame's own output begins at `start`.
fn append_block(
    frame: &Frame,
    block: &[u8],
    start: usize,
    out: &mut Vec<u8>,
    max: usize,
) -> Result<(), BatchError> {
    let before = out.len();
    let room = max - before;
    let greatest = frame
        .max_block_bytes
        .min(block.len().saturating_mul(GREATEST_RATIO));
    reserve_within(max, out, greatest.min(room));
    out.resize(before + greatest.min(room), 0);
    let (done, target) = out.split_at_mut_checked(before).ok_or(CODEC.corrupt())?;
    let decompressed = if frame.has(INDEPENDENT) || before == start {
        decompress_into(block, target)
    } else {
        let window = start.max(before.saturating_sub(WINDOW_BYTES));
        decompress_into_with_dict(block, target, done.get(window..).unwrap_or_default())
    };
    match decompressed {
        Ok(bytes) => {
            out.truncate(before + bytes);
            Ok(())
        }
        Err(DecompressError::OutputTooSmall { .. }) if room < greatest => Err(CODEC.too_large(max)),
        Err(_) => Err(CODEC.corrupt()),
    }
}

fn hash(bytes: &[u8]) -> u32 {
    XxHash32::oneshot(0, bytes)
}

#[cfg(test)]
#[expect(
    clippy::indexing_slicing,
    reason = "a wrong index fails the test, as it should"
)]
mod tests {
    use lz4_flex::frame::BlockMode;

    use super::*;

    fn frame(info: FrameInfo, plain: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(plain).expect("compresses");
        encoder.finish().expect("compresses")
    }

    fn sample() -> Vec<u8> {
        let mut state = 1u32;
        let byte = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0] & 0x0f
        };
        (0..300_000).map(byte).collect()
    }

    fn every_kind(plain: &[u8]) -> Vec<Vec<u8>> {
        let info = || FrameInfo::new().block_size(BlockSize::Max64KB);
        vec![
            frame(info(), plain),
            frame(info().block_mode(BlockMode::Linked), plain),
            frame(info().block_checksums(true).content_checksum(true), plain),
            frame(info().content_size(Some(plain.len() as u64)), plain),
            frame(FrameInfo::new().block_size(BlockSize::Max4MB), plain),
        ]
    }

    #[test]
    fn every_kind_of_frame_is_read() {
        let plain = sample();
        for data in every_kind(&plain) {
            assert_eq!(decompress(&data, plain.len()).as_ref(), Ok(&plain));
            let max = plain.len() - 1;
            assert_eq!(decompress(&data, max), Err(CODEC.too_large(max)));
        }
    }

    #[test]
    fn linked_frames_after_each_other_do_not_share_a_window() {
        let plain = sample();
        let info = FrameInfo::new().block_mode(BlockMode::Linked);
        let data = frame(info, &plain).repeat(2);
        assert_eq!(decompress(&data, 1 << 20), Ok(plain.repeat(2)));
    }

    #[test]
    fn a_frame_cut_anywhere_is_corrupt() {
        for data in every_kind(b"some text that repeats, some text that repeats, some text") {
            for cut in 0..data.len() {
                let got = decompress(&data[..cut], 1 << 20);
                assert_eq!(got, Err(CODEC.corrupt()), "cut at {cut}");
            }
        }
    }

    #[test]
    fn a_flipped_bit_in_a_checked_frame_is_found() {
        let info = FrameInfo::new()
            .block_checksums(true)
            .content_checksum(true);
        let data = frame(
            info,
            b"some text that repeats, some text that repeats, some text",
        );
        for at in 0..data.len() * 8 {
            let mut flipped = data.clone();
            flipped[at / 8] ^= 1 << (at % 8);
            assert_eq!(decompress(&flipped, 1 << 20), Err(CODEC.corrupt()), "{at}");
        }
    }
}
