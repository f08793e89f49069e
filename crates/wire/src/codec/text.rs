//! Strings that share the memory of the frame they came in.
//!
//! What always holds: the bytes are UTF-8 and no more than the protocol can count, 32,767.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use bytes::Bytes;

/// A string of a Kafka message: UTF-8, at most [`Str::MAX_BYTES`], cheap to clone.
///
/// One read off the wire is a part of its frame and keeps the frame in memory. What is kept for
/// longer than a request should be detached with [`Str::detached`].
///
/// Made from a longer string, it is cut at the last character that fits: of all strings a broker
/// sends only messages for people can be that long.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Str(Bytes);

impl Str {
    /// The longest there is.
    pub const MAX_BYTES: usize = i16::MAX as usize;

    /// One that is known when compiled; costs nothing.
    #[must_use]
    pub fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(fitting(text).as_bytes()))
    }

    /// These bytes, if they are UTF-8 and not too many.
    #[must_use]
    pub fn from_utf8(bytes: Bytes) -> Option<Self> {
        let fits = bytes.len() <= Self::MAX_BYTES && std::str::from_utf8(&bytes).is_ok();
        fits.then_some(Self(bytes))
    }

    /// As a plain string slice.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when the Str was made")
    }

    /// A copy in memory of its own, which does not keep a frame alive.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }

    /// The bytes.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

/// The longest beginning of `text` that a `Str` can hold.
pub(crate) fn fitting(text: &str) -> &str {
    let end = text.floor_char_boundary(Str::MAX_BYTES);
    text.get(..end).unwrap_or_default()
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(fitting(text).as_bytes()))
    }
}

impl From<String> for Str {
    fn from(mut text: String) -> Self {
        text.truncate(fitting(&text).len());
        Self(Bytes::from(text))
    }
}

impl From<&String> for Str {
    fn from(text: &String) -> Self {
        Self::from(text.as_str())
    }
}

impl From<Str> for String {
    fn from(text: Str) -> Self {
        text.as_str().to_owned()
    }
}

impl Deref for Str {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for Str {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

/// As `str` hashes, so that a map keyed by `Str` can be asked with a `&str`.
impl Hash for Str {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_too_long_for_the_protocol_is_cut_between_characters() {
        let long = "é".repeat(20_000);
        assert_eq!(Str::from(long.as_str()).len(), Str::MAX_BYTES - 1);
        assert_eq!(Str::from(long).len(), Str::MAX_BYTES - 1);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_no_str() {
        assert_eq!(Str::from_utf8(Bytes::from_static(b"\xff")), None);
    }
}
