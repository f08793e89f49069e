//! Clients that mean no good, or no Kafka, against a real node.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::node::Node;

/// Returns when the node has closed this connection.
fn closed(connection: &mut TcpStream) {
    let mut rest = Vec::new();
    // A reset is a close, too.
    let _ = connection.read_to_end(&mut rest);
    assert!(rest.is_empty(), "it answered {rest:?}");
}

#[test]
fn strangers_are_closed_and_honest_clients_do_not_notice() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(dir.path());
    node.ok(&["produce", "t"], b"one\n");
    let strangers: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        &[0xff; 4],
        &[0x7f, 0xff, 0xff, 0xff],
        // A whole frame of no API.
        &[0, 0, 0, 10, 0x7f, 0, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
        // Metadata with more topics than there are bytes.
        &[
            0, 0, 0, 14, 0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff,
        ],
    ];
    for bytes in strangers {
        let mut stranger = TcpStream::connect(&node.bootstrap).expect("open");
        stranger.write_all(bytes).expect("open");
        closed(&mut stranger);
    }
    assert_eq!(
        node.ok(&["consume", "t", "-o", "beginning", "-e"], b""),
        "one\n"
    );
}

#[test]
fn more_clients_than_descriptors_allow_are_turned_away_and_the_node_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start_with_descriptors(dir.path(), 1024);
    let mut clients = Vec::new();
    for _ in 0..700 {
        clients.push(TcpStream::connect(&node.bootstrap).expect("the kernel accepts"));
    }
    let last = clients.last_mut().expect("many");
    closed(last);
    drop(clients);
    // The places come back as the node notices that their clients left.
    while node.run(&["status", "--timeout", "1"], b"").code != 0 {}
    assert_eq!(node.ok(&["produce", "t"], b"one\n"), "");
}
