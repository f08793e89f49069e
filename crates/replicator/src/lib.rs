//! Replication sessions of a node's replicas over peer links.
