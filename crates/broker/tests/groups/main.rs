//! Groups from the frame to the log and back: a file a family of requests.

mod admin;
mod damage;
mod membership;
mod node;
mod offsets;
#[path = "../support/mod.rs"]
mod support;
