//! The node as one of several: opening its part of the metadata quorum, waiting until it may serve,
//! and leaving.

use std::time::Duration;

use plimsoll_broker::Broker;
use plimsoll_cli::{Code, Failure};
use plimsoll_quorum::Limits;
use plimsoll_quorum::raft::{self, Opened, Options, Quorum, Role, Start, Transport};
use plimsoll_types::NodeId;
use tokio::task::spawn_blocking;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::address;
use crate::config::{Cluster, Config};
use crate::formation::{self, Agreed};
use crate::home::Home;
use crate::node::describe;
use crate::peers::{METADATA_DIR, Peers};

/// How often a node that waits looks, and how often it says so.
const LOOK: Duration = Duration::from_millis(10);
const SAY: Duration = Duration::from_secs(3);
/// How long a leader that stops waits for another to take over.
const HAND_OVER: Duration = Duration::from_millis(500);

/// Opens this node's part of the quorum. One that is alone is its only voter, until others join.
pub(crate) async fn open(
    config: &Config,
    home: &Home,
    peers: &Peers,
    agreed: &Agreed,
) -> Result<Opened, Failure> {
    let own = address::advertised_to_peers(config, peers.network().address());
    let voters = match &config.cluster {
        Cluster::Alone => [(config.node, own.clone())].into(),
        Cluster::Voters(_) | Cluster::Join(_) => config.cluster.voters(),
    };
    let start = match &config.cluster {
        Cluster::Alone => {
            check_metadata(home, peers)?;
            Start::Voters {
                voters: voters.clone(),
                form: agreed.form,
            }
        }
        Cluster::Voters(_) => Start::Voters {
            voters: voters.clone(),
            form: agreed.form,
        },
        Cluster::Join(seeds) => Start::Join {
            seeds: seeds.iter().map(ToString::to_string).collect(),
            address: own,
        },
    };
    peers.network().set_addresses(voters.clone());
    let mut opened = open_log(config, home, peers, start).await?;
    let is_first = config.cluster.voters().keys().next() == Some(&config.node);
    if is_first && !agreed.form && opened.quorum.status().last_index == 0 {
        // It stopped in the middle of forming: the log has files but says nothing.
        let known = Some(home.cluster_id());
        let again = formation::agree_with(config.node, &voters, peers, known, false).await?;
        if again.form {
            let unformed = opened.quorum.clone();
            drop(opened);
            // A panic there was reported; opening it again tells whether it matters.
            let _ = spawn_blocking(move || unformed.shutdown()).await;
            opened = open_log(config, home, peers, Start::Voters { voters, form: true }).await?;
        }
    }
    if opened.recovery.cut_bytes > 0 {
        let bytes = opened.recovery.cut_bytes;
        info!(event = "metadata_torn_tail_cut", bytes);
    }
    peers.attach_quorum(&opened.quorum);
    Ok(opened)
}

/// A node that is alone must not begin anew beside what it had: its logs would be nobody's, and
/// those who joined it have a cluster of this name.
fn check_metadata(home: &Home, peers: &Peers) -> Result<(), Failure> {
    if peers.may_have_metadata() || home.is_first_start() {
        return Ok(());
    }
    let dir = home.data().path();
    let (metadata, dir) = (dir.join(METADATA_DIR), dir.display());
    let what = format!(
        "{} is empty although the node ran on {dir} before",
        metadata.display()
    );
    let todo = "Restore it from a copy; or, if others joined this node, start it with --join";
    Err(Failure::new(Code::DataDir, format!("{what}. {todo}")))
}

async fn open_log(
    config: &Config,
    home: &Home,
    peers: &Peers,
    start: Start,
) -> Result<Opened, Failure> {
    let dir = home.data().path().join(METADATA_DIR);
    let options = Options {
        me: config.node,
        start,
        limits: Limits::default(),
        timing: config.quorum,
        transport: peers.network().clone() as std::sync::Arc<dyn Transport>,
    };
    match spawn_blocking(move || raft::open(&dir, options)).await {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(error)) => Err(Failure::new(Code::Start, describe(&error))),
        Err(_) => Err(Failure::new(
            Code::Start,
            "a bug: opening the metadata log panicked",
        )),
    }
}

/// Waits until the cluster trusts this node with its replicas.
pub(crate) async fn wait_for_trust(broker: &Broker, node: NodeId) {
    let mut say = Instant::now() + SAY;
    while !broker.image().is_alive(node) {
        if Instant::now() >= say {
            say = Instant::now() + SAY;
            warn!(event = "waiting_to_be_unfenced", %node);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Hands the quorum's leadership on if it is here, and ends its thread.
pub(crate) async fn leave(quorum: Quorum) {
    let status = quorum.status();
    if status.role == Role::Leader {
        let best = status
            .progress
            .iter()
            .filter(|(node, ..)| *node != status.me && status.voters.contains_key(node))
            .max_by_key(|(_, matched, _)| *matched);
        if let Some((to, ..)) = best {
            let handed = tokio::time::timeout(HAND_OVER, quorum.transfer(*to)).await;
            let worked = matches!(handed, Ok(Ok(())));
            info!(event = "quorum_handed_over", %to, worked);
        }
    }
    // A panic there was reported.
    let _ = spawn_blocking(move || quorum.shutdown()).await;
}
