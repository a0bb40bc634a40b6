//! The outbox upstream over MQTT.
//!
//! Edge: a thread of its own for each forwarder, since sealing waits for the disk. Messages are
//! sealed (durable) before they are first sent and forgotten when upstream has acknowledged them,
//! in order. Each connection starts with all sealed messages again, as they were: upstream keeps
//! one of each by (gateway, instance, sequence).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::clock::{Clock, jitter};
use crate::mqtt::{self, Backoff, Event, MqttError, PublishError};
use crate::outbox::message::{self, Sender};
use crate::outbox::spool::{Cursor, Entry, Sealed, SpoolError};
use crate::outbox::{Shared, State};

/// Messages under way at most.
const WINDOW: usize = 16;
/// Acknowledgements are made durable after this many or this long, whichever comes first; a crash
/// before sends those messages again.
const SETTLE_MESSAGES: usize = 8;
/// See [`SETTLE_MESSAGES`].
const SETTLE_AFTER: Duration = Duration::from_secs(1);

/// What a forwarder needs.
pub struct Forwarder {
    /// How to connect.
    pub options: mqtt::Options,
    /// Password and certificates; a change makes a new connection.
    pub access: watch::Receiver<mqtt::Access>,
    /// Where to publish.
    pub topic: String,
    /// Largest message in bytes.
    pub max_message: usize,
    /// Who sends.
    pub sender: Sender,
    /// Instance of the state that the records come from.
    pub instance: String,
    /// The records.
    pub outbox: Arc<Shared>,
    /// For the time of the last success.
    pub clock: Clock,
    /// Ends the forwarder.
    pub stop: watch::Receiver<bool>,
}

/// One connection's view.
struct Flight {
    /// Sequences sent and not acknowledged, in order.
    sent: VecDeque<u64>,
    /// Sequences acknowledged and not yet settled.
    acknowledged: Vec<u64>,
    settled: Instant,
    refused: u64,
}

impl Forwarder {
    /// Sends until `stop`.
    ///
    /// # Errors
    /// When the disk fails; the process must then end and recover.
    pub async fn run(mut self) -> Result<(), SpoolError> {
        self.adopt_instance()?;
        let mut backoff = Backoff::default();
        while !*self.stop.borrow() {
            let started = Instant::now();
            let ended = self.connection().await?;
            self.outbox.lock().connected = false;
            let Some(error) = ended else { return Ok(()) };
            if error == MqttError::Closed {
                // We let go of it ourselves, to connect with new certificates.
                continue;
            }
            backoff.connection_ended(started.elapsed());
            let wait = backoff.next_wait(jitter());
            let name = self.outbox.lock().name.clone();
            tracing::warn!(forward = %name, %error, wait_s = wait.as_secs_f64(), "upstream: no connection, the outbox holds the records");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = self.stop.changed() => {}
                Ok(()) = self.access.changed() => {}
            }
        }
        Ok(())
    }

    /// A new cursor, or one of a lost state, continues under the present instance: its sequence
    /// starts at 1. What was sealed and not acknowledged is sealed again under it, since a message
    /// of another instance says nothing about this one's state.
    fn adopt_instance(&self) -> Result<(), SpoolError> {
        let mut state = self.outbox.lock();
        let instance = self.instance.clone();
        if state.spool.cursor().instance == instance {
            return Ok(());
        }
        state.spool.update(|cursor| {
            // What they report as lost is still to be reported.
            let lost = cursor.sealed.drain(..).filter_map(|sealed| sealed.tombstone);
            cursor.tombstone = lost.chain(cursor.tombstone).reduce(|a, b| a.merge(b));
            cursor.instance = instance;
            cursor.next_sequence = 1;
        })
    }

    /// One connection, until it ends (its error) or we stop (`None`).
    async fn connection(&mut self) -> Result<Option<mqtt::MqttError>, SpoolError> {
        self.options.set_access(self.access.borrow_and_update().clone());
        let (sender, mut connection) = mqtt::connect(&self.options);
        let mut flight = Flight {
            sent: VecDeque::new(),
            acknowledged: Vec::new(),
            settled: Instant::now(),
            refused: 0,
        };
        let mut connected = false;
        let outbox = self.outbox.clone();
        loop {
            let next = connection.poll();
            tokio::pin!(next);
            // The future is kept across other wake-ups: polling is not cancel-safe.
            let event = loop {
                let settle = tokio::time::sleep(SETTLE_AFTER);
                tokio::select! {
                    event = &mut next => break event,
                    () = outbox.appended.notified(), if connected => {
                        self.pump(&sender, &mut flight)?;
                    }
                    () = settle => self.settle(&mut flight)?,
                    Ok(()) = self.access.changed() => {
                        // What is not acknowledged is sealed and comes again.
                        self.settle(&mut flight)?;
                        let _ = sender.try_disconnect();
                        return Ok(Some(MqttError::Closed));
                    }
                    _ = self.stop.changed() => {
                        self.settle(&mut flight)?;
                        let _ = sender.try_disconnect();
                        return Ok(None);
                    }
                }
            };
            match event {
                Ok(Event::Connected { .. }) => {
                    connected = true;
                    outbox.lock().connected = true;
                    self.pump(&sender, &mut flight)?;
                }
                Ok(Event::PublishAcknowledged { failure: Some(reason), .. }) => {
                    // Not taken: it stays sealed and comes again on the next connection.
                    flight.refused += 1;
                    self.settle(&mut flight)?;
                    let text =
                        format!("upstream refused a message: {reason}; check its access rules");
                    return Ok(Some(mqtt::MqttError::Refused(text)));
                }
                Ok(Event::PublishAcknowledged { .. }) => {
                    if let Some(sequence) = flight.sent.pop_front() {
                        flight.acknowledged.push(sequence);
                        let mut state = outbox.lock();
                        state.acknowledged_messages += 1;
                        state.last_success = Some(self.clock.now().0 as f64 / 1e9);
                    }
                    if flight.acknowledged.len() >= SETTLE_MESSAGES
                        || flight.settled.elapsed() >= SETTLE_AFTER
                        || flight.sent.is_empty()
                    {
                        self.settle(&mut flight)?;
                    }
                    self.pump(&sender, &mut flight)?;
                }
                Ok(_) => {}
                Err(error) => {
                    self.settle(&mut flight)?;
                    return Ok(Some(error));
                }
            }
        }
    }

    /// Makes acknowledgements durable; the spool lets go of what they cover.
    fn settle(&self, flight: &mut Flight) -> Result<(), SpoolError> {
        flight.settled = Instant::now();
        let Some(&last) = flight.acknowledged.last() else { return Ok(()) };
        flight.acknowledged.clear();
        let mut state = self.outbox.lock();
        state.spool.update(|cursor| {
            let done = cursor.sealed.iter().take_while(|sealed| sealed.sequence <= last);
            if let Some(to) = done.last().map(|sealed| sealed.to) {
                cursor.acknowledged = to;
            }
            cursor.sealed.retain(|sealed| sealed.sequence > last);
        })?;
        // What waits now came later than what has gone.
        state.waiting_since = (state.spool.records() > 0).then(Instant::now);
        Ok(())
    }

    /// Sends what is sealed and not sent on this connection, sealing more while there is room.
    fn pump(&self, sender: &mqtt::Sender, flight: &mut Flight) -> Result<(), SpoolError> {
        loop {
            let mut state = self.outbox.lock();
            // The broker may take less than we would send; its limit includes the packet's header.
            let max_packet = (sender.max_packet() as usize).saturating_sub(self.topic.len() + 64);
            self.seal(&mut state, flight, max_packet)?;
            let sent = flight.sent.back().or(flight.acknowledged.last()).copied().unwrap_or(0);
            let next = state.spool.cursor().sealed.iter().find(|s| s.sequence > sent).cloned();
            let Some(sealed) = next.filter(|_| flight.sent.len() < WINDOW) else { return Ok(()) };
            let entries = touched(&state, &sealed)?;
            drop(state);
            let lines = message::sealed_lines(&sealed, &entries);
            let bytes = message::compose(&self.sender, &self.instance, &sealed, lines);
            match sender.try_publish(&self.topic, 1, false, bytes) {
                Ok(()) => flight.sent.push_back(sealed.sequence),
                Err(PublishError::Full) => return Ok(()),
                Err(error) => {
                    let name = self.outbox.lock().name.clone();
                    tracing::error!(forward = %name, %error, "a message is larger than upstream takes: raise its packet limit; the outbox holds the records");
                    return Ok(());
                }
            }
        }
    }

    /// Seals as many messages as the window has room for, with one durable write.
    /// `max_packet`: payload that upstream takes, as far as it is known.
    fn seal(
        &self,
        state: &mut State,
        flight: &Flight,
        max_packet: usize,
    ) -> Result<(), SpoolError> {
        let cursor = state.spool.cursor();
        // What is acknowledged but not settled is still in the list.
        let waiting = cursor.sealed.len() - flight.acknowledged.len().min(cursor.sealed.len());
        let max_message = self.max_message.min(max_packet);
        let room = WINDOW.saturating_sub(waiting);
        let room = room.min(Cursor::MAX_SEALED.saturating_sub(cursor.sealed.len()));
        let mut sealed = Vec::new();
        let (mut from, mut sequence) = (cursor.sealed_to(), cursor.next_sequence);
        let mut tombstone = cursor.tombstone;
        while sealed.len() < room {
            let entries = state.spool.read_from(from);
            let to = message::take(
                &self.sender,
                &self.instance,
                tombstone.as_ref(),
                from,
                entries,
                max_message,
            )?;
            let Some(to) = to else { break };
            sealed.push(Sealed { sequence, from, to, tombstone: tombstone.take() });
            (from, sequence) = (to, sequence + 1);
        }
        if sealed.is_empty() {
            return Ok(());
        }
        state.spool.update(|cursor| {
            cursor.tombstone = None;
            cursor.next_sequence = sequence;
            cursor.sealed.extend(sealed);
        })?;
        crate::failpoint::hit("forward-sealed");
        Ok(())
    }
}

/// The entries that a sealed message touches.
fn touched(state: &State, sealed: &Sealed) -> Result<Vec<Entry>, SpoolError> {
    state
        .spool
        .read_from(sealed.from)
        .take_while(|entry| {
            entry.as_ref().map_or(true, |entry| {
                crate::outbox::spool::Position { batch: entry.batch, record: 0 } < sealed.to
            })
        })
        .collect()
}
