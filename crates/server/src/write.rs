//! The way out of one connection: replies that wait for the socket.
//!
//! Several replies go out in one vectored write, and their chunks, mapped record bytes among
//! them, are never copied. Partial writes are resumed where they stopped.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// Chunks in one vectored write; more do not make it cheaper.
const MAX_SLICES: usize = 64;

/// Reply bytes that wait for the socket, in order.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    chunks: VecDeque<Bytes>,
    bytes: usize,
}

impl Writer {
    /// Bytes that wait.
    pub(crate) fn queued_bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Queues the chunks of one reply.
    pub(crate) fn push(&mut self, reply: impl IntoIterator<Item = Bytes>) {
        for chunk in reply.into_iter().filter(|chunk| !chunk.is_empty()) {
            self.bytes += chunk.len();
            self.chunks.push_back(chunk);
        }
    }

    /// Writes once what the socket takes, and says how much that was. Only to be called while
    /// something waits.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut W,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        let written = ready!(Pin::new(socket).poll_write_vectored(cx, &slices[..count]))?;
        if written == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.advance(written);
        Poll::Ready(Ok(written))
    }

    fn advance(&mut self, mut written: usize) {
        self.bytes -= written;
        while let Some(chunk) = self.chunks.front_mut() {
            if chunk.len() > written {
                chunk.advance(written);
                return;
            }
            written -= chunk.len();
            self.chunks.pop_front();
        }
        debug_assert_eq!(written, 0, "a socket takes no more than it was given");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// A socket that takes at most so many bytes at once.
    struct Narrow {
        max: usize,
        taken: Vec<u8>,
        writes: usize,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = slices
                .iter()
                .flat_map(|slice| slice.iter().copied())
                .collect();
            let taken = all.len().min(self.max);
            self.taken.extend_from_slice(&all[..taken]);
            self.writes += 1;
            Poll::Ready(Ok(taken))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn drain(writer: &mut Writer, max: usize) -> Narrow {
        let mut socket = Narrow {
            max,
            taken: Vec::new(),
            writes: 0,
        };
        let mut cx = Context::from_waker(Waker::noop());
        while !writer.is_empty() {
            assert!(writer.poll_write(&mut cx, &mut socket).is_ready());
        }
        assert_eq!(writer.queued_bytes(), 0);
        socket
    }

    #[test]
    fn a_write_cut_anywhere_is_resumed_there() {
        for max in 1..=12 {
            let mut writer = Writer::default();
            writer.push([
                Bytes::from_static(b"head"),
                Bytes::new(),
                Bytes::from_static(b"records"),
            ]);
            writer.push([Bytes::from_static(b"x")]);
            assert_eq!(
                drain(&mut writer, max).taken,
                b"headrecordsx",
                "{max} at once"
            );
        }
    }

    #[test]
    fn several_replies_go_out_in_one_write() {
        let mut writer = Writer::default();
        for _ in 0..MAX_SLICES {
            writer.push([Bytes::from_static(b"reply")]);
        }
        assert_eq!(drain(&mut writer, usize::MAX).writes, 1);
    }
}
