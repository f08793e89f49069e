//! A partition of three replicas on four nodes, the real rules of the controller, and a network
//! and disks that fail, all from one seed.
//!
//! The machines and the controller's rules are the real ones; logs, cells and links are toys. After
//! every step the checkers look at the whole world, and at the end, when nothing fails any more,
//! everything must have healed. A link is ordered and loses all or nothing, in one direction or
//! both; what is proposed to the controller comes late, twice or never. Each seed draws which
//! kinds of failure there are. One seed in five may lose committed records, by disks replaced
//! without bound: what is lost must then be said to be lost.

mod act;
mod check;
mod duty;
mod links;
mod mail;
mod metadata;
mod node;
mod owner;
mod plays;
mod trouble;
mod world;

pub(super) use duty::{Duty, neglected};
use world::World;

/// Runs one seed; what went wrong, or how long the world took to heal, in milliseconds.
pub(super) fn run(seed: u64) -> Result<u64, String> {
    let mut world = World::new(seed);
    world.trouble(20_000)?;
    world.heal(180_000)
}

/// Reads how many seeds to try from what the test is built with, so that a longer run is one word.
fn seeds() -> u64 {
    option_env!("PLIMSOLL_SIM_SEEDS")
        .and_then(|seeds| seeds.parse().ok())
        .unwrap_or(100)
}

#[test]
fn nothing_committed_is_lost_and_everything_heals() {
    let mut slowest = (0, 0);
    for seed in 0..seeds() {
        let healed = run(seed).unwrap_or_else(|what| panic!("seed {seed}: {what}"));
        slowest = slowest.max((healed, seed));
    }
    println!("slowest to heal: seed {} in {} ms", slowest.1, slowest.0);
}

#[test]
fn one_seed_is_one_history() {
    for seed in [3, 9] {
        assert_eq!(run(seed), run(seed));
    }
}
