//! During each fault doctor names the true cause and what is being done, from the facts that the
//! nodes have then.

mod support;

use std::time::Duration;

use plimsoll_controller::{Drain, Image, Record};
use plimsoll_health::{Disk, Link, Repair, ReplicaFacts, Session, diagnose};
use plimsoll_replicator::ReplicaStatus;
use plimsoll_types::{LeaderEpoch, Offset};
use serde_json::Value;
use support::cluster::{cluster, id, image, key};

/// What a node's replicator would tell of a replica with these facts.
fn told(facts: &ReplicaFacts) -> ReplicaStatus {
    ReplicaStatus {
        key: key(0),
        node: facts.node,
        leader: facts.leader,
        leader_epoch: LeaderEpoch::default(),
        log_start: facts.log_start,
        log_end: facts.log_end,
        durable_end: facts.log_end,
        high_watermark: facts.high_watermark,
        behind: facts.behind(),
        in_isr: facts.in_isr,
        lag: (facts.behind() > 0).then_some(facts.behind_for),
        verified_end: None,
        diagnosis: diagnose(facts),
    }
}

fn well(node: u32) -> ReplicaFacts {
    ReplicaFacts::healthy(id(node), id(1), Offset::new(1_000))
}

/// Node 3, out of sync and 200 records behind.
fn behind() -> ReplicaFacts {
    ReplicaFacts {
        in_isr: false,
        isr: 2,
        leader_log_end: Some(Offset::new(1_200)),
        behind_for: Duration::from_secs(5),
        ..well(3)
    }
}

/// What node 1, which leads, and node 3 say of node 3's replica; `None`: it says nothing.
struct Fault {
    name: &'static str,
    image: Image,
    leader: ReplicaFacts,
    leaders_word: ReplicaFacts,
    own_word: Option<ReplicaFacts>,
    /// Doctor's verdict, the codes of its findings, and words of the first one's action.
    expected: (&'static str, &'static [&'static str], &'static str),
}

fn faults() -> Vec<Fault> {
    let down = || Link::Down {
        since: Duration::from_millis(1_200),
        attempts: 0,
        next_attempt: Duration::from_secs(2),
    };
    let stalled = || Session::Stalled {
        since: Duration::from_secs(3),
        attempts: 1,
        next_attempt: Duration::from_secs(2),
    };
    let fault = |name, expected| Fault {
        name,
        image: image(None, &[1, 2], Some(1)),
        leader: well(1),
        leaders_word: behind(),
        own_word: Some(behind()),
        expected,
    };
    let gone = || ReplicaFacts {
        link: down(),
        fenced: Some(Duration::from_secs(1)),
        ..behind()
    };
    let own = |facts: ReplicaFacts| Some(facts);
    vec![
        Fault {
            image: image(Some(3), &[1, 2], Some(1)),
            leaders_word: gone(),
            own_word: None,
            ..fault("kill", ("degraded", &["R002"], "connecting again"))
        },
        Fault {
            leaders_word: behind(),
            own_word: own(ReplicaFacts {
                paused: Some(Duration::from_secs(8)),
                ..behind()
            }),
            ..fault(
                "pause, after it",
                ("degraded", &["R018"], "going on where it was"),
            )
        },
        Fault {
            leaders_word: ReplicaFacts {
                session: stalled(),
                ..behind()
            },
            own_word: own(ReplicaFacts {
                disk: Disk::Full {
                    free_bytes: 1 << 20,
                    needs_bytes: 64 << 20,
                },
                ..behind()
            }),
            ..fault("disk full", ("degraded", &["R001"], "goes on by itself"))
        },
        Fault {
            leaders_word: ReplicaFacts {
                session: stalled(),
                ..behind()
            },
            own_word: own(ReplicaFacts {
                disk: Disk::Failed {
                    since: Duration::from_secs(2),
                    error: "Input/output error".to_owned(),
                },
                ..behind()
            }),
            ..fault("failed sync", ("degraded", &["R010"], "read in full"))
        },
        Fault {
            own_word: own(ReplicaFacts {
                repair: Some(Repair::Corrupt {
                    from: Offset::new(100),
                    to: Offset::new(140),
                    copied_to: Offset::new(120),
                }),
                ..behind()
            }),
            ..fault(
                "flipped bit",
                ("degraded", &["R004"], "from a verified replica"),
            )
        },
        Fault {
            leaders_word: ReplicaFacts {
                session: stalled(),
                ..behind()
            },
            ..fault(
                "the founding failure: connected, and nothing moves",
                ("degraded", &["R006"], "beginning the stream anew"),
            )
        },
        Fault {
            own_word: own(ReplicaFacts {
                repair: Some(Repair::Lost {
                    from: Offset::new(0),
                    copied_to: Offset::new(700),
                }),
                ..behind()
            }),
            ..fault(
                "wiped directory",
                ("degraded", &["R011"], "copying all of it"),
            )
        },
        Fault {
            image: drained(3),
            leaders_word: ReplicaFacts {
                draining: true,
                ..well(3)
            },
            own_word: own(ReplicaFacts {
                draining: true,
                ..well(3)
            }),
            ..fault("drain", ("degraded", &["R019"], "keeping leaderships away"))
        },
        Fault {
            image: image(Some(3), &[1], Some(1)),
            leader: ReplicaFacts {
                isr: 1,
                min_isr: 2,
                ..well(1)
            },
            leaders_word: gone(),
            own_word: None,
            ..fault(
                "too few left",
                ("unhealthy", &["R016", "R002"], "refusing acks=all"),
            )
        },
    ]
}

fn drained(node: u32) -> Image {
    let mut image = image(None, &[1, 2, 3], Some(1));
    let draining = Record::NodeStateSet {
        node: id(node),
        fenced: false,
        drain: Drain {
            kept: true,
            ..Drain::NO
        },
    };
    image.apply(&draining).expect("fits");
    image
}

#[tokio::test]
async fn doctor_names_the_true_cause_and_what_is_done() {
    for fault in faults() {
        let own = vec![
            told(&fault.leader),
            told(&well(2)),
            told(&fault.leaders_word),
        ];
        let mut others = vec![(2, vec![told(&well(2))])];
        others.extend(fault.own_word.as_ref().map(|word| (3, vec![told(word)])));
        let node = cluster(fault.image, Some(1), own, others).await;
        let doctor = node.get("/v1/doctor").await.json();
        let (verdict, codes, action) = fault.expected;
        let problems = doctor["problems"].as_array().expect("a list");
        let found: Vec<&str> = problems.iter().filter_map(|p| p["code"].as_str()).collect();
        assert_eq!(found, codes, "{}: {doctor:#}", fault.name);
        assert_eq!(doctor["verdict"], verdict, "{}: {doctor:#}", fault.name);
        let words = problems[0]["action"].as_str().expect("text");
        assert!(words.contains(action), "{}: {words}", fault.name);
        for problem in problems {
            assert_ne!(problem["advice"], Value::Null, "{}", fault.name);
        }
    }
}

#[tokio::test]
async fn a_node_that_no_controller_answers_says_so_and_knows_nothing_else() {
    let own = vec![told(&well(1)), told(&well(2)), told(&well(3))];
    let node = cluster(image(None, &[1, 2, 3], Some(1)), None, own, Vec::new()).await;
    let doctor = node.get("/v1/doctor").await.json();
    assert_eq!(doctor["verdict"], "unknown", "{doctor:#}");
    let problems = doctor["problems"].as_array().expect("a list");
    let (first, node) = (&problems[0]["code"], &problems[0]["node"]);
    assert_eq!((first, node), (&"R014".into(), &1.into()), "{doctor:#}");
}

#[tokio::test]
async fn a_drained_replica_in_sync_is_in_sync() {
    let drained_facts = ReplicaFacts {
        draining: true,
        ..well(3)
    };
    let own = vec![told(&well(1)), told(&well(2)), told(&drained_facts)];
    let others = vec![(2, vec![told(&well(2))]), (3, vec![told(&drained_facts)])];
    let node = cluster(drained(3), Some(1), own, others).await;
    let unhealthy = node.get("/v1/replicas?unhealthy=1").await.json();
    assert_eq!(unhealthy["replicas"], serde_json::json!([]));
}
