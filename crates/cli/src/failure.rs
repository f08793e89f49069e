//! How a command fails: a stable code, one line that tells what, why and what to do, an exit code.

use std::fmt;

/// What a command's exit code tells a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked.
    Ok = 0,
    /// It failed.
    Failed = 1,
    /// It was called wrongly.
    Usage = 2,
    /// Nobody answered, or not in time.
    Unreachable = 3,
    /// What it was asked about does not exist.
    NotFound = 4,
    /// It was not allowed.
    Denied = 5,
    /// What it was asked to make exists, or is in use.
    Conflict = 6,
    /// It would have been unsafe, and was not confirmed.
    Unsafe = 7,
    /// Something is not served.
    Unhealthy = 10,
    /// Everything is served, with less to spare than there should be.
    Degraded = 11,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $number:literal => $exit:ident,)*) => {
        /// A kind of failure: stable across versions, so that it can be looked up and matched.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Code { $($(#[doc = $doc])+ $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number after the `P`.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* }
            }

            /// What it means, in a sentence.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)* }
            }

            /// The exit code of a command that fails so.
            #[must_use]
            pub const fn exit(self) -> Exit {
                match self { $(Self::$name => Exit::$exit,)* }
            }
        }
    };
}

codes! {
    /// A flag or an argument is wrong.
    Usage = 1 => Usage,
    /// An input or output file cannot be used.
    File = 2 => Failed,
    /// The configuration file cannot be read or is not TOML.
    ConfigFile = 101 => Usage,
    /// There is no configuration key of that name.
    UnknownKey = 102 => Usage,
    /// A configuration value is not legal.
    BadValue = 103 => Usage,
    /// An address cannot be listened on.
    Listen = 104 => Conflict,
    /// Another process holds the data directory.
    DataDirLocked = 105 => Conflict,
    /// The data directory cannot be used.
    DataDir = 106 => Failed,
    /// The node could not start.
    Start = 107 => Failed,
    /// The node stopped although nobody asked it to.
    Stopped = 108 => Failed,
    /// The process may open too few files.
    Descriptors = 109 => Failed,
    /// No node answered.
    Unreachable = 201 => Unreachable,
    /// An answer did not come in time.
    TimedOut = 202 => Unreachable,
    /// What answered does not speak Kafka's protocol as this program does.
    Protocol = 203 => Failed,
    /// There is no such topic or partition.
    TopicNotFound = 301 => NotFound,
    /// There is no such group.
    GroupNotFound = 302 => NotFound,
    /// There is no such offset.
    OffsetNotFound = 303 => NotFound,
    /// The topic exists already.
    TopicExists = 304 => Conflict,
    /// The group is in use.
    GroupInUse = 305 => Conflict,
    /// The cluster refused it as not allowed.
    Denied = 306 => Denied,
    /// There are fewer nodes than replicas wanted.
    TooFewNodes = 307 => Failed,
    /// The cluster refused it for another reason.
    Refused = 308 => Failed,
    /// There is no such node, partition, path or code.
    NotKnown = 309 => NotFound,
    /// It destroys something, and nobody confirmed it.
    Unconfirmed = 401 => Unsafe,
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "P{:04}", self.number())
    }
}

/// A failed command, in the words for whoever called it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind of failure.
    pub code: Code,
    /// What failed, why, and what to do: sentences on one line.
    pub message: String,
}

impl Failure {
    /// A failure of this kind.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A wrong flag or argument.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// Prints `error[P0307]: what, why, what to do` on stderr, coloured where that is wanted.
    pub fn print(&self) {
        let red = anstyle::AnsiColor::Red.on_default().bold();
        let message = one_line(&self.message);
        anstream::eprintln!("{red}error[{}]{red:#}: {message}", self.code);
    }
}

/// `message` without line breaks or control characters, which a peer's words may hold.
fn one_line(message: &str) -> String {
    message
        .split(char::is_control)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_given_once_and_grow() {
        assert!(Code::ALL.is_sorted_by(|a, b| a.number() < b.number()));
    }

    #[test]
    fn a_peers_words_cannot_break_the_line() {
        assert_eq!(
            one_line("bad\r\nerror[P0000]: fake\u{1b}[31m"),
            "bad error[P0000]: fake [31m"
        );
    }
}
