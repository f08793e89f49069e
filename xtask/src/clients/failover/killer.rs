//! Whom to kill: by turns somebody whom a client has not lost yet, and anybody.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result};

use super::super::cluster::Cluster;
use super::traffic::{PARTITIONS, Traffic};
use crate::random::Random;

/// What a node may be to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// It leads one of the client's partitions.
    Leader,
    /// It coordinates the client's group.
    Coordinator,
    /// It is the cluster's active controller.
    Controller,
}

/// Who has lost whom.
pub(super) struct Killer {
    clients: Vec<Arc<Traffic>>,
    /// Clients, by their place, and what they have yet to lose.
    missing: BTreeSet<(usize, Role)>,
    rounds: u64,
}

impl Killer {
    pub(super) fn new(clients: &[Arc<Traffic>]) -> Self {
        let roles = [Role::Leader, Role::Coordinator, Role::Controller];
        let missing = (0..clients.len()).flat_map(|at| roles.map(|role| (at, role)));
        Self {
            clients: clients.to_vec(),
            missing: missing.collect(),
            rounds: 0,
        }
    }

    /// Every client has lost one of each.
    pub(super) fn is_done(&self) -> bool {
        self.missing.is_empty()
    }

    /// Who has not lost whom yet.
    pub(super) fn missing(&self) -> String {
        let one = |(at, role): &(usize, Role)| {
            let name = self.clients[*at].program.name;
            format!("{name} lost no {role:?}")
        };
        self.missing.iter().map(one).collect::<Vec<_>>().join(", ")
    }

    /// The next node to be killed, and what it is.
    pub(super) fn choose(
        &mut self,
        cluster: &Cluster,
        random: &mut Random,
    ) -> Result<(u32, String)> {
        let roles = self.roles(cluster)?;
        let wanted = |id: &u32| {
            let its = roles.get(id);
            its.map_or(0, |its| its.intersection(&self.missing).count())
        };
        let most = cluster
            .ids()
            .max_by_key(wanted)
            .context("there are nodes")?;
        self.rounds += 1;
        let any = 1 + u32::try_from(random.below(cluster.ids().count() as u64))?;
        let victim = match self.rounds % 2 == 1 && wanted(&most) > 0 {
            true => most,
            false => any,
        };
        let mut counts: BTreeMap<Role, usize> = BTreeMap::new();
        for (at, role) in roles.get(&victim).into_iter().flatten() {
            self.missing.remove(&(*at, *role));
            *counts.entry(*role).or_default() += 1;
        }
        let of = |role: Role| counts.get(&role).copied().unwrap_or(0);
        let controller = match of(Role::Controller) {
            0 => "",
            _ => ", controller",
        };
        let text = format!(
            "leader for {} clients, coordinator of {}{controller}",
            of(Role::Leader),
            of(Role::Coordinator)
        );
        Ok((victim, text))
    }

    /// What each node is, and to which clients.
    fn roles(&self, cluster: &Cluster) -> Result<BTreeMap<u32, BTreeSet<(usize, Role)>>> {
        let replicas = cluster.replicas()?;
        let groups = replicas
            .iter()
            .filter(|replica| replica.topic == "__consumer_offsets")
            .map(|replica| replica.partition + 1)
            .max();
        let leader = |topic: &str, partition: u32| {
            replicas.iter().find_map(|replica| {
                let it = replica.topic == topic
                    && replica.partition == partition
                    && replica.state == "leader";
                it.then_some(replica.node)
            })
        };
        let controller = cluster.controller()?;
        let mut roles: BTreeMap<u32, BTreeSet<(usize, Role)>> = BTreeMap::new();
        let mut is = |node: Option<u32>, at: usize, role: Role| {
            if let Some(node) = node {
                roles.entry(node).or_default().insert((at, role));
            }
        };
        for (at, client) in self.clients.iter().enumerate() {
            for partition in 0..PARTITIONS {
                is(leader(&client.topic, partition), at, Role::Leader);
            }
            let coordinator = groups
                .and_then(|count| leader("__consumer_offsets", place_of(&client.group, count)));
            is(coordinator, at, Role::Coordinator);
            is(controller, at, Role::Controller);
        }
        Ok(roles)
    }
}

/// The partition of the offsets topic that keeps a group: Java's hash of its name.
fn place_of(group: &str, partitions: u32) -> u32 {
    let hash = group.encode_utf16().fold(0_u32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(unit.into())
    });
    (hash & 0x7FFF_FFFF) % partitions
}

#[cfg(test)]
mod tests {
    use super::place_of;

    #[test]
    fn groups_are_where_java_puts_them() {
        // "hello".hashCode() is 99162322, "polygenelubricants".hashCode() the least integer.
        assert_eq!(place_of("hello", 50), 22);
        assert_eq!(place_of("polygenelubricants", 50), 0);
    }
}
