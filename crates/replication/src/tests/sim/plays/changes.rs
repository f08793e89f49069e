//! Changes of the ISR, of replicas and of min ISR that meet with failures.

use super::*;

#[test]
fn scenario_15_a_controller_that_goes_in_the_middle_of_a_shrink_changes_nothing() {
    for_seeds(|seed, counts| {
        for committed in [false, true] {
            let mut world = World::begin(seed, counts);
            world.cut_off(3, NEVER);
            while world.transactions.is_empty() && world.isr().len() == 3 {
                world.play(10).unwrap();
            }
            if committed {
                while world.isr().len() == 3 {
                    world.play(10).unwrap();
                }
                world.answers.clear();
            } else {
                world.transactions.clear();
            }
            world.no_controller_until = world.now + Duration::from_secs(2);
            world.play(6000).unwrap();
            assert_eq!(world.isr(), [1, 2], "asked for again until it is known");
            let before = world.ledger.end();
            world.play(1000).unwrap();
            assert!(world.ledger.end() > before);
            world.heal(60_000).unwrap();
        }
    });
}

/// Holds back copies of what is proposed until 3 is to be taken in again.
fn expansion_held(seed: u64, counts: Counts) -> World {
    let mut world = World::begin(seed, counts);
    world.cut_off(3, NEVER);
    world.play(5000).unwrap();
    assert_eq!(world.isr(), [1, 2]);
    let now = world.now;
    world.cut_off(3, now);
    let takes_in = |world: &World| {
        let mut all = world.transactions.iter().map(|(_, t)| &t.proposal.new_isr);
        all.any(|isr| isr.iter().any(|(id, _)| *id == node(3)))
    };
    while !takes_in(&world) {
        world.play(10).unwrap();
    }
    for (at, _) in &mut world.transactions {
        *at = now + Duration::from_secs(30);
    }
    world
}

#[test]
fn scenario_16_a_proposal_that_arrives_half_a_minute_late_does_nothing() {
    for_seeds(|seed, counts| {
        let mut world = expansion_held(seed, counts);
        world.play(8000).unwrap();
        assert_eq!(world.isr(), [1, 2, 3], "asked for again and done");
        world.cut_off(2, NEVER);
        world.play(5000).unwrap();
        assert_eq!(world.isr(), [1, 3]);
        world.play(25_000).unwrap();
        assert_eq!(world.isr(), [1, 3], "the late one is void");
        world.heal(60_000).unwrap();
    });
}

#[test]
fn scenario_17_a_late_expansion_takes_in_nobody_who_has_begun_anew() {
    for_seeds(|seed, counts| {
        let mut world = expansion_held(seed, counts);
        world.empty_disk(3);
        // Another directory under a number that lives is turned down until that is fenced.
        world.play(3000).unwrap();
        assert!(world.register(node(3)));
        world.cut(1, 3, NEVER);
        world.play(35_000).unwrap();
        assert_eq!(world.isr(), [1, 2]);
        world.mend();
        world.heal(120_000).unwrap();
    });
}

#[test]
fn scenario_43_a_move_goes_on_whichever_party_falls() {
    for_seeds(|seed, counts| {
        for falls in 1..=4 {
            let mut world = World::begin(seed, counts);
            let wish = Reassign {
                key: key(),
                replicas: Some(vec![4, 2, 3]),
            };
            world.rule(|image| rules::reassign(image, &LIMITS, &wish));
            world.play(300 * (1 + seed % 3)).unwrap();
            world.lose_power(node(falls), 0);
            world.play(3000).unwrap();
            world.heal(120_000).unwrap();
            let mut replicas: Vec<_> = partition(world.image()).replicas.to_vec();
            replicas.sort_unstable();
            assert_eq!(replicas, [2, 3, 4].map(node));
            assert_eq!(world.log(1).end(), 0, "what went is deleted");
        }
    });
}

#[test]
fn scenario_43_a_replica_taken_out_and_put_back_unseen_is_agreed_on_anew() {
    for_seeds(|seed, counts| {
        let mut world = World::begin(seed, counts);
        // 3 hears of both at once.
        world.nodes.get_mut(&node(3)).unwrap().deaf_until = NEVER;
        for replicas in [vec![1, 2], vec![1, 2, 3]] {
            let wish = Reassign {
                key: key(),
                replicas: Some(replicas),
            };
            world.rule(|image| rules::reassign(image, &LIMITS, &wish));
            world.play(300).unwrap();
        }
        assert!(!world.isr().contains(&3));
        world.nodes.get_mut(&node(3)).unwrap().deaf_until = world.now;
        world.heal(60_000).unwrap();
    });
}

#[test]
fn scenario_48_min_isr_goes_up_and_down_while_replicas_come_and_go() {
    for_seeds(|seed, counts| {
        let mut world = World::begin(seed, counts);
        for round in 0..6_u32 {
            let until = world.now + Duration::from_secs(3);
            world.cut_off(2 + round % 2, until);
            for value in ["3", "1", "2"] {
                world.set_config("min.insync.replicas", value);
                world.play(700).unwrap();
            }
        }
        world.set_config("min.insync.replicas", "3");
        world.cut_off(2, NEVER);
        world.play(15_000).unwrap();
        let before = world.ledger.end();
        world.play(2000).unwrap();
        assert_eq!(world.ledger.end(), before, "below the new min ISR");
        world.mend();
        world.heal(120_000).unwrap();
    });
}

#[test]
fn scenario_51_who_has_not_heard_that_it_leads_does_not() {
    for_seeds(|seed, counts| {
        let mut world = World::begin(seed, counts);
        world.nodes.get_mut(&node(2)).unwrap().deaf_until = NEVER;
        world.elect(2);
        world.play(5000).unwrap();
        let leads = |id: u32| matches!(world.nodes[&node(id)].role, Role::Leading(_));
        assert!(!leads(2), "not before it knows");
        assert!(!leads(1), "not after it knows");
        let before = world.ledger.end();
        world.nodes.get_mut(&node(2)).unwrap().deaf_until = world.now;
        world.play(3000).unwrap();
        assert!(world.ledger.end() > before);
        world.heal(60_000).unwrap();
    });
}
