//! Readings from the site's broker.
//!
//! Edge. A thread of its own does nothing but poll the connection and hand messages on in chunks;
//! when the pipeline is busy the hand-over blocks, so polling pauses and the broker holds the rest.
//! Acknowledgements go the other way, straight from the pipeline through the [`mqtt::Sender`] of
//! the connection that delivered: each connection has a number and a sender of its own, so an
//! acknowledgement can never reach another connection, where its packet id would mean another
//! message.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::clock::{Clock, jitter};
use crate::mqtt::{self, Backoff, Event, Message, MqttError};
use crate::reading::EventTime;
use crate::receiver::arrival::Arrivals;
use crate::receiver::now_or_pending;

/// Messages handed on together at most; the pipeline's queue counts chunks.
const CHUNK_MESSAGES: usize = 256;
/// Bytes of payload in a chunk at most (and one message more).
const CHUNK_BYTES: usize = 128 * 1024;

/// Largest packet that is taken just to drop it (MQTT 3.1.1; with MQTT 5 the broker withholds it).
const OVERSIZE_MAX: usize = 16 * 1024 * 1024;

/// A message with the moment it arrived.
#[derive(Debug)]
pub struct Arrived {
    /// The message.
    pub message: Message,
    /// By the gateway's clock.
    pub arrival: EventTime,
}

/// What the receiver tells the pipeline.
pub enum Received {
    /// A connection came up.
    Connected {
        /// Its number.
        connection: u64,
        /// Whether the broker resumed the session.
        session_present: bool,
        /// The subscriptions stand; if not, [`Received::Subscribed`] follows.
        subscribed: bool,
        /// For acknowledgements.
        sender: mqtt::Sender,
    },
    /// The broker answered the subscriptions.
    Subscribed {
        /// The connection's number.
        connection: u64,
        /// One text for each that was refused.
        failures: Vec<String>,
    },
    /// Messages, in receive order.
    Messages {
        /// The connection's number.
        connection: u64,
        /// The messages.
        messages: Vec<Arrived>,
    },
    /// A ping came back.
    Pong {
        /// The connection's number.
        connection: u64,
    },
    /// The connection ended.
    Disconnected {
        /// Why.
        reason: String,
    },
}

/// What the receiver needs.
pub struct Receiver {
    /// How to connect.
    pub options: mqtt::Options,
    /// Password and certificates; a change makes a new connection.
    pub access: watch::Receiver<mqtt::Access>,
    /// What to subscribe to; a change makes a new connection.
    pub filters: watch::Receiver<Vec<(String, u8)>>,
    /// While true there is no connection (disk full, clock awaited); the broker keeps messages.
    pub paused: Arc<AtomicBool>,
    /// Ends the thread.
    pub stop: watch::Receiver<bool>,
    /// The gateway's clock.
    pub clock: Clock,
}

impl Receiver {
    /// Runs until `stop`; `hand_on` blocks while the pipeline is busy and returns false when it is
    /// gone.
    pub async fn run(mut self, hand_on: impl Fn(Received) -> bool) {
        let mut backoff = Backoff::default();
        let mut connection = 0;
        let mut subscribed: Option<Subscriptions> = None;
        while !*self.stop.borrow() {
            if self.paused.load(Ordering::Relaxed) {
                self.sleep(Duration::from_millis(200)).await;
                continue;
            }
            connection += 1;
            let started = Instant::now();
            let ended = self.connection(connection, &mut subscribed, &hand_on).await;
            let Some(error) = ended else { return };
            self.options.clean = false;
            if let MqttError::Oversize { size, .. } = error {
                // The same packet would come again, for ever.
                self.avoid_oversize(size);
            }
            backoff.connection_ended(started.elapsed());
            if !hand_on(Received::Disconnected { reason: error.to_string() }) {
                return;
            }
            if self.must_end() {
                // We let go of it ourselves: to stop, to pause, for other subscriptions, or with
                // new certificates.
                continue;
            }
            let wait = backoff.next_wait(jitter());
            tracing::warn!(%error, wait_s = wait.as_secs_f64(), "readings: no connection to the broker");
            self.sleep(wait).await;
        }
    }

    /// Takes an oversize packet once, so that it is counted as such and acknowledged; one that
    /// memory cannot bear is left behind with its session.
    fn avoid_oversize(&mut self, size: usize) {
        if size > OVERSIZE_MAX {
            self.options.clean = true;
            tracing::error!(
                size,
                most = OVERSIZE_MAX,
                "a message is too large even to be dropped: the broker's session is given up with what it holds; set the broker's message_size_limit"
            );
        } else {
            self.options.max_packet = u32::try_from(size).unwrap_or(u32::MAX).saturating_add(64);
            tracing::warn!(
                size,
                "raising the packet limit to take an oversize message and drop it"
            );
        }
    }

    async fn sleep(&mut self, wait: Duration) {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = self.stop.changed() => {}
            // Perhaps just what was missing; seen again by the next connection.
            Ok(()) = self.access.changed() => {}
        }
    }

    fn must_end(&self) -> bool {
        let changed = self.filters.has_changed().unwrap_or(false)
            || self.access.has_changed().unwrap_or(false);
        *self.stop.borrow() || changed || self.paused.load(Ordering::Relaxed)
    }

    /// One connection; `None` when the pipeline is gone.
    async fn connection(
        &mut self,
        number: u64,
        subscribed: &mut Option<Subscriptions>,
        hand_on: &impl Fn(Received) -> bool,
    ) -> Option<MqttError> {
        self.options.set_access(self.access.borrow_and_update().clone());
        let (sender, mut connection) = mqtt::connect(&self.options);
        let mut chunk = Chunk::default();
        let filters = self.filters.borrow_and_update().clone();
        let mut check = tokio::time::interval(Duration::from_millis(200));
        check.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut next = pin!(connection.poll());
            let event = match now_or_pending(next.as_mut()).await {
                Some(event) => event,
                None => {
                    // Nothing more for the moment: what has come may go on.
                    if !chunk.hand_on(number, hand_on) {
                        return None;
                    }
                    loop {
                        tokio::select! {
                            event = &mut next => break event,
                            _ = check.tick() => {}
                            _ = self.stop.changed() => {}
                        }
                        if self.must_end() {
                            // Dropping the connection is safe: nothing unacknowledged is lost.
                            let _ = sender.try_disconnect();
                            return Some(MqttError::Closed);
                        }
                    }
                }
            };
            match event {
                Ok(Event::Message(message)) => {
                    chunk.add(message, &self.clock);
                    if chunk.is_full() {
                        if !chunk.hand_on(number, hand_on) {
                            return None;
                        }
                        if self.must_end() {
                            return Some(MqttError::Closed);
                        }
                    }
                }
                Ok(Event::Connected { session_present, .. }) => {
                    let stands = session_present
                        && subscribed.as_ref().is_some_and(|s| s.confirmed && s.filters == filters);
                    // A resumed session would go on with what is not wanted any more.
                    let before = subscribed.iter().filter(|_| session_present);
                    let given_up = before.flat_map(|subscribed| &subscribed.filters);
                    for (filter, _) in given_up {
                        let wanted = filters.iter().any(|(wanted, _)| wanted == filter);
                        if !wanted && sender.try_unsubscribe(filter).is_err() {
                            return Some(MqttError::Closed);
                        }
                    }
                    if !stands {
                        if sender.try_subscribe(filters.clone()).is_err() {
                            return Some(MqttError::Closed);
                        }
                        // Asked for, not answered: should the connection end now, the next one
                        // may find the session without them.
                        *subscribed =
                            Some(Subscriptions { filters: filters.clone(), confirmed: false });
                    }
                    let sender = sender.clone();
                    let connected = Received::Connected {
                        connection: number,
                        session_present,
                        subscribed: stands || filters.is_empty(),
                        sender,
                    };
                    if !hand_on(connected) {
                        return None;
                    }
                }
                Ok(Event::Subscribed { failures }) => {
                    if let Some(subscribed) = subscribed {
                        subscribed.confirmed = true;
                    }
                    if !hand_on(Received::Subscribed { connection: number, failures }) {
                        return None;
                    }
                }
                Ok(Event::Pong) => {
                    // In receive order with the messages before it.
                    let pong = Received::Pong { connection: number };
                    if !chunk.hand_on(number, hand_on) || !hand_on(pong) {
                        return None;
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    // What has come may as well be used; it is committed before anything else.
                    if !chunk.hand_on(number, hand_on) {
                        return None;
                    }
                    return Some(error);
                }
            }
        }
    }
}

/// What the session was asked to deliver.
struct Subscriptions {
    filters: Vec<(String, u8)>,
    /// The broker has answered.
    confirmed: bool,
}

#[derive(Default)]
struct Chunk {
    messages: Vec<Arrived>,
    bytes: usize,
    arrivals: Arrivals,
}

impl Chunk {
    fn add(&mut self, message: Message, clock: &Clock) {
        let arrival = self.arrivals.next(clock, !self.messages.is_empty());
        self.bytes += message.payload.len();
        self.messages.push(Arrived { message, arrival });
    }

    fn is_full(&self) -> bool {
        self.messages.len() >= CHUNK_MESSAGES || self.bytes >= CHUNK_BYTES
    }

    fn hand_on(&mut self, connection: u64, hand_on: &impl Fn(Received) -> bool) -> bool {
        if self.messages.is_empty() {
            return true;
        }
        // A full chunk is likely to be followed by another one.
        let next = if self.is_full() { CHUNK_MESSAGES } else { 0 };
        let messages = std::mem::replace(&mut self.messages, Vec::with_capacity(next));
        self.bytes = 0;
        hand_on(Received::Messages { connection, messages })
    }
}
