//! Asking everybody at once, and keeping the answer for a moment.
//!
//! One asks at a time, and what was asked just now is told again, so that a flood of questions
//! from outside is a trickle between the nodes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use plimsoll_controller::Image;
use plimsoll_health::{ClusterVerdict, Level};
use plimsoll_types::{Monotonic, NodeId};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::colleagues::{Asked, EventView, ask_history, ask_report};
use super::merge::{self, Heard, Row};
use super::sighting::Report;
use super::verdict::{self, Finding};
use crate::admin::Admin;
use crate::problem::Problem;

/// How old an answer may be that is told again.
const FRESH: Duration = Duration::from_millis(500);
/// How long `/healthz` waits for a new one before it tells an older one with its age.
const WAIT: Duration = Duration::from_secs(2);
/// An answer older than this says nothing any more.
const STALE: Duration = Duration::from_secs(15);

/// What all nodes said.
pub(crate) struct Gathered {
    pub(crate) at: Monotonic,
    /// The node that asked.
    pub(crate) me: u32,
    pub(crate) cluster_id: String,
    pub(crate) image: Arc<Image>,
    pub(crate) controller: Option<u32>,
    pub(crate) reports: BTreeMap<u32, Report>,
    pub(crate) silent: BTreeMap<u32, String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) verdict: ClusterVerdict,
}

/// The last answer, and what has to be remembered between two.
#[derive(Default)]
pub(crate) struct Cluster {
    last: ArcSwapOption<Gathered>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// When a fenced node was first seen so.
    fenced_since: BTreeMap<NodeId, Monotonic>,
    /// How far behind a replica was, and when: how fast it catches up.
    lags: HashMap<(String, u32, u32), (Monotonic, u64)>,
}

impl Admin {
    /// What was gathered is told no more: an order has just changed it.
    pub(crate) fn gather_anew(&self) {
        self.cluster.last.store(None);
    }

    /// What all nodes say, as of now or just before.
    pub(crate) async fn gathered(self: &Arc<Self>) -> Result<Arc<Gathered>, Problem> {
        let mut memory = self.cluster.memory.lock().await;
        if let Some(last) = self.cluster.last.load_full()
            && self.now().since(last.at) < FRESH
        {
            return Ok(last);
        }
        let gathered = Arc::new(self.gather(&mut memory).await?);
        self.cluster.last.store(Some(Arc::clone(&gathered)));
        Ok(gathered)
    }

    /// The verdict: of now if it can be had soon, else the last one, which its age makes unknown.
    pub(crate) async fn cluster_verdict(self: &Arc<Self>) -> Result<ClusterVerdict, Problem> {
        let gathered = match tokio::time::timeout(WAIT, self.gathered()).await {
            Ok(gathered) => gathered?,
            Err(_) => self.cluster.last.load_full().ok_or(Problem::TimedOut)?,
        };
        let age = self.now().since(gathered.at);
        let mut verdict = gathered.verdict.clone();
        verdict.age = age;
        if age > STALE {
            verdict.level = Level::Unknown;
            verdict.reasons = vec![format!("the newest facts are {} s old", age.as_secs())];
        }
        Ok(verdict)
    }

    async fn gather(self: &Arc<Self>, memory: &mut Memory) -> Result<Gathered, Problem> {
        let view = self.view().cloned().ok_or(Problem::Starting)?;
        let mut asking = JoinSet::new();
        let mut silent = BTreeMap::new();
        let me = view.node();
        for node in self.others() {
            let Some(colleagues) = self.colleagues().cloned() else {
                silent.insert(node.get(), "there is no link to it yet".to_owned());
                continue;
            };
            asking.spawn(async move { (node, ask_report(&colleagues, node).await) });
        }
        let own = Arc::clone(self);
        let own = tokio::task::spawn_blocking(move || own.own_report());
        let own = own.await.ok().flatten().ok_or(Problem::Starting)?;
        let mut reports = BTreeMap::from([(me.get(), own)]);
        while let Some(asked) = asking.join_next().await {
            match asked {
                Ok((node, Ok(report))) => drop(reports.insert(node.get(), report)),
                Ok((node, Err(why))) => drop(silent.insert(node.get(), why)),
                // It panicked; the hook has told.
                Err(_) => {}
            }
        }
        let (now, image) = (self.now(), view.image());
        let heard = Heard {
            image: &image,
            reports: &reports,
            silent: &silent,
        };
        let mut rows = merge::rows(&heard);
        memory.estimate(&mut rows, now);
        memory.follow_fenced(&image, now);
        let mut quorum = view.quorum();
        let told = reports.values().find_map(|report| report.controller);
        quorum.leader = quorum.leader.or(told.and_then(NodeId::new));
        // Who leads the quorum knows who keeps up.
        let leads = quorum.leader.and_then(|leader| reports.get(&leader.get()));
        if let Some(leads) = leads.filter(|leads| leads.voters > 0) {
            (quorum.voters, quorum.current) = (leads.voters, leads.voters_current);
        }
        let findings = verdict::findings(&heard, &rows);
        let verdict = verdict::verdict(&heard, &rows, quorum, &memory.fenced_since, now);
        Ok(Gathered {
            at: now,
            me: me.get(),
            cluster_id: view.cluster_id(),
            controller: quorum.leader.map(NodeId::get),
            image,
            reports,
            silent,
            rows,
            findings,
            verdict,
        })
    }

    /// The other nodes: those in the metadata, and those there is a link to.
    fn others(&self) -> Vec<NodeId> {
        let Some(view) = self.view() else {
            return Vec::new();
        };
        let linked = self.colleagues().map(|colleagues| colleagues.nodes());
        let mut nodes: Vec<NodeId> = linked.unwrap_or_default();
        nodes.extend(view.image().nodes().map(|node| node.id));
        nodes.sort_unstable();
        nodes.dedup();
        nodes.retain(|node| *node != view.node());
        nodes
    }

    /// What happened to a partition's replicas in the last `span`, oldest first, and who did not
    /// tell.
    pub(crate) async fn history(
        self: &Arc<Self>,
        topic: &str,
        partition: u32,
        span: Duration,
    ) -> (Vec<EventView>, BTreeMap<u32, String>) {
        let asked = Asked::History {
            topic: topic.to_owned(),
            partition,
            since_ms: u64::try_from(span.as_millis()).unwrap_or(u64::MAX),
        };
        let (mut events, mut silent) = (Vec::new(), BTreeMap::new());
        let mut asking = JoinSet::new();
        for node in self.others() {
            let (asked, colleagues) = (asked.clone(), self.colleagues().cloned());
            let Some(colleagues) = colleagues else {
                silent.insert(node.get(), "there is no link to it yet".to_owned());
                continue;
            };
            asking.spawn(async move { (node, ask_history(&colleagues, node, &asked).await) });
        }
        let (own, topic) = (Arc::clone(self), topic.to_owned());
        let own = tokio::task::spawn_blocking(move || own.own_history(&topic, partition, span));
        // If it panicked, the hook has told.
        events.extend(own.await.unwrap_or_default());
        while let Some(asked) = asking.join_next().await {
            match asked {
                Ok((_, Ok(told))) => events.extend(told),
                Ok((node, Err(why))) => drop(silent.insert(node.get(), why)),
                Err(_) => {}
            }
        }
        events.sort_by_key(|event| event.at_ms);
        (events, silent)
    }
}

impl Memory {
    /// Says when replicas will have caught up, by how fast they did since the last time.
    fn estimate(&mut self, rows: &mut [Row], now: Monotonic) {
        let mut lags = HashMap::new();
        for row in rows.iter_mut().filter(|row| !row.is_well()) {
            let Some(lag) = row.lag_records.filter(|lag| *lag > 0) else {
                continue;
            };
            let of = (row.topic.clone(), row.partition, row.node);
            if let Some((then, before)) = self.lags.get(&of) {
                let gained = before.saturating_sub(lag);
                let took = now.since(*then).as_millis();
                if gained > 0 && row.estimate.is_none() {
                    let ms = u128::from(lag) * took / u128::from(gained);
                    let ms = u64::try_from(ms).unwrap_or(u64::MAX);
                    row.estimate = Some(Duration::from_millis(ms));
                }
            }
            lags.insert(of, (now, lag));
        }
        self.lags = lags;
    }

    fn follow_fenced(&mut self, image: &Image, now: Monotonic) {
        self.fenced_since
            .retain(|node, _| image.node(*node).is_some_and(|node| node.fenced));
        for node in image.nodes().filter(|node| node.fenced) {
            self.fenced_since.entry(node.id).or_insert(now);
        }
    }
}
