//! What a batch must be to go into a log, and the bytes it goes there as.

use std::time::Duration;

use bytes::Bytes;
use plimsoll_controller::config::{TimestampSource, TopicCompression};
use plimsoll_record_batch::{
    self as record_batch, Batch, Checked, Compression, Keys, TimestampType,
};
use plimsoll_segment_log::ToAppend;
use plimsoll_types::Timestamp;
use plimsoll_wire::ErrorCode;

use super::refused::Refused;
use crate::catalog::HostedTopic;
use crate::context::Context;

/// The least version in which a producer may send zstd (KIP-110).
const ZSTD_FROM_VERSION: i16 = 7;

/// The batch as it goes into the log, after every check that needs no log.
pub(super) fn checked(
    context: &Context,
    topic: &HostedTopic,
    bytes: Bytes,
    now: Timestamp,
) -> Result<(ToAppend, Option<Timestamp>), Refused> {
    let config = &topic.policy.config;
    if bytes.is_empty() {
        return Err(Refused::new(
            ErrorCode::InvalidRecord,
            "the partition's records are empty",
        ));
    }
    let batch = Batch::parse(&bytes)?;
    if batch.bytes().len() != bytes.len() {
        return Err(Refused::new(
            ErrorCode::InvalidRecord,
            "a partition takes exactly one batch in a request",
        ));
    }
    let too_large = |size: usize| {
        Refused::new(
            ErrorCode::MessageTooLarge,
            format!(
                "the batch has {size} bytes, max.message.bytes is {}",
                config.max_message_bytes
            ),
        )
    };
    let max = usize::try_from(config.max_message_bytes).unwrap_or(usize::MAX);
    if bytes.len() > max {
        return Err(too_large(bytes.len()));
    }
    let header = *batch.header();
    if header.attributes.is_control() || header.attributes.is_transactional() {
        return Err(Refused::new(
            ErrorCode::InvalidRecord,
            "control and transactional batches are not taken here",
        ));
    }
    if header.attributes.has_delete_horizon() {
        return Err(Refused::new(
            ErrorCode::InvalidRecord,
            "a delete horizon is the broker's to set",
        ));
    }
    let codec = header.attributes.compression();
    if codec == Compression::Zstd && context.version < ZSTD_FROM_VERSION {
        return Err(ErrorCode::UnsupportedCompressionType.into());
    }
    let limits = context.broker.host.decode;
    let keys = if config.cleanup.compact {
        Keys::Required
    } else {
        Keys::Optional
    };
    let times = batch.check_records(&limits, keys)?;
    let mut bytes = match wanted_codec(config.compression) {
        Some(wanted) if wanted != codec => {
            let again = record_batch::recompress(&batch, wanted, &limits)
                .map_err(|error| Refused::new(ErrorCode::InvalidRecord, error.to_string()))?;
            if again.len() > max {
                return Err(too_large(again.len()));
            }
            again
        }
        _ => bytes,
    };
    let log_append_time = match &config.timestamps {
        TimestampSource::LogAppendTime => {
            let mut stamped = bytes.to_vec();
            record_batch::stamp_log_append_time(&mut stamped, now);
            bytes = stamped.into();
            Some(now)
        }
        TimestampSource::CreateTime {
            before_max,
            after_max,
        } => {
            if header.attributes.timestamp_type() == TimestampType::LogAppendTime {
                let message =
                    "the topic keeps the producer's timestamps; the append time is not its to set";
                return Err(Refused::new(ErrorCode::InvalidTimestamp, message));
            }
            check_times(&times, now, *before_max, *after_max)?;
            if times.max_timestamp != header.max_timestamp {
                // The index by time goes by this field, so it is made true, as Kafka does.
                let mut stamped = bytes.to_vec();
                record_batch::stamp_max_timestamp(&mut stamped, times.max_timestamp);
                bytes = stamped.into();
            }
            None
        }
    };
    // The header as it is now, after recompression and stamping.
    let header = record_batch::BatchHeader::decode(&bytes)?;
    Ok((ToAppend { header, bytes }, log_append_time))
}

fn wanted_codec(config: TopicCompression) -> Option<Compression> {
    match config {
        TopicCompression::Producer => None,
        TopicCompression::Uncompressed => Some(Compression::None),
        TopicCompression::Gzip => Some(Compression::Gzip),
        TopicCompression::Snappy => Some(Compression::Snappy),
        TopicCompression::Lz4 => Some(Compression::Lz4),
        TopicCompression::Zstd => Some(Compression::Zstd),
    }
}

/// `message.timestamp.before.max.ms` and `after.max.ms` (KIP-937), for the records' range of times.
fn check_times(
    times: &Checked,
    now: Timestamp,
    before_max: Option<Duration>,
    after_max: Option<Duration>,
) -> Result<(), Refused> {
    let refuse = |what: &str, time: Timestamp| {
        let ms = time.as_millis();
        let message = format!("timestamp {ms} is further {what} than the topic allows");
        Err(Refused::new(ErrorCode::InvalidTimestamp, message))
    };
    let (min, max) = (times.min_timestamp, times.max_timestamp);
    if min != Timestamp::NONE && before_max.is_some_and(|bound| now.since(min) > bound) {
        return refuse("in the past", min);
    }
    if max != Timestamp::NONE && after_max.is_some_and(|bound| max.since(now) > bound) {
        return refuse("in the future", max);
    }
    Ok(())
}
