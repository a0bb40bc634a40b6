//! What goes wrong on a gateway: bad input, full and broken disks, damaged state. Nothing
//! acknowledged is lost, nothing is silent, and what is said can be understood.

#[path = "support/client.rs"]
mod client;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/mosquitto.rs"]
mod mosquitto;

#[path = "faults/disk.rs"]
mod disk;
#[path = "faults/input.rs"]
mod input;
#[path = "faults/state.rs"]
mod state;
