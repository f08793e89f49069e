//! What the node logs, and how: one line an event, on standard error.
//!
//! The level can change while the node runs ([`Logging::reload`]).

use std::io::IsTerminal;

use plimsoll_cli::{Code, Failure};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::{LogFormat, Logging as Config};

/// The node's log, once it is set up.
#[derive(Debug)]
pub(crate) struct Logging {
    filter: reload::Handle<EnvFilter, Registry>,
}

impl Logging {
    /// Starts logging for the whole process.
    ///
    /// # Errors
    /// When the level is no filter.
    pub(crate) fn start(config: &Config) -> Result<Self, Failure> {
        let (filter, handle) = reload::Layer::new(filter(&config.level)?);
        let json = match config.format {
            LogFormat::Json => true,
            LogFormat::Text => false,
            LogFormat::Auto => !std::io::stderr().is_terminal(),
        };
        let registry = tracing_subscriber::registry().with(filter);
        let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
        // An embedding program may have a subscriber of its own; then that one gets the events.
        let _ = if json {
            registry.with(lines.json().flatten_event(true)).try_init()
        } else {
            let colour = std::io::stderr().is_terminal() && anstream_wants_colour();
            registry
                .with(lines.with_ansi(colour).with_target(false))
                .try_init()
        };
        Ok(Self { filter: handle })
    }

    /// Logs by another level from now on.
    ///
    /// # Errors
    /// When the level is no filter.
    pub(crate) fn reload(&self, level: &str) -> Result<(), Failure> {
        let filter = filter(level)?;
        self.filter
            .reload(filter)
            .map_err(|error| Failure::new(Code::BadValue, format!("logging.level: {error}")))
    }
}

/// Whether standard error takes colours, `NO_COLOR` and its kin considered.
fn anstream_wants_colour() -> bool {
    anstream::AutoStream::choice(&std::io::stderr()) != anstream::ColorChoice::Never
}

/// A level, or filters such as `info,plimsoll_server=debug`. A word that is no level would be
/// taken for a part of the program that does not exist, and nothing would be logged.
fn filter(level: &str) -> Result<EnvFilter, Failure> {
    let wrong = level.split(',').find(|filter| {
        let (_, level) = filter.rsplit_once('=').unwrap_or(("", filter));
        // The empty word would be taken for "error".
        level.trim().is_empty() || level.trim().parse::<LevelFilter>().is_err()
    });
    if let Some(wrong) = wrong {
        let what = format!("logging.level: {wrong:?} is no level, nor TARGET=LEVEL");
        let todo = "Levels are error, warn, info, debug and trace";
        return Err(Failure::new(Code::BadValue, format!("{what}. {todo}")));
    }
    // The quorum's library tells every message and every failed attempt; whoever wants that
    // names it.
    let level = match level.contains("openraft") {
        true => level.to_owned(),
        false => format!("{level},openraft=error"),
    };
    EnvFilter::builder().parse(&level).map_err(|error| {
        Failure::new(
            Code::BadValue,
            format!("logging.level = {level:?}: {error}"),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_told_from_nonsense() {
        for level in ["info", "DEBUG", "off", "info,plimsoll_server=debug"] {
            assert!(filter(level).is_ok(), "{level}");
        }
        for level in ["loud", "info,plimsoll_server", "a=b", ""] {
            assert!(filter(level).is_err(), "{level}");
        }
    }
}
