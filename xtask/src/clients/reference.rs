//! The reference: an Apache Kafka broker from its registry, started like a node of ours.
//!
//! What a suite claims of the product must hold of Kafka too; running the suites against it is
//! how the suites are tested.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::programs::{copy_maven_dependencies, fetched, sources};
use crate::node::{Node, free_ports};
use crate::run::run_logged;

/// Any id but the reserved ones.
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qg";

/// Fetches the broker unless it is there.
pub(super) fn fetch() -> Result<()> {
    let dir = fetched().join("apache-kafka");
    if dir.join("fetched").exists() {
        return Ok(());
    }
    fs::create_dir_all(&dir)?;
    copy_maven_dependencies(&sources().join("apache-kafka"), &dir.join("lib"))?;
    fs::write(dir.join("fetched"), "")?;
    Ok(())
}

/// Starts a broker with its data below `dir`; clients are told to come to `advertised`, if given.
pub(super) fn start(dir: &Path, advertised: Option<u16>) -> Result<Node> {
    let [kafka, controller] = free_ports()?;
    let advertised = advertised.unwrap_or(kafka);
    let properties = dir.join("server.properties");
    fs::write(
        &properties,
        format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             controller.listener.names=CONTROLLER\n\
             listeners=PLAINTEXT://127.0.0.1:{kafka},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{advertised}\n\
             log.dirs={}\n\
             offsets.topic.num.partitions=4\n\
             offsets.topic.replication.factor=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n",
            dir.join("data").display()
        ),
    )?;
    let mut format = java("kafka.tools.StorageTool");
    format
        .args(["format", "-t", CLUSTER_ID, "-c"])
        .arg(&properties);
    run_logged(&mut format, &dir.join("format.log"))?;
    let mut command = java("kafka.Kafka");
    command.arg(&properties);
    let mut node = Node::spawn(command, kafka, &dir.join("node.log"))?;
    node.wait_for_port(Duration::from_secs(120))?;
    Ok(node)
}

fn java(class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx768m", "-XX:TieredStopAtLevel=1", "-cp"]);
    command.arg(fetched().join("apache-kafka/lib/*")).arg(class);
    command
}
