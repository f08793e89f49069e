//! Requests and their replies.

use std::time::Duration;

use bytes::Bytes;
use plimsoll_broker::{PeerError as Fault, Peers};
use plimsoll_server::peer::{Identified, PeerError};
use plimsoll_wire::peer::{Reply, Request};

use crate::node::{Node, SOON, id, pair};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_answered_and_the_caller_is_named() {
    let (one, two) = pair();
    assert_eq!(one.ask(2, "who").await.unwrap(), "1");
    assert_eq!(two.ask(1, "who").await.unwrap(), "2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replies_find_their_calls_among_many_under_way() {
    let (one, _two) = pair();
    one.reaches(2).await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..200_u32 {
        let network = std::sync::Arc::clone(&one.network);
        calls.spawn(async move {
            let request = Bytes::from(vec![u8::try_from(number % 251).unwrap(); 10_000]);
            (network.call(id(2), request.clone(), SOON).await, request)
        });
    }
    let mut answered = 0;
    while let Some(done) = calls.join_next().await {
        let (reply, request) = done.unwrap();
        match reply {
            Ok(reply) => {
                assert_eq!(reply, request);
                answered += 1;
            }
            // The limits are small here.
            Err(error) => assert!(
                matches!(error, PeerError::Busy | PeerError::Failed { .. }),
                "{error}"
            ),
        }
    }
    assert!(answered > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_request_goes_through_and_a_too_large_one_is_told() {
    let (one, _two) = pair();
    let large = Bytes::from(vec![7; 7 << 20]);
    let reply = one.network.call(id(2), large.clone(), SOON).await;
    assert_eq!(reply, Ok(large));
    let reply = one.network.call(id(2), Bytes::from(vec![7; 9 << 20]), SOON);
    assert!(matches!(reply.await, Err(PeerError::TooLarge { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_without_answer_times_out_and_the_link_goes_on() {
    let (one, _two) = pair();
    one.reaches(2).await;
    let wait = Duration::from_millis(50);
    for _ in 0..10 {
        let reply = one.network.call(id(2), "never".into(), wait).await;
        // Four such requests are all that the other takes at once.
        let is_slow = reply == Err(PeerError::Timeout(wait));
        assert!(
            is_slow || matches!(reply, Err(PeerError::Failed { .. })),
            "{reply:?}"
        );
    }
    assert_eq!(one.network.counters().lost.get(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_nodes_and_unreachable_ones_are_told_at_once() {
    let one = Node::start(1, Some("c"));
    let reply = one.network.call(id(9), "x".into(), SOON).await;
    assert_eq!(reply, Err(PeerError::Unknown));
    one.network
        .set_addresses([(id(2), "127.0.0.1:1".to_owned())]);
    let reply = one.network.call(id(2), "x".into(), SOON).await;
    assert!(
        matches!(reply, Err(PeerError::Unreachable { .. })),
        "{reply:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_can_be_asked_who_lives_there() {
    let (one, two) = (Node::start(1, Some("c")), Node::start(2, None));
    let found = two.network.identify(&one.address(), None, SOON).await;
    let expected = Identified {
        node: id(1),
        cluster_id: Some("c".to_owned()),
        has_metadata: true,
    };
    assert_eq!(found, Ok(expected));
    let reply = two
        .network
        .call_address(&one.address(), Some(id(1)), "who".into(), SOON)
        .await;
    assert_eq!(reply.unwrap(), "2");
    let at = one.address();
    let wrong = two.network.identify(&at, Some(id(3)), SOON).await;
    let told = wrong.unwrap_err().to_string();
    assert!(told.contains("node 1's, not node 3's"), "{told}");
}

async fn probe(node: &Node) -> Result<Reply, Fault> {
    Peers::call(&*node.network, id(2), Request::Probe, SOON).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_accepts_and_says_nothing_is_not_proven_to_be_gone() {
    let one = Node::start(1, Some("c"));
    let found = probe(&one).await;
    assert!(matches!(found, Err(Fault::Lost(_))), "unknown: {found:?}");
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = mute.local_addr().unwrap().to_string();
    one.network.set_addresses([(id(2), at)]);
    for _ in 0..3 {
        let found = probe(&one).await;
        assert!(matches!(found, Err(Fault::Lost(_))), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_refusal_made_for_the_probe_is_proof_that_a_process_is_gone() {
    let (one, two) = pair();
    one.reaches(2).await;
    let at = two.network.address();
    drop(two);
    crate::node::eventually(|| async { matches!(probe(&one).await, Err(Fault::Unreachable(_))) })
        .await;
    // Long enough for the link to wait before it dials again.
    crate::node::eventually(|| async { one.service.suspected.lock().unwrap().len() >= 4 }).await;
    let request = Request::Query(Bytes::new());
    let other = Peers::call(&*one.network, id(2), request, SOON).await;
    assert!(matches!(other, Err(Fault::Lost(_))), "{other:?}");
    let _two = Node::start_at(2, Some("c"), at);
    let found = probe(&one).await;
    // The stub's echo is no reply, but somebody is there.
    assert!(!matches!(found, Err(Fault::Unreachable(_))), "{found:?}");
}
