//! The listener over real loopback sockets, serving an echo instead of a broker.

mod echo;
mod hostile;
mod limits;
mod order;
mod shutdown;
