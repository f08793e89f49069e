//! One peer connection as frames: what every link does alike, whatever it carries.
//!
//! Sends a beat when it has sent nothing for a while, and ends when the peer is silent for longer
//! than its rhythm explains, or takes no bytes. Reading never waits for writing.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::config::PeerConfig;
use super::counters::PeerCounters;
use super::cut::Cut;
use super::frame::{self, BadFrame, Frame, Kind};
use crate::alarm::Alarm;
use crate::read::Reader;
use crate::write::Writer;

/// Why a link ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinkEnd {
    #[error("the peer closed it")]
    Closed,
    #[error("it was lost: {0}")]
    Lost(#[from] std::io::Error),
    #[error("the peer was silent for {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("the peer took no bytes")]
    Stalled,
    #[error("the peer sent nonsense: {0}")]
    BadFrame(String),
    #[error("{0}")]
    Stream(String),
    #[error("it is not needed any more")]
    Unwanted,
}

impl From<BadFrame> for LinkEnd {
    fn from(bad: BadFrame) -> Self {
        Self::BadFrame(bad.to_string())
    }
}

/// How long a silence a link's own rhythm explains.
#[derive(Debug)]
struct Rhythm {
    mean: Duration,
    deviation: Duration,
}

impl Rhythm {
    fn heard(&mut self, gap: Duration) {
        let off = self.mean.abs_diff(gap);
        self.deviation = (self.deviation * 7 + off) / 8;
        self.mean = (self.mean * 7 + gap) / 8;
    }

    fn limit(&self, config: &PeerConfig) -> Duration {
        let explained = self.mean * 3 + self.deviation * 8;
        explained.clamp(config.min_silence, config.max_silence)
    }
}

/// A connection of frames.
#[derive(Debug)]
pub(super) struct Wire {
    socket: TcpStream,
    reader: Reader,
    writer: Writer,
    cut: Arc<Cut>,
    counters: Arc<PeerCounters>,
    config: PeerConfig,
    rhythm: Rhythm,
    alarm: Alarm,
    last_read: Instant,
    last_sent: Instant,
    /// When the bytes that wait began to wait, or the peer last took some.
    last_taken: Instant,
}

impl Wire {
    pub(super) fn new(
        socket: TcpStream,
        cut: Arc<Cut>,
        counters: &Arc<PeerCounters>,
        config: PeerConfig,
    ) -> Self {
        let now = Instant::now();
        Self {
            socket,
            reader: Reader::new(frame::MAX_FIRST_FRAME),
            writer: Writer::default(),
            cut,
            counters: Arc::clone(counters),
            config,
            // The benefit of the doubt, until there is a rhythm.
            rhythm: Rhythm {
                mean: config.beat,
                deviation: config.max_silence / 8,
            },
            alarm: Alarm::new(now + config.beat),
            last_read: now,
            last_sent: now,
            last_taken: now,
        }
    }

    /// It is known who speaks: frames may be larger from now on, and the network to them be cut.
    pub(super) fn introduce(&mut self, max_frame: u32, cut: Arc<Cut>) {
        self.reader.set_max_frame_bytes(max_frame);
        self.cut = cut;
    }

    pub(super) fn queued_bytes(&self) -> usize {
        self.writer.queued_bytes()
    }

    /// Queues a frame.
    pub(super) fn push(&mut self, chunks: Vec<Bytes>) {
        if self.writer.is_empty() {
            self.last_taken = Instant::now();
        }
        self.writer.push(chunks);
    }

    /// Writes what the socket takes, and tells whether that was anything.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> Result<bool, LinkEnd> {
        let mut written = 0;
        while !self.writer.is_empty() && !self.cut.is_out() {
            match self.writer.poll_write(cx, &mut self.socket) {
                Poll::Ready(bytes) => written += bytes?,
                Poll::Pending => break,
            }
        }
        if written > 0 {
            self.last_taken = Instant::now();
            self.last_sent = self.last_taken;
            self.counters.bytes_out.add(written);
        }
        Ok(written > 0)
    }

    /// The next frame that is no beat.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Result<Frame, LinkEnd>> {
        loop {
            if self.cut.is_in() {
                // The clock's alarm looks again.
                return Poll::Pending;
            }
            let cut = self.reader.next_frame();
            match cut.map_err(|error| LinkEnd::BadFrame(error.to_string()))? {
                Some(bytes) => {
                    let frame = frame::decode(bytes)?;
                    if frame.kind != Kind::Beat {
                        return Poll::Ready(Ok(frame));
                    }
                }
                None => match ready!(self.reader.poll_read(cx, &self.socket))? {
                    0 => return Poll::Ready(Err(LinkEnd::Closed)),
                    bytes => {
                        self.counters.bytes_in.add(bytes);
                        let now = Instant::now();
                        self.rhythm.heard(now.duration_since(self.last_read));
                        self.last_read = now;
                    }
                },
            }
        }
    }

    /// Keeps the beat and watches the peer's; to be called last in a poll, after everything that
    /// had come was read. The task is polled again within a beat.
    pub(super) fn tick(&mut self, cx: &mut Context<'_>) -> Result<(), LinkEnd> {
        let now = Instant::now();
        let beat = self.config.beat;
        if self.writer.is_empty() && now.duration_since(self.last_sent) >= beat {
            self.push(frame::encode(Kind::Beat, &[], Bytes::new(), []));
            self.flush(cx)?;
        }
        if !self.writer.is_empty()
            && now.duration_since(self.last_taken) >= self.config.max_write_stall
        {
            return Err(LinkEnd::Stalled);
        }
        let silence = now.duration_since(self.last_read);
        if silence >= self.rhythm.limit(&self.config) {
            return Err(LinkEnd::Silent(silence));
        }
        while self.alarm.poll(cx, now + beat) {}
        Ok(())
    }

    /// Sends everything that is queued.
    pub(super) async fn send(&mut self, chunks: Vec<Bytes>) -> Result<(), LinkEnd> {
        self.push(chunks);
        poll_fn(|cx| {
            if let Err(end) = self.flush(cx) {
                return Poll::Ready(Err(end));
            }
            if self.writer.is_empty() {
                return Poll::Ready(Ok(()));
            }
            while self.alarm.poll(cx, Instant::now() + self.config.beat) {}
            Poll::Pending
        })
        .await
    }

    /// The next frame; nothing is sent meanwhile.
    pub(super) async fn receive(&mut self) -> Result<Frame, LinkEnd> {
        poll_fn(|cx| {
            let polled = self.poll_frame(cx);
            if polled.is_pending() {
                while self.alarm.poll(cx, Instant::now() + self.config.beat) {}
            }
            polled
        })
        .await
    }

    /// Counts the end of a link that stood.
    pub(super) fn count(counters: &PeerCounters, end: &LinkEnd) {
        counters.lost.add(1);
        match end {
            LinkEnd::Silent(_) => counters.silent.add(1),
            LinkEnd::Stalled => counters.stalled.add(1),
            LinkEnd::BadFrame(_) => counters.bad_frames.add(1),
            LinkEnd::Closed | LinkEnd::Lost(_) | LinkEnd::Stream(_) | LinkEnd::Unwanted => {}
        }
    }
}
