//! What goes wrong, when, and for how long: drawn from the seed, as far as [`crate::budget`] lets
//! it come together.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::budget::dir_of;
use crate::client::Scene;
use crate::operate;
use crate::run::Plan;
use crate::world::World;

/// How often there was what.
#[derive(Default)]
pub(crate) struct Count(Mutex<BTreeMap<&'static str, u64>>);

impl Count {
    pub(crate) fn one(&self, what: &'static str) {
        self.add(what, 1);
    }

    pub(crate) fn add(&self, what: &'static str, more: u64) {
        if more > 0 {
            *self.0.lock().entry(what).or_insert(0) += more;
        }
    }

    pub(crate) fn all(&self) -> BTreeMap<&'static str, u64> {
        self.0.lock().clone()
    }
}

/// The kinds of trouble, and how often each is drawn.
const KINDS: &[(&str, u32)] = &[
    ("kill", 6),
    ("power", 4),
    ("power-all", 1),
    ("pause", 4),
    ("cut", 4),
    ("cut-one-way", 3),
    ("slow-network", 2),
    ("slow-disk", 2),
    ("full-disk", 2),
    ("failed-sync", 2),
    ("wipe", 3),
    ("clock", 1),
    ("flip-bit", 3),
    ("restart", 2),
    ("move", 3),
    ("drain", 2),
];

/// The names of all kinds of trouble.
#[must_use]
pub fn kinds() -> Vec<&'static str> {
    KINDS
        .iter()
        .map(|(kind, _)| *kind)
        .chain(["meddle"])
        .collect()
}

pub(crate) fn wanted(plan: &Plan, kind: &str) -> bool {
    plan.faults.is_empty() || plan.faults.iter().any(|wanted| wanted == kind)
}

/// Makes trouble until then.
pub(crate) async fn make(world: Arc<World>, scene: Arc<Scene>, plan: Plan, until: Duration) {
    let kinds: Vec<(&'static str, u32)> = KINDS
        .iter()
        .copied()
        .filter(|(kind, _)| wanted(&plan, kind))
        .filter(|(kind, _)| !(plan.unsynced && kind.starts_with("power")))
        .collect();
    let weights: u32 = kinds.iter().map(|(_, weight)| weight).sum();
    if weights == 0 {
        return;
    }
    let kernel = Arc::clone(&world.kernel);
    loop {
        let pause = kernel.between(Duration::from_millis(100), Duration::from_secs(3));
        kernel.sleep(pause).await;
        if kernel.now() >= until {
            return;
        }
        let mut drawn = kernel.draw(|rng| rng.u32(..weights));
        let kind = kinds.iter().find(|(_, weight)| {
            let here = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            here
        });
        match kind {
            Some(("move", _)) => operate::move_one(&world, &scene, plan.partitions),
            Some((kind, _)) => do_one(&world, kind),
            None => {}
        }
    }
}

fn some_node(world: &World) -> u32 {
    let nodes = world.nodes();
    world
        .kernel
        .draw(|rng| nodes.get(rng.usize(..nodes.len())).copied())
        .unwrap_or(1)
}

fn later(
    world: &Arc<World>,
    least: Duration,
    most: Duration,
    deed: impl FnOnce(&Arc<World>) + Send + 'static,
) {
    let wait = world.kernel.between(least, most);
    let then = Arc::clone(world);
    world
        .kernel
        .after(crate::kernel::Owner::WORLD, wait, move || deed(&then));
}

const SHORT: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(6);

fn do_one(world: &Arc<World>, kind: &'static str) {
    let node = some_node(world);
    let up = world.is_up(node);
    match kind {
        "kill" if up => {
            told(world, kind, &format!("node {node} is killed"));
            world.kill(node);
            later(world, SHORT, LONG, move |world| world.start(node));
        }
        "power" if up => {
            told(world, kind, &format!("node {node} loses power"));
            lose_power(world, node);
            later(world, SHORT, LONG, move |world| world.start(node));
        }
        "power-all" => {
            told(world, kind, "all nodes lose power");
            for node in world.nodes() {
                lose_power(world, node);
                later(world, SHORT, LONG, move |world| world.start(node));
            }
        }
        "pause" if up => {
            let Some(owner) = world.owner(node) else {
                return;
            };
            told(world, kind, &format!("node {node} is paused"));
            world.kernel.pause(owner);
            later(world, SHORT, LONG, move |world| {
                world.tell(&format!("node {node} goes on"));
                world.kernel.resume(owner);
            });
        }
        "cut" => {
            told(world, kind, &format!("node {node} is cut off"));
            for other in world.nodes().into_iter().filter(|other| *other != node) {
                world.net.cut(node, other);
                world.net.cut(other, node);
            }
            later(world, SHORT, LONG, heal_net);
        }
        "cut-one-way" => {
            let other = some_node(world);
            if other == node {
                return;
            }
            told(
                world,
                kind,
                &format!("nothing gets from node {node} to node {other}"),
            );
            world.net.cut(node, other);
            later(world, SHORT, LONG, heal_net);
        }
        "slow-network" => {
            let other = some_node(world);
            let by = world
                .kernel
                .between(Duration::from_millis(5), Duration::from_millis(400));
            told(
                world,
                kind,
                &format!("messages from node {node} to node {other} take {by:?} longer"),
            );
            world.net.slow(node, other, by);
            later(world, SHORT, LONG, heal_net);
        }
        "slow-disk" => {
            let by = world
                .kernel
                .between(Duration::from_millis(20), Duration::from_secs(2));
            told(
                world,
                kind,
                &format!("the disk of node {node} takes {by:?} longer"),
            );
            if let Some(host) = world.hosts.lock().get(&node) {
                host.machine.set_disk_slow(by);
            }
            later(world, SHORT, LONG, move |world| {
                world.tell(&format!("the disk of node {node} is quick again"));
                if let Some(host) = world.hosts.lock().get(&node) {
                    host.machine.set_disk_slow(Duration::ZERO);
                }
            });
        }
        "full-disk" => {
            told(world, kind, &format!("the disk of node {node} is full"));
            set_full(world, node, true);
            later(world, SHORT, LONG, move |world| {
                world.tell(&format!("the disk of node {node} has room again"));
                set_full(world, node, false);
            });
        }
        "failed-sync" if world.may_fail_sync(node) => {
            told(world, kind, &format!("the next sync of node {node} fails"));
            world.hurts(node);
            if let Some(host) = world.hosts.lock().get(&node) {
                host.disk.fail_syncs(1);
            }
        }
        "wipe" if up && world.may_wipe() => {
            told(world, kind, &format!("node {node} loses its disk"));
            world.hurts(node);
            world.kill(node);
            wipe(world, node);
            later(world, SHORT, LONG, move |world| world.start(node));
        }
        "flip-bit" if up => {
            let dirs = world.may_flip();
            let hit = |path: &Path| dir_of(path).is_some_and(|dir| dirs.contains(&dir));
            let disk = world.hosts.lock().get(&node).map(|host| host.disk.clone());
            let flipped =
                disk.and_then(|disk| world.kernel.draw(|rng| disk.flip_bit(rng, 100, hit)));
            if let Some((path, at)) = flipped {
                let file = path
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned();
                told(
                    world,
                    kind,
                    &format!("a bit of byte {at} of {file} of node {node} flips"),
                );
            }
        }
        "drain" => operate::drain_one(world, node),
        "clock" => {
            let by = world.kernel.draw(|rng| rng.i64(-3_600_000..=3_600_000));
            told(
                world,
                kind,
                &format!("the wall clock of node {node} is {} s off", by / 1000),
            );
            if let Some(host) = world.hosts.lock().get(&node) {
                host.machine.set_wall_off(by);
            }
        }
        "restart" if up => {
            told(world, kind, &format!("node {node} is stopped in order"));
            let (world, Some(process)) = (Arc::clone(world), world.net.process(node)) else {
                return;
            };
            let kernel = Arc::clone(&world.kernel);
            kernel.spawn(crate::kernel::Owner::WORLD, async move {
                process.broker.drain().await;
                if world.owner(node) == Some(process.owner) {
                    drop(process);
                    world.tell(&format!("node {node} has stopped"));
                    world.kill(node);
                    later(&world, SHORT, LONG, move |world| world.start(node));
                }
            });
        }
        _ => {}
    }
}

pub(crate) fn told(world: &World, kind: &'static str, what: &str) {
    world.count.one(kind);
    world.tell(what);
}

fn heal_net(world: &Arc<World>) {
    world.tell("the network is whole");
    world.net.heal();
}

fn set_full(world: &World, node: u32, full: bool) {
    if let Some(host) = world.hosts.lock().get(&node) {
        host.disk.set_full(full);
    }
}

fn lose_power(world: &World, node: u32) {
    world.kill(node);
    let disk = world.hosts.lock().get(&node).map(|host| host.disk.clone());
    if let Some(disk) = disk {
        world.kernel.draw(|rng| disk.lose_power(rng));
    }
}

fn wipe(world: &World, node: u32) {
    world.quorum.wipe(node);
    if let Some(host) = world.hosts.lock().get_mut(&node) {
        host.wipe();
    }
}

/// Undoes all trouble that lasts.
pub(crate) fn end(world: &Arc<World>) {
    world.net.heal();
    for node in world.nodes() {
        if let Some(host) = world.hosts.lock().get(&node) {
            host.machine.set_disk_slow(Duration::ZERO);
            host.disk.set_full(false);
            host.disk.fail_syncs(0);
        }
        if let Some(owner) = world.owner(node) {
            world.kernel.resume(owner);
        }
        world.start(node);
    }
}
