//! What a scenario plays on: a cluster, two producers and a consumer at work on it, and the
//! questions that are asked after every fault.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::bytes;
use super::doctor::{self, Watch};
use super::figures::Report;
use super::nodes::{Cluster, Form, wait};
use crate::node::{Place, http_get, rss_bytes};
use crate::random::Random;
use crate::suites::follow::Follow;
use crate::suites::load::{self, Load, Semantics, Topic};
use crate::suites::probe::Probe;

/// Records that must get through between two faults, at least.
const PROGRESS_RECORDS: u64 = 200;
/// The longest a cluster may take to be whole again after a fault has ended: what holds back a
/// replica that came and went is doubled each time, and so some have to wait longer than others.
pub(super) const HEAL: Duration = Duration::from_secs(30);
/// How long doctor may go on talking once all replicas are in sync.
const SILENCE: Duration = Duration::from_secs(10);
/// Records a partition at a time, a hundred times a second: the faults are what is tested.
const BURST: u32 = 4;
/// A publisher that the machine stops between its two steps is counted as a missed wake-up.
const PREEMPTED: u64 = 3;
/// The partitions of every topic of the stage.
pub(super) const PARTITIONS: [u32; 3] = [0, 1, 2];
/// Two of three must have what is acknowledged.
pub(super) const MIN_ISR: &str = "min.insync.replicas=2";

/// A cluster with clients at work.
pub(super) struct Stage<'a> {
    pub(super) cluster: Cluster,
    pub(super) random: Random,
    pub(super) report: &'a mut Report,
    /// How often nodes are killed where that is asked for.
    pub(super) kills: u32,
    dir: PathBuf,
    topics: Vec<Topic>,
    loads: Vec<Load>,
    follow: Option<Follow>,
}

/// What scenarios need that does not change between them.
pub(super) struct Setting<'a> {
    pub(super) binary: &'a Path,
    pub(super) dir: &'a Path,
    pub(super) kills: u32,
}

impl<'a> Stage<'a> {
    /// A cluster of three with load on it.
    pub(super) fn set(
        setting: &Setting<'_>,
        form: &Form,
        report: &'a mut Report,
        prepare: impl Fn(&Place) -> Result<()>,
    ) -> Result<Self> {
        let mut stage = Self::bare(setting, form, report, prepare)?;
        stage.play()?;
        Ok(stage)
    }

    /// A cluster of three that nobody uses.
    pub(super) fn bare(
        setting: &Setting<'_>,
        form: &Form,
        report: &'a mut Report,
        prepare: impl Fn(&Place) -> Result<()>,
    ) -> Result<Self> {
        if setting.dir.exists() {
            std::fs::remove_dir_all(setting.dir)?;
        }
        std::fs::create_dir_all(setting.dir)?;
        Ok(Self {
            cluster: Cluster::form(setting.binary, setting.dir, 3, form, prepare)?,
            random: Random::new(0),
            report,
            kills: setting.kills,
            dir: setting.dir.to_owned(),
            topics: Vec::new(),
            loads: Vec::new(),
            follow: None,
        })
    }

    fn play(&mut self) -> Result<()> {
        let bootstrap = self.cluster.bootstrap();
        for (name, semantics) in [
            ("once", Semantics::Once),
            ("at-least-once", Semantics::AtLeastOnce),
        ] {
            load::create(&bootstrap, name, 3, 3, &[MIN_ISR])?;
            let topic = Topic::existing(name, &bootstrap, &self.dir, semantics);
            self.loads.push(topic.load_of(BURST)?);
            self.topics.push(topic);
        }
        self.follow = Some(Follow::start(&bootstrap, "once")?);
        load::create(&bootstrap, "probe", 3, 3, &[MIN_ISR])?;
        self.progress()?;
        self.cluster.in_sync(HEAL)?;
        Ok(())
    }

    /// A new topic with three replicas of each partition.
    pub(super) fn topic(&self, name: &str, partitions: u32, configs: &[&str]) -> Result<()> {
        load::create(&self.cluster.bootstrap(), name, partitions, 3, configs)
    }

    /// The topic that an idempotent producer writes and a consumer follows.
    pub(super) fn once(&self) -> &Topic {
        &self.topics[0]
    }

    /// Waits until producers and consumer have got on.
    pub(super) fn progress(&mut self) -> Result<()> {
        for load in &mut self.loads {
            load.progress(PROGRESS_RECORDS)?;
        }
        match &mut self.follow {
            Some(follow) => follow.progress(PROGRESS_RECORDS),
            None => Ok(()),
        }
    }

    /// A prober of all partitions of its topic, each led by another node.
    pub(super) fn probe(&self) -> Result<Probe> {
        let bootstrap = self.cluster.bootstrap();
        wait("led by all nodes", HEAL, || {
            load::elect(&bootstrap, "probe")?;
            for id in 1..=3 {
                ensure!(self.led_by(id)?.is_some(), "node {id} leads none");
            }
            Ok(())
        })?;
        Probe::start(&bootstrap, "probe", &PARTITIONS)
    }

    /// The partition of the prober that a node leads, if there is one.
    pub(super) fn led_by(&self, node: u32) -> Result<Option<u32>> {
        let replicas = self.cluster.replicas()?;
        let led = replicas.iter().find(|replica| {
            replica.topic == "probe" && replica.state == "leader" && replica.node == node
        });
        Ok(led.map(|replica| replica.partition))
    }

    /// Doctor, asked of a node other than the one that is to be hurt.
    pub(super) fn watch(&mut self, victim: u32) -> Watch {
        let other = 1 + victim % 3;
        self.cluster.ask(Some(other));
        Watch::of(&self.cluster, other)
    }

    /// Claims that doctor names a cause of a node, while the fault lasts.
    pub(super) fn names(&mut self, watch: &Watch, node: u32, codes: &[&str], exits: &[i32]) {
        let named = watch.names(node, codes, exits, SILENCE);
        self.report.claim("doctor names the cause", named);
    }

    /// Ends a watch: what it heard holds together.
    pub(super) fn heard(&mut self, watch: Watch) {
        self.report
            .claim("doctor's words and exit codes agree", watch.finish());
    }

    /// After a fault: all replicas in sync again and doctor silent, then, with the producers at
    /// rest, every log end at the high watermark and the logs equal byte for byte.
    pub(super) fn whole_again(&mut self, bound: Duration) -> Result<()> {
        self.cluster.ask(None);
        let left = bound.saturating_sub(self.cluster.since_mended());
        let healed = self.cluster.in_sync(left);
        let took = self.cluster.since_mended();
        let stuck = healed.is_err();
        let text = healed.map(|_| format!("in sync {took:.1?} after the fault was over, at most"));
        self.report.claim("heals by itself", text);
        if stuck {
            anyhow::bail!("the cluster did not heal within {bound:?}");
        }
        let silent = doctor::silent(&self.cluster, SILENCE);
        let silent = silent.map(|took| format!("exit code 0, nothing to say after {took:.1?}"));
        self.report.claim("doctor falls silent", silent);
        let equal = self.at_rest(|stage| {
            let rest = stage.cluster.healed(SILENCE);
            let rest = rest.map(|_| "log end = high watermark on every replica".to_owned());
            stage.report.claim("nobody is behind", rest);
            let bytes = stage.bytes();
            stage.report.claim("logs are equal byte for byte", bytes);
            Ok(())
        });
        equal.context("after the fault")?;
        self.progress().context("after the fault")
    }

    /// Does something while the producers wait, with everything they sent delivered.
    pub(super) fn at_rest<T>(&mut self, act: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        for load in &mut self.loads {
            load.pause()?;
        }
        let done = act(self);
        for load in &mut self.loads {
            load.resume()?;
        }
        done
    }

    /// Every replica's log, compared byte for byte.
    pub(super) fn bytes(&self) -> Result<String> {
        let places = self.cluster.ids().filter(|id| self.cluster.runs(*id));
        let places = places.map(|id| (id, self.cluster.place(id).data.as_path()));
        bytes::compare(&places.collect::<Vec<_>>())
    }

    /// The last scenario is over: everything is delivered, read, and compared.
    pub(super) fn close(mut self) -> Result<()> {
        self.report.scenario("at the end");
        let loads = std::mem::take(&mut self.loads);
        for (topic, load) in self.topics.iter().zip(loads) {
            let name = format!("every record of {} is delivered", topic.name);
            self.report.claim(&name, load.finish());
        }
        if let Some(follow) = self.follow.take() {
            self.report
                .claim("the consumer saw every offset once", follow.finish());
        }
        if self.topics.is_empty() {
            return Ok(());
        }
        let healed = self.cluster.healed(HEAL);
        let healed = healed.map(|_| "log end = high watermark on every replica".to_owned());
        self.report.claim("nobody is behind", healed);
        let bytes = self.bytes();
        self.report.claim("logs are equal byte for byte", bytes);
        let sound = self.sound();
        self.report.claim("no panic, no wake-up missed", sound);
        for topic in &self.topics {
            let name = format!("{} holds what was acknowledged", topic.name);
            self.report.claim(&name, topic.verify());
        }
        Ok(())
    }

    /// What no node may ever do, since its last start.
    fn sound(&self) -> Result<String> {
        let mut told = Vec::new();
        for id in self.cluster.ids().filter(|id| self.cluster.runs(*id)) {
            let place = self.cluster.place(id);
            let log = std::fs::read_to_string(&place.log)?;
            ensure!(!log.contains("panicked"), "node {id} panicked");
            let (_, metrics) = http_get(place.http, "/metrics").context("no metrics")?;
            let missed = metrics
                .lines()
                .find_map(|line| line.strip_prefix("plimsoll_hw_missed_wakeup_total "));
            let missed = missed.context("missed wake-ups are not counted")?;
            let missed: u64 = missed.trim().parse()?;
            ensure!(missed <= PREEMPTED, "node {id} missed {missed} wake-ups");
            let rss = rss_bytes(self.cluster.pid(id)?).context("the node runs")?;
            told.push(format!("node {id} has {} MB", rss >> 20));
        }
        Ok(told.join(", "))
    }
}
