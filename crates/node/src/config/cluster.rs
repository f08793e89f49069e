//! With whom a node forms a cluster: the voters it begins with, or the cluster it joins.

use std::collections::BTreeMap;

use plimsoll_types::NodeId;

use super::value::{self, Address};

/// A quorum of more voters is slower and no safer.
const MAX_VOTERS: usize = 9;

/// With whom a node forms a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cluster {
    /// With nobody; others may join it later.
    Alone,
    /// With these, by their peer addresses; it is one of them.
    Voters(BTreeMap<NodeId, Address>),
    /// It joins the cluster of whoever lives at one of these peer addresses.
    Join(Vec<Address>),
}

impl Cluster {
    /// The voters that were named; none for a node that is alone or joins.
    #[must_use]
    pub fn voters(&self) -> BTreeMap<NodeId, String> {
        match self {
            Self::Voters(voters) => voters
                .iter()
                .map(|(node, address)| (*node, address.to_string()))
                .collect(),
            Self::Alone | Self::Join(_) => BTreeMap::new(),
        }
    }

    /// Where `node` lives, if it is a voter.
    pub(super) fn address_of(&self, node: NodeId) -> Option<Address> {
        match self {
            Self::Voters(voters) => voters.get(&node).cloned(),
            Self::Alone | Self::Join(_) => None,
        }
    }

    /// Whether `node` may run with it.
    pub(super) fn check(&self, node: NodeId) -> Result<(), String> {
        let Self::Voters(voters) = self else {
            return Ok(());
        };
        if voters.contains_key(&node) {
            return Ok(());
        }
        let ids: Vec<String> = voters.keys().map(NodeId::to_string).collect();
        Err(format!(
            "cluster.voters names the nodes {}, and this is node {node}. Give this node one of \
             their ids with --node-id, or let it join the cluster with --join",
            ids.join(", ")
        ))
    }

    /// Replicas of a topic whose creator does not say how many.
    pub(super) fn default_replication<N: From<u8>>(&self) -> N {
        match self {
            Self::Alone => 1,
            Self::Voters(voters) => match voters.len() {
                1 => 1,
                2 => 2,
                _ => 3,
            },
            Self::Join(_) => 3,
        }
        .into()
    }
}

/// `ID@HOST:PORT,ID@HOST:PORT,…`
pub(super) fn voters(text: &str) -> Result<Cluster, String> {
    let mut voters = BTreeMap::new();
    for word in words(text) {
        let (id, address) = word
            .split_once('@')
            .ok_or_else(|| format!("has {word:?}, which is not ID@HOST:PORT"))?;
        let node = id.trim().parse().ok().and_then(NodeId::new);
        let node = node.ok_or_else(|| format!("has {word:?}, and {id:?} is no node id"))?;
        let address = reachable(word, address)?;
        if let Some((other, _)) = voters.iter().find(|(_, known)| **known == address) {
            return Err(format!("has nodes {other} and {node} at the same address"));
        }
        if voters.insert(node, address).is_some() {
            return Err(format!("names node {node} twice"));
        }
    }
    match voters.len() {
        0 => Err("names no node".to_owned()),
        1..=MAX_VOTERS => Ok(Cluster::Voters(voters)),
        many => Err(format!(
            "names {many} nodes; {MAX_VOTERS} are the most. Let the others join with --join"
        )),
    }
}

/// `HOST:PORT,HOST:PORT,…`
pub(super) fn seeds(text: &str) -> Result<Cluster, String> {
    let seeds: Result<Vec<Address>, String> =
        words(text).map(|word| reachable(word, word)).collect();
    match seeds? {
        none if none.is_empty() => Err("names no address".to_owned()),
        seeds => Ok(Cluster::Join(seeds)),
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty())
}

/// An address that others can connect to.
fn reachable(word: &str, text: &str) -> Result<Address, String> {
    let address =
        value::address(text.trim()).map_err(|fault| format!("has {word:?}, which {fault}"))?;
    if address.host.is_empty() || address.port == 0 {
        return Err(format!(
            "has {word:?}; others need a host and a port to connect to"
        ));
    }
    Ok(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voters_are_ids_at_addresses() {
        let Ok(cluster) = voters("1@log1:9093, 2@log2:9093,3@[::1]:9093") else {
            panic!("legal");
        };
        let named: Vec<(u32, String)> = cluster
            .voters()
            .into_iter()
            .map(|(node, address)| (node.get(), address))
            .collect();
        let expected = [(1, "log1:9093"), (2, "log2:9093"), (3, "[::1]:9093")];
        assert_eq!(named, expected.map(|(node, at)| (node, at.to_owned())));
        assert_eq!(cluster.default_replication::<i16>(), 3);
    }

    #[test]
    fn mistakes_name_the_word_that_is_wrong() {
        for (text, expected) in [
            ("log1:9093", "\"log1:9093\", which is not ID@HOST:PORT"),
            ("x@log1:9093", "\"x\" is no node id"),
            ("1@log1", "which is not HOST:PORT"),
            ("1@:9093", "need a host and a port"),
            ("1@a:1,1@b:1", "names node 1 twice"),
            ("1@a:1,2@a:1", "nodes 1 and 2 at the same address"),
            (",", "names no node"),
        ] {
            let fault = voters(text).expect_err(text);
            assert!(fault.contains(expected), "{text}: {fault}");
        }
        assert!(seeds("log1").expect_err("no port").contains("HOST:PORT"));
    }

    #[test]
    fn a_node_must_be_among_the_voters() {
        let cluster = voters("1@a:1,2@b:1").expect("legal");
        let four = NodeId::new(4).expect("in range");
        let fault = cluster.check(four).expect_err("not a voter");
        assert!(
            fault.contains("1, 2") && fault.contains("--join"),
            "{fault}"
        );
    }
}
