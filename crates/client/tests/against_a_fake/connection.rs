//! One connection: pipelining, versions, and brokers that misbehave.

use std::time::Duration;

use plimsoll_client::{Client, ClientConfig, ClientError, Connection};
use plimsoll_wire::api_versions::{ApiVersion, ApiVersionsResponse};
use plimsoll_wire::find_coordinator::FindCoordinatorRequest;
use plimsoll_wire::metadata::{MetadataRequest, MetadataResponse};
use plimsoll_wire::{ApiKey, Request};
use tokio::net::TcpListener;
use tokio::time::timeout;

use crate::fake::{Act, Fake};

fn config(address: &str) -> ClientConfig {
    ClientConfig {
        request_timeout: Duration::from_secs(5),
        ..ClientConfig::new([address])
    }
}

fn metadata() -> Request {
    MetadataRequest::default().into()
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_turn() {
    let fake = Fake::start(&[("a", 1), ("b", 2)]).await;
    let connection = Connection::open(&fake.address, &config(&fake.address))
        .await
        .expect("open");
    let ask = |topic: &str| {
        Request::from(MetadataRequest {
            topics: Some(vec![plimsoll_wire::metadata::MetadataRequestTopic {
                name: Some(topic.into()),
                ..Default::default()
            }]),
            ..Default::default()
        })
    };
    let time = Duration::from_secs(5);
    let first = connection
        .submit(9, &ask("a"), time)
        .await
        .expect("a place");
    let second = connection
        .submit(9, &ask("b"), time)
        .await
        .expect("a place");
    let names = [first.answer().await, second.answer().await].map(|answer| {
        let plimsoll_wire::Response::Metadata(answer) = answer.expect("answered") else {
            panic!("of another API");
        };
        answer.topics[0].name.clone().expect("named").to_string()
    });
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_allowed() {
    let fake = Fake::start(&[]).await;
    let config = ClientConfig {
        max_in_flight: 2,
        ..config(&fake.address)
    };
    let connection = Connection::open(&fake.address, &config)
        .await
        .expect("open");
    fake.hook(|_, _| Act::Ignore);
    let time = Duration::from_secs(5);
    let submit = || connection.try_submit(9, &metadata(), time).expect("open");
    let pending = [submit(), submit(), submit()];
    assert_eq!(
        pending.map(|pending| pending.is_some()),
        [true, true, false]
    );
}

#[tokio::test]
async fn an_answer_that_does_not_come_ends_the_connection() {
    let fake = Fake::start(&[]).await;
    let connection = Connection::open(&fake.address, &config(&fake.address))
        .await
        .expect("open");
    fake.hook(|_, _| Act::Ignore);
    let waited = Duration::from_millis(50);
    let error = connection
        .call_within(metadata(), waited)
        .await
        .expect_err("silence");
    assert!(
        matches!(
            error,
            ClientError::TimedOut {
                api: ApiKey::Metadata,
                ..
            }
        ),
        "{error}"
    );
    assert!(connection.is_closed());
    assert!(
        error
            .to_string()
            .contains("did not answer Metadata within 50 ms"),
        "{error}"
    );
}

#[tokio::test]
async fn a_broker_that_goes_away_fails_all_that_wait() {
    let fake = Fake::start(&[]).await;
    let connection = Connection::open(&fake.address, &config(&fake.address))
        .await
        .expect("open");
    let mut requests = 0;
    fake.hook(move |_, _| {
        requests += 1;
        if requests < 2 {
            Act::Ignore
        } else {
            Act::Close
        }
    });
    let (first, second) = tokio::join!(connection.call(metadata()), connection.call(metadata()));
    for outcome in [first, second] {
        assert!(
            matches!(outcome, Err(ClientError::Disconnected { .. })),
            "{outcome:?}"
        );
    }
    let later = connection.call(metadata()).await;
    assert!(matches!(later, Err(ClientError::Disconnected { .. })));
}

#[tokio::test]
async fn an_answer_out_of_turn_ends_the_connection() {
    let fake = Fake::start(&[]).await;
    let connection = Connection::open(&fake.address, &config(&fake.address))
        .await
        .expect("open");
    fake.hook(|_, _| Act::Raw(vec![0, 0, 0, 4, 0, 0, 0, 99]));
    let error = connection
        .call(metadata())
        .await
        .expect_err("not its answer");
    let expected = Some(1);
    assert!(
        matches!(error, ClientError::OutOfTurn { got: 99, expected: e, .. } if e == expected),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_frame_past_the_cap_is_refused_before_it_is_read() {
    let fake = Fake::start(&[]).await;
    let connection = Connection::open(&fake.address, &config(&fake.address))
        .await
        .expect("open");
    fake.hook(|_, _| Act::Raw(vec![0x7f, 0xff, 0xff, 0xff]));
    let error = connection
        .call(metadata())
        .await
        .expect_err("two gigabytes");
    assert!(matches!(error, ClientError::Frame { .. }), "{error:?}");
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_malformed() {
    let fake = Fake::start(&[]).await;
    let connection = Connection::open(&fake.address, &config(&fake.address))
        .await
        .expect("open");
    // Right number, then a list of two thousand million topics.
    fake.hook(|header, _| {
        let mut bytes = vec![0, 0, 0, 14];
        bytes.extend(header.correlation_id.to_be_bytes());
        bytes.extend([0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x07]);
        Act::Raw(bytes)
    });
    let error = connection.call(metadata()).await.expect_err("no metadata");
    assert!(matches!(error, ClientError::Malformed { .. }), "{error:?}");
    assert!(connection.is_closed(), "what follows cannot be trusted");
}

#[tokio::test]
async fn a_broker_of_older_versions_is_asked_in_them() {
    let fake = Fake::start(&[("a", 1)]).await;
    fake.hook(|header, request| match request {
        Request::ApiVersions(_) => Act::Answer(Box::new(
            ApiVersionsResponse {
                api_keys: vec![ApiVersion {
                    api_key: ApiKey::Metadata.code(),
                    min_version: 0,
                    max_version: 4,
                }],
                ..Default::default()
            }
            .into(),
        )),
        _ => {
            assert_eq!(header.api_version, 4);
            Act::Behave
        }
    });
    let connection = Connection::open(&fake.address, &config(&fake.address))
        .await
        .expect("open");
    let answer: MetadataResponse = connection
        .ask(MetadataRequest::default())
        .await
        .expect("asked");
    assert_eq!(answer.brokers.len(), 1);
    let error = connection
        .ask(FindCoordinatorRequest::default())
        .await
        .expect_err("not offered");
    assert!(
        matches!(error, ClientError::Unsupported { offered: None, .. }),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_address_where_nobody_listens_is_named() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = free.local_addr().expect("bound").to_string();
    drop(free);
    let error = Client::connect(config(&address)).await.expect_err("nobody");
    let told = error.to_string();
    assert!(
        told.contains(&format!("cannot reach {address} (tried for")),
        "{told}"
    );
}

#[tokio::test]
async fn a_listener_that_never_speaks_costs_the_connect_timeout_only() {
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = mute.local_addr().expect("bound").to_string();
    let config = ClientConfig {
        connect_timeout: Duration::from_millis(60),
        retry_timeout: Duration::from_millis(1),
        ..config(&address)
    };
    let error = Client::connect(config).await.expect_err("mute");
    let said = error.to_string();
    assert!(
        said.contains("accepts connections and says nothing"),
        "{said}"
    );
}

#[tokio::test]
async fn addresses_without_a_port_are_refused_at_once() {
    for address in [
        "localhost",
        ":9092",
        "localhost:",
        "localhost:http",
        "a:99999",
    ] {
        let refused = Connection::open(address, &config(address)).await;
        assert!(
            matches!(refused, Err(ClientError::Address { .. })),
            "{address}"
        );
    }
    let refused = Client::connect(ClientConfig::new(Vec::<String>::new())).await;
    assert!(matches!(refused, Err(ClientError::NoAddress)));
}

#[tokio::test]
async fn the_next_bootstrap_address_is_tried_when_one_is_dead() {
    let fake = Fake::start(&[]).await;
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let dead = free.local_addr().expect("bound").to_string();
    drop(free);
    let config = ClientConfig::new([dead, fake.address.clone()]);
    let client = Client::connect(config).await.expect("the second lives");
    assert_eq!(client.known().cluster_id.as_deref(), Some("fake"));
}

#[tokio::test]
async fn a_node_that_says_nothing_costs_a_moment() {
    let fake = Fake::start(&[]).await;
    // As a stopped process: the system accepts for it.
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = mute.local_addr().expect("bound").to_string();
    let config = ClientConfig {
        connect_timeout: Duration::from_secs(600),
        ..ClientConfig::new([silent, fake.address.clone()])
    };
    let connected = timeout(Duration::from_secs(60), Client::connect(config)).await;
    let client = connected
        .expect("not after the connect timeout")
        .expect("the second lives");
    assert_eq!(client.known().cluster_id.as_deref(), Some("fake"));
}

#[tokio::test]
async fn a_node_that_accepts_and_says_nothing_is_not_reached() {
    let mute = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let silent = mute.local_addr().expect("bound").to_string();
    let config = ClientConfig {
        connect_timeout: Duration::from_millis(50),
        ..ClientConfig::new([silent.clone()])
    };
    let opened = Connection::open(&silent, &config).await;
    let error = opened.expect_err("nobody answers");
    // What was to be asked was not, so it may be asked of another.
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(error.is_transport());
}
