//! The daemon as its users meet it: the program, a real broker, signals, the page.

#[path = "support/client.rs"]
mod client;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mosquitto.rs"]
mod mosquitto;

#[path = "daemon/results.rs"]
mod results;
#[path = "daemon/brokers.rs"]
mod brokers;
#[path = "daemon/forward.rs"]
mod forward;
#[path = "daemon/demo.rs"]
mod demo;
#[path = "daemon/lifecycle.rs"]
mod lifecycle;
