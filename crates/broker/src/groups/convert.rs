//! Between the wire's types, which share the memory of a frame, and those of the coordinator,
//! which own what they keep.

use bytes::Bytes;
use plimsoll_group_coordinator::{Blob, Text};
use plimsoll_wire::Str;
use plimsoll_wire::consumer::ConsumerProtocolSubscription;
use std::time::Duration;

pub(crate) fn text(of: &Str) -> Text {
    Text::from(of.as_str())
}

pub(crate) fn str_of(text: &Text) -> Str {
    Str::from(&**text)
}

pub(crate) fn blob(bytes: &Bytes) -> Blob {
    Blob::from(&**bytes)
}

pub(crate) fn bytes(blob: &Blob) -> Bytes {
    Bytes::copy_from_slice(blob)
}

/// Milliseconds of the wire; less than zero is nothing.
pub(crate) fn duration(ms: i32) -> Duration {
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

/// Milliseconds for the wire; the longest it can say stands for longer ones.
pub(crate) fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

/// The topics that a consumer's metadata names; none if it cannot be read.
pub(crate) fn subscribed_topics(metadata: &Bytes) -> Option<Vec<Text>> {
    let subscription = ConsumerProtocolSubscription::from_member(metadata).ok()?;
    Some(subscription.topics.iter().map(text).collect())
}
