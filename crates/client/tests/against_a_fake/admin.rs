//! What operators ask, and what they are told.

use std::time::Duration;

use plimsoll_client::admin::{ConfigChange, NewTopic, Resource};
use plimsoll_client::{Admin, Client, ClientConfig, ClientError};
use plimsoll_wire::create_topics::{CreatableTopicResult, CreateTopicsResponse};
use plimsoll_wire::incremental_alter_configs::{
    AlterConfigsResourceResponse, IncrementalAlterConfigsResponse,
};
use plimsoll_wire::{ApiKey, ErrorCode, Request};

use crate::fake::{Act, Fake};

async fn admin(fake: &Fake) -> Admin {
    let config = ClientConfig {
        retry_backoff: Duration::from_millis(1),
        ..ClientConfig::new([&fake.address])
    };
    Admin::new(Client::connect(config).await.expect("connects"))
}

fn creation(request: &Request, code: ErrorCode, message: Option<&str>) -> Act {
    let Request::CreateTopics(create) = request else {
        return Act::Behave;
    };
    let answer = CreateTopicsResponse {
        topics: vec![CreatableTopicResult {
            name: create.topics[0].name.clone(),
            error_code: code.code(),
            error_message: message.map(Into::into),
            num_partitions: 4,
            ..Default::default()
        }],
        ..Default::default()
    };
    Act::Answer(Box::new(answer.into()))
}

#[tokio::test]
async fn a_controller_that_has_moved_is_asked_again() {
    let fake = Fake::start(&[]).await;
    let mut moved = false;
    fake.hook(move |_, request| match request {
        Request::CreateTopics(_) if !moved => {
            moved = true;
            creation(request, ErrorCode::NotController, None)
        }
        _ => creation(request, ErrorCode::None, None),
    });
    let admin = admin(&fake).await;
    let made = admin
        .create_topic(&NewTopic::new("a"), false)
        .await
        .expect("the second time");
    assert_eq!(made.partitions, Some(4));
    assert_eq!(fake.count(ApiKey::CreateTopics), 2);
}

#[tokio::test]
async fn a_refusal_is_told_in_the_brokers_words_and_not_tried_again() {
    let fake = Fake::start(&[]).await;
    let words = "A name like that is no name.";
    fake.hook(move |_, request| creation(request, ErrorCode::InvalidTopicException, Some(words)));
    let admin = admin(&fake).await;
    let error = admin
        .create_topic(&NewTopic::new("a b"), false)
        .await
        .expect_err("refused");
    assert_eq!(error.code(), Some(ErrorCode::InvalidTopicException));
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(fake.count(ApiKey::CreateTopics), 1);
}

#[tokio::test]
async fn a_creation_without_an_answer_is_not_done_twice() {
    let fake = Fake::start(&[]).await;
    fake.hook(|_, request| match request {
        Request::CreateTopics(_) => Act::Close,
        _ => Act::Behave,
    });
    let admin = admin(&fake).await;
    let error = admin
        .create_topic(&NewTopic::new("a"), false)
        .await
        .expect_err("no answer");
    assert!(matches!(error, ClientError::Disconnected { .. }), "{error}");
    assert_eq!(fake.count(ApiKey::CreateTopics), 1);
}

#[tokio::test]
async fn changing_the_settings_of_an_unknown_topic_fails_at_once() {
    let fake = Fake::start(&[]).await;
    fake.hook(|_, request| match request {
        Request::IncrementalAlterConfigs(_) => Act::Answer(Box::new(
            IncrementalAlterConfigsResponse {
                responses: vec![AlterConfigsResourceResponse {
                    error_code: ErrorCode::UnknownTopicOrPartition.code(),
                    ..Default::default()
                }],
                ..Default::default()
            }
            .into(),
        )),
        _ => Act::Behave,
    });
    let admin = admin(&fake).await;
    let change = ConfigChange::Unset("retention.ms".to_owned());
    let topic = Resource::Topic("nowhere".to_owned());
    let error = admin
        .alter_configs(&topic, &[change], false)
        .await
        .expect_err("unknown");
    assert_eq!(error.code(), Some(ErrorCode::UnknownTopicOrPartition));
    assert_eq!(fake.count(ApiKey::IncrementalAlterConfigs), 1);
}
