//! Frames of peer connections: size, checksum, kind, body.
//!
//! Not here: reading from a socket. What always holds: no frame is larger than the cap, which is
//! small until the hello was accepted; memory grows with the bytes that came and not with the size
//! they announce; nothing of a frame is believed before its checksum is.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::control::{Reply, Request};
use super::hello::{Denied, Hello, Welcome};
use super::stream::{StreamFrame, head_bytes};
use super::value::{Scan, Value};
use crate::codec::{Encoded, Malformed};

/// Bytes of the size before each frame.
pub const PREFIX_BYTES: usize = 4;
/// The largest frame before the hello is accepted.
pub const MAX_HELLO_BYTES: usize = 64 * 1024;
/// The largest frame of a control connection.
pub const MAX_CONTROL_BYTES: usize = 96 * 1024 * 1024;
/// The largest frame of a stream.
pub const MAX_STREAM_BYTES: usize = 4 * 1024 * 1024;

const CRC_BYTES: usize = 4;
const LEAST_FRAME_BYTES: usize = CRC_BYTES + 1;
/// Read steps are at least this long.
const LEAST_STEP_BYTES: usize = 8 * 1024;

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const DENIED: u8 = 3;
const REQUEST: u8 = 4;
const REPLY: u8 = 5;
const STREAM: u8 = 6;

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The first of who connects.
    Hello(Hello),
    /// The answer to it.
    Welcome(Welcome),
    /// Or this one.
    Denied(Denied),
    /// On control connections, either way.
    Request {
        /// Its number.
        id: u64,
        /// What is asked.
        body: Request,
    },
    /// On control connections, either way.
    Reply {
        /// The number of the request.
        id: u64,
        /// The answer.
        body: Reply,
    },
    /// On streams.
    Stream(StreamFrame),
}

/// A connection that cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameFault {
    /// A frame announces fewer bytes than any has.
    #[error("a frame announces {bytes} bytes, the least has {LEAST_FRAME_BYTES}")]
    TooSmall {
        /// The size announced.
        bytes: usize,
    },
    /// A frame is larger than the cap.
    #[error("a frame announces {bytes} bytes, at most {max_frame_bytes} are taken")]
    TooLarge {
        /// The size announced.
        bytes: usize,
        /// The cap.
        max_frame_bytes: usize,
    },
    /// Bytes were changed on the way.
    #[error("a frame says its CRC-32 is {stated:#010x}, it is {found:#010x}")]
    Checksum {
        /// The checksum in the frame.
        stated: u32,
        /// The checksum of the frame.
        found: u32,
    },
    /// The first frame is no node's.
    #[error("the first frame is not a node's hello")]
    Stranger,
    /// The kind of the frame is not known.
    #[error("frames of kind {kind} are not known")]
    UnknownKind {
        /// The kind.
        kind: u8,
    },
    /// The body is not what the kind says.
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// Writes a frame, size and checksum included. Records are not copied.
#[must_use]
pub fn encode(frame: &Frame) -> Encoded {
    let mut out = BytesMut::with_capacity(128);
    out.put_bytes(0, PREFIX_BYTES + CRC_BYTES);
    let mut chunks = Vec::new();
    match frame {
        Frame::Hello(hello) => kind(HELLO, hello, &mut out),
        Frame::Welcome(welcome) => kind(WELCOME, welcome, &mut out),
        Frame::Denied(denied) => kind(DENIED, denied, &mut out),
        Frame::Request { id, body } => {
            kind(REQUEST, id, &mut out);
            body.put(&mut out);
        }
        Frame::Reply { id, body } => {
            kind(REPLY, id, &mut out);
            body.put(&mut out);
        }
        Frame::Stream(frame) => {
            out.put_u8(STREAM);
            frame.put_head(&mut out);
            chunks.extend(frame.tail().cloned());
        }
    }
    let records: usize = chunks.iter().map(Bytes::len).sum();
    let bytes = out.len() + records;
    let size = u32::try_from(bytes - PREFIX_BYTES).unwrap_or(u32::MAX);
    debug_assert_ne!(size, u32::MAX, "a frame of 2^32");
    let summed = out.get(PREFIX_BYTES + CRC_BYTES..).unwrap_or_default();
    let crc = crc32fast::hash(summed);
    let mut prefix: &mut [u8] = &mut out;
    prefix.put_u32(size);
    prefix.put_u32(crc);
    chunks.insert(0, out.freeze());
    Encoded { chunks, bytes }
}

fn kind(kind: u8, body: &impl Value, out: &mut BytesMut) {
    out.put_u8(kind);
    body.put(out);
}

/// Reads a frame as [`Splitter::next`] gives it. Payloads and records are parts of it.
///
/// # Errors
/// The frame is damaged or is none: close the connection.
pub fn decode(mut frame: Bytes) -> Result<Frame, FrameFault> {
    if frame.len() < LEAST_FRAME_BYTES {
        let bytes = frame.len();
        return Err(FrameFault::TooSmall { bytes });
    }
    let stated = frame.get_u32();
    let kind = frame.first().copied().unwrap_or_default();
    let summed = match kind {
        STREAM => 1 + head_bytes(frame.get(1..).unwrap_or_default()),
        _ => frame.len(),
    };
    let mut head = frame;
    let tail = head.split_off(summed);
    let found = crc32fast::hash(&head);
    if stated != found {
        return Err(FrameFault::Checksum { stated, found });
    }
    head.advance(1);
    if kind == STREAM {
        return Ok(Frame::Stream(StreamFrame::decode(head, tail)?));
    }
    let mut input = Scan::new(head);
    let frame = match kind {
        // What later versions add to these three is left unread.
        HELLO => return hello(input.field("hello")?),
        WELCOME => return Ok(Frame::Welcome(input.field("welcome")?)),
        DENIED => return Ok(Frame::Denied(input.field("denied")?)),
        REQUEST => Frame::Request {
            id: input.field("id")?,
            body: input.field("request")?,
        },
        REPLY => Frame::Reply {
            id: input.field("id")?,
            body: input.field("reply")?,
        },
        kind => return Err(FrameFault::UnknownKind { kind }),
    };
    input.finish()?;
    Ok(frame)
}

fn hello(hello: Hello) -> Result<Frame, FrameFault> {
    match hello.is_from_a_node() {
        true => Ok(Frame::Hello(hello)),
        false => Err(FrameFault::Stranger),
    }
}

/// Cuts the frames of one connection out of the buffer that its bytes are read into.
#[derive(Clone, Debug)]
pub struct Splitter {
    max_frame_bytes: usize,
}

impl Splitter {
    /// A splitter that takes frames of up to `max_frame_bytes`: [`MAX_HELLO_BYTES`] at first.
    #[must_use]
    pub const fn new(max_frame_bytes: usize) -> Self {
        Self { max_frame_bytes }
    }

    /// Changes the cap, once the hello is accepted.
    pub const fn set_max_frame_bytes(&mut self, max_frame_bytes: usize) {
        self.max_frame_bytes = max_frame_bytes;
    }

    /// Takes the next frame, without its size, off the front of `buffer`; `None` while it is not
    /// whole. The frame shares the buffer's memory.
    ///
    /// # Errors
    /// The stream cannot go on: close the connection.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameFault> {
        let Some(bytes) = self.announced(buffer)? else {
            return Ok(None);
        };
        if buffer.len() - PREFIX_BYTES < bytes {
            return Ok(None);
        }
        buffer.advance(PREFIX_BYTES);
        Ok(Some(buffer.split_to(bytes).freeze()))
    }

    /// How much room `buffer` should have for the next read: enough for the rest of the frame
    /// under way, but no more than doubles what has come already.
    ///
    /// # Errors
    /// As [`Splitter::next`].
    pub fn wanted(&self, buffer: &BytesMut) -> Result<usize, FrameFault> {
        let missing = match self.announced(buffer)? {
            Some(bytes) => (PREFIX_BYTES + bytes).saturating_sub(buffer.len()),
            None => 0,
        };
        Ok(missing.min(buffer.len()).max(LEAST_STEP_BYTES))
    }

    fn announced(&self, buffer: &BytesMut) -> Result<Option<usize>, FrameFault> {
        let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        let bytes = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        let max_frame_bytes = self.max_frame_bytes;
        match bytes {
            _ if bytes > max_frame_bytes => Err(FrameFault::TooLarge {
                bytes,
                max_frame_bytes,
            }),
            _ if bytes < LEAST_FRAME_BYTES => Err(FrameFault::TooSmall { bytes }),
            _ => Ok(Some(bytes)),
        }
    }
}
