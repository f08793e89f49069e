//! The frames of a peer connection, and the exchange with which it begins.
//!
//! ```text
//! 0   length u32     of what follows
//! 4   crc u32        CRC-32 of bytes 8..13 and the head
//! 8   kind u8        1 hello, 2 welcome, 3 denied, 4 request, 5 reply, 6 failed, 7 stream, 8 beat
//! 9   head bytes u32
//! 13  head, then the tail up to the frame's length
//! ```
//!
//! All numbers are big-endian. The tail is record bytes, which carry a checksum of their own that
//! the receiver checks; everything else is head. Requests, replies and failures begin with the
//! request's id, u64. What else is in a head is known to those who send and receive it, but for
//! hello, welcome and denied, which are here.
//!
//! Always: decoding is total and takes no more memory than the frame has; what a later version
//! adds at the end of hello, welcome or denied is not looked at.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use plimsoll_types::{BrokerEpoch, NodeId};

use super::{DeniedReason, Purpose};

/// The only version so far.
pub(super) const VERSION: u16 = 1;
/// The greatest frame taken before it is known who speaks.
pub(super) const MAX_FIRST_FRAME: u32 = 64 << 10;
/// Bytes of a frame's prefix behind its length.
const FIXED: usize = 9;
/// A cluster id or a message is no longer.
const MAX_TEXT: usize = 1 << 10;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Hello,
    Welcome,
    Denied,
    Request,
    Reply,
    Failed,
    Stream,
    Beat,
}

impl Kind {
    const ALL: [(Self, u8); 8] = [
        (Self::Hello, 1),
        (Self::Welcome, 2),
        (Self::Denied, 3),
        (Self::Request, 4),
        (Self::Reply, 5),
        (Self::Failed, 6),
        (Self::Stream, 7),
        (Self::Beat, 8),
    ];

    fn code(self) -> u8 {
        Self::ALL
            .into_iter()
            .find(|(kind, _)| *kind == self)
            .map_or(0, |(_, code)| code)
    }

    fn of(code: u8) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(_, known)| *known == code)
            .map(|(kind, _)| kind)
    }
}

/// A frame that came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) head: Bytes,
    pub(super) tail: Bytes,
}

/// Why a frame cannot be believed; the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadFrame {
    #[error("a frame is shorter than its own prefix says")]
    Short,
    #[error("a frame's checksum is wrong")]
    Crc,
    #[error("a frame of unknown kind {0}")]
    Kind(u8),
    #[error("a frame that makes no sense here")]
    Unexpected,
    #[error("a hello, welcome or denial that cannot be decoded")]
    Body,
}

/// The chunks of a frame: `extra`, then `head`, both under the checksum, then `tail`.
pub(super) fn encode(
    kind: Kind,
    extra: &[u8],
    head: Bytes,
    tail: impl IntoIterator<Item = Bytes>,
) -> Vec<Bytes> {
    let mut chunks = vec![Bytes::new(), head];
    chunks.extend(tail);
    let head_bytes = extra.len() + chunks[1].len();
    let tail_bytes: usize = chunks[2..].iter().map(Bytes::len).sum();
    let mut prefix = BytesMut::with_capacity(4 + FIXED + extra.len());
    prefix.put_u32(saturate(FIXED + head_bytes + tail_bytes));
    prefix.put_u32(0);
    prefix.put_u8(kind.code());
    prefix.put_u32(saturate(head_bytes));
    prefix.put_slice(extra);
    let mut crc = crc32fast::Hasher::new();
    crc.update(&prefix[8..]);
    crc.update(&chunks[1]);
    prefix[4..8].copy_from_slice(&crc.finalize().to_be_bytes());
    chunks[0] = prefix.freeze();
    chunks
}

/// Callers bound what they send far below four gigabytes; a receiver refuses what is longer.
fn saturate(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// A frame without its length, as a splitter cuts it.
pub(super) fn decode(mut bytes: Bytes) -> Result<Frame, BadFrame> {
    if bytes.len() < FIXED {
        return Err(BadFrame::Short);
    }
    let expected = bytes.get_u32();
    let code = bytes[0];
    let head_bytes = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
    let end = usize::try_from(head_bytes)
        .ok()
        .and_then(|head| head.checked_add(5))
        .filter(|end| *end <= bytes.len())
        .ok_or(BadFrame::Short)?;
    if crc32fast::hash(&bytes[..end]) != expected {
        return Err(BadFrame::Crc);
    }
    let kind = Kind::of(code).ok_or(BadFrame::Kind(code))?;
    bytes.advance(5);
    let head = bytes.split_to(end - 5);
    Ok(Frame {
        kind,
        head,
        tail: bytes,
    })
}

impl Frame {
    /// The id before a request, reply or failure, and the rest of the head.
    pub(super) fn numbered(mut self) -> Result<(u64, Bytes), BadFrame> {
        let id = self.head.try_get_u64().map_err(|_| BadFrame::Body)?;
        Ok((id, self.head))
    }
}

/// The first frame of who connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hello {
    pub(super) versions: (u16, u16),
    pub(super) purpose: Purpose,
    pub(super) node: NodeId,
    pub(super) expects: Option<NodeId>,
    pub(super) broker_epoch: Option<BrokerEpoch>,
    pub(super) cluster_id: Option<String>,
}

/// The answer of who lets the other in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Welcome {
    pub(super) version: u16,
    pub(super) node: NodeId,
    pub(super) has_metadata: bool,
    pub(super) broker_epoch: Option<BrokerEpoch>,
    pub(super) cluster_id: Option<String>,
}

/// The answer of who does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denied {
    pub(super) reason: DeniedReason,
    pub(super) message: String,
}

fn put_text(out: &mut BytesMut, text: &str) {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.put_u16(u16::try_from(end).unwrap_or(0));
    out.put_slice(&text.as_bytes()[..end]);
}

fn text(from: &mut Bytes) -> Option<String> {
    let bytes = usize::from(from.try_get_u16().ok()?);
    if bytes > from.len() || bytes > MAX_TEXT {
        return None;
    }
    String::from_utf8(from.split_to(bytes).to_vec()).ok()
}

fn node(value: i32) -> Option<NodeId> {
    NodeId::from_wire(value)
}

fn purpose_code(purpose: Purpose) -> u8 {
    match purpose {
        Purpose::Control => 1,
        Purpose::InSync => 2,
        Purpose::CatchUp => 3,
    }
}

fn purpose_of(code: u8) -> Option<Purpose> {
    let all = [Purpose::Control, Purpose::InSync, Purpose::CatchUp];
    all.into_iter()
        .find(|purpose| purpose_code(*purpose) == code)
}

/// Epochs are log indexes and begin at one; zero stands for none.
fn put_epoch(out: &mut BytesMut, epoch: Option<BrokerEpoch>) {
    out.put_u64(epoch.map_or(0, |epoch| epoch.0));
}

fn epoch(value: u64) -> Option<BrokerEpoch> {
    (value > 0).then_some(BrokerEpoch(value))
}

impl Hello {
    pub(super) fn encode(&self) -> Vec<Bytes> {
        let mut body = BytesMut::new();
        body.put_u16(self.versions.0);
        body.put_u16(self.versions.1);
        body.put_u8(purpose_code(self.purpose));
        body.put_i32(self.node.to_wire());
        body.put_i32(self.expects.map_or(-1, NodeId::to_wire));
        put_epoch(&mut body, self.broker_epoch);
        put_text(&mut body, self.cluster_id.as_deref().unwrap_or_default());
        encode(Kind::Hello, &[], body.freeze(), [])
    }

    pub(super) fn decode(frame: Frame) -> Result<Self, BadFrame> {
        if frame.kind != Kind::Hello {
            return Err(BadFrame::Unexpected);
        }
        let mut from = frame.head;
        let mut hello = || {
            Some(Self {
                versions: (from.try_get_u16().ok()?, from.try_get_u16().ok()?),
                purpose: purpose_of(from.try_get_u8().ok()?)?,
                node: node(from.try_get_i32().ok()?)?,
                expects: node(from.try_get_i32().ok()?),
                broker_epoch: epoch(from.try_get_u64().ok()?),
                cluster_id: text(&mut from).map(|id| (!id.is_empty()).then_some(id))?,
            })
        };
        hello().ok_or(BadFrame::Body)
    }
}

impl Welcome {
    pub(super) fn encode(&self) -> Vec<Bytes> {
        let mut body = BytesMut::new();
        body.put_u16(self.version);
        body.put_i32(self.node.to_wire());
        body.put_u8(u8::from(self.has_metadata));
        put_epoch(&mut body, self.broker_epoch);
        put_text(&mut body, self.cluster_id.as_deref().unwrap_or_default());
        encode(Kind::Welcome, &[], body.freeze(), [])
    }

    fn decode(mut from: Bytes) -> Option<Self> {
        Some(Self {
            version: from.try_get_u16().ok()?,
            node: node(from.try_get_i32().ok()?)?,
            has_metadata: from.try_get_u8().ok()? != 0,
            broker_epoch: epoch(from.try_get_u64().ok()?),
            cluster_id: text(&mut from).map(|id| (!id.is_empty()).then_some(id))?,
        })
    }
}

impl Denied {
    pub(super) fn encode(&self) -> Vec<Bytes> {
        let mut body = BytesMut::new();
        body.put_u8(self.reason.code());
        put_text(&mut body, &self.message);
        encode(Kind::Denied, &[], body.freeze(), [])
    }

    fn decode(mut from: Bytes) -> Option<Self> {
        Some(Self {
            reason: DeniedReason::of(from.try_get_u8().ok()?),
            message: text(&mut from)?,
        })
    }
}

/// The answer to a hello.
pub(super) fn decode_answer(frame: Frame) -> Result<Result<Welcome, Denied>, BadFrame> {
    match frame.kind {
        Kind::Welcome => Welcome::decode(frame.head).map(Ok),
        Kind::Denied => Denied::decode(frame.head).map(Err),
        _ => return Err(BadFrame::Unexpected),
    }
    .ok_or(BadFrame::Body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: u32) -> NodeId {
        NodeId::new(value).expect("in range")
    }

    /// What a splitter cuts out of these chunks.
    fn sent(chunks: &[Bytes]) -> Bytes {
        let all = Bytes::from(chunks.concat());
        let length = u32::from_be_bytes([all[0], all[1], all[2], all[3]]);
        assert_eq!(usize::try_from(length).expect("small"), all.len() - 4);
        all.slice(4..)
    }

    fn hello() -> Hello {
        Hello {
            versions: (1, 3),
            purpose: Purpose::CatchUp,
            node: id(7),
            expects: Some(id(2)),
            broker_epoch: None,
            cluster_id: Some("c1".to_owned()),
        }
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let tail = [Bytes::from_static(b"rec"), Bytes::from_static(b"ords")];
        let chunks = encode(Kind::Stream, b"ex", Bytes::from_static(b"head"), tail);
        let frame = decode(sent(&chunks)).expect("whole");
        assert_eq!(frame.kind, Kind::Stream);
        assert_eq!(
            (&frame.head[..], &frame.tail[..]),
            (&b"exhead"[..], &b"records"[..])
        );
    }

    #[test]
    fn a_flipped_bit_before_the_tail_is_found_and_none_panics() {
        let chunks = encode(Kind::Request, &[1; 8], Bytes::from_static(b"head"), []);
        let good = sent(&chunks);
        for bit in 0..good.len() * 8 {
            let mut bad = good.to_vec();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(Bytes::from(bad)).is_err(), "bit {bit}");
        }
        for end in 0..good.len() {
            assert!(decode(good.slice(..end)).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn the_exchange_is_read_as_it_was_written_and_cut_ones_are_refused() {
        let sent_hello = decode(sent(&hello().encode())).expect("whole");
        assert_eq!(Hello::decode(sent_hello.clone()), Ok(hello()));
        for end in 0..sent_hello.head.len() {
            let cut = Frame {
                head: sent_hello.head.slice(..end),
                ..sent_hello.clone()
            };
            assert_eq!(Hello::decode(cut), Err(BadFrame::Body), "cut at {end}");
        }
        let welcome = Welcome {
            version: 1,
            node: id(2),
            has_metadata: true,
            broker_epoch: Some(BrokerEpoch(9)),
            cluster_id: None,
        };
        let answer = decode_answer(decode(sent(&welcome.encode())).expect("whole"));
        assert_eq!(answer, Ok(Ok(welcome)));
        let denied = Denied {
            reason: DeniedReason::WrongCluster,
            message: "é".repeat(MAX_TEXT),
        };
        let answer = decode_answer(decode(sent(&denied.encode())).expect("whole"));
        let told = answer.expect("decodes").expect_err("denied");
        assert_eq!(told.reason, DeniedReason::WrongCluster);
        assert_eq!(told.message.len(), MAX_TEXT);
    }
}
