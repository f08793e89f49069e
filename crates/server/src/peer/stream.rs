//! A stream: frames of one purpose both ways, between one leader's node and one follower's.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use plimsoll_types::NodeId;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{debug, info};

use super::config::PeerConfig;
use super::control::moved;
use super::dial::{Backoff, dial, jittered};
use super::frame::{self, BadFrame, Kind};
use super::shared::Shared;
use super::socket::{LinkEnd, Wire};
use super::{Outgoing, PeerStream, Purpose};
use crate::alarm::Alarm;
use crate::clock::TokioClock;

/// Rounds of sending and taking before the task lets others run.
const MAX_TURN: usize = 64;
/// Bytes taken before the next look at what to send: less than a follower's window, so that acks
/// never wait until the leader has to stop.
const MAX_BURST_BYTES: usize = 256 << 10;
/// What a frame counts for at least, so that small ones end a burst too.
const LEAST_FRAME_BYTES: usize = 4 << 10;
/// Timers are no finer.
const LEAST_WAIT: Duration = Duration::from_millis(1);

/// A stream's engine, told of its end however that comes.
struct Engine(Box<dyn PeerStream>);

impl Drop for Engine {
    fn drop(&mut self) {
        self.0.closed(TokioClock::monotonic());
    }
}

/// Carries a stream's frames until the connection or the stream ends.
pub(super) async fn carry(
    config: &PeerConfig,
    mut wire: Wire,
    engine: Box<dyn PeerStream>,
) -> LinkEnd {
    let mut engine = Engine(engine);
    let mut outgoing: Vec<Outgoing> = Vec::new();
    let mut alarm = Alarm::new(Instant::now() + config.beat);
    poll_fn(|cx| {
        let mut step = || -> Result<(), LinkEnd> {
            for turn in 0.. {
                let mut progress = false;
                if wire.queued_bytes() < config.max_queued_bytes {
                    let now = TokioClock::monotonic();
                    let _ = engine.0.poll_outgoing(cx, now, &mut outgoing);
                    for Outgoing { head, tail } in outgoing.drain(..) {
                        wire.push(frame::encode(Kind::Stream, &[], head, tail));
                        progress = true;
                    }
                }
                progress |= wire.flush(cx)?;
                // Several before the next look at what to send: they share one answer.
                let mut taken = 0;
                while taken < MAX_BURST_BYTES
                    && let Poll::Ready(frame) = wire.poll_frame(cx)
                {
                    let frame = frame?;
                    if frame.kind != Kind::Stream {
                        return Err(BadFrame::Unexpected.into());
                    }
                    taken += LEAST_FRAME_BYTES + frame.head.len() + frame.tail.len();
                    let now = TokioClock::monotonic();
                    engine
                        .0
                        .receive(frame.head, frame.tail, now)
                        .map_err(LinkEnd::Stream)?;
                    progress = true;
                }
                if !progress {
                    break;
                }
                if turn >= MAX_TURN {
                    cx.waker().wake_by_ref();
                    break;
                }
            }
            if let Some(at) = engine.0.deadline() {
                let wait = at.since(TokioClock::monotonic()).max(LEAST_WAIT);
                while alarm.poll(cx, Instant::now() + wait) {}
            }
            wire.tick(cx)
        };
        match step() {
            Ok(()) => Poll::Pending,
            Err(end) => Poll::Ready(end),
        }
    })
    .await
}

/// The life of a stream that this node opens, for as long as it is wanted.
pub(super) async fn run(
    shared: Arc<Shared>,
    node: NodeId,
    purpose: Purpose,
    mut address: watch::Receiver<String>,
    kick: Arc<Notify>,
) {
    let mut backoff = Backoff::new(shared.config.min_retry, shared.config.max_retry);
    loop {
        let to = address.borrow_and_update().clone();
        let kicked = kick.notified();
        let wait = match dial(&shared, &to, Some(node), purpose).await {
            Ok((wire, _)) => {
                let Some(engine) = shared.service.open_stream(node, purpose) else {
                    // It is no longer wanted, and its task about to be ended.
                    tokio::time::sleep(shared.config.max_retry).await;
                    continue;
                };
                info!(event = "stream_opened", peer = %node, ?purpose);
                let began = Instant::now();
                let end = tokio::select! {
                    end = carry(&shared.config, wire, engine) => end,
                    () = moved(&mut address, &to) => LinkEnd::Unwanted,
                };
                Wire::count(&shared.counters, &end);
                info!(event = "stream_lost", peer = %node, ?purpose, why = %end);
                if began.elapsed() >= shared.config.max_silence {
                    backoff.reset();
                }
                backoff.wait()
            }
            Err(error) => {
                debug!(event = "stream_unreachable", peer = %node, ?purpose, why = %error);
                if error.is_lasting() {
                    jittered(shared.config.denied_retry)
                } else {
                    backoff.wait()
                }
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = kicked => {}
            () = moved(&mut address, &to) => {}
        }
    }
}
