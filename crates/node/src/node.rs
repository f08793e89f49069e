//! One node, from its configuration to a port that answers, and back.
//!
//! Composition only: what a start or a stop consists of, in which order. Each step is another
//! crate's.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use plimsoll_admin::Orders;
use plimsoll_broker::{Advertised, Broker, Machine, Membership, Part};
use plimsoll_cli::{Code, Failure};
use plimsoll_quorum::raft::Quorum;
use plimsoll_server::peer::PeerNetwork;
use plimsoll_server::{Limits, Listener, Server, TokioClock, TokioWorkers};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};
use tracing::{info, warn};

use crate::address;
use crate::cluster;
use crate::config::Config;
use crate::descriptors;
use crate::formation::{self, Agreed};
use crate::home::Home;
use crate::http::{Http, cannot_listen};
use crate::maintenance::Housekeeping;
use crate::peers::Peers;

/// How often a long recovery says how far it is.
const PROGRESS: Duration = Duration::from_secs(2);

/// What follows the metadata; see `panics`.
const METADATA_THREAD: &str = "metadata";

/// How long a node that stops waits for others to take over what it leads.
const HAND_OVER: Duration = Duration::from_secs(2);

/// A node that runs on the current tokio runtime.
pub(crate) struct Node {
    broker: Arc<Broker>,
    kafka: Server,
    http: Http,
    peers: Peers,
    quorum: Quorum,
    cluster: Vec<JoinHandle<()>>,
    groups: JoinHandle<()>,
    housekeeping: Housekeeping,
    home: Home,
    bootstrap: String,
    grace: Duration,
}

impl Node {
    /// Starts a node. When it returns, clients are served.
    pub(crate) async fn start(config: &Config) -> Result<Self, Failure> {
        let shares = descriptors::share_out(config.limits.max_connections)?;
        let http = Http::open(config).await?;
        let (peers, home, agreed) = enter(config).await?;
        // The port comes before the broker, which has to tell it to clients.
        let listener = listen(config).await?;
        let told = address::advertised(config, listener.address());
        let bootstrap = address::join(&told.host, told.port);
        let (broker, quorum) = open(config, &home, &peers, &agreed, told, shares.segments).await?;
        http.attach(&broker);
        http.count_links(peers.network());
        peers.attach(&broker);
        // Before it has joined: if the quorum leads here, nobody else fences the process that this
        // one must wait for.
        let parts = broker.run_cluster().into_iter();
        let cluster = parts.map(|part| peers.spawn(aside(part))).collect();
        broker.join().await;
        peers.registered(&broker);
        recover(&broker).await?;
        cluster::wait_for_trust(&broker, config.node).await;
        let groups = tokio::spawn(broker.run_groups());
        let housekeeping = Housekeeping::start(&broker, http.upkeep_pulse(), config.maintenance)
            .map_err(|error| start_failure(&format!("a thread does not start: {error}")))?;
        let limits = Limits {
            max_connections: shares.connections,
            ..config.limits
        };
        let kafka = Server::start(listener, Arc::clone(&broker), limits)
            .map_err(|error| start_failure(&format!("the listener does not start: {error}")))?;
        http.ready(&kafka);
        let grace = config.shutdown_grace;
        let node = Self {
            broker,
            kafka,
            http,
            peers,
            quorum,
            cluster,
            groups,
            housekeeping,
            home,
            bootstrap,
            grace,
        };
        node.announce(config, shares.connections);
        Ok(node)
    }

    fn announce(&self, config: &Config, max_connections: usize) {
        info!(
            event = "node_ready",
            node = %config.node,
            kafka = %self.kafka.address(),
            advertised = self.bootstrap,
            http = %self.http.address,
            peer = address::advertised_to_peers(config, self.peers.network().address()),
            data_dir = %config.data_dir.display(),
        );
        if config.max_connections_is_set && max_connections < config.limits.max_connections {
            let wanted = config.limits.max_connections;
            let todo = "the limit on open files is low; raise it with ulimit -n";
            warn!(event = "fewer_connections", wanted, max_connections, todo);
        }
        for (key, address) in [
            ("kafka.listen", self.kafka.address()),
            ("http.listen", self.http.address),
            ("peer.listen", self.peers.network().address()),
        ] {
            if !address.ip().is_loopback() {
                let note = "whoever reaches this port is let in: nothing authenticates them yet";
                warn!(event = "open_to_the_network", key, %address, note);
            }
        }
    }

    /// The address that clients are told, as `HOST:PORT`.
    pub(crate) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Where HTTP is served.
    pub(crate) fn http_address(&self) -> SocketAddr {
        self.http.address
    }

    /// The broker, for whoever reports its state.
    pub(crate) fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The links to other nodes.
    pub(crate) fn network(&self) -> &Arc<PeerNetwork> {
        self.peers.network()
    }

    /// Takes orders for harm over HTTP, and hands them on.
    pub(crate) fn obey(&self, master: Arc<dyn Orders>) {
        self.http.obey(master);
    }

    /// Ends as a process ends that is killed: sockets close, nothing else is done.
    pub(crate) fn kill(self) {
        self.peers.network().shutdown();
        drop(self.kafka);
        self.cluster.iter().for_each(JoinHandle::abort);
        self.groups.abort();
        self.http.kill();
        // Whatever it acknowledged is on the disk already.
        let quorum = self.quorum;
        std::thread::spawn(move || quorum.shutdown());
    }

    /// Stops accepting, finishes what is under way, syncs and closes the logs, and leaves word of
    /// it in the data directory.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        let Self {
            broker,
            kafka,
            http,
            peers,
            quorum,
            cluster,
            groups,
            housekeeping,
            home,
            grace,
            ..
        } = self;
        info!(event = "node_stopping");
        http.draining();
        // Before anything closes: the leaderships go where clients then find them.
        let drained = tokio::time::timeout(HAND_OVER, broker.drain()).await;
        if drained.is_err() {
            warn!(event = "not_drained", "nobody took over in time");
        }
        // Joins that wait for other members would wait as long as they; tell them now.
        broker.stop_groups();
        let drained = kafka.shutdown(grace).await;
        groups.abort();
        cluster.iter().for_each(JoinHandle::abort);
        // Ended before the logs close; an aborted task is what is expected.
        let _ = groups.await;
        for part in cluster {
            // One that waits for a disk that does not answer would wait for ever.
            let _ = tokio::time::timeout(HAND_OVER, part).await;
        }
        cluster::leave(quorum).await;
        let closed = spawn_blocking(move || {
            housekeeping.stop();
            let failed = broker.close();
            home.leave(failed)
        });
        closed
            .await
            .unwrap_or_else(|_| Err(start_failure("closing the logs failed")))?;
        peers.close();
        http.close().await;
        info!(
            event = "node_stopped",
            finished = drained.finished,
            cut = drained.cut
        );
        Ok(())
    }
}

/// Polls what may wait for a disk: the thread's other tasks go on in another one meanwhile.
async fn aside(mut part: Part) {
    std::future::poll_fn(move |cx| tokio::task::block_in_place(|| part.as_mut().poll(cx))).await;
}

/// Opens the peer port and the data directory. A node without a cluster agrees on one first, so
/// that its directory is never another cluster's.
async fn enter(config: &Config) -> Result<(Peers, Home, Agreed), Failure> {
    let path = config.data_dir.clone();
    let known = on_disk(move || Home::cluster_of(&path)).await?;
    let peers = Peers::open(config, known.clone()).await?;
    let agreed = formation::agree(config, &peers, known).await?;
    let (path, node) = (config.data_dir.clone(), config.node);
    let cluster_id = agreed.cluster_id.clone();
    let home = on_disk(move || Home::enter(&path, node, cluster_id)).await?;
    // Told only now that it is on the disk: whoever hears it may rely on it.
    peers.belongs_to(&agreed.cluster_id);
    Ok((peers, home, agreed))
}

async fn on_disk<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(start_failure("a bug: opening the data directory panicked")))
}

async fn listen(config: &Config) -> Result<Listener, Failure> {
    let address = address::resolve("kafka.listen", &config.kafka_listen).await?;
    Listener::bind(address, config.sockets).map_err(|error| {
        cannot_listen(
            "kafka.listen",
            "--kafka-listen (dev: --kafka-port)",
            error.address,
            &error.source,
        )
    })
}

/// Reads the metadata; in a cluster as far as this node has it.
async fn open(
    config: &Config,
    home: &Home,
    peers: &Peers,
    agreed: &Agreed,
    told: Advertised,
    max_open_segments: usize,
) -> Result<(Arc<Broker>, Quorum), Failure> {
    let mut opened = cluster::open(config, home, peers, agreed).await?;
    let handle = opened.quorum.clone();
    let membership = Membership {
        snapshot: opened.snapshot.take(),
        log: Arc::new(opened),
        peers: peers.network().clone(),
        peer_address: address::advertised_to_peers(config, peers.network().address()),
    };
    let disk = Arc::clone(&config.disk);
    let config = config.broker(home.cluster_id(), told, max_open_segments);
    let data = Arc::clone(home.data());
    // Moves the data directory's handle in, so that it is given back here.
    let open = move || {
        let (clock, workers) = (Arc::new(TokioClock), Arc::new(TokioWorkers));
        let machine = Machine::new(clock, workers, config.flush_threads);
        let machine = machine.map_err(|error| format!("no thread for syncing logs: {error}"))?;
        let machine = Machine { disk, ..machine };
        let broker = Broker::open_in_cluster(config, &data, machine, membership);
        broker.map_err(|error| describe(&error))
    };
    let broker = match spawn_blocking(open).await {
        Ok(opened) => opened.map_err(|why| start_failure(&why))?,
        Err(_) => return Err(start_failure("a bug: opening the metadata panicked")),
    };
    follow_metadata(&broker)?;
    Ok((broker, handle))
}

/// Applies what the quorum commits, on a thread of its own: neither clients nor links wait for it.
fn follow_metadata(broker: &Broker) -> Result<(), Failure> {
    let (runtime, following) = (Handle::current(), broker.run_metadata());
    std::thread::Builder::new()
        .name(METADATA_THREAD.to_owned())
        .spawn(move || runtime.block_on(following))
        .map(drop)
        .map_err(|error| start_failure(&format!("a thread does not start: {error}")))
}

/// Opens the logs, and says how far that is where it takes long.
async fn recover(broker: &Arc<Broker>) -> Result<(), Failure> {
    let begun = TokioClock::monotonic();
    let recovering = Arc::clone(broker);
    let mut recovered = spawn_blocking(move || recovering.recover());
    let count = |cell: &std::sync::atomic::AtomicUsize| cell.load(Ordering::Relaxed);
    let progress = broker.recovery();
    while tokio::time::timeout(PROGRESS, &mut recovered)
        .await
        .is_err()
    {
        let (done, total) = (count(&progress.done), count(&progress.total));
        info!(event = "recovering", done, total);
    }
    if !broker.is_recovered() {
        return Err(start_failure("a bug: opening the logs panicked"));
    }
    let (partitions, offline) = (count(&progress.done), count(&progress.failed));
    let took = TokioClock::monotonic().since(begun);
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    info!(event = "recovered", partitions, offline, took_ms);
    Ok(())
}

fn start_failure(why: &str) -> Failure {
    Failure::new(Code::Start, why)
}

/// An error with its causes, on one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

    use super::*;

    #[test]
    fn a_part_that_hangs_on_a_disk_takes_no_thread_from_the_others() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let (disk, answers) = std::sync::mpsc::sync_channel::<()>(1);
        let (told, beats) = std::sync::mpsc::sync_channel(3);
        let hanging: Part = Box::pin(async move {
            let _ = answers.recv();
        });
        let hanging = runtime.spawn(aside(hanging));
        let beating: Part = Box::pin(async move {
            for beat in 0..3 {
                told.send(beat).unwrap();
                tokio::task::yield_now().await;
            }
        });
        runtime.spawn(aside(beating));
        let heard: Vec<i32> = beats.iter().take(3).collect();
        assert_eq!(heard, [0, 1, 2]);
        assert!(!hanging.is_finished());
        drop(disk);
        runtime.block_on(hanging).unwrap();
    }
}
