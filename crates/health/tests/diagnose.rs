//! Each fault maps to its true cause, and healthy facts to none.

mod scenarios;

use std::time::Duration;

use plimsoll_health::{
    Cause, Diagnosis, Disk, Link, MetadataLag, ReplicaFacts, Session, diagnose, explain,
};
use scenarios::{
    behind, cases, down, failed, full, healthy, leader, node, offset, seconds, slow, stalled,
};

#[test]
fn each_fault_has_its_true_cause() {
    for (scenario, facts, state, cause) in cases() {
        let found = diagnose(&facts);
        assert_eq!(
            (found.state, found.cause),
            (state, Some(cause)),
            "{scenario}: {found}"
        );
    }
}

#[test]
fn evidence_names_numbers_and_something_is_being_done() {
    for (scenario, facts, _, _) in cases() {
        let Diagnosis {
            evidence, action, ..
        } = diagnose(&facts);
        let has_number = evidence.contains(|c: char| c.is_ascii_digit());
        assert!(has_number, "{scenario}: {evidence}");
        assert!(!action.is_empty(), "{scenario}");
    }
}

#[test]
fn every_cause_is_found_by_some_scenario() {
    let found: Vec<_> = cases().into_iter().map(|(_, _, _, cause)| cause).collect();
    for cause in Cause::ALL {
        assert!(found.contains(cause), "{cause}");
    }
}

#[test]
fn healthy_facts_have_no_cause() {
    let momentary = ReplicaFacts {
        leader_log_end: Some(offset(1_040)),
        behind_for: Duration::from_millis(300),
        paused: Some(Duration::from_millis(40)),
        metadata_lag: Some(MetadataLag {
            changes: 1,
            lasting: Duration::from_millis(10),
        }),
        age: seconds(1),
        ..healthy()
    };
    let alone = ReplicaFacts {
        isr: 1,
        min_isr: 1,
        ..leader()
    };
    for facts in [healthy(), leader(), momentary, alone] {
        let found = diagnose(&facts);
        assert!(found.is_well(), "{found}");
        assert_eq!((found.cause, found.advice), (None, None));
    }
}

#[test]
fn who_is_not_in_sync_has_a_cause_whatever_else_is_known() {
    let disks = [Disk::Healthy, slow(), full(), failed()];
    let links = [Link::Up, down()];
    let attaching = Session::Attaching { since: seconds(1) };
    let sessions = [Session::Streaming, attaching, stalled(0), stalled(9)];
    for disk in &disks {
        for link in &links {
            for session in &sessions {
                for leader in [None, Some(node(1))] {
                    let facts = ReplicaFacts {
                        disk: disk.clone(),
                        link: link.clone(),
                        session: session.clone(),
                        leader,
                        leader_log_end: None,
                        records_per_second: None,
                        ..behind()
                    };
                    assert!(diagnose(&facts).cause.is_some(), "{facts:?}");
                }
            }
        }
    }
}

#[test]
fn the_estimate_is_the_way_by_the_rate() {
    let found = diagnose(&behind());
    assert_eq!(found.estimate, Some(seconds(5)));
    assert_eq!(
        found.to_string(),
        "catching-up (R013 catching-up): 500 records behind, gets 100 records a second; copying \
         from the leader; in sync in about 5.0 s",
    );
}

#[test]
fn the_watchdog_says_which_step_it_is_at() {
    let action = |attempts| {
        diagnose(&ReplicaFacts {
            session: stalled(attempts),
            ..behind()
        })
        .action
    };
    assert_eq!(action(1), "beginning the stream anew");
    assert_eq!(action(3), "sending one batch at a time");
    assert_eq!(action(5), "copying the log anew");
}

#[test]
fn codes_are_in_order_unique_and_explained() {
    for (number, cause) in (1..).zip(Cause::ALL) {
        assert_eq!(cause.code(), format!("R{number:03}"));
        let words = cause.explanation();
        assert_eq!(explain(cause.code()), Some(words));
        assert_eq!(explain(&cause.name().to_uppercase()), Some(words));
        for text in [words.meaning, words.heals, words.person] {
            assert!(text.ends_with('.') || text.ends_with(')'), "{text}");
        }
    }
    assert_eq!(explain("R999"), None);
}

#[test]
fn the_first_codes_mean_what_has_been_published() {
    let names: Vec<_> = Cause::ALL
        .iter()
        .take(9)
        .map(|cause| cause.name())
        .collect();
    assert_eq!(
        names,
        [
            "follower-disk-full",
            "peer-unreachable",
            "diverged",
            "corrupt-range",
            "slow-disk",
            "stalled-stream",
            "throttled",
            "fenced",
            "metadata-lag",
        ],
    );
}
