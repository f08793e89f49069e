//! The clocks of a cluster: those of signs of life, of the metadata quorum and of replication.

use plimsoll_broker::ClusterConfig;
use plimsoll_cli::{Code, Failure};
use plimsoll_quorum::raft;

use super::Read;

impl Read<'_> {
    /// The clocks of a cluster, those of replication among them.
    pub(super) fn timing(&self) -> Result<ClusterConfig, Failure> {
        let mut replication = ClusterConfig::agreed().replication;
        replication.timing.max_lag = self.millis("replica.lag.time.max.ms")?;
        replication.timing.commit_stall = self.millis("replica.commit.stall.ms")?;
        replication.timing.stall = self.millis("replica.stream.stall.ms")?;
        replication.catch_up_bytes_per_second =
            self.number("replica.catch.up.max.bytes.per.second")?;
        Ok(ClusterConfig {
            heartbeat: self.millis("broker.heartbeat.interval.ms")?,
            session: self.millis("broker.session.timeout.ms")?,
            replication,
        })
    }

    /// The clocks of the metadata quorum.
    pub(super) fn quorum(&self) -> Result<raft::Timing, Failure> {
        let (heartbeat, election) = (
            "controller.quorum.heartbeat.interval.ms",
            "controller.quorum.election.timeout.ms",
        );
        let timing = raft::Timing {
            heartbeat: self.millis(heartbeat)?,
            election_min: self.millis(election)?,
            election_max: self.millis(election)? * 3 / 2,
            ..raft::Timing::default()
        };
        if timing.election_min < timing.heartbeat * 3 {
            let what = format!(
                "{election} is {}, less than three times {heartbeat} ({}): a leader would be taken \
                 for gone though it is not. Raise the first or lower the second",
                timing.election_min.as_millis(),
                timing.heartbeat.as_millis()
            );
            return Err(Failure::new(Code::BadValue, what));
        }
        Ok(timing)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, Layers, Origin};

    fn config(set: &[(&str, &str)]) -> Result<Config, Failure> {
        let mut layers = Layers::default();
        for (name, value) in set {
            let flag = "--set".to_owned();
            layers.set(name, value, Origin::Flag { flag })?;
        }
        Config::new(&layers)
    }

    #[test]
    fn the_defaults_of_clocks_are_what_is_agreed_for_a_cluster() {
        let config = config(&[]).expect("legal");
        assert_eq!(config.broker.cluster, ClusterConfig::agreed());
        assert_eq!(config.quorum, raft::Timing::default());
    }

    #[test]
    fn clocks_are_set_and_bounded_and_go_together() {
        let set = config(&[
            ("replica.commit.stall.ms", "250"),
            ("broker.session.timeout.ms", "9000"),
            ("controller.quorum.election.timeout.ms", "2_000"),
        ]);
        let set = set.expect("legal");
        let second = Duration::from_secs(1);
        assert_eq!(
            set.broker.cluster.replication.timing.commit_stall,
            second / 4
        );
        assert_eq!(set.broker.cluster.session, second * 9);
        assert_eq!(set.quorum.election_max, second * 3);
        for (key, value, fault) in [
            ("broker.session.timeout.ms", "2999", "is below 3000"),
            ("broker.heartbeat.interval.ms", "1001", "is above 1000"),
            ("replica.lag.time.max.ms", "10s", "is not a whole number"),
            (
                "controller.quorum.heartbeat.interval.ms",
                "400",
                "less than three times",
            ),
        ] {
            let failure = config(&[(key, value)]).expect_err(key);
            assert_eq!(failure.code, Code::BadValue, "{key}");
            assert!(
                failure.message.contains(fault),
                "{key}: {}",
                failure.message
            );
        }
    }
}
