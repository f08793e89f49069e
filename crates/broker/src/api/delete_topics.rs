//! DeleteTopics: remove topics, by name or (from version 6 on) by id.

use plimsoll_controller::rules::{self, TopicRef};
use plimsoll_types::TopicId;
use plimsoll_wire::delete_topics::{
    DeletableTopicResult, DeleteTopicState, DeleteTopicsRequest, DeleteTopicsResponse,
};
use plimsoll_wire::{ErrorCode, Str};

use crate::api::rows::{self, Draft, Manner, Refused, Row};
use crate::context::Context;

/// From this version on topics are named by name or id.
const TOPIC_STATES_FROM_VERSION: i16 = 6;

/// A topic as it was asked for and as it is known.
type Deleted = (Str, TopicId);

pub(crate) async fn handle(
    context: &Context,
    request: DeleteTopicsRequest,
) -> DeleteTopicsResponse {
    let asked: Vec<DeleteTopicState> = if context.version >= TOPIC_STATES_FROM_VERSION {
        request.topics
    } else {
        let by_name = |name| DeleteTopicState {
            name: Some(name),
            ..Default::default()
        };
        request.topic_names.into_iter().map(by_name).collect()
    };
    let names = rows::repeated(asked.iter().filter_map(|topic| topic.name.clone()));
    let ids = asked
        .iter()
        .map(|topic| topic.topic_id)
        .filter(|id| !id.is_absent());
    let ids = rows::repeated(ids);

    let manner = Manner {
        validate_only: false,
        timeout_ms: Some(request.timeout_ms),
    };
    let commands = asked.clone();
    let rows = rows::change(context, commands, &manner, move |draft, topic| {
        if topic.name.as_ref().is_some_and(|name| names.contains(name)) {
            return Err(invalid("Duplicate topic name."));
        }
        if ids.contains(&topic.topic_id) {
            return Err(invalid("Duplicate topic id."));
        }
        delete(draft, &topic)
    })
    .await;

    let results = asked
        .into_iter()
        .zip(rows)
        .map(|(asked, row)| result(asked, row));
    DeleteTopicsResponse {
        responses: results.collect(),
        ..Default::default()
    }
}

fn delete(draft: &mut Draft, topic: &DeleteTopicState) -> Row<Deleted> {
    let found = match (&topic.name, topic.topic_id.is_absent()) {
        (Some(_), false) => {
            return Err(invalid("You may not specify both topic name and topic id."));
        }
        (None, true) => return Err(invalid("Neither topic name nor id were specified.")),
        (Some(name), true) => TopicRef::Name(name),
        (None, false) => TopicRef::Id(topic.topic_id),
    };
    let records = rules::delete_topic(draft.image(), found)?;
    let known = match found {
        TopicRef::Name(name) => draft.image().topic(name),
        TopicRef::Id(id) => draft.image().topic_by_id(id),
    };
    let deleted = known.map(|topic| (topic.name.as_str().into(), topic.id));
    draft.take(records)?;
    deleted.ok_or_else(|| Refused::new(ErrorCode::UnknownServerError, "the topic vanished"))
}

fn result(asked: DeleteTopicState, row: Row<Deleted>) -> DeletableTopicResult {
    match row {
        Ok((name, topic_id)) => DeletableTopicResult {
            name: Some(name),
            topic_id,
            error_code: 0,
            error_message: None,
        },
        Err(refused) => DeletableTopicResult {
            name: asked.name,
            topic_id: asked.topic_id,
            error_code: refused.code.code(),
            error_message: refused.message(),
        },
    }
}

fn invalid(message: &str) -> Refused {
    Refused::new(ErrorCode::InvalidRequest, message)
}
