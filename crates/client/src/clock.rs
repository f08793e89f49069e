//! The one place where the client reads the wall clock: records without a timestamp get it.

use std::time::{SystemTime, UNIX_EPOCH};

use plimsoll_types::Timestamp;

/// Now, as a record's timestamp.
pub(crate) fn wall() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the client's one door to the clock"
    )]
    let now = SystemTime::now();
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
