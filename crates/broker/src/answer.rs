//! From a frame to an answer: decode, find the API, encode.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use plimsoll_types::Monotonic;
use plimsoll_wire::{
    Encoded, Request, RequestError, RequestHeader, Response, decode_request, encode_response,
};

use crate::Broker;
use crate::api;
use crate::connection::Connection;
use crate::context::Context;
use crate::counters::add;

/// What becomes of a frame.
#[derive(Debug)]
pub enum Answer {
    /// These bytes go back, size prefix included, after the answers to all earlier frames.
    Reply(Encoded),
    /// There is no answer (acks=0).
    Nothing,
    /// The connection is to be closed, after the answers to all earlier frames.
    Close(CloseReason),
}

/// Why a connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The frame is no request that is served here; Kafka closes too.
    #[error("{0}")]
    Request(RequestError),
    /// A produce request with acks=0 failed, and this is the one way to tell.
    #[error("a produce request with acks=0 failed")]
    Unacknowledged,
}

impl Broker {
    /// Answers one frame (without its size prefix).
    ///
    /// The *first* poll of the future does everything whose order matters: whoever polls futures
    /// for the first time in the order of their frames keeps a connection's batches in order.
    pub fn answer(
        self: &Arc<Self>,
        connection: &Arc<Connection>,
        frame: Bytes,
    ) -> impl Future<Output = Answer> + Send + use<> {
        let (broker, connection) = (Arc::clone(self), Arc::clone(connection));
        async move {
            match decode_request(frame) {
                Ok((header, request)) => broker.dispatch(connection, header, request).await,
                Err(RequestError::ApiVersionsUnsupported { header, .. }) => {
                    let response = api::api_versions::unsupported_version();
                    Answer::Reply(encode_response(&header, &Response::ApiVersions(response)))
                }
                Err(error) => {
                    add(&broker.counters.malformed, 1);
                    Answer::Close(CloseReason::Request(error))
                }
            }
        }
    }

    async fn dispatch(
        self: Arc<Self>,
        connection: Arc<Connection>,
        header: RequestHeader,
        request: Request,
    ) -> Answer {
        let api = request.api();
        let context = Context {
            broker: self,
            connection,
            version: header.api_version,
            client_id: header.client_id.clone(),
        };
        let begun = context.now();
        // Kafka takes one request of a connection at a time, and clients rely on it: who commits
        // and then asks for the committed offset reads what was written. Produce and fetch alone
        // may be under way together with later requests: batches keep their order by the first
        // poll, and nobody's request depends on the end of either.
        let alone = !matches!(request, Request::Produce(_) | Request::Fetch(_));
        let (earlier, _turn) = context.connection.take_turn(alone);
        let ((), queued) = until_it_waits(&context, earlier).await;
        let started = match queued {
            Some(_) => context.now(),
            None => begun,
        };
        let work = async {
            match request {
                Request::Produce(request) => match api::produce::handle(&context, request).await {
                    api::produce::Outcome::Reply(response) => Ok(Some(Response::Produce(response))),
                    api::produce::Outcome::Nothing => Ok(None),
                    api::produce::Outcome::Close => Err(CloseReason::Unacknowledged),
                },
                request => Ok(Some(handle(&context, request).await)),
            }
        };
        let (response, paused) = until_it_waits(&context, work).await;
        let ended = context.now();
        let worked = paused.unwrap_or(ended).since(started);
        let waited = queued.is_some() || paused.is_some();
        let counters = &context.broker.counters;
        counters.answered(api, ended.since(begun), worked, waited);
        match response {
            Ok(Some(response)) => Answer::Reply(encode_response(&header, &response)),
            Ok(None) => Answer::Nothing,
            Err(reason) => Answer::Close(reason),
        }
    }
}

/// What `work` gives, and when it first had to wait; `None` if it never had to.
async fn until_it_waits<F: Future>(context: &Context, work: F) -> (F::Output, Option<Monotonic>) {
    let mut work = pin!(work);
    let mut paused = None;
    let output = poll_fn(|cx| {
        let polled = work.as_mut().poll(cx);
        if polled.is_pending() && paused.is_none() {
            paused = Some(context.now());
        }
        polled
    });
    let output = output.await;
    (output, paused)
}

/// Every API that always answers. Invariant X3: the match is exhaustive over what is advertised.
async fn handle(context: &Context, request: Request) -> Response {
    macro_rules! dispatch {
        ($request:expr, $($api:ident => $module:ident),* $(,)?) => {
            match $request {
                Request::Produce(_) => unreachable!("produce may have no answer; see `dispatch`"),
                $(Request::$api(request) => {
                    Response::$api(api::$module::handle(context, request).await)
                })*
            }
        };
    }
    dispatch!(request,
        AlterConfigs => alter_configs,
        AlterPartitionReassignments => alter_partition_reassignments,
        DescribeQuorum => describe_quorum,
        ElectLeaders => elect_leaders,
        ListPartitionReassignments => list_partition_reassignments,
        UnregisterBroker => unregister_broker,
        CreatePartitions => create_partitions,
        CreateTopics => create_topics,
        DeleteRecords => delete_records,
        DeleteTopics => delete_topics,
        DescribeCluster => describe_cluster,
        DescribeConfigs => describe_configs,
        DescribeLogDirs => describe_log_dirs,
        DescribeTopicPartitions => describe_topic_partitions,
        IncrementalAlterConfigs => incremental_alter_configs,
        InitProducerId => init_producer_id,
        ApiVersions => api_versions,
        Fetch => fetch,
        ListOffsets => list_offsets,
        Metadata => metadata,
        OffsetForLeaderEpoch => offset_for_leader_epoch,
        DeleteGroups => delete_groups,
        DescribeGroups => describe_groups,
        FindCoordinator => find_coordinator,
        Heartbeat => heartbeat,
        JoinGroup => join_group,
        LeaveGroup => leave_group,
        ListGroups => list_groups,
        OffsetCommit => offset_commit,
        OffsetDelete => offset_delete,
        OffsetFetch => offset_fetch,
        SyncGroup => sync_group,
    )
}
