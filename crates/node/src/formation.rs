//! How nodes that never met agree on the cluster they form.
//!
//! A node with an empty directory asks the voters who they are, until one of them names a cluster,
//! which it then takes, or all have said that they have none. In the second case the voter with the
//! least id, and nobody else, draws the cluster's id and forms its quorum: it knows by then that no
//! other could have metadata that a second forming would contradict. The others take the id from it.
//!
//! Not here: the quorum, and joining it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plimsoll_cli::{Code, Failure};
use plimsoll_types::NodeId;
use plimsoll_wire::peer::{Identity, Reply, Request};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config::{Cluster, Config};
use crate::peers::Peers;

/// Time between two rounds of asking, and how long an answer may take.
const ROUND: Duration = Duration::from_millis(100);
const ANSWER: Duration = Duration::from_secs(1);
/// How often a node that waits says so.
const SAY: Duration = Duration::from_secs(3);

/// What was agreed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agreed {
    pub(crate) cluster_id: String,
    /// Whether this node forms the quorum.
    pub(crate) form: bool,
}

/// What a node can tell from the answers it has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    Agreed(Agreed),
    /// Nothing can be told without these.
    Missing(Vec<NodeId>),
    /// Two clusters among the voters.
    Torn(BTreeSet<String>),
}

/// Judges what the other voters said. `own` is this node's cluster, if its directory has one, and
/// `draw` makes a new id.
fn judge(
    me: NodeId,
    voters: &BTreeMap<NodeId, String>,
    own: Option<&str>,
    has_metadata: bool,
    answers: &BTreeMap<NodeId, Identity>,
    draw: impl FnOnce() -> String,
) -> Verdict {
    let named = answers
        .values()
        .filter_map(|said| said.cluster_id.as_deref());
    let named: BTreeSet<&str> = named.chain(own).collect();
    if named.len() > 1 {
        return Verdict::Torn(named.into_iter().map(str::to_owned).collect());
    }
    let named = named.first().map(|id| (*id).to_owned());
    let exists = has_metadata || answers.values().any(|said| said.has_metadata);
    let forms = voters.keys().next() == Some(&me);
    let missing = || {
        let missing = voters
            .keys()
            .filter(|node| **node != me && !answers.contains_key(*node));
        missing.copied().collect::<Vec<_>>()
    };
    match named {
        Some(cluster_id) if exists || !forms => Verdict::Agreed(Agreed {
            cluster_id,
            form: false,
        }),
        named if forms && missing().is_empty() => Verdict::Agreed(Agreed {
            cluster_id: named.unwrap_or_else(draw),
            form: true,
        }),
        // The first voter has the word, so that it is missed even once it has answered.
        _ if !forms && missing().is_empty() => {
            Verdict::Missing(voters.keys().next().copied().into_iter().collect())
        }
        _ => Verdict::Missing(missing()),
    }
}

/// Waits until it is clear which cluster this node belongs to. `known` is what its directory says.
pub(crate) async fn agree(
    config: &Config,
    peers: &Peers,
    known: Option<String>,
) -> Result<Agreed, Failure> {
    match &config.cluster {
        Cluster::Alone => Ok(Agreed {
            form: true,
            cluster_id: known.unwrap_or_else(draw),
        }),
        Cluster::Voters(_) => {
            let voters = config.cluster.voters();
            let has_metadata = peers.may_have_metadata();
            agree_with(config.node, &voters, peers, known, has_metadata).await
        }
        Cluster::Join(seeds) => match known {
            Some(cluster_id) => Ok(Agreed {
                cluster_id,
                form: false,
            }),
            None => {
                let seeds: Vec<String> = seeds.iter().map(ToString::to_string).collect();
                find(peers, &seeds).await
            }
        },
    }
}

/// As [`agree`], for voters; `has_metadata`: whether this node's metadata log holds anything.
pub(crate) async fn agree_with(
    me: NodeId,
    voters: &BTreeMap<NodeId, String>,
    peers: &Peers,
    known: Option<String>,
    has_metadata: bool,
) -> Result<Agreed, Failure> {
    let mut answers = BTreeMap::new();
    let mut waiting = Waiting::new();
    loop {
        match judge(me, voters, known.as_deref(), has_metadata, &answers, draw) {
            Verdict::Agreed(agreed) => {
                let (cluster_id, form) = (&agreed.cluster_id, agreed.form);
                info!(event = "cluster_agreed", cluster_id, form);
                return Ok(agreed);
            }
            Verdict::Torn(clusters) => {
                let clusters: Vec<String> = clusters.into_iter().collect();
                let what = format!(
                    "the voters belong to different clusters: {}",
                    clusters.join(", ")
                );
                let todo = "Check --voters and the data directories; nothing was changed";
                return Err(Failure::new(Code::Start, format!("{what}. {todo}")));
            }
            Verdict::Missing(missing) => {
                let ids: Vec<String> = missing.iter().map(NodeId::to_string).collect();
                waiting.say("waiting_for_voters", &ids.join(", "));
            }
        }
        answers = ask(me, voters, peers).await;
        tokio::time::sleep(ROUND).await;
    }
}

/// Asks every other voter once, at the same time.
async fn ask(
    me: NodeId,
    voters: &BTreeMap<NodeId, String>,
    peers: &Peers,
) -> BTreeMap<NodeId, Identity> {
    let mut asked = JoinSet::new();
    for (node, address) in voters.iter().filter(|(node, _)| **node != me) {
        let (node, address) = (*node, address.clone());
        let network = peers.network().clone();
        asked.spawn(async move {
            let request = Request::Identify.encode();
            let reply = network
                .call_address(&address, Some(node), request, ANSWER)
                .await;
            identity(reply).map(|said| (node, said))
        });
    }
    let mut answers = BTreeMap::new();
    while let Some(answered) = asked.join_next().await {
        match answered {
            Ok(Ok((node, said))) => drop(answers.insert(node, said)),
            Ok(Err(why)) => tracing::debug!(event = "voter_silent", why),
            Err(_) => {}
        }
    }
    answers
}

fn identity<E: std::fmt::Display>(reply: Result<bytes::Bytes, E>) -> Result<Identity, String> {
    let reply = reply.map_err(|error| error.to_string())?;
    match Reply::decode(reply).map_err(|error| error.to_string())? {
        Reply::Identity(said) => Ok(said),
        Reply::Failed(failed) => Err(failed.message),
        other => Err(format!("it answered {other:?}")),
    }
}

/// Asks the seeds until one names its cluster.
async fn find(peers: &Peers, seeds: &[String]) -> Result<Agreed, Failure> {
    let mut waiting = Waiting::new();
    loop {
        for seed in seeds {
            let request = Request::Identify.encode();
            let reply = peers
                .network()
                .call_address(seed, None, request, ANSWER)
                .await;
            match identity(reply) {
                Ok(Identity {
                    cluster_id: Some(cluster_id),
                    node,
                    has_metadata: true,
                }) => {
                    info!(event = "cluster_found", cluster_id, seed, %node);
                    return Ok(Agreed {
                        cluster_id,
                        form: false,
                    });
                }
                Ok(_) => waiting.say("waiting_for_cluster", &format!("{seed} has none yet")),
                Err(why) => waiting.say("waiting_for_cluster", &format!("{seed}: {why}")),
            }
        }
        tokio::time::sleep(ROUND * 5).await;
    }
}

fn draw() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// Says now and then what is waited for.
struct Waiting {
    next: Instant,
}

impl Waiting {
    fn new() -> Self {
        Self {
            next: Instant::now() + ROUND * 5,
        }
    }

    fn say(&mut self, event: &'static str, missing: &str) {
        if Instant::now() >= self.next {
            self.next = Instant::now() + SAY;
            warn!(event, missing);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(value: u32) -> NodeId {
        NodeId::new(value).expect("in range")
    }

    fn said(node: u32, cluster: Option<&str>, has_metadata: bool) -> (NodeId, Identity) {
        let said = Identity {
            cluster_id: cluster.map(str::to_owned),
            node: id(node),
            has_metadata,
        };
        (id(node), said)
    }

    fn judged(
        me: u32,
        own: Option<&str>,
        has_metadata: bool,
        answers: &[(NodeId, Identity)],
    ) -> Verdict {
        let voters = [1, 2, 3].map(|node| (id(node), format!("h{node}:1")));
        let answers = answers.iter().cloned().collect();
        let draw = || "new".to_owned();
        judge(id(me), &voters.into(), own, has_metadata, &answers, draw)
    }

    fn agreed(cluster_id: &str, form: bool) -> Verdict {
        Verdict::Agreed(Agreed {
            cluster_id: cluster_id.to_owned(),
            form,
        })
    }

    #[test]
    fn the_least_voter_forms_once_all_are_known_to_be_empty() {
        assert_eq!(
            judged(1, None, false, &[said(2, None, false)]),
            Verdict::Missing(vec![id(3)])
        );
        let both = [said(2, None, false), said(3, None, false)];
        assert_eq!(judged(1, None, false, &both), agreed("new", true));
    }

    #[test]
    fn others_wait_for_its_word_and_take_it() {
        let both = [said(1, None, false), said(3, None, false)];
        assert_eq!(judged(2, None, false, &both), Verdict::Missing(vec![id(1)]));
        let told = [said(1, Some("c"), false)];
        assert_eq!(judged(2, None, false, &told), agreed("c", false));
    }

    #[test]
    fn a_least_voter_that_lost_its_disk_takes_the_cluster_and_forms_none() {
        let told = [said(2, Some("c"), true)];
        assert_eq!(judged(1, None, false, &told), agreed("c", false));
    }

    #[test]
    fn a_least_voter_that_stopped_before_it_formed_goes_on_where_it_was() {
        let answers = [said(2, Some("c"), false)];
        let waits = Verdict::Missing(vec![id(3)]);
        assert_eq!(judged(1, Some("c"), false, &answers), waits);
        let answers = [said(2, Some("c"), false), said(3, None, false)];
        assert_eq!(judged(1, Some("c"), false, &answers), agreed("c", true));
        // And one that had is not asked to wait for anybody.
        assert_eq!(judged(1, Some("c"), true, &[]), agreed("c", false));
        assert_eq!(judged(3, Some("c"), true, &[]), agreed("c", false));
    }

    #[test]
    fn voters_of_two_clusters_are_told() {
        let answers = [said(2, Some("a"), true), said(3, Some("b"), true)];
        assert!(matches!(judged(1, None, false, &answers), Verdict::Torn(_)));
    }
}
