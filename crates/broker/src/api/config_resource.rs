//! The resources that have configs, as the protocol names them.

use plimsoll_controller::ConfigResource;
use plimsoll_types::{NodeId, TopicName};
use plimsoll_wire::ErrorCode;

use crate::api::rows::{Refused, Row};
use crate::config::BrokerConfig;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

/// The resource that `kind` and `name` mean. A node is this one: configs of others are theirs to
/// tell and to change.
pub(crate) fn parse(config: &BrokerConfig, kind: i8, name: &str) -> Row<ConfigResource> {
    match kind {
        TOPIC => {
            let name = TopicName::new(name).map_err(|error| {
                Refused::new(ErrorCode::InvalidTopicException, error.to_string())
            })?;
            Ok(ConfigResource::Topic(name))
        }
        BROKER if name.is_empty() => Ok(ConfigResource::EveryNode),
        BROKER => node(config.node, name),
        _ => Err(invalid(format!(
            "Unsupported resource type {kind}: topics ({TOPIC}) and brokers ({BROKER}) have configs."
        ))),
    }
}

fn node(own: NodeId, name: &str) -> Row<ConfigResource> {
    let Ok(id) = name.parse::<i32>() else {
        return Err(invalid(format!(
            "Broker id must be an integer, but it is: {name}"
        )));
    };
    if NodeId::from_wire(id) != Some(own) {
        return Err(invalid(format!(
            "Unexpected broker id, expected {own} or empty string, but received {id}"
        )));
    }
    Ok(ConfigResource::Node(own))
}

pub(crate) fn invalid(message: impl Into<String>) -> Refused {
    Refused::new(ErrorCode::InvalidRequest, message)
}
