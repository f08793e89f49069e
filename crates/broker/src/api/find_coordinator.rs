//! FindCoordinator: which node keeps a group: the leader of its partition of the offsets topic,
//! which the first request creates.

use plimsoll_types::NodeId;
use plimsoll_wire::find_coordinator::{
    Coordinator, FindCoordinatorRequest, FindCoordinatorResponse,
};
use plimsoll_wire::{ErrorCode, Str};

use crate::api::leaders::endpoints;
use crate::context::Context;
use crate::error_code::Coded;

/// From this version on a request names several keys.
const BATCH_FROM_VERSION: i16 = 4;
const KEY_IS_GROUP: i8 = 0;
const KEY_IS_TRANSACTIONAL_ID: i8 = 1;

pub(crate) async fn handle(
    context: &Context,
    request: FindCoordinatorRequest,
) -> FindCoordinatorResponse {
    let found = find(context, request.key_type).await;
    let batch = context.version >= BATCH_FROM_VERSION;
    if found.is_ok() {
        let broker = &context.broker;
        match batch {
            true => broker.await_coordinators(&request.coordinator_keys).await,
            false => {
                let one = std::slice::from_ref(&request.key);
                broker.await_coordinators(one).await;
            }
        }
    }
    if batch {
        let keys = request.coordinator_keys.into_iter();
        let coordinators = keys.map(|key| coordinator(context, key, &found)).collect();
        return FindCoordinatorResponse {
            coordinators,
            ..Default::default()
        };
    }
    let one = coordinator(context, request.key, &found);
    FindCoordinatorResponse {
        error_code: one.error_code,
        error_message: one.error_message,
        node_id: one.node_id,
        host: one.host,
        port: one.port,
        ..Default::default()
    }
}

type Refused = (ErrorCode, Str);

async fn find(context: &Context, key_type: i8) -> Result<(), Refused> {
    match key_type {
        KEY_IS_GROUP => {
            let ensured = context.broker.ensure_offsets_topic().await;
            ensured.map_err(|error| {
                tracing::warn!(event = "offsets_topic_not_created", %error);
                // Whatever the reason, a client asks again.
                (
                    ErrorCode::CoordinatorNotAvailable,
                    error.code().message().into(),
                )
            })
        }
        // A code that ends the producer with a word, where others would have it ask for ever.
        KEY_IS_TRANSACTIONAL_ID => Err((
            ErrorCode::TransactionalIdAuthorizationFailed,
            Str::from_static("transactions are not offered by this broker"),
        )),
        _ => Err((
            ErrorCode::InvalidRequest,
            Str::from_static("the key type is not one that this broker coordinates"),
        )),
    }
}

fn coordinator(context: &Context, key: Str, found: &Result<(), Refused>) -> Coordinator {
    let endpoint = |leader: NodeId| endpoints(context, [leader.to_wire()]).pop();
    match found {
        Ok(()) => match context.broker.coordinator_of(&key).and_then(endpoint) {
            Some(found) => Coordinator {
                key,
                node_id: found.node_id,
                host: found.host,
                port: found.port,
                ..Default::default()
            },
            None => Coordinator {
                key,
                node_id: -1,
                port: -1,
                error_code: ErrorCode::CoordinatorNotAvailable.code(),
                error_message: Some(Str::from_static(
                    "the partition that keeps the group has no leader at this moment",
                )),
                ..Default::default()
            },
        },
        Err((code, message)) => Coordinator {
            key,
            node_id: -1,
            port: -1,
            error_code: code.code(),
            error_message: Some(message.clone()),
            ..Default::default()
        },
    }
}
