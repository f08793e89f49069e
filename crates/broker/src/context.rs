//! What a request's handler is given besides the request.

use std::sync::Arc;

use plimsoll_types::Monotonic;
use plimsoll_wire::Str;

use crate::Broker;
use crate::catalog::Catalog;
use crate::connection::Connection;

/// One request's surroundings.
pub(crate) struct Context {
    pub(crate) broker: Arc<Broker>,
    pub(crate) connection: Arc<Connection>,
    /// The version of the request, one that is served.
    pub(crate) version: i16,
    /// What the client calls itself.
    pub(crate) client_id: Option<Str>,
}

impl Context {
    pub(crate) fn catalog(&self) -> &Catalog {
        &self.broker.host.catalog
    }

    pub(crate) fn now(&self) -> Monotonic {
        self.broker.clock.now()
    }
}
