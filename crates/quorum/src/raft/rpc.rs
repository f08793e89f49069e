//! What the nodes of a quorum say to each other.
//!
//! ```text
//! request   version u8 = 1 · kind u8 · from u64 · to u64 (all ones: whoever it is) · body
//! answer    version u8 = 1 · kind u8 · body
//! ```

use super::codec::{self, LogEntry, LogId, Meta, Reader, Vote};
use super::face::QuorumError;
use crate::Room;
use bytes::{BufMut, Bytes, BytesMut};
use std::collections::BTreeMap;
use std::sync::Arc;

const VERSION: u8 = 1;
const ANYONE: u64 = u64::MAX;

#[derive(Clone, Debug)]
pub(crate) enum Request {
    Append {
        vote: Vote,
        previous: Option<LogId>,
        entries: Vec<LogEntry>,
        committed: Option<LogId>,
    },
    Vote {
        vote: Vote,
        last: Option<LogId>,
        transfer: bool,
        only_asks: bool,
    },
    Snapshot {
        vote: Vote,
        meta: Meta,
        total: u64,
        at: u64,
        chunk: Bytes,
    },
    /// Told to all: `to` should lead.
    Takeover {
        vote: Vote,
        to: u64,
        last: Option<LogId>,
    },
    Propose {
        bytes: Bytes,
        room: Room,
        millis: u64,
    },
    Barrier,
    Change {
        change: Change,
        millis: u64,
    },
    Inquire,
    /// The cluster is formed: whoever has an empty directory may vote.
    Form,
}

/// A change of who belongs to the quorum.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Admit(u64, String),
    Promote(u64),
    Remove(u64),
    Transfer(u64),
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Appended,
    Conflict,
    HigherVote(Vote),
    Voted {
        vote: Vote,
        granted: bool,
        last: Option<LogId>,
    },
    /// More of the snapshot, please.
    Chunk,
    Installed(Vote),
    Done(u64),
    /// Not the leader; who may be.
    NotLeader(Option<(u64, String)>),
    /// Nothing was done: this node is not ready for it.
    NotReady,
    Failed(QuorumError),
    Inquired(Inquired),
}

/// What a node says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Inquired {
    pub(crate) node: u64,
    /// Whether it votes.
    pub(crate) open: bool,
    pub(crate) vote: Option<Vote>,
    pub(crate) last: Option<LogId>,
    pub(crate) voters: BTreeMap<u64, String>,
}

/// A request with its addresses.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) from: u64,
    /// `None`: whoever gets it.
    pub(crate) to: Option<u64>,
    pub(crate) request: Request,
}

impl Call {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        let kind = match &self.request {
            Request::Append { .. } => 1,
            Request::Vote { .. } => 2,
            Request::Snapshot { .. } => 3,
            Request::Takeover { .. } => 4,
            Request::Propose { .. } => 5,
            Request::Barrier => 6,
            Request::Change { .. } => 7,
            Request::Inquire => 8,
            Request::Form => 9,
        };
        out.put_u8(kind);
        out.put_u64_le(self.from);
        out.put_u64_le(self.to.unwrap_or(ANYONE));
        match &self.request {
            Request::Append {
                vote,
                previous,
                entries,
                committed,
            } => {
                out.reserve(entries.iter().map(codec::weight).sum::<usize>() + 128);
                codec::put_vote(&mut out, vote);
                codec::put_option(&mut out, previous.as_ref(), codec::put_log_id);
                codec::put_option(&mut out, committed.as_ref(), codec::put_log_id);
                out.put_u64_le(entries.len() as u64);
                for entry in entries {
                    codec::put_entry(&mut out, entry);
                }
            }
            Request::Vote {
                vote,
                last,
                transfer,
                only_asks,
            } => {
                codec::put_vote(&mut out, vote);
                codec::put_option(&mut out, last.as_ref(), codec::put_log_id);
                out.put_u8(u8::from(*transfer));
                out.put_u8(u8::from(*only_asks));
            }
            Request::Snapshot {
                vote,
                meta,
                total,
                at,
                chunk,
            } => {
                codec::put_vote(&mut out, vote);
                codec::put_meta(&mut out, meta);
                out.put_u64_le(*total);
                out.put_u64_le(*at);
                codec::put_bytes(&mut out, chunk);
            }
            Request::Takeover { vote, to, last } => {
                codec::put_vote(&mut out, vote);
                out.put_u64_le(*to);
                codec::put_option(&mut out, last.as_ref(), codec::put_log_id);
            }
            Request::Propose {
                bytes,
                room,
                millis,
            } => {
                out.put_u8(u8::from(*room == Room::Reserved));
                out.put_u64_le(*millis);
                codec::put_bytes(&mut out, bytes);
            }
            Request::Change { change, millis } => {
                out.put_u64_le(*millis);
                let (kind, node) = match change {
                    Change::Admit(node, _) => (1, node),
                    Change::Promote(node) => (2, node),
                    Change::Remove(node) => (3, node),
                    Change::Transfer(node) => (4, node),
                };
                out.put_u8(kind);
                out.put_u64_le(*node);
                if let Change::Admit(_, address) = change {
                    codec::put_bytes(&mut out, address.as_bytes());
                }
            }
            Request::Barrier | Request::Inquire | Request::Form => {}
        }
        out.freeze()
    }

    pub(crate) fn decode(bytes: Bytes) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.u8()? != VERSION {
            return None;
        }
        let kind = reader.u8()?;
        let from = reader.u64()?;
        let to = Some(reader.u64()?).filter(|to| *to != ANYONE);
        let request = decode_request(kind, &mut reader)?;
        reader.end(Self { from, to, request })
    }
}

/// Whether a request waits for others, so that many of them may pile up; votes, entries and
/// whatever else keeps the quorum alive does not.
pub(crate) fn waits(call: &[u8]) -> bool {
    matches!(call.get(1), Some(5..=7))
}

fn decode_request(kind: u8, reader: &mut Reader) -> Option<Request> {
    Some(match kind {
        1 => {
            let vote = reader.vote()?;
            let previous = reader.option(Reader::log_id)?;
            let committed = reader.option(Reader::log_id)?;
            let count = reader.count(usize::MAX)?;
            let entries: Option<Vec<_>> = (0..count).map(|_| reader.entry()).collect();
            let entries = entries?;
            Request::Append {
                vote,
                previous,
                entries,
                committed,
            }
        }
        2 => Request::Vote {
            vote: reader.vote()?,
            last: reader.option(Reader::log_id)?,
            transfer: reader.flag()?,
            only_asks: reader.flag()?,
        },
        3 => Request::Snapshot {
            vote: reader.vote()?,
            meta: reader.meta()?,
            total: reader.u64()?,
            at: reader.u64()?,
            chunk: reader.bytes()?,
        },
        4 => Request::Takeover {
            vote: reader.vote()?,
            to: reader.u64()?,
            last: reader.option(Reader::log_id)?,
        },
        5 => {
            let reserved = reader.flag()?;
            let room = if reserved { Room::Reserved } else { Room::Free };
            Request::Propose {
                room,
                millis: reader.u64()?,
                bytes: reader.bytes()?,
            }
        }
        6 => Request::Barrier,
        7 => {
            let millis = reader.u64()?;
            let (kind, node) = (reader.u8()?, reader.u64()?);
            let change = match kind {
                1 => Change::Admit(node, reader.text()?),
                2 => Change::Promote(node),
                3 => Change::Remove(node),
                4 => Change::Transfer(node),
                _ => return None,
            };
            Request::Change { change, millis }
        }
        8 => Request::Inquire,
        9 => Request::Form,
        _ => return None,
    })
}

impl Reply {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(VERSION);
        match self {
            Self::Appended => out.put_u8(1),
            Self::Conflict => out.put_u8(2),
            Self::HigherVote(vote) => {
                out.put_u8(3);
                codec::put_vote(&mut out, vote);
            }
            Self::Voted {
                vote,
                granted,
                last,
            } => {
                out.put_u8(4);
                codec::put_vote(&mut out, vote);
                out.put_u8(u8::from(*granted));
                codec::put_option(&mut out, last.as_ref(), codec::put_log_id);
            }
            Self::Chunk => out.put_u8(5),
            Self::Installed(vote) => {
                out.put_u8(6);
                codec::put_vote(&mut out, vote);
            }
            Self::Done(index) => {
                out.put_u8(7);
                out.put_u64_le(*index);
            }
            Self::NotLeader(leader) => {
                out.put_u8(8);
                codec::put_option(&mut out, leader.as_ref(), |out, (id, address)| {
                    out.put_u64_le(*id);
                    codec::put_bytes(out, address.as_bytes());
                });
            }
            Self::NotReady => out.put_u8(9),
            Self::Failed(error) => {
                out.put_u8(10);
                let (code, reason): (u8, &str) = match error {
                    QuorumError::NoLeader => (1, ""),
                    QuorumError::Unknown { reason } => (2, reason),
                    QuorumError::Full { reason } => (3, reason),
                    QuorumError::Busy => (4, ""),
                    QuorumError::TooLarge { .. } => (5, ""),
                    QuorumError::Refused { reason } => (6, reason),
                    QuorumError::Stopped(stopped) => (7, &stopped.reason),
                };
                out.put_u8(code);
                let short = reason.floor_char_boundary(512);
                codec::put_bytes(&mut out, &reason.as_bytes()[..short]);
            }
            Self::Inquired(inquired) => {
                out.put_u8(11);
                out.put_u64_le(inquired.node);
                out.put_u8(u8::from(inquired.open));
                codec::put_option(&mut out, inquired.vote.as_ref(), codec::put_vote);
                codec::put_option(&mut out, inquired.last.as_ref(), codec::put_log_id);
                codec::put_nodes(&mut out, &inquired.voters);
            }
        }
        out.freeze()
    }

    pub(crate) fn decode(bytes: Bytes) -> Option<Self> {
        let mut reader = Reader(bytes);
        if reader.u8()? != VERSION {
            return None;
        }
        let reply = match reader.u8()? {
            1 => Self::Appended,
            2 => Self::Conflict,
            3 => Self::HigherVote(reader.vote()?),
            4 => Self::Voted {
                vote: reader.vote()?,
                granted: reader.flag()?,
                last: reader.option(Reader::log_id)?,
            },
            5 => Self::Chunk,
            6 => Self::Installed(reader.vote()?),
            7 => Self::Done(reader.u64()?),
            8 => Self::NotLeader(reader.option(|r| Some((r.u64()?, r.text()?)))?),
            9 => Self::NotReady,
            10 => Self::Failed(read_error(&mut reader)?),
            11 => Self::Inquired(Inquired {
                node: reader.u64()?,
                open: reader.flag()?,
                vote: reader.option(Reader::vote)?,
                last: reader.option(Reader::log_id)?,
                voters: reader.nodes()?,
            }),
            _ => return None,
        };
        reader.end(reply)
    }
}

fn read_error(reader: &mut Reader) -> Option<QuorumError> {
    let code = reader.u8()?;
    let reason: Arc<str> = reader.text()?.into();
    Some(match code {
        1 => QuorumError::NoLeader,
        2 => QuorumError::Unknown { reason },
        3 => QuorumError::Full { reason },
        4 => QuorumError::Busy,
        5 => QuorumError::TooLarge { bytes: 0 },
        // That another node stopped stops nothing here; what it was asked for may have happened.
        7 => QuorumError::Unknown { reason },
        6 => QuorumError::Refused { reason },
        _ => return None,
    })
}
