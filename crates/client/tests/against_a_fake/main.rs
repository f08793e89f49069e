//! The client against a fake broker that can be told to misbehave.

mod admin;
mod connection;
mod consumer;
mod fake;
mod group;
mod hostile;
mod producer;
