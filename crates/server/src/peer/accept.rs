//! The listener for other nodes: who may come in, and what they are then served.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::frame::{self, BadFrame, Denied, Hello, Kind, VERSION, Welcome};
use super::shared::{Accepted, Shared, lock};
use super::socket::{LinkEnd, Wire};
use super::stream::carry;
use super::{Caller, DeniedReason, PeerStream, Purpose};
use crate::listener::{Pause, set_up};

/// Accepts until it is aborted; its connections end with it.
pub(super) async fn run(shared: Arc<Shared>, listener: TcpListener) {
    let strangers = Arc::new(Semaphore::new(shared.config.max_strangers));
    let mut connections = JoinSet::new();
    let mut pause = Pause::default();
    loop {
        let accepted = tokio::select! {
            Some(_) = connections.join_next() => {
                shared.counters.accepted_open.set(connections.len());
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        let (socket, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(event = "peer_accept_failed", %error);
                pause.wait().await;
                continue;
            }
        };
        pause = Pause::default();
        shared.counters.accepted.add(1);
        let place = Arc::clone(&strangers).try_acquire_owned();
        let Ok(place) = place else {
            shared.counters.refused.add(1);
            continue;
        };
        if connections.len() >= shared.config.max_accepted
            || set_up(&socket, &shared.config.sockets).is_err()
        {
            shared.counters.refused.add(1);
            continue;
        }
        connections.spawn(serve(Arc::clone(&shared), socket, from, place));
        shared.counters.accepted_open.set(connections.len());
    }
}

/// One accepted connection.
async fn serve(
    shared: Arc<Shared>,
    socket: TcpStream,
    from: SocketAddr,
    place: tokio::sync::OwnedSemaphorePermit,
) {
    let config = shared.config;
    let mut wire = Wire::new(socket, Arc::default(), &shared.counters, config);
    let hello = match timeout(config.hello_timeout, greet(&mut wire)).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(end)) => {
            if matches!(end, LinkEnd::BadFrame(_)) {
                shared.counters.bad_frames.add(1);
                if let Some(suppressed) = shared.denials.should_log(Instant::now()) {
                    warn!(event = "peer_stranger", %from, why = %end, suppressed);
                }
            }
            return;
        }
        Err(_) => return,
    };
    let cut = shared.cuts.of(hello.node);
    if cut.is_in() {
        // As if the hello had been dropped on the way.
        tokio::time::sleep(config.hello_timeout).await;
        return;
    }
    let admitted = admit(&shared, &hello, from);
    wire.introduce(shared.max_frame(hello.purpose), cut);
    let answer = match &admitted {
        Ok(_) => welcome(&shared).encode(),
        Err(denied) => denied.encode(),
    };
    if timeout(config.hello_timeout, wire.send(answer))
        .await
        .map_or(true, |sent| sent.is_err())
    {
        return;
    }
    drop(place);
    let (caller, engine) = match admitted {
        Ok(admitted) => admitted,
        Err(denied) => {
            shared.counters.denied.add(1);
            if denied.reason.is_lasting()
                && let Some(suppressed) = shared.denials.should_log(Instant::now())
            {
                let why = denied.message;
                warn!(event = "peer_turned_away", peer = %hello.node, %from, why, suppressed);
            }
            return;
        }
    };
    shared.kick(caller.node);
    let end = match engine {
        None => answer_requests(&shared, wire, &caller).await,
        Some((engine, replaced)) => {
            let end = tokio::select! {
                end = carry(&config, wire, engine) => end,
                () = replaced.notified() => LinkEnd::Unwanted,
            };
            let key = (caller.node, hello.purpose);
            let mut accepted = lock(&shared.accepted);
            if accepted
                .get(&key)
                .is_some_and(|now| Arc::ptr_eq(&now.replaced, &replaced))
            {
                accepted.remove(&key);
            }
            end
        }
    };
    Wire::count(&shared.counters, &end);
    debug!(event = "peer_left", peer = %caller.node, purpose = ?hello.purpose, why = %end);
}

async fn greet(wire: &mut Wire) -> Result<Hello, LinkEnd> {
    Ok(Hello::decode(wire.receive().await?)?)
}

fn welcome(shared: &Shared) -> Welcome {
    let me = shared.identity();
    Welcome {
        version: VERSION,
        node: shared.me,
        has_metadata: me.has_metadata,
        broker_epoch: me.broker_epoch,
        cluster_id: me.cluster_id,
    }
}

type Engine = (Box<dyn PeerStream>, Arc<Notify>);

/// Whether who says this hello may come in; with a stream's engine if it opens one.
fn admit(
    shared: &Shared,
    hello: &Hello,
    from: SocketAddr,
) -> Result<(Caller, Option<Engine>), Denied> {
    let deny = |reason, message: String| Err(Denied { reason, message });
    let me = shared.me;
    if hello.versions.0 > VERSION || hello.versions.1 < VERSION {
        let (min, max) = hello.versions;
        let message =
            format!("node {me} speaks version {VERSION} of the peer protocol, not {min} to {max}");
        return deny(DeniedReason::Version, message);
    }
    if let Some(expected) = hello.expects
        && expected != me
    {
        let message = format!("this address is node {me}'s, not node {expected}'s");
        return deny(DeniedReason::WrongNode, message);
    }
    if hello.node == me {
        let message =
            format!("another node says that it is node {me}, too; each needs an id of its own");
        return deny(DeniedReason::SameNode, message);
    }
    let ours = shared.identity().cluster_id;
    if let (Some(ours), Some(theirs)) = (&ours, &hello.cluster_id)
        && ours != theirs
    {
        let message = format!("node {me} belongs to cluster {ours}, not to {theirs}");
        return deny(DeniedReason::WrongCluster, message);
    }
    let caller = Caller {
        node: hello.node,
        broker_epoch: hello.broker_epoch,
        address: from,
    };
    if hello.purpose == Purpose::Control {
        return Ok((caller, None));
    }
    if ours.is_none() || hello.cluster_id.is_none() {
        return deny(
            DeniedReason::NotReady,
            format!("node {me} has no cluster yet"),
        );
    }
    let replaced = replace(shared, hello)?;
    match shared.service.accept_stream(&caller, hello.purpose) {
        Ok(engine) => Ok((caller, Some((engine, replaced)))),
        Err(message) => deny(DeniedReason::NotReady, message),
    }
}

/// Ends the older stream of the same node; an older uptime of it does not replace a newer one.
fn replace(shared: &Shared, hello: &Hello) -> Result<Arc<Notify>, Denied> {
    let mut accepted = lock(&shared.accepted);
    let key = (hello.node, hello.purpose);
    if let Some(old) = accepted.get(&key) {
        if old.broker_epoch > hello.broker_epoch {
            return Err(Denied {
                reason: DeniedReason::Stale,
                message: format!("node {} has registered again since", hello.node),
            });
        }
        old.replaced.notify_one();
    }
    let replaced = Arc::new(Notify::new());
    let entry = Accepted {
        broker_epoch: hello.broker_epoch,
        replaced: Arc::clone(&replaced),
    };
    accepted.insert(key, entry);
    Ok(replaced)
}

/// Requests in, replies out, until the connection ends.
async fn answer_requests(shared: &Shared, mut wire: Wire, caller: &Caller) -> LinkEnd {
    let config = &shared.config;
    let mut answers: JoinSet<(u64, Bytes)> = JoinSet::new();
    poll_fn(|cx| {
        let mut step = || -> Result<(), LinkEnd> {
            loop {
                let mut progress = false;
                while let Poll::Ready(Some(answered)) = answers.poll_join_next(cx) {
                    // A panic while answering is a bug and was reported; the caller times out.
                    if let Ok((id, reply)) = answered {
                        shared.counters.requests.add(1);
                        wire.push(frame::encode(Kind::Reply, &id.to_be_bytes(), reply, []));
                    }
                }
                progress |= wire.flush(cx)?;
                if wire.queued_bytes() > config.max_queued_reply_bytes {
                    return Err(LinkEnd::Stalled);
                }
                if let Poll::Ready(frame) = wire.poll_frame(cx) {
                    let frame = frame?;
                    if frame.kind != Kind::Request {
                        return Err(BadFrame::Unexpected.into());
                    }
                    let (id, request) = frame.numbered()?;
                    if answers.len() < config.max_inflight_requests {
                        let (service, caller) = (Arc::clone(&shared.service), *caller);
                        answers.spawn(async move { (id, service.answer(&caller, request).await) });
                    } else {
                        shared.counters.busy.add(1);
                        let why = Bytes::from_static(b"too many requests are under way");
                        wire.push(frame::encode(Kind::Failed, &id.to_be_bytes(), why, []));
                    }
                    progress = true;
                }
                if !progress {
                    break;
                }
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
