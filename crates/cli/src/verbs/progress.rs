//! How far copies to other nodes are, in a line.

use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use super::relocate::Relocation;
use super::words::{text, time};

/// What was seen before, to tell the part done and the rate.
#[derive(Default)]
pub(super) struct Progress {
    /// The most records that were missing at once.
    most: u64,
    /// How many were missing when that was first seen, and when.
    first: Option<(u64, Instant)>,
}

impl Progress {
    /// `2 of 5 partitions moved; 45% copied, 12345 records to go, about 12.0 s`, or why it stands
    /// still. `rows` are the cluster's replicas, as `/v1/replicas` tells them.
    pub(super) fn line(
        &mut self,
        all: usize,
        left: &[Relocation],
        rows: &[Value],
        now: Instant,
    ) -> String {
        let mut missing = 0;
        let mut hindered = None;
        for relocation in left {
            let coming = rows.iter().filter(|row| {
                let node = |id: &plimsoll_types::NodeId| row["node"] == id.get();
                row["topic"] == relocation.partition.topic.as_str()
                    && row["partition"] == relocation.partition.partition
                    && row["in_sync"] == false
                    && relocation.to.iter().any(node)
            });
            for row in coming {
                missing += row["lag_records"].as_u64().unwrap_or(0);
                if hindered.is_none() && !copies(row) {
                    hindered = Some(hindrance(relocation, row));
                }
            }
        }
        let head = match (all, left) {
            (1, [only]) => format!("{} moves", only.name()),
            _ => format!("{} of {all} partitions moved", all - left.len()),
        };
        if let Some(why) = hindered {
            return format!("{head}; {why}");
        }
        self.most = self.most.max(missing);
        let (before, since) = *self.first.get_or_insert((missing, now));
        if rows.is_empty() {
            return format!("{head}; no node's HTTP side tells how far (--http)");
        }
        if missing == 0 {
            return format!("{head}; copied, waiting until it counts");
        }
        let done = (self.most - missing) * 100 / self.most;
        let gained = before.saturating_sub(missing);
        let took = now.saturating_duration_since(since).as_millis();
        let estimate = match gained {
            0 => String::new(),
            gained => {
                let ms = u128::from(missing) * took / u128::from(gained);
                let ms = u64::try_from(ms).unwrap_or(u64::MAX);
                format!(", about {}", time(Duration::from_millis(ms)))
            }
        };
        format!("{head}; {done}% copied, {missing} records to go{estimate}")
    }
}

/// Whether it is on its way.
fn copies(row: &Value) -> bool {
    ["catching-up", "repairing", "rebuilding", "in-sync"].contains(&text(row, "state").as_str())
}

fn hindrance(relocation: &Relocation, row: &Value) -> String {
    format!(
        "waiting for node {}: {} {}: {}. plimsoll doctor says more; plimsoll partition move {} \
         --cancel ends it",
        text(row, "node"),
        text(row, "cause"),
        text(row, "cause_name"),
        text(row, "evidence"),
        relocation.name(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_types::{NodeId, TopicName, TopicPartition};
    use serde_json::json;

    fn relocation(index: u32) -> Relocation {
        let node = |id| NodeId::new(id).expect("small");
        Relocation {
            partition: TopicPartition {
                topic: TopicName::new("a").expect("legal"),
                partition: index,
            },
            to: vec![node(1), node(4)],
        }
    }

    fn row(lag: u64, state: &str) -> Value {
        json!({
            "topic": "a", "partition": 0, "node": 4, "state": state, "in_sync": false,
            "lag_records": lag, "cause": "R002", "cause_name": "peer-unreachable",
            "evidence": "no connection between nodes 1 and 4 for 4.0 s",
        })
    }

    #[test]
    fn the_part_done_and_the_rest_at_the_rate_so_far_are_told() {
        let (mut progress, begun) = (Progress::default(), Instant::now());
        let left = [relocation(0)];
        let mut told = |lag, after| {
            let now = begun + Duration::from_secs(after);
            progress.line(1, &left, &[row(lag, "catching-up")], now)
        };
        assert_eq!(told(1000, 0), "a/0 moves; 0% copied, 1000 records to go");
        assert_eq!(
            told(250, 3),
            "a/0 moves; 75% copied, 250 records to go, about 1.0 s"
        );
        assert_eq!(told(0, 4), "a/0 moves; copied, waiting until it counts");
    }

    #[test]
    fn a_target_that_is_gone_is_named_with_its_cause() {
        let mut progress = Progress::default();
        let left = [relocation(0), relocation(1)];
        let line = progress.line(3, &left, &[row(1000, "offline")], Instant::now());
        assert_eq!(
            line,
            "1 of 3 partitions moved; waiting for node 4: R002 peer-unreachable: no connection \
             between nodes 1 and 4 for 4.0 s. plimsoll doctor says more; plimsoll partition move \
             a/0 --cancel ends it"
        );
    }

    #[test]
    fn who_does_not_tell_leaves_how_far_it_is_open() {
        let line = Progress::default().line(1, &[relocation(0)], &[], Instant::now());
        assert_eq!(
            line,
            "a/0 moves; no node's HTTP side tells how far (--http)"
        );
    }
}
