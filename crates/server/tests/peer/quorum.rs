//! The metadata quorum over real connections: it forms, agrees, and outlives its leader.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use bytes::Bytes;
use plimsoll_quorum::raft::{Opened, Options, Quorum, Role, Start, Timing, Transport, open};
use plimsoll_quorum::{Limits, Room};
use plimsoll_server::Listener;
use plimsoll_server::peer::{Caller, Identity, PeerNetwork, PeerService, PeerStream, Purpose, Way};
use plimsoll_types::{Monotonic, NodeId};
use plimsoll_wire::peer::{FailureCode, Reply, Request};
use tokio::runtime::Handle;

use crate::node::{config, eventually, id};

#[derive(Default)]
struct Voter {
    quorum: OnceLock<Quorum>,
}

#[async_trait]
impl PeerService for Voter {
    async fn answer(&self, _: &Caller, request: Bytes) -> Bytes {
        let reply = match (Request::decode(request), self.quorum.get()) {
            (Ok(Request::Quorum(message)), Some(quorum)) => {
                Reply::Quorum(quorum.handle(message).await)
            }
            _ => Reply::failed(FailureCode::NotReady, "not yet"),
        };
        reply.encode()
    }

    fn accept_stream(&self, _: &Caller, _: Purpose) -> Result<Box<dyn PeerStream>, String> {
        Err("none".to_owned())
    }

    fn open_stream(&self, _: NodeId, _: Purpose) -> Option<Box<dyn PeerStream>> {
        None
    }

    fn suspect(&self, _: NodeId, _: Monotonic) {}
}

struct Node {
    network: Arc<PeerNetwork>,
    opened: Opened,
    _dir: tempfile::TempDir,
}

fn start() -> Vec<Node> {
    let bound: Vec<(NodeId, Listener)> = [1, 2, 3]
        .map(|node| {
            let at = "127.0.0.1:0".parse().unwrap();
            (id(node), Listener::bind(at, config().sockets).unwrap())
        })
        .into();
    let voters: BTreeMap<NodeId, String> = bound
        .iter()
        .map(|(node, listener)| (*node, listener.address().to_string()))
        .collect();
    let nodes = bound.into_iter().map(|(node, listener)| {
        let service = Arc::new(Voter::default());
        let identity = Identity {
            cluster_id: Some("c".to_owned()),
            ..Identity::default()
        };
        let network = PeerNetwork::start(
            node,
            identity,
            listener,
            config(),
            Arc::clone(&service) as Arc<dyn PeerService>,
            Handle::current(),
        )
        .unwrap();
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            me: node,
            start: Start::Voters {
                voters: voters.clone(),
                form: node == id(1),
            },
            limits: Limits::default(),
            timing: Timing::default(),
            transport: Arc::clone(&network) as Arc<dyn Transport>,
        };
        let opened = open(dir.path(), options).unwrap();
        assert!(service.quorum.set(opened.quorum.clone()).is_ok());
        Node {
            network,
            opened,
            _dir: dir,
        }
    });
    nodes.collect()
}

/// The leader that all of `nodes` know, if they agree.
fn leader(nodes: &[&Node]) -> Option<NodeId> {
    let told: Vec<_> = nodes
        .iter()
        .map(|node| node.opened.quorum.status().leader)
        .collect();
    let first = (*told.first()?)?;
    told.iter()
        .all(|leader| *leader == Some(first))
        .then_some(first)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_form_a_quorum_and_outlive_a_cut_of_its_leader() {
    let nodes = start();
    let all: Vec<&Node> = nodes.iter().collect();
    eventually(|| async { leader(&all).is_some() }).await;
    for node in &all {
        let entry = Bytes::from(vec![7; 100_000]);
        let proposed = node.opened.quorum.propose(entry, Room::Free);
        proposed.await.unwrap();
    }

    let old = leader(&all).unwrap();
    let (gone, rest): (Vec<&Node>, Vec<&Node>) = all
        .iter()
        .partition(|node| node.opened.quorum.status().me == old);
    for other in [1, 2, 3].map(id) {
        gone[0].network.cut(other, Way::Both);
    }
    eventually(|| async { leader(&rest).is_some_and(|leader| leader != old) }).await;
    let proposed = rest[0].opened.quorum.propose("after".into(), Room::Free);
    let index = proposed.await.unwrap();

    for other in [1, 2, 3].map(id) {
        gone[0].network.heal(other);
    }
    eventually(|| async {
        let status = gone[0].opened.quorum.status();
        status.committed_index >= index && status.role == Role::Follower
    })
    .await;
    for node in nodes {
        tokio::task::spawn_blocking(move || node.opened.quorum.shutdown())
            .await
            .unwrap();
        node.network.shutdown();
    }
}
