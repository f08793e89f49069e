//! The bytes of log files and snapshots; drawn in the crate's documentation.
//!
//! Decoding is total: any bytes give a value or say what is wrong with them.

use crate::journal::recover::Fault;
use std::path::{Path, PathBuf};

pub(crate) const HEADER_BYTES: usize = 24;
pub(crate) const FRAME_BYTES: usize = 32;
/// Most bytes of one entry.
pub(crate) const MAX_ENTRY_BYTES: usize = 64 << 20;

const LOG_MAGIC: [u8; 8] = *b"PLIMMETA";
const SNAPSHOT_MAGIC: [u8; 8] = *b"PLIMSNAP";
const FRAME_MAGIC: [u8; 4] = *b"PLMf";
const VERSION: u32 = 1;
const ENTRY: u8 = 1;
const MARK: u8 = 2;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) index: u64,
    pub(crate) durable: u64,
    /// `None` for a mark.
    pub(crate) payload: Option<&'a [u8]>,
}

impl Frame<'_> {
    /// How many bytes it takes in the file.
    pub(crate) const fn bytes(&self) -> usize {
        match self.payload {
            Some(payload) => FRAME_BYTES + payload.len(),
            None => FRAME_BYTES,
        }
    }
}

pub(crate) fn log_path(dir: &Path, first_index: u64) -> PathBuf {
    dir.join(format!("{first_index:020}.log"))
}

pub(crate) fn snapshot_path(dir: &Path, last_index: u64) -> PathBuf {
    dir.join(format!("{last_index:020}.snapshot"))
}

pub(crate) fn encode_log_header(first_index: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&LOG_MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[12..20].copy_from_slice(&first_index.to_le_bytes());
    let crc = crc32fast::hash(&header[..20]);
    header[20..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The first index of a log file.
pub(crate) fn decode_log_header(file: &[u8]) -> Result<u64, Fault> {
    let header = file.get(..HEADER_BYTES).ok_or(Fault::Header)?;
    if header[..8] != LOG_MAGIC || u32_at(header, 20) != crc32fast::hash(&header[..20]) {
        return Err(Fault::Header);
    }
    match u32_at(header, 8) {
        VERSION => Ok(u64_at(header, 12)),
        version => Err(Fault::Version { version }),
    }
}

pub(crate) fn encode_frame(out: &mut Vec<u8>, frame: Frame<'_>) {
    let start = out.len();
    let payload = frame.payload.unwrap_or_default();
    let length = u32::try_from(payload.len()).expect("a proposal's size is checked");
    let kind = if frame.payload.is_some() { ENTRY } else { MARK };
    out.extend_from_slice(&FRAME_MAGIC);
    out.extend_from_slice(&[kind, 0, 0, 0]);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&frame.index.to_le_bytes());
    out.extend_from_slice(&frame.durable.to_le_bytes());
    let crc = crc_of(&out[start..], payload);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

/// The frame that begins `bytes`; `Err` when there is none, or none of a kind that is known.
pub(crate) fn decode_frame(bytes: &[u8]) -> Result<Frame<'_>, Fault> {
    let head = bytes.get(..FRAME_BYTES).ok_or(Fault::Frame)?;
    let length = usize::try_from(u32_at(head, 8)).unwrap_or(usize::MAX);
    if head[..4] != FRAME_MAGIC || length > MAX_ENTRY_BYTES {
        return Err(Fault::Frame);
    }
    let payload = bytes.get(FRAME_BYTES..FRAME_BYTES + length);
    let payload = payload.ok_or(Fault::Frame)?;
    if u32_at(head, 28) != crc_of(&head[..28], payload) {
        return Err(Fault::Frame);
    }
    let frame = |payload| Frame {
        index: u64_at(head, 12),
        durable: u64_at(head, 20),
        payload,
    };
    match head[4] {
        ENTRY => Ok(frame(Some(payload))),
        MARK if payload.is_empty() => Ok(frame(None)),
        kind => Err(Fault::Kind { kind }),
    }
}

/// Every whole frame that begins somewhere in `bytes`, wherever that is.
pub(crate) fn frames_within(bytes: &[u8]) -> impl Iterator<Item = Frame<'_>> {
    let starts = bytes.windows(FRAME_MAGIC.len()).enumerate();
    starts
        .filter(|(_, window)| *window == FRAME_MAGIC)
        .filter_map(move |(at, _)| decode_frame(bytes.get(at..)?).ok())
}

pub(crate) fn encode_snapshot_head(index: u64, payload: &[u8]) -> [u8; FRAME_BYTES] {
    let mut head = [0; FRAME_BYTES];
    head[..8].copy_from_slice(&SNAPSHOT_MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[12..20].copy_from_slice(&index.to_le_bytes());
    head[20..28].copy_from_slice(&(payload.len() as u64).to_le_bytes());
    let crc = crc_of(&head[..28], payload);
    head[28..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// A snapshot file's last index and payload.
pub(crate) fn decode_snapshot(file: &[u8]) -> Result<(u64, &[u8]), Fault> {
    let (head, payload) = file.split_at_checked(FRAME_BYTES).ok_or(Fault::Header)?;
    if head[..8] != SNAPSHOT_MAGIC {
        return Err(Fault::Header);
    }
    if u64_at(head, 20) != payload.len() as u64 || u32_at(head, 28) != crc_of(&head[..28], payload)
    {
        return Err(Fault::Checksum);
    }
    match u32_at(head, 8) {
        VERSION => Ok((u64_at(head, 12), payload)),
        version => Err(Fault::Version { version }),
    }
}

fn crc_of(head: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
