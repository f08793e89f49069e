//! What is wrong, in as few words as it takes: replicas that have one cause in common are one
//! finding, so that a dead node is one and not ten thousand.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use plimsoll_health::{Cause, ClusterFacts, ClusterVerdict, Level, NodeFacts, QuorumFacts, judge};
use plimsoll_types::{Monotonic, NodeId};
use serde::Serialize;

use super::merge::{Heard, Row, seconds};

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Finding {
    /// A code such as `R002`.
    pub(crate) code: &'static str,
    pub(crate) name: &'static str,
    /// Whether something is not served because of it.
    pub(crate) severe: bool,
    pub(crate) node: Option<u32>,
    pub(crate) what: String,
    pub(crate) evidence: String,
    pub(crate) action: String,
    #[serde(serialize_with = "seconds")]
    pub(crate) next_attempt: Option<Duration>,
    #[serde(serialize_with = "seconds")]
    pub(crate) estimate: Option<Duration>,
    pub(crate) advice: String,
    /// Every partition concerned.
    pub(crate) partitions: Vec<String>,
}

/// How many partitions a finding names in its words.
const NAMED: usize = 3;

/// What is wrong, gravest first.
pub(crate) fn findings(heard: &Heard<'_>, rows: &[Row]) -> Vec<Finding> {
    let mut groups: BTreeMap<(Option<u32>, Cause), Vec<&Row>> = BTreeMap::new();
    for row in rows {
        let Some(cause) = row.cause else { continue };
        let node = (cause != Cause::NoLeader).then_some(row.node);
        groups.entry((node, cause)).or_default().push(row);
    }
    let mut findings: Vec<_> = groups
        .into_iter()
        .map(|((node, cause), rows)| finding(node, cause, &rows))
        .collect();
    for node in heard.image.nodes() {
        findings.extend(of_node(heard, node, &findings));
    }
    findings.sort_by_key(|finding| (!finding.severe, finding.code, finding.node));
    findings
}

fn finding(node: Option<u32>, cause: Cause, rows: &[&Row]) -> Finding {
    let names: BTreeSet<String> = rows.iter().map(|row| row.partition_name()).collect();
    let partitions: Vec<String> = names.into_iter().collect();
    let worst = rows
        .iter()
        .max_by_key(|row| row.lag_records)
        .copied()
        .or(rows.first().copied());
    let many = partitions.len() > 1;
    let what = match (cause, node) {
        (Cause::NoLeader, _) => format!("{} no leader", has(&partitions)),
        (Cause::BelowMinIsr, _) => {
            let take = if many { "take" } else { "takes" };
            format!("{} {take} no writes with acks=all", list(&partitions))
        }
        (_, node) => {
            let state = worst.map_or("unknown", |row| row.state.as_str());
            let state = if many { "not in sync" } else { state };
            let are = if many { "are" } else { "is" };
            let on = node.map_or(String::new(), |node| format!(" on node {node}"));
            format!("{}{on} {are} {state}", list(&partitions))
        }
    };
    let words = cause.explanation();
    Finding {
        code: words.code,
        name: words.name,
        severe: matches!(cause, Cause::NoLeader | Cause::BelowMinIsr),
        node,
        what,
        evidence: worst.map_or(String::new(), |row| row.evidence.clone()),
        action: worst.map_or(String::new(), |row| row.action.clone()),
        next_attempt: rows.iter().filter_map(|row| row.next_attempt).min(),
        estimate: rows.iter().filter_map(|row| row.estimate).max(),
        advice: worst
            .and_then(|row| row.advice.clone())
            .unwrap_or_else(|| words.person.to_owned()),
        partitions,
    }
}

/// What is wrong with a node as a whole, unless its replicas say so already.
fn of_node(
    heard: &Heard<'_>,
    node: &plimsoll_controller::Node,
    told: &[Finding],
) -> Option<Finding> {
    let id = node.id.get();
    let report = heard.reports.get(&id);
    let (cause, what, evidence, action) =
        if let Some(why) = report.and_then(|report| report.stopped.clone()) {
            let what = format!("node {id} cannot change the cluster's metadata");
            (Cause::IoError, what, why, "serving what it knows")
        } else if report.is_some_and(|report| report.self_fenced) {
            let what = format!("node {id} is cut off from the controllers");
            let evidence = "none has answered it for a session".to_owned();
            let action = "acknowledging nothing until one answers; asking all of them";
            (Cause::SelfFenced, what, evidence, action)
        } else if node.is_draining() && !node.fenced {
            let what = format!("node {id} is being drained");
            let led = heard.image.topics().flat_map(|topic| &topic.partitions);
            let led = led.filter(|p| p.leader == Some(node.id)).count();
            let evidence = match led {
                0 => "it leads no partition".to_owned(),
                1 => "it leads one partition still".to_owned(),
                some => format!("it leads {some} partitions still"),
            };
            let action = "keeping leaderships away from it";
            (Cause::Draining, what, evidence, action)
        } else if let Some(why) = heard.silent.get(&id) {
            let what = format!("node {id} does not answer");
            let action = "connecting again, at most two seconds apart";
            (Cause::PeerUnreachable, what, why.clone(), action)
        } else if node.fenced {
            let what = format!("node {id} is fenced");
            let evidence = "the controller does not let it take part".to_owned();
            let action = "waiting for its signs of life";
            (Cause::Fenced, what, evidence, action)
        } else {
            return None;
        };
    let absent = [Cause::PeerUnreachable, Cause::Fenced];
    let same = |finding: &&Finding| {
        let both = absent.contains(&cause) && absent.iter().any(|c| c.code() == finding.code);
        finding.node == Some(id) && (finding.code == cause.code() || both)
    };
    if told.iter().any(|finding| same(&finding)) {
        return None;
    }
    let words = cause.explanation();
    Some(Finding {
        code: words.code,
        name: words.name,
        // It vouches for nothing, and what it says of others is old.
        severe: cause == Cause::SelfFenced,
        node: Some(id),
        what,
        evidence,
        action: action.to_owned(),
        next_attempt: None,
        estimate: None,
        advice: words.person.to_owned(),
        partitions: Vec::new(),
    })
}

fn list(partitions: &[String]) -> String {
    let named = partitions
        .get(..NAMED.min(partitions.len()))
        .unwrap_or_default()
        .join(", ");
    match partitions.len() {
        0 | 1 => named,
        few if few <= NAMED => format!("{few} partitions ({named})"),
        many => format!("{many} partitions ({named}, …)"),
    }
}

fn has(partitions: &[String]) -> String {
    let have = if partitions.len() > 1 { "have" } else { "has" };
    format!("{} {have}", list(partitions))
}

/// The word for the cluster, and why. `fenced_since`: when each fenced node was first seen so.
pub(crate) fn verdict(
    heard: &Heard<'_>,
    rows: &[Row],
    quorum: QuorumFacts,
    fenced_since: &BTreeMap<NodeId, Monotonic>,
    now: Monotonic,
) -> ClusterVerdict {
    let mut facts = ClusterFacts {
        partitions: u64::try_from(heard.image.partition_count()).unwrap_or(u64::MAX),
        quorum,
        ..ClusterFacts::default()
    };
    let mut ill: [BTreeSet<String>; 3] = Default::default();
    for row in rows.iter().filter(|row| !row.is_well()) {
        let kind = match row.cause {
            Some(Cause::NoLeader) => 0,
            Some(Cause::BelowMinIsr) => 1,
            _ if row.leader.is_none() => 0,
            _ => 2,
        };
        if let Some(kind) = ill.get_mut(kind) {
            kind.insert(row.partition_name());
        }
    }
    let [leaderless, below, under] = ill.map(|names| names.into_iter().collect());
    facts.leaderless = leaderless;
    facts.below_min_isr = below;
    facts.under_replicated = under;
    facts.nodes = heard
        .image
        .nodes()
        .map(|node| NodeFacts {
            node: node.id,
            fenced: node.fenced.then(|| {
                let since = fenced_since.get(&node.id);
                since.map_or(Duration::ZERO, |since| now.since(*since))
            }),
            draining: node.is_draining(),
            disk: None,
        })
        .collect();
    let mut verdict = judge(&facts);
    let stopped = heard.reports.iter().filter_map(|(node, report)| {
        let why = report.stopped.as_ref()?;
        Some(format!("node {node} cannot change metadata: {why}"))
    });
    let alive = |node: &u32| NodeId::new(*node).is_some_and(|node| heard.image.is_alive(node));
    let silent = heard.silent.iter().filter(|(node, _)| alive(node));
    let silent = silent.map(|(node, why)| format!("node {node} does not answer: {why}"));
    let more: Vec<String> = stopped.chain(silent).collect();
    if !more.is_empty() && verdict.level == Level::Ok {
        verdict.level = Level::Degraded;
    }
    verdict.reasons.extend(more);
    // A minority that hears no controller does not know what the others do.
    let (heard_of, all) = (heard.reports.len(), heard.image.nodes().len());
    let unheard = heard.reports.values().all(|report| report.self_fenced);
    if (quorum.leader.is_none() || unheard) && heard_of * 2 <= all && all > 1 {
        verdict.level = Level::Unknown;
        let cut = format!(
            "{heard_of} of {all} nodes can be heard from here, and none of them hears a controller: \
             what they know may be old"
        );
        verdict.reasons.insert(0, cut);
    }
    verdict
}
