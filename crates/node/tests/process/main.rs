//! The real program in real processes: it starts, serves, stops, and survives being killed.

mod chaos;
mod cli;
mod cluster;
mod crash;
mod hostile;
mod housekeeping;
mod lifecycle;
mod node;
