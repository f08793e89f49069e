//! The coordinator's transitions, a file a family, driven as clients, a log and a clock would.

mod bounds;
mod commit;
mod delete;
mod heartbeat;
mod join;
mod leave;
mod load;
mod query;
mod random;
mod retention;
mod room;
mod session;
mod static_members;
mod sync;
mod world;
