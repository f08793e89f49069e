//! Reaching the cluster, and telling its refusals in this program's words and exit codes.

use std::time::Duration;

use plimsoll_client::{Admin, Client, ClientConfig, ClientError};
use plimsoll_types::TopicName;
use plimsoll_wire::ErrorCode;

use crate::failure::{Code, Failure};
use crate::verb::Connect;

/// How long one node may take to say that it is there.
const LEAST: Duration = Duration::from_millis(250);
const MOST: Duration = Duration::from_secs(2);

/// The client's configuration for a command.
pub(crate) fn config(connect: &Connect) -> ClientConfig {
    let addresses = connect.at.bootstrap_server.split(',').map(str::trim);
    let mut config = ClientConfig::new(addresses.filter(|address| !address.is_empty()));
    config.client_id = "plimsoll-cli".to_owned();
    // A node that accepts and says nothing must leave time to ask another.
    config.connect_timeout = (connect.timeout / 4).clamp(LEAST, MOST);
    config.request_timeout = connect.timeout;
    config.retry_timeout = connect.timeout;
    config
}

/// Connects to the cluster.
pub(crate) async fn client(connect: &Connect) -> Result<Client, Failure> {
    Ok(Client::connect(config(connect)).await?)
}

/// Connects to the cluster, to describe or change it.
pub(crate) async fn admin(connect: &Connect) -> Result<Admin, Failure> {
    Ok(Admin::new(client(connect).await?))
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        failure(&error)
    }
}

/// A topic's name, checked before it is sent anywhere.
pub(crate) fn topic_name(name: &str) -> Result<TopicName, Failure> {
    TopicName::new(name).map_err(|fault| Failure::usage(format!("{name:?}: {fault}")))
}

/// What the client could not do.
pub(crate) fn failure(error: &ClientError) -> Failure {
    // What nobody has is not just absent from the node that was asked.
    if let ClientError::Broker {
        subject,
        code: code @ (ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId),
        ..
    } = error
    {
        return Failure::new(
            kind(*code),
            format!("there is no {subject}{}", advice(*code)),
        );
    }
    if let Some(code) = error.code() {
        return Failure::new(kind(code), format!("{error}{}", advice(code)));
    }
    if let ClientError::NoBroker { attempts } = error
        && let Some(first @ ClientError::Address { .. }) = attempts.first()
    {
        return failure(first);
    }
    let (code, todo) = match error {
        ClientError::NoAddress | ClientError::Address { .. } => (Code::Usage, ""),
        ClientError::Unreachable { .. } | ClientError::NoBroker { .. } => (
            Code::Unreachable,
            ". Is a node running (plimsoll dev, plimsoll serve), and is -b right?",
        ),
        ClientError::Disconnected { .. } => (Code::Unreachable, ""),
        ClientError::TimedOut { .. } | ClientError::GaveUp { .. } => {
            (Code::TimedOut, ". --timeout gives it longer")
        }
        ClientError::NoPartition { .. } => (Code::TopicNotFound, ""),
        ClientError::OutOfRange { .. } => (Code::OffsetNotFound, ""),
        ClientError::RecordTooLarge { .. } => (Code::Refused, ""),
        _ => (Code::Protocol, ""),
    };
    Failure::new(code, format!("{error}{todo}"))
}

fn kind(code: ErrorCode) -> Code {
    match code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => Code::TopicNotFound,
        ErrorCode::GroupIdNotFound => Code::GroupNotFound,
        ErrorCode::OffsetOutOfRange => Code::OffsetNotFound,
        ErrorCode::TopicAlreadyExists => Code::TopicExists,
        ErrorCode::NonEmptyGroup => Code::GroupInUse,
        ErrorCode::InvalidReplicationFactor => Code::TooFewNodes,
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed => Code::Denied,
        ErrorCode::RequestTimedOut => Code::TimedOut,
        _ => Code::Refused,
    }
}

fn advice(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::UnknownTopicOrPartition => ". See plimsoll topic list",
        ErrorCode::GroupIdNotFound => ". See plimsoll group list",
        ErrorCode::TopicAlreadyExists => ". --if-not-exists lets it be",
        ErrorCode::InvalidReplicationFactor => ". Ask for fewer replicas (-r), or add nodes",
        ErrorCode::InvalidConfig => ". See plimsoll topic describe -o wide for what there is",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Exit;

    fn refused(code: ErrorCode) -> Failure {
        let subject = "topic a".to_owned();
        let message = Some("Topic 'a' is odd.".into());
        let api = plimsoll_wire::ApiKey::CreateTopics;
        failure(&ClientError::Broker {
            api,
            subject,
            code,
            message,
        })
    }

    #[test]
    fn refusals_have_the_exit_code_that_scripts_expect() {
        for (code, exit) in [
            (ErrorCode::UnknownTopicOrPartition, Exit::NotFound),
            (ErrorCode::TopicAlreadyExists, Exit::Conflict),
            (ErrorCode::TopicAuthorizationFailed, Exit::Denied),
            (ErrorCode::RequestTimedOut, Exit::Unreachable),
            (ErrorCode::InvalidConfig, Exit::Failed),
        ] {
            assert_eq!(refused(code).code.exit(), exit, "{code:?}");
        }
    }

    #[test]
    fn the_clusters_own_words_are_told_and_what_to_do() {
        let message = refused(ErrorCode::TopicAlreadyExists).message;
        assert!(
            message.starts_with("topic a: Topic 'a' is odd."),
            "{message}"
        );
        assert!(
            message.ends_with(". --if-not-exists lets it be"),
            "{message}"
        );
    }

    #[test]
    fn whoever_reaches_nobody_is_asked_whether_a_node_runs() {
        let failure = failure(&ClientError::NoBroker {
            attempts: Vec::new(),
        });
        assert_eq!(failure.code.exit(), Exit::Unreachable);
        assert!(failure.message.contains("plimsoll dev"), "{failure}");
    }
}
