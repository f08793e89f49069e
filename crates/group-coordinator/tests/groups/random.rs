//! Whatever comes in whatever order: the invariants hold, everyone is answered, and nothing is
//! promised that the log does not have.

use crate::world::{Step, World};
use plimsoll_group_coordinator::ListFilter;
use proptest::prelude::*;
use std::time::Duration;

fn step() -> impl Strategy<Value = Step> {
    let small = 0..4_u8;
    let generation = prop_oneof![6 => Just(0_i8), 1 => -2..=2_i8];
    prop_oneof![
        6 => (0..2_u8, any::<u8>(), small.clone(), 1..4_u8, any::<bool>(), any::<bool>()).prop_map(
            |(group, who, instance, protocols, twice, skip)| Step::Join { group, who, instance, protocols, twice, skip }),
        6 => (0..2_u8, any::<u8>(), generation.clone())
            .prop_map(|(group, who, generation)| Step::Sync { group, who, generation }),
        2 => (0..2_u8, any::<u8>(), generation.clone())
            .prop_map(|(group, who, generation)| Step::Heartbeat { group, who, generation }),
        2 => (0..2_u8, any::<u8>(), small.clone())
            .prop_map(|(group, who, instance)| Step::Leave { group, who, instance }),
        4 => (0..2_u8, any::<u8>(), generation, small.clone())
            .prop_map(|(group, who, generation, partition)| Step::Commit { group, who, generation, partition }),
        1 => (0..2_u8, small).prop_map(|(group, partition)| Step::DeleteOffset { group, partition }),
        1 => (0..2_u8).prop_map(|group| Step::DeleteGroup { group }),
        1 => Just(Step::DeleteTopic),
        8 => prop::bool::weighted(0.1).prop_map(|fails| Step::Write { fails }),
        3 => prop_oneof![4 => 0..2_000_u32, 1 => 0..20_000_u32].prop_map(|ms| Step::Pass { ms }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn everyone_is_answered_once_and_truly(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        // No write ends any more, yet time alone answers everyone.
        world.pass(Duration::from_secs(400));
        prop_assert!(world.waiting.is_empty(), "G5: {:?} wait for ever", world.waiting);
    }

    #[test]
    fn memory_and_log_agree_once_all_writes_ended(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        while !world.under_way.is_empty() {
            world.end_write(false);
        }
        let in_log = world.offsets_in_log();
        prop_assert_eq!(World::offsets_of(&world.coordinator), in_log.clone());
        prop_assert_eq!(World::offsets_of(&world.reload()), in_log);
    }

    #[test]
    fn reloaded_groups_are_no_further_than_those_that_wrote(steps in prop::collection::vec(step(), 1..120)) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        let reloaded = world.reload();
        for listed in reloaded.list(&ListFilter::default()).expect("loaded") {
            let loaded = reloaded.describe(&listed.group).expect("listed");
            // One that is dead by now may be gone, or its deletion be under way.
            if let Ok(live) = world.coordinator.describe(&listed.group) {
                prop_assert!(loaded.generation <= live.generation || live.generation == 0, "G1");
            }
        }
    }
}
