//! Streams between the replicas of brokers in one process: frames carried by hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};
use std::time::Duration;

use plimsoll_broker::{Broker, Clock, Trust};
use plimsoll_replicator::{FollowLink, LeadLink, Purpose};
use plimsoll_types::{Monotonic, NodeId};

use crate::world::Net;

struct Pair {
    follow: FollowLink,
    lead: LeadLink,
}

impl Pair {
    /// Carries what there is; false when the link is of no use any more.
    fn carry(&mut self, now: Monotonic) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut frames = Vec::new();
        let _ = self.follow.poll_outgoing(&mut cx, now, &mut frames);
        let lead = &mut self.lead;
        let there = frames
            .drain(..)
            .all(|frame| lead.receive(frame, now).is_ok());
        let _ = self.lead.poll_outgoing(&mut cx, now, &mut frames);
        let follow = &mut self.follow;
        let back = frames
            .drain(..)
            .all(|frame| follow.receive(frame, now).is_ok());
        there && back
    }

    fn close(mut self, now: Monotonic) {
        self.follow.closed(now);
        self.lead.closed(now);
    }
}

type Links = BTreeMap<(NodeId, NodeId, u8), Pair>;

/// Makes the links that are wanted and carries their frames until it is over.
pub(crate) fn run(net: &Arc<Net>, clock: &dyn Clock) {
    let mut links = Links::new();
    while !net.over.load(Ordering::Relaxed) {
        let now = clock.now();
        let brokers = net.there();
        for follower in &brokers {
            connect(net, follower, &brokers, &mut links, now);
        }
        let keys: Vec<_> = links.keys().copied().collect();
        for key in keys {
            let open = net.is_open(key.0, key.1);
            let Some(pair) = links.get_mut(&key) else {
                continue;
            };
            if !open || !pair.carry(now) {
                links
                    .remove(&key)
                    .into_iter()
                    .for_each(|pair| pair.close(now));
            }
        }
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

fn connect(
    net: &Net,
    follower: &Arc<Broker>,
    brokers: &[Arc<Broker>],
    links: &mut Links,
    now: Monotonic,
) {
    let me = follower.config().node;
    if follower.trust() == Trust::None {
        // A link is of one uptime, and this process is not registered yet.
        return;
    }
    for (leader, purpose) in follower.replicas().unwrap().wanted_links() {
        let key = (me, leader, u8::from(purpose == Purpose::CatchUp));
        let there = brokers.iter().find(|broker| broker.config().node == leader);
        let (true, false, Some(there)) = (net.is_open(me, leader), links.contains_key(&key), there)
        else {
            continue;
        };
        let Some(epoch) = follower.image().node(me).map(|node| node.broker_epoch) else {
            continue;
        };
        let pair = Pair {
            follow: follower
                .replicas()
                .unwrap()
                .follow_link(leader, purpose, now),
            lead: there.replicas().unwrap().lead_link(me, epoch, purpose, now),
        };
        links.insert(key, pair);
    }
}
