//! How a value lies on the wire: primitives, lists, structs, and the rules of "flexible" versions.
//!
//! Not here: what any one message holds; that is stated in [`crate::messages`] with the macro of
//! `define`. What always holds: reading never panics, never looks outside the frame, and allocates
//! at most [`Input`]'s budget; writing never fails.

mod define;
mod input;
mod output;
mod records;
mod schema;
mod text;
mod value;

pub(crate) use define::{default_of, message, rule, structs};
pub(crate) use input::Input;
pub use input::{BUDGET_FACTOR, BUDGET_FLOOR_BYTES, Malformed, Reason};
pub use output::Encoded;
pub(crate) use output::Output;
pub use records::Records;
pub use schema::{Field, Kind, Message, Rule, StructSchema};
pub use text::Str;
pub(crate) use text::fitting;
pub(crate) use value::{Struct, Value, differs, some};

use bytes::Bytes;

/// What the reading or writing of every field depends on.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The version of the message.
    pub(crate) version: i16,
    /// Whether that version is flexible: compact lengths, and tagged fields after each struct.
    pub(crate) flexible: bool,
}

impl Context {
    /// The rules for `version` of a message that is flexible from `flexible_from` on.
    pub(crate) fn new(version: i16, flexible_from: Option<i16>) -> Self {
        Self {
            version,
            flexible: flexible_from.is_some_and(|from| version >= from),
        }
    }

    /// The rules for `version` of message `M`.
    pub(crate) fn of<M: Message>(version: i16) -> Self {
        Self::new(version, M::FLEXIBLE_FROM)
    }
}

/// Reads one message without header, such as the value of a record in an internal topic.
///
/// The version is the caller's: it must be one of [`Message::VERSIONS`].
///
/// # Errors
/// The bytes are not that message, or more bytes follow it.
pub fn decode<M: Message>(version: i16, bytes: &Bytes) -> Result<M, Malformed> {
    let mut input = Input::new(bytes);
    let message = M::read(&mut input, Context::of::<M>(version))?;
    input.finish()?;
    Ok(message)
}

/// Writes one message without header. Fields that `version` does not have are left out.
#[must_use]
pub fn encode<M: Message>(version: i16, message: &M) -> Encoded {
    let mut out = Output::new();
    message.write(&mut out, Context::of::<M>(version));
    out.finish()
}
