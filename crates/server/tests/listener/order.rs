//! Requests start in order and are answered in order, whatever the segments look like.

use crate::echo::{Client, ECHO, Echo, GATED, LARGE, SILENT, framed, generous, request, start};

#[tokio::test]
async fn replies_keep_the_order_of_requests_when_later_ones_finish_first() {
    let echo = Echo::new();
    let server = start(&echo, generous());
    let mut client = Client::connect(&server).await;
    client
        .send(&[request(GATED, 1), request(ECHO, 2), request(ECHO, 3)].concat())
        .await;
    crate::echo::eventually(|| echo.started.lock().expect("not poisoned").len() == 3).await;
    echo.gate.add_permits(1);
    assert_eq!(
        [client.tag().await, client.tag().await, client.tag().await],
        [1, 2, 3]
    );
}

#[tokio::test]
async fn many_frames_in_one_segment_start_in_order() {
    let echo = Echo::new();
    let server = start(&echo, generous());
    let mut client = Client::connect(&server).await;
    let frames: Vec<u8> = (0..500).flat_map(|tag| request(ECHO, tag)).collect();
    client.send(&frames).await;
    for tag in 0..500 {
        assert_eq!(client.tag().await, tag);
    }
    let started = echo.started.lock().expect("not poisoned");
    let tags = started
        .iter()
        .map(|f| u32::from_be_bytes(f[1..5].try_into().expect("a tag")));
    assert!(tags.eq(0..500));
}

#[tokio::test]
async fn frames_that_come_one_byte_at_a_time_are_whole() {
    let server = start(&Echo::new(), generous());
    let mut client = Client::connect(&server).await;
    client.0.set_nodelay(true).expect("a socket");
    for byte in [request(ECHO, 1), request(ECHO, 2)].concat() {
        client.send(&[byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!([client.tag().await, client.tag().await], [1, 2]);
}

#[tokio::test]
async fn a_frame_of_the_greatest_size_comes_back_whole() {
    let server = start(&Echo::new(), generous());
    let client = Client::connect(&server).await;
    let mut body: Vec<u8> = (0..1_u32 << 20).map(|at| at.to_le_bytes()[0]).collect();
    body[0] = ECHO;
    let (mut reading, mut writing) = client.0.into_split();
    let sent = framed(&body);
    let expected = sent.clone();
    let sender = tokio::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut writing, &sent)
            .await
            .expect("the server reads");
        writing
    });
    let mut received = vec![0; expected.len()];
    tokio::io::AsyncReadExt::read_exact(&mut reading, &mut received)
        .await
        .expect("a reply");
    assert!(received == expected);
    drop(sender.await);
}

#[tokio::test]
async fn a_reply_greater_than_the_socket_buffer_is_written_in_parts() {
    let server = start(&Echo::new(), generous());
    let mut client = Client::connect(&server).await;
    client
        .send(&[request(LARGE, 8 << 20), request(ECHO, 5)].concat())
        .await;
    assert_eq!(client.reply().await.len(), 8 << 20);
    assert_eq!(client.tag().await, 5);
}

#[tokio::test]
async fn a_request_without_a_reply_leaves_no_gap() {
    let server = start(&Echo::new(), generous());
    let mut client = Client::connect(&server).await;
    client
        .send(&[request(ECHO, 1), request(SILENT, 2), request(ECHO, 3)].concat())
        .await;
    assert_eq!([client.tag().await, client.tag().await], [1, 3]);
}

#[tokio::test]
async fn connections_do_not_wait_for_one_another() {
    let echo = Echo::new();
    let server = start(&echo, generous());
    let mut parked = Client::connect(&server).await;
    parked.send(&request(GATED, 1)).await;
    let mut other = Client::connect(&server).await;
    other.send(&request(ECHO, 2)).await;
    assert_eq!(other.tag().await, 2);
    echo.gate.add_permits(1);
    assert_eq!(parked.tag().await, 1);
}
