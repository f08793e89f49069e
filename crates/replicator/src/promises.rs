//! What a follower's echoes promised to leaders: not to lead itself for the length of a lease.
//!
//! A promise is noted when a replica stops following, for what it granted until then. It runs out,
//! or the leader gives it back ([`Revoke`](plimsoll_wire::peer::Revoke)), which it does at once
//! when it is told that the session is over: so a leader that is alive is not waited for.

use plimsoll_types::{Monotonic, NodeId};

/// One session's grant, as of when the replica stopped following in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    pub(crate) to: NodeId,
    pub(crate) session: u64,
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
            // Nobody can give back what stands for several.
            last.session = u64::MAX;
        }
    }

    /// The leader gives a session's promise back.
    pub(crate) fn revoke(&mut self, by: NodeId, session: u64) {
        let is_it = |known: &Promise| known.to == by && known.session == session;
        self.0.retain(|known| !is_it(known));
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

    fn promise(to: u32, session: u64, until: u64) -> Promise {
        Promise {
            to: NodeId::new(to).unwrap(),
            session,
            until: at(until),
        }
    }

    #[test]
    fn a_promise_runs_out_or_is_given_back_by_who_got_it() {
        let mut promises = Promises::default();
        promises.make(promise(1, 7, 500), at(0));
        promises.make(promise(2, 7, 600), at(100));
        assert_eq!(promises.until(at(100)), Some(at(600)));
        promises.revoke(NodeId::new(2).unwrap(), 8);
        assert_eq!(promises.until(at(100)), Some(at(600)), "another session");
        promises.revoke(NodeId::new(2).unwrap(), 7);
        assert_eq!(promises.until(at(100)), Some(at(500)));
        assert_eq!(promises.until(at(500)), None);
    }

    #[test]
    fn there_are_never_many_and_none_is_forgotten() {
        let mut promises = Promises::default();
        for session in 0..100 {
            promises.make(promise(1, session, 500 + session), at(0));
        }
        assert!(promises.0.len() <= MOST);
        for session in 0..100 {
            promises.revoke(NodeId::new(1).unwrap(), session);
        }
        assert_eq!(promises.until(at(0)), Some(at(599)));
    }
}
