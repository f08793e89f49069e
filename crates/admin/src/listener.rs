//! Connections within bounds: how many, how long silent, how long at all.
//!
//! HTTP here is for scrapers and people. A client that is slow or gone must not keep a place, and
//! those that find no place wait in the kernel's queue.

use axum::serve::Listener;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Bounds on what HTTP may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Most connections at a time.
    pub max_connections: usize,
    /// How long a connection may be silent, within a request or between two.
    pub max_silence: Duration,
    /// How long a connection may live.
    pub max_lifetime: Duration,
    /// How long an answer may take.
    pub max_answer: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_connections: 64,
            max_silence: Duration::from_secs(30),
            max_lifetime: Duration::from_secs(3600),
            max_answer: Duration::from_secs(30),
        }
    }
}

/// How long to wait after a failed accept; it fails for want of descriptors, which others free.
const ACCEPT_RETRY: Duration = Duration::from_millis(200);

pub(crate) struct BoundedListener {
    listener: TcpListener,
    places: Arc<Semaphore>,
    bounds: Bounds,
}

impl BoundedListener {
    pub(crate) fn new(listener: TcpListener, bounds: Bounds) -> Self {
        let places = Arc::new(Semaphore::new(bounds.max_connections));
        Self {
            listener,
            places,
            bounds,
        }
    }
}

impl Listener for BoundedListener {
    type Io = BoundedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let place = loop {
            match Arc::clone(&self.places).acquire_owned().await {
                Ok(place) => break place,
                // Nobody closes the semaphore.
                Err(_) => sleep(ACCEPT_RETRY).await,
            }
        };
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    return (BoundedStream::new(stream, place, self.bounds), peer);
                }
                Err(error) => {
                    tracing::warn!(event = "http_accept_failed", %error);
                    sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends itself when it is silent or old.
pub(crate) struct BoundedStream {
    stream: TcpStream,
    _place: OwnedSemaphorePermit,
    max_silence: Duration,
    dies_at: Instant,
    /// When the present silence, or the connection's life, is over.
    end: Pin<Box<Sleep>>,
}

impl BoundedStream {
    fn new(stream: TcpStream, place: OwnedSemaphorePermit, bounds: Bounds) -> Self {
        let end = Box::pin(sleep(bounds.max_silence.min(bounds.max_lifetime)));
        Self {
            stream,
            _place: place,
            max_silence: bounds.max_silence,
            dies_at: Instant::now() + bounds.max_lifetime,
            end,
        }
    }

    /// Passes on what came of a read or a write, or an error when its time is over.
    fn within_time<T>(
        &mut self,
        context: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            let end = self.dies_at.min(Instant::now() + self.max_silence);
            self.end.as_mut().reset(end);
            return outcome;
        }
        ready!(self.end.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.within_time(context, outcome)
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.within_time(context, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.within_time(context, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
