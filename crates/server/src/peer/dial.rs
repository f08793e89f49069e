//! Making a connection to a peer, and how long to wait before the next attempt.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::time::Duration;

use plimsoll_types::NodeId;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::frame::{Hello, VERSION, Welcome, decode_answer};
use super::shared::Shared;
use super::socket::{LinkEnd, Wire};
use super::{DeniedReason, Purpose};
use crate::listener::set_up;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("{0:?} is not to be found: {1}")]
    Name(String, io::Error),
    #[error("no connection: {0}")]
    Connect(io::Error),
    #[error("no connection within {} ms", .0.as_millis())]
    Slow(Duration),
    #[error("no welcome: {0}")]
    Hello(#[from] LinkEnd),
    #[error("it turned us away: {message}")]
    Denied {
        reason: DeniedReason,
        message: String,
    },
    #[error("{0}")]
    Wrong(String),
}

impl DialError {
    /// Whether nobody listens there although the machine answers: the process is gone.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self, Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Whether only a person can mend it.
    pub(super) fn is_lasting(&self) -> bool {
        match self {
            Self::Wrong(_) => true,
            Self::Denied { reason, .. } => reason.is_lasting(),
            Self::Name(..) | Self::Connect(_) | Self::Slow(_) | Self::Hello(_) => false,
        }
    }
}

/// A connection on which both sides know each other.
pub(super) async fn dial(
    shared: &Shared,
    address: &str,
    expects: Option<NodeId>,
    purpose: Purpose,
) -> Result<(Wire, Welcome), DialError> {
    let outcome = try_dial(shared, address, expects, purpose).await;
    match &outcome {
        Ok(_) => shared.counters.connected.add(1),
        Err(error) => {
            shared.counters.connect_failures.add(1);
            if matches!(error, DialError::Hello(LinkEnd::BadFrame(_))) {
                shared.counters.bad_frames.add(1);
            }
        }
    }
    outcome
}

async fn try_dial(
    shared: &Shared,
    address: &str,
    expects: Option<NodeId>,
    purpose: Purpose,
) -> Result<(Wire, Welcome), DialError> {
    let config = shared.config;
    let cut = expects.map(|node| shared.cuts.of(node)).unwrap_or_default();
    if cut.is_any() {
        // A handshake needs both ways.
        tokio::time::sleep(config.connect_timeout).await;
        return Err(DialError::Slow(config.connect_timeout));
    }
    let socket = timeout(config.connect_timeout, connect(address))
        .await
        .map_err(|_| DialError::Slow(config.connect_timeout))??;
    set_up(&socket, &config.sockets).map_err(DialError::Connect)?;
    let mut wire = Wire::new(socket, cut.clone(), &shared.counters, config);
    let me = shared.identity();
    let hello = Hello {
        versions: (VERSION, VERSION),
        purpose,
        node: shared.me,
        expects,
        broker_epoch: me.broker_epoch,
        cluster_id: me.cluster_id.clone(),
    };
    let exchange = async {
        wire.send(hello.encode()).await?;
        wire.receive().await
    };
    let answer = timeout(config.hello_timeout, exchange)
        .await
        .map_err(|_| DialError::Slow(config.hello_timeout))??;
    let welcome = match decode_answer(answer).map_err(LinkEnd::from)? {
        Ok(welcome) => welcome,
        Err(denied) => {
            return Err(DialError::Denied {
                reason: denied.reason,
                message: denied.message,
            });
        }
    };
    check(&welcome, expects, me.cluster_id.as_deref(), address)?;
    wire.introduce(shared.max_frame(purpose), cut);
    Ok((wire, welcome))
}

async fn connect(address: &str) -> Result<TcpStream, DialError> {
    let found = tokio::net::lookup_host(address)
        .await
        .map_err(|error| DialError::Name(address.to_owned(), error))?;
    let mut why = None;
    for address in found {
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            // It is refused if each of its addresses refuses.
            Err(error) if why.is_none() || error.kind() != io::ErrorKind::ConnectionRefused => {
                why = Some(error);
            }
            Err(_) => {}
        }
    }
    let why = why.unwrap_or_else(|| io::ErrorKind::NotFound.into());
    Err(DialError::Connect(why))
}

/// An address that was given to another node must not get this one's traffic.
fn check(
    welcome: &Welcome,
    expects: Option<NodeId>,
    cluster_id: Option<&str>,
    address: &str,
) -> Result<(), DialError> {
    let found = welcome.node;
    if expects.is_some_and(|expected| expected != found) {
        return Err(DialError::Wrong(format!("node {found} lives at {address}")));
    }
    match (cluster_id, welcome.cluster_id.as_deref()) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(DialError::Wrong(format!(
            "node {found} at {address} belongs to cluster {theirs}, and this node to {ours}"
        ))),
        _ => Ok(()),
    }
}

/// Growing waits between attempts, with jitter, so that nodes do not dial in step.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    min: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) fn new(min: Duration, max: Duration) -> Self {
        Self {
            next: min,
            min,
            max,
        }
    }

    pub(super) fn reset(&mut self) {
        self.next = self.min;
    }

    /// Half of the wait to all of it; the next one is twice as long.
    pub(super) fn wait(&mut self) -> Duration {
        let wait = self.next;
        self.next = (self.next * 2).min(self.max);
        jittered(wait)
    }
}

/// Between half of `wait` and all of it.
pub(super) fn jittered(wait: Duration) -> Duration {
    // Every `RandomState` has other keys, which is all the chance that is needed here.
    let chance = RandomState::new().build_hasher().finish() % 512;
    let chance = u32::try_from(chance).unwrap_or(0);
    wait / 2 + wait / 1024 * chance
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_limit_and_begin_anew_after_a_success() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(50), ms(2000));
        for expected in [50, 100, 200, 400, 800, 1600, 2000, 2000] {
            let wait = backoff.wait();
            assert!(wait >= ms(expected) / 2 && wait <= ms(expected), "{wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= ms(50));
    }
}
