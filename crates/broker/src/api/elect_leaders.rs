//! ElectLeaders: give leadership back to the preferred replica, or to whom there is.

use std::collections::BTreeMap;

use plimsoll_controller::Image;
use plimsoll_controller::rules::{self, Election, LogAnswer};
use plimsoll_types::PartitionKey;
use plimsoll_wire::elect_leaders::{
    ElectLeadersRequest, ElectLeadersResponse, PartitionResult, ReplicaElectionResult,
};
use plimsoll_wire::{ErrorCode, Str};

use crate::api::rows::{self, Manner, Refused};
use crate::context::Context;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

/// One partition, as it was asked for and as it is known.
#[derive(Clone)]
struct Wish {
    topic: Str,
    partition: i32,
    key: Option<PartitionKey>,
    answers: Vec<LogAnswer>,
}

pub(crate) async fn handle(
    context: &Context,
    request: ElectLeadersRequest,
) -> ElectLeadersResponse {
    let election = match request.election_type {
        PREFERRED => Election::Preferred,
        UNCLEAN => Election::Unclean,
        _ => {
            return ElectLeadersResponse {
                error_code: ErrorCode::InvalidRequest.code(),
                ..Default::default()
            };
        }
    };
    let image = context.broker.image();
    let all = request.topic_partitions.is_none();
    let mut wishes = match &request.topic_partitions {
        None => everything(&image),
        Some(asked) => {
            let each = asked.iter().flat_map(|topic| {
                let partitions = topic.partitions.iter();
                partitions.map(|partition| wish(&image, &topic.topic, *partition))
            });
            each.collect()
        }
    };
    if election == Election::Unclean {
        for wish in &mut wishes {
            if let Some(key) = wish.key {
                wish.answers = context.broker.log_answers(&image, key).await;
            }
        }
    }
    let manner = Manner {
        validate_only: false,
        timeout_ms: Some(request.timeout_ms),
    };
    let asked = wishes.clone();
    let rows = rows::change(context, wishes, &manner, move |draft, wish: Wish| {
        let unknown = || Refused::new(ErrorCode::UnknownTopicOrPartition, "no such partition");
        let key = wish.key.ok_or_else(unknown)?;
        let records = rules::elect(draft.image(), key, election, &wish.answers)?;
        draft.take(records)
    })
    .await;
    let mut results: BTreeMap<Str, Vec<PartitionResult>> = BTreeMap::new();
    for (asked, row) in asked.into_iter().zip(rows) {
        let refused = row.err();
        let needless = |refused: &Refused| refused.code == ErrorCode::ElectionNotNeeded;
        if all && refused.as_ref().is_some_and(needless) {
            continue;
        }
        results
            .entry(asked.topic)
            .or_default()
            .push(PartitionResult {
                partition_id: asked.partition,
                error_code: refused.as_ref().map_or(0, |refused| refused.code.code()),
                error_message: refused.and_then(|refused| refused.message()),
            });
    }
    let results = results.into_iter();
    ElectLeadersResponse {
        replica_election_results: results
            .map(|(topic, partition_result)| ReplicaElectionResult {
                topic,
                partition_result,
            })
            .collect(),
        ..Default::default()
    }
}

fn wish(image: &Image, topic: &Str, partition: i32) -> Wish {
    let known = image.topic(topic).and_then(|known| {
        let index = u32::try_from(partition).ok()?;
        let at = usize::try_from(index).ok()?;
        let key = PartitionKey {
            topic: known.id,
            index,
        };
        (at < known.partitions.len()).then_some(key)
    });
    Wish {
        topic: topic.clone(),
        partition,
        key: known,
        answers: Vec::new(),
    }
}

fn everything(image: &Image) -> Vec<Wish> {
    let topics = image.topics().flat_map(|topic| {
        let name: Str = topic.name.as_str().into();
        let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
        (0..count).map(move |partition| wish(image, &name, partition))
    });
    topics.collect()
}
