//! Records to the site's result topics.
//!
//! Edge. The pipeline pushes publications into a bounded [`Queue`]; one task owns the connection.
//! Estimates leave at most once (QoS 0, only while connected); aggregates, forecasts and alarms are
//! published until acknowledged, and [`Queue::published_through`] tells the pipeline through which
//! batch that is so. When the queue is full the oldest goes and is counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};

use crate::clock::jitter;
use crate::http::ResultsInfo;
use crate::mqtt::{self, Backoff, Event, MqttError, PublishError};
use crate::receiver::topic::encode_level;

/// Most publications that wait; beyond it the oldest goes.
const WAITING_MAX: usize = 20_000;
/// Most payload bytes that wait.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
/// QoS 1 publications under way.
const IN_FLIGHT_MAX: usize = 100;

/// One message for a result topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The batch that made it; `None`: not part of the at-least-once promise.
    pub batch: Option<u64>,
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// 0 or 1.
    pub qos: u8,
    /// Kept by the broker as the topic's last value.
    pub retain: bool,
}

/// `<prefix>/<device>/<metric>/<kind>`, with what MQTT reserves percent-encoded in the names.
pub fn topic(prefix: &str, device: &str, metric: &str, kind: &str) -> String {
    format!("{prefix}/{}/{}/{kind}", encode_level(device), encode_level(metric))
}

/// `<prefix>/<device>/<metric>/alarm/<alarm>`, likewise.
pub fn alarm_topic(prefix: &str, device: &str, metric: &str, alarm: &str) -> String {
    format!("{}/{}", topic(prefix, device, metric, "alarm"), encode_level(alarm))
}

/// `<prefix>/alarm-input`: the alarm of the whole input. One level below the prefix, as `status` is, so
/// that no subscription is refused for it that is not for that.
pub fn input_topic(prefix: &str) -> String {
    format!("{prefix}/alarm-input")
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Publication>,
    waiting_bytes: usize,
    in_flight: VecDeque<Publication>,
    pushed_through: u64,
    connected: bool,
    /// A connection came up since the last look.
    new_connection: bool,
    published: u64,
    dropped: u64,
}

impl Inner {
    fn is_over(&self) -> bool {
        self.waiting.len() > WAITING_MAX || self.waiting_bytes > WAITING_BYTES_MAX
    }
}

/// What waits to be published; shared by the pipeline and the publisher.
#[derive(Debug, Default)]
pub struct Queue {
    inner: Mutex<Inner>,
    wake: Notify,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the publications of a batch; with none, only notes that the batch has none.
    pub fn push(&self, batch: u64, publications: impl IntoIterator<Item = Publication>) {
        let mut inner = self.lock();
        for publication in publications {
            if publication.qos == 0 && !inner.connected {
                inner.dropped += 1;
                continue;
            }
            inner.waiting_bytes += publication.payload.len();
            inner.waiting.push_back(publication);
        }
        inner.pushed_through = inner.pushed_through.max(batch);
        if inner.is_over() {
            // First what nobody was promised: estimates, and retained topics asserted again.
            let before = inner.waiting.len();
            inner.waiting.retain(|p| p.batch.is_some());
            inner.dropped += (before - inner.waiting.len()) as u64;
            inner.waiting_bytes = inner.waiting.iter().map(|p| p.payload.len()).sum();
        }
        while inner.is_over() {
            let Some(oldest) = inner.waiting.pop_front() else { break };
            inner.waiting_bytes -= oldest.payload.len();
            inner.dropped += 1;
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// Everything that batches up to this one had to publish is acknowledged (or was given up).
    pub fn published_through(&self) -> u64 {
        let inner = self.lock();
        let oldest = inner.in_flight.iter().chain(&inner.waiting).filter_map(|p| p.batch).min();
        oldest.map_or(inner.pushed_through, |batch| batch - 1)
    }

    /// Whether the broker is connected; estimates are not worth making while it is not.
    pub fn is_connected(&self) -> bool {
        self.lock().connected
    }

    /// True once after each new connection: retained topics are to be asserted again.
    pub fn take_connected(&self) -> bool {
        std::mem::take(&mut self.lock().new_connection)
    }

    /// For status and metrics.
    pub fn info(&self) -> ResultsInfo {
        let inner = self.lock();
        ResultsInfo {
            connected: inner.connected,
            published: inner.published,
            queued: (inner.waiting.len() + inner.in_flight.len()) as u64,
            dropped: inner.dropped,
        }
    }

    /// The connection ended: what was under way comes first on the next one.
    fn disconnected(&self) {
        let mut inner = self.lock();
        inner.connected = false;
        while let Some(publication) = inner.in_flight.pop_back() {
            inner.waiting_bytes += publication.payload.len();
            inner.waiting.push_front(publication);
        }
        // Estimates are worth nothing later.
        let before = inner.waiting.len();
        inner.waiting.retain(|p| p.qos > 0);
        inner.dropped += (before - inner.waiting.len()) as u64;
        inner.waiting_bytes = inner.waiting.iter().map(|p| p.payload.len()).sum();
    }

    /// Hands over what fits.
    fn pump(&self, sender: &mqtt::Sender) {
        let mut inner = self.lock();
        while inner.in_flight.len() < IN_FLIGHT_MAX
            && let Some(publication) = inner.waiting.pop_front()
        {
            let Publication { topic, qos, retain, payload, .. } = &publication;
            match sender.try_publish(topic, *qos, *retain, payload.clone()) {
                Ok(()) => {
                    inner.waiting_bytes -= publication.payload.len();
                    if publication.qos > 0 {
                        inner.in_flight.push_back(publication);
                    } else {
                        inner.published += 1;
                    }
                }
                Err(PublishError::Full) => {
                    inner.waiting.push_front(publication);
                    return;
                }
                Err(error) => {
                    inner.waiting_bytes -= publication.payload.len();
                    inner.dropped += 1;
                    tracing::error!(topic = %publication.topic, %error, "result cannot be published");
                }
            }
        }
    }

    /// The broker has the oldest under way: a broker acknowledges in the order it received.
    fn acknowledged(&self) {
        let mut inner = self.lock();
        if inner.in_flight.pop_front().is_some() {
            inner.published += 1;
        }
    }
}

/// How long a stop waits for what is still queued.
pub const FAREWELL: Duration = Duration::from_secs(1);

/// Connects and publishes until `stop` turns true; then takes leave with what is queued and
/// `offline`. A change of `access` makes a new connection.
pub async fn run(
    mut options: mqtt::Options,
    mut access: watch::Receiver<mqtt::Access>,
    prefix: String,
    queue: Arc<Queue>,
    mut stop: watch::Receiver<bool>,
) {
    let status = |text: &str| Publication {
        batch: None,
        topic: format!("{prefix}/status"),
        payload: text.as_bytes().to_vec(),
        qos: 1,
        retain: true,
    };
    let Publication { topic, payload, qos, retain, .. } = status("offline");
    options.last_will = Some(mqtt::Will { topic, payload, qos, retain });
    options.clean = true;
    let mut backoff = Backoff::default();
    let mut refused: u64 = 0;
    while !*stop.borrow() {
        options.set_access(access.borrow_and_update().clone());
        let (sender, mut connection) = mqtt::connect(&options);
        let started = Instant::now();
        let mut leaving = None;
        let mut renewing = false;
        let ended = loop {
            let next = connection.poll();
            tokio::pin!(next);
            // The future is kept, not dropped, when something else wakes us: polling is not
            // cancel-safe.
            let event = loop {
                let farewell = leaving.unwrap_or_else(tokio::time::Instant::now);
                tokio::select! {
                    event = &mut next => break event,
                    () = queue.wake.notified() => queue.pump(&sender),
                    // With the will discarded, since this is no end.
                    Ok(()) = access.changed(), if leaving.is_none() && !renewing => {
                        renewing = true;
                        if !queue.is_connected() || sender.try_disconnect().is_err() {
                            break Err(MqttError::Closed);
                        }
                    }
                    _ = stop.changed(), if leaving.is_none() => {
                        leaving = Some(tokio::time::Instant::now() + FAREWELL);
                        queue.push(0, [status("offline")]);
                        queue.pump(&sender);
                    }
                    () = tokio::time::sleep_until(farewell), if leaving.is_some() => return,
                }
            };
            match event {
                Ok(Event::Connected { .. }) => {
                    let mut inner = queue.lock();
                    inner.waiting.push_front(status("online"));
                    inner.waiting_bytes += "online".len();
                    inner.connected = true;
                    inner.new_connection = true;
                    drop(inner);
                    queue.pump(&sender);
                }
                Ok(Event::PublishAcknowledged { failure, .. }) => {
                    if let Some(reason) = failure {
                        // Once, and then at powers of two: a refusal repeats with every message.
                        refused += 1;
                        if refused.is_power_of_two() {
                            tracing::warn!(%reason, refused, "the broker refuses results: check its access rules");
                        }
                    }
                    queue.acknowledged();
                    queue.pump(&sender);
                    if leaving.is_some() && queue.info().queued == 0 {
                        let _ = sender.try_disconnect();
                    }
                }
                // Room in the channel again: estimates have no acknowledgement to go on with.
                Ok(Event::PublishSent(_)) => queue.pump(&sender),
                Ok(Event::DisconnectSent) if renewing => break MqttError::Closed,
                Ok(Event::DisconnectSent) => return,
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        let was_connected = queue.is_connected();
        queue.disconnected();
        if was_connected {
            backoff.connection_ended(started.elapsed());
        }
        if leaving.is_some() {
            return;
        }
        if renewing {
            continue;
        }
        let wait = backoff.next_wait(jitter());
        tracing::warn!(error = %ended, wait_s = wait.as_secs_f64(), "results: no connection to the broker");
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.changed() => {}
            Ok(()) = access.changed() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publication(batch: u64, qos: u8) -> Publication {
        Publication {
            batch: Some(batch),
            topic: "t".into(),
            payload: vec![0; 10],
            qos,
            retain: false,
        }
    }

    #[test]
    fn published_through_is_the_batch_before_the_oldest_waiting() {
        let queue = Queue::default();
        assert_eq!(queue.published_through(), 0);
        queue.push(1, []);
        assert_eq!(queue.published_through(), 1);
        queue.push(2, [publication(2, 1)]);
        queue.push(3, []);
        assert_eq!(queue.published_through(), 1);
        let taken = queue.lock().waiting.pop_front().unwrap();
        queue.lock().in_flight.push_back(taken);
        assert_eq!(queue.published_through(), 1, "under way is not published");
        queue.disconnected();
        assert_eq!(queue.published_through(), 1);
        let taken = queue.lock().waiting.pop_front().unwrap();
        queue.lock().in_flight.push_back(taken);
        queue.acknowledged();
        assert_eq!(queue.published_through(), 3);
    }

    #[test]
    fn a_full_queue_gives_up_the_oldest_and_counts() {
        let queue = Queue::default();
        for batch in 1..=WAITING_MAX as u64 + 5 {
            queue.push(batch, [publication(batch, 1)]);
        }
        assert_eq!(queue.info().dropped, 5);
        assert_eq!(queue.published_through(), 5);
    }

    #[test]
    fn estimates_do_not_wait_for_a_connection() {
        let queue = Queue::default();
        queue.push(1, [publication(1, 0)]);
        assert_eq!(queue.info().queued, 0);
        queue.lock().connected = true;
        queue.push(2, [publication(2, 0)]);
        assert_eq!(queue.info().queued, 1);
        queue.disconnected();
        assert_eq!(queue.info().queued, 0);
    }

    #[test]
    fn names_are_encoded_in_topics() {
        assert_eq!(topic("weir/gw", "a/b", "t+", "estimate"), "weir/gw/a%2Fb/t%2B/estimate");
    }
}
