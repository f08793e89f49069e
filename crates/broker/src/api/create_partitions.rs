//! CreatePartitions: give topics more partitions. Records with keys go elsewhere from then on.

use plimsoll_controller::rules::{self, CreatePartitions};
use plimsoll_wire::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
    CreatePartitionsTopicResult,
};
use plimsoll_wire::{ErrorCode, Str};

use crate::api::rows::{self, Manner, Refused, Row};
use crate::context::Context;

pub(crate) async fn handle(
    context: &Context,
    request: CreatePartitionsRequest,
) -> CreatePartitionsResponse {
    let repeated = rows::repeated(request.topics.iter().map(|topic| topic.name.clone()));
    let wishes: Vec<_> = request
        .topics
        .into_iter()
        .filter(|topic| !repeated.contains(&topic.name))
        .collect();
    let names: Vec<Str> = wishes.iter().map(|topic| topic.name.clone()).collect();

    let manner = Manner {
        validate_only: request.validate_only,
        timeout_ms: Some(request.timeout_ms),
    };
    let limits = context.broker.config.limits;
    let wishes = wishes.into_iter().map(wish).collect();
    let rows = rows::change(
        context,
        wishes,
        &manner,
        move |draft, wish: CreatePartitions| {
            let records = rules::create_partitions(draft.image(), &limits, &wish)?;
            draft.take(records)
        },
    )
    .await;

    let twice = repeated.into_iter().map(|name| {
        let refused = Refused::new(ErrorCode::InvalidRequest, "Duplicate topic in request.");
        result(name, Err(refused))
    });
    let rows = names
        .into_iter()
        .zip(rows)
        .map(|(name, row)| result(name, row));
    CreatePartitionsResponse {
        results: rows.chain(twice).collect(),
        ..Default::default()
    }
}

fn wish(topic: CreatePartitionsTopic) -> CreatePartitions {
    let lists = topic.assignments.map(|assignments| {
        assignments
            .into_iter()
            .map(|assignment| assignment.broker_ids)
            .collect()
    });
    CreatePartitions {
        name: topic.name.to_string(),
        total: topic.count,
        assignments: lists,
    }
}

fn result(name: Str, row: Row<()>) -> CreatePartitionsTopicResult {
    let refused = row.err();
    CreatePartitionsTopicResult {
        name,
        error_code: refused.as_ref().map_or(0, |refused| refused.code.code()),
        error_message: refused.and_then(|refused| refused.message()),
    }
}
