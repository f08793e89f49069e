//! Each fault maps to its true cause, and healthy facts to none.

mod scenarios;

use std::time::Duration;

use plimsoll_health::{
    Cause, Diagnosis, Disk, Link, MetadataLag, Repair, ReplicaFacts, Session, causes_page,
    diagnose, explain,
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
    let drained = ReplicaFacts {
        draining: true,
        ..healthy()
    };
    for facts in [healthy(), leader(), momentary, alone, drained] {
        let found = diagnose(&facts);
        assert!(found.is_well(), "{found}");
        assert_eq!((found.cause, found.advice), (None, None));
    }
}

#[test]
fn a_pause_explains_only_what_it_did() {
    let paused = Some(seconds(3));
    let kept = ReplicaFacts {
        paused,
        ..healthy()
    };
    assert!(diagnose(&kept).is_well(), "{}", diagnose(&kept));
    let fenced = ReplicaFacts {
        fenced: Some(seconds(1)),
        ..kept
    };
    assert_eq!(diagnose(&fenced).cause, Some(Cause::PausedProcess));
    let from = offset(0);
    let copied_to = offset(1);
    let lost = ReplicaFacts {
        paused,
        repair: Some(Repair::Lost { from, copied_to }),
        ..behind()
    };
    assert_eq!(diagnose(&lost).cause, Some(Cause::LostLog));
}

#[test]
fn a_new_replica_that_counts_is_well_while_its_stream_begins() {
    // As in the first second after a topic's creation: the leader is asked before it leads, or the
    // connection is not there yet.
    let refused = Session::Refused {
        since: Duration::from_millis(300),
        why: "it does not lead yet".to_owned(),
        attempts: 2,
        next_attempt: Duration::from_millis(100),
    };
    let connecting = Link::Down {
        since: Duration::from_millis(300),
        attempts: 0,
        next_attempt: Duration::from_millis(50),
    };
    for (session, link) in [(refused, Link::Up), (Session::Streaming, connecting)] {
        let new = ReplicaFacts {
            session,
            link,
            ..healthy()
        };
        assert!(diagnose(&new).is_well(), "{}", diagnose(&new));
        let fenced = ReplicaFacts {
            fenced: Some(Duration::ZERO),
            ..new
        };
        assert!(diagnose(&fenced).cause.is_some());
    }
}

#[test]
fn evidence_leaves_out_what_is_not_known() {
    let facts = ReplicaFacts {
        link: Link::Down {
            since: Duration::ZERO,
            attempts: 0,
            next_attempt: seconds(2),
        },
        fenced: Some(Duration::ZERO),
        ..behind()
    };
    let evidence = "no connection between nodes 1 and 3; 500 records behind";
    assert_eq!(diagnose(&facts).evidence, evidence);
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
fn the_page_of_causes_says_what_explain_says() {
    let page = include_str!("../../../docs/causes.md");
    let hint = "cargo run -p plimsoll-health --example causes > docs/causes.md";
    assert_eq!(page, causes_page(), "{hint}");
    for cause in Cause::ALL {
        let words = cause.explanation();
        for text in [words.meaning, words.heals, words.person] {
            assert!(
                page.contains(text) && words.to_string().contains(text),
                "{cause}"
            );
        }
    }
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
