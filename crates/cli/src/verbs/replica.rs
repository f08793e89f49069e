//! `plimsoll replica …` and `plimsoll partition …`

use serde_json::Value;

use crate::failure::{Code, Exit, Failure};
use crate::operate::{History, ReplicaList};
use crate::output::{Columns, note};
use crate::verbs::doctor;
use crate::verbs::words::{number, seconds, text};

pub(super) const HEADINGS: [&str; 8] = [
    "PARTITION",
    "NODE",
    "STATE",
    "LOG-END",
    "HW",
    "LAG",
    "CAUSE",
    "EVIDENCE",
];

pub(super) async fn list(args: ReplicaList) -> Result<Exit, Failure> {
    let mut path = "/v1/replicas?".to_owned();
    if args.unhealthy {
        path += "unhealthy=1&";
    }
    if let Some(topic) = &args.topic {
        let topic = crate::reach::topic_name(topic)?;
        path += &format!("topic={topic}");
    }
    let answer = args.ask.http.best(&path).await?;
    let rows = doctor::list(&answer, "replicas");
    if let Some(topic) = args.topic.as_ref().filter(|_| rows.is_empty()) {
        let all = args
            .ask
            .http
            .best(&format!("/v1/replicas?topic={topic}"))
            .await?;
        if doctor::list(&all, "replicas").is_empty() {
            let what = format!("there is no topic {topic}. See plimsoll topic list");
            return Err(Failure::new(Code::TopicNotFound, what));
        }
    }
    if rows.is_empty() {
        note(match args.unhealthy {
            true => "Every replica is well.",
            false => "There are no replicas yet. Create a topic: plimsoll topic create NAME",
        });
    }
    let columns = Columns {
        headings: &HEADINGS,
        more: &["DURABLE", "IN-SYNC", "ACTION", "NEXT", "ESTIMATE", "ADVICE"],
        cells,
    };
    args.ask.output.list("replicas", rows, &columns)?;
    Ok(Exit::Ok)
}

pub(super) fn cells(row: &Value) -> Vec<String> {
    let cause = match (text(row, "cause"), text(row, "cause_name")) {
        (code, _) if code.is_empty() => "-".to_owned(),
        (code, name) => format!("{code} {name}"),
    };
    vec![
        format!("{}/{}", text(row, "topic"), text(row, "partition")),
        number(row, "node"),
        text(row, "state"),
        number(row, "log_end"),
        number(row, "high_watermark"),
        number(row, "lag_records"),
        cause,
        text(row, "evidence"),
        number(row, "durable_end"),
        if row["in_sync"] == true { "yes" } else { "no" }.to_owned(),
        text(row, "action"),
        seconds(row, "next_attempt").unwrap_or_default(),
        seconds(row, "estimate").unwrap_or_default(),
        text(row, "advice"),
    ]
}

pub(super) async fn history(args: History) -> Result<Exit, Failure> {
    let (topic, partition) = &args.partition;
    let path = format!(
        "/v1/partitions/{topic}/{partition}/history?since={}s",
        args.since
    );
    let answer = args.ask.http.get(&path).await?;
    for silent in doctor::list(&answer, "silent") {
        let (node, reason) = (number(silent, "node"), text(silent, "reason"));
        note(&format!("Node {node} does not tell: {reason}"));
    }
    let events = doctor::list(&answer, "events");
    if events.is_empty() {
        note("Nothing is on record for that time. --since goes further back.");
    }
    let columns = Columns {
        headings: &["TIME", "NODE", "EPOCH", "HW", "LOG-END", "WHAT"],
        more: &[],
        cells: |event: &Value| {
            vec![
                time(&event["at_ms"]),
                number(event, "node"),
                number(event, "leader_epoch"),
                number(event, "high_watermark"),
                number(event, "log_end"),
                text(event, "what"),
            ]
        },
    };
    args.ask.output.list("events", events, &columns)?;
    Ok(Exit::Ok)
}

/// `2026-01-31T12:00:00.123Z`.
fn time(at_ms: &Value) -> String {
    let at = at_ms.as_i64();
    let at = at.and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or("-".to_owned(), |at| format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_row_says_where_how_and_why() {
        let row = json!({
            "topic": "hello", "partition": 0, "node": 3, "state": "offline", "log_end": 40,
            "durable_end": 40, "high_watermark": null, "lag_records": 60, "in_sync": false,
            "cause": "R002", "cause_name": "peer-unreachable", "evidence": "no connection",
            "action": "connecting", "next_attempt": 0.8, "estimate": null, "advice": "See.",
        });
        let told = cells(&row).join("|");
        assert_eq!(
            told,
            "hello/0|3|offline|40|-|60|R002 peer-unreachable|no connection|40|no|connecting|0.8 s||See."
        );
    }

    #[test]
    fn times_are_told_to_the_millisecond() {
        assert_eq!(
            time(&json!(1_700_000_000_123_i64)),
            "2023-11-14T22:13:20.123Z"
        );
        assert_eq!(time(&json!(null)), "-");
    }
}
