//! Keeps all replicas of a node in step: followers attach, leaders push, and everything heals.
//!
//! [`Replicas`] knows every replica that is hosted here. [`Replicas::apply`] gives each the role
//! that the metadata says; [`Replicas::tick`] works out ten times a second what follows from
//! state. Every decision about sessions, the ISR and what to do with a log is made by
//! [`plimsoll_replication`]'s `Leader` and `Follower`: this crate shows them what happened and does
//! what they want done, so that what their simulation proves is what runs. Streams between nodes are engines without sockets: a [`FollowLink`] is the end that
//! opened the connection, a [`LeadLink`] the end that accepted it. Whoever owns the socket feeds
//! what came ([`LeadLink::receive`]) and polls for what to send ([`LeadLink::poll_outgoing`]).
//!
//! Not here: sockets, clocks, threads, a runtime, frames' bytes, and the log itself ([`Store`] is
//! what is asked of it). Who is in the ISR is decided by the controller; proposals leave through
//! [`Replicas::proposals`] and answers come back through [`Replicas::decided`].
//!
//! # How a replica comes into step
//!
//! 1. It follows, and [`Replicas::wanted_links`] names the link it needs: `InSync` if the metadata
//!    has it in the ISR, else `CatchUp`, which is throttled.
//! 2. Once that link is there it attaches with its position and epochs. The leader compares and
//!    gives it a session: aligned, to be cut first, or to begin anew. Cutting waits for a disk, so
//!    it is [`Work`] for a thread that may block.
//! 3. Its first ack confirms the position, and the leader sends: whole batches, as much as the
//!    window allows, any batch however large once nothing else is in flight.
//! 4. When it has caught up the leader proposes it. Once the metadata has it in the ISR it attaches
//!    again, on the `InSync` link. Its session on the other link stays until that link is open, so
//!    acks pause for one round trip at most.
//!
//! # Terms and grants
//!
//! What a follower echoes grants its leader a lease. A node that is to lead stops following first,
//! and tells the leader so, which gives the grant back; from one that does not answer it waits out
//! its last grant, and begins its term then.
//!
//! # What wakes what
//!
//! A replica's tap rings the sessions that send from it and the one that acknowledges for it: a
//! flag, a queue, a bell; no lock. An ack raises the follower's cell and the high watermark without
//! a lock. A ring that is lost is found by the tick, healed and counted.

mod attach;
mod config;
mod counters;
mod events;
mod follow;
mod follower;
mod frame;
mod intake;
mod lead;
mod leader;
mod local;
mod losses;
mod pause;
mod promises;
mod quiet;
mod recorder;
mod replica;
mod replicas;
mod roles;
mod send;
mod session;
mod status;
mod statuses;
mod store;
mod tick;
mod verify;
mod work;

pub use config::Config;
pub use counters::Counters;
pub use events::FlightEvent;
pub use follow::FollowLink;
pub use lead::{LeadLink, LinkError};
pub use leader::IsrProposal;
pub use plimsoll_replication::{Decision, Timing};
pub use plimsoll_wire::peer::{Purpose, StreamFrame};
pub use recorder::Recorded;
pub use replica::{PeerInfo, View};
pub use replicas::Replicas;
pub use status::{ReplicaStatus, Report};
pub use store::{ReplicateError, Store, StoreError};
pub use verify::Check;
pub use work::Work;
