//! What the sockets serve: the broker, and in tests anything that answers frames.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use plimsoll_broker::{Answer, Broker, Connection};

/// Answers request frames.
///
/// The seam between sockets and meaning: this crate never looks inside a frame.
pub trait Service: Send + Sync + 'static {
    /// Answers one frame (without its size prefix).
    ///
    /// Everything whose order matters happens in the *first* poll of the returned future: the
    /// connection polls the futures of its frames for the first time in the order in which the
    /// frames came, and from then on in no particular order.
    fn answer(
        &self,
        connection: &Arc<Connection>,
        frame: Bytes,
    ) -> impl Future<Output = Answer> + Send + 'static;
}

impl Service for Arc<Broker> {
    fn answer(
        &self,
        connection: &Arc<Connection>,
        frame: Bytes,
    ) -> impl Future<Output = Answer> + Send + 'static {
        Broker::answer(self, connection, frame)
    }
}
