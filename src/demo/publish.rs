//! Publishes the simulated sensors' messages over a real MQTT connection, at the pace of a clock.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::pin;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::sensors::{Fleet, SimMessage};
use crate::clock::Clock;
use crate::mqtt::{self, Backoff, Event, MqttError, PublishError, Sender};
use crate::reading::EventTime;

/// Most messages published without the broker's acknowledgement.
const WINDOW: usize = 100;

/// Publishes what `fleet` has to send, with QoS 1 and in its order, when `clock` has come to it;
/// catches up as fast as the broker takes it. Connects again by itself; messages not acknowledged
/// by then are sent again. Ends when `stop` becomes true or its sender is gone; waits for nothing
/// then. Returns how many messages the broker has acknowledged.
pub async fn publish(
    options: mqtt::Options,
    fleet: Fleet,
    clock: Clock,
    mut stop: watch::Receiver<bool>,
) -> u64 {
    let mut publisher = Publisher {
        fleet,
        clock,
        waiting: VecDeque::new(),
        in_flight: VecDeque::new(),
        acknowledged: 0,
    };
    let mut backoff = Backoff::new();
    // No more is asked of it than to differ between processes that lost the same broker.
    let mut jitter = (u64::from(std::process::id()) % 1000) as f64 / 1000.0;
    while !*stop.borrow() {
        let connected = Instant::now();
        let error = tokio::select! {
            error = publisher.connection(&options) => error,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        backoff.connection_ended(connected.elapsed());
        jitter = (jitter + 0.618_033_988_749_895) % 1.0;
        let wait = backoff.next_wait(jitter);
        tracing::warn!("demo sensors: {error}; next attempt in {:.1} s", wait.as_secs_f64());
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    publisher.acknowledged
}

struct Publisher {
    fleet: Fleet,
    clock: Clock,
    /// Taken from the fleet, not handed to the network yet. With `in_flight` at most [`WINDOW`].
    waiting: VecDeque<Waiting>,
    /// On the network, with packet ids.
    in_flight: VecDeque<(u16, SimMessage)>,
    acknowledged: u64,
}

struct Waiting {
    message: SimMessage,
    /// In the channel of the present connection.
    queued: bool,
}

impl Publisher {
    /// Publishes over one connection until it fails.
    async fn connection(&mut self, options: &mqtt::Options) -> MqttError {
        // What the last connection left goes first, in its order.
        let left = self.in_flight.drain(..).map(|(_, message)| message);
        let left: Vec<SimMessage> =
            left.chain(self.waiting.drain(..).map(|waiting| waiting.message)).collect();
        self.waiting.extend(left.into_iter().map(|message| Waiting { message, queued: false }));

        let (sender, mut connection) = mqtt::connect(options);
        let (events, mut arrived) = mpsc::channel(WINDOW);
        // Polling must not be interrupted: this future stays pinned over all of the select!s
        // below. It ends by itself when the connection has failed.
        let mut polling = pin!(async {
            loop {
                let event = connection.poll().await;
                let failed = event.is_err();
                // This function owns the receiver; it is not closed before the future is dropped.
                if events.send(event).await.is_err() || failed {
                    return pending::<()>().await;
                }
            }
        });
        loop {
            let wait = self.fill(&sender);
            let event = tokio::select! {
                biased;
                event = arrived.recv() => event,
                () = &mut polling => None,
                () = sleep_or_forever(wait) => continue,
            };
            match event {
                Some(Ok(event)) => self.apply(&event),
                Some(Err(error)) => return error,
                None => return MqttError::Closed,
            }
        }
    }

    /// Queues what is due while there is room, and tells how long to wait for more; `None`: until
    /// the next event.
    fn fill(&mut self, sender: &Sender) -> Option<Duration> {
        let now = EventTime::clamped(self.clock.now().0);
        while self.waiting.len() + self.in_flight.len() < WINDOW {
            let Some(message) = self.fleet.next_until(now) else { break };
            self.waiting.push_back(Waiting { message, queued: false });
        }
        for waiting in self.waiting.iter_mut().filter(|waiting| !waiting.queued) {
            let SimMessage { topic, payload, .. } = &waiting.message;
            match sender.try_publish(topic, 1, false, payload.as_str()) {
                Ok(()) => waiting.queued = true,
                Err(PublishError::Full) => return None,
                // Messages of a few bytes on topics of our own: a broker that takes none of them
                // is of no use. Its next event or error tells.
                Err(error) => {
                    tracing::warn!("demo sensors: {topic}: {error}");
                    return None;
                }
            }
        }
        if self.waiting.len() + self.in_flight.len() >= WINDOW {
            return None;
        }
        let next = self.fleet.next_time()?;
        Some(self.clock.real(next.nanos().saturating_sub(self.clock.now().0)))
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::PublishSent(packet_id) => {
                if let Some(waiting) = self.waiting.pop_front() {
                    self.in_flight.push_back((*packet_id, waiting.message));
                }
            }
            Event::PublishAcknowledged { packet_id, failure } => {
                let sent = self.in_flight.iter().position(|(id, _)| id == packet_id);
                if let Some((_, message)) = sent.and_then(|index| self.in_flight.remove(index)) {
                    match failure {
                        None => self.acknowledged += 1,
                        Some(reason) => {
                            tracing::warn!("demo sensors: {}: refused: {reason}", message.topic);
                        }
                    }
                }
            }
            _ => {}
        }
    }
}

async fn sleep_or_forever(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;
    use crate::reading::SECOND;

    /// Accepts one MQTT 5 connection, takes a full window of publishes, acknowledges none and
    /// hangs up. Returns the payloads.
    fn take_a_window(listener: &TcpListener) -> Vec<String> {
        let mut stream = listener.accept().unwrap().0;
        let (mut buffer, mut bytes) = ([0; 4096], Vec::new());
        assert!(stream.read(&mut buffer).unwrap() > 0, "CONNECT");
        stream.write_all(&[0x20, 3, 0, 0, 0]).unwrap();
        while bytes.iter().filter(|byte| **byte == b'}').count() < WINDOW {
            let length = stream.read(&mut buffer).unwrap();
            assert!(length > 0, "the publisher left");
            bytes.extend_from_slice(&buffer[..length]);
        }
        let text = String::from_utf8_lossy(&bytes);
        text.split('}').filter_map(|part| part.split_once('{')).map(|part| part.1.into()).collect()
    }

    #[test]
    fn what_was_not_acknowledged_is_published_again_first() {
        let start = EventTime::clamped(1_767_225_600 * SECOND);
        let fleet = Fleet::new(1, 6, start);
        let clock = Clock::scaled(start.nanos() + 86_400 * SECOND, 1e-6);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let options =
            mqtt::Options::new("127.0.0.1", listener.local_addr().unwrap().port(), "sensors");
        let (stop, stopped) = watch::channel(false);
        let broker = std::thread::spawn(move || {
            let windows = (take_a_window(&listener), take_a_window(&listener));
            stop.send(true).unwrap();
            windows
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let acknowledged = runtime.block_on(publish(options, fleet.clone(), clock, stopped));
        let (first, second) = broker.join().unwrap();
        let mut fleet = fleet;
        let expected: Vec<String> = std::iter::from_fn(|| fleet.next_until(EventTime::LATEST))
            .take(WINDOW)
            .map(|message| message.payload.trim_matches(['{', '}']).to_owned())
            .collect();
        assert_eq!(first, expected);
        assert_eq!(second, expected);
        assert_eq!(acknowledged, 0);
    }
}
