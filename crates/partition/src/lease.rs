//! On what a leader's word rests that nobody else leads.

use std::time::Duration;

use plimsoll_types::Monotonic;

/// Until when nobody else can lead, as far as is known here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Until then, which may be past.
    pub until: Monotonic,
    /// And only while the controller hears this node: somebody may be elected who granted nothing.
    pub if_heard: bool,
}

/// The bit of a word that is not the time's: an odd nanosecond is none too many.
const IF_HEARD: u64 = 1;

impl Lease {
    /// There is none.
    pub const NONE: Self = Self {
        until: Monotonic::from_start(Duration::ZERO),
        if_heard: false,
    };

    /// Its followers granted it until then.
    #[must_use]
    pub const fn granted(until: Monotonic) -> Self {
        Self {
            until,
            if_heard: false,
        }
    }

    /// There is nobody to grant it: it stands for as long as the controller hears this node.
    #[must_use]
    pub const fn by_controller() -> Self {
        Self {
            until: Monotonic::from_start(Duration::from_nanos(u64::MAX - 1)),
            if_heard: true,
        }
    }

    /// Whether nobody else leads at `now`, where the controller hears this node or does not.
    #[must_use]
    pub fn holds(self, now: Monotonic, heard: bool) -> bool {
        self.until > now && (heard || !self.if_heard)
    }

    pub(crate) fn to_word(self) -> u64 {
        let nanos = self.until.since_start().as_nanos();
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        nanos & !IF_HEARD | u64::from(self.if_heard)
    }

    pub(crate) const fn of_word(word: u64) -> Self {
        Self {
            until: Monotonic::from_start(Duration::from_nanos(word & !IF_HEARD)),
            if_heard: word & IF_HEARD != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Monotonic {
        Monotonic::from_start(Duration::from_millis(ms))
    }

    #[test]
    fn a_word_keeps_all_of_it() {
        let both = Lease {
            until: at(7),
            if_heard: true,
        };
        for lease in [
            Lease::NONE,
            Lease::granted(at(5)),
            both,
            Lease::by_controller(),
        ] {
            assert_eq!(Lease::of_word(lease.to_word()), lease);
        }
    }

    #[test]
    fn being_heard_replaces_no_grant_and_is_asked_for_where_others_granted_nothing() {
        assert!(!Lease::NONE.holds(at(1), true), "another may be elected");
        assert!(Lease::granted(at(5)).holds(at(4), false));
        assert!(!Lease::granted(at(5)).holds(at(5), true), "it ran out");
        let both = Lease {
            until: at(5),
            if_heard: true,
        };
        assert!(both.holds(at(4), true));
        assert!(!both.holds(at(4), false) && !both.holds(at(5), true));
        let alone = Lease::by_controller();
        assert!(alone.holds(at(1 << 40), true) && !alone.holds(at(1), false));
    }
}
