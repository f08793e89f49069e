//! Elections, partitions, restarts, members.

use super::harness::{Cluster, QUICK, address, id, until};
use super::*;
use std::collections::HashSet;

#[test]
fn a_single_voter_leads_at_once_after_each_open() {
    let mut cluster = Cluster::of(1);
    cluster.timing = Timing {
        election_min: Duration::from_secs(20),
        election_max: Duration::from_secs(40),
        ..QUICK
    };
    for round in 0..3 {
        cluster.start(0, true);
        assert!(cluster.nodes[0].propose(&format!("{round}")).is_ok());
        cluster.agree_on(&format!("{round}"));
        assert_eq!(cluster.nodes[0].seen.len(), round + 1);
        cluster.kill(0);
    }
}

#[test]
fn entries_proposed_anywhere_come_out_everywhere_in_one_order() {
    let mut cluster = Cluster::formed(3);
    for round in 0..30 {
        cluster.commit(round % 3, &format!("entry {round}"));
    }
    cluster.agree_on("entry 29");
    assert_eq!(cluster.nodes[0].seen.len(), 30);
}

#[test]
fn a_killed_leader_is_replaced_and_catches_up_when_it_returns() {
    let mut cluster = Cluster::formed(3);
    cluster.commit(0, "before");
    let leader = cluster.leader();
    cluster.kill(leader);
    let next = cluster.leader();
    assert_ne!(next, leader);
    cluster.commit(next, "without");
    cluster.start(leader, false);
    cluster.leader();
    cluster.commit(leader, "after");
    cluster.agree_on("after");
}

#[test]
fn a_leader_without_a_majority_commits_nothing() {
    let mut cluster = Cluster::formed(3);
    cluster.commit(0, "before");
    let old = cluster.leader();
    cluster.cut(old);
    let lost = cluster.nodes[old].propose("lost");
    assert!(matches!(lost, Err(QuorumError::Unknown { .. })), "{lost:?}");
    let barrier = cluster.nodes[old].quorum().read_barrier().wait();
    assert!(barrier.is_err(), "{barrier:?}");
    let next = cluster.leader();
    cluster.commit(next, "kept");
    cluster.heal();
    cluster.leader();
    cluster.commit(old, "after");
    cluster.agree_on("after");
    assert!(
        cluster.nodes[0]
            .seen
            .iter()
            .all(|(_, bytes)| bytes != "lost")
    );
}

#[test]
fn a_node_that_was_cut_off_does_not_unseat_the_leader() {
    let cluster = Cluster::formed(3);
    let leader = cluster.leader();
    let term = cluster.nodes[leader].status().term;
    let other = (leader + 1) % 3;
    cluster.cut(other);
    // Several election timeouts.
    for _ in 0..300 {
        std::thread::park_timeout(Duration::from_millis(5));
    }
    cluster.heal();
    cluster.leader();
    cluster.commit(other, "after");
    assert_eq!(cluster.nodes[leader].status().term, term);
}

#[test]
fn a_node_that_is_alone_takes_others_in_also_after_it_moved() {
    let mut cluster = Cluster::of(1);
    cluster.start(0, true);
    cluster.commit(0, "alone");
    cluster.kill(0);
    cluster.move_to(0, "elsewhere:1");
    cluster.start(0, true);
    cluster.commit(0, "moved");
    let second = cluster.add();
    cluster.join_at(second, "elsewhere:1");
    let third = cluster.add();
    cluster.join_at(third, "elsewhere:1");
    cluster.agree_on("moved");
    cluster.commit(second, "joined");
    for place in [second, third] {
        let node = id(cluster.nodes[place].number);
        cluster.nodes[0].quorum().promote(node).wait().unwrap();
    }
    cluster.kill(0);
    let next = cluster.leader();
    cluster.commit(next, "without the first");
    cluster.agree_on("without the first");
}

#[test]
fn a_node_with_a_new_directory_is_answered_as_soon_as_it_knows_where_the_leader_is() {
    let mut cluster = Cluster::of(3);
    cluster.timing.request = Duration::from_secs(120);
    for place in [1, 2, 0] {
        cluster.start(place, place == 0);
    }
    let leader = cluster.leader();
    cluster.commit(leader, "before");
    let lost = (leader + 1) % 3;
    cluster.kill(lost);
    cluster.wipe(lost);
    cluster.start(lost, false);
    let barrier = cluster.nodes[lost].quorum().read_barrier();
    let waiting = std::thread::spawn(move || barrier.wait());
    until("an answer", || waiting.is_finished());
    assert!(waiting.join().unwrap().is_ok());
}

/// So long that nothing happens by it.
const NO_CLOCK: Timing = Timing {
    election_min: Duration::from_secs(20),
    election_max: Duration::from_secs(40),
    ..QUICK
};

#[test]
fn a_leader_whose_process_is_gone_is_replaced_without_waiting_for_a_clock() {
    let mut cluster = Cluster::of(3);
    cluster.timing = NO_CLOCK;
    for place in [1, 2, 0] {
        cluster.start(place, place == 0);
    }
    for round in 0..2 {
        let leader = cluster.leader();
        cluster.commit(leader, &format!("before {round}"));
        cluster.agree_on(&format!("before {round}"));
        let gone = id(cluster.nodes[leader].number);
        cluster.kill(leader);
        // As a process that dies is noticed: by all, and again at each attempt to reach it.
        let up = cluster.up();
        until("another leader", || {
            let led = up.iter().map(|place| cluster.nodes[*place].status().leader);
            let suspects = up.iter().map(|place| cluster.nodes[*place].quorum());
            suspects.for_each(|quorum| quorum.suspect(gone));
            led.collect::<HashSet<_>>().len() == 1
                && cluster.nodes[up[0]]
                    .status()
                    .leader
                    .is_some_and(|led| led != gone)
        });
        let next = cluster.leader();
        cluster.commit(next, &format!("without {round}"));
        cluster.start(leader, false);
        cluster.commit(leader, &format!("after {round}"));
        cluster.agree_on(&format!("after {round}"));
    }
}

#[test]
fn a_suspicion_that_nobody_shares_unseats_nobody() {
    let mut cluster = Cluster::of(3);
    cluster.timing = NO_CLOCK;
    for place in [1, 2, 0] {
        cluster.start(place, place == 0);
    }
    let leader = cluster.leader();
    let before = cluster.nodes[leader].status();
    let follower = (leader + 1) % 3;
    for round in 0..20 {
        cluster.nodes[follower].quorum().suspect(before.me);
        cluster.commit(follower, &format!("entry {round}"));
    }
    cluster.agree_on("entry 19");
    let after = cluster.nodes[leader].status();
    assert_eq!((after.term, after.role), (before.term, before.role));
}

#[test]
fn a_voter_that_was_wrong_about_the_leader_does_not_help_to_unseat_it() {
    let mut cluster = Cluster::formed(3);
    cluster.commit(0, "before");
    let leader = cluster.leader();
    let before = cluster.nodes[leader].status();
    let (wrong, away) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.agree_on("before");
    cluster.nodes[wrong].quorum().suspect(before.me);
    cluster.cut(away);
    until("it looks for a leader", || {
        let silence = cluster.nodes[leader].status().progress;
        let of = id(cluster.nodes[away].number);
        silence.iter().any(|(node, _, age)| {
            *node == of && age.is_some_and(|age| age > QUICK.election_max * 4)
        })
    });
    cluster.heal();
    until("it is heard again", || {
        let silence = cluster.nodes[leader].status().progress;
        silence
            .iter()
            .all(|(.., age)| age.is_none_or(|age| age < QUICK.heartbeat * 2))
    });
    cluster.commit(away, "after");
    cluster.agree_on("after");
    assert_eq!(cluster.nodes[leader].status().term, before.term);
}

#[test]
fn all_return_from_their_disks() {
    let mut cluster = Cluster::formed(3);
    cluster.commit(0, "one");
    cluster.commit(1, "two");
    for _ in 0..2 {
        (0..3).for_each(|place| cluster.kill(place));
        (0..3).for_each(|place| cluster.start(place, place == 0));
        cluster.leader();
        cluster.agree_on("two");
        assert_eq!(cluster.nodes[2].seen.len(), 2);
    }
}

#[test]
fn a_follower_far_behind_gets_a_snapshot_and_what_follows() {
    let mut cluster = Cluster::formed(3);
    let leader = cluster.leader();
    let behind = (leader + 1) % 3;
    cluster.kill(behind);
    cluster.leader();
    for round in 0..300 {
        cluster.commit(leader, &format!("entry {round}"));
    }
    for place in cluster.up() {
        assert!(cluster.nodes[place].quorum().wants_snapshot());
        until("applied", || {
            cluster.nodes[place].read();
            cluster.nodes[place].seen.len() == 300
        });
        cluster.nodes[place].snapshot();
        assert!(!cluster.nodes[place].quorum().wants_snapshot());
    }
    for round in 300..600 {
        cluster.commit(leader, &format!("entry {round}"));
    }
    for place in cluster.up() {
        until("applied", || {
            cluster.nodes[place].read();
            cluster.nodes[place].seen.len() == 600
        });
        cluster.nodes[place].snapshot();
        until("the log is short", || {
            let shared = &cluster.nodes[place].quorum().shared;
            drop(shared.commands.try_send(node::Command::Kept));
            shared.store.purged().is_some_and(|id| id.index > 300)
        });
    }
    cluster.start(behind, false);
    cluster.leader();
    cluster.commit(behind, "last");
    cluster.agree_on("last");
    assert_eq!(cluster.nodes[behind].snapshots, 1);
    cluster.kill(behind);
    cluster.start(behind, false);
    cluster.leader();
    cluster.agree_on("last");
}

#[test]
fn a_learner_joins_through_a_seed_proposes_reads_and_is_promoted() {
    let mut cluster = Cluster::formed(3);
    cluster.commit(0, "before");
    let follower = (cluster.leader() + 1) % 3;
    let learner = cluster.add();
    let seed = cluster.nodes[follower].number;
    cluster.join(learner, &[seed]);
    until("it is a learner", || {
        let status = cluster.nodes[learner].status();
        status.learners.get(&id(4)) == Some(&address(4))
    });
    cluster.leader();
    cluster.commit(learner, "from the learner");
    let index = cluster.nodes[learner]
        .quorum()
        .read_barrier()
        .wait()
        .unwrap();
    cluster.nodes[learner].read();
    assert_eq!(cluster.nodes[learner].seen.last().unwrap().0, index);
    cluster.agree_on("from the learner");

    cluster.nodes[follower]
        .quorum()
        .promote(id(4))
        .wait()
        .unwrap();
    until("it votes", || {
        cluster.nodes[learner].status().voters.contains_key(&id(4))
    });
    cluster.nodes[learner]
        .quorum()
        .transfer(id(4))
        .wait()
        .unwrap();
    assert_eq!(cluster.leader(), learner);
    cluster.commit(follower, "led by the learner");
    cluster.agree_on("led by the learner");
    let status = cluster.nodes[learner].status();
    assert_eq!(status.progress.len(), 4);

    cluster.nodes[learner]
        .quorum()
        .remove(id(1))
        .wait()
        .unwrap();
    until("it is gone", || {
        !cluster.nodes[learner].status().voters.contains_key(&id(1))
    });
    cluster.kill(0);
    cluster.commit(learner, "of three");
    cluster.agree_on("of three");
}

#[test]
fn a_voter_that_lost_its_directory_does_not_vote_before_it_has_caught_up() {
    let mut cluster = Cluster::formed(3);
    let leader = cluster.leader();
    let (lost, late) = ((leader + 1) % 3, (leader + 2) % 3);
    // Committed by the leader and the one that will lose it.
    cluster.kill(late);
    cluster.leader();
    cluster.commit(leader, "committed");
    cluster.kill(leader);
    cluster.kill(lost);
    cluster.wipe(lost);
    // These two are a majority, and neither has the entry.
    cluster.start(late, false);
    cluster.start(lost, false);
    for _ in 0..300 {
        std::thread::park_timeout(Duration::from_millis(5));
        assert!(
            cluster
                .up()
                .iter()
                .all(|p| cluster.nodes[*p].status().role != Role::Leader)
        );
    }
    cluster.start(leader, false);
    cluster.leader();
    cluster.agree_on("committed");
    // By now it counts again.
    until("its fence is open", || {
        cluster.nodes[lost].quorum().shared.store.fence() == store::Fence::Open
    });
    cluster.kill(leader);
    cluster.leader();
    cluster.commit(late, "of two");
    cluster.agree_on("of two");
}

#[test]
fn many_requests_without_a_leader_do_not_keep_one_from_being_elected() {
    let mut cluster = Cluster::of(3);
    // Thousands of them take their time on a machine that has other things to do.
    cluster.timing.request = Duration::from_secs(30);
    for place in [1, 2, 0] {
        cluster.start(place, place == 0);
    }
    let leader = cluster.leader();
    let other = (leader + 1) % 3;
    cluster.kill(leader);
    let quorum = cluster.nodes[other].quorum().clone();
    let proposals: Vec<_> = (0..6000)
        .map(|n| quorum.propose(format!("entry {n}").into(), crate::Room::Free))
        .collect();
    drop(quorum);
    cluster.leader();
    let outcomes: Vec<_> = proposals.into_iter().map(Answer::wait).collect();
    let done = outcomes.iter().filter(|outcome| outcome.is_ok()).count();
    let busy = outcomes
        .iter()
        .filter(|outcome| **outcome == Err(QuorumError::Busy))
        .count();
    assert!(done > 0 && busy > 0, "{done} done, {busy} refused");
    cluster.commit(other, "last");
    cluster.agree_on("last");
}

#[test]
fn requests_are_answered_by_their_deadline() {
    let mut cluster = Cluster::of(3);
    cluster.timing.request = Duration::from_millis(300);
    cluster.start(0, false);
    assert_eq!(
        cluster.nodes[0].propose("nobody"),
        Err(QuorumError::NoLeader)
    );
    let barrier = cluster.nodes[0].quorum().read_barrier().wait();
    assert_eq!(barrier, Err(QuorumError::NoLeader));
    let proposal = cluster.nodes[0]
        .quorum()
        .propose("late".into(), crate::Room::Free);
    cluster.nodes[0].quorum().shutdown();
    assert!(proposal.wait().is_err());
    let refused = cluster.nodes[0].propose("stopped");
    assert!(
        matches!(refused, Err(QuorumError::Stopped(_))),
        "{refused:?}"
    );
}
