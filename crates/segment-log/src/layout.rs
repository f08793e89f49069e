//! The names of a partition's files.
//!
//! Not here: what is in them. A name that this module does not know is left alone by everybody.

use std::path::{Path, PathBuf};

use plimsoll_types::Offset;

/// Ends the name of a file that is being written and is not yet the file.
pub(crate) const TEMPORARY: &str = ".tmp";
/// Ends the name of a compaction's output that is not yet decided on.
const CLEANED: &str = ".cleaned";
/// Ends the name of a compaction's output that is to take its place.
const SWAP: &str = ".swap";

pub(crate) const META: &str = "partition.meta";
pub(crate) const CHECKPOINT: &str = "checkpoint";
pub(crate) const EPOCHS: &str = "epochs";
pub(crate) const DURABLE: &str = "durable";

/// What a name in a partition's directory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// `<base>.log`
    Segment(Offset),
    /// `<base>.index`
    Index(Offset),
    /// `<offset>.producers`
    Producers(Offset),
    /// `<base>-<end>.cleaned`
    Cleaned { base: Offset, end: Offset },
    /// `<base>-<end>.swap`
    Swap { base: Offset, end: Offset },
    /// Anything ending in `.tmp`.
    Temporary,
    /// One of the fixed names, or not ours.
    Other,
}

impl Name {
    /// Reads a name.
    pub(crate) fn parse(name: &str) -> Self {
        if name.ends_with(TEMPORARY) {
            return Self::Temporary;
        }
        if let Some(base) = name.strip_suffix(".log").and_then(offset) {
            return Self::Segment(base);
        }
        if let Some(base) = name.strip_suffix(".index").and_then(offset) {
            return Self::Index(base);
        }
        if let Some(at) = name.strip_suffix(".producers").and_then(offset) {
            return Self::Producers(at);
        }
        if let Some((base, end)) = name.strip_suffix(CLEANED).and_then(range) {
            return Self::Cleaned { base, end };
        }
        match name.strip_suffix(SWAP).and_then(range) {
            Some((base, end)) => Self::Swap { base, end },
            None => Self::Other,
        }
    }

    /// The path of a file so named.
    pub(crate) fn path(self, dir: &Path) -> PathBuf {
        let name = match self {
            Self::Segment(base) => format!("{:020}.log", base.get()),
            Self::Index(base) => format!("{:020}.index", base.get()),
            Self::Producers(at) => format!("{:020}.producers", at.get()),
            Self::Cleaned { base, end } => {
                format!("{:020}-{:020}{CLEANED}", base.get(), end.get())
            }
            Self::Swap { base, end } => format!("{:020}-{:020}{SWAP}", base.get(), end.get()),
            Self::Temporary | Self::Other => String::new(),
        };
        dir.join(name)
    }
}

fn range(text: &str) -> Option<(Offset, Offset)> {
    let (base, end) = text.split_once('-')?;
    Some((offset(base)?, offset(end)?))
}

/// Exactly 20 digits: one spelling a file.
fn offset(digits: &str) -> Option<Offset> {
    if digits.len() != 20 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Offset::from_wire(digits.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let (base, end) = (Offset::new(42), Offset::MAX);
        for name in [
            Name::Segment(base),
            Name::Index(end),
            Name::Producers(base),
            Name::Cleaned { base, end },
            Name::Swap { base, end },
        ] {
            let path = name.path(Path::new(""));
            assert_eq!(Name::parse(path.to_str().unwrap()), name);
        }
    }

    #[test]
    fn strange_names_are_nobodys() {
        for name in [
            "0.log",
            "0000000000000000000x.log",
            "99999999999999999999.log",
            "00000000000000000001-2.swap",
            "lost+found",
        ] {
            assert_eq!(Name::parse(name), Name::Other, "{name}");
        }
    }
}
