//! Streams between replicas: the replicator's own engines, with frames carried by the network.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_broker::Broker;
use plimsoll_replicator::{FollowLink, LeadLink, Purpose, StreamFrame};
use plimsoll_types::{Monotonic, NodeId};

use crate::kernel::{Kernel, Sleep};
use crate::net::{Net, Process, Slot, Way, await_reply, fill, slot};

/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(100);
/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_millis(500);
/// How long an end bears silence.
const SILENCE: Duration = Duration::from_secs(1);
/// How often an end looks for it.
const LOOK: Duration = Duration::from_millis(100);

/// What came for one end, in order.
#[derive(Default)]
struct Inbox {
    frames: VecDeque<StreamFrame>,
    closed: bool,
    waker: Option<Waker>,
}

type Shared = Arc<Mutex<Inbox>>;

fn ring(inbox: &Shared, change: impl FnOnce(&mut Inbox)) {
    let waker = {
        let mut inbox = inbox.lock();
        change(&mut inbox);
        inbox.waker.take()
    };
    if let Some(waker) = waker {
        waker.wake();
    }
}

/// One end's engine.
enum Engine {
    Follow(FollowLink),
    Lead(LeadLink),
}

impl Engine {
    fn receive(&mut self, frame: StreamFrame, now: Monotonic) -> bool {
        match self {
            Self::Follow(link) => link.receive(frame, now).is_ok(),
            Self::Lead(link) => link.receive(frame, now).is_ok(),
        }
    }

    fn send(&mut self, cx: &mut Context<'_>, now: Monotonic, out: &mut Vec<StreamFrame>) {
        let _ = match self {
            Self::Follow(link) => link.poll_outgoing(cx, now, out),
            Self::Lead(link) => link.poll_outgoing(cx, now, out),
        };
    }

    fn deadline(&self) -> Option<Monotonic> {
        match self {
            Self::Follow(_) => None,
            Self::Lead(link) => Some(link.deadline()),
        }
    }

    fn closed(&mut self, now: Monotonic) {
        match self {
            Self::Follow(link) => link.closed(now),
            Self::Lead(link) => link.closed(now),
        }
    }
}

/// One end of a connection that stands.
struct End {
    engine: Engine,
    net: Arc<Net>,
    way: Way,
    inbox: Shared,
    other: Shared,
    heard: Duration,
    meddle: bool,
}

impl Drop for End {
    fn drop(&mut self) {
        // Also when its process dies: the machine closes what it had open.
        let now = Monotonic::from_start(self.net.kernel.now());
        self.engine.closed(now);
        let other = Arc::clone(&self.other);
        self.net
            .send(self.way, move || ring(&other, |inbox| inbox.closed = true));
    }
}

impl End {
    /// Takes and sends what there is; false once the connection is of no use.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let kernel = Arc::clone(&self.net.kernel);
        let now = Monotonic::from_start(kernel.now());
        let mut out = Vec::new();
        loop {
            self.engine.send(cx, now, &mut out);
            let quiet = out.is_empty();
            for frame in out.drain(..) {
                let frame = if self.meddle {
                    meddled(&kernel, frame)
                } else {
                    frame
                };
                let other = Arc::clone(&self.other);
                let put = move |inbox: &mut Inbox| inbox.frames.push_back(frame);
                self.net.send(self.way, move || ring(&other, put));
            }
            let (frame, closed) = {
                let mut inbox = self.inbox.lock();
                inbox.waker = Some(cx.waker().clone());
                (inbox.frames.pop_front(), inbox.closed)
            };
            match frame {
                Some(frame) => {
                    self.heard = kernel.now();
                    if !self.engine.receive(frame, now) {
                        return false;
                    }
                }
                None if closed => return false,
                None if quiet => return kernel.now() - self.heard < SILENCE,
                None => {}
            }
        }
    }
}

/// Flips a bit of what a frame carries, now and then.
fn meddled(kernel: &Kernel, frame: StreamFrame) -> StreamFrame {
    // As bytes, as a broken wire would; what cannot be decoded then ends the connection, as it
    // does in a node, and what can must not be believed.
    if !kernel.one_in(200) {
        return frame;
    }
    let (head, tail) = frame.clone().encode();
    let mut tail: Vec<u8> = tail.iter().flat_map(|part| part.iter().copied()).collect();
    if tail.is_empty() {
        return frame;
    }
    let at = kernel.draw(|rng| rng.usize(..tail.len()));
    tail[at] ^= 1 << kernel.draw(|rng| rng.u8(..8));
    StreamFrame::decode(head, tail.into()).unwrap_or(frame)
}

async fn carry(mut end: End) {
    let kernel = Arc::clone(&end.net.kernel);
    let mut sleep: std::pin::Pin<Box<Sleep>> = Box::pin(kernel.sleep(LOOK));
    poll_fn(move |cx| {
        loop {
            if !end.turn(cx) {
                return Poll::Ready(());
            }
            if sleep.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = kernel.now();
            let due = end.engine.deadline().map(|at| at.since_start());
            let next = due.map_or(now + LOOK, |due| due.clamp(now + LOOK / 100, now + LOOK));
            sleep = Box::pin(kernel.sleep_until(next));
        }
    })
    .await;
}

use std::future::Future;

/// Keeps the links open that a node's replicas want; the life of one of its tasks.
pub(crate) async fn run(net: Arc<Net>, me: u32, process: Process, meddle: bool) {
    let kernel = Arc::clone(&net.kernel);
    let open: Arc<Mutex<Vec<(NodeId, Purpose)>>> = Arc::default();
    let Some(replicas) = process.broker.replicas().cloned() else {
        return;
    };
    loop {
        for place in replicas.wanted_links() {
            if open.lock().contains(&place) {
                continue;
            }
            open.lock().push(place);
            let (net, process, open) = (Arc::clone(&net), process.clone(), Arc::clone(&open));
            kernel.spawn(process.owner, async move {
                hold(&net, me, &process, place, meddle).await;
                open.lock().retain(|known| *known != place);
            });
        }
        let mut changed = pin!(replicas.wanted_changed());
        let mut sleep = pin!(kernel.sleep(RETRY * 10));
        poll_fn(|cx| {
            if changed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            sleep.as_mut().poll(cx)
        })
        .await;
    }
}

/// Opens a link again and again, while it is wanted.
async fn hold(net: &Arc<Net>, me: u32, process: &Process, place: (NodeId, Purpose), meddle: bool) {
    let kernel = Arc::clone(&net.kernel);
    let wanted = |broker: &Arc<Broker>| {
        let replicas = broker.replicas();
        replicas.is_some_and(|replicas| replicas.wanted_links().contains(&place))
    };
    while wanted(&process.broker) {
        if let Some(end) = connect(net, me, process, place, meddle).await {
            let mut carried = pin!(carry(end));
            let mut look = Box::pin(kernel.sleep(LOOK));
            poll_fn(|cx| {
                if carried.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                while look.as_mut().poll(cx).is_ready() {
                    if !wanted(&process.broker) {
                        return Poll::Ready(());
                    }
                    look = Box::pin(kernel.sleep(LOOK));
                }
                Poll::Pending
            })
            .await;
        }
        kernel.sleep(kernel.between(RETRY / 2, RETRY)).await;
    }
}

async fn connect(
    net: &Arc<Net>,
    me: u32,
    process: &Process,
    place: (NodeId, Purpose),
    meddle: bool,
) -> Option<End> {
    let (leader, purpose) = place;
    let kernel = Arc::clone(&net.kernel);
    let id = NodeId::new(me)?;
    let epoch = process.broker.image().node(id)?.broker_epoch;
    let connection = net.connection();
    let way = |from, to| Way {
        from,
        to,
        connection,
    };
    let (there, back) = (way(me, leader.get()), way(leader.get(), me));
    let (mine, theirs): (Shared, Shared) = Default::default();
    let welcome: Slot<bool> = slot();
    let (told, carrier) = (Arc::clone(&welcome), Arc::clone(net));
    let (inbox, other) = (Arc::clone(&theirs), Arc::clone(&mine));
    net.send(there, move || {
        let accepted = carrier.process(leader.get());
        let stands = accepted.is_some();
        if let Some(accepted) = accepted {
            let net = Arc::clone(&carrier);
            carrier.kernel.spawn(accepted.owner, async move {
                let now = Monotonic::from_start(net.kernel.now());
                let Some(replicas) = accepted.broker.replicas() else {
                    return;
                };
                let engine = Engine::Lead(replicas.lead_link(id, epoch, purpose, now));
                let heard = net.kernel.now();
                carry(End {
                    engine,
                    net,
                    way: back,
                    inbox,
                    other,
                    heard,
                    meddle,
                })
                .await;
            });
        }
        carrier.send(back, move || fill(&told, stands));
    });
    let stands = await_reply(&kernel, &welcome, CONNECT).await;
    if stands != Some(true) {
        // If it came to stand over there, it is closed by silence.
        return None;
    }
    let now = Monotonic::from_start(kernel.now());
    let engine = Engine::Follow(process.broker.replicas()?.follow_link(leader, purpose, now));
    Some(End {
        engine,
        net: Arc::clone(net),
        way: there,
        inbox: mine,
        other: theirs,
        heard: kernel.now(),
        meddle,
    })
}
