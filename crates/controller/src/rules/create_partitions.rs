//! Adding partitions to a topic.

use super::{is_internal, placement};
use crate::image::{Image, Topic};
use crate::limits::Limits;
use crate::record::Record;
use crate::refusal::{AssignmentFault, Refusal};

/// The wish for more partitions; as the wire says it, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreatePartitions {
    /// The topic.
    pub name: String,
    /// How many partitions it is to have in all.
    pub total: i32,
    /// Where each new one goes; `None` to leave it to the controller.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// The record that adds the partitions.
///
/// # Errors
/// Why they cannot be added.
pub fn create_partitions(
    image: &Image,
    limits: &Limits,
    wish: &CreatePartitions,
) -> Result<Vec<Record>, Refusal> {
    let topic = image
        .topic(&wish.name)
        .ok_or_else(|| Refusal::UnknownTopic {
            name: wish.name.clone(),
        })?;
    // What is kept in an internal topic is found by its number of partitions.
    if is_internal(topic.name.as_str()) {
        let name = topic.name.clone();
        return Err(Refusal::InternalTopic { name });
    }
    let first = u32::try_from(topic.partitions.len()).unwrap_or(u32::MAX);
    let added = added(topic, first, wish.total)?;
    let factor = topic.partitions.first().map_or(1, |p| p.replicas.len());
    let partitions = match &wish.assignments {
        None => {
            let factor = u32::try_from(factor).unwrap_or(u32::MAX);
            placement::spread(image, limits, added, factor)?
        }
        Some(lists) if u32::try_from(lists.len()) != Ok(added) => {
            let assigned = lists.len();
            return Err(AssignmentFault::WrongCount { added, assigned }.into());
        }
        Some(lists) => {
            let lists: Vec<&[i32]> = lists.iter().map(Vec::as_slice).collect();
            placement::manual(image, limits, &lists, Some(factor))?
        }
    };
    Ok(vec![Record::PartitionsAdded {
        id: topic.id,
        first,
        partitions,
    }])
}

fn added(topic: &Topic, current: u32, total: i32) -> Result<u32, Refusal> {
    let more = u32::try_from(total)
        .ok()
        .and_then(|total| total.checked_sub(current));
    more.filter(|added| *added > 0)
        .ok_or_else(|| Refusal::PartitionsNotMore {
            name: topic.name.clone(),
            current,
            asked: total,
        })
}
