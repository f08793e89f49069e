//! DescribeConfigs: what holds for topics and this node, where it comes from and what it overrides.

use std::collections::HashSet;

use plimsoll_controller::config::{self, Entry, Source};
use plimsoll_controller::{ConfigResource, Image};
use plimsoll_wire::describe_configs::{
    DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResourceResult,
    DescribeConfigsResponse, DescribeConfigsResult, DescribeConfigsSynonym,
};
use plimsoll_wire::{ErrorCode, Str};

use crate::api::config_resource::{self, invalid};
use crate::api::rows::{Refused, Row};
use crate::config::{BrokerConfig, Setting};
use crate::context::Context;

/// The protocol's code for a config whose values are texts.
const TEXT: i8 = 2;

pub(crate) async fn handle(
    context: &Context,
    request: DescribeConfigsRequest,
) -> DescribeConfigsResponse {
    let image = context.broker.metadata.image();
    let teller = Teller {
        image: &image,
        config: &context.broker.config,
        synonyms: request.include_synonyms,
        documentation: request.include_documentation,
    };
    let mut seen = HashSet::new();
    let results = request.resources.into_iter().map(|resource| {
        // Told once: all that a topic has to tell is a thousand times what it takes to ask.
        let again = !seen.insert((resource.resource_type, resource.resource_name.clone()));
        result(&teller, resource, again)
    });
    DescribeConfigsResponse {
        results: results.collect(),
        ..Default::default()
    }
}

fn result(
    teller: &Teller<'_>,
    asked: DescribeConfigsResource,
    again: bool,
) -> DescribeConfigsResult {
    let described = match again {
        false => teller.describe(&asked),
        true => Err(invalid("Each resource must appear at most once.")),
    };
    let (code, message, mut configs) = match described {
        Ok(configs) => (ErrorCode::None, None, configs),
        Err(refused) => (refused.code, refused.message(), Vec::new()),
    };
    // Null asks for all, an empty list for none.
    if let Some(keys) = &asked.configuration_keys {
        configs.retain(|config| keys.contains(&config.name));
    }
    DescribeConfigsResult {
        error_code: code.code(),
        error_message: message,
        resource_type: asked.resource_type,
        resource_name: asked.resource_name,
        configs,
    }
}

/// Where configs are told from, and in how much detail.
struct Teller<'a> {
    image: &'a Image,
    config: &'a BrokerConfig,
    synonyms: bool,
    documentation: bool,
}

impl Teller<'_> {
    fn describe(&self, asked: &DescribeConfigsResource) -> Row<Vec<DescribeConfigsResourceResult>> {
        let (kind, name) = (asked.resource_type, &asked.resource_name);
        match config_resource::parse(self.config, kind, name)? {
            ConfigResource::Topic(name) => self.topic(name.as_str()),
            ConfigResource::Node(_) => Ok(self.node()),
            ConfigResource::EveryNode => Ok(self.every_node()),
        }
    }

    fn topic(&self, name: &str) -> Row<Vec<DescribeConfigsResourceResult>> {
        let topic = self.image.topic(name).ok_or_else(|| {
            let message = format!("The topic '{name}' does not exist.");
            Refused::new(ErrorCode::UnknownTopicOrPartition, message)
        })?;
        let (defaults, node) = (&self.config.topic_defaults, self.config.node);
        let entries = config::entries(self.image, defaults, node, Some(topic));
        Ok(entries
            .map(|entry| self.entry(entry.key.name, &entry))
            .collect())
    }

    /// The defaults for topics, which can be changed while it runs, and the settings, which cannot.
    fn node(&self) -> Vec<DescribeConfigsResourceResult> {
        let (defaults, node) = (&self.config.topic_defaults, self.config.node);
        let entries = config::entries(self.image, defaults, node, None);
        let defaults = entries.map(|entry| self.entry(entry.key.node_name, &entry));
        let settings = self.config.settings.iter();
        let settings = settings.filter(|s| config::keys::node_key(&s.name).is_none());
        defaults
            .chain(settings.map(|setting| self.setting(setting)))
            .collect()
    }

    /// Only what was set for every node: what a node makes of it is the node's to tell.
    fn every_node(&self) -> Vec<DescribeConfigsResourceResult> {
        let (defaults, node) = (&self.config.topic_defaults, self.config.node);
        let entries = config::entries(self.image, defaults, node, None);
        let set = entries.filter_map(|mut entry| {
            entry
                .synonyms
                .retain(|synonym| synonym.source == Source::DynamicEveryNode);
            let is_set = !entry.synonyms.is_empty();
            is_set.then(|| self.entry(entry.key.node_name, &entry))
        });
        set.collect()
    }

    fn entry(&self, name: &'static str, entry: &Entry<'_>) -> DescribeConfigsResourceResult {
        let synonyms = entry.synonyms.iter().map(|synonym| DescribeConfigsSynonym {
            name: Str::from_static(synonym.name),
            value: Some(synonym.value.into()),
            source: synonym.source.wire_code(),
        });
        DescribeConfigsResourceResult {
            name: Str::from_static(name),
            value: Some(entry.value().into()),
            read_only: false,
            config_source: entry.source().wire_code(),
            is_sensitive: false,
            synonyms: if self.synonyms {
                synonyms.collect()
            } else {
                Vec::new()
            },
            config_type: entry.key.kind.wire_code(),
            documentation: self.documented(entry.key.documentation),
        }
    }

    fn setting(&self, setting: &Setting) -> DescribeConfigsResourceResult {
        let source = if setting.is_default {
            Source::Default
        } else {
            Source::StaticNode
        };
        let synonym = DescribeConfigsSynonym {
            name: setting.name.as_str().into(),
            value: Some(setting.value.as_str().into()),
            source: source.wire_code(),
        };
        DescribeConfigsResourceResult {
            name: setting.name.as_str().into(),
            value: Some(setting.value.as_str().into()),
            read_only: true,
            config_source: source.wire_code(),
            is_sensitive: false,
            synonyms: if self.synonyms {
                vec![synonym]
            } else {
                Vec::new()
            },
            config_type: TEXT,
            documentation: self.documented(&setting.documentation),
        }
    }

    fn documented(&self, text: &str) -> Option<Str> {
        self.documentation.then(|| text.into())
    }
}
