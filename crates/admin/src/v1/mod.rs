//! `/v1`: what the broker holds, as JSON. Names are the glossary's in snake case; fields are added
//! and never change their meaning within one `schema`.

pub(crate) mod cluster;
pub(crate) mod groups;
pub(crate) mod history;
pub(crate) mod nodes;
pub(crate) mod partitions;
pub(crate) mod replicas;
pub(crate) mod status;
pub(crate) mod topics;

use crate::admin::Admin;
use crate::problem::Problem;
use plimsoll_broker::Broker;
use std::sync::Arc;

/// The version of all these answers.
pub(crate) const SCHEMA: u32 = 1;

/// The broker, if the node has come so far.
fn broker(admin: &Admin) -> Result<&Arc<Broker>, Problem> {
    admin.broker().ok_or(Problem::Starting)
}
