//! The daemon as its users meet it: the program, a real broker, signals, the page.

#[path = "support/client.rs"]
mod client;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mosquitto.rs"]
mod mosquitto;

#[path = "daemon/alarms.rs"]
mod alarms;
#[path = "daemon/brokers.rs"]
mod brokers;
#[path = "daemon/demo.rs"]
mod demo;
#[path = "daemon/explain.rs"]
mod explain;
#[path = "daemon/forward.rs"]
mod forward;
#[path = "daemon/lifecycle.rs"]
mod lifecycle;
#[path = "daemon/results.rs"]
mod results;
#[path = "daemon/vector.rs"]
mod vector;
