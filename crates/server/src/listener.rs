//! The listening socket and the loop that accepts from it.
//!
//! Nothing a peer or a full descriptor table does ends the loop: refusals and errors are counted,
//! and where the machine is short of something the loop waits a moment before it tries again.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use plimsoll_broker::Connection;
use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio::time::{Duration, Instant, sleep_until, timeout_at};
use tracing::{debug, error, warn};

use crate::admission::{Admission, Place};
use crate::config::{Limits, SocketConfig};
use crate::connection::{Shared, serve};
use crate::counters::{Counters, End, Refusal};
use crate::repeated::Repeated;
use crate::service::Service;

/// The wait after the first, and at most after any, failure to accept.
const MIN_PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// The address could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// The address asked for.
    pub address: SocketAddr,
    /// What the kernel said.
    pub source: io::Error,
}

/// A bound socket that nothing is accepted from yet.
#[derive(Debug)]
pub struct Listener {
    socket: std::net::TcpListener,
    address: SocketAddr,
    config: SocketConfig,
}

impl Listener {
    /// Binds and listens. Port 0 takes a free port, which [`Listener::address`] tells.
    ///
    /// # Errors
    /// When the kernel refuses, for example because the port is taken.
    pub fn bind(address: SocketAddr, config: SocketConfig) -> Result<Self, BindError> {
        Self::try_bind(address, config).map_err(|source| BindError { address, source })
    }

    fn try_bind(address: SocketAddr, config: SocketConfig) -> io::Result<Self> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        socket.set_reuse_address(true)?;
        // Buffer sizes are inherited by accepted sockets, and the receive buffer's must be known
        // before the handshake, which agrees on the window's scale.
        if let Some(bytes) = config.send_buffer_bytes {
            socket.set_send_buffer_size(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        }
        if let Some(bytes) = config.receive_buffer_bytes {
            socket.set_recv_buffer_size(usize::try_from(bytes).unwrap_or(usize::MAX))?;
        }
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(config.backlog).unwrap_or(i32::MAX))?;
        let socket = std::net::TcpListener::from(socket);
        let address = socket.local_addr()?;
        Ok(Self {
            socket,
            address,
            config,
        })
    }

    /// The address that is listened on, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn into_socket(self) -> (std::net::TcpListener, SocketAddr) {
        (self.socket, self.address)
    }
}

/// A listener that serves. Dropping it cuts every connection; [`Server::shutdown`] is kinder.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<Instant>>,
    accepting: JoinHandle<Drained>,
}

/// What a listener counted and holds.
#[derive(Clone, Debug)]
pub struct Stats {
    shared: Arc<Shared>,
}

impl Stats {
    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// Request bytes of all connections that have arrived and are not answered yet.
    #[must_use]
    pub fn inflight_request_bytes(&self) -> usize {
        self.shared.budget.used()
    }
}

/// How a shutdown went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Connections that finished what was under way.
    pub finished: usize,
    /// Connections that were cut at the deadline.
    pub cut: usize,
}

impl Server {
    /// Starts to accept and serve on the current tokio runtime.
    ///
    /// # Errors
    /// When the runtime cannot take the socket over.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start<S: Service>(listener: Listener, service: S, limits: Limits) -> io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let shared = Arc::new(Shared::new(limits, Arc::clone(&counters)));
        let (stop, stopped) = oneshot::channel();
        let accepting = Accepting {
            socket: TcpListener::from_std(listener.socket)?,
            config: listener.config,
            admission: Admission::new(
                limits.max_connections,
                limits.max_connections_per_address,
                counters,
            ),
            shared: Arc::clone(&shared),
            service: Arc::new(service),
            connections: JoinSet::new(),
            next_id: 1,
            pause: MIN_PAUSE,
            resume: Instant::now(),
            logged: Logged::default(),
        };
        Ok(Self {
            address: listener.address,
            shared,
            stop: Some(stop),
            accepting: tokio::spawn(accepting.run(stopped)),
        })
    }

    /// The address that is listened on, with the real port.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What was counted so far.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.shared.counters
    }

    /// A view for whoever prints metrics; stays readable after the server is gone.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Stops accepting and reading, finishes the requests under way, and closes. What is not
    /// finished within `grace` is cut.
    pub async fn shutdown(mut self, grace: Duration) -> Drained {
        if let Some(stop) = self.stop.take() {
            // A loop that has ended already has nothing to be told.
            let _ = stop.send(Instant::now() + grace);
        }
        (&mut self.accepting).await.unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The loop owns its connections' tasks, and they end with it.
        self.accepting.abort();
    }
}

/// The accept loop.
struct Accepting<S> {
    socket: TcpListener,
    config: SocketConfig,
    admission: Arc<Admission>,
    shared: Arc<Shared>,
    service: Arc<S>,
    connections: JoinSet<End>,
    next_id: u64,
    pause: Duration,
    /// Nothing is accepted before.
    resume: Instant,
    logged: Logged,
}

#[derive(Default)]
struct Logged {
    refused: Repeated,
    failed: Repeated,
}

impl<S: Service> Accepting<S> {
    async fn run(mut self, mut stopped: oneshot::Receiver<Instant>) -> Drained {
        let deadline = loop {
            tokio::select! {
                deadline = &mut stopped => break deadline.unwrap_or_else(|_| Instant::now()),
                Some(ended) = self.connections.join_next() => {
                    count(&self.shared.counters, ended);
                }
                accepted = accept(&self.socket, self.resume) => self.take(accepted),
            }
        };
        self.drain(deadline).await
    }

    fn take(&mut self, accepted: io::Result<(TcpStream, SocketAddr)>) {
        match accepted {
            Ok((socket, peer)) => {
                self.pause = MIN_PAUSE;
                self.shared.counters.accepted.add(1);
                if let Err(reason) = self.begin(socket, peer) {
                    self.shared.counters.count_refused(reason);
                    if let Some(suppressed) = self.logged.refused.should_log(Instant::now()) {
                        let reason = reason.label();
                        warn!(event = "connection_refused", reason, %peer, suppressed);
                    }
                }
            }
            Err(error) => {
                self.shared.counters.accept_errors.add(1);
                if is_shortage(&error) {
                    self.resume = Instant::now() + self.pause;
                    self.pause = (self.pause * 2).min(MAX_PAUSE);
                }
                if let Some(suppressed) = self.logged.failed.should_log(Instant::now()) {
                    warn!(event = "accept_failed", %error, suppressed);
                }
            }
        }
    }

    /// Starts serving a connection. A refused socket is closed by being dropped.
    fn begin(&mut self, socket: TcpStream, peer: SocketAddr) -> Result<(), Refusal> {
        let place = self.admission.admit(peer.ip())?;
        set_up(&socket, &self.config).map_err(|_| Refusal::SocketSetup)?;
        let connection = Arc::new(Connection::new(self.next_id, peer));
        self.next_id += 1;
        let service = Arc::clone(&self.service);
        let shared = Arc::clone(&self.shared);
        self.connections
            .spawn(run(service, socket, connection, shared, place));
        Ok(())
    }

    async fn drain(self, deadline: Instant) -> Drained {
        let Self {
            socket,
            shared,
            mut connections,
            ..
        } = self;
        // Closed before the connections end, so that no client comes back to this socket.
        drop(socket);
        shared.drain();
        let mut drained = Drained::default();
        while let Ok(Some(ended)) = timeout_at(deadline, connections.join_next()).await {
            drained.finished += 1;
            count(&shared.counters, ended);
        }
        drained.cut = connections.len();
        connections.abort_all();
        while let Some(ended) = connections.join_next().await {
            count(&shared.counters, ended);
        }
        drained
    }
}

/// Sets a connected socket up.
pub(crate) fn set_up(socket: &TcpStream, config: &SocketConfig) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    let keepalive = TcpKeepalive::new()
        .with_time(config.keepalive_after)
        .with_interval(config.keepalive_interval);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(config.user_timeout))
}

/// The growing wait after failures to accept.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(MIN_PAUSE)
    }
}

impl Pause {
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(MAX_PAUSE);
    }
}

fn count(counters: &Counters, ended: Result<End, JoinError>) {
    let end = match ended {
        Ok(end) => end,
        Err(error) if error.is_panic() => {
            error!(event = "connection_panicked", "a bug: please report it");
            End::Panicked
        }
        // Cut at the deadline of a shutdown.
        Err(_) => End::Shutdown,
    };
    counters.count_ended(end);
}

/// One connection's task.
async fn run<S: Service>(
    service: Arc<S>,
    socket: TcpStream,
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    place: Place,
) -> End {
    debug!(event = "connection_opened", connection = connection.id, peer = %connection.peer);
    let end = serve(&*service, socket, &connection, &shared).await;
    drop(place);
    if matches!(end, End::Tls | End::Http)
        && let Some(suppressed) = shared.strangers.should_log(Instant::now())
    {
        let (peer, spoke) = (connection.peer, end.label());
        warn!(event = "not_kafka", %peer, spoke, suppressed, "a client does not speak plain Kafka");
    }
    debug!(
        event = "connection_ended",
        connection = connection.id,
        reason = end.label()
    );
    end
}

async fn accept(socket: &TcpListener, resume: Instant) -> io::Result<(TcpStream, SocketAddr)> {
    if resume > Instant::now() {
        sleep_until(resume).await;
    }
    socket.accept().await
}

/// Whether the machine lacks something that waiting may bring: trying again at once would spin.
fn is_shortage(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_descriptor_table_is_a_shortage_and_an_aborted_handshake_is_not() {
        let error = |errno: Errno| io::Error::from_raw_os_error(errno.raw_os_error());
        assert!(is_shortage(&error(Errno::MFILE)));
        assert!(!is_shortage(&error(Errno::CONNABORTED)));
    }
}
