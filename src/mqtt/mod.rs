//! MQTT 5 and 3.1.1, and the only module that knows the client library (`rumqttc`).
//!
//! Invariants:
//! - **One connection, one client.** [`connect`] makes a fresh client and event loop for every
//!   attempt, and a [`Connection`] that failed never reconnects. An acknowledgement given to the
//!   [`Sender`] of an older connection can therefore not reach a newer one, where the same packet
//!   id means another message; and nothing is sent again unless our own caller sends it again
//!   (the library's retransmission collides with packet ids in use when a session is lost).
//! - **Nothing is acknowledged by itself.** QoS 1 messages wait for
//!   [`Sender::try_acknowledge`].
//! - **Nothing here waits but [`Connection::poll`].** The `try_` calls answer at once; awaiting
//!   the library's client in the task that polls deadlocks when its channel is full.
//! - Packets above our own limit, in or out, are an error with a size, never an endless loop
//!   without a word.
//! - Acknowledgements share the request channel, which is not read while as many publishes are
//!   unacknowledged as the window allows: use separate connections to ingest and to publish.
//! - A session delivers at most QoS 1; QoS 2 needs a handshake that outlives a connection.

mod backoff;
mod error;
mod v4;
mod v5;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use backoff::{BACKOFF_MAX, BACKOFF_MIN, Backoff, STABLE_AFTER};
pub use error::{Full, MqttError, PublishError};

use crate::tls;

/// Keep-alives are brought into this range (seconds): the library refuses less than five, the
/// protocol has sixteen bits.
const KEEP_ALIVE_SECONDS: (u64, u64) = (5, 65_535);

/// How long to wait for TCP and CONNACK, and for a blocked socket on top of the keep-alive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Largest packet the protocol can frame: five bytes of header and 268,435,455 bytes.
const PROTOCOL_MAX_PACKET: u32 = 268_435_460;

/// Protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 5.
    V5,
    /// MQTT 3.1.1.
    V4,
}

/// What the broker publishes for us when the connection ends without a disconnect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Topic, without wildcards.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// 0 or 1.
    pub qos: u8,
    /// Whether the broker keeps it as the topic's retained message.
    pub retain: bool,
}

/// What proves who we are and says whom we believe: what may change while the daemon runs. A new
/// one holds from the next connection on.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// User name.
    pub username: Option<String>,
    /// Password; sent only with a user name.
    pub password: Option<String>,
    /// TLS; `None`: plain TCP.
    pub tls: Option<tls::Client>,
}

/// Without user name and password.
impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("tls", &self.tls).finish_non_exhaustive()
    }
}

/// How to connect.
#[derive(Clone, PartialEq, Eq)]
pub struct Options {
    /// Host name, IPv4 or IPv6 address (no brackets).
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Protocol version.
    pub version: Version,
    /// Client identifier; the name of the session. Empty only with `clean`.
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// Password; sent only with a user name.
    pub password: Option<String>,
    /// TLS; `None`: plain TCP.
    pub tls: Option<tls::Client>,
    /// Longest silence before a ping; brought into 5 s to 65,535 s.
    pub keep_alive: Duration,
    /// `true`: the broker forgets session and subscriptions when the connection ends.
    pub clean: bool,
    /// How long the broker keeps the session of a client that is away (MQTT 5, whole seconds).
    pub session_expiry: Duration,
    /// Most QoS 1 messages the broker may send without our acknowledgement (MQTT 5), ≥ 1. In
    /// MQTT 3.1.1 the broker's own configuration decides.
    pub receive_maximum: u16,
    /// Most QoS 1 messages we send without the broker's acknowledgement, ≥ 1; the broker's own
    /// receive maximum lowers it. Costs about 200 bytes each.
    pub inflight: u16,
    /// Largest packet in bytes, in and out. MQTT 5 announces it, and the broker withholds larger
    /// ones; in MQTT 3.1.1 one larger packet ends the connection ([`MqttError::Oversize`]).
    pub max_packet: u32,
    /// Last will.
    pub last_will: Option<Will>,
    /// How many requests (publishes, acknowledgements, subscriptions) may wait to be sent, ≥ 1.
    /// Costs about 200 bytes each once so many have waited.
    pub channel: usize,
    /// Small packets may wait for more to share a segment with (Nagle's algorithm), until the
    /// broker's TCP has confirmed what left before: for a connection that mostly acknowledges,
    /// where the library makes a write of every single one.
    pub gather: bool,
}

impl Options {
    /// Options with the usual values: MQTT 5, persistent session kept for a day, keep-alive 30 s,
    /// receive maximum 65,535, packets up to 1 MiB, no user name, no will.
    pub fn new(host: impl Into<String>, port: u16, client_id: impl Into<String>) -> Options {
        Options {
            host: host.into(),
            port,
            version: Version::V5,
            client_id: client_id.into(),
            username: None,
            password: None,
            tls: None,
            keep_alive: Duration::from_secs(30),
            clean: false,
            session_expiry: Duration::from_secs(24 * 3600),
            receive_maximum: u16::MAX,
            inflight: 100,
            max_packet: 1024 * 1024,
            last_will: None,
            channel: 1024,
            gather: false,
        }
    }

    /// Connects with this from now on.
    pub fn set_access(&mut self, access: Access) {
        let Access { username, password, tls } = access;
        (self.username, self.password, self.tls) = (username, password, tls);
    }

    /// The address in the form the library resolves. For TLS it is also the name that the broker's
    /// certificate must be for, and that has no brackets.
    fn address(&self) -> String {
        if self.tls.is_none() { self.bracketed() } else { self.host.clone() }
    }

    fn bracketed(&self) -> String {
        if self.host.parse::<std::net::Ipv6Addr>().is_ok() {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        }
    }

    /// For the library; `None` without TLS.
    fn transport(&self) -> Option<rumqttc::Transport> {
        let config = self.tls.as_ref()?.config();
        Some(rumqttc::Transport::tls_with_config(rumqttc::TlsConfiguration::Rustls(config)))
    }

    fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "mqtts" } else { "mqtt" };
        format!("{scheme}://{}:{}", self.bracketed(), self.port)
    }

    fn keep_alive(&self) -> Duration {
        let (least, most) = KEEP_ALIVE_SECONDS;
        Duration::from_secs(self.keep_alive.as_secs().clamp(least, most))
    }
}

/// Without the password.
impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("version", &self.version)
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .field("tls", &self.tls)
            .field("clean", &self.clean)
            .finish_non_exhaustive()
    }
}

/// A message from the broker. Owned and compact: it does not keep the connection's read buffer
/// alive, so a queue of messages is as large as the sum of their sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// 0 or 1.
    pub qos: u8,
    /// The broker sent it before and has seen no acknowledgement.
    pub dup: bool,
    /// Replayed from the retained messages because of a new subscription.
    pub retain: bool,
    /// For [`Sender::try_acknowledge`], on this connection only; 0 for QoS 0.
    pub packet_id: u16,
}

/// What the broker grants (MQTT 5; all `None` in 3.1.1, which cannot tell).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Granted {
    /// Largest packet it takes, in bytes.
    pub max_packet: Option<u32>,
    /// Most QoS 1 messages it takes without having acknowledged them.
    pub receive_maximum: Option<u16>,
    /// Highest QoS it takes.
    pub max_qos: Option<u8>,
    /// Whether it keeps retained messages.
    pub retain: Option<bool>,
    /// How long it keeps the session, where it differs from what was asked for.
    pub session_expiry: Option<Duration>,
    /// The keep-alive it asks for instead of ours.
    pub keep_alive: Option<Duration>,
}

/// What can happen on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The broker accepted the connection; always the first event.
    Connected {
        /// It resumed the session: subscriptions stand, packet ids of redeliveries mean what they
        /// meant. If `false`, subscribe and publish again.
        session_present: bool,
        /// What the broker grants.
        granted: Granted,
    },
    /// A message.
    Message(Message),
    /// A publish was handed to the network, in the order of [`Sender::try_publish`]; its packet
    /// id, or 0 for QoS 0.
    PublishSent(u16),
    /// The broker acknowledged a QoS 1 publish.
    PublishAcknowledged {
        /// As in [`Event::PublishSent`]; free for reuse from now on.
        packet_id: u16,
        /// Why the broker did not take the message (MQTT 5 only).
        failure: Option<String>,
    },
    /// An acknowledgement was handed to the network, in the order of
    /// [`Sender::try_acknowledge`]; its packet id. Not a proof that the broker has it.
    AcknowledgeSent(u16),
    /// The broker answered a [`Sender::try_subscribe`].
    Subscribed {
        /// One text per filter that was refused, or granted less than the QoS asked for.
        failures: Vec<String>,
    },
    /// The broker answered a ping.
    Pong,
    /// Our disconnect was handed to the network; [`MqttError::Closed`] follows.
    DisconnectSent,
    /// Anything else; only a sign of life.
    Other,
}

/// Filters of subscriptions not yet answered, in the order sent.
type Asked = Arc<Mutex<VecDeque<Vec<(String, u8)>>>>;

#[derive(Clone)]
enum Client {
    V4(rumqttc::AsyncClient),
    V5(rumqttc::v5::AsyncClient),
}

enum EventLoop {
    V4(Box<rumqttc::EventLoop>),
    V5(Box<rumqttc::v5::EventLoop>),
}

/// Makes the two ends of a new connection. Nothing happens until [`Connection::poll`].
///
/// Requests given to the sender before [`Event::Connected`] wait in the channel.
pub fn connect(options: &Options) -> (Sender, Connection) {
    let channel = options.channel.max(1);
    let (client, event_loop) = match options.version {
        Version::V4 => {
            let (client, mut event_loop) = rumqttc::AsyncClient::new(v4::options(options), channel);
            event_loop.set_network_options(network_options(options));
            (Client::V4(client), EventLoop::V4(Box::new(event_loop)))
        }
        Version::V5 => {
            let (client, event_loop) = rumqttc::v5::AsyncClient::new(v5::options(options), channel);
            (Client::V5(client), EventLoop::V5(Box::new(event_loop)))
        }
    };
    let max_packet = options.max_packet.min(PROTOCOL_MAX_PACKET);
    let outgoing_max = Arc::new(AtomicU32::new(max_packet));
    let asked = Asked::default();
    let sender =
        Sender { client, outgoing_max: Arc::clone(&outgoing_max), asked: Arc::clone(&asked) };
    let connection = Connection {
        event_loop,
        broker: options.url(),
        tls: options.tls.clone(),
        keep_alive: options.keep_alive(),
        silence_max: options.keep_alive() + PATIENCE,
        max_packet,
        outgoing_max,
        asked,
        phase: Phase::Connecting,
    };
    (sender, connection)
}

fn network_options(options: &Options) -> rumqttc::NetworkOptions {
    let mut network = rumqttc::NetworkOptions::new();
    // A publish alone on the connection would otherwise wait for the one before.
    network.set_tcp_nodelay(!options.gather);
    network.set_connection_timeout(PATIENCE.as_secs());
    network
}

/// Hands requests to a connection. Every call answers at once.
#[derive(Clone)]
pub struct Sender {
    client: Client,
    outgoing_max: Arc<AtomicU32>,
    asked: Asked,
}

impl Sender {
    /// Queues a publish; `qos` 0 or 1 (more is taken as 1).
    ///
    /// # Errors
    /// [`PublishError::Full`]: try again after the next events. [`PublishError::TooLarge`]: the
    /// packet exceeds our limit or the broker's (known once connected); sending it would end the
    /// connection. [`PublishError::Topic`]: empty, longer than 65,535 bytes, or with `+`, `#` or NUL.
    pub fn try_publish(
        &self,
        topic: &str,
        qos: u8,
        retain: bool,
        payload: impl Into<Vec<u8>>,
    ) -> Result<(), PublishError> {
        check_topic(topic)?;
        let payload = payload.into();
        let size = self.publish_size(topic.len(), payload.len(), qos);
        let limit = self.outgoing_max.load(Ordering::Relaxed) as usize;
        if size > limit {
            return Err(PublishError::TooLarge { size, limit });
        }
        let sent = match &self.client {
            Client::V4(client) => {
                client.try_publish(topic, v4::qos(qos), retain, payload).map_err(drop)
            }
            Client::V5(client) => {
                client.try_publish(topic, v5::qos(qos), retain, payload).map_err(drop)
            }
        };
        sent.map_err(|()| PublishError::Full)
    }

    /// Queues the acknowledgement of a QoS 1 message of this connection; 0 (QoS 0) does nothing.
    ///
    /// # Errors
    /// [`Full`]: the acknowledgement is still owed; try again after the next events.
    pub fn try_acknowledge(&self, packet_id: u16) -> Result<(), Full> {
        if packet_id == 0 {
            return Ok(());
        }
        match &self.client {
            Client::V4(client) => client.try_ack(&v4::to_acknowledge(packet_id)).map_err(|_| Full),
            Client::V5(client) => client.try_ack(&v5::to_acknowledge(packet_id)).map_err(|_| Full),
        }
    }

    /// Queues one subscribe packet with these filters and QoS (0 or 1, more is taken as 1). The
    /// answer is one [`Event::Subscribed`]. No filters: nothing is sent.
    ///
    /// # Errors
    /// [`Full`]: try again after the next events. A malformed filter (the configuration refuses
    /// those) counts as never accepted, too.
    pub fn try_subscribe(&self, filters: Vec<(String, u8)>) -> Result<(), Full> {
        if filters.is_empty() {
            return Ok(());
        }
        // Held over both steps, so that clones cannot interleave order and sending.
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        match &self.client {
            Client::V4(client) => {
                client.try_subscribe_many(v4::filters(&filters)).map_err(|_| Full)?;
            }
            Client::V5(client) => {
                client.try_subscribe_many(v5::filters(&filters)).map_err(|_| Full)?;
            }
        }
        asked.push_back(filters);
        Ok(())
    }

    /// Queues the end of a subscription; a filter that was not subscribed is none to the broker.
    ///
    /// # Errors
    /// [`Full`]: try again after the next events.
    pub fn try_unsubscribe(&self, filter: &str) -> Result<(), Full> {
        match &self.client {
            Client::V4(client) => client.try_unsubscribe(filter).map_err(|_| Full),
            Client::V5(client) => client.try_unsubscribe(filter).map_err(|_| Full),
        }
    }

    /// Queues a disconnect behind everything queued so far. The broker discards the last will.
    ///
    /// # Errors
    /// [`Full`]: try again after the next events, or drop the connection.
    pub fn try_disconnect(&self) -> Result<(), Full> {
        match &self.client {
            Client::V4(client) => client.try_disconnect().map_err(|_| Full),
            Client::V5(client) => client.try_disconnect().map_err(|_| Full),
        }
    }

    /// Largest packet that [`try_publish`](Self::try_publish) takes now, in bytes: our limit and,
    /// once connected, the broker's.
    pub fn max_packet(&self) -> u32 {
        self.outgoing_max.load(Ordering::Relaxed)
    }

    /// Bytes on the wire of a publish (MQTT 5.0, section 3.3; 3.1.1 has no properties).
    fn publish_size(&self, topic: usize, payload: usize, qos: u8) -> usize {
        let packet_id = if qos > 0 { 2 } else { 0 };
        let properties = if matches!(self.client, Client::V5(_)) { 1 } else { 0 };
        let remaining = 2 + topic + packet_id + properties + payload;
        let length_bytes = match remaining {
            0..=127 => 1,
            128..=16_383 => 2,
            16_384..=2_097_151 => 3,
            _ => 4,
        };
        1 + length_bytes + remaining
    }
}

fn check_topic(topic: &str) -> Result<(), PublishError> {
    let fault = if topic.is_empty() {
        "is empty"
    } else if topic.len() > usize::from(u16::MAX) {
        "is longer than 65,535 bytes"
    } else if topic.contains(['+', '#', '\0']) {
        "contains +, # or NUL"
    } else {
        return Ok(());
    };
    Err(PublishError::Topic(fault))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Connecting,
    Connected,
    Disconnecting,
    Dead,
}

/// What the library's events and errors mean, before the connection's own state is applied.
enum Seen {
    Connected {
        session_present: bool,
        granted: Granted,
    },
    Message(Message),
    /// Packet id and, for each filter, the granted QoS or why not.
    SubscribeAnswer(Vec<Result<u8, String>>),
    Event(Event),
}

/// One connection to the broker, from connecting to its end.
pub struct Connection {
    event_loop: EventLoop,
    broker: String,
    tls: Option<tls::Client>,
    keep_alive: Duration,
    silence_max: Duration,
    max_packet: u32,
    outgoing_max: Arc<AtomicU32>,
    asked: Asked,
    phase: Phase,
}

impl Connection {
    /// Waits for the next event; drives everything: connecting, sending, receiving, pings.
    ///
    /// **Not cancel-safe**: dropping the future may drop a packet half-written. Poll in a task of
    /// its own, or keep the future pinned across `select!`. Backpressure is not polling for a
    /// while, but less than half the keep-alive: later, the answer to a ping may be found too
    /// late behind waiting messages.
    ///
    /// # Errors
    /// The connection is then dead: drop it and [`connect`] again after a [`Backoff`]. Further
    /// polls return [`MqttError::Closed`]. Messages not acknowledged by then will come again (in
    /// a persistent session); publishes not acknowledged by then are the caller's to send again.
    pub async fn poll(&mut self) -> Result<Event, MqttError> {
        if self.phase == Phase::Dead {
            return Err(MqttError::Closed);
        }
        // The library reads several packets at once: those that wait need neither its machinery nor
        // a timer.
        let result = match self.waiting() {
            Some(seen) => self.apply(seen),
            None => self.next().await,
        };
        if result.is_err() {
            self.phase = Phase::Dead;
        }
        result
    }

    /// The next event that the library has ready. Only while connected: before, and after an
    /// error, its state is its own.
    fn waiting(&mut self) -> Option<Seen> {
        if self.phase != Phase::Connected {
            return None;
        }
        match &mut self.event_loop {
            EventLoop::V4(event_loop) => event_loop.state.events.pop_front().map(v4::event),
            EventLoop::V5(event_loop) => event_loop.state.events.pop_front().map(v5::event),
        }
    }

    async fn next(&mut self) -> Result<Event, MqttError> {
        let context = error::Context {
            broker: &self.broker,
            tls: self.tls.as_ref(),
            max_packet: self.max_packet,
            connected: self.phase != Phase::Connecting,
        };
        let ours = self.phase == Phase::Disconnecting;
        // A healthy connection has an event in every keep-alive: at least our own ping. The
        // library does not notice a socket that takes no more bytes (it waits in flush, pings
        // included), so silence beyond that ends the connection. Dropping its future is safe
        // here, because the connection is dropped with it.
        let silence_max = self.silence_max;
        let seen = match &mut self.event_loop {
            EventLoop::V4(event_loop) => {
                match tokio::time::timeout(silence_max, event_loop.poll()).await {
                    Ok(Ok(event)) => v4::event(event),
                    Ok(Err(_)) if ours => return Err(MqttError::Closed),
                    Ok(Err(error)) => return Err(v4::error(&error, &context)),
                    Err(_) => return Err(silent(&self.broker, silence_max)),
                }
            }
            EventLoop::V5(event_loop) => {
                match tokio::time::timeout(silence_max, event_loop.poll()).await {
                    Ok(Ok(event)) => v5::event(event),
                    Ok(Err(_)) if ours => return Err(MqttError::Closed),
                    Ok(Err(error)) => return Err(v5::error(&error, &context)),
                    Err(_) => return Err(silent(&self.broker, silence_max)),
                }
            }
        };
        self.apply(seen)
    }

    fn apply(&mut self, seen: Seen) -> Result<Event, MqttError> {
        match seen {
            Seen::Connected { session_present, granted } => {
                self.phase = Phase::Connected;
                if let Some(limit) = granted.max_packet {
                    self.outgoing_max.fetch_min(limit, Ordering::Relaxed);
                }
                if let Some(keep_alive) = granted.keep_alive {
                    self.silence_max = keep_alive + PATIENCE;
                }
                if let EventLoop::V5(event_loop) = &mut self.event_loop
                    && event_loop.options.keep_alive().is_zero()
                {
                    // "No keep-alive" from the broker would make the library ping without pause.
                    event_loop.options.set_keep_alive(self.keep_alive);
                    self.silence_max = self.keep_alive + PATIENCE;
                }
                Ok(Event::Connected { session_present, granted })
            }
            Seen::Message(message) if message.qos > 1 => Err(MqttError::Refused(format!(
                "{}: the session holds a QoS 2 subscription or message (topic {}), which this \
                 client never asks for: another program used the same client id; choose another \
                 client_id",
                self.broker, message.topic
            ))),
            Seen::Message(message) => Ok(Event::Message(message)),
            Seen::SubscribeAnswer(answers) => {
                let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let failures = subscribe_failures(&asked.unwrap_or_default(), answers);
                Ok(Event::Subscribed { failures })
            }
            Seen::Event(event) => {
                if event == Event::DisconnectSent {
                    self.phase = Phase::Disconnecting;
                }
                Ok(event)
            }
        }
    }
}

fn silent(broker: &str, silence: Duration) -> MqttError {
    MqttError::Network(format!(
        "{broker}: no sign of life for {} s: is the broker or the network down?",
        silence.as_secs()
    ))
}

fn subscribe_failures(asked: &[(String, u8)], answers: Vec<Result<u8, String>>) -> Vec<String> {
    let mut failures = Vec::new();
    for (index, answer) in answers.into_iter().enumerate() {
        let (filter, qos) = asked.get(index).map_or(("?", 0), |(filter, qos)| (filter, *qos));
        match answer {
            Err(reason) => failures.push(format!("subscription to `{filter}` refused: {reason}")),
            Ok(granted) if granted < qos.min(1) => failures.push(format!(
                "subscription to `{filter}` granted with QoS {granted} instead of {qos}: messages \
                 may be lost"
            )),
            Ok(_) => {}
        }
    }
    failures
}

#[cfg(test)]
mod tests;
