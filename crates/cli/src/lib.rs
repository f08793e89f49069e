//! The verbs of the Plimsoll command line that talk to a running cluster.
//!
//! Each verb is a function from its arguments to an answer on standard output or a [`Failure`].
//! Those about topics, records and groups speak the Kafka protocol, so they work with any cluster
//! that does; those about replicas and nodes ask the nodes' HTTP side. Not
//! here: running a node, and its configuration (`plimsoll`, the package, does that and hands the
//! other verbs to [`run`]).

mod confirm;
mod connect;
mod failure;
mod format;
mod harm;
mod http;
mod input;
mod offsets;
mod operate;
mod output;
mod reach;
mod record;
mod repeat;
mod verb;
mod verbs;
mod yaml;

pub use failure::{Code, Exit, Failure};
pub use harm::*;
pub use http::{Http, HttpAsk, HttpAt};
pub use operate::*;
pub use output::{Columns, Output, print};
pub use repeat::{Waiting, Watching};
pub use verb::*;
pub use verbs::run;
