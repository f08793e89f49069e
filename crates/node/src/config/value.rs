//! What makes a value legal, in words for whoever wrote it.

use super::keys::Kind;

impl Kind {
    /// Whether `text` is a legal value.
    ///
    /// # Errors
    /// What it should have been.
    pub fn check(self, text: &str) -> Result<(), String> {
        match self {
            Self::Number { min, max } => number(text, min, max).map(|_| ()),
            Self::Flag => flag(text).map(|_| ()),
            Self::Address => address(text).map(|_| ()),
            Self::Choice(words) if words.contains(&text) => Ok(()),
            Self::Choice(words) => Err(format!("is not one of {}", words.join(", "))),
            Self::Text if text.is_empty() => Err("is empty".to_owned()),
            Self::Text | Self::TopicDefault => Ok(()),
        }
    }
}

/// A whole number from `min` to `max`. Underscores between digits are allowed, as in TOML.
pub(super) fn number(text: &str, min: i64, max: i64) -> Result<i64, String> {
    let number: i64 = text
        .replace('_', "")
        .parse()
        .map_err(|_| "is not a whole number".to_owned())?;
    if number < min {
        return Err(format!("is below {min}"));
    }
    if number > max {
        return Err(format!("is above {max}"));
    }
    Ok(number)
}

pub(super) fn flag(text: &str) -> Result<bool, String> {
    text.parse()
        .map_err(|_| "is neither true nor false".to_owned())
}

/// A host and a port: `host:1`, `1.2.3.4:1`, `[::1]:1`, or `:1` for all interfaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A host name or address, without brackets; empty for all interfaces.
    pub host: String,
    /// The port; 0 for any free one.
    pub port: u16,
}

pub(super) fn address(text: &str) -> Result<Address, String> {
    let (host, port) = text.rsplit_once(':').ok_or("is not HOST:PORT")?;
    let port = port
        .parse()
        .map_err(|_| "does not end in a port from 0 to 65535")?;
    if host
        .chars()
        .any(|c| c.is_whitespace() || c == '/' || c.is_control())
    {
        return Err("has a host that is none".to_owned());
    }
    let host = match host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        Some(host) => host,
        None if host.contains(':') => return Err("is IPv6 without [brackets]".to_owned()),
        None => host,
    };
    Ok(Address {
        host: host.to_owned(),
        port,
    })
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_in_all_their_spellings() {
        for (text, host, port) in [
            ("localhost:9092", "localhost", 9092),
            ("127.0.0.1:0", "127.0.0.1", 0),
            ("[::1]:65535", "::1", 65535),
            (":9092", "", 9092),
        ] {
            let expected = Address {
                host: host.to_owned(),
                port,
            };
            assert_eq!(address(text), Ok(expected.clone()));
            assert_eq!(expected.to_string(), text);
        }
    }

    #[test]
    fn wrong_addresses_are_told_what_is_wrong() {
        for (text, expected) in [
            ("9092", "HOST:PORT"),
            ("host:", "port"),
            ("host:65536", "port"),
            ("::1:9092", "brackets"),
            ("http://host:1", "none"),
            ("a b:1", "none"),
        ] {
            let error = address(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn numbers_stay_within_their_bounds() {
        assert_eq!(number("1_000", 0, 1000), Ok(1000));
        for text in ["", "x", "1.5", "-1", "1001", "99999999999999999999"] {
            assert!(number(text, 0, 1000).is_err(), "{text}");
        }
    }
}
