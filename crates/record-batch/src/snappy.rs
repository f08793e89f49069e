//! Snappy as Kafka clients write it.
//!
//! The Java client frames it as the xerial library does: a 16-byte stream header, then blocks,
//! each a big-endian length and a raw snappy block. librdkafka writes one raw block. Both are
//! read, told apart by the header's magic, which no raw block of use begins with; xerial framing
//! is written.

use snap::raw;

use crate::compression::reserve_within;
use crate::{BatchError, BuildError, Compression};

const CODEC: Compression = Compression::Snappy;
const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Magic, then version and least compatible version, both 1.
const STREAM_HEADER_BYTES: usize = 16;
/// How much goes into a block that we write; what the Java client chooses.
const BLOCK_BYTES: usize = 32 << 10;

/// Appends `plain` in xerial framing.
pub(crate) fn compress(plain: &[u8], out: &mut Vec<u8>) -> Result<(), BuildError> {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    let mut encoder = raw::Encoder::new();
    for block in plain.chunks(BLOCK_BYTES) {
        let failed = BuildError::Compress { compression: CODEC };
        let compressed = encoder.compress_vec(block).map_err(|_| failed)?;
        let bytes = u32::try_from(compressed.len()).map_err(|_| failed)?;
        out.extend_from_slice(&bytes.to_be_bytes());
        out.extend_from_slice(&compressed);
    }
    Ok(())
}

/// `data` decompressed, raw or framed, within `max` bytes.
pub(crate) fn decompress(data: &[u8], max: usize) -> Result<Vec<u8>, BatchError> {
    let mut out = Vec::new();
    if !data.starts_with(&MAGIC) {
        append_block(data, &mut out, max)?;
        return Ok(out);
    }
    let mut rest = data;
    while !rest.is_empty() {
        // Streams may follow each other: a header can stand wherever a block can.
        if rest.starts_with(&MAGIC) {
            rest = rest.get(STREAM_HEADER_BYTES..).ok_or(CODEC.corrupt())?;
            continue;
        }
        let (length, after) = rest.split_first_chunk().ok_or(CODEC.corrupt())?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| CODEC.corrupt())?;
        let (block, after) = after.split_at_checked(length).ok_or(CODEC.corrupt())?;
        append_block(block, &mut out, max)?;
        rest = after;
    }
    Ok(out)
}

fn append_block(block: &[u8], out: &mut Vec<u8>, max: usize) -> Result<(), BatchError> {
    let bytes = raw::decompress_len(block).map_err(|_| CODEC.corrupt())?;
    let start = out.len();
    if bytes > max - start {
        return Err(CODEC.too_large(max));
    }
    // No element of a block makes more than 64 bytes of 2 or 3, so a claim far beyond that is a
    // lie, and is not allocated for.
    if bytes / 64 > block.len() {
        return Err(CODEC.corrupt());
    }
    reserve_within(max, out, bytes);
    out.resize(start + bytes, 0);
    let target = out.get_mut(start..).unwrap_or_default();
    let written = raw::Decoder::new()
        .decompress(block, target)
        .map_err(|_| CODEC.corrupt())?;
    if written == bytes {
        Ok(())
    } else {
        Err(CODEC.corrupt())
    }
}
