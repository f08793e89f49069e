//! How a node finds its place: it forms the cluster, goes on, or asks the others first.

use super::codec::{LogId, Types, Vote};
use super::network::Factory;
use super::node::{Consensus, Shared, status_of};
use super::rpc::{Change, Inquired, Reply, Request};
use super::storage::{LogStore, Machine};
use super::store::Fence;
use super::{Start, Target, TransportError};
use openraft::async_runtime::WatchReceiver;
use openraft::{BasicNode, Config, Raft, ServerState, SnapshotPolicy};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Entries that stay behind a snapshot, for followers that lag a little.
pub(crate) const KEPT_ENTRIES: u64 = 256;

pub(crate) async fn run(shared: Arc<Shared>, start: Start) {
    if let Err(error) = find_place(&shared, start).await {
        shared.stop(&format!("its start failed: {error}"));
    }
}

async fn find_place(shared: &Arc<Shared>, start: Start) -> io::Result<()> {
    let forms = matches!(start, Start::Voters { form: true, .. }) && shared.store.is_new();
    if forms {
        announce(shared).await;
        shared.store.open_fence().await?;
    }
    if shared.store.fence() == Fence::Asking {
        ask_others(shared, &start).await?;
    }
    let raft = build(shared).await?;
    if shared.store.fence() != Fence::Open {
        raft.runtime_config().elect(false);
    }
    let members = raft.metrics().borrow_watched().membership_config.clone();
    if forms {
        let nodes = shared.book.iter();
        let nodes = nodes.map(|(id, addr)| (*id, BasicNode { addr: addr.clone() }));
        let formed = raft.initialize(nodes.collect::<BTreeMap<_, _>>()).await;
        formed.map_err(|error| io::Error::other(error.to_string()))?;
    } else if members.voter_ids().eq([shared.me]) {
        // Nobody else is to be asked.
        drop(raft.trigger().elect(false).await);
    }
    if shared.raft.set(raft).is_err() {
        return Err(io::Error::other("it was started twice"));
    }
    tokio::spawn(watch(Arc::clone(shared)));
    tokio::spawn(watch_store(Arc::clone(shared)));
    if let Start::Join { seeds, address } = start {
        tokio::spawn(join(Arc::clone(shared), seeds, address));
    }
    Ok(())
}

async fn build(shared: &Arc<Shared>) -> io::Result<super::node::Consensus> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        cluster_name: "plimsoll".to_owned(),
        heartbeat_interval: millis(shared.timing.heartbeat),
        election_timeout_min: millis(shared.timing.election_min),
        election_timeout_max: millis(shared.timing.election_max),
        install_snapshot_timeout: 60_000,
        max_payload_entries: 256,
        max_append_entries: Some(256),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: KEPT_ENTRIES,
        api_channel_size: Some(4096),
        notification_channel_size: Some(4096),
        enable_pre_vote: Some(true),
        enable_leader_restore: Some(false),
        // A voter that lost its directory comes back with less.
        allow_log_reversion: Some(true),
        backoff: "100ms 200ms 500ms".to_owned(),
        ..Config::default()
    };
    let config = config.validate().map_err(io::Error::other)?;
    let store = Arc::clone(&shared.store);
    let stream = Arc::clone(&shared.stream);
    let machine = Machine::new(Arc::clone(&store), stream, Arc::clone(&shared.applied));
    let factory = Factory(Arc::clone(shared));
    let log = LogStore(store);
    let raft = Raft::new(shared.me, Arc::new(config), factory, log, machine).await;
    raft.map_err(|error| io::Error::other(error.to_string()))
}

/// Tells the other voters that the cluster is being formed, until most know.
async fn announce(shared: &Arc<Shared>) {
    let mut left: BTreeMap<u64, String> = shared.book.clone();
    left.remove(&shared.me);
    let most = shared.book.len() / 2 + 1;
    let patience =
        shared.timing.election_max.as_millis() / shared.timing.heartbeat.as_millis().max(1);
    for round in 0.. {
        let known = shared.book.len() - left.len();
        if left.is_empty() || (known >= most && round > patience) {
            return;
        }
        for (id, answer) in ask_all(shared, left.clone(), &Request::Form).await {
            if matches!(answer, Ok(Reply::Done(_))) {
                left.remove(&id);
            }
        }
        if !left.is_empty() {
            tokio::time::sleep(shared.timing.heartbeat).await;
        }
    }
}

async fn ask_all(
    shared: &Arc<Shared>,
    nodes: BTreeMap<u64, String>,
    request: &Request,
) -> Vec<(u64, Result<Reply, TransportError>)> {
    let mut calls = JoinSet::new();
    for (id, address) in nodes {
        let (shared, request) = (Arc::clone(shared), request.clone());
        calls.spawn(async move {
            let timeout = shared.timing.election_min;
            let target = Target::of(id, address);
            (id, shared.call(target, Some(id), request, timeout).await)
        });
    }
    calls.join_all().await
}

/// Takes the place of whoever this node was before its directory was lost; see the module's page.
async fn ask_others(shared: &Arc<Shared>, start: &Start) -> io::Result<()> {
    let mut known = shared.book.clone();
    loop {
        if shared.store.fence() != Fence::Asking {
            // The cluster is being formed.
            return Ok(());
        }
        if let Start::Join { seeds, .. } = start {
            for seed in seeds {
                let target = Target {
                    node: None,
                    address: seed.clone(),
                };
                let timeout = shared.timing.election_min;
                let answer = shared.call(target, None, Request::Inquire, timeout).await;
                if let Ok(Reply::Inquired(inquired)) = answer {
                    known.insert(inquired.node, seed.clone());
                    known.extend(inquired.voters);
                }
            }
        }
        known.remove(&shared.me);
        let answers = ask_all(shared, known.clone(), &Request::Inquire).await;
        let answers = answers.into_iter().filter_map(|(id, answer)| match answer {
            Ok(Reply::Inquired(inquired)) if inquired.node == id && inquired.open => Some(inquired),
            _ => None,
        });
        let answers: Vec<Inquired> = answers.collect();
        for answer in &answers {
            for (id, address) in &answer.voters {
                known.entry(*id).or_insert_with(|| address.clone());
            }
        }
        if let Some((vote, last)) = newest(shared.me, &answers)
            && shared.store.fence() == Fence::Asking
        {
            return shared.store.catch_up(Some(vote), last).await;
        }
        tokio::time::sleep(shared.timing.heartbeat).await;
    }
}

/// The vote of the newest leader and the newest entry, if most voters have answered.
fn newest(me: u64, answers: &[Inquired]) -> Option<(Vote, Option<LogId>)> {
    let place = |a: &&Inquired| (a.vote.map(|vote| vote.leader_id.term), a.last);
    let voters = &answers.iter().max_by_key(place)?.voters;
    let heard = answers
        .iter()
        .filter(|a| a.node != me && voters.contains_key(&a.node));
    if heard.count() < voters.len() / 2 + 1 {
        return None;
    }
    let votes = answers.iter().filter_map(|a| a.vote);
    let vote = votes.max_by_key(|vote| (vote.leader_id.term, vote.committed))?;
    // A term without a leader is waited out: whom this node may have voted for is not known.
    let last = answers.iter().filter_map(|a| a.last).max();
    vote.committed.then_some((vote, last))
}

/// Publishes the status, opens the fence when this node has caught up, and notices the end.
async fn watch(shared: Arc<Shared>) {
    let Some(raft) = shared.raft.get() else {
        return;
    };
    let mut receiver = raft.metrics();
    let (mut ticks, mut told) = (true, 0);
    loop {
        let metrics = receiver.borrow_watched().clone();
        // A leader without anybody to lead, or to be unseated by, has no use for a clock.
        let others = metrics.membership_config.nodes().count() > 1;
        let needed = others || metrics.state != ServerState::Leader;
        if std::mem::replace(&mut ticks, needed) != needed {
            raft.runtime_config().tick(needed);
        }
        if metrics.state == ServerState::Leader {
            tell_address(&shared, raft, &metrics, &mut told);
        }
        if let Some(status) = status_of(&shared, &metrics) {
            let led = (status.leader, status.term);
            shared.status.send_replace(status);
            shared
                .led
                .send_if_modified(|known| std::mem::replace(known, led) != led);
        }
        if let Err(fatal) = &metrics.running_state {
            let reason = shared.store.stopped().map(|stopped| stopped.reason);
            let reason = reason.unwrap_or_else(|| fatal.to_string().into());
            shared.stop(&reason);
            return;
        }
        if let Fence::CatchingUp(target) = shared.store.fence()
            && metrics.last_applied >= target
        {
            if let Err(error) = shared.store.open_fence().await {
                shared.stop(&error.to_string());
                return;
            }
            raft.runtime_config().elect(true);
        }
        if receiver.changed().await.is_err() {
            shared.stop("the consensus ended");
            return;
        }
    }
}

/// Takes no part any more once nothing can be written. The consensus notices what fails when it
/// writes; a log that stops behind that would let it lead, or follow, with nothing to write on.
async fn watch_store(shared: Arc<Shared>) {
    let Err(ended) = shared.store.ended().await else {
        return;
    };
    let reason = shared.store.stopped().map(|stopped| stopped.reason);
    shared.stop(&reason.unwrap_or_else(|| ended.to_string().into()));
    if let Some(raft) = shared.raft.get() {
        // It may have ended by itself, of the same cause.
        drop(raft.shutdown().await);
    }
}

/// Puts the leader's own address into the log if it lives elsewhere now: whoever joins learns it
/// there. Once a term.
fn tell_address(
    shared: &Arc<Shared>,
    raft: &Consensus,
    metrics: &openraft::RaftMetrics<Types>,
    told: &mut u64,
) {
    let members = metrics.membership_config.membership();
    let (listed, own) = (members.get_node(&shared.me), shared.book.get(&shared.me));
    let (Some(listed), Some(own)) = (listed, own) else {
        return;
    };
    if listed.addr == *own || std::mem::replace(told, metrics.current_term) == metrics.current_term
    {
        return;
    }
    let (shared, raft, own) = (Arc::clone(shared), raft.clone(), own.clone());
    tokio::spawn(async move {
        // One that fails is made good in the next term.
        let _told = shared
            .lead_change(&raft, Change::Admit(shared.me, own))
            .await;
    });
}

/// Asks to be admitted until this node is a member.
async fn join(shared: Arc<Shared>, seeds: Vec<String>, address: String) {
    loop {
        let is_member = {
            let status = shared.status.borrow();
            let mut members = status.voters.iter().chain(&status.learners);
            members.any(|(id, listed)| *id == status.me && *listed == address)
        };
        if is_member || shared.stream.stopped().is_some() {
            return;
        }
        let change = Change::Admit(shared.me, address.clone());
        let timeout = shared.timing.election_max * 2;
        for seed in &seeds {
            let target = Target {
                node: None,
                address: seed.clone(),
            };
            let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
            let change = change.clone();
            let request = Request::Change { change, millis };
            if let Ok(Reply::Done(_)) = shared.call(target, None, request, timeout).await {
                break;
            }
        }
        tokio::time::sleep(shared.timing.election_min).await;
    }
}
