//! Several nodes in one process.

mod cluster;
mod disks;
mod harness;
mod messages;

use super::*;
