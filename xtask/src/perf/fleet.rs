//! The nodes that are measured: one that is alone, or a cluster.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::node::{Node, Place};

/// Running nodes. Dropping it kills them.
pub(super) struct Fleet(Vec<Node>);

impl Fleet {
    /// Starts so many nodes below `dir` and waits until all are ready.
    pub(super) fn start(binary: &Path, dir: &Path, nodes: u32) -> Result<Self> {
        let mut places = Vec::new();
        for id in 1..=nodes {
            let mut place = Place::new(binary, &dir.join(format!("node-{id}")))?;
            place.id = id;
            places.push(place);
        }
        if nodes > 1 {
            let voters: Vec<_> = places
                .iter()
                .map(|place| format!("{}@127.0.0.1:{}", place.id, place.peer))
                .collect();
            for place in &mut places {
                place.extra = vec!["--voters".to_owned(), voters.join(",")];
            }
        }
        let running: Result<Vec<_>> = places.iter().map(Place::spawn).collect();
        let mut running = running?;
        for (place, node) in places.iter().zip(&mut running) {
            place.wait_until_ready(node)?;
        }
        Ok(Self(running))
    }

    /// `host:port` for clients.
    pub(super) fn bootstrap(&self) -> String {
        let all: Vec<_> = self.0.iter().map(Node::bootstrap).collect();
        all.join(",")
    }

    /// Their process ids.
    pub(super) fn pids(&self) -> Vec<u32> {
        self.0.iter().map(Node::pid).collect()
    }

    /// The same, as arguments have them.
    pub(super) fn joined_pids(&self) -> String {
        let pids = self.pids().into_iter().map(|pid| pid.to_string());
        pids.collect::<Vec<_>>().join(",")
    }

    /// Asks them to end and waits for that.
    pub(super) fn terminate(self) -> Result<()> {
        for node in self.0 {
            let status = node.terminate()?;
            ensure!(status.success(), "a node ended with {status}");
        }
        Ok(())
    }
}
