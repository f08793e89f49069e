//! What a person asks of the cluster while there is trouble: other nodes for a partition's
//! replicas, a node kept free of leaderships.
//!
//! In peace a partition lies where it was last told to lie, no move goes on, and who is drained
//! leads nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_controller::{Image, Partition};
use plimsoll_wire::alter_partition_reassignments::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ReassignablePartition,
    ReassignableTopic,
};
use plimsoll_wire::{Request, Response};

use crate::client::{Client, Scene};
use crate::faults::told;
use crate::kernel::Owner;
use crate::peace::words;
use crate::world::{TOPIC, World, id};

/// The number of the client that orders moves.
const PERSON: u32 = 990;
/// Attempts at an order.
const ATTEMPTS: u32 = 10;
/// Between two looks at whether a node leads again.
const LOOK: Duration = Duration::from_millis(300);

/// Where partitions were told to lie.
#[derive(Default)]
pub(crate) struct Orders(Mutex<BTreeMap<u32, Order>>);

enum Order {
    /// It is being given.
    UnderWay,
    /// It was taken.
    Taken(BTreeSet<u32>),
    /// Nobody knows, now or ever: an attempt that was not answered may yet be carried out.
    Unknown,
}

impl Orders {
    /// Whether another order may be given now.
    fn begin(&self, partition: u32) -> bool {
        let mut orders = self.0.lock();
        let free = matches!(orders.get(&partition), None | Some(Order::Taken(_)));
        if free {
            orders.insert(partition, Order::UnderWay);
        }
        free
    }

    fn end(&self, partition: u32, order: Order) {
        self.0.lock().insert(partition, order);
    }

    /// What is not as it was ordered.
    pub(crate) fn unmet(&self, index: u32, known: &Partition) -> Option<String> {
        if !known.adding.is_empty() || !known.removing.is_empty() {
            let (adding, removing) = (words(&known.adding), words(&known.removing));
            return Some(format!(
                "partition {index} is still being moved to {adding:?} and from {removing:?}"
            ));
        }
        let there: BTreeSet<u32> = words(&known.replicas).into_iter().collect();
        match self.0.lock().get(&index) {
            Some(Order::Taken(target)) if *target != there => Some(format!(
                "partition {index} lies on {there:?}, and was told to lie on {target:?}"
            )),
            _ => None,
        }
    }
}

/// What a drained node leads.
pub(crate) fn led_by_drained(image: &Image, known: &Partition) -> Option<String> {
    let leader = known.leader?;
    let kept = image.node(leader).is_some_and(|node| node.drain.kept);
    kept.then(|| format!("is led by node {leader}, which is drained"))
}

fn taken(answer: &AlterPartitionReassignmentsResponse) -> bool {
    let rows = answer.responses.iter().flat_map(|topic| &topic.partitions);
    let codes = rows.map(|row| row.error_code);
    codes.chain([answer.error_code]).all(|code| code == 0)
}

/// Moves some partition to other nodes.
pub(crate) fn move_one(world: &Arc<World>, scene: &Arc<Scene>, partitions: u32) {
    let kernel = &world.kernel;
    let index = kernel.draw(|rng| rng.u32(..partitions.max(1)));
    let mut target = world.nodes();
    let count = kernel.draw(|rng| {
        rng.shuffle(&mut target);
        if rng.u8(..3) == 0 { 2 } else { 3 }
    });
    target.truncate(count);
    if !world.orders.begin(index) {
        return;
    }
    told(
        world,
        "move",
        &format!("partition {index} is to lie on {target:?}"),
    );
    let replicas: Vec<i32> = target.iter().filter_map(|n| (*n).try_into().ok()).collect();
    let request = AlterPartitionReassignmentsRequest {
        topics: vec![ReassignableTopic {
            name: TOPIC.into(),
            partitions: vec![ReassignablePartition {
                partition_index: i32::try_from(index).unwrap_or(0),
                replicas: Some(replicas),
            }],
        }],
        ..Default::default()
    };
    let (world, client) = (Arc::clone(world), Client::new(scene, PERSON));
    let kernel = Arc::clone(kernel);
    kernel.spawn(Owner::WORLD, async move {
        // What was not answered well at once may be carried out after a later order.
        let mut known = true;
        for _ in 0..ATTEMPTS {
            let asked = Request::AlterPartitionReassignments(request.clone());
            let answer = client.ask(client.any_node(), 0, asked).await;
            if let Some(Response::AlterPartitionReassignments(answer)) = answer
                && taken(&answer)
            {
                let target = target.into_iter().collect();
                if known {
                    world.orders.end(index, Order::Taken(target));
                }
                return;
            }
            known = false;
            world.orders.end(index, Order::Unknown);
            client.pause().await;
        }
    });
}

/// Keeps a node free of leaderships, for a while or until the end; one at a time.
pub(crate) fn drain_one(world: &Arc<World>, node: u32) {
    let processes = world.net.processes();
    let Some((_, process)) = processes.first() else {
        return;
    };
    if process.broker.image().nodes().any(|node| node.drain.kept) {
        return;
    }
    told(
        world,
        "drain",
        &format!("node {node} is to lead nothing from here on"),
    );
    let broker = Arc::clone(&process.broker);
    world.kernel.spawn(process.owner, async move {
        // If it comes to nothing, or nobody knows, then nothing was promised.
        let _ = broker.drain_node(id(node)).await;
    });
    if world.kernel.one_in(2) {
        return;
    }
    let wait = world.kernel.between(LOOK, LOOK * 20);
    let (world, kernel) = (Arc::clone(world), Arc::clone(&world.kernel));
    kernel.spawn(Owner::WORLD, async move {
        world.kernel.sleep(wait).await;
        resume(&world, node).await;
    });
}

async fn resume(world: &Arc<World>, node: u32) {
    world.tell(&format!("node {node} may lead again"));
    for _ in 0..ATTEMPTS {
        let processes = world.net.processes();
        let drained = |(_, process): &&(u32, crate::net::Process)| {
            let image = process.broker.image();
            image.node(id(node)).is_some_and(|node| node.drain.kept)
        };
        let Some((_, process)) = processes.iter().find(drained) else {
            return;
        };
        let broker = Arc::clone(&process.broker);
        world.kernel.spawn(process.owner, async move {
            let _ = broker.resume_node(id(node)).await;
        });
        drop(processes);
        world.kernel.sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_orders_twice_at_once_nor_after_what_nobody_knows() {
        let orders = Orders::default();
        assert!(orders.begin(0) && !orders.begin(0) && orders.begin(1));
        orders.end(0, Order::Taken(BTreeSet::from([1])));
        assert!(orders.begin(0));
        orders.end(0, Order::Unknown);
        assert!(!orders.begin(0));
    }
}
