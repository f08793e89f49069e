//! A listener that stops finishes what it began.

use std::time::Duration;

use plimsoll_server::{Drained, End};
use tokio::net::TcpStream;

use crate::echo::{Client, Echo, GATED, eventually, generous, request, start};

#[tokio::test]
async fn requests_under_way_are_answered_before_the_close() {
    let echo = Echo::new();
    let server = start(&echo, generous());
    let mut client = Client::connect(&server).await;
    client.send(&request(GATED, 1)).await;
    eventually(|| !echo.started.lock().expect("not poisoned").is_empty()).await;
    let stopping = tokio::spawn(server.shutdown(Duration::from_secs(600)));
    echo.gate.add_permits(1);
    assert_eq!(client.tag().await, 1);
    client.closed().await;
    let drained = stopping.await.expect("no panic");
    assert_eq!(
        drained,
        Drained {
            finished: 1,
            cut: 0
        }
    );
}

#[tokio::test]
async fn requests_that_do_not_finish_in_time_are_cut() {
    let echo = Echo::new();
    let server = start(&echo, generous());
    let counters = server.counters().clone();
    let mut client = Client::connect(&server).await;
    client.send(&request(GATED, 1)).await;
    eventually(|| !echo.started.lock().expect("not poisoned").is_empty()).await;
    let drained = server.shutdown(Duration::from_millis(1)).await;
    assert_eq!(
        drained,
        Drained {
            finished: 0,
            cut: 1
        }
    );
    client.closed().await;
    assert_eq!((counters.ended(End::Shutdown), counters.open.get()), (1, 0));
}

#[tokio::test]
async fn nobody_is_accepted_after_a_shutdown() {
    let server = start(&Echo::new(), generous());
    let address = server.address();
    server.shutdown(Duration::from_secs(600)).await;
    assert!(TcpStream::connect(address).await.is_err());
}
