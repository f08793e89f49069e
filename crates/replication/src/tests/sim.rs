//! A partition of three replicas, a controller and a network that fails, all from one seed.
//!
//! The machines are the real ones; logs, cells, links and the controller are toys. After every step
//! the checkers look at the whole world, and at the end, when nothing fails any more, everything
//! must have healed. A link is ordered and loses all or nothing; the controller's messages come
//! late, twice or never.

mod check;
mod control;
mod node;
mod world;

use crate::guards::{Guard, without};
use world::World;

/// Runs one seed; what went wrong.
fn run(seed: u64) -> Result<(), String> {
    let mut world = World::new(seed);
    world.trouble(20_000)?;
    world.heal(180_000)
}

fn run_all(seeds: std::ops::Range<u64>) -> Result<(), String> {
    for seed in seeds {
        run(seed).map_err(|what| format!("seed {seed}: {what}"))?;
    }
    Ok(())
}

/// Reads how many seeds to try from what the test is built with, so that a longer run is one word.
fn seeds() -> u64 {
    option_env!("PLIMSOLL_SIM_SEEDS")
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(60)
}

#[test]
fn nothing_committed_is_lost_and_everything_heals() {
    run_all(0..seeds()).unwrap();
}

/// Each guard without which some seed must fail. The others guard against what this toy world
/// cannot do; they have unit tests.
#[test]
fn scenario_55_the_checkers_notice_a_missing_guard() {
    let found = |guard| {
        without(Some(guard), || {
            (0..250).find_map(|seed| run(seed).err().map(|what| (seed, what)))
        })
    };
    for guard in [
        Guard::JoinerHasCommitted,
        Guard::ProposedCounts,
        Guard::LeaverCounts,
        Guard::PendingIsKept,
    ] {
        let trace = found(guard);
        assert!(trace.is_some(), "nobody misses {guard:?}");
    }
}
