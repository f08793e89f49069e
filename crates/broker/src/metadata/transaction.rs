//! What one entry of the metadata log holds.
//!
//! A change is made of records that some node's rule made for an image of a certain version. The
//! entry says which, and every node applies it only to an image of just that version: so a rule
//! runs as if nobody else changed anything meanwhile, wherever it ran, and an entry that was
//! proposed twice, or late, is void everywhere alike.
//!
//! ```text
//! tag 0xfe u8 | expected version u64 | proposer u32 | ticket u64 | records, as `codec` has them
//! ```
//! Numbers are little-endian.

use bytes::{BufMut, Bytes, BytesMut};
use plimsoll_controller::{Image, Record};
use plimsoll_types::NodeId;

use super::codec::{self, CodecError};

const TAG: u8 = 0xfe;
const HEAD_BYTES: usize = 1 + 8 + 4 + 8;

/// Whose entry it is: a proposer knows its own by this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Ticket {
    pub(super) proposer: NodeId,
    pub(super) number: u64,
}

/// One entry, decoded.
#[derive(Debug, PartialEq)]
pub(super) struct Transaction {
    /// The version of the image that the records were made for.
    pub(super) expected: u64,
    pub(super) ticket: Ticket,
    pub(super) records: Vec<Record>,
}

/// What an entry does to an image.
pub(super) enum Applied {
    /// It becomes this one.
    Moved(Box<Image>),
    /// Nothing: the entry was made for another image.
    Void,
}

pub(super) fn encode(expected: u64, ticket: Ticket, records: &[Record]) -> Bytes {
    let records = codec::encode(records);
    let mut entry = BytesMut::with_capacity(HEAD_BYTES + records.len());
    entry.put_u8(TAG);
    entry.put_u64_le(expected);
    entry.put_u32_le(ticket.proposer.get());
    entry.put_u64_le(ticket.number);
    entry.extend_from_slice(&records);
    entry.freeze()
}

pub(super) fn decode(entry: &Bytes) -> Result<Transaction, CodecError> {
    let what = "a transaction's head";
    let short = || CodecError::Short { what };
    let (tag, rest) = entry.split_first().ok_or_else(short)?;
    if *tag != TAG {
        return Err(CodecError::Range { what });
    }
    let (expected, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (proposer, rest) = rest.split_first_chunk().ok_or_else(short)?;
    let (number, records) = rest.split_first_chunk().ok_or_else(short)?;
    let proposer = NodeId::new(u32::from_le_bytes(*proposer));
    Ok(Transaction {
        expected: u64::from_le_bytes(*expected),
        ticket: Ticket {
            proposer: proposer.ok_or(CodecError::Range { what })?,
            number: u64::from_le_bytes(*number),
        },
        records: codec::decode(&entry.slice_ref(records))?,
    })
}

impl Transaction {
    /// Applies all records or none. Only what is in the entry and the image decides, so every node
    /// comes to the same end.
    pub(super) fn apply(&self, image: &Image) -> Applied {
        if self.expected != image.version() {
            return Applied::Void;
        }
        let mut after = Box::new(image.clone());
        for record in &self.records {
            if after.apply(record).is_err() {
                return Applied::Void;
            }
        }
        Applied::Moved(after)
    }
}
