//! What waits for upstream: one [`spool`] for each forwarder, and the messages made from it.
//!
//! Records come from the pipeline, derived from frames; they go when upstream has acknowledged the
//! message that carried them. [`Shared`] joins the pipeline's thread, which appends, and the
//! forwarder's, which seals, sends and acknowledges.

pub mod message;
pub mod spool;

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use spool::{Spool, Tombstone};

/// A forwarder's outbox, shared by pipeline and forwarder.
pub struct Shared {
    state: Mutex<State>,
    /// Told when records were appended.
    pub appended: Notify,
}

/// The spool with what the forwarder reports about itself.
pub struct State {
    /// `[[forward]] name`.
    pub name: String,
    /// The records.
    pub spool: Spool,
    /// Whether upstream is connected.
    pub connected: bool,
    /// Unix seconds of the last acknowledgement.
    pub last_success: Option<f64>,
    /// Messages acknowledged since start.
    pub acknowledged_messages: u64,
    /// Since when the oldest waiting record waits, as far as this process knows.
    pub waiting_since: Option<std::time::Instant>,
    /// Records dropped since start because the outbox was full.
    pub dropped: Option<Tombstone>,
}

impl Shared {
    /// An outbox around an open spool.
    pub fn new(name: &str, spool: Spool) -> Shared {
        Shared {
            state: Mutex::new(State {
                name: name.to_owned(),
                spool,
                connected: false,
                last_success: None,
                acknowledged_messages: 0,
                waiting_since: None,
                dropped: None,
            }),
            appended: Notify::new(),
        }
    }

    /// The state, for a moment.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
