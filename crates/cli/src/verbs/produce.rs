//! `plimsoll produce`

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::time::Duration;

use bytes::Bytes;
use plimsoll_client::{Client, Delivery, Producer, ProducerConfig, ProducerRecord};
use plimsoll_record_batch::Compression;

use crate::failure::Failure;
use crate::input::{Source, split_key};
use crate::output::note;
use crate::reach::{config, topic_name};
use crate::verb::{Acks, Codec, Produce};

/// Deliveries not looked at yet, at most.
const MAX_PENDING: usize = 10_000;
/// The greatest record; whether a topic takes it, the cluster says.
const MAX_RECORD_BYTES: usize = 100 << 20;

pub(super) async fn produce(args: Produce) -> Result<(), Failure> {
    let topic = topic_name(&args.topic)?;
    let mut client = config(&args.connect);
    // As Kafka's own tools do: writing to a topic may make it, if the cluster lets it.
    client.auto_create_topics = true;
    let client = Client::connect(client).await?;
    // Asked before anything is read, so that a wrong name is told at once.
    client.topic(&topic).await?;
    let producer = Producer::new(client, producer_config(&args));
    let header = |(key, value): &(String, String)| {
        (Bytes::from(key.clone()), Some(Bytes::from(value.clone())))
    };
    let headers: Vec<_> = args.header.iter().map(header).collect();
    let key_delimiter = args.key_delimiter.map(|delimiter| delimiter.0);
    if args.file.is_none() && std::io::stdin().is_terminal() {
        note("One record a line; Ctrl-D ends.");
    }
    let mut records = Source {
        file: args.file,
        delimiter: (!args.whole).then_some(args.delimiter.0),
    }
    .records();

    let mut written = Written::default();
    while let Some(record) = records.recv().await {
        let (key, value) = split_key(record?, key_delimiter.as_deref());
        let value = if args.null && value.is_empty() {
            None
        } else {
            Some(Bytes::from(value))
        };
        let record = ProducerRecord {
            topic: topic.clone(),
            partition: args.partition,
            timestamp: None,
            key: key.map(Bytes::from),
            value,
            headers: headers.clone(),
        };
        written.add(producer.send(record).await?).await?;
    }
    producer.flush().await;
    written.all().await?;
    note(&written.summary(topic.as_str()));
    Ok(())
}

fn producer_config(args: &Produce) -> ProducerConfig {
    ProducerConfig {
        acks: match args.acks {
            Acks::All => plimsoll_client::Acks::All,
            Acks::Leader => plimsoll_client::Acks::Leader,
            Acks::None => plimsoll_client::Acks::None,
        },
        compression: match args.compression {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Snappy => Compression::Snappy,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        },
        max_record_bytes: MAX_RECORD_BYTES,
        buffer_bytes: MAX_RECORD_BYTES,
        delivery_timeout: args.connect.timeout.max(Duration::from_secs(1)),
        ..ProducerConfig::new()
    }
}

/// What became of the records so far.
#[derive(Default)]
struct Written {
    pending: VecDeque<Delivery>,
    records: u64,
}

impl Written {
    async fn add(&mut self, delivery: Delivery) -> Result<(), Failure> {
        self.pending.push_back(delivery);
        while self.pending.len() > MAX_PENDING {
            self.oldest().await?;
        }
        Ok(())
    }

    async fn all(&mut self) -> Result<(), Failure> {
        while !self.pending.is_empty() {
            self.oldest().await?;
        }
        Ok(())
    }

    /// Fails with the first record that was not written; those before it were.
    async fn oldest(&mut self) -> Result<(), Failure> {
        if let Some(delivery) = self.pending.pop_front() {
            delivery.wait().await.map_err(|error| {
                let Failure { code, message } = Failure::from(error);
                let records = self.records;
                Failure::new(
                    code,
                    format!("{message} (after {records} records were written)"),
                )
            })?;
            self.records += 1;
        }
        Ok(())
    }

    fn summary(&self, topic: &str) -> String {
        match self.records {
            0 => "Nothing to write.".to_owned(),
            1 => format!("1 record written to {topic}."),
            records => format!("{records} records written to {topic}."),
        }
    }
}
