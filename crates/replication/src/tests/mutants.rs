//! Who notices when a guard is off or a duty neglected.
//!
//! Each mutant must be found: by the simulation within so many seeds, the one that is known to
//! find it first, or by a unit test, for what this toy world cannot bring about or what another
//! guard stands behind.

use super::sim::{Duty, neglected, run};
use super::{edges, eligible, follower, leader};
use crate::guards::{Guard, without};

/// How many seeds may be tried; the number of a seed changes its meaning with every change of the
/// simulation.
const SEEDS: u64 = 300;

/// Who notices.
enum By {
    /// The simulation, with this seed.
    Seed(u64),
    /// This test.
    Test(fn()),
}

fn guarded(guard: Guard) -> By {
    use By::{Seed, Test};
    match guard {
        Guard::AttachOfThisEpoch => Test(leader::scenario_11_an_attach_of_another_epoch_is_refused),
        Guard::AnswerOfThisEpoch => Test(edges::an_answer_of_another_epoch_is_turned_down),
        Guard::AttachOfThisUptime => {
            Test(leader::scenario_17_a_follower_of_another_uptime_is_neither_fed_nor_proposed)
        }
        Guard::SessionOfThisUptime => {
            Test(edges::scenario_17_a_joiner_that_restarted_since_is_not_proposed)
        }
        Guard::SessionConfirmed => Test(edges::a_session_that_confirms_another_end_is_closed),
        Guard::FreshPosition => Test(edges::every_session_begins_with_a_position_of_nothing),
        Guard::MemberHasCommitted => {
            Test(leader::scenario_17_a_member_without_what_it_acknowledged_leaves_before_it_is_fed)
        }
        Guard::JoinerHasCommitted => {
            Test(leader::a_joiner_behind_the_high_watermark_freezes_it_for_a_moment_only)
        }
        Guard::JoinerHasEpochStart => {
            Test(leader::scenario_4_a_joiner_without_the_start_of_the_epoch_stays_out_below_min_isr)
        }
        Guard::ProposedCounts => Seed(7),
        Guard::LeaverCounts | Guard::PartingByEpochs => Seed(1),
        Guard::LeaverAwaitsMetadata => Test(
            edges::scenario_48_a_leaver_counts_until_the_metadata_tells_by_which_min_isr_it_left,
        ),
        Guard::PendingIsKept => Seed(9),
        Guard::AnswerToThis => {
            Test(leader::scenario_16_an_answer_to_an_older_proposal_says_nothing)
        }
        Guard::MetadataGoesForward => Test(edges::older_metadata_changes_nothing),
        Guard::EligibleLeadersCount => {
            Test(leader::scenario_48_members_of_the_elr_count_while_the_high_watermark_may_move)
        }
        Guard::EligibleAwaitMetadata => {
            Test(edges::scenario_48_who_is_eligible_counts_until_the_metadata_tells_otherwise)
        }
        Guard::ResetSparesMembers => Test(eligible::the_ladder_never_resets_who_may_be_elected),
        Guard::LeaseByOldestEcho => Seed(19),
        Guard::LeaseNeedsMinIsr => Test(edges::scenario_4_no_echo_is_a_lease_below_min_isr),
        Guard::EpochsAdopted => {
            Test(edges::scenario_10_an_own_epoch_without_records_is_forgotten_though_nothing_is_cut)
        }
        Guard::OwnEpochsPart => Test(edges::it_cuts_where_its_own_epochs_part_whatever_it_is_told),
        Guard::NoCutBelowHighWatermark => {
            Test(follower::committed_records_are_not_cut_on_a_clean_chain)
        }
        Guard::CutAsAgreed => Test(edges::a_cut_that_ends_elsewhere_is_agreed_on_anew),
        Guard::AppendOfThisSession => Test(edges::an_append_of_another_session_is_dropped),
        Guard::AppendContinues => {
            Test(follower::an_append_that_does_not_continue_the_log_ends_the_session)
        }
        Guard::LearnedWithinLog => Seed(0),
    }
}

fn owed(duty: Duty) -> u64 {
    match duty {
        Duty::NoCutToHighWatermark | Duty::NothingBelowMinIsr => 1,
        Duty::GrantOutwaited => 2,
        Duty::SyncedCounts => 4,
        Duty::RoleOfThisUptime => 5,
        Duty::LossIsReported => 14,
        Duty::StaleProposalsAreVoid => 32,
        Duty::EchoBySending => 69,
    }
}

/// The first seed to fail, the one that is known first.
fn found(known: u64, fails: impl Fn(u64) -> Option<String>) -> Option<(u64, String)> {
    let others = (0..SEEDS).filter(|seed| *seed != known);
    [known]
        .into_iter()
        .chain(others)
        .find_map(|seed| Some((seed, fails(seed)?)))
}

#[test]
fn scenario_55_somebody_notices_every_guard_that_is_off() {
    for guard in Guard::ALL {
        match guarded(guard) {
            By::Test(test) => {
                test();
                assert!(
                    without(guard, test).is_err(),
                    "its test does not miss {guard:?}"
                );
            }
            By::Seed(known) => {
                let fails = |seed| match without(guard, || run(seed)) {
                    Ok(outcome) => outcome.err(),
                    Err(panic) => Some(panic),
                };
                let trace = found(known, fails);
                assert!(trace.is_some(), "no seed misses {guard:?}");
                println!("{guard:?}: {trace:?}");
            }
        }
    }
}

#[test]
fn scenario_55_somebody_notices_every_duty_that_is_neglected() {
    for duty in Duty::ALL {
        let trace = found(owed(duty), |seed| neglected(duty, || run(seed)).err());
        assert!(trace.is_some(), "no seed misses {duty:?}");
        println!("{duty:?}: {trace:?}");
    }
}
