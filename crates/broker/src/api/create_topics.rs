//! CreateTopics: make topics, or say what would become of the attempt.

use plimsoll_controller::config::{self, Entry};
use plimsoll_controller::rules::{self, CreateTopic, ManualAssignment};
use plimsoll_controller::{Image, Topic};
use plimsoll_types::TopicId;
use plimsoll_wire::create_topics::{
    CreatableTopic, CreatableTopicConfigs, CreatableTopicResult, CreateTopicsRequest,
    CreateTopicsResponse,
};
use plimsoll_wire::{ErrorCode, Str};

use crate::api::rows::{self, Manner, Refused};
use crate::config::BrokerConfig;
use crate::context::Context;

pub(crate) async fn handle(
    context: &Context,
    request: CreateTopicsRequest,
) -> CreateTopicsResponse {
    let repeated = rows::repeated(request.topics.iter().map(|topic| topic.name.clone()));
    let wishes: Vec<_> = request
        .topics
        .into_iter()
        .filter(|topic| !repeated.contains(&topic.name))
        .collect();
    let names: Vec<Str> = wishes.iter().map(|topic| topic.name.clone()).collect();

    let manner = Manner {
        validate_only: request.validate_only,
        timeout_ms: Some(request.timeout_ms),
    };
    let config = context.broker.config.clone();
    let clock = &context.broker.clock;
    let wishes = wishes.into_iter();
    let wishes = wishes.map(|topic| wish(topic, clock.fresh_id())).collect();
    let made = rows::change(context, wishes, &manner, move |draft, wish: CreateTopic| {
        let records = rules::create_topic(draft.image(), &config.limits, &wish)?;
        draft.take(records)?;
        Ok(result(&config, draft.image(), &wish.name))
    })
    .await;

    let rows = names.into_iter().zip(made).map(|(name, row)| match row {
        Ok(result) => result,
        Err(refused) => failure(name, &refused),
    });
    let twice = repeated.into_iter().map(|name| {
        let refused = Refused::new(ErrorCode::InvalidRequest, "Duplicate topic name.");
        failure(name, &refused)
    });
    CreateTopicsResponse {
        topics: rows.chain(twice).collect(),
        ..Default::default()
    }
}

fn wish(topic: CreatableTopic, id: [u8; 16]) -> CreateTopic {
    let assignments = topic
        .assignments
        .into_iter()
        .map(|assignment| ManualAssignment {
            partition: assignment.partition_index,
            brokers: assignment.broker_ids,
        });
    let configs = topic.configs.into_iter();
    CreateTopic {
        name: topic.name.to_string(),
        id: TopicId::from_bytes(id),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: assignments.collect(),
        configs: configs
            .map(|config| {
                (
                    config.name.to_string(),
                    config.value.map(|value| value.to_string()),
                )
            })
            .collect(),
    }
}

fn result(config: &BrokerConfig, image: &Image, name: &str) -> CreatableTopicResult {
    let Some(topic) = image.topic(name) else {
        let refused = Refused::new(ErrorCode::UnknownServerError, "the topic was not made");
        return failure(name.into(), &refused);
    };
    let replicas = topic
        .partitions
        .first()
        .map_or(0, |partition| partition.replicas.len());
    CreatableTopicResult {
        name: name.into(),
        topic_id: topic.id,
        error_code: 0,
        error_message: None,
        num_partitions: i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX),
        configs: Some(configs(config, image, topic)),
        ..Default::default()
    }
}

fn configs(config: &BrokerConfig, image: &Image, topic: &Topic) -> Vec<CreatableTopicConfigs> {
    let entries = config::entries(image, &config.topic_defaults, config.node, Some(topic));
    let told = |entry: Entry<'_>| CreatableTopicConfigs {
        name: entry.key.name.into(),
        value: Some(entry.value().into()),
        read_only: false,
        config_source: entry.source().wire_code(),
        is_sensitive: false,
    };
    entries.map(told).collect()
}

fn failure(name: Str, refused: &Refused) -> CreatableTopicResult {
    CreatableTopicResult {
        name,
        error_code: refused.code.code(),
        error_message: refused.message(),
        ..Default::default()
    }
}
