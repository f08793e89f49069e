//! Peers that are broken, slow or not Kafka clients at all.

use std::time::Duration;

use plimsoll_server::{End, Limits};
use tokio::io::AsyncWriteExt;

use crate::echo::{
    CLOSE, Client, ECHO, Echo, GATED, LARGE, PANIC, eventually, generous, request, start,
};

/// Sends `bytes`, and expects a close for that reason while an honest client notices nothing.
async fn closes(bytes: &[u8], reason: End, limits: Limits) {
    let server = start(&Echo::new(), limits);
    let mut honest = Client::connect(&server).await;
    let mut hostile = Client::connect(&server).await;
    hostile.send(bytes).await;
    hostile.closed().await;
    eventually(|| server.counters().ended(reason) == 1).await;
    honest.send(&request(ECHO, 9)).await;
    assert_eq!(honest.tag().await, 9);
}

fn impatient() -> Limits {
    let soon = Duration::from_millis(20);
    Limits {
        max_frame_time: soon,
        max_write_stall: soon,
        half_closed_grace: soon,
        ..generous()
    }
}

#[tokio::test]
async fn a_tls_hello_closes_at_once() {
    closes(
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        End::Tls,
        generous(),
    )
    .await;
}

#[tokio::test]
async fn an_http_request_closes_at_once() {
    closes(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", End::Http, generous()).await;
}

#[tokio::test]
async fn an_oversize_length_closes_before_its_bytes_come() {
    let size = (generous().max_frame_bytes + 1).to_be_bytes();
    closes(&size, End::FrameSize, generous()).await;
}

#[tokio::test]
async fn a_negative_length_closes() {
    closes(&(-1_i32).to_be_bytes(), End::FrameSize, generous()).await;
}

#[tokio::test]
async fn a_sender_that_never_finishes_its_frame_is_closed() {
    closes(&[0, 0, 0, 9, 1, 2, 3], End::SlowSender, impatient()).await;
}

#[tokio::test]
async fn a_sender_that_never_finishes_its_length_is_closed() {
    closes(&[0, 0], End::SlowSender, impatient()).await;
}

#[tokio::test]
async fn a_service_that_refuses_closes_after_the_replies_before_it() {
    let server = start(&Echo::new(), generous());
    let mut client = Client::connect(&server).await;
    client
        .send(&[request(ECHO, 1), request(CLOSE, 2), request(ECHO, 3)].concat())
        .await;
    assert_eq!(client.tag().await, 1);
    client.closed().await;
    eventually(|| server.counters().ended(End::Broker) == 1).await;
}

#[tokio::test]
async fn a_panic_ends_its_connection_and_no_other() {
    closes(&request(PANIC, 0), End::Panicked, generous()).await;
}

#[tokio::test]
async fn a_reader_that_takes_nothing_is_closed() {
    let server = start(&Echo::new(), impatient());
    let mut client = Client::connect(&server).await;
    client.send(&request(LARGE, 64 << 20)).await;
    eventually(|| server.counters().ended(End::SlowReader) == 1).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_with_a_parked_request_is_not() {
    let echo = Echo::new();
    let idle = Limits {
        max_idle: Duration::from_millis(20),
        ..generous()
    };
    let server = start(&echo, idle);
    let mut parked = Client::connect(&server).await;
    parked.send(&request(GATED, 1)).await;
    Client::connect(&server).await.closed().await;
    assert_eq!(server.counters().ended(End::Idle), 1);
    echo.gate.add_permits(1);
    assert_eq!(parked.tag().await, 1);
}

#[tokio::test]
async fn a_half_closed_peer_still_gets_what_it_asked_for() {
    let echo = Echo::new();
    let server = start(&echo, generous());
    let mut client = Client::connect(&server).await;
    client.send(&request(GATED, 1)).await;
    client.0.shutdown().await.expect("open");
    eventually(|| !echo.started.lock().expect("not poisoned").is_empty()).await;
    echo.gate.add_permits(1);
    assert_eq!(client.tag().await, 1);
    client.closed().await;
    eventually(|| server.counters().ended(End::ClientClosed) == 1).await;
}

#[tokio::test]
async fn a_half_closed_peer_does_not_hold_a_connection_for_ever() {
    let echo = Echo::new();
    let server = start(&echo, impatient());
    let mut client = Client::connect(&server).await;
    client.send(&request(GATED, 1)).await;
    client.0.shutdown().await.expect("open");
    client.closed().await;
    eventually(|| server.counters().open.get() == 0).await;
}
