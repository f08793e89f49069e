//! One client connection: reads frames, starts their requests in order, writes replies in order.
//!
//! One task does all of it, so that between a byte's arrival and its reply there is no hop between
//! threads or queues. The limits are kept here: when a connection has enough under way, or all of
//! them together hold enough memory, it stops reading and the peer's TCP window does the rest.
//! What a request means is the service's business.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use plimsoll_broker::{Answer, Connection};
use plimsoll_wire::frame::FrameError;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Duration, Instant};
use tracing::debug;

use crate::alarm::Alarm;
use crate::budget::{Budget, Share, Starving};
use crate::config::{Limits, MIN_FRAME_BYTES_PER_SECOND};
use crate::counters::{Counters, End};
use crate::pipeline::Pipeline;
use crate::read::Reader;
use crate::repeated::Repeated;
use crate::service::Service;
use crate::write::Writer;

/// A request this small is read even while request memory is used up.
const SMALL_REQUEST_BYTES: usize = 4 << 10;
/// How long an unfinished frame of up to two MiB is kept while request memory is used up.
const MAX_PATIENCE: Duration = Duration::from_secs(10);

/// What the connections of one listener share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) limits: Limits,
    pub(crate) counters: Arc<Counters>,
    pub(crate) budget: Budget,
    /// Log lines about peers that do not speak Kafka.
    pub(crate) strangers: Repeated,
    draining: AtomicBool,
    drain: Notify,
}

impl Shared {
    pub(crate) fn new(limits: Limits, counters: Arc<Counters>) -> Self {
        Self {
            limits,
            counters,
            budget: Budget::new(limits.max_inflight_request_bytes),
            strangers: Repeated::default(),
            draining: AtomicBool::new(false),
            drain: Notify::new(),
        }
    }

    /// Tells every connection to read no more, finish what is under way, and end.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
        self.drain.notify_waiters();
    }
}

/// Serves one connection until it ends.
pub(crate) async fn serve<S: Service>(
    service: &S,
    socket: TcpStream,
    connection: &Arc<Connection>,
    shared: &Shared,
) -> End {
    let mut drain = pin!(shared.drain.notified());
    // Registers the task to be woken by `drain`, once: a task's waker stays the same for its
    // life, and the flag tells the rest.
    let _ = poll_fn(|cx| Poll::Ready(drain.as_mut().poll(cx))).await;
    let mut served = Served::new(socket, shared);
    poll_fn(|cx| served.poll(cx, &mut |frame| service.answer(connection, frame))).await
}

/// The state of a connection that is being served.
struct Served<'a, F> {
    shared: &'a Shared,
    socket: TcpStream,
    reader: Reader,
    pipeline: Pipeline<F>,
    writer: Writer,
    /// What this connection holds of the budget: its unfinished frame and its requests under way.
    share: Share<'a>,
    /// Of that, the part that has arrived and is not a request yet.
    unframed_bytes: usize,
    starving: Option<Starving<'a>>,
    alarm: Alarm,
    since: Since,
    ending: Option<End>,
}

/// When things began that may not take for ever.
struct Since {
    /// The last time a request was under way.
    request: Instant,
    /// The unfinished frame's first byte; none while no frame is unfinished.
    frame: Option<Instant>,
    /// The last byte read.
    read: Instant,
    /// The moment from which memory for the unfinished frame was lacking.
    starving: Instant,
    /// The last time the peer took a reply byte, or the first that had to wait.
    write: Instant,
    /// The decision to end.
    ending: Instant,
}

impl<'a, F: Future<Output = Answer>> Served<'a, F> {
    fn new(socket: TcpStream, shared: &'a Shared) -> Self {
        let now = Instant::now();
        Self {
            shared,
            socket,
            reader: Reader::new(shared.limits.max_frame_bytes),
            pipeline: Pipeline::new(),
            writer: Writer::default(),
            share: Share::of(&shared.budget),
            unframed_bytes: 0,
            starving: None,
            alarm: Alarm::new(now + shared.limits.max_idle),
            since: Since {
                request: now,
                frame: None,
                read: now,
                starving: now,
                write: now,
                ending: now,
            },
            ending: None,
        }
    }

    /// Goes as far as it can without waiting.
    fn poll(&mut self, cx: &mut Context<'_>, start: &mut impl FnMut(Bytes) -> F) -> Poll<End> {
        let now = Instant::now();
        if !self.pipeline.is_empty() {
            self.since.request = now;
            self.pipeline.poll_running(cx);
        }
        loop {
            self.queue_finished(now);
            if let Some(end) = self.write(cx, now) {
                return Poll::Ready(end);
            }
            if self.ending.is_none() && self.shared.draining.load(Ordering::SeqCst) {
                self.end(End::Shutdown, now);
            }
            if let Some(end) = self.ending {
                if self.pipeline.is_empty() && self.writer.is_empty() {
                    return Poll::Ready(end);
                }
                break;
            }
            let started = self.start_frames(cx, now, start);
            if started == 0 && self.read(cx, now).is_pending() {
                break;
            }
        }
        self.watch_the_clock(cx, now)
    }

    /// Moves the replies whose turn it is to the writer.
    fn queue_finished(&mut self, now: Instant) {
        if self.writer.is_empty() {
            self.since.write = now;
        }
        while let Some(finished) = self.pipeline.pop_finished() {
            self.share.give(finished.frame_bytes);
            match finished.answer {
                // A reply behind the one that ends the connection is not sent any more.
                Answer::Reply(reply) if !self.ends_without_replies() => {
                    self.writer.push(reply.chunks);
                }
                Answer::Reply(_) | Answer::Nothing => {}
                Answer::Close(reason) => {
                    debug!(event = "connection_refused_request", ?reason);
                    self.end(End::Broker, now);
                }
            }
        }
    }

    fn ends_without_replies(&self) -> bool {
        self.ending == Some(End::Broker)
    }

    /// Writes what the socket takes; tells when the connection is over.
    fn write(&mut self, cx: &mut Context<'_>, now: Instant) -> Option<End> {
        let mut written = 0;
        while !self.writer.is_empty() {
            match self.writer.poll_write(cx, &mut self.socket) {
                Poll::Ready(Ok(bytes)) => written += bytes,
                Poll::Ready(Err(_)) => return Some(End::ConnectionLost),
                Poll::Pending => break,
            }
        }
        if written > 0 {
            self.since.write = now;
            self.shared.counters.bytes_out.add(written);
        }
        None
    }

    /// Starts requests for the whole frames that are here, as far as the limits allow, and tells
    /// how many.
    fn start_frames(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        start: &mut impl FnMut(Bytes) -> F,
    ) -> usize {
        let mut started = 0;
        // What stands behind a frame that ends the connection is not carried out: its reply would
        // not be sent, and the client would send it again.
        while self.ending.is_none() && self.may_start() {
            match self.reader.next_frame() {
                Ok(Some(frame)) => {
                    let bytes = self.unframed_bytes - self.reader.buffered_bytes();
                    self.unframed_bytes -= bytes;
                    self.pipeline.start(cx, bytes, start(frame));
                    self.since.frame = None;
                    started += 1;
                    // At once, so that its reply counts against the limits for the next one.
                    self.queue_finished(now);
                }
                Ok(None) => break,
                Err(error) => {
                    debug!(event = "bad_frame", %error);
                    self.end(end_for(&error), now);
                    break;
                }
            }
        }
        if started > 0 {
            self.since.request = now;
            self.shared.counters.requests.add(started);
        }
        started
    }

    fn may_start(&self) -> bool {
        let limits = &self.shared.limits;
        self.pipeline.len() < limits.max_inflight_requests
            && self.writer.queued_bytes() < limits.max_queued_reply_bytes
    }

    /// Reads once, if the limits allow.
    fn read(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        if self.ending.is_some() {
            return Poll::Ready(());
        }
        if !self.may_start() {
            // Our choice, not the sender's slowness.
            self.since.frame = None;
            return Poll::Pending;
        }
        if self.reader.buffered_bytes() > 0 {
            self.since.frame.get_or_insert(now);
        }
        if !self.has_memory(cx, now) {
            return Poll::Pending;
        }
        match std::task::ready!(self.reader.poll_read(cx, &self.socket)) {
            Ok(0) => self.end(End::ClientClosed, now),
            Ok(bytes) => {
                self.since.read = now;
                self.shared.counters.bytes_in.add(bytes);
                self.share.take(bytes);
                self.unframed_bytes += bytes;
            }
            Err(_) => {
                self.end(End::ConnectionLost, now);
                self.pipeline = Pipeline::new();
                self.writer = Writer::default();
            }
        }
        Poll::Ready(())
    }

    /// Whether request memory allows reading on; otherwise the task is woken when it does.
    ///
    /// A connection with nothing under way may always begin a small request, so that heartbeats
    /// and fetches go on while producers wait.
    fn has_memory(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let budget = &self.shared.budget;
        let is_modest =
            self.pipeline.is_empty() && self.reader.buffered_bytes() < SMALL_REQUEST_BYTES;
        if is_modest || !budget.is_exhausted() {
            self.starving = None;
            return true;
        }
        let starving = self.starving.get_or_insert_with(|| {
            self.shared.counters.starved.add(1);
            self.since.starving = now;
            budget.starve()
        });
        if starving.poll_room(cx) {
            self.starving = None;
            return true;
        }
        false
    }

    /// Reads no further; what is under way may still finish.
    fn end(&mut self, end: End, now: Instant) {
        if self.ending.is_none() {
            self.ending = Some(end);
            self.since.ending = now;
            self.since.frame = None;
            self.starving = None;
        }
    }

    /// Ends the connection if its time is up, otherwise sees to being woken when it is.
    fn watch_the_clock(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<End> {
        let (deadline, end) = self.deadline(now);
        if self.alarm.poll(cx, deadline) {
            Poll::Ready(end)
        } else {
            Poll::Pending
        }
    }

    /// The next moment at which something has taken too long, and what that is.
    fn deadline(&self, now: Instant) -> (Instant, End) {
        let limits = &self.shared.limits;
        let slow_reader = (self.since.write + limits.max_write_stall, End::SlowReader);
        if let Some(end) = self.ending {
            let patience = match end {
                // The node's own deadline ends it.
                End::Shutdown => limits.max_idle,
                _ => limits.half_closed_grace,
            };
            return (self.since.ending + patience, end);
        }
        if !self.writer.is_empty() {
            return slow_reader;
        }
        if let Some(began) = self.since.frame {
            let arrived = self.reader.buffered_bytes();
            if self.starving.is_some() {
                return (self.since.starving + patience(arrived), End::RequestMemory);
            }
            let arrived = u64::try_from(arrived).unwrap_or(u64::MAX);
            let earned = Duration::from_secs(arrived / u64::from(MIN_FRAME_BYTES_PER_SECOND));
            let slow = began + limits.max_frame_time + earned;
            let stalled = self.since.read + limits.max_frame_time;
            return (slow.min(stalled), End::SlowSender);
        }
        let idle_since = if self.pipeline.is_empty() {
            self.since.request
        } else {
            now
        };
        (idle_since + limits.max_idle, End::Idle)
    }
}

/// How long an unfinished frame is kept while request memory is used up: the more it holds, the
/// shorter, so that the greatest goes first and its memory lets the others finish.
fn patience(held: usize) -> Duration {
    let mebibytes = u32::try_from(held >> 20).unwrap_or(u32::MAX);
    MAX_PATIENCE / mebibytes.max(1)
}

fn end_for(error: &FrameError) -> End {
    match error {
        FrameError::Tls => End::Tls,
        FrameError::Http => End::Http,
        _ => End::FrameSize,
    }
}
