//! Requests that carry several commands, each with a row of its own in the response.
//!
//! A command that is refused does not keep the others from being carried out. Those that are go
//! into one change of the metadata: one entry of its log, one sync.

use std::collections::HashSet;
use std::hash::Hash;

use plimsoll_controller::{Image, Record, Refusal};
use plimsoll_wire::{ErrorCode, Str};

use crate::context::Context;
use crate::deadline::Deadline;
use crate::error_code::Coded;

/// Why a row's command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) code: ErrorCode,
    pub(crate) message: String,
}

impl Refused {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    pub(crate) fn message(&self) -> Option<Str> {
        Some(self.message.as_str().into())
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}

impl Coded for Refused {
    fn code(&self) -> ErrorCode {
        self.code
    }
}

/// A row's outcome.
pub(crate) type Row<T> = Result<T, Refused>;

/// How a request wants its commands carried out.
pub(crate) struct Manner {
    /// Only say what would become of them.
    pub(crate) validate_only: bool,
    /// How long to wait; `None` for as long as it takes. What was begun goes on after that.
    pub(crate) timeout_ms: Option<i32>,
}

/// Runs `rule` for each command on the image as the commands before it leave it, makes the records
/// of all that are allowed durable together, and returns a row a command, in order.
pub(crate) async fn change<C, T, R>(
    context: &Context,
    commands: Vec<C>,
    manner: &Manner,
    rule: R,
) -> Vec<Row<T>>
where
    C: Clone + Send + 'static,
    T: Send + 'static,
    R: Fn(&mut Draft, C) -> Row<T> + Send + 'static,
{
    let count = commands.len();
    let validate_only = manner.validate_only;
    let work = context.broker.change(move |image| {
        let mut draft = Draft {
            image: image.clone(),
            records: Vec::new(),
        };
        let rows = commands
            .iter()
            .cloned()
            .map(|command| rule(&mut draft, command))
            .collect();
        let records = if validate_only {
            Vec::new()
        } else {
            draft.records
        };
        Ok::<_, Refusal>((records, rows))
    });
    let outcome = match manner.timeout_ms {
        None => Some(work.await),
        Some(ms) => {
            Deadline::after_ms(context, context.now(), ms)
                .bound(work)
                .await
        }
    };
    let refused = match outcome {
        Some(Ok(rows)) => return rows,
        Some(Err(error)) => Refused::new(error.code(), error.to_string()),
        None => Refused::new(
            ErrorCode::RequestTimedOut,
            "the change was begun, but not done in the time the request gave it",
        ),
    };
    (0..count).map(|_| Err(refused.clone())).collect()
}

/// The image as the commands so far leave it, and the records that make it so.
pub(crate) struct Draft {
    image: Image,
    records: Vec<Record>,
}

impl Draft {
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    /// Takes the records of a command that is allowed.
    pub(crate) fn take(&mut self, records: Vec<Record>) -> Row<()> {
        let mut image = self.image.clone();
        for record in &records {
            // A rule made them for this image; if it is wrong, the others must not suffer.
            image.apply(record).map_err(|misfit| {
                Refused::new(ErrorCode::UnknownServerError, misfit.to_string())
            })?;
        }
        self.image = image;
        self.records.extend(records);
        Ok(())
    }
}

/// The keys that are there more than once.
pub(crate) fn repeated<K: Clone + Eq + Hash>(keys: impl IntoIterator<Item = K>) -> HashSet<K> {
    let mut seen = HashSet::new();
    keys.into_iter()
        .filter(|key| !seen.insert(key.clone()))
        .collect()
}
