//! Between the results and the forwarders: what waits to be sent upstream, durably.

pub mod spool;
