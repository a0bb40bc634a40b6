//! `weir`: edge analytics. A reading's way, in module order:
//!
//! 1. [`receiver`] takes MQTT messages and lines over TCP and owes their acknowledgement;
//! 2. [`decoder`] turns payloads into readings, finite and with exact times;
//! 3. [`batch`] gathers them into micro-batches and holds the event-time pieces (order, windows, panes);
//! 4. [`journal`] makes the batch durable as one frame, the only commit; only then is anything acknowledged;
//! 5. [`engine`] steps every unit the frame touches through [`analytics`] (gate, Kalman filter, panes, Holt-Winters);
//! 6. [`state`] keeps the dirty units in sled, as a checkpoint of what the journal can replay;
//! 7. [`output`] records go to result topics ([`publisher`]) and into the [`outbox`] for the [`forwarder`].
//!
//! [`pipeline`] joins 3 to 7 over a storage trait; [`daemon`] owns clocks, threads and shutdown.
//! Pure modules have no clock, no I/O, no randomness; a test scans them for it.

pub mod cbor;
pub mod failpoint;
pub mod reading;

pub mod analytics;
pub mod batch;
pub mod cli;
pub mod clock;
pub mod config;
pub mod daemon;
pub mod decoder;
pub mod demo;
pub mod engine;
pub mod forwarder;
pub mod http;
pub mod journal;
pub mod mqtt;
pub mod outbox;
pub mod output;
pub mod pipeline;
pub mod publisher;
pub mod receiver;
pub mod secret;
pub mod seglog;
pub mod socket;
pub mod state;
pub mod systemd;
pub mod tls;
