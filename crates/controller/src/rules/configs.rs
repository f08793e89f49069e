//! Changing configs.

use super::change::{Change, Loads};
use crate::config::keys::{self, KEYS, Kind, NOT_SUPPORTED, TopicKey};
use crate::config::{NodeDefaults, canonical, entry};
use crate::image::Image;
use crate::record::{ConfigResource, Record};
use crate::refusal::{ConfigFault, Refusal};
use plimsoll_types::NodeId;
use std::collections::BTreeMap;

/// What to do with one config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlterOperation {
    /// Give it this value.
    Set,
    /// Take its own value away, so that the next outer one holds.
    Delete,
    /// Add these words to a list, as far as it has not got them.
    Append,
    /// Take these words out of a list.
    Subtract,
}

/// One config and what to do with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterConfig {
    /// The key.
    pub key: String,
    /// What to do.
    pub operation: AlterOperation,
    /// With what; `None` where the wire said null.
    pub value: Option<String>,
}

/// The records that alter a resource's configs one by one and leave the others alone. To replace
/// all of them (Kafka's older AlterConfigs), use [`AlterConfig::replace_all`] for the changes.
///
/// `defaults` and `node` are the asked node's: what an append to a list starts from when the
/// resource has no value of its own.
///
/// # Errors
/// Why they cannot be altered; none is, then.
pub fn alter_configs(
    image: &Image,
    defaults: &NodeDefaults,
    node: NodeId,
    resource: &ConfigResource,
    changes: &[AlterConfig],
) -> Result<Vec<Record>, Refusal> {
    let scope = Scope::of(image, resource)?;
    let empty = BTreeMap::new();
    let current = image.configs(resource).unwrap_or(&empty);
    let mut after = current.clone();
    let mut named: Vec<&str> = Vec::new();
    for change in changes {
        if named.contains(&change.key.as_str()) {
            let key = change.key.clone();
            return Err(ConfigFault::Repeated { key }.into());
        }
        named.push(&change.key);
        if change.operation == AlterOperation::Delete && current.contains_key(&change.key) {
            after.remove(&change.key);
            continue;
        }
        let key = scope.key(&change.key)?;
        match altered(image, defaults, node, resource, key, change)? {
            Some(value) => after.insert(change.key.clone(), value),
            None => after.remove(&change.key),
        };
    }
    check_together(&after)?;
    let mut records = difference(resource, current, &after);
    records.extend(consequences(image, resource, &records));
    Ok(records)
}

/// What a change of `min.insync.replicas` does to ELRs, in the same transaction.
///
/// Lowered to what is in sync, it lets the leader commit without the ELR, which therefore goes
/// (C3); a leader must never see the one without the other. Raised, it changes nothing: nothing was
/// committed since its members left, and nothing is before more are in sync than before. A leader
/// that does not know of it yet counts them until the metadata says that they are none.
fn consequences(image: &Image, resource: &ConfigResource, configs: &[Record]) -> Vec<Record> {
    const KEY: &str = "min.insync.replicas";
    let concerns = |record: &Record| matches!(record, Record::ConfigSet { key, .. } | Record::ConfigUnset { key, .. } if key == KEY);
    if !configs.iter().any(concerns) {
        return Vec::new();
    }
    let Ok(after) = image.transact(image.version(), configs) else {
        return Vec::new();
    };
    let only = match resource {
        ConfigResource::Topic(name) => image.topic(name.as_str()).map(|topic| topic.id),
        ConfigResource::Node(_) | ConfigResource::EveryNode => None,
    };
    let mut loads = Loads::of(&after);
    let keys = image.under_replicated();
    let keys = keys.filter(|key| only.is_none_or(|topic| topic == key.topic));
    let mut records = Vec::new();
    for key in keys {
        let Some(change) = Change::of(&after, key) else {
            continue;
        };
        if change.old.elr.is_empty() && change.old.last_known_elr.is_empty() {
            continue;
        }
        records.extend(change.finish(&mut loads));
    }
    records
}

impl AlterConfig {
    /// The changes that leave `resource` with exactly `values`.
    #[must_use]
    pub fn replace_all(
        image: &Image,
        resource: &ConfigResource,
        values: &[(String, Option<String>)],
    ) -> Vec<Self> {
        let set = values.iter().map(|(key, value)| Self {
            key: key.clone(),
            operation: AlterOperation::Set,
            value: value.clone(),
        });
        let current = image.configs(resource).into_iter().flatten();
        let stale = current.filter(|(key, _)| values.iter().all(|(named, _)| named != *key));
        let delete = stale.map(|(key, _)| Self {
            key: key.clone(),
            operation: AlterOperation::Delete,
            value: None,
        });
        set.chain(delete).collect()
    }
}

/// Checks the configs of a topic to be created and makes them canonical.
///
/// # Errors
/// The first fault.
pub fn check_topic_configs(
    configs: &[(String, Option<String>)],
) -> Result<BTreeMap<String, String>, Refusal> {
    let mut checked = BTreeMap::new();
    for (name, value) in configs {
        let key = Scope::Topic.key(name)?;
        let value = value
            .as_deref()
            .ok_or_else(|| ConfigFault::Null { key: name.clone() })?;
        let value = canonical(name, key.kind, value)?;
        if checked.insert(name.clone(), value).is_some() {
            let key = name.clone();
            return Err(ConfigFault::Repeated { key }.into());
        }
    }
    check_together(&checked)?;
    Ok(checked)
}

/// Whose keys a resource takes.
#[derive(Clone, Copy)]
enum Scope {
    Topic,
    Node,
    EveryNode,
}

impl Scope {
    fn of(image: &Image, resource: &ConfigResource) -> Result<Self, Refusal> {
        match resource {
            ConfigResource::Topic(name) if image.topic(name.as_str()).is_none() => {
                let name = name.as_str().to_owned();
                Err(Refusal::UnknownTopic { name })
            }
            ConfigResource::Node(node) if image.node(*node).is_none() => {
                Err(Refusal::UnknownNode { node: *node })
            }
            ConfigResource::Topic(_) => Ok(Self::Topic),
            ConfigResource::Node(_) => Ok(Self::Node),
            ConfigResource::EveryNode => Ok(Self::EveryNode),
        }
    }

    fn key(self, name: &str) -> Result<&'static TopicKey, ConfigFault> {
        match self {
            Self::Topic => keys::topic_key(name).ok_or_else(|| unknown_topic_key(name)),
            Self::Node | Self::EveryNode => {
                let key = keys::node_key(name).ok_or_else(|| ConfigFault::Unknown {
                    scope: "broker",
                    key: name.to_owned(),
                    suggestion: keys::topic_key(name).map(|key| key.node_name),
                })?;
                if !key.per_node && matches!(self, Self::Node) {
                    let key = name.to_owned();
                    return Err(ConfigFault::ClusterWide { key });
                }
                Ok(key)
            }
        }
    }
}

fn unknown_topic_key(name: &str) -> ConfigFault {
    let known = NOT_SUPPORTED.iter().find(|(key, _)| *key == name);
    if let Some(&(key, why)) = known {
        return ConfigFault::NotSupported { key, why };
    }
    let folded = name.to_ascii_lowercase().replace(['_', '-'], ".");
    let similar = |key: &&TopicKey| key.name == folded || key.node_name == folded;
    ConfigFault::Unknown {
        scope: "topic",
        key: name.to_owned(),
        suggestion: KEYS.iter().find(similar).map(|key| key.name),
    }
}

/// The value after the change; `None` when the resource is left without one of its own.
fn altered(
    image: &Image,
    defaults: &NodeDefaults,
    node: NodeId,
    resource: &ConfigResource,
    key: &'static TopicKey,
    change: &AlterConfig,
) -> Result<Option<String>, ConfigFault> {
    if change.operation == AlterOperation::Delete {
        return Ok(None);
    }
    let null = || ConfigFault::Null {
        key: change.key.clone(),
    };
    let value = change.value.as_deref().ok_or_else(null)?;
    if change.operation == AlterOperation::Set {
        return canonical(&change.key, key.kind, value).map(Some);
    }
    if !matches!(key.kind, Kind::List(_)) {
        let key = change.key.clone();
        return Err(ConfigFault::NotAList { key });
    }
    let words = canonical(&change.key, key.kind, value)?;
    let topic = match resource {
        ConfigResource::Topic(name) => image.topic(name.as_str()).map(AsRef::as_ref),
        ConfigResource::Node(_) | ConfigResource::EveryNode => None,
    };
    let held = entry(key, image, defaults, node, topic).value();
    let words: Vec<&str> = words.split(',').collect();
    let kept = held.split(',').filter(|word| !words.contains(word));
    let list: Vec<&str> = match change.operation {
        AlterOperation::Append => {
            let new = words
                .iter()
                .copied()
                .filter(|word| !held.split(',').any(|h| h == *word));
            held.split(',').chain(new).collect()
        }
        AlterOperation::Subtract => kept.collect(),
        AlterOperation::Set | AlterOperation::Delete => Vec::new(),
    };
    canonical(&change.key, key.kind, &list.join(",")).map(Some)
}

/// What holds between configs of one resource.
fn check_together(configs: &BTreeMap<String, String>) -> Result<(), ConfigFault> {
    let value = |key: &str, node_key: &str| -> Option<i64> {
        configs
            .get(key)
            .or_else(|| configs.get(node_key))?
            .parse()
            .ok()
    };
    let (least, most) = (
        value("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
        value("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    );
    match (least, most) {
        (Some(least), Some(most)) if least > most => Err(ConfigFault::Contradiction(
            "min.compaction.lag.ms must be no more than max.compaction.lag.ms",
        )),
        _ => {
            let text = |key: &str| configs.get(key).map(String::as_str);
            let unclean = (
                text("unclean.leader.election.enable"),
                text("unclean.recovery.strategy"),
            );
            if unclean == (Some("true"), Some("none")) {
                return Err(ConfigFault::Contradiction(
                    "unclean.leader.election.enable=true contradicts unclean.recovery.strategy=none",
                ));
            }
            Ok(())
        }
    }
}

fn difference(
    resource: &ConfigResource,
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<Record> {
    let changed = after
        .iter()
        .filter(|(key, value)| before.get(*key) != Some(value));
    let set = changed.map(|(key, value)| Record::ConfigSet {
        resource: resource.clone(),
        key: key.clone(),
        value: value.clone(),
    });
    let gone = before.keys().filter(|key| !after.contains_key(*key));
    let unset = gone.map(|key| Record::ConfigUnset {
        resource: resource.clone(),
        key: key.clone(),
    });
    set.chain(unset).collect()
}
