//! What ends links, and that they come back.

use plimsoll_broker::Peers;
use plimsoll_server::peer::{Purpose, Way};
use plimsoll_types::BrokerEpoch;

use crate::node::{Node, eventually, id, pair};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_restarts_is_reached_again_and_was_suspected_meanwhile() {
    let (one, two) = pair();
    one.reaches(2).await;
    let at = two.network.address();
    drop(two);
    eventually(|| async { !one.service.suspected.lock().unwrap().is_empty() }).await;
    assert_eq!(one.service.suspected.lock().unwrap()[0], id(2));
    let _two = Node::start_at(2, Some("c"), at);
    one.reaches(2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_moves_is_followed() {
    let (one, two) = pair();
    one.reaches(2).await;
    let moved = Node::start(2, Some("c"));
    one.knows(2, &moved);
    drop(two);
    one.reaches(2).await;
    assert!(
        moved
            .service
            .answered
            .load(std::sync::atomic::Ordering::Relaxed)
            > 0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_clusters_node_is_turned_away_and_says_so() {
    let (one, two) = (Node::start(1, Some("a")), Node::start(2, Some("b")));
    one.knows(2, &two);
    let told = one.ask(2, "x").await.unwrap_err();
    assert!(told.contains("cluster b, not to a"), "{told}");
    assert!(two.network.counters().denied.get() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn traffic_for_a_node_does_not_reach_another_at_its_address() {
    let (one, three) = (Node::start(1, Some("c")), Node::start(3, Some("c")));
    one.knows(2, &three);
    let told = one.ask(2, "x").await.unwrap_err();
    assert!(told.contains("node 3's, not node 2's"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_with_one_id_are_told() {
    let (one, other) = (Node::start(1, Some("c")), Node::start(1, Some("c")));
    let told = one
        .network
        .identify(&other.address(), None, crate::node::SOON)
        .await;
    let told = told.unwrap_err().to_string();
    assert!(told.contains("each needs an id of its own"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_ends_links_by_silence_whichever_way_and_healing_brings_them_back() {
    for way in [Way::In, Way::Out, Way::Both] {
        let (one, two) = pair();
        one.reaches(2).await;
        two.reaches(1).await;
        one.network.cut(id(2), way);
        eventually(|| async { one.network.counters().lost.get() > 0 }).await;
        assert!(one.ask(2, "x").await.is_err());
        // Nobody refused anything: a network that drops packets proves nothing about a process.
        assert!(one.service.suspected.lock().unwrap().is_empty());
        one.network.heal(id(2));
        one.reaches(2).await;
        two.reaches(1).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_carry_frames_both_ways_and_are_opened_again() {
    let (one, two) = pair();
    one.network.want_streams(&[(id(2), Purpose::InSync)]);
    eventually(|| async { two.service.streams.lock().unwrap().opened == 1 }).await;
    one.service.send(b"ask", b"");
    two.service.send(b"append", b"records");
    eventually(|| async { !one.service.streams.lock().unwrap().received.is_empty() }).await;
    eventually(|| async { !two.service.streams.lock().unwrap().received.is_empty() }).await;
    let received = one.service.streams.lock().unwrap().received[0].clone();
    assert_eq!(received, ("append".into(), "records".into()));

    one.service.send(b"poison", b"");
    eventually(|| async { two.service.streams.lock().unwrap().opened == 2 }).await;
    eventually(|| async { one.service.streams.lock().unwrap().closed == 1 }).await;
    assert_eq!(two.service.streams.lock().unwrap().closed, 1);

    one.network.want_streams(&[]);
    eventually(|| async { one.service.streams.lock().unwrap().closed == 2 }).await;
    eventually(|| async { two.service.streams.lock().unwrap().closed == 2 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_a_registration_of_before_end_and_are_opened_as_of_the_new_one() {
    let (one, two) = pair();
    let epochs = || two.service.callers.lock().unwrap().clone();
    one.network.want_streams(&[(id(2), Purpose::InSync)]);
    eventually(|| async { epochs() == [Some(BrokerEpoch(1))] }).await;
    one.network.registered(BrokerEpoch(2));
    one.network.want_streams(&[(id(2), Purpose::InSync)]);
    eventually(|| async { epochs() == [1, 2].map(|epoch| Some(BrokerEpoch(epoch))) }).await;
    eventually(|| async { one.service.streams.lock().unwrap().closed == 1 }).await;
}
