//! The frames of streams: records from a leader to a follower, and back what the follower has.
//!
//! The follower attaches and states its position; the leader agrees on a place to go on from, under
//! a session number, and pushes. A session is good for one attachment: whatever carries another
//! number is late and is dropped.

use bytes::{Bytes, BytesMut};
use plimsoll_types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionKey};

use super::value::{Scan, Value, choices, structs};
use crate::codec::{Malformed, Reason, Records};

/// Runs of batches larger than this are cut, so that other partitions' frames go in between.
pub const MAX_CHUNK_BYTES: usize = 256 * 1024;

/// The number of [`StreamFrame::Append`], whose records lie behind the rest.
const APPEND: u8 = 6;

structs! {
    /// An epoch, and the offset of its first record (or of the next one to come, if it has none).
    #[derive(Copy, Hash)]
    pub struct EpochStart {
        /// The epoch.
        epoch: LeaderEpoch,
        /// Where it begins.
        start: Offset,
    }

    /// A follower's position, with which it asks for records.
    pub struct Attach {
        /// The partition.
        key: PartitionKey,
        /// The leader epoch it follows.
        leader_epoch: LeaderEpoch,
        /// Its own registration.
        broker_epoch: BrokerEpoch,
        /// Its first offset.
        log_start: Offset,
        /// Its log's end.
        log_end: Offset,
        /// The end of what it has synced.
        durable_end: Offset,
        /// The greatest high watermark it knows.
        high_watermark: Offset,
        /// The epochs of its log, ascending: all of them, or the last 64.
        epochs: Vec<EpochStart>,
        /// Whether there are earlier epochs than those given.
        more: bool,
        /// How many bytes may be under way to it unacknowledged. One batch may always be.
        window: u32,
    }

    /// A session begins: where the follower goes on.
    pub struct Attached {
        /// The partition.
        key: PartitionKey,
        /// The session's number, never used before on this connection.
        session: u64,
        /// The leader's epoch.
        leader_epoch: LeaderEpoch,
        /// Where the follower's log has to be cut first, if it does.
        truncate_to: Option<Offset>,
        /// The leader's first offset.
        log_start: Offset,
        /// The leader's high watermark.
        high_watermark: Offset,
        /// The leader's log end.
        log_end: Offset,
        /// The leader's epochs up to where the follower goes on, ascending.
        epochs: Vec<EpochStart>,
        /// The last leader epoch that began by an unclean election, if any did: up to it a cut
        /// below the follower's high watermark is lawful.
        unclean_epoch: Option<LeaderEpoch>,
    }

    /// No session: why.
    pub struct Refused {
        /// The partition.
        key: PartitionKey,
        /// The leader epoch of the [`Attach`] this answers.
        leader_epoch: LeaderEpoch,
        /// Why.
        reason: RefusedReason,
    }

    /// A session begins, with an empty log: the follower's cannot be gone on from.
    pub struct Reset {
        /// The partition.
        key: PartitionKey,
        /// The session's number, never used before on this connection.
        session: u64,
        /// The leader's epoch.
        leader_epoch: LeaderEpoch,
        /// Where the new log begins: the base of the batch that holds the log start.
        start: Offset,
        /// The leader's first offset.
        log_start: Offset,
        /// The leader's high watermark.
        high_watermark: Offset,
        /// The leader's epochs up to `start`, ascending.
        epochs: Vec<EpochStart>,
    }

    /// What followers have, of all sessions that moved since the last one.
    pub struct Acks {
        /// The greatest [`Append::seq`] or [`Marks::seq`] received.
        echo: u64,
        /// One a session.
        acks: Vec<Ack>,
    }

    /// What a follower has.
    #[derive(Copy)]
    pub struct Ack {
        /// The session.
        session: u64,
        /// Its log's end.
        log_end: Offset,
        /// The end of what it has synced.
        durable_end: Offset,
        /// Its first offset.
        log_start: Offset,
    }

    /// The follower cannot go on; the session is over.
    #[derive(Copy)]
    pub struct Nack {
        /// The session.
        session: u64,
        /// Why.
        reason: NackReason,
    }

    /// A follower ends a session.
    #[derive(Copy)]
    pub struct Detach {
        /// The partition.
        key: PartitionKey,
        /// The session; zero for whichever there is.
        session: u64,
    }

    /// A leader gives back what a session granted: it is over.
    #[derive(Copy)]
    pub struct Revoke {
        /// The partition.
        key: PartitionKey,
        /// The session.
        session: u64,
        /// Whether the follower counts with that leader still, in the ISR or as proposed.
        counts: bool,
    }

    /// What a leader has, of all sessions for which it moved. Without any it is a sign of life.
    pub struct Marks {
        /// Grows with every frame of the leader on this connection; see [`Acks::echo`].
        seq: u64,
        /// One a session.
        marks: Vec<Mark>,
    }

    /// What a leader has.
    #[derive(Copy)]
    pub struct Mark {
        /// The session.
        session: u64,
        /// Its high watermark.
        high_watermark: Offset,
        /// Its first offset.
        log_start: Offset,
        /// Its log's end.
        log_end: Offset,
    }

    /// All of an append but its records.
    #[derive(Copy)]
    struct Head {
        session: u64,
        seq: u64,
        from: Offset,
        high_watermark: Offset,
        log_start: Offset,
        log_end: Offset,
        total: u32,
        at: u32,
        seal: u32,
    }
}

choices! {
    /// What a connection is for.
    #[derive(Copy, Hash, PartialOrd, Ord)]
    pub enum Purpose {
        /// Requests and replies, both ways.
        0 => Control,
        /// Records to followers that are in sync, and what they have.
        1 => InSync,
        /// Records to followers that catch up: may be throttled, never delays the other stream.
        2 => CatchUp,
    }

    /// Why there is no session.
    #[derive(Copy)]
    pub enum RefusedReason {
        /// This node does not lead the partition.
        0 => NotLeader {
            /// Who does, as far as it knows.
            leader: Option<NodeId>,
        },
        /// The follower's leader epoch is old.
        1 => FencedEpoch {
            /// The current one.
            current: LeaderEpoch,
        },
        /// The follower's leader epoch has not come here yet: try again.
        2 => UnknownEpoch,
        /// The follower is none of the partition's replicas.
        3 => NotAReplica,
        /// The follower registered anew since.
        4 => StaleBrokerEpoch,
        /// The leader's own log fails.
        5 => Storage,
        /// Too many catch up at once.
        6 => Throttled {
            /// Try again after this time, in milliseconds.
            ms: u32,
        },
        /// The follower counts as complete and lacks what is committed.
        7 => LostLog,
    }

    /// Why a follower cannot go on.
    #[derive(Copy)]
    pub enum NackReason {
        /// A batch does not match its CRC.
        0 => Corrupt {
            /// The batch's base offset.
            at: Offset,
        },
        /// Records do not begin where the follower's log ends.
        1 => Gap {
            /// Where it ends.
            expected: Offset,
        },
        /// No room.
        2 => DiskFull,
        /// The disk failed.
        3 => IoError,
        /// A batch's epoch is below that of the one before it.
        4 => EpochRegression,
    }
}

/// Records: whole batches, or a chunk of a run of whole batches.
///
/// The CRC of frames does not cover them; each batch carries its own, which has to be checked
/// before it is appended. That one leaves out how a batch begins, which is what the seal is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// The session.
    pub session: u64,
    /// Grows with every frame of the leader on this connection; see [`Acks::echo`].
    pub seq: u64,
    /// The base offset of the run's first batch; equals the follower's log end.
    pub from: Offset,
    /// The leader's high watermark.
    pub high_watermark: Offset,
    /// The leader's first offset.
    pub log_start: Offset,
    /// The leader's log end.
    pub log_end: Offset,
    /// Bytes of the run.
    pub total: u32,
    /// Where in the run this chunk belongs.
    pub at: u32,
    /// The [`seal`] of the run.
    pub seal: u32,
    /// The run, or a chunk of it.
    pub records: Records,
}

impl Append {
    /// Whether the run is not cut.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.at == 0 && usize::try_from(self.total) == Ok(self.records.len())
    }

    fn head(&self) -> Head {
        Head {
            session: self.session,
            seq: self.seq,
            from: self.from,
            high_watermark: self.high_watermark,
            log_start: self.log_start,
            log_end: self.log_end,
            total: self.total,
            at: self.at,
            seal: self.seal,
        }
    }
}

/// Bytes at the front of a batch that its own CRC-32C leaves out: base offset, length, leader
/// epoch, magic and that checksum.
const UNSUMMED_BYTES: usize = 21;
/// Base offset and length: what the length does not count.
const UNCOUNTED_BYTES: usize = 12;

/// The CRC-32 of what the batches' own checksums leave out of a run: together they cover every
/// bit. `None` if a chunk is not made of whole batches.
#[must_use]
pub fn seal(chunks: &[Bytes]) -> Option<u32> {
    let mut sum = crc32fast::Hasher::new();
    for chunk in chunks {
        let mut rest: &[u8] = chunk;
        while !rest.is_empty() {
            sum.update(rest.get(..UNSUMMED_BYTES)?);
            let length = rest.get(8..UNCOUNTED_BYTES)?.first_chunk::<4>()?;
            let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
            let end = length.checked_add(UNCOUNTED_BYTES)?;
            rest = rest.get(end.max(UNSUMMED_BYTES)..)?;
        }
    }
    Some(sum.finalize())
}

/// A frame of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamFrame {
    /// Follower to leader.
    Attach(Attach),
    /// Follower to leader.
    Acks(Acks),
    /// Follower to leader.
    Nack(Nack),
    /// Follower to leader: it needs no more of this session, and grants no lease by it any more.
    Detach(Detach),
    /// Leader to follower.
    Attached(Attached),
    /// Leader to follower.
    Refused(Refused),
    /// Leader to follower.
    Append(Append),
    /// Leader to follower.
    Reset(Reset),
    /// Leader to follower.
    Marks(Marks),
    /// Leader to follower: the answer to a [`Detach`]. The leader does not count any more on what
    /// the follower granted by that session.
    Revoke(Revoke),
}

impl StreamFrame {
    /// The frame without records, and the records as the slices they were given in. A transport
    /// with frames of its own sums the first and sends both.
    #[must_use]
    pub fn encode(&self) -> (Bytes, Vec<Bytes>) {
        let mut out = BytesMut::with_capacity(1 + HEAD_BYTES);
        self.put_head(&mut out);
        (out.freeze(), self.tail().cloned().collect())
    }

    /// Reads what [`encode`](Self::encode) wrote, the records in one slice.
    ///
    /// # Errors
    /// The bytes are not that frame, or more bytes follow it.
    pub fn decode(head: Bytes, tail: Bytes) -> Result<Self, Malformed> {
        let mut input = Scan::new(head);
        let frame = match input.field("kind")? {
            0 => Self::Attach(input.field("attach")?),
            1 => Self::Acks(input.field("acks")?),
            2 => Self::Nack(input.field("nack")?),
            3 => Self::Detach(input.field("detach")?),
            4 => Self::Attached(input.field("attached")?),
            5 => Self::Refused(input.field("refused")?),
            APPEND => {
                let head = Head::take(&mut input)?;
                return append(head, input, tail);
            }
            7 => Self::Reset(input.field("reset")?),
            8 => Self::Marks(input.field("marks")?),
            9 => Self::Revoke(input.field("revoke")?),
            number => {
                return Err(input.malformed(Reason::Choice { number }));
            }
        };
        input.finish()?;
        match tail.len() {
            0 => Ok(frame),
            bytes => Err(Malformed {
                field: "records",
                at: 0,
                reason: Reason::Trailing { bytes },
            }),
        }
    }

    fn put_head(&self, out: &mut BytesMut) {
        match self {
            Self::Attach(frame) => numbered(0, frame, out),
            Self::Acks(frame) => numbered(1, frame, out),
            Self::Nack(frame) => numbered(2, frame, out),
            Self::Detach(frame) => numbered(3, frame, out),
            Self::Attached(frame) => numbered(4, frame, out),
            Self::Refused(frame) => numbered(5, frame, out),
            Self::Append(frame) => numbered(APPEND, &frame.head(), out),
            Self::Reset(frame) => numbered(7, frame, out),
            Self::Marks(frame) => numbered(8, frame, out),
            Self::Revoke(frame) => numbered(9, frame, out),
        }
    }

    /// The record slices, none of them empty.
    fn tail(&self) -> impl Iterator<Item = &Bytes> {
        let chunks = match self {
            Self::Append(append) => append.records.chunks(),
            _ => &[],
        };
        chunks.iter().filter(|chunk| !chunk.is_empty())
    }
}

/// Bytes of an append before its records, without its number.
const HEAD_BYTES: usize = Head::LEAST_BYTES;

fn numbered(number: u8, value: &impl Value, out: &mut BytesMut) {
    number.put(out);
    value.put(out);
}

/// An append, once its chunk is shown to lie within its run.
fn append(head: Head, input: Scan, tail: Bytes) -> Result<StreamFrame, Malformed> {
    let misplaced = |value: usize| Malformed {
        field: "records",
        at: 1 + HEAD_BYTES,
        reason: Reason::OutOfRange {
            value: i64::try_from(value).unwrap_or(i64::MAX),
        },
    };
    input.finish()?;
    let bytes = tail.len();
    let end = usize::try_from(head.at)
        .unwrap_or(usize::MAX)
        .saturating_add(bytes);
    if bytes == 0 || usize::try_from(head.total).is_ok_and(|total| end > total) {
        return Err(misplaced(end));
    }
    Ok(StreamFrame::Append(Append {
        session: head.session,
        seq: head.seq,
        from: head.from,
        high_watermark: head.high_watermark,
        log_start: head.log_start,
        log_end: head.log_end,
        total: head.total,
        at: head.at,
        seal: head.seal,
        records: Records::from(tail),
    }))
}
