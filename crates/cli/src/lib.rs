//! The verbs of the Plimsoll command line that talk to a running cluster.
//!
//! Each verb is a function from its arguments to an answer on standard output or a [`Failure`].
//! They speak the Kafka protocol and nothing else, so they work with any cluster that does. Not
//! here: running a node, and its configuration (`plimsoll`, the package, does that and hands the
//! other verbs to [`run`]).

mod confirm;
mod failure;
mod format;
mod input;
mod offsets;
mod output;
mod reach;
mod record;
mod verb;
mod verbs;

pub use failure::{Code, Exit, Failure};
pub use output::{Columns, Output, print};
pub use verb::*;
pub use verbs::run;
