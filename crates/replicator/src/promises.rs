//! What a follower's echoes promised to leaders: not to lead itself for the length of a lease.
//!
//! A promise is noted when a replica stops following, for what it granted until then. It runs out,
//! or the leader gives it back ([`Revoke`](plimsoll_wire::peer::Revoke)), which it does at once
//! when it is told that the session is over: so a leader that is alive is not waited for. Nor is
//! one whose process has ended, for the dead answer nobody.

use plimsoll_types::{Monotonic, NodeId};

/// One session's grant, as of when the replica stopped following in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    /// To whom, and in which session; `None` stands for several, so that nobody can give it back.
    pub(crate) to: Option<(NodeId, u64)>,
    /// When the replica stopped following; nothing was granted after it.
    pub(crate) made: Monotonic,
    pub(crate) until: Monotonic,
}

/// The promises of one replica that may still run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises(Vec<Promise>);

/// More than any replica can make within a lease; beyond them the last to run out stands for all.
const MOST: usize = 16;

impl Promises {
    pub(crate) fn make(&mut self, promise: Promise, now: Monotonic) {
        self.0.retain(|known| known.until > now);
        if self.0.len() < MOST {
            self.0.push(promise);
        } else if let Some(last) = self.0.last_mut() {
            last.until = last.until.max(promise.until);
            last.to = None;
        }
    }

    /// The leader gives a session's promise back.
    pub(crate) fn revoke(&mut self, by: NodeId, session: u64) {
        self.0.retain(|known| known.to != Some((by, session)));
    }

    /// The process that `node` was until `before` has ended.
    pub(crate) fn ended(&mut self, node: NodeId, before: Monotonic) {
        let is_void =
            |known: &Promise| known.to.is_some_and(|(to, _)| to == node) && known.made <= before;
        self.0.retain(|known| !is_void(known));
    }

    /// Until when this replica must not lead; `None`: it may.
    pub(crate) fn until(&self, now: Monotonic) -> Option<Monotonic> {
        let running = self.0.iter().map(|promise| promise.until);
        running.filter(|until| *until > now).max()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_start(std::time::Duration::from_millis(ms))
    }

    fn node(id: u32) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn promise(to: u32, session: u64, until: u64) -> Promise {
        Promise {
            to: Some((node(to), session)),
            made: at(0),
            until: at(until),
        }
    }

    #[test]
    fn a_promise_runs_out_or_is_given_back_by_who_got_it() {
        let mut promises = Promises::default();
        promises.make(promise(1, 7, 500), at(0));
        promises.make(promise(2, 7, 600), at(100));
        assert_eq!(promises.until(at(100)), Some(at(600)));
        promises.revoke(node(2), 8);
        assert_eq!(promises.until(at(100)), Some(at(600)), "another session");
        promises.revoke(node(2), 7);
        assert_eq!(promises.until(at(100)), Some(at(500)));
        assert_eq!(promises.until(at(500)), None);
    }

    #[test]
    fn the_end_of_a_process_voids_what_was_promised_to_it_and_no_more() {
        let mut promises = Promises::default();
        let later = Promise {
            made: at(200),
            ..promise(1, 8, 700)
        };
        promises.make(promise(1, 7, 500), at(0));
        promises.make(promise(2, 7, 600), at(0));
        promises.make(later, at(200));
        promises.ended(node(1), at(100));
        assert_eq!(promises.until(at(200)), Some(at(700)), "its next process");
        promises.ended(node(1), at(200));
        assert_eq!(promises.until(at(200)), Some(at(600)), "another node");
        promises.ended(node(2), at(200));
        assert_eq!(promises.until(at(200)), None);
    }

    #[test]
    fn there_are_never_many_and_none_is_forgotten() {
        let mut promises = Promises::default();
        for session in 0..100 {
            promises.make(promise(1, session, 500 + session), at(0));
        }
        assert!(promises.0.len() <= MOST);
        for session in 0..100 {
            promises.revoke(node(1), session);
        }
        promises.ended(node(1), at(400));
        assert_eq!(promises.until(at(0)), Some(at(599)));
    }
}
