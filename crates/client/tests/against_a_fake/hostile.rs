//! Answers with bytes changed at random: the client must neither panic nor hang, whatever it makes
//! of them.

use std::panic::Location;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use plimsoll_client::{
    Admin, At, Client, ClientConfig, Consumer, ConsumerConfig, Producer, ProducerConfig,
    ProducerRecord, StartAt,
};
use plimsoll_types::{Offset, TopicName};
use plimsoll_wire::{Request, RequestHeader, Response, encode_response};

use crate::consumer::{fill, partition};
use crate::fake::{Act, Fake};

const SEEDS: u64 = 60;

/// A small generator of pseudo-random numbers: the seed is the whole case.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound.max(1) as u64).expect("fits")
    }
}

/// The frame of `answer` with up to four bytes changed, sometimes its size or number too.
fn garbled(header: &RequestHeader, answer: &Response, random: &mut Random) -> Vec<u8> {
    let mut bytes = encode_response(header, answer).concat().to_vec();
    let first = if random.below(8) == 0 { 0 } else { 8 };
    for _ in 0..=random.below(4) {
        let at = first + random.below(bytes.len() - first);
        bytes[at] = match random.below(3) {
            0 => 0xff,
            1 => 0,
            _ => bytes[at] ^ (1 << random.below(8)),
        };
    }
    bytes
}

/// Everything a client does, each with what may come of it. Errors are fine.
async fn do_everything(fake: &Fake) {
    let config = ClientConfig {
        connect_timeout: Duration::from_millis(300),
        request_timeout: Duration::from_millis(300),
        retry_timeout: Duration::from_millis(100),
        retry_backoff: Duration::from_millis(1),
        unknown_topic_grace: Duration::ZERO,
        max_response_bytes: 1 << 20,
        ..ClientConfig::new([&fake.address])
    };
    let Ok(client) = Client::connect(config).await else {
        return;
    };
    let topic = TopicName::new("t").expect("legal");
    let config = ProducerConfig {
        delivery_timeout: Duration::from_millis(50),
        linger: Duration::ZERO,
        ..ProducerConfig::new()
    };
    let producer = Producer::new(client.clone(), config);
    if let Ok(delivery) = producer.send(ProducerRecord::new(topic, "a")).await {
        let _ = delivery.wait().await;
    }
    let mut consumer = Consumer::new(client.clone(), ConsumerConfig::new());
    consumer.assign([
        (partition(0), StartAt::Offset(Offset::ZERO)),
        (partition(1), StartAt::Latest),
    ]);
    for _ in 0..3 {
        let _ = consumer.poll(Duration::from_millis(20)).await;
    }
    let _ = client.offset(&partition(0), At::Earliest).await;
    let _ = client.coordinator("g").await;
    let _ = Admin::new(client).delete_topic("t").await;
}

/// Counts the panics outside of tests, which tasks would swallow.
fn count_panics() -> &'static AtomicUsize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let of_a_test = |place: &Location<'_>| place.file().contains("tests/");
        if !panic.location().is_some_and(of_a_test) {
            PANICS.fetch_add(1, Ordering::Relaxed);
        }
        before(panic);
    }));
    &PANICS
}

#[tokio::test]
async fn garbled_answers_neither_panic_nor_hang() {
    let panics = count_panics();
    for seed in 1..=SEEDS {
        let fake = Fake::start(&[("t", 2)]).await;
        fill(&fake, 0, &["a", "b"], 1);
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let state = fake.state.clone();
        fake.hook(move |header, request| {
            // Some come through whole, or nothing but the first answer would be tested.
            if matches!(request, Request::DeleteTopics(_)) {
                return Act::Close;
            }
            match state.answer(request) {
                Some(answer) if random.below(3) == 0 => {
                    Act::Raw(garbled(header, &answer, &mut random))
                }
                Some(answer) => Act::Answer(Box::new(answer)),
                None => Act::Ignore,
            }
        });
        let done = tokio::time::timeout(Duration::from_secs(20), do_everything(&fake)).await;
        assert!(done.is_ok(), "seed {seed} hangs");
        assert_eq!(panics.load(Ordering::Relaxed), 0, "seed {seed} panics");
    }
}
