//! Where partitions begin and end, as commands show it.

use std::collections::BTreeMap;

use plimsoll_client::{At, Client, ClientError};
use plimsoll_types::{Offset, TopicPartition};

use crate::failure::Failure;

/// The offset of each partition that has one there and can be asked; those that cannot, for want
/// of a leader or because they are gone, are left out.
pub(crate) async fn found(
    client: &Client,
    partitions: impl IntoIterator<Item = TopicPartition>,
    at: At,
) -> Result<BTreeMap<TopicPartition, Offset>, Failure> {
    let wanted = partitions
        .into_iter()
        .map(|partition| (partition, at))
        .collect();
    let found = client.offsets(&wanted).await?;
    Ok(known(found).collect())
}

fn known<T>(
    found: impl IntoIterator<Item = (T, Result<plimsoll_client::FoundOffset, ClientError>)>,
) -> impl Iterator<Item = (T, Offset)> {
    found
        .into_iter()
        .filter_map(|(partition, outcome)| Some((partition, outcome.ok()?.offset?)))
}
