//! The raw form of the configuration: for each key that somebody set, who set it and to what.
//!
//! Flags win over the environment, the environment over the file, the file over the defaults.
//! Every name is checked here, so that a typing error is told with the name that was meant.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use plimsoll_cli::{Code, Failure};
use plimsoll_controller::NodeDefaults;

use super::file;
use super::keys::{self, ELSEWHERE, Key, Kind};

/// Where a value comes from. Later ones win.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// The program's own choice for this way of running, for example `plimsoll dev`.
    Preset(&'static str),
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Environment {
        /// Its name.
        variable: String,
    },
    /// A flag of the command line.
    Flag {
        /// Its name, with dashes.
        flag: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset(by) => f.write_str(by),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment { variable } => write!(f, "environment variable {variable}"),
            Self::Flag { flag } => write!(f, "flag {flag}"),
        }
    }
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The value as text; empty only for a default that depends on the machine.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// What was set, by key. Every name in it is a key's.
#[derive(Clone, Debug, Default)]
pub struct Layers(BTreeMap<&'static str, Setting>);

impl Layers {
    /// Takes a value, unless something that wins over `origin` set the key before.
    ///
    /// # Errors
    /// When there is no such key, with the likeliest one; when the value is not legal.
    pub fn set(&mut self, name: &str, value: &str, origin: Origin) -> Result<(), Failure> {
        let key = keys::find(name).ok_or_else(|| unknown(name, &origin))?;
        check(key, value).map_err(|fault| {
            let what = format!("{name} = {value:?} {fault} ({origin})");
            Failure::new(
                Code::BadValue,
                format!("{what}. See plimsoll config explain {name}"),
            )
        })?;
        let setting = Setting {
            value: value.to_owned(),
            origin,
        };
        match self.0.get_mut(key.name) {
            Some(old) if old.origin > setting.origin => {}
            Some(old) => *old = setting,
            None => {
                self.0.insert(key.name, setting);
            }
        }
        Ok(())
    }

    /// Takes every value of a configuration file.
    ///
    /// # Errors
    /// When it cannot be read or is not TOML, and as [`Layers::set`].
    pub fn set_from_file(&mut self, path: &Path) -> Result<(), Failure> {
        let fail = |what: String| Failure::new(Code::ConfigFile, what);
        let text = std::fs::read_to_string(path)
            .map_err(|error| fail(format!("cannot read {}: {error}", path.display())))?;
        self.set_from_toml(&text, path)
    }

    fn set_from_toml(&mut self, text: &str, path: &Path) -> Result<(), Failure> {
        let entries = file::entries(text).map_err(|mistake| {
            let what = format!("{}:{}: {}", path.display(), mistake.line, mistake.what);
            Failure::new(Code::ConfigFile, what)
        })?;
        for entry in entries {
            let origin = Origin::File {
                path: path.to_owned(),
                line: entry.line,
            };
            self.set(&entry.name, &entry.value, origin)?;
        }
        Ok(())
    }

    /// Takes the variables that begin with `PLIMSOLL_`. `__` and `_` both stand for a dot, since
    /// no key has an underscore: `PLIMSOLL_LOG__RETENTION__MS` is `log.retention.ms`.
    ///
    /// # Errors
    /// As [`Layers::set`].
    pub fn set_from_environment(
        &mut self,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), Failure> {
        for (variable, value) in variables {
            let Some(name) = variable.strip_prefix(PREFIX) else {
                continue;
            };
            if OTHER_VARIABLES.contains(&name) || is_service_link(name) {
                continue;
            }
            let name = name
                .to_ascii_lowercase()
                .replace("__", ".")
                .replace('_', ".");
            self.set(&name, &value, Origin::Environment { variable })?;
        }
        Ok(())
    }

    /// The value of a key, set or default.
    ///
    /// # Panics
    /// If there is no such key.
    #[must_use]
    pub fn get(&self, name: &str) -> Setting {
        let default = || {
            let key = keys::find(name).expect("the caller names a key of the table");
            Setting {
                value: key.default.to_owned(),
                origin: Origin::Default,
            }
        };
        self.0.get(name).cloned().unwrap_or_else(default)
    }
}

fn check(key: Key, value: &str) -> Result<(), String> {
    key.kind.check(value)?;
    if key.kind == Kind::TopicDefault {
        NodeDefaults::new([(key.name, value)]).map_err(|fault| format!("is not legal: {fault}"))?;
    }
    Ok(())
}

const PREFIX: &str = "PLIMSOLL_";

/// Variables with our prefix that are not keys: the command line's own.
const OTHER_VARIABLES: &[&str] = &["CONFIG", "BOOTSTRAP_SERVER", "HTTP"];

/// Whether Kubernetes made the variable for a service called "plimsoll".
fn is_service_link(name: &str) -> bool {
    name == "SERVICE_HOST"
        || name == "PORT"
        || name.starts_with("SERVICE_PORT")
        || (name.starts_with("PORT_") && name.contains("_TCP"))
}

fn unknown(name: &str, origin: &Origin) -> Failure {
    let what = format!("there is no configuration key {name:?} ({origin})");
    let todo = advice(name).unwrap_or_else(|| "See plimsoll config explain".to_owned());
    Failure::new(Code::UnknownKey, format!("{what}. {todo}"))
}

/// What to write instead of an unknown key.
pub(crate) fn advice(name: &str) -> Option<String> {
    if let Some((_, instead)) = ELSEWHERE.iter().find(|(elsewhere, _)| *elsewhere == name) {
        return Some(format!("Instead, {instead}"));
    }
    if let Some(key) = plimsoll_controller::config::keys::topic_key(name) {
        return Some(format!(
            "It is a topic's; the default for all topics is {}",
            key.node_name
        ));
    }
    let (distance, nearest) = keys::all()
        .map(|key| (strsim::damerau_levenshtein(name, key.name), key.name))
        .min()?;
    (distance <= name.len() / 3 + 1).then(|| format!("Did you mean {nearest}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Layers, Failure> {
        let mut layers = Layers::default();
        layers
            .set_from_toml(text, Path::new("plimsoll.toml"))
            .map(|()| layers)
    }

    fn flag(flag: &str) -> Origin {
        Origin::Flag {
            flag: flag.to_owned(),
        }
    }

    #[test]
    fn flags_win_over_environment_over_file_over_default_in_any_order() {
        let mut layers = Layers::default();
        assert_eq!(layers.get("node.id").origin, Origin::Default);
        layers
            .set("node.id", "4", flag("--node-id"))
            .expect("legal");
        layers
            .set_from_environment([("PLIMSOLL_NODE__ID".to_owned(), "3".to_owned())])
            .expect("legal");
        layers
            .set_from_toml("node.id = 2\nnum.partitions = 9", Path::new("f"))
            .expect("legal");
        assert_eq!(layers.get("node.id").value, "4");
        assert_eq!(layers.get("num.partitions").origin.to_string(), "f:2");
    }

    #[test]
    fn an_unknown_key_is_told_with_file_line_and_the_likely_one() {
        for (text, expected) in [
            (
                "\nnum.partition = 3",
                "plimsoll.toml:2). Did you mean num.partitions?",
            ),
            ("[listeners]\nx = 1", "plimsoll.toml:2)"),
            ("broker.id = 1", "say node.id"),
            ("retention.ms = 5", "log.retention.ms"),
            ("min.insync.replicas = 2", "must not differ between nodes"),
        ] {
            let failure = file(text).expect_err(text);
            assert_eq!(failure.code, Code::UnknownKey, "{text}");
            assert!(
                failure.message.contains(expected),
                "{text}: {}",
                failure.message
            );
        }
    }

    #[test]
    fn an_illegal_value_is_told_with_its_place() {
        let failure = file("num.partitions = 0").expect_err("below one");
        assert_eq!(failure.code, Code::BadValue);
        assert!(
            failure
                .message
                .starts_with("num.partitions = \"0\" is below 1 (plimsoll.toml:1)")
        );
    }

    #[test]
    fn variables_of_others_are_left_alone() {
        let mut layers = Layers::default();
        for variable in [
            "PLIMSOLL_PORT_9092_TCP_ADDR",
            "PLIMSOLL_SERVICE_HOST",
            "PATH",
        ] {
            layers
                .set_from_environment([(variable.to_owned(), "x".to_owned())])
                .expect("not ours");
        }
        let variable = [("PLIMSOLL_DATA_DIR".to_owned(), "/d".to_owned())];
        layers.set_from_environment(variable).expect("a key");
        assert_eq!(layers.get("data.dir").value, "/d");
    }
}
