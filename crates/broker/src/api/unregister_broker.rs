//! UnregisterBroker: a node that is gone for good, and holds nothing, is no part of the cluster.

use plimsoll_controller::{Refusal, rules};
use plimsoll_types::NodeId;
use plimsoll_wire::ErrorCode;
use plimsoll_wire::unregister_broker::{UnregisterBrokerRequest, UnregisterBrokerResponse};

use crate::context::Context;
use crate::error_code::Coded;
use crate::metadata::ChangeError;

pub(crate) async fn handle(
    context: &Context,
    request: UnregisterBrokerRequest,
) -> UnregisterBrokerResponse {
    let Some(node) = NodeId::from_wire(request.broker_id) else {
        return refused(
            ErrorCode::BrokerIdNotRegistered,
            "no node has such a number",
        );
    };
    let removed = context
        .broker
        .change(move |image| Ok((rules::remove_node(image, node)?, ())));
    match removed.await {
        Ok(()) => {
            // One that was no member of the quorum needs no leave of it.
            let _ = context.broker.metadata.log().remove(node).await;
            UnregisterBrokerResponse::default()
        }
        Err(error) => {
            let code = match &error {
                ChangeError::Refused(Refusal::UnknownNode { .. }) => {
                    ErrorCode::BrokerIdNotRegistered
                }
                error => error.code(),
            };
            refused(code, &error.to_string())
        }
    }
}

fn refused(code: ErrorCode, message: &str) -> UnregisterBrokerResponse {
    UnregisterBrokerResponse {
        error_code: code.code(),
        error_message: Some(message.into()),
        ..Default::default()
    }
}
