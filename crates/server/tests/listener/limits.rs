//! What one connection, one address, and all of them together may take.

use std::sync::atomic::Ordering;

use plimsoll_server::{End, Limits, Refusal};
use tokio::io::AsyncWriteExt;

use crate::echo::{Client, ECHO, Echo, GATED, LARGE, eventually, framed, generous, request, start};

#[tokio::test]
async fn no_more_requests_than_allowed_are_under_way() {
    let echo = Echo::new();
    let server = start(
        &echo,
        Limits {
            max_inflight_requests: 3,
            ..generous()
        },
    );
    let mut client = Client::connect(&server).await;
    let frames: Vec<u8> = (0..10).flat_map(|tag| request(GATED, tag)).collect();
    client.send(&frames).await;
    eventually(|| echo.running.load(Ordering::SeqCst) == 3).await;
    for tag in 0..10 {
        assert!(echo.running.load(Ordering::SeqCst) <= 3);
        echo.gate.add_permits(1);
        assert_eq!(client.tag().await, tag);
    }
}

#[tokio::test]
async fn no_request_is_started_while_too_many_reply_bytes_wait() {
    let echo = Echo::new();
    let server = start(
        &echo,
        Limits {
            max_queued_reply_bytes: 1 << 20,
            ..generous()
        },
    );
    let mut client = Client::connect(&server).await;
    let frames: Vec<u8> = (0..10).flat_map(|_| request(LARGE, 8 << 20)).collect();
    client.send(&frames).await;
    eventually(|| server.counters().requests.get() > 0).await;
    let mut other = Client::connect(&server).await;
    other.send(&request(ECHO, 1)).await;
    assert_eq!(other.tag().await, 1);
    assert_eq!(
        echo.started.lock().expect("not poisoned").len(),
        2,
        "one large, one echo"
    );
    for _ in 0..10 {
        assert_eq!(client.reply().await.len(), 8 << 20);
    }
}

#[tokio::test]
async fn bytes_above_the_budget_of_all_connections_are_left_in_the_socket() {
    let echo = Echo::new();
    let budget = 256 << 10;
    let server = start(
        &echo,
        Limits {
            max_inflight_request_bytes: budget,
            ..generous()
        },
    );
    let mut parked = Client::connect(&server).await;
    let mut large = vec![0; budget];
    large[0] = GATED;
    parked.send(&framed(&large)).await;
    eventually(|| echo.running.load(Ordering::SeqCst) == 1).await;

    let mut waiting = Client::connect(&server).await;
    let mut frame = vec![0; 16 << 10];
    frame[0] = ECHO;
    waiting.send(&framed(&frame)).await;
    eventually(|| server.counters().starved.get() > 0).await;
    assert_eq!(echo.started.lock().expect("not poisoned").len(), 1);

    echo.gate.add_permits(1);
    assert_eq!(waiting.reply().await, frame);
    assert_eq!(parked.reply().await.len(), budget);
    assert_eq!(server.stats().inflight_request_bytes(), 0);
}

#[tokio::test]
async fn small_requests_are_served_while_memory_is_used_up() {
    let echo = Echo::new();
    let budget = 64 << 10;
    let server = start(
        &echo,
        Limits {
            max_inflight_request_bytes: budget,
            ..generous()
        },
    );
    let mut parked = Client::connect(&server).await;
    let mut large = vec![0; budget];
    large[0] = GATED;
    parked.send(&framed(&large)).await;
    eventually(|| echo.running.load(Ordering::SeqCst) == 1).await;
    let mut small = Client::connect(&server).await;
    for tag in 0..3 {
        small.send(&request(ECHO, tag)).await;
        assert_eq!(small.tag().await, tag);
    }
    echo.gate.add_permits(1);
    assert_eq!(parked.reply().await.len(), budget);
}

#[tokio::test]
async fn unfinished_frames_that_use_up_memory_are_given_up_the_greatest_first() {
    let server = start(
        &Echo::new(),
        Limits {
            max_frame_bytes: 1 << 30,
            max_inflight_request_bytes: 64 << 20,
            ..generous()
        },
    );
    let mut greedy = Client::connect(&server).await;
    let mut half = framed(&[]);
    half[..4].copy_from_slice(&(1_u32 << 30).to_be_bytes());
    half.resize(64 << 20, 0);
    let mut honest = Client::connect(&server).await;
    let mut frame = vec![0; 1 << 20];
    frame[0] = ECHO;
    let honest_frame = framed(&frame);
    // The greedy one is cut while it sends, or when it has sent.
    let _ = greedy.0.write_all(&half).await;
    honest.send(&honest_frame).await;
    assert!(honest.reply().await == frame);
    assert_eq!(server.counters().ended(End::RequestMemory), 1);
}

#[tokio::test]
async fn connections_above_the_limit_are_closed_and_counted() {
    let server = start(
        &Echo::new(),
        Limits {
            max_connections: 1,
            ..generous()
        },
    );
    let mut first = Client::connect(&server).await;
    first.send(&request(ECHO, 1)).await;
    assert_eq!(first.tag().await, 1);
    Client::connect(&server).await.closed().await;
    assert_eq!(server.counters().refused(Refusal::TooManyConnections), 1);
    drop(first);
    eventually(|| server.counters().open.get() == 0).await;
    let mut next = Client::connect(&server).await;
    next.send(&request(ECHO, 2)).await;
    assert_eq!(next.tag().await, 2);
}

#[tokio::test]
async fn connections_above_the_limit_of_one_address_are_closed_and_counted() {
    let server = start(
        &Echo::new(),
        Limits {
            max_connections_per_address: 1,
            ..generous()
        },
    );
    let _first = Client::connect(&server).await;
    Client::connect(&server).await.closed().await;
    assert_eq!(server.counters().refused(Refusal::TooManyFromAddress), 1);
}

#[tokio::test]
async fn bytes_and_requests_are_counted() {
    let server = start(&Echo::new(), generous());
    let mut client = Client::connect(&server).await;
    client.send(&request(ECHO, 1)).await;
    client.tag().await;
    client.0.shutdown().await.expect("open");
    client.closed().await;
    let counters = server.counters();
    assert_eq!((counters.bytes_in.get(), counters.bytes_out.get()), (9, 9));
    assert_eq!((counters.requests.get(), counters.accepted.get()), (1, 1));
}
