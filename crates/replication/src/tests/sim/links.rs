//! Links between nodes: ordered, cut in one direction or both, noticed late and by each end alone.

use std::collections::VecDeque;

use plimsoll_types::{Monotonic, NodeId};

use super::node::{Message, Role};
use super::world::World;

/// What is under way in one direction, with the link's generation at its sending.
pub(super) type Wire = VecDeque<(Monotonic, u64, Message)>;

/// A pair of nodes; the lower number is side 0.
#[derive(Clone, Default)]
pub(super) struct Pair {
    /// Which connection it is: what was sent on an older one never arrives.
    pub(super) generation: u64,
    /// Nothing that side 0, or side 1, sends arrives until then.
    pub(super) cut: [Monotonic; 2],
    /// Whether side 0, or side 1, holds the connection for open.
    pub(super) open: [bool; 2],
    /// When that side gives it up, if nothing comes before.
    notices: [Option<Monotonic>; 2],
}

impl World {
    /// Ends notice that a link is dead, and new links come to be.
    pub(super) fn notice_links(&mut self) {
        let now = self.now;
        let keys: Vec<_> = self.pairs.keys().copied().collect();
        let mut changed = Vec::new();
        for key in keys {
            let ends = [key.0, key.1];
            let up = ends.map(|end| self.nodes[&end].up);
            let awake = ends.map(|end| self.is_awake(end));
            let (silence, reset) = (self.soon(250), self.soon(50));
            let again = self.calm || self.chance(20);
            let pair = self.pairs.get_mut(&key).unwrap();
            for side in [0, 1] {
                let other = 1 - side;
                if !pair.open[side] {
                    continue;
                }
                let flows = pair.cut[other] <= now;
                pair.notices[side] = if !up[side] {
                    Some(now)
                } else if flows && !pair.open[other] {
                    // The other end has closed it, and says so.
                    Some(pair.notices[side].unwrap_or(reset).min(reset))
                } else if !flows || !awake[other] {
                    let after = silence + std::time::Duration::from_millis(150);
                    Some(pair.notices[side].unwrap_or(after))
                } else {
                    None
                };
                let due = pair.notices[side].is_some_and(|at| at <= now);
                // One that stands still notices when it goes on.
                if due && (awake[side] || !up[side]) {
                    (pair.open[side], pair.notices[side]) = (false, None);
                    changed.push((ends[side], ends[other], false));
                }
            }
            let clear = pair.cut.iter().all(|until| *until <= now);
            if pair.open == [false; 2] && awake == [true; 2] && clear && again {
                pair.generation += 1;
                pair.open = [true; 2];
                changed.push((ends[0], ends[1], true));
                changed.push((ends[1], ends[0], true));
            }
        }
        for (me, peer, up) in changed {
            self.link_changed(me, peer, up);
        }
    }

    fn link_changed(&mut self, me: NodeId, peer: NodeId, up: bool) {
        let (now, mut out, mut done) = (self.now, Vec::new(), Vec::new());
        match &mut self.nodes.get_mut(&me).unwrap().role {
            Role::Following(follower) if follower.leader() == Some(peer) => {
                if up {
                    follower.link_up(now, &mut out);
                } else {
                    follower.link_down(now);
                }
            }
            Role::Leading(leading) if !up => {
                let of_peer = leading.feeds.iter().filter(|(_, feed)| feed.node == peer);
                let sessions: Vec<u64> = of_peer.map(|(session, _)| *session).collect();
                for session in sessions {
                    leading.feeds.remove(&session);
                    leading.machine.session_lost(session, &mut done);
                }
            }
            Role::Following(_) | Role::Leading(_) | Role::Idle => {}
        }
        self.follow(me, out);
        self.lead(me, done);
    }

    pub(super) fn is_linked(&self, me: NodeId, peer: NodeId) -> bool {
        let pair = &self.pairs[&(me.min(peer), me.max(peer))];
        pair.open[usize::from(me > peer)]
    }

    /// What is due arrives. A cut delays; what is late on a dead connection is lost.
    pub(super) fn deliver(&mut self) {
        let directions: Vec<_> = self.wires.keys().copied().collect();
        for (to, from) in directions {
            loop {
                let key = (from.min(to), from.max(to));
                let (awake, up) = (self.is_awake(to), self.nodes[&to].up);
                let pair = &self.pairs[&key];
                let (sender, receiver) = (usize::from(from > to), usize::from(to > from));
                let flows = pair.cut[sender] <= self.now && (awake || !up);
                let (open, generation) = (pair.open[receiver], pair.generation);
                let queue = self.wires.entry((to, from)).or_default();
                let due = queue.front().is_some_and(|(at, ..)| *at <= self.now);
                if !due || !flows {
                    break;
                }
                if let Some((_, sent_on, message)) = queue.pop_front()
                    && open
                    && sent_on == generation
                {
                    self.receive(to, from, message);
                }
            }
        }
    }
}
