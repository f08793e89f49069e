//! The control connection to one peer: requests and their replies, many under way.
//!
//! One task a peer, for ever: it dials, serves the calls that wait, and dials again. A connection
//! that ends is followed at once by another attempt; if that is refused, the peer's process is
//! gone, and the service is told.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_types::NodeId;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::dial::{Backoff, DialError, dial, jittered};
use super::frame::{self, BadFrame, Kind};
use super::shared::Shared;
use super::socket::{LinkEnd, Wire};
use super::{PeerError, Purpose};
use crate::clock::TokioClock;

/// A connection that lasted this long was a good one: the next attempt follows at once.
const LASTING: Duration = Duration::from_secs(1);

/// A request that waits for its turn, and who waits for its reply.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) request: Bytes,
    pub(super) reply: oneshot::Sender<Result<Bytes, PeerError>>,
}

pub(super) type Calls = mpsc::Sender<Call>;

/// The link's life.
pub(super) async fn run(
    shared: Arc<Shared>,
    node: NodeId,
    mut address: watch::Receiver<String>,
    mut calls: mpsc::Receiver<Call>,
    kick: Arc<Notify>,
) {
    let mut backoff = Backoff::new(shared.config.min_retry, shared.config.max_retry);
    let mut has_stood = false;
    let mut is_gone = false;
    loop {
        let to = address.borrow_and_update().clone();
        let kicked = kick.notified();
        let asked = TokioClock::monotonic();
        let wait = match dial(&shared, &to, Some(node), Purpose::Control).await {
            Ok((wire, _)) => {
                info!(event = "peer_connected", peer = %node, address = to);
                (has_stood, is_gone) = (true, false);
                shared.service.found(node);
                let began = Instant::now();
                let end = tokio::select! {
                    end = converse(&shared, wire, &mut calls) => end,
                    () = moved(&mut address, &to) => LinkEnd::Unwanted,
                };
                match end {
                    LinkEnd::Unwanted => {}
                    LinkEnd::Silent(_) => shared.service.silent(node),
                    _ => shared.service.lost(node),
                }
                Wire::count(&shared.counters, &end);
                info!(event = "peer_lost", peer = %node, why = %end);
                if began.elapsed() >= LASTING {
                    backoff.reset();
                    continue;
                }
                backoff.wait()
            }
            Err(error) => {
                if has_stood && error.is_refused() {
                    if !std::mem::replace(&mut is_gone, true) {
                        warn!(event = "peer_gone", peer = %node, address = to, why = %error);
                    }
                    shared.counters.suspicions.add(1);
                    shared.service.suspect(node, asked);
                }
                report(&shared, node, &to, &error);
                let wait = if error.is_lasting() {
                    jittered(shared.config.denied_retry)
                } else {
                    backoff.wait()
                };
                let why = error.to_string();
                tokio::select! {
                    never = refuse(&mut calls, &why) => match never {},
                    () = tokio::time::sleep(wait) => {}
                    () = kicked => {}
                    () = moved(&mut address, &to) => {}
                }
                continue;
            }
        };
        tokio::time::sleep(wait).await;
    }
}

fn report(shared: &Shared, node: NodeId, address: &str, error: &DialError) {
    if error.is_lasting() {
        if let Some(suppressed) = shared.denials.should_log(Instant::now()) {
            warn!(event = "peer_denied", peer = %node, address, why = %error, suppressed);
        }
    } else {
        debug!(event = "peer_unreachable", peer = %node, address, why = %error);
    }
}

/// Returns when the peer lives somewhere else.
pub(super) async fn moved(address: &mut watch::Receiver<String>, from: &str) {
    loop {
        if address.changed().await.is_err() {
            // The peer was forgotten; its tasks are about to be ended.
            std::future::pending::<()>().await;
        }
        if *address.borrow() != from {
            return;
        }
    }
}

/// Fails every call while there is no connection.
async fn refuse(calls: &mut mpsc::Receiver<Call>, why: &str) -> std::convert::Infallible {
    while let Some(call) = calls.recv().await {
        // Whoever stopped waiting needs no answer.
        let _ = call.reply.send(Err(PeerError::Unreachable {
            why: why.to_owned(),
        }));
    }
    std::future::pending().await
}

/// Requests out, replies in, until the connection ends.
async fn converse(shared: &Shared, mut wire: Wire, calls: &mut mpsc::Receiver<Call>) -> LinkEnd {
    let config = &shared.config;
    let mut pending: HashMap<u64, oneshot::Sender<Result<Bytes, PeerError>>> = HashMap::new();
    let mut next_id: u64 = 1;
    let mut swept = Instant::now();
    poll_fn(|cx| {
        let mut step = || -> Result<(), LinkEnd> {
            loop {
                let mut progress = false;
                while pending.len() < config.max_pending_calls
                    && wire.queued_bytes() < config.max_queued_bytes
                    && let Poll::Ready(call) = calls.poll_recv(cx)
                {
                    let call = call.ok_or(LinkEnd::Unwanted)?;
                    if call.reply.is_closed() {
                        continue;
                    }
                    let id = next_id.to_be_bytes();
                    wire.push(frame::encode(Kind::Request, &id, call.request, []));
                    pending.insert(next_id, call.reply);
                    next_id += 1;
                }
                progress |= wire.flush(cx)?;
                if let Poll::Ready(frame) = wire.poll_frame(cx) {
                    settle(frame?, &mut pending)?;
                    progress = true;
                }
                if !progress {
                    break;
                }
            }
            // Who gave up must not keep a place.
            if swept.elapsed() >= config.beat {
                swept = Instant::now();
                pending.retain(|_, reply| !reply.is_closed());
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

fn settle(
    frame: frame::Frame,
    pending: &mut HashMap<u64, oneshot::Sender<Result<Bytes, PeerError>>>,
) -> Result<(), BadFrame> {
    let kind = frame.kind;
    let (id, body) = frame.numbered()?;
    let outcome = match kind {
        Kind::Reply => Ok(body),
        Kind::Failed => Err(PeerError::Failed {
            why: String::from_utf8_lossy(&body).into_owned(),
        }),
        Kind::Hello | Kind::Welcome | Kind::Denied | Kind::Request | Kind::Stream | Kind::Beat => {
            return Err(BadFrame::Unexpected);
        }
    };
    if let Some(reply) = pending.remove(&id) {
        let _ = reply.send(outcome);
    }
    Ok(())
}

/// One request on a connection of its own, for an address whose node is not known yet.
pub(super) async fn call_once(
    shared: &Shared,
    address: &str,
    expects: Option<NodeId>,
    request: Bytes,
) -> Result<Bytes, PeerError> {
    let (wire, _) = dial(shared, address, expects, Purpose::Control)
        .await
        .map_err(|error| PeerError::Unreachable {
            why: error.to_string(),
        })?;
    ask(shared, wire, request).await
}

/// One request on a connection that is for nothing else.
pub(super) async fn ask(shared: &Shared, wire: Wire, request: Bytes) -> Result<Bytes, PeerError> {
    let (sender, mut calls) = mpsc::channel(1);
    let (reply, answer) = oneshot::channel();
    // There is room for one.
    let _ = sender.try_send(Call { request, reply });
    tokio::select! {
        biased;
        answer = answer => answer.unwrap_or(Err(PeerError::Lost)),
        end = converse(shared, wire, &mut calls) => Err(PeerError::Unreachable {
            why: end.to_string(),
        }),
    }
}
