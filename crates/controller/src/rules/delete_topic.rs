//! Deleting a topic.

use super::is_internal;
use crate::image::Image;
use crate::record::Record;
use crate::refusal::Refusal;
use plimsoll_types::TopicId;

/// A topic as a client refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// By name.
    Name(&'a str),
    /// By identity.
    Id(TopicId),
}

/// The record that deletes the topic.
///
/// # Errors
/// Why it stays.
pub fn delete_topic(image: &Image, topic: TopicRef<'_>) -> Result<Vec<Record>, Refusal> {
    let found = match topic {
        TopicRef::Name(name) => image.topic(name).ok_or_else(|| Refusal::UnknownTopic {
            name: name.to_owned(),
        }),
        TopicRef::Id(id) => image.topic_by_id(id).ok_or(Refusal::UnknownTopicId { id }),
    }?;
    if is_internal(found.name.as_str()) {
        let name = found.name.clone();
        return Err(Refusal::InternalTopic { name });
    }
    Ok(vec![Record::TopicDeleted { id: found.id }])
}
