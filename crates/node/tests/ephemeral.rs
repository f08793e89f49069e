//! Nodes inside a test's own process.

use plimsoll::Broker;
use plimsoll_client::{Client, ClientConfig, Producer, ProducerConfig, ProducerRecord};
use plimsoll_types::TopicName;

async fn client(broker: &Broker) -> Client {
    let mut config = ClientConfig::new([broker.bootstrap()]);
    config.auto_create_topics = true;
    Client::connect(config).await.expect("it serves")
}

#[tokio::test]
async fn ephemeral_nodes_do_not_know_one_another() {
    let (one, other) = (Broker::ephemeral().await, Broker::ephemeral().await);
    let (one, other) = (one.expect("it starts"), other.expect("it starts"));
    assert_ne!(one.bootstrap(), other.bootstrap());

    let producer = Producer::new(client(&one).await, ProducerConfig::new());
    let topic = TopicName::new("t").expect("legal");
    let delivery = producer
        .send(ProducerRecord::new(topic, "x"))
        .await
        .expect("taken");
    delivery.wait().await.expect("written");
    let topics = async |broker| {
        client(broker)
            .await
            .metadata()
            .await
            .expect("told")
            .topics
            .len()
    };
    assert_eq!((topics(&one).await, topics(&other).await), (1, 0));
}

#[tokio::test]
async fn keys_are_taken_and_checked() {
    let broker = Broker::ephemeral_with([("num.partitions", "3")])
        .await
        .expect("it starts");
    let topic = TopicName::new("t").expect("legal");
    let topic = client(&broker)
        .await
        .topic(&topic)
        .await
        .expect("made by asking");
    assert_eq!(topic.partitions.len(), 3);

    let refused = Broker::ephemeral_with([("num.partition", "3")])
        .await
        .expect_err("no such key");
    assert!(refused.to_string().contains("num.partitions"), "{refused}");
}

#[test]
fn a_node_that_is_dropped_is_gone() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let broker = runtime.block_on(Broker::ephemeral()).expect("it starts");
    let address = broker.bootstrap().to_owned();
    drop(broker);
    assert!(std::net::TcpStream::connect(address).is_err());
}
