//! DescribeCluster: the nodes, without any topic.

use crate::codec::{Str, message};
use crate::metadata::OPERATIONS_NOT_ASKED;

message! {
    /// Asks about the cluster.
    pub struct DescribeClusterRequest: 0..=2, flexible 0 {
        /// Whether to tell what the client may do to the cluster.
        include_cluster_authorized_operations: bool,
        /// Which nodes: 1 those that serve clients, 2 the controllers.
        endpoint_type: i8 [1..] = 1,
        /// Whether to tell of fenced nodes too.
        include_fenced_brokers: bool [2..],
    }
}

message! {
    /// The cluster.
    pub struct DescribeClusterResponse: 0..=2, flexible 0 {
        /// For how long the client is muted from now on, in milliseconds.
        throttle_time_ms: i32,
        /// What went wrong, 0 for nothing.
        error_code: i16,
        /// What went wrong, for a person.
        error_message: Option<Str>,
        /// Which nodes: 1 those that serve clients, 2 the controllers.
        endpoint_type: i8 [1..] = 1,
        /// The cluster's id.
        cluster_id: Str,
        /// The node to send requests to that change the cluster, -1 for none.
        controller_id: i32 = -1,
        /// The nodes.
        brokers: Vec<DescribeClusterBroker>,
        /// What the client may do to the cluster, a bit for each operation.
        cluster_authorized_operations: i32 = OPERATIONS_NOT_ASKED,
    }

    /// A node.
    pub struct DescribeClusterBroker {
        /// Its id.
        broker_id: i32,
        /// Its host name or address.
        host: Str,
        /// Its port.
        port: i32,
        /// Its rack, if it was given one.
        rack: Option<Str>,
        /// Whether it is fenced.
        is_fenced: bool [2..],
    }
}
