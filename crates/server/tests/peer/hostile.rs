//! Who speaks something else, or stops in the middle.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::node::{Node, config, eventually, id, pair};

/// Writes to a node and returns once it has closed the connection.
async fn closed_after(node: &Node, bytes: &'static [u8]) {
    let at = node.network.address();
    let closed = tokio::task::spawn_blocking(move || {
        let mut socket = TcpStream::connect(at).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        socket.write_all(bytes).unwrap();
        let mut rest = [0; 64];
        // A reset is a close as well.
        matches!(socket.read(&mut rest), Ok(0)) || socket.read(&mut rest).is_ok()
    });
    assert!(closed.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_closes_the_connection_and_is_counted() {
    let one = Node::start(1, Some("c"));
    closed_after(&one, b"\0\0\0\x0bhello world").await;
    closed_after(&one, b"\x7f\xff\xff\xff").await;
    closed_after(&one, b"GET / HTTP/1.1\r\n\r\n").await;
    eventually(|| async { one.network.counters().bad_frames.get() == 3 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_says_nothing_is_shown_out_and_keeps_nobody_out() {
    let (one, two) = pair();
    let silent: Vec<TcpStream> = (0..config().max_strangers)
        .map(|_| TcpStream::connect(one.network.address()).unwrap())
        .collect();
    closed_after(&one, b"").await;
    two.reaches(1).await;
    drop(silent);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_accepts_and_says_nothing_is_given_up() {
    let one = Node::start(1, Some("c"));
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = mute.local_addr().unwrap().to_string();
    one.network.set_addresses([(id(2), at)]);
    let told = one.ask(2, "x").await.unwrap_err();
    assert!(told.contains("no connection within"), "{told}");
}
