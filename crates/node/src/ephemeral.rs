//! A node for a test, inside the test's own process.

use std::thread::JoinHandle;

use plimsoll_cli::Failure;
use tokio::sync::oneshot;

use crate::config::{Config, Layers, Origin};
use crate::node::Node;
use crate::run::runtime;
use crate::temporary::Temporary;

/// A real node on a free loopback port, with its data in a temporary directory, gone when this is
/// dropped.
///
/// It runs on threads of its own, so it works the same in `#[test]` and in `#[tokio::test]`, and
/// any number of them side by side. Everything is as in a node that `plimsoll serve` runs, but
/// that new groups do not wait for more members.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = plimsoll::Broker::ephemeral().await?;
///
/// // Any Kafka client; this one is at hand.
/// let config = plimsoll_client::ClientConfig::new([broker.bootstrap()]);
/// let client = plimsoll_client::Client::connect(config).await?;
/// assert_eq!(client.metadata().await?.nodes.len(), 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Broker {
    bootstrap: String,
    http: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why an ephemeral node did not start.
#[derive(Debug, thiserror::Error)]
#[error("an ephemeral node did not start: {0}")]
pub struct StartError(#[from] Failure);

impl Broker {
    /// Starts a node. When it returns, clients are served.
    ///
    /// # Errors
    /// When this machine has no free port, no room, or too few file descriptors.
    pub async fn ephemeral() -> Result<Self, StartError> {
        Self::ephemeral_with([]).await
    }

    /// Starts a node with some configuration keys set, for example
    /// `[("num.partitions", "3"), ("auto.create.topics.enable", "false")]`.
    ///
    /// # Errors
    /// As [`Broker::ephemeral`], and when there is no such key or the value is not legal.
    pub async fn ephemeral_with<'a>(
        keys: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, StartError> {
        let temporary = Temporary::reserve();
        let config = config(keys, &temporary)?;
        let (started, starting) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("plimsoll-ephemeral".to_owned())
            .spawn(move || live(&config, started, stopped, temporary))
            .map_err(|error| failed(&format!("no thread for it: {error}")))?;
        let (bootstrap, http) = starting
            .await
            .map_err(|_| failed("a bug: its thread panicked"))??;
        Ok(Self {
            bootstrap,
            http,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Where clients connect: `127.0.0.1:PORT`.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Where health, metrics and the admin API are served: `127.0.0.1:PORT`.
    #[must_use]
    pub fn http(&self) -> &str {
        &self.http
    }

    fn stop_and_wait(&mut self) {
        if let Some(stop) = self.stop.take() {
            // A node that ended by itself has nothing to be told.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Broker {
    /// Stops the node and removes its data. Waits for that, some milliseconds.
    fn drop(&mut self) {
        self.stop_and_wait();
    }
}

fn failed(why: &str) -> Failure {
    Failure::new(plimsoll_cli::Code::Start, why)
}

fn config<'a>(
    keys: impl IntoIterator<Item = (&'a str, &'a str)>,
    temporary: &Temporary,
) -> Result<Config, Failure> {
    let mut layers = Layers::default();
    let data_dir = temporary.path().to_string_lossy();
    let preset = [
        ("data.dir", &*data_dir),
        ("kafka.listen", "127.0.0.1:0"),
        ("peer.listen", "127.0.0.1:0"),
        ("http.listen", "127.0.0.1:0"),
        ("group.initial.rebalance.delay.ms", "0"),
        ("offsets.topic.num.partitions", "1"),
        ("num.network.threads", "2"),
        ("num.flush.threads", "2"),
        ("shutdown.grace.ms", "0"),
        ("max.connections.per.node", "1000"),
    ];
    for (key, value) in preset {
        layers.set(key, value, Origin::Preset("Broker::ephemeral"))?;
    }
    for (key, value) in keys {
        layers.set(
            key,
            value,
            Origin::Flag {
                flag: "Broker::ephemeral_with".to_owned(),
            },
        )?;
    }
    Config::new(&layers)
}

/// The node's life, on a thread of its own.
fn live(
    config: &Config,
    started: oneshot::Sender<Result<(String, String), Failure>>,
    stopped: oneshot::Receiver<()>,
    temporary: Temporary,
) {
    let runtime = match runtime(config.threads) {
        Ok(runtime) => runtime,
        Err(failure) => {
            let _ = started.send(Err(failure));
            return;
        }
    };
    runtime.block_on(async {
        let node = match Node::start(config).await {
            Ok(node) => node,
            Err(failure) => {
                let _ = started.send(Err(failure));
                return;
            }
        };
        let addresses = (node.bootstrap().to_owned(), node.http_address().to_string());
        // Nobody waits any more if the caller gave up; then the sender of `stopped` is gone, too.
        let _ = started.send(Ok(addresses));
        let _ = stopped.await;
        if let Err(failure) = node.stop().await {
            tracing::warn!(event = "ephemeral_node_not_closed", %failure);
        }
    });
    drop(runtime);
    drop(temporary);
}
