//! Failures by the book: each told step by step, on the machines and rules that the seeds run, with
//! the same checkers after every step.

use std::time::Duration;

use plimsoll_controller::rules::{self, Election, Reassign};
use plimsoll_types::{Monotonic, NodeId};

use super::super::{key, node};
use super::metadata::{LIMITS, partition};
use super::node::{End, Log, Role};
use super::world::World;
use crate::leader::Counts;

mod changes;

const BOTH: [Counts; 2] = [Counts::Durable, Counts::Written];
const NEVER: Monotonic = Monotonic::from_start(Duration::from_secs(1 << 20));

impl World {
    fn begin(seed: u64, counts: Counts) -> Self {
        let mut world = Self::still(seed, counts, "none");
        world.play(2000).unwrap();
        assert_eq!(world.isr(), [1, 2, 3]);
        world
    }

    fn isr(&self) -> Vec<u32> {
        let mut isr: Vec<_> = partition(self.image())
            .isr
            .iter()
            .map(|n| n.get())
            .collect();
        isr.sort_unstable();
        isr
    }

    fn elr(&self) -> Vec<u32> {
        partition(self.image())
            .elr
            .iter()
            .map(|n| n.get())
            .collect()
    }

    fn leader(&self) -> Option<u32> {
        partition(self.image()).leader.map(NodeId::get)
    }

    fn log(&self, id: u32) -> &Log {
        &self.nodes[&node(id)].log
    }

    /// Between these nothing arrives, from the first to the second.
    fn cut(&mut self, from: u32, to: u32, until: Monotonic) {
        let pair = (node(from.min(to)), node(from.max(to)));
        let side = usize::from(from > to);
        self.pairs.get_mut(&pair).unwrap().cut[side] = until;
    }

    fn cut_off(&mut self, id: u32, until: Monotonic) {
        for other in (1..=4).filter(|other| *other != id) {
            self.cut(id, other, until);
            self.cut(other, id, until);
        }
        self.isolated.insert(node(id), until);
    }

    fn kill(&mut self, id: u32) {
        let node = self.nodes.get_mut(&node(id)).unwrap();
        (node.up, node.role, node.seen.1) = (false, Role::Idle, 0);
    }

    fn empty_disk(&mut self, id: u32) {
        self.kill(id);
        let node = self.nodes.get_mut(&node(id)).unwrap();
        (node.log, node.end) = (Log::default(), End::Wiped);
    }

    fn elect(&mut self, id: u32) {
        let others = (1..=3).filter(|other| *other != id);
        let order = [id]
            .into_iter()
            .chain(others)
            .map(|n| i32::try_from(n).unwrap());
        let wish = Reassign {
            key: key(),
            replicas: Some(order.collect()),
        };
        self.rule(|image| rules::reassign(image, &LIMITS, &wish));
        self.rule(|image| rules::elect(image, key(), Election::Preferred, &[]));
        assert_eq!(self.leader(), Some(id));
    }

    fn flip_a_bit(&mut self, id: u32) {
        let now = self.now;
        let node = self.nodes.get_mut(&node(id)).unwrap();
        node.damaged = true;
        let (id, mut out) = (node.id, Vec::new());
        if let Role::Following(follower) = &mut node.role {
            follower.damaged(now, &mut out);
        }
        self.follow(id, out);
    }

    fn is_unclean(&self) -> bool {
        partition(self.image()).unclean_epoch.is_some()
    }
}

fn for_seeds(play: impl Fn(u64, Counts)) {
    for seed in 0..3 {
        for counts in BOTH {
            play(seed, counts);
        }
    }
}

#[test]
fn scenario_2_a_leader_that_loses_its_machine_costs_nothing_that_was_acknowledged() {
    for_seeds(|seed, counts| {
        let mut world = World::begin(seed, counts);
        let committed = world.ledger.end();
        world.lose_power(node(1), 0);
        world.play(4000).unwrap();
        assert_ne!(world.leader(), Some(1));
        world.heal(60_000).unwrap();
        assert!(world.ledger.end() >= committed && !world.is_unclean());
    });
}

#[test]
fn scenario_3_all_machines_at_once_lose_nothing_where_acknowledged_is_synced() {
    for seed in 0..6 {
        let mut world = World::begin(seed, Counts::Durable);
        let committed = world.ledger.end();
        (1..=3).for_each(|id| world.lose_power(node(id), seed * u64::from(id)));
        world.heal(60_000).unwrap();
        assert!(world.ledger.end() >= committed && !world.is_unclean());
    }
}

#[test]
fn scenario_3_all_machines_at_once_wait_for_a_person_where_acknowledged_is_written() {
    for seed in 0..6 {
        let mut world = World::begin(seed, Counts::Written);
        (1..=3).for_each(|id| world.lose_power(node(id), 0));
        for _ in 0..3 {
            world.restart_all();
            world.play(5000).unwrap();
        }
        assert_eq!(world.leader(), None);
        assert!(!world.is_unclean(), "nothing is lost without being said");
    }
}

#[test]
fn scenario_3_the_best_log_leads_where_the_policy_lets_it_and_the_loss_is_said() {
    for seed in 0..6 {
        let mut world = World::still(seed, Counts::Written, "balanced");
        world.play(2000).unwrap();
        for (id, survives) in [(1, 0), (2, 1 << 19), (3, 0)] {
            world.lose_power(node(id), survives);
        }
        // 1 registers first, while enough others seem to be in sync: it is not asked.
        let longest = (2..=3).map(|id| world.log(id).end()).max();
        world.heal(60_000).unwrap();
        assert!(world.is_unclean());
        let leader = world.leader().unwrap();
        assert!(Some(world.log(leader).end()) >= longest);
    }
}

#[test]
fn scenario_4_the_last_replica_standing_takes_nothing_with_it() {
    for_seeds(|seed, counts| {
        let mut world = World::begin(seed, counts);
        world.cut_off(3, NEVER);
        world.play(5000).unwrap();
        world.cut_off(2, NEVER);
        world.play(5000).unwrap();
        assert_eq!((world.isr(), world.elr()), (vec![1], vec![2]));
        let committed = world.ledger.end();
        world.play(2000).unwrap();
        assert_eq!(world.ledger.end(), committed, "nothing is committed alone");
        assert!(world.log(1).end() > committed, "though written");
        world.lose_power(node(1), 0);
        world.empty_disk(1);
        let now = world.now;
        world.cut_off(2, now);
        world.cut_off(3, now);
        world.play(5000).unwrap();
        assert_eq!(world.leader(), Some(2), "who is in the ELR has it all");
        world.heal(60_000).unwrap();
        assert!(!world.is_unclean());
    });
}

#[test]
fn scenario_9_a_follower_with_a_longer_log_cuts_what_nobody_saw() {
    for_seeds(|seed, counts| {
        let mut world = World::begin(seed, counts);
        // Only 3 gets what 1 writes from now on.
        world.cut(1, 2, NEVER);
        world.play(150).unwrap();
        world.kill(1);
        world.elect_if_led_by(2);
        world.mend();
        world.heal(60_000).unwrap();
    });
}

#[test]
fn scenario_10_fast_changes_of_the_leader_agree_in_one_round() {
    for_seeds(|seed, counts| {
        let mut world = World::begin(seed, counts);
        for (step, leader) in [2, 1, 3, 1, 2, 3].into_iter().enumerate() {
            world.elect(leader);
            // Some terms are long enough for a record or two, some for none.
            let millis = (seed + step as u64) % 4 * 200;
            world.play(millis).unwrap();
        }
        world.heal(60_000).unwrap();
        assert!(partition(world.image()).leader_epoch.get() >= 6);
    });
}

#[test]
fn scenario_11_a_leader_that_is_not_heard_or_does_not_hear_commits_nothing_more() {
    for_seeds(|seed, counts| {
        for hears in [false, true] {
            let mut world = World::begin(seed, counts);
            world.isolated.insert(node(1), NEVER);
            for other in [2, 3, 4] {
                if hears {
                    world.cut(1, other, NEVER);
                } else {
                    world.cut(other, 1, NEVER);
                }
            }
            world.play(6000).unwrap();
            assert_ne!(world.leader(), Some(1));
            let zombie = world.log(1).high_watermark;
            world.play(3000).unwrap();
            assert_eq!(world.log(1).high_watermark, zombie);
            assert!(world.ledger.end() > zombie, "the others go on");
            world.heal(60_000).unwrap();
        }
    });
}

#[test]
fn scenario_29_and_30_a_damaged_log_is_copied_anew_and_leads_nobody_meanwhile() {
    for_seeds(|seed, counts| {
        for damaged in [1, 2] {
            let mut world = World::begin(seed, counts);
            world.flip_a_bit(damaged);
            world.play(10_000).unwrap();
            assert!(!world.nodes[&node(damaged)].damaged);
            assert_eq!(world.isr(), [1, 2, 3]);
            assert_eq!(world.leader() == Some(1), damaged != 1, "it gave way");
            world.heal(60_000).unwrap();
        }
    });
}

#[test]
fn scenario_30_who_is_alone_keeps_its_damaged_log_until_another_has_it_all() {
    for_seeds(|seed, counts| {
        let mut world = World::begin(seed, counts);
        world.cut_off(3, NEVER);
        world.play(5000).unwrap();
        world.cut_off(2, NEVER);
        world.play(5000).unwrap();
        world.flip_a_bit(1);
        world.kill(2);
        world.play(3000).unwrap();
        assert!(world.nodes[&node(1)].damaged, "it is all there is");
        assert!(world.log(1).end() > 0);
        world.heal(60_000).unwrap();
        assert!(!world.is_unclean());
    });
}

#[test]
fn scenario_40_and_41_retention_passes_followers_by_and_none_is_ahead_of_its_leader() {
    for_seeds(|seed, counts| {
        let mut world = World::begin(seed, counts);
        world.plan.retention = Some(5);
        for round in 0..40 {
            if round % 10 == 3 {
                let until = world.now + Duration::from_secs(2);
                world.cut_off(2 + round / 10 % 2, until);
            }
            world.play(200).unwrap();
            let leader = world.leader().unwrap();
            let start = world.log(leader).start;
            let ahead = (1..=3).find(|id| world.log(*id).start > start);
            assert_eq!(ahead, None, "seed {seed}");
        }
        assert!(world.log(1).start > 0);
        world.heal(120_000).unwrap();
    });
}

#[test]
fn scenario_49_what_an_unclean_election_loses_is_said_and_all_follow() {
    for seed in 0..6 {
        let mut world = World::still(seed, Counts::Written, "balanced");
        world.play(2000).unwrap();
        world.cut_off(3, NEVER);
        world.play(5000).unwrap();
        world.lose_power(node(1), 0);
        world.lose_power(node(2), 0);
        world.heal(120_000).unwrap();
        assert!(world.is_unclean());
    }
}

#[test]
fn scenario_50_high_watermarks_that_were_lost_are_found_again() {
    for_seeds(|seed, counts| {
        let mut world = World::begin(seed, counts);
        let committed = world.ledger.end();
        for id in 1..=3 {
            world.kill(id);
            let log = &mut world.nodes.get_mut(&node(id)).unwrap().log;
            log.high_watermark = log.start;
        }
        world.heal(60_000).unwrap();
        assert!(world.ledger.end() >= committed);
        let leader = node(world.leader().unwrap());
        let Role::Leading(leading) = &world.nodes[&leader].role else {
            panic!("it leads");
        };
        let start = leading.machine.epoch_start().get();
        assert!(world.nodes[&leader].log.high_watermark >= start, "R6");
    });
}

impl World {
    /// Waits until somebody else leads.
    fn elect_if_led_by(&mut self, expected: u32) {
        for _ in 0..500 {
            self.play(10).unwrap();
            if self.leader() == Some(expected) {
                return;
            }
        }
        assert!(self.leader().is_some_and(|leader| leader != 1));
    }
}
