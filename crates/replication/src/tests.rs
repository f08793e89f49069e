//! Tests of the machines, by the number of the failure they are about, and a simulation of a whole
//! partition under failures.
#![allow(clippy::unwrap_used, reason = "a test may fail")]
#![allow(clippy::cast_possible_truncation, reason = "toy logs are short")]

mod divergence;
mod edges;
mod eligible;
mod follower;
mod leader;
mod mutants;
mod sim;

use std::time::Duration;

use plimsoll_types::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionKey, TopicId};

use crate::divergence::EpochStart;

fn at(offset: u64) -> Offset {
    Offset::new(offset)
}

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn ms(millis: u64) -> Monotonic {
    Monotonic::from_start(Duration::from_millis(millis))
}

fn uptime(epoch: u64) -> BrokerEpoch {
    BrokerEpoch(epoch)
}

fn epoch(epoch: u32, start: u64) -> EpochStart {
    EpochStart {
        epoch: LeaderEpoch::new(epoch),
        start: at(start),
    }
}

fn key() -> PartitionKey {
    PartitionKey {
        topic: TopicId::from_bytes([3; 16]),
        index: 0,
    }
}
