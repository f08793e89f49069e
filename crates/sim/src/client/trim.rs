//! Clients that delete records, and what a reader does whose next record was deleted.

use std::time::Duration;

use plimsoll_wire::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsTopic,
};
use plimsoll_wire::list_offsets::{ListOffsetsPartition, ListOffsetsRequest, ListOffsetsTopic};
use plimsoll_wire::{Request, Response};

use super::Client;

/// ListOffsets' word for the first offset there is.
const EARLIEST: i64 = -2;
/// Between two deletions.
const LEAST: Duration = Duration::from_millis(300);
const MOST: Duration = Duration::from_secs(3);

impl Client {
    /// Deletes fronts of a partition until the scene is over.
    pub(crate) async fn trim(mut self, partition: i32) {
        let kernel = self.scene.kernel.clone();
        let history = self.scene.history.clone();
        while !self.scene.is_over() {
            kernel.sleep(kernel.between(LEAST, MOST)).await;
            let (from, to) = (history.trimmed(partition), history.read_up_to(partition));
            let offset = kernel.draw(|rng| rng.i64(from..=to.max(from)));
            if offset <= from {
                continue;
            }
            history.trims(partition, offset);
            // An answer that does not come leaves it open how far it went, and so does another.
            for _ in 0..3 {
                if self.try_trim(partition, offset).await {
                    break;
                }
                self.pause().await;
                self.find_leader(partition).await;
            }
        }
    }

    async fn try_trim(&self, partition: i32, offset: i64) -> bool {
        let Some((leader, _)) = self.leader else {
            return false;
        };
        let request = DeleteRecordsRequest {
            topics: vec![DeleteRecordsTopic {
                name: self.scene.topic.as_str().into(),
                partitions: vec![DeleteRecordsPartition {
                    partition_index: partition,
                    offset,
                }],
            }],
            timeout_ms: 2000,
        };
        let answer = self.ask(leader, 2, Request::DeleteRecords(request)).await;
        let Some(Response::DeleteRecords(answer)) = answer else {
            return false;
        };
        let mut rows = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let Some(row) = rows.next().filter(|row| row.error_code == 0) else {
            return false;
        };
        let now = self.scene.kernel.now();
        let low = row.low_watermark;
        self.scene.history.was_trimmed(now, partition, offset, low);
        true
    }

    /// The first offset that there is, where `next` is none any more.
    pub(super) async fn begin_anew(&mut self, who: &str, partition: i32, next: i64) -> i64 {
        let Some((leader, _)) = self.leader else {
            return next;
        };
        let request = ListOffsetsRequest {
            replica_id: -1,
            topics: vec![ListOffsetsTopic {
                name: self.scene.topic.as_str().into(),
                partitions: vec![ListOffsetsPartition {
                    partition_index: partition,
                    timestamp: EARLIEST,
                    ..Default::default()
                }],
            }],
            ..Default::default()
        };
        let history = self.scene.history.clone();
        let deleted = history.trimmed(partition);
        let answer = self.ask(leader, 4, Request::ListOffsets(request)).await;
        self.leader = None;
        let Some(Response::ListOffsets(answer)) = answer else {
            return next;
        };
        let mut rows = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let Some(row) = rows.next().filter(|row| row.error_code == 0) else {
            return next;
        };
        let (now, first) = (self.scene.kernel.now(), row.offset);
        if first < deleted || first > history.trims_up_to(partition) {
            let what = format!(
                "{who} was told by node {leader} that partition {partition} begins at {first}; \
                 {deleted} is what was deleted, and {} was asked for at most",
                history.trims_up_to(partition)
            );
            history.broke(now, "trimmed", what);
        }
        next.max(first)
    }
}
