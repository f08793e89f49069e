//! DescribeCluster: the nodes and the controller.

use plimsoll_controller::Node;
use plimsoll_types::NodeId;
use plimsoll_wire::describe_cluster::{
    DescribeClusterBroker, DescribeClusterRequest, DescribeClusterResponse,
};
use plimsoll_wire::{ErrorCode, Str};

use crate::api::operations;
use crate::context::Context;

const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

pub(crate) async fn handle(
    context: &Context,
    request: DescribeClusterRequest,
) -> DescribeClusterResponse {
    let refused = match request.endpoint_type {
        BROKERS => None,
        CONTROLLERS => Some((
            ErrorCode::MismatchedEndpointType,
            "The request was sent to an endpoint of type BROKER, not CONTROLLER.",
        )),
        _ => Some((
            ErrorCode::UnsupportedEndpointType,
            "Unsupported endpoint type.",
        )),
    };
    if let Some((code, message)) = refused {
        return DescribeClusterResponse {
            error_code: code.code(),
            error_message: Some(message.into()),
            endpoint_type: request.endpoint_type,
            ..Default::default()
        };
    }
    let broker = &context.broker;
    let image = broker.metadata.image();
    let described = DescribeClusterResponse {
        endpoint_type: BROKERS,
        cluster_id: broker.config.cluster_id.as_str().into(),
        controller_id: broker.active_controller().map_or(-1, NodeId::to_wire),
        brokers: image
            .nodes()
            .filter(|node| !node.fenced || request.include_fenced_brokers)
            .filter_map(node)
            .collect(),
        ..Default::default()
    };
    if request.include_cluster_authorized_operations {
        DescribeClusterResponse {
            cluster_authorized_operations: operations::CLUSTER,
            ..described
        }
    } else {
        described
    }
}

fn node(node: &Node) -> Option<DescribeClusterBroker> {
    let listener = node.listeners.first()?;
    Some(DescribeClusterBroker {
        broker_id: node.id.to_wire(),
        host: listener.host.as_str().into(),
        port: listener.port.into(),
        rack: node.rack.as_deref().map(Str::from),
        is_fenced: node.fenced,
    })
}
