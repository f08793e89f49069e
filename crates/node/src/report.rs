//! The state of every partition, for an operator who asks (USR1).

use plimsoll_broker::{Broker, Hosted};
use tracing::info;

/// Logs one line a partition.
pub(crate) fn log_partitions(broker: &Broker) {
    for topic in broker.catalog().topics() {
        for (partition, hosted) in topic.partitions.iter().enumerate() {
            let topic = topic.name.as_str();
            match hosted {
                Hosted::Offline(why) => {
                    info!(event = "replica_state", topic, partition, state = "offline", %why);
                }
                Hosted::Online(replica) => {
                    let offline = replica.offline();
                    let state = if offline.is_some() {
                        "offline"
                    } else {
                        "leader"
                    };
                    let marks = replica.watermarks().snapshot();
                    info!(
                        event = "replica_state",
                        topic,
                        partition,
                        state,
                        leader_epoch = %marks.leader_epoch,
                        log_start = %marks.log_start,
                        high_watermark = %marks.high_watermark,
                        durable_end = %marks.durable_end,
                        log_end = %marks.log_end,
                        why = offline.as_deref(),
                    );
                }
            }
        }
    }
}
