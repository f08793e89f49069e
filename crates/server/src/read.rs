//! The way in of one connection: bytes into frames.
//!
//! Memory grows with the bytes that arrive, never with the length that a frame announces: a frame
//! of which `n` bytes are here has a buffer of at most `16 n` + 4 KiB, and what has not arrived of
//! it is not touched. Frames leave as slices of the buffer; nothing is copied but the head of a
//! frame that outgrew its buffer.

use std::io;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use plimsoll_wire::frame::{FrameError, PREFIX_BYTES, Splitter};
use tokio::net::TcpStream;

/// The least and the most that one read asks for, large frames aside. It adapts between them, so
/// that a quiet connection holds little and a busy one reads many frames at once.
const MIN_READ_BYTES: usize = 4 << 10;
const MAX_READ_BYTES: usize = 256 << 10;
/// How many times the bytes that arrived of a large frame its buffer may have: the more, the less
/// is copied while it grows. Room that is not filled costs no memory.
const VOUCHED_FACTOR: usize = 16;
/// The greatest empty buffer that a connection keeps while it waits.
const MAX_IDLE_BUFFER_BYTES: usize = 16 << 10;

/// Bytes of one connection that have arrived and are not frames yet.
#[derive(Debug)]
pub(crate) struct Reader {
    splitter: Splitter,
    buffer: BytesMut,
    read_bytes: usize,
}

impl Reader {
    pub(crate) fn new(max_frame_bytes: u32) -> Self {
        Self {
            splitter: Splitter::new(usize::try_from(max_frame_bytes).unwrap_or(usize::MAX)),
            buffer: BytesMut::new(),
            read_bytes: MIN_READ_BYTES,
        }
    }

    /// Takes frames of up to so many bytes from now on.
    pub(crate) fn set_max_frame_bytes(&mut self, max_frame_bytes: u32) {
        let max = usize::try_from(max_frame_bytes).unwrap_or(usize::MAX);
        self.splitter.set_max_frame_bytes(max);
    }

    /// Bytes that have arrived and are not part of a frame taken out yet.
    pub(crate) fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Takes the next whole frame out.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        self.splitter.next(&mut self.buffer)
    }

    /// Reads once; zero bytes mean that the peer stopped sending. Only to be called when no whole
    /// frame is left.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
    ) -> Poll<io::Result<usize>> {
        loop {
            if socket.poll_read_ready(cx)?.is_pending() {
                self.release_idle_buffer();
                return Poll::Pending;
            }
            self.make_room();
            let room = self.buffer.capacity() - self.buffer.len();
            match socket.try_read_buf(&mut self.buffer) {
                Ok(read) => {
                    self.adapt(read, room);
                    return Poll::Ready(Ok(read));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Makes room for the next read: for a large frame as much as its arrived bytes vouch for,
    /// otherwise for many small ones.
    fn make_room(&mut self) {
        let arrived = self.buffer.len();
        let room = self.buffer.capacity() - arrived;
        let frame = self.announced_bytes();
        if frame > arrived + self.read_bytes {
            let vouched = arrived
                .saturating_mul(VOUCHED_FACTOR)
                .saturating_add(MIN_READ_BYTES);
            let wanted = frame.min(vouched);
            // Early, while there is little to copy, but not for a few bytes more.
            if wanted > arrived + room && (room < arrived / 2 || wanted / 2 > arrived + room) {
                let mut larger = BytesMut::with_capacity(wanted);
                larger.extend_from_slice(&self.buffer);
                self.buffer = larger;
            }
        } else if room < self.read_bytes / 2 || room < frame.saturating_sub(arrived) {
            self.buffer.reserve(self.read_bytes);
        }
    }

    /// The size, prefix included, of the frame that has begun to arrive; zero while unknown. The
    /// splitter has found it within the cap.
    fn announced_bytes(&self) -> usize {
        let size = self
            .buffer
            .first_chunk()
            .map_or(0, |prefix| u32::from_be_bytes(*prefix));
        usize::try_from(size).map_or(0, |size| size.saturating_add(PREFIX_BYTES))
    }

    fn release_idle_buffer(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > MAX_IDLE_BUFFER_BYTES {
            self.buffer = BytesMut::new();
        }
    }

    fn adapt(&mut self, read: usize, room: usize) {
        if read == room {
            self.read_bytes = (self.read_bytes * 2).min(MAX_READ_BYTES);
        } else if read < self.read_bytes / 4 {
            self.read_bytes = (self.read_bytes / 2).max(MIN_READ_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The room that the reader makes when `arrived` bytes of a frame of `frame_bytes` are here.
    fn room_for(frame_bytes: u32, arrived: usize) -> usize {
        let mut reader = Reader::new(u32::MAX >> 1);
        reader.buffer.extend_from_slice(&frame_bytes.to_be_bytes());
        reader.buffer.resize(arrived, 0);
        reader.make_room();
        reader.buffer.capacity()
    }

    #[test]
    fn a_length_alone_buys_no_memory() {
        assert!(room_for(1 << 30, 4) <= MIN_READ_BYTES + VOUCHED_FACTOR * 4);
    }

    #[test]
    fn room_grows_with_what_arrived_and_ends_with_the_frame() {
        assert_eq!(room_for(1 << 30, 100_000), 1_600_000 + MIN_READ_BYTES);
        assert_eq!(room_for(1 << 20, 800_000), (1 << 20) + 4);
    }

    #[test]
    fn a_nearly_complete_frame_gets_room_for_the_next_ones_too() {
        assert!(room_for(1 << 20, 1 << 20) >= (1 << 20) + MIN_READ_BYTES);
    }
}
