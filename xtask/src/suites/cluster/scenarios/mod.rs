//! Every scenario, in the order they are played.

mod cuts;
mod damage;
mod disks;
mod kills;
mod moves;
mod oversize;
mod pauses;
mod restarts;
mod scale;

use anyhow::Result;

use super::figures::Report;
use super::stage::{Setting, Stage};
use crate::random::Random;

/// What a scenario plays on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Where {
    /// A cluster that scenarios use one after the other.
    Shared,
    /// The same with a proxy between the nodes.
    Proxied,
    /// Its own cluster.
    Alone,
}

type On = fn(&mut Stage<'_>) -> Result<()>;

/// What it does, and where.
#[derive(Clone, Copy)]
pub(super) enum Play {
    Shared(On),
    Proxied(On),
    Alone(fn(&Setting<'_>, &mut Report, Random) -> Result<()>),
}

/// A fault, and what is claimed of it.
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Whether it is played unless others are asked for: it is quick and needs nothing special.
    pub(super) always: bool,
    pub(super) play: Play,
}

impl Scenario {
    /// What it plays on.
    pub(super) fn place(&self) -> Where {
        match self.play {
            Play::Shared(_) => Where::Shared,
            Play::Proxied(_) => Where::Proxied,
            Play::Alone(_) => Where::Alone,
        }
    }
}

const fn always(name: &'static str, play: Play, about: &'static str) -> Scenario {
    Scenario {
        name,
        about,
        always: true,
        play,
    }
}

const fn asked(name: &'static str, play: Play, about: &'static str) -> Scenario {
    Scenario {
        name,
        about,
        always: false,
        play,
    }
}

/// Every scenario.
pub(super) const ALL: &[Scenario] = &[
    always(
        "kills",
        Play::Shared(kills::kills),
        "leaders killed by kill -9, half of them the controller too",
    ),
    always(
        "controller-loss",
        Play::Shared(kills::controller_loss),
        "the controller killed, and stopped for 5 s: others go on",
    ),
    always(
        "below-min-isr",
        Play::Shared(kills::below_min_isr),
        "a topic that asks for three replicas loses one: unhealthy until it is back",
    ),
    always(
        "all-killed",
        Play::Shared(kills::all_killed),
        "all three nodes killed at once",
    ),
    always(
        "pauses",
        Play::Shared(pauses::pauses),
        "SIGSTOP of followers and of a leader",
    ),
    always(
        "rolling-restart",
        Play::Shared(restarts::rolling),
        "TERM and start, one node after the other; a client with default settings notices nothing",
    ),
    always(
        "founding-failure",
        Play::Shared(oversize::founding),
        "a follower misses batches above every window; limits are lowered; it comes back",
    ),
    always(
        "emptied-directory",
        Play::Shared(damage::emptied),
        "a node comes back with nothing on its disk",
    ),
    always(
        "flipped-bits",
        Play::Shared(damage::flipped),
        "bits flipped in closed and active segments of followers and leaders",
    ),
    always(
        "lost-segments",
        Play::Shared(damage::lost_segments),
        "segment files deleted and cut while the node is down",
    ),
    asked(
        "fsync-error",
        Play::Shared(disks::fsync_error),
        "a sync fails, on a follower and on a leader (strace)",
    ),
    asked(
        "slow-fsync",
        Play::Shared(disks::slow_fsync),
        "syncs take two seconds, on a follower and on a leader (strace)",
    ),
    always(
        "one-way-cuts",
        Play::Proxied(cuts::one_way),
        "a link cut in one direction, then in the other",
    ),
    always(
        "cut-leader",
        Play::Proxied(cuts::leader),
        "a leader cut from the others, both ways, while clients reach it",
    ),
    always(
        "cut-controller",
        Play::Proxied(cuts::controller),
        "the controller cut from the others",
    ),
    always(
        "flapping-link",
        Play::Proxied(cuts::flapping),
        "a link 300 ms up, 300 ms down",
    ),
    asked(
        "slow-link",
        Play::Proxied(cuts::slow),
        "100 ms more each way between a leader and a follower",
    ),
    always(
        "moves",
        Play::Alone(moves::moves),
        "a fourth node joins; partitions move to it while parties are killed; drain, decommission",
    ),
    asked(
        "disk-full",
        Play::Alone(disks::full),
        "the disk of a follower, then of a leader, is full (root, to mount a small disk)",
    ),
    asked(
        "thousand-partitions",
        Play::Alone(scale::thousand),
        "1,000 partitions with three replicas: CPU when idle, and a node killed",
    ),
];
