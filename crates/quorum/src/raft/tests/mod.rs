//! Several nodes in one process.

mod chaos;
mod cluster;
mod disks;
mod harness;
mod messages;

use super::*;
