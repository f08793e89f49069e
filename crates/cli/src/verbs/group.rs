//! `plimsoll group …`

use std::fmt::Write as _;

use plimsoll_client::admin::GroupMember;
use plimsoll_client::{Admin, At};
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::offsets;
use crate::output::{Columns, Output, note, print, table};
use crate::reach::admin;
use crate::verb::{GroupDescribe, GroupList};
use crate::verbs::for_each;

#[derive(Serialize)]
struct Listed {
    name: String,
    state: Option<String>,
    protocol_type: String,
    kind: Option<String>,
}

pub(super) async fn list(args: GroupList) -> Result<(), Failure> {
    let admin = admin(&args.ask.connect).await?;
    let mut groups: Vec<Listed> = admin
        .groups()
        .await?
        .into_iter()
        .map(|group| Listed {
            name: group.group,
            state: group.state,
            protocol_type: group.protocol_type,
            kind: group.kind,
        })
        .collect();
    groups.sort_by(|a, b| a.name.cmp(&b.name));
    if groups.is_empty() {
        note("There are no groups yet. Join one: plimsoll consume TOPIC -g GROUP");
    }
    let columns = Columns {
        headings: &["GROUP", "STATE"],
        more: &["PROTOCOL", "KIND"],
        cells: |group: &Listed| {
            let word = |word: &Option<String>| word.clone().unwrap_or_default();
            vec![
                group.name.clone(),
                word(&group.state),
                group.protocol_type.clone(),
                word(&group.kind),
            ]
        },
    };
    args.ask.output.list("groups", &groups, &columns)
}

#[derive(Serialize)]
struct Described {
    name: String,
    state: String,
    assignor: String,
    members: Vec<Member>,
    partitions: Vec<Position>,
}

#[derive(Serialize)]
struct Member {
    id: String,
    instance_id: Option<String>,
    client_id: String,
    host: String,
    partitions: Vec<String>,
}

#[derive(Serialize)]
struct Position {
    topic: String,
    partition: u32,
    committed_offset: u64,
    high_watermark: Option<u64>,
    behind: Option<u64>,
}

pub(super) async fn describe(args: GroupDescribe) -> Result<(), Failure> {
    let admin = admin(&args.ask.connect).await?;
    let mut described = Vec::new();
    let done = for_each(&args.names, async |name: &String| {
        described.push(described_group(&admin, name).await?);
        Ok(())
    })
    .await;
    match args.ask.output {
        Output::Table | Output::Wide => {
            let texts: Vec<_> = described.iter().map(description).collect();
            print(&texts.join("\n"))?;
        }
        output => {
            let columns = Columns {
                headings: &["GROUP"],
                more: &[],
                cells: |group: &Described| vec![group.name.clone()],
            };
            output.list("groups", &described, &columns)?;
        }
    }
    done
}

async fn described_group(admin: &Admin, name: &str) -> Result<Described, Failure> {
    let group = admin.describe_group(name).await?;
    let partitions = positions(admin, name).await?;
    if group.state == "Dead" && partitions.is_empty() {
        let what = format!("there is no group {name:?}. See plimsoll group list");
        return Err(Failure::new(Code::GroupNotFound, what));
    }
    Ok(Described {
        name: name.to_owned(),
        state: group.state,
        assignor: group.protocol,
        members: group.members.into_iter().map(member).collect(),
        partitions,
    })
}

fn member(member: GroupMember) -> Member {
    Member {
        id: member.member_id,
        instance_id: member.instance_id,
        client_id: member.client_id,
        host: member.client_host,
        partitions: member.assignment.iter().map(ToString::to_string).collect(),
    }
}

/// How far the group has read, and how far that is from the end.
async fn positions(admin: &Admin, name: &str) -> Result<Vec<Position>, Failure> {
    let committed = admin.committed(name, None).await?;
    // The ends of topics that are gone are not found, and not shown.
    let ends = offsets::found(admin.client(), committed.keys().cloned(), At::Latest).await?;
    let position = |(partition, committed): (&_, &plimsoll_client::admin::CommittedOffset)| {
        let end = ends.get(partition).copied();
        Position {
            topic: partition.topic.to_string(),
            partition: partition.partition,
            committed_offset: committed.offset.get(),
            high_watermark: end.map(plimsoll_types::Offset::get),
            behind: end.map(|end| end.since(committed.offset)),
        }
    };
    Ok(committed.iter().map(position).collect())
}

fn description(group: &Described) -> String {
    let mut text = String::new();
    let assignor = if group.assignor.is_empty() {
        "-"
    } else {
        &group.assignor
    };
    let members = group.members.len();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "{}  state {}  members {members}  assignor {assignor}",
        group.name, group.state
    );
    if !group.members.is_empty() {
        let heading = ["MEMBER", "CLIENT", "HOST", "PARTITIONS"]
            .map(str::to_owned)
            .to_vec();
        let rows = group.members.iter().map(|member| {
            let partitions = member.partitions.join(" ");
            vec![
                member.id.clone(),
                member.client_id.clone(),
                member.host.clone(),
                partitions,
            ]
        });
        text += &table(std::iter::once(heading).chain(rows));
    }
    if group.partitions.is_empty() {
        text += "no offsets committed\n";
        return text;
    }
    let number = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    let heading = ["PARTITION", "COMMITTED", "HIGH WATERMARK", "BEHIND"];
    let rows = group.partitions.iter().map(|position| {
        vec![
            format!("{}/{}", position.topic, position.partition),
            position.committed_offset.to_string(),
            number(position.high_watermark),
            number(position.behind),
        ]
    });
    text + &table(std::iter::once(heading.map(str::to_owned).to_vec()).chain(rows))
}
