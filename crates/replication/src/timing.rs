//! Every clock of the protocol in one place. Plain numbers; nothing here reads a clock.

use std::time::Duration;

/// How long things may take before the state machines act. Every state has an exit on one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// How often the owner calls `tick` when nothing else happens.
    pub tick: Duration,
    /// A link on which nothing came for this long is closed by its owner.
    pub silence: Duration,
    /// How long a follower waits for the answer to an attach. Twice as long after each that had
    /// none in time, so that a long way is no endless one.
    pub attach: Duration,
    /// Longest such time.
    pub attach_max: Duration,
    /// How long a leader waits for the first ack of a session, and a follower for its own disk: a
    /// truncation or a reset lies between.
    pub confirm: Duration,
    /// First pause after a failure; doubles with each, and success resets it.
    pub back_off_min: Duration,
    /// Longest pause after a failure.
    pub back_off_max: Duration,
    /// A follower joins only when it had all there was this long ago or later, also while the high
    /// watermark stands still below min ISR.
    pub join_max_lag: Duration,
    /// How long a follower must have kept up before it joins.
    pub join_hold: Duration,
    /// Longest such time: it doubles with every eviction within `flap_memory`.
    pub join_hold_max: Duration,
    /// How long an eviction is remembered.
    pub flap_memory: Duration,
    /// How long a joiner may hold back the high watermark until it has all below it.
    pub join_freeze: Duration,
    /// A follower that lacks what was there this long ago leaves the ISR.
    pub max_lag: Duration,
    /// A follower that lacks for this long what enough others could commit leaves the ISR.
    pub commit_stall: Duration,
    /// A session whose follower does not move for this long although there is something to send is
    /// closed.
    pub stall: Duration,
    /// Time between two resets of one follower by the watchdog; doubles with each.
    pub reset_pause: Duration,
    /// An ISR change that was not answered is asked for again after this; doubles up to four times.
    pub propose_retry: Duration,
    /// What an echo of a leader's frame is worth: how long after it was sent no other leader acts.
    pub lease: Duration,
    /// Longest pause of a follower that refuses to truncate below its high watermark.
    pub suspect_pause: Duration,
}

impl Timing {
    /// What a cluster on a local network wants.
    pub const DEFAULT: Self = Self {
        tick: Duration::from_millis(100),
        silence: Duration::from_millis(300),
        attach: Duration::from_secs(1),
        attach_max: Duration::from_secs(8),
        confirm: Duration::from_secs(30),
        back_off_min: Duration::from_millis(50),
        back_off_max: Duration::from_secs(2),
        join_max_lag: Duration::from_secs(1),
        join_hold: Duration::from_secs(1),
        join_hold_max: Duration::from_secs(10),
        flap_memory: Duration::from_secs(600),
        join_freeze: Duration::from_millis(200),
        max_lag: Duration::from_secs(10),
        commit_stall: Duration::from_secs(1),
        stall: Duration::from_secs(2),
        reset_pause: Duration::from_secs(60),
        propose_retry: Duration::from_secs(1),
        lease: Duration::from_millis(500),
        suspect_pause: Duration::from_secs(60),
    };

    /// The lease as its holder counts it: one percent less, for clocks that drift apart.
    #[must_use]
    pub fn lease_of_holder(&self) -> Duration {
        self.lease.saturating_sub(self.lease / 100)
    }
}
