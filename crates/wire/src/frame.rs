//! Cutting a stream of bytes into frames.
//!
//! Not here: reading from a socket, and what frames hold. What always holds: no frame is larger
//! than the cap; memory grows with the bytes that came and not with the size they announce; a
//! stream that is not Kafka's is told apart by its first bytes.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the size before each frame.
pub const PREFIX_BYTES: usize = size_of::<i32>();

/// A stream that cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The size before a frame is negative.
    #[error("a frame announces {size} bytes")]
    NegativeSize {
        /// The size announced.
        size: i32,
    },
    /// A frame is larger than the cap.
    #[error("a frame announces {bytes} bytes, at most {max_frame_bytes} are taken")]
    TooLarge {
        /// The size announced.
        bytes: usize,
        /// The cap.
        max_frame_bytes: usize,
    },
    /// The stream begins with a TLS handshake.
    #[error("the client speaks TLS to a port without TLS")]
    Tls,
    /// The stream begins with an HTTP request.
    #[error("the client speaks HTTP to the Kafka port")]
    Http,
}

/// Cuts the frames of one connection out of the buffer that its bytes are read into.
///
/// ```
/// use bytes::BytesMut;
/// use plimsoll_wire::frame::Splitter;
///
/// let mut splitter = Splitter::new(1024);
/// let mut buffer = BytesMut::from(&b"\0\0\0\x02hi\0\0"[..]);
/// assert_eq!(splitter.next(&mut buffer)?.as_deref(), Some(&b"hi"[..]));
/// assert_eq!(splitter.next(&mut buffer)?, None); // the next frame has not come yet
/// # Ok::<(), plimsoll_wire::frame::FrameError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Splitter {
    max_frame_bytes: usize,
    /// Whether no frame has been cut yet: only then can the stream be something else.
    is_first: bool,
}

/// Read steps are at least this long.
const LEAST_STEP_BYTES: usize = 8 * 1024;

impl Splitter {
    /// A splitter for a new connection that takes frames of up to `max_frame_bytes`.
    #[must_use]
    pub const fn new(max_frame_bytes: usize) -> Self {
        Self {
            max_frame_bytes,
            is_first: true,
        }
    }

    /// Changes the cap, such as once a client has proved who it is.
    pub const fn set_max_frame_bytes(&mut self, max_frame_bytes: usize) {
        self.max_frame_bytes = max_frame_bytes;
    }

    /// Takes the next frame, without its size, off the front of `buffer`; `None` while it is not
    /// whole. The frame shares the buffer's memory.
    ///
    /// # Errors
    /// The stream cannot go on: close the connection.
    pub fn next(&mut self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(bytes) = self.announced(buffer)? else {
            return Ok(None);
        };
        if buffer.len() - PREFIX_BYTES < bytes {
            return Ok(None);
        }
        self.is_first = false;
        buffer.advance(PREFIX_BYTES);
        Ok(Some(buffer.split_to(bytes).freeze()))
    }

    /// How much room `buffer` should have for the next read: enough for the rest of the frame
    /// under way, but no more than doubles what has come already.
    ///
    /// # Errors
    /// As [`Splitter::next`].
    pub fn wanted(&self, buffer: &BytesMut) -> Result<usize, FrameError> {
        let missing = match self.announced(buffer)? {
            Some(bytes) => (PREFIX_BYTES + bytes).saturating_sub(buffer.len()),
            None => 0,
        };
        Ok(missing.min(buffer.len()).max(LEAST_STEP_BYTES))
    }

    /// The size of the frame at the front of `buffer`, checked, once it can be told.
    fn announced(&self, buffer: &BytesMut) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else {
            return Ok(None);
        };
        if self.is_first {
            refuse_strangers(prefix)?;
        }
        let size = i32::from_be_bytes(*prefix);
        let Ok(bytes) = usize::try_from(size) else {
            return Err(FrameError::NegativeSize { size });
        };
        if bytes > self.max_frame_bytes {
            let max_frame_bytes = self.max_frame_bytes;
            return Err(FrameError::TooLarge {
                bytes,
                max_frame_bytes,
            });
        }
        Ok(Some(bytes))
    }
}

/// The first four bytes of a connection that speaks something else. As sizes they would announce
/// hundreds of megabytes, which nobody's first frame has.
fn refuse_strangers(first: &[u8; PREFIX_BYTES]) -> Result<(), FrameError> {
    match first {
        [0x16, 0x03, 0..=4, _] => Err(FrameError::Tls),
        b"GET " | b"HEAD" | b"POST" | b"PUT " | b"DELE" | b"OPTI" | b"PATC" | b"CONN" | b"TRAC"
        | b"PRI " => Err(FrameError::Http),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buffer(bytes: &[u8]) -> BytesMut {
        BytesMut::from(bytes)
    }

    #[test]
    fn frames_are_cut_one_after_another() {
        let mut splitter = Splitter::new(16);
        let mut stream = buffer(b"\0\0\0\x01a\0\0\0\0\0\0\0\x02bc\0");
        let mut frames = Vec::new();
        while let Some(frame) = splitter.next(&mut stream).expect("well-formed") {
            frames.push(frame);
        }
        assert_eq!(frames, [&b"a"[..], b"", b"bc"]);
        assert_eq!(&stream[..], b"\0");
    }

    #[test]
    fn a_size_past_the_cap_is_refused_at_the_prefix() {
        let error = Splitter::new(16).next(&mut buffer(&[0, 0, 0, 17]));
        assert_eq!(
            error,
            Err(FrameError::TooLarge {
                bytes: 17,
                max_frame_bytes: 16
            })
        );
    }

    #[test]
    fn a_negative_size_is_refused() {
        let error = Splitter::new(16).next(&mut buffer(&[0xff; 4]));
        assert_eq!(error, Err(FrameError::NegativeSize { size: -1 }));
    }

    #[test]
    fn room_doubles_with_what_came_and_not_with_what_is_announced() {
        let splitter = Splitter::new(100 << 20);
        let mut stream = buffer(&(90_i32 << 20).to_be_bytes());
        assert_eq!(splitter.wanted(&stream), Ok(LEAST_STEP_BYTES));
        stream.resize(1 << 20, 0);
        assert_eq!(splitter.wanted(&stream), Ok(1 << 20));
        stream.resize((90 << 20) + 1, 0);
        assert_eq!(splitter.wanted(&stream), Ok(LEAST_STEP_BYTES));
    }

    #[test]
    fn a_tls_hello_is_told_apart() {
        let mut stream = buffer(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]);
        assert_eq!(
            Splitter::new(usize::MAX).next(&mut stream),
            Err(FrameError::Tls)
        );
    }

    #[test]
    fn http_verbs_are_told_apart() {
        for verb in [
            "GET / HTTP/1.1",
            "POST /",
            "PUT /x",
            "DELETE /",
            "OPTIONS *",
            "PRI * HTTP/2.0",
        ] {
            let refused = Splitter::new(usize::MAX).next(&mut buffer(verb.as_bytes()));
            assert_eq!(refused, Err(FrameError::Http), "{verb}");
        }
    }

    #[test]
    fn after_the_first_frame_nothing_is_taken_for_another_protocol() {
        let mut splitter = Splitter::new(16);
        let mut stream = buffer(b"\0\0\0\x01aGET ");
        splitter.next(&mut stream).expect("well-formed");
        assert!(matches!(
            splitter.next(&mut stream),
            Err(FrameError::TooLarge { .. })
        ));
    }
}
