//! A sick disk and the cluster: what the controller and the replicas are told, and what is done
//! about logs that failed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_controller::{Image, Refusal, rules};
use plimsoll_health::Disk as Health;
use plimsoll_types::PartitionKey;
use plimsoll_wire::peer::Disk;

use super::Member;
use crate::Broker;

/// Between two looks at what is known of the disk.
const LOOK: Duration = Duration::from_millis(250);
/// Between two looks at how much room there is.
const ROOM: Duration = Duration::from_millis(500);
/// Between two rounds over the attempts to bring back what failed.
const HEAL: Duration = Duration::from_millis(250);
/// Between two looks for losses that nobody was told of.
const LOSSES: Duration = Duration::from_millis(100);
/// So many looks for room go by between two rounds of what is rarer: writing down which logs there
/// are, trying again what did not open, retention on a full disk.
const UPKEEP_EVERY: u32 = 4;

impl Broker {
    /// Tells the controller and the replicas how the disk does, and of logs that failed, without
    /// waiting for anything.
    pub(super) async fn run_disk(self: Arc<Self>) {
        let Some(member) = &self.member else { return };
        let mut known = (Disk::Healthy, BTreeSet::new());
        loop {
            self.pause(LOOK).await;
            let health = self.host.device.health();
            let offline: BTreeSet<PartitionKey> = self.offline_partitions().into_iter().collect();
            let told = told(&health);
            (self.host.replicas).set_disk(health.clone(), self.clock.now());
            if kind(told) != kind(known.0) {
                tracing::warn!(event = "disk", state = ?health);
            }
            let news = kind(told) != kind(known.0) || offline != known.1;
            known = (told, offline);
            if news {
                member.beat.notify();
            }
        }
    }

    /// Looks for room, and makes some when there is none.
    pub(super) async fn run_room(self: Arc<Self>) {
        let mut looks: u32 = 0;
        loop {
            self.pause(ROOM).await;
            let broker = Arc::clone(&self);
            let upkeep = looks.is_multiple_of(UPKEEP_EVERY);
            let looked = self.blocking(move || {
                broker.host.look_for_room(broker.data_dir());
                if upkeep {
                    broker.host.note_logs();
                    broker.bring_back();
                    if matches!(broker.host.device.health(), Health::Full { .. }) {
                        broker.maintain();
                    }
                }
            });
            // Whoever is stopping needs no room.
            let _ = looked.await;
            looks = looks.wrapping_add(1);
        }
    }

    /// Brings back what failed.
    pub(super) async fn run_healing(self: Arc<Self>) {
        loop {
            self.pause(HEAL).await;
            if !self.host.failed().is_empty() {
                let broker = Arc::clone(&self);
                // Whoever is stopping heals nothing.
                let _ = self.blocking(move || broker.heal()).await;
            }
        }
    }

    /// Begins another term of what is led by this node and lost what others may have: again and
    /// again, until another term has begun.
    pub(super) async fn run_terms(self: Arc<Self>) {
        let Some(member) = &self.member else { return };
        loop {
            self.pause(HEAL).await;
            let node = self.config.node;
            let image = self.metadata.image();
            let waiting = self.host.shortened.lock().waiting(&image, node);
            let Some(epoch) = member.session.epoch() else {
                continue;
            };
            for key in waiting {
                let rule = move |image: &Image| {
                    Ok::<_, Refusal>((rules::begin_again(image, node, epoch, key)?, ()))
                };
                if let Err(error) = self.commit(rule).await {
                    tracing::warn!(event = "term_not_begun_again", %error);
                }
            }
        }
    }

    /// How the disk does, in a heartbeat's words.
    ///
    /// A tick that hangs waits for a log's writer, and that one for the disk.
    pub(super) fn disk(&self) -> Disk {
        let told = told(&self.host.device.health());
        let rounds = self.member.as_ref().map(|member| &member.rounds);
        let hangs = rounds.and_then(|rounds| rounds.ill_for(self.clock.now()));
        match (told, hangs) {
            (Disk::Healthy, Some(time)) => Disk::Slow {
                ms: u32::try_from(time.as_millis()).unwrap_or(u32::MAX),
            },
            (told, _) => told,
        }
    }

    /// Has this node leave the ISR and ELR of the partitions whose logs were found damaged or gone
    /// when they were opened: the heartbeats say that it is not ready until that is done.
    pub(super) async fn run_losses(self: Arc<Self>) {
        let Some(member) = &self.member else { return };
        loop {
            if self.is_recovered() {
                self.tell_of_losses(member).await;
            }
            self.pause(LOSSES).await;
        }
    }

    async fn tell_of_losses(self: &Arc<Self>, member: &Member) {
        let lost = self.host.lost();
        let (false, Some(epoch)) = (lost.is_empty(), member.session.epoch()) else {
            return;
        };
        let node = self.config.node;
        let keys: Vec<PartitionKey> = lost.iter().map(|(key, _)| *key).collect();
        let told =
            self.change_until_done(move |image| rules::report_corrupt(image, node, epoch, &keys));
        match told.await {
            Ok(()) => {
                self.host.forget_lost(&lost);
                member.beat.notify();
            }
            Err(error) => tracing::warn!(event = "losses_not_told", %error),
        }
    }
}

fn told(health: &Health) -> Disk {
    match health {
        Health::Healthy => Disk::Healthy,
        Health::Slow { sync, .. } => Disk::Slow {
            ms: u32::try_from(sync.as_millis()).unwrap_or(u32::MAX),
        },
        Health::Full { .. } => Disk::Full,
        Health::Failed { .. } => Disk::Failed,
    }
}

fn kind(disk: Disk) -> std::mem::Discriminant<Disk> {
    std::mem::discriminant(&disk)
}
