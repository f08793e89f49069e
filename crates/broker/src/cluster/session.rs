//! A node's trust in itself, by the answers to its heartbeats.
//!
//! The controller fences a node that was silent for a session. Counted from the *sending* of the
//! last heartbeat that was answered, the node stops earlier: what it alone vouches for after 0.6
//! of a session, everything after a whole one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_types::{BrokerEpoch, Monotonic, NodeId};

/// How far a node may trust what it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// The controller hears this node.
    Full,
    /// Others may lead in its place soon: it vouches for nothing alone.
    Doubtful,
    /// Others may lead in its place by now.
    None,
}

/// The word for "never heard".
const NEVER: u64 = 0;

#[derive(Default)]
pub(crate) struct Session {
    /// When the last heartbeat that was answered was sent, in milliseconds, plus one.
    heard: AtomicU64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    epoch: Option<BrokerEpoch>,
    draining: bool,
    drained: bool,
    /// What the controller said last: it elects others in this node's place.
    fenced: bool,
    /// Who is missed, and since when last.
    suspects: BTreeMap<NodeId, Monotonic>,
}

impl Session {
    pub(super) fn trust(&self, now: Monotonic, session: Duration) -> Trust {
        let heard = self.heard.load(Ordering::Acquire);
        if heard == NEVER {
            return Trust::None;
        }
        let heard = Monotonic::from_start(Duration::from_millis(heard - 1));
        let silent = now.since(heard);
        if silent < session * 3 / 5 {
            Trust::Full
        } else if silent < session {
            Trust::Doubtful
        } else {
            Trust::None
        }
    }

    /// The process is registered.
    pub(super) fn registered(&self, epoch: BrokerEpoch) {
        let mut state = self.state.lock();
        state.epoch = Some(epoch);
        self.heard.store(NEVER, Ordering::Release);
    }

    /// The controller does not know this process, or not any more.
    pub(super) fn lost(&self) {
        self.heard.store(NEVER, Ordering::Release);
        self.state.lock().epoch = None;
    }

    pub(super) fn epoch(&self) -> Option<BrokerEpoch> {
        self.state.lock().epoch
    }

    /// The controller answered a heartbeat that was sent at `sent`.
    pub(super) fn answered(&self, sent: Monotonic, drained: bool, fenced: bool) {
        let ms = u64::try_from(sent.since_start().as_millis()).unwrap_or(u64::MAX - 1);
        // Before the time, so that nobody is taken to be trusted who was heard and is not.
        let mut state = self.state.lock();
        (state.drained, state.fenced) = (drained, fenced);
        drop(state);
        self.heard.fetch_max(ms + 1, Ordering::AcqRel);
    }

    /// Whether the controller has heard this node of late, and fences it for nobody.
    pub(crate) fn is_heard(&self, now: Monotonic, session: Duration) -> bool {
        self.trust(now, session) == Trust::Full && !self.state.lock().fenced
    }

    pub(super) fn suspect(&self, node: NodeId, now: Monotonic) {
        self.state.lock().suspects.insert(node, now);
    }

    /// Who was missed lately. Told again and again for a while: the controller that heard it may
    /// be gone before it did anything, and looks for itself in any case.
    pub(super) fn suspects(&self, now: Monotonic, session: Duration) -> Vec<NodeId> {
        let mut state = self.state.lock();
        state
            .suspects
            .retain(|_, since| now.since(*since) < session);
        state.suspects.keys().copied().collect()
    }

    pub(super) fn drain(&self) {
        self.state.lock().draining = true;
    }

    pub(super) fn is_draining(&self) -> bool {
        self.state.lock().draining
    }

    pub(super) fn is_drained(&self) -> bool {
        self.state.lock().drained
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suspicion_is_told_for_a_session_whoever_has_heard_it() {
        let session = Session::default();
        let at = |ms| Monotonic::from_start(Duration::from_millis(ms));
        let node = NodeId::new(3).expect("in range");
        session.suspect(node, at(100));
        let told = |ms| session.suspects(at(ms), Duration::from_millis(1000));
        assert_eq!(told(100), [node]);
        session.answered(at(500), false, false);
        assert_eq!((told(500), told(1100)), (vec![node], vec![]));
    }

    #[test]
    fn node_that_hears_no_answer_trusts_itself_less_and_less() {
        let session = Session::default();
        let at = |ms| Monotonic::from_start(Duration::from_millis(ms));
        let trust = |ms| session.trust(at(ms), Duration::from_millis(1000));
        assert_eq!(trust(0), Trust::None, "never heard");
        session.answered(at(100), false, false);
        session.answered(at(50), false, false);
        assert_eq!(trust(699), Trust::Full);
        assert_eq!(
            (trust(700), trust(1099)),
            (Trust::Doubtful, Trust::Doubtful)
        );
        assert_eq!(trust(1100), Trust::None);
        let heard = |ms| session.is_heard(at(ms), Duration::from_millis(1000));
        assert!(heard(699) && !heard(700));
        session.answered(at(110), false, true);
        assert!(!heard(200), "others are elected in its place");
        session.registered(BrokerEpoch(3));
        assert_eq!(trust(101), Trust::None, "another process than was heard");
    }
}
