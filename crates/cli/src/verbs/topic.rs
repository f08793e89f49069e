//! `plimsoll topic …`

use std::collections::BTreeMap;
use std::fmt::Write as _;

use plimsoll_client::admin::{ConfigChange, ConfigSource, NewTopic, Resource};
use plimsoll_client::{Admin, At, Partition, Topic};
use plimsoll_types::{NodeId, Offset, TopicName, TopicPartition};
use serde::Serialize;

use crate::confirm::confirmed;
use crate::failure::{Code, Failure};
use crate::offsets;
use crate::output::{Columns, Output, note, print, table};
use crate::reach::{admin, client, topic_name};
use crate::repeat::until;
use crate::verb::{TopicCreate, TopicDelete, TopicDescribe, TopicList, TopicSet};
use crate::verbs::for_each;

#[derive(Serialize)]
struct Created {
    name: String,
    id: String,
    partitions: usize,
    replicas: usize,
}

pub(super) async fn create(args: TopicCreate) -> Result<(), Failure> {
    let name = topic_name(&args.name)?;
    let admin = admin(&args.ask.connect).await?;
    let topic = NewTopic {
        name: name.to_string(),
        partitions: args.partitions,
        replication_factor: args.replicas,
        configs: args.config,
    };
    match admin
        .create_topic(&topic, args.dry_run)
        .await
        .map_err(Failure::from)
    {
        Err(failure) if failure.code == Code::TopicExists && args.if_not_exists => {
            note(&format!("Topic {name} exists already; nothing was done."));
            return Ok(());
        }
        created => created?,
    };
    if args.dry_run {
        note(&format!(
            "Topic {name} could be created. Nothing was done (--dry-run)."
        ));
        return Ok(());
    }
    let mut topic = admin.client().topic_anew(&name).await?;
    if let Some(within) = args.waiting.within(args.ask.connect.timeout) {
        topic = until(within, async || {
            let topic = admin.client().topic_anew(&name).await?;
            let whole = |p: &&Partition| p.leader.is_some() && p.isr.len() == p.replicas.len();
            let (all, ready) = (
                topic.partitions.len(),
                topic.partitions.iter().filter(whole).count(),
            );
            Ok(match all == ready {
                true => Ok(topic),
                false => Err(format!(
                    "topic {name} is created, and {ready} of its {all} partitions have all replicas in sync"
                )),
            })
        })
        .await?;
    }
    let created = Created {
        name: name.to_string(),
        id: topic.id.to_string(),
        partitions: topic.partitions.len(),
        replicas: replicas(&topic),
    };
    args.ask.output.one("topic", name.as_str(), &created, || {
        let Created {
            name,
            partitions,
            replicas,
            ..
        } = &created;
        format!("{name} created: partitions {partitions}, replicas {replicas}\n")
    })
}

fn replicas(topic: &Topic) -> usize {
    topic
        .partitions
        .iter()
        .map(|partition| partition.replicas.len())
        .min()
        .unwrap_or(0)
}

#[derive(Serialize)]
struct Listed {
    name: String,
    id: String,
    partitions: usize,
    replicas: usize,
    internal: bool,
    leaderless_partitions: usize,
}

pub(super) async fn list(args: TopicList) -> Result<(), Failure> {
    let client = client(&args.ask.connect).await?;
    let metadata = client.metadata().await?;
    let shown = metadata
        .topics
        .values()
        .filter(|topic| args.internal || !topic.is_internal);
    let topics: Vec<Listed> = shown
        .map(|topic| Listed {
            name: topic.name.to_string(),
            id: topic.id.to_string(),
            partitions: topic.partitions.len(),
            replicas: replicas(topic),
            internal: topic.is_internal,
            leaderless_partitions: topic
                .partitions
                .iter()
                .filter(|p| p.leader.is_none())
                .count(),
        })
        .collect();
    if topics.is_empty() {
        note("There are no topics yet. Make one: plimsoll topic create NAME");
    }
    let columns = Columns {
        headings: &["NAME", "PARTITIONS", "REPLICAS", "STATE"],
        more: &["INTERNAL", "ID"],
        cells: |topic: &Listed| {
            vec![
                topic.name.clone(),
                topic.partitions.to_string(),
                topic.replicas.to_string(),
                state(topic.leaderless_partitions),
                topic.internal.to_string(),
                topic.id.clone(),
            ]
        },
    };
    args.ask.output.list("topics", &topics, &columns)
}

fn state(leaderless: usize) -> String {
    match leaderless {
        0 => "ok".to_owned(),
        some => format!("{some} offline"),
    }
}

#[derive(Serialize)]
struct Described {
    name: String,
    id: String,
    internal: bool,
    partitions: Vec<DescribedPartition>,
    configs: BTreeMap<String, DescribedConfig>,
}

#[derive(Serialize)]
struct DescribedPartition {
    partition: u32,
    leader: Option<u32>,
    replicas: Vec<u32>,
    isr: Vec<u32>,
    log_start: Option<u64>,
    high_watermark: Option<u64>,
}

#[derive(Serialize)]
struct DescribedConfig {
    value: Option<String>,
    source: &'static str,
}

impl Described {
    /// How many offsets lie between the ends of its partitions. Compaction leaves fewer records.
    fn held(&self) -> u64 {
        let held = self.partitions.iter();
        held.filter_map(|p| p.high_watermark?.checked_sub(p.log_start?))
            .sum()
    }
}

pub(super) async fn describe(args: TopicDescribe) -> Result<(), Failure> {
    let admin = admin(&args.ask.connect).await?;
    let mut described = Vec::new();
    let done = for_each(&args.names, async |name: &String| {
        described.push(described_topic(&admin, &topic_name(name)?).await?);
        Ok(())
    })
    .await;
    match args.ask.output {
        Output::Table | Output::Wide => {
            let wide = args.ask.output == Output::Wide;
            let texts: Vec<_> = described
                .iter()
                .map(|topic| description(topic, wide))
                .collect();
            print(&texts.join("\n"))?;
        }
        output => {
            let columns = Columns {
                headings: &["NAME"],
                more: &[],
                cells: |topic: &Described| vec![topic.name.clone()],
            };
            output.list("topics", &described, &columns)?;
        }
    }
    done
}

async fn described_topic(admin: &Admin, name: &TopicName) -> Result<Described, Failure> {
    let client = admin.client();
    let topic = client.topic_anew(name).await?;
    let of = |partition: u32| TopicPartition {
        topic: name.clone(),
        partition,
    };
    // One without a leader is not waited for.
    let led = || {
        let led = topic
            .partitions
            .iter()
            .filter(|partition| partition.leader.is_some());
        led.map(|partition| of(partition.index))
    };
    let starts = offsets::found(client, led(), At::Earliest).await?;
    let ends = offsets::found(client, led(), At::Latest).await?;
    let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.get()).collect();
    let partitions = topic.partitions.iter().map(|partition| DescribedPartition {
        partition: partition.index,
        leader: partition.leader.map(NodeId::get),
        replicas: ids(&partition.replicas),
        isr: ids(&partition.isr),
        log_start: starts.get(&of(partition.index)).copied().map(Offset::get),
        high_watermark: ends.get(&of(partition.index)).copied().map(Offset::get),
    });
    let configs = admin
        .configs(&Resource::Topic(name.to_string()), None)
        .await?;
    let configs = configs.into_iter().map(|config| {
        let described = DescribedConfig {
            value: config.value,
            source: source(config.source),
        };
        (config.name, described)
    });
    Ok(Described {
        name: name.to_string(),
        id: topic.id.to_string(),
        internal: topic.is_internal,
        partitions: partitions.collect(),
        configs: configs.collect(),
    })
}

const ON_TOPIC: &str = "topic";

fn source(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::Topic => ON_TOPIC,
        ConfigSource::DynamicNode => "node",
        ConfigSource::DynamicDefault => "all nodes",
        ConfigSource::StaticNode => "node configuration",
        ConfigSource::Default => "default",
        ConfigSource::Other(_) => "other",
    }
}

fn description(topic: &Described, wide: bool) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{}  id {}  offsets held {}",
        topic.name,
        topic.id,
        topic.held()
    );
    let list = |nodes: &[u32]| {
        nodes
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(",")
    };
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let heading = [
        "PARTITION",
        "LEADER",
        "REPLICAS",
        "ISR",
        "LOG START",
        "HIGH WATERMARK",
    ];
    let rows = topic.partitions.iter().map(|partition| {
        vec![
            partition.partition.to_string(),
            partition
                .leader
                .map_or("none".to_owned(), |leader| leader.to_string()),
            list(&partition.replicas),
            list(&partition.isr),
            number(partition.log_start),
            number(partition.high_watermark),
        ]
    });
    text += &table(std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows));
    let shown = topic
        .configs
        .iter()
        .filter(|(_, config)| wide || config.source == ON_TOPIC);
    let rows: Vec<Vec<String>> = shown
        .map(|(key, config)| {
            vec![
                key.clone(),
                config.value.clone().unwrap_or_default(),
                config.source.to_owned(),
            ]
        })
        .collect();
    if rows.is_empty() {
        text += "no configs of its own (-o wide shows what holds)\n";
    } else {
        let heading = ["CONFIG", "VALUE", "SET ON"].map(str::to_owned).to_vec();
        text += &table(std::iter::once(heading).chain(rows));
    }
    text
}

pub(super) async fn set(args: TopicSet) -> Result<(), Failure> {
    let name = topic_name(&args.name)?;
    let admin = admin(&args.connect).await?;
    let changes: Vec<ConfigChange> = args
        .configs
        .into_iter()
        .map(|(name, value)| match value.is_empty() {
            true => ConfigChange::Unset(name),
            false => ConfigChange::Set(name, value),
        })
        .collect();
    let topic = Resource::Topic(name.to_string());
    admin.alter_configs(&topic, &changes, args.dry_run).await?;
    note(match args.dry_run {
        true => "That could be set. Nothing was done (--dry-run).",
        false => "Set.",
    });
    Ok(())
}

pub(super) async fn delete(args: TopicDelete) -> Result<(), Failure> {
    let admin = admin(&args.connect).await?;
    let mut plan = String::new();
    let mut names = Vec::new();
    // All or nothing: a misspelt name is a reason to look again.
    for_each(&args.names, async |name: &String| {
        let topic = described_topic(&admin, &topic_name(name)?).await?;
        let (partitions, held) = (topic.partitions.len(), topic.held());
        plan += &format!("delete topic {name}: partitions {partitions}, offsets held {held}\n");
        names.push(name.as_str());
        Ok(())
    })
    .await?;
    if !confirmed(&plan, args.confirm)? {
        return Ok(());
    }
    for_each(
        admin.delete_topics(&names).await?,
        async |(name, outcome)| {
            outcome?;
            note(&format!("Topic {name} deleted."));
            Ok(())
        },
    )
    .await
}
