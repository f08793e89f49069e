//! What can go wrong, in words for the person who will read them.
//!
//! Sorted by blame: the network's ([`ClientError::is_transport`]), the broker's answer
//! ([`ClientError::code`]), the caller's. Errors are cheap to clone, since one failed batch fails
//! many records.

use std::fmt;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_record_batch::{BatchError, BuildError};
use plimsoll_types::{Offset, TopicName, TopicPartition};
use plimsoll_wire::frame::FrameError;
use plimsoll_wire::{ApiKey, ErrorCode, Malformed, Str};

/// Why an operation of the client failed.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No address to begin with.
    #[error("no broker address was given")]
    NoAddress,
    /// A broker's address cannot be one.
    #[error("{address:?} is no address of a broker: HOST:PORT is")]
    Address {
        /// The address.
        address: String,
    },
    /// Nobody answers there.
    #[error("cannot reach {address} (tried for {}): {cause}", Seconds(*.waited))]
    Unreachable {
        /// The address.
        address: String,
        /// How long it was tried.
        waited: Duration,
        /// The last that went wrong.
        cause: Arc<io::Error>,
    },
    /// None of the brokers known can be reached.
    #[error("no broker can be reached: {}", Joined(.attempts))]
    NoBroker {
        /// What each attempt ended with.
        attempts: Vec<ClientError>,
    },
    /// The connection ended before the answer.
    #[error("the connection to {address} was lost{}", Because(.cause.as_ref()))]
    Disconnected {
        /// The broker's address.
        address: Arc<str>,
        /// Why, unless the broker just closed it.
        cause: Option<Arc<io::Error>>,
    },
    /// The answer did not come in time; the connection was given up.
    #[error("{address} did not answer {api} within {}", Seconds(*.waited))]
    TimedOut {
        /// The broker's address.
        address: Arc<str>,
        /// What was asked.
        api: ApiKey,
        /// How long was waited.
        waited: Duration,
    },
    /// What came is no Kafka frame; the connection was given up.
    #[error("{address} does not speak Kafka's protocol: {cause}")]
    Frame {
        /// The broker's address.
        address: Arc<str>,
        /// What is wrong with the frame.
        cause: FrameError,
    },
    /// An answer that was not asked for, or out of turn; the connection was given up.
    #[error("{address} answered request {got}, {}", Expected(*.expected))]
    OutOfTurn {
        /// The broker's address.
        address: Arc<str>,
        /// The number that the answer carries.
        got: i32,
        /// The number of the request whose turn it was; `None` if nothing was asked.
        expected: Option<i32>,
    },
    /// An answer that cannot be read.
    #[error("{address} sent a malformed answer to {api}: {malformed}")]
    Malformed {
        /// The broker's address.
        address: Arc<str>,
        /// What was asked.
        api: ApiKey,
        /// What is wrong with it.
        malformed: Malformed,
    },
    /// An answer that can be read and makes no sense.
    #[error("the answer to {api} makes no sense: {what}")]
    Nonsense {
        /// What was asked.
        api: ApiKey,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The broker and this client have no version of an API in common.
    #[error("{address} {}, this client speaks {api} {} to {}", Offered(.offered.as_ref()), .ours.start(), .ours.end())]
    Unsupported {
        /// The broker's address.
        address: Arc<str>,
        /// The API.
        api: ApiKey,
        /// The versions that the broker offers, if it offers the API at all.
        offered: Option<RangeInclusive<i16>>,
        /// The versions that this client speaks.
        ours: RangeInclusive<i16>,
    },
    /// The broker refused.
    #[error("{subject}: {} ({}, {api})", Told(.message.as_deref(), *.code), .code.name())]
    Broker {
        /// What was asked.
        api: ApiKey,
        /// About what: a topic, a partition, a group.
        subject: String,
        /// Kafka's code.
        code: ErrorCode,
        /// The broker's own words, if it had any.
        message: Option<Str>,
    },
    /// The broker refused with a code that Kafka does not have.
    #[error("{subject}: the broker answered {api} with error {code}, which is not known here")]
    UnknownCode {
        /// What was asked.
        api: ApiKey,
        /// About what.
        subject: String,
        /// The code.
        code: i16,
    },
    /// The topic has no such partition.
    #[error("topic {topic} has {partitions} partitions, there is no partition {partition}")]
    NoPartition {
        /// The topic.
        topic: TopicName,
        /// The partition asked for.
        partition: u32,
        /// How many it has.
        partitions: usize,
    },
    /// What had to come first did not come in time.
    #[error("{what} did not come about within {}{}", Seconds(*.waited), After(.last.as_deref()))]
    GaveUp {
        /// What was waited for.
        what: &'static str,
        /// How long.
        waited: Duration,
        /// What the last attempt met.
        last: Option<Box<ClientError>>,
    },
    /// A record that can never be sent.
    #[error("a record of {bytes} bytes is larger than the {max} bytes that a batch may have")]
    RecordTooLarge {
        /// Its bytes.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A batch could not be written.
    #[error("the batch cannot be written: {0}")]
    Build(#[from] BuildError),
    /// The broker handed out a batch that cannot be read.
    #[error("{topic_partition} at offset {offset}: {cause}")]
    Batch {
        /// Where it was read.
        topic_partition: TopicPartition,
        /// The position that was fetched from.
        offset: Offset,
        /// What is wrong with it.
        cause: BatchError,
    },
    /// The position is outside the log, and nothing says where to go on.
    #[error("{topic_partition}: offset {offset} is outside the log")]
    OutOfRange {
        /// The partition.
        topic_partition: TopicPartition,
        /// The position.
        offset: Offset,
    },
    /// The partition is not assigned to this consumer.
    #[error("{topic_partition} is not assigned to this consumer")]
    NotAssigned {
        /// The partition.
        topic_partition: TopicPartition,
    },
    /// The producer or connection was closed before it was done.
    #[error("closed before it was done")]
    Closed,
}

impl ClientError {
    /// The broker's error code, if it is the broker who refused.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Broker { code, .. } => Some(*code),
            Self::GaveUp { last, .. } => last.as_deref().and_then(Self::code),
            _ => None,
        }
    }

    /// Whether no answer came: the request may have been done or not.
    #[must_use]
    pub fn is_transport(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::NoBroker { .. }
                | Self::Disconnected { .. }
                | Self::TimedOut { .. }
                | Self::OutOfTurn { .. }
                | Self::Frame { .. }
        )
    }

    /// Whether the same may succeed if tried again.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Broker { code, .. } => code.is_retriable(),
            other => other.is_transport(),
        }
    }

    /// Whether it was tried again until its time was up.
    #[must_use]
    pub fn is_gave_up(&self) -> bool {
        matches!(self, Self::GaveUp { .. })
    }

    /// Whether it says that what is known of leaders or coordinators is old.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let Self::Broker { code, .. } = self else {
            return self.is_transport();
        };
        matches!(
            code,
            ErrorCode::NotLeaderOrFollower
                | ErrorCode::LeaderNotAvailable
                | ErrorCode::UnknownTopicOrPartition
                | ErrorCode::UnknownTopicId
                | ErrorCode::InconsistentTopicId
                | ErrorCode::FencedLeaderEpoch
                | ErrorCode::UnknownLeaderEpoch
                | ErrorCode::ReplicaNotAvailable
                | ErrorCode::KafkaStorageError
                | ErrorCode::NotController
                | ErrorCode::NotCoordinator
                | ErrorCode::CoordinatorNotAvailable
        )
    }
}

/// `Ok` if the broker's error code says so.
pub(crate) fn check(
    api: ApiKey,
    code: i16,
    message: Option<&Str>,
    subject: impl FnOnce() -> String,
) -> Result<(), ClientError> {
    match ErrorCode::from_code(code) {
        Some(ErrorCode::None) => Ok(()),
        Some(code) => Err(ClientError::Broker {
            api,
            subject: subject(),
            code,
            message: message.filter(|words| !words.is_empty()).map(Str::detached),
        }),
        None => Err(ClientError::UnknownCode {
            api,
            subject: subject(),
            code,
        }),
    }
}

/// A time as people say it.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(1) {
            write!(f, "{} ms", self.0.as_millis())
        } else {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        }
    }
}

struct Joined<'a>(&'a [ClientError]);

impl fmt::Display for Joined<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

struct Because<'a>(Option<&'a Arc<io::Error>>);

impl fmt::Display for Because<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(cause) => write!(f, ": {cause}"),
            None => f.write_str(": the broker closed it"),
        }
    }
}

struct After<'a>(Option<&'a ClientError>);

impl fmt::Display for After<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |last| write!(f, ": {last}"))
    }
}

struct Expected(Option<i32>);

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(expected) => write!(f, "it was the turn of {expected}"),
            None => f.write_str("nothing was asked"),
        }
    }
}

struct Offered<'a>(Option<&'a RangeInclusive<i16>>);

impl fmt::Display for Offered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(range) => write!(f, "speaks versions {} to {}", range.start(), range.end()),
            None => f.write_str("does not speak it"),
        }
    }
}

/// The broker's words, or the meaning of its code.
struct Told<'a>(Option<&'a str>, ErrorCode);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.unwrap_or(self.1.message()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_broker_is_named_with_the_time_it_cost() {
        let error = ClientError::Unreachable {
            address: "db:9092".to_owned(),
            waited: Duration::from_secs(5),
            cause: Arc::new(io::Error::new(io::ErrorKind::TimedOut, "timed out")),
        };
        let all = ClientError::NoBroker {
            attempts: vec![error],
        };
        assert_eq!(
            all.to_string(),
            "no broker can be reached: cannot reach db:9092 (tried for 5.0 s): timed out"
        );
    }

    #[test]
    fn a_refusal_speaks_in_the_brokers_words_if_it_has_any() {
        let refusal = |message: Option<&Str>| {
            check(ApiKey::CreateTopics, 36, message, || "topic a".to_owned())
                .expect_err("not zero")
                .to_string()
        };
        assert_eq!(
            refusal(None),
            "topic a: a topic of this name exists (TOPIC_ALREADY_EXISTS, CreateTopics)"
        );
        let words = Str::from("Topic 'a' already exists.");
        assert_eq!(
            refusal(Some(&words)),
            "topic a: Topic 'a' already exists. (TOPIC_ALREADY_EXISTS, CreateTopics)"
        );
    }

    #[test]
    fn a_code_that_kafka_does_not_have_is_kept() {
        let error = check(ApiKey::Fetch, 999, None, || "orders/0".to_owned());
        assert!(matches!(
            error,
            Err(ClientError::UnknownCode { code: 999, .. })
        ));
    }
}
