//! One run: from a beginning through trouble to a peace that must hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use plimsoll_wire::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use plimsoll_wire::{Request, Response};

use crate::client::{self, Client, Scene};
use crate::faults;
use crate::history::Violation;
use crate::kernel::Owner;
use crate::member::Member;
use crate::offsets::Offsets;
use crate::world::{LOOK, TOPIC, World};

/// What a run is made of; all of it follows from the seed and this.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Decides everything that is left to chance.
    pub seed: u64,
    /// How long there is trouble, in simulated time.
    pub trouble: Duration,
    /// How many nodes.
    pub nodes: u32,
    /// How many partitions.
    pub partitions: u32,
    /// How many members of a consumer group.
    pub members: u32,
    /// Whether the topic counts what is written, not what is synced: then no node loses power.
    pub unsynced: bool,
    /// Whether clients delete records.
    pub trims: bool,
    /// Which faults there are; all that are known where this is empty.
    pub faults: Vec<String>,
}

impl Plan {
    /// What a seed means where nothing else is said.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed ^ 0x5eed);
        Self {
            seed,
            trouble: Duration::from_secs(15),
            nodes: if rng.u8(..4) == 0 { 5 } else { 3 },
            partitions: rng.u32(1..=3),
            members: rng.u32(0..=3),
            trims: rng.u8(..3) == 0,
            unsynced: false,
            faults: Vec::new(),
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// The rules that were broken, in words; none if all held.
    pub violations: Vec<String>,
    /// What happened, in order.
    pub story: Vec<String>,
    /// Simulated time.
    pub simulated: Duration,
    /// A number that two runs of one plan share.
    pub hash: u64,
    /// Records sent, acknowledged and read.
    pub records: (u64, u64, u64),
    /// How often there was what trouble.
    pub faults: BTreeMap<&'static str, u64>,
    /// How often there was which of [`crate::marks()`].
    pub marks: BTreeMap<&'static str, u64>,
    /// How long peace took to come.
    pub healed: Option<Duration>,
}

/// How long a cluster may take to be in sync once nothing is wrong any more.
const PEACE: Duration = Duration::from_secs(30);
/// Bytes of a segment: small, so that many are rolled.
const SEGMENT_BYTES: &str = "20000";

async fn create_topic(scene: Arc<Scene>, plan: Plan, made: Arc<AtomicBool>) {
    let client = Client::new(&scene, 0);
    loop {
        let config = |name: &str, value: &str| CreatableTopicConfig {
            name: name.into(),
            value: Some(value.into()),
        };
        let request = Request::CreateTopics(CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: TOPIC.into(),
                num_partitions: i32::try_from(plan.partitions).unwrap_or(1),
                replication_factor: 3,
                configs: vec![
                    config("min.insync.replicas", "2"),
                    config("segment.bytes", SEGMENT_BYTES),
                    config("durability", if plan.unsynced { "os" } else { "fsync" }),
                ],
                ..Default::default()
            }],
            timeout_ms: 3000,
            ..Default::default()
        });
        let node = scene.kernel.draw(|rng| rng.u32(1..=scene.nodes));
        if let Some(Response::CreateTopics(answer)) = client.ask(node, 7, request).await
            && answer
                .topics
                .iter()
                .all(|topic| matches!(topic.error_code, 0 | 36))
        {
            made.store(true, Ordering::Relaxed);
            return;
        }
        scene.kernel.sleep(LOOK).await;
    }
}

/// Runs a plan to its end.
///
/// # Errors
/// The machine gives no directory.
pub fn run(plan: &Plan) -> std::io::Result<Report> {
    let world = World::new(plan)?;
    live(plan, &world)
}

/// Runs a plan twice; beside the first report, where the second run went another way if it did.
///
/// # Errors
/// The machine gives no directory.
pub fn run_twice(plan: &Plan) -> std::io::Result<(Report, Option<String>)> {
    let traced = || {
        let world = World::new(plan)?;
        world.kernel.keep_trace();
        let report = live(plan, &world)?;
        Ok::<_, std::io::Error>((report, world.kernel.take_trace()))
    };
    let (first, trace) = traced()?;
    let (second, other) = traced()?;
    let parting = trace.parting(&other);
    let late = || "two runs part late: their hashes differ".to_owned();
    let parting = parting.or_else(|| (first.hash != second.hash).then(late));
    Ok((first, parting))
}

fn live(plan: &Plan, world: &Arc<World>) -> std::io::Result<Report> {
    let kernel = Arc::clone(&world.kernel);
    let scene = Arc::new(Scene {
        kernel: Arc::clone(&kernel),
        net: Arc::clone(&world.net),
        history: Arc::clone(&world.history),
        topic: TOPIC.to_owned(),
        nodes: plan.nodes,
        over: Mutex::new(false),
    });
    kernel.spawn(Owner::WORLD, Arc::clone(&world.quorum).run());
    kernel.spawn(Owner::WORLD, Arc::clone(world).watch(plan.partitions));
    for node in world.nodes() {
        world.start(node);
    }
    let made: Arc<AtomicBool> = Arc::default();
    client::start(
        &scene,
        create_topic(Arc::clone(&scene), plan.clone(), Arc::clone(&made)),
    );
    let ready =
        |world: &World| made.load(Ordering::Relaxed) && world.unrest(plan.partitions).is_none();
    let mut violations: Vec<String> = Vec::new();
    if !world.run_until(kernel.now() + PEACE, ready) {
        let what = world.unrest(plan.partitions).unwrap_or_default();
        violations.push(format!("the cluster did not come up in {PEACE:?}: {what}"));
    }
    world.tell("the cluster is up, clients begin");
    for partition in 0..i32::try_from(plan.partitions).unwrap_or(0) {
        let number = u32::try_from(partition).unwrap_or(0);
        for producer in 1..=2 {
            let client = Client::new(&scene, number * 10 + producer);
            client::start(&scene, client.produce(partition, Duration::from_millis(60)));
        }
        if plan.trims {
            let client = Client::new(&scene, number * 10 + 6);
            client::start(&scene, client.trim(partition));
        }
        let consumer = Client::new(&scene, number * 10 + 5);
        client::start(&scene, consumer.consume(partition));
    }
    let offsets = Offsets::new(&world.history);
    for number in 0..plan.members {
        let partitions = i32::try_from(plan.partitions).unwrap_or(0);
        let member = Member::new(&scene, &offsets, 900 + number, partitions);
        client::start(&scene, member.live());
    }
    let end = kernel.now() + plan.trouble;
    kernel.spawn(
        Owner::WORLD,
        faults::make(Arc::clone(world), Arc::clone(&scene), plan.clone(), end),
    );
    world.run_until(end, |_| false);
    world.tell("the trouble ends");
    faults::end(world);
    let peace = kernel.now();
    let behind = |world: &World| match plan.members {
        0 => None,
        _ => offsets.behind(&world.ends(plan.partitions)),
    };
    let unrest = |world: &World| world.unrest(plan.partitions).or_else(|| behind(world));
    // In load there is always a batch on its way, so the load ends before all must be level.
    world.run_until(peace + Duration::from_secs(5), |_| false);
    *scene.over.lock() = true;
    let healed = world
        .run_until(peace + PEACE, |world| unrest(world).is_none())
        .then(|| kernel.now().saturating_sub(peace));
    if healed.is_none() {
        let what = unrest(world).unwrap_or_default();
        violations.push(format!("no peace {PEACE:?} after the last fault: {what}"));
        violations.extend(world.complaints());
    }
    let more = kernel.now() + Duration::from_secs(5);
    world.run_until(more, |_| false);
    let logs = world.read_logs(plan.partitions);
    world.history.judge(kernel.now(), &logs);
    violations.extend(world.history.violations().iter().map(Violation::to_string));
    world.check_counters(&mut violations);
    world.marks.add("rebalanced", offsets.rebalances());
    let partitions = 0..i32::try_from(plan.partitions).unwrap_or(0);
    let trimmed = partitions.filter(|partition| world.history.trimmed(*partition) > 0);
    world.marks.add("trimmed", trimmed.count() as u64);
    for (_, process) in world.net.processes() {
        world.take_marks(&process);
    }
    let report = Report {
        seed: plan.seed,
        violations,
        story: world.story.lock().clone(),
        simulated: kernel.now(),
        hash: kernel.hash(),
        records: world.history.counts(),
        faults: world.count.all(),
        marks: world.marks.all(),
        healed,
    };
    for node in world.nodes() {
        world.kill(node);
    }
    kernel.clear();
    Ok(report)
}
