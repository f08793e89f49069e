//! A service that echoes frames, some of them only when told to, and a client for it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use plimsoll_broker::{Answer, Connection};
use plimsoll_server::{Limits, Listener, Server, Service, SocketConfig};
use plimsoll_wire::Encoded;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// What the first byte of a frame asks for.
pub(crate) const ECHO: u8 = b'e';
/// Answered when a permit of [`Echo::gate`] is free.
pub(crate) const GATED: u8 = b'g';
/// Not answered at all, like a produce with acks=0.
pub(crate) const SILENT: u8 = b's';
/// Ends the connection.
pub(crate) const CLOSE: u8 = b'c';
/// Panics.
pub(crate) const PANIC: u8 = b'p';
/// Answered with as many bytes as the next four say.
pub(crate) const LARGE: u8 = b'l';

#[derive(Clone)]
pub(crate) struct Echo {
    pub(crate) gate: Arc<Semaphore>,
    /// Frames in the order in which they were first polled.
    pub(crate) started: Arc<Mutex<Vec<Bytes>>>,
    pub(crate) running: Arc<AtomicUsize>,
}

impl Echo {
    pub(crate) fn new() -> Self {
        Self {
            gate: Arc::new(Semaphore::new(0)),
            started: Arc::default(),
            running: Arc::default(),
        }
    }
}

impl Service for Echo {
    fn answer(
        &self,
        _: &Arc<Connection>,
        frame: Bytes,
    ) -> impl Future<Output = Answer> + Send + 'static {
        let echo = self.clone();
        async move {
            echo.started
                .lock()
                .expect("not poisoned")
                .push(frame.clone());
            echo.running.fetch_add(1, Ordering::SeqCst);
            let answer = match frame.first() {
                Some(&GATED) => {
                    echo.gate.acquire().await.expect("never closed").forget();
                    reply(frame)
                }
                Some(&SILENT) => Answer::Nothing,
                Some(&CLOSE) => close(),
                Some(&PANIC) => panic!("asked to"),
                Some(&LARGE) => {
                    let bytes = frame[1..5].try_into().expect("four bytes");
                    reply(Bytes::from(vec![7; u32::from_be_bytes(bytes) as usize]))
                }
                _ => reply(frame),
            };
            echo.running.fetch_sub(1, Ordering::SeqCst);
            answer
        }
    }
}

fn reply(frame: Bytes) -> Answer {
    let size = u32::try_from(frame.len())
        .expect("a small reply")
        .to_be_bytes();
    let bytes = size.len() + frame.len();
    let chunks = vec![Bytes::copy_from_slice(&size), frame];
    Answer::Reply(Encoded { chunks, bytes })
}

fn close() -> Answer {
    Answer::Close(plimsoll_broker::CloseReason::Unacknowledged)
}

/// Limits that no test meets by accident.
pub(crate) fn generous() -> Limits {
    Limits {
        max_connections: 100,
        max_connections_per_address: 100,
        max_frame_bytes: 1 << 20,
        max_inflight_requests: 1000,
        max_inflight_request_bytes: 1 << 30,
        max_queued_reply_bytes: 1 << 30,
        max_idle: Duration::from_secs(600),
        max_frame_time: Duration::from_secs(600),
        max_write_stall: Duration::from_secs(600),
        half_closed_grace: Duration::from_secs(600),
    }
}

pub(crate) fn start(echo: &Echo, limits: Limits) -> Server {
    let config = SocketConfig {
        backlog: 128,
        send_buffer_bytes: Some(64 << 10),
        receive_buffer_bytes: Some(64 << 10),
        keepalive_after: Duration::from_secs(60),
        keepalive_interval: Duration::from_secs(10),
        user_timeout: Duration::from_secs(600),
    };
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let listener = Listener::bind(any, config).expect("a free port");
    Server::start(listener, echo.clone(), limits).expect("a runtime")
}

/// A frame of `body` with its size prefix.
pub(crate) fn framed(body: &[u8]) -> Vec<u8> {
    let size = u32::try_from(body.len()).expect("a small frame");
    [&size.to_be_bytes(), body].concat()
}

/// A frame that asks for `kind` and carries `tag`.
pub(crate) fn request(kind: u8, tag: u32) -> Vec<u8> {
    framed(&[&[kind][..], &tag.to_be_bytes()].concat())
}

pub(crate) struct Client(pub(crate) TcpStream);

impl Client {
    pub(crate) async fn connect(server: &Server) -> Self {
        Self(
            TcpStream::connect(server.address())
                .await
                .expect("the server listens"),
        )
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("the server reads");
    }

    pub(crate) async fn reply(&mut self) -> Vec<u8> {
        let size = self.0.read_u32().await.expect("a reply");
        let mut body = vec![0; size as usize];
        self.0.read_exact(&mut body).await.expect("a whole reply");
        body
    }

    /// The tag of the next reply.
    pub(crate) async fn tag(&mut self) -> u32 {
        let body = self.reply().await;
        u32::from_be_bytes(body[1..5].try_into().expect("a tag"))
    }

    /// Returns when the server has closed, without having sent anything more.
    pub(crate) async fn closed(&mut self) {
        let mut rest = Vec::new();
        // A reset is a close, too: the server does not read what it will not answer.
        let _ = self.0.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "{} bytes before the close", rest.len());
    }
}

/// Returns once `condition` holds; the test's harness bounds the wait.
pub(crate) async fn eventually(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}
