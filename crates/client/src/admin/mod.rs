//! What an operator asks for: topics, configurations, groups, nodes.
//!
//! Each method asks the node that can answer, and asks again while that node says that it cannot
//! yet or no more. Not here: what the answers are good for, and producing and consuming.

mod cluster;
mod configs;
mod groups;
mod partitions;
mod topics;

use std::time::Duration;

pub use cluster::{ClusterDescription, ClusterNode, LogDir, LogDirPartition};
pub use configs::{ConfigChange, ConfigEntry, ConfigSource, Resource};
pub use groups::{CommittedOffset, GroupDescription, GroupListing, GroupMember};
pub use topics::{CreatedTopic, NewTopic};

use plimsoll_wire::{ApiKey, ErrorCode};

use crate::retry::Retry;
use crate::{Ask, Client, ClientError, Lane};

/// The operator's face of a [`Client`].
#[derive(Clone)]
pub struct Admin {
    client: Client,
    timeout: Duration,
}

/// What became of each thing asked about, by its name, in the order asked.
pub type Outcomes<T> = Vec<(String, Result<T, ClientError>)>;

impl Admin {
    /// Asks through `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        let timeout = client.config().request_timeout;
        Self { client, timeout }
    }

    /// The client it asks through.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Asks the controller, the next one if it has moved. `refused` looks into the answer.
    async fn ask_controller<A: Ask + Clone>(
        &self,
        request: A,
        refused: impl Fn(&A::Answer) -> Option<ClientError>,
    ) -> Result<A::Answer, ClientError> {
        let mut retry = Retry::new(self.client.config());
        loop {
            let asked = self
                .client
                .ask_controller(request.clone(), self.timeout)
                .await;
            let error = match asked {
                Ok(answer) => match refused(&answer).filter(is_not_controller) {
                    None => return Ok(answer),
                    Some(error) => error,
                },
                // Unanswered, it may have been done: doing it again could be wrong.
                Err(error @ ClientError::TimedOut { .. }) => return Err(error),
                Err(error @ ClientError::Disconnected { .. }) => return Err(error),
                Err(error) if error.is_transport() => error,
                Err(error) => return Err(error),
            };
            retry.pause("an answer from the controller", error).await?;
            self.client.refresh(Some(&[])).await?;
        }
    }

    /// Asks the group's coordinator, the next one if it has moved.
    async fn ask_coordinator<A: Ask + Clone>(
        &self,
        group: &str,
        request: A,
        refused: impl Fn(&A::Answer) -> Option<ClientError>,
    ) -> Result<A::Answer, ClientError> {
        let mut retry = Retry::new(self.client.config());
        loop {
            let address = self.client.coordinator(group).await?;
            let asked = self
                .client
                .ask_at(&address, Lane::Requests, request.clone(), self.timeout);
            let error = match asked.await {
                Ok(answer) => match refused(&answer).filter(ClientError::is_retriable) {
                    None => return Ok(answer),
                    Some(error) => error,
                },
                Err(error) if error.is_transport() => error,
                Err(error) => return Err(error),
            };
            retry
                .pause("an answer from the group's coordinator", error)
                .await?;
        }
    }
}

fn is_not_controller(error: &ClientError) -> bool {
    error.code() == Some(ErrorCode::NotController)
}

/// The outcome of the one thing asked about.
fn only<T>(outcomes: Outcomes<T>, api: ApiKey) -> Result<T, ClientError> {
    let what = "what was asked for is not in it";
    let only = outcomes.into_iter().next();
    only.map_or(Err(ClientError::Nonsense { api, what }), |(_, outcome)| {
        outcome
    })
}
