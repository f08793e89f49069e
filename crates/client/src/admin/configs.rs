//! Settings of topics and nodes: read with where they come from, changed one by one.

use plimsoll_types::NodeId;
use plimsoll_wire::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
};
use plimsoll_wire::incremental_alter_configs::{
    AlterConfigsResource, AlterableConfig, IncrementalAlterConfigsRequest,
};
use plimsoll_wire::{ApiKey, Str};

use super::Admin;
use crate::error::check;
use crate::{ClientError, Lane};

/// Whose settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A topic's, by name.
    Topic(String),
    /// A node's.
    Node(NodeId),
    /// The defaults of all nodes.
    AllNodes,
}

impl Resource {
    fn kind(&self) -> i8 {
        match self {
            Self::Topic(_) => 2,
            Self::Node(_) | Self::AllNodes => 4,
        }
    }

    fn name(&self) -> Str {
        match self {
            Self::Topic(name) => name.into(),
            Self::Node(id) => id.to_string().into(),
            Self::AllNodes => Str::default(),
        }
    }

    fn subject(&self) -> String {
        match self {
            Self::Topic(name) => format!("topic {name}"),
            Self::Node(id) => format!("node {id}"),
            Self::AllNodes => "all nodes".to_owned(),
        }
    }
}

/// One setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value; `None` if there is none, or it is a secret.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed while the node runs.
    pub read_only: bool,
    /// Whether it is a secret.
    pub is_sensitive: bool,
    /// What it does, if told.
    pub documentation: Option<String>,
    /// What the value overrides, the nearest first.
    pub synonyms: Vec<(String, Option<String>, ConfigSource)>,
}

/// Where a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic,
    /// Set on the node while it ran.
    DynamicNode,
    /// Set for all nodes while they ran.
    DynamicDefault,
    /// From the node's configuration.
    StaticNode,
    /// Kafka's or Plimsoll's own.
    Default,
    /// From somewhere else, by Kafka's number.
    Other(i8),
}

impl ConfigSource {
    fn from_wire(source: i8) -> Self {
        match source {
            1 => Self::Topic,
            2 => Self::DynamicNode,
            3 => Self::DynamicDefault,
            4 => Self::StaticNode,
            5 => Self::Default,
            other => Self::Other(other),
        }
    }
}

/// A change to one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Gives it a value.
    Set(String, String),
    /// Gives it its default back.
    Unset(String),
    /// Adds elements to a list.
    Append(String, String),
    /// Takes elements from a list.
    Subtract(String, String),
}

impl Admin {
    /// The settings of a topic or node, all or only `names`.
    ///
    /// # Errors
    /// When there is no such resource, or the broker does not answer.
    pub async fn configs(
        &self,
        resource: &Resource,
        names: Option<&[&str]>,
    ) -> Result<Vec<ConfigEntry>, ClientError> {
        let keys = names.map(|names| names.iter().map(|name| (*name).into()).collect());
        let request = DescribeConfigsRequest {
            resources: vec![DescribeConfigsResource {
                resource_type: resource.kind(),
                resource_name: resource.name(),
                configuration_keys: keys,
            }],
            include_synonyms: true,
            include_documentation: true,
        };
        let answer = match resource {
            // A node's own settings are known to that node alone.
            Resource::Node(id) => {
                let connection = self.client.node(*id, Lane::Requests).await?;
                connection.ask(request).await?
            }
            Resource::Topic(_) | Resource::AllNodes => self.client.ask_any(request).await?,
        };
        let api = ApiKey::DescribeConfigs;
        let what = "the resource asked for is not in it";
        let result = answer.results.into_iter().next();
        let result = result.ok_or(ClientError::Nonsense { api, what })?;
        let message = result.error_message.as_ref();
        check(api, result.error_code, message, || resource.subject())?;
        Ok(result.configs.iter().map(entry).collect())
    }

    /// Changes settings of a topic or node, all or none; or with `validate_only` checks that it
    /// could.
    ///
    /// # Errors
    /// When the broker refuses, or does not answer.
    pub async fn alter_configs(
        &self,
        resource: &Resource,
        changes: &[ConfigChange],
        validate_only: bool,
    ) -> Result<(), ClientError> {
        let request = IncrementalAlterConfigsRequest {
            resources: vec![AlterConfigsResource {
                resource_type: resource.kind(),
                resource_name: resource.name(),
                configs: changes.iter().map(alterable).collect(),
            }],
            validate_only,
        };
        let api = ApiKey::IncrementalAlterConfigs;
        let answer = match resource {
            Resource::Node(id) => {
                let connection = self.client.node(*id, Lane::Requests).await?;
                connection.ask(request).await?
            }
            Resource::Topic(_) | Resource::AllNodes => {
                self.ask_controller(request, |answer| {
                    let code = answer
                        .responses
                        .first()
                        .map_or(0, |result| result.error_code);
                    check(api, code, None, || resource.subject()).err()
                })
                .await?
            }
        };
        let what = "the resource asked for is not in it";
        let result = answer.responses.first();
        let result = result.ok_or(ClientError::Nonsense { api, what })?;
        let message = result.error_message.as_ref();
        check(api, result.error_code, message, || resource.subject())
    }
}

fn alterable(change: &ConfigChange) -> AlterableConfig {
    let (name, value, config_operation) = match change {
        ConfigChange::Set(name, value) => (name, Some(value), 0),
        ConfigChange::Unset(name) => (name, None, 1),
        ConfigChange::Append(name, value) => (name, Some(value), 2),
        ConfigChange::Subtract(name, value) => (name, Some(value), 3),
    };
    AlterableConfig {
        name: name.into(),
        config_operation,
        value: value.map(Into::into),
    }
}

fn entry(config: &DescribeConfigsResourceResult) -> ConfigEntry {
    let text = |text: &Option<Str>| text.as_ref().map(ToString::to_string);
    let synonyms = config.synonyms.iter().map(|synonym| {
        let source = ConfigSource::from_wire(synonym.source);
        (synonym.name.to_string(), text(&synonym.value), source)
    });
    ConfigEntry {
        name: config.name.to_string(),
        value: text(&config.value),
        source: ConfigSource::from_wire(config.config_source),
        read_only: config.read_only,
        is_sensitive: config.is_sensitive,
        documentation: text(&config.documentation).filter(|words| !words.is_empty()),
        synonyms: synonyms.collect(),
    }
}
