//! Why a connection ended or a request was not taken, in plain words.

use std::fmt;
use std::io;

use crate::tls::{self, explain};

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MqttError {
    /// The broker will not have us as we are: trying again without a change (password, client id,
    /// version) will not help soon.
    Refused(String),
    /// The broker sent a packet above the limit (MQTT 3.1.1; with MQTT 5 it withholds them). In a
    /// persistent session it will come again on every connection: connect with a `max_packet` of
    /// at least `size` bytes for long enough to count and acknowledge it, or give up the session.
    Oversize {
        /// Bytes of the packet behind its fixed header.
        size: usize,
        /// Our limit in bytes.
        limit: usize,
    },
    /// The broker is away or the network failed; try again.
    Network(String),
    /// We disconnected, or the connection had ended before.
    Closed,
}

impl fmt::Display for MqttError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MqttError::Refused(text) | MqttError::Network(text) => f.write_str(text),
            MqttError::Oversize { size, limit } => write!(
                f,
                "the broker sent a packet of {size} bytes, the limit is {limit}: raise the limit, \
                 or let the publisher send less at once"
            ),
            MqttError::Closed => f.write_str("the connection is closed"),
        }
    }
}

impl std::error::Error for MqttError {}

/// The request channel is full; nothing was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the channel to the broker is full")
    }
}

impl std::error::Error for Full {}

/// Why a publish was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// The request channel is full; try again later.
    Full,
    /// The packet is larger than our limit or the broker's; it will never be taken.
    TooLarge {
        /// Bytes on the wire.
        size: usize,
        /// The lower of both limits.
        limit: usize,
    },
    /// No such topic can be published to.
    Topic(&'static str),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PublishError::Full => Full.fmt(f),
            PublishError::TooLarge { size, limit } => write!(
                f,
                "a message of {size} bytes is above the limit of {limit}: lower max_message, or \
                 raise the broker's packet limit"
            ),
            PublishError::Topic(fault) => write!(f, "the topic {fault}"),
        }
    }
}

impl std::error::Error for PublishError {}

/// What is known about the connection that failed.
pub(super) struct Context<'a> {
    pub broker: &'a str,
    pub tls: Option<&'a tls::Client>,
    pub max_packet: u32,
    pub connected: bool,
}

impl Context<'_> {
    pub fn network(&self, what: impl fmt::Display) -> MqttError {
        MqttError::Network(format!("{}: {what}", self.broker))
    }

    pub fn refused(&self, what: impl fmt::Display) -> MqttError {
        MqttError::Refused(format!("{}: {what}", self.broker))
    }

    pub fn oversize(&self, size: usize) -> MqttError {
        MqttError::Oversize { size, limit: self.max_packet as usize }
    }

    /// The TLS fault that an error carries.
    fn tls(&self, error: &io::Error) -> Option<MqttError> {
        let fault = error.get_ref()?.downcast_ref::<rustls::Error>()?;
        let client = self.tls?;
        let text = explain::explain(fault, &explain::Peer { client, now: tls::now() });
        Some(self.refused(text))
    }

    /// An error while the TLS handshake was under way.
    pub fn handshake(&self, error: &io::Error) -> MqttError {
        match error.kind() {
            // A broker that expects MQTT closes on the first bytes of TLS.
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => self.network(explain::not_tls()),
            _ => self.tls(error).unwrap_or_else(|| self.io(error)),
        }
    }

    pub fn io(&self, error: &io::Error) -> MqttError {
        if let Some(fault) = self.tls(error) {
            return fault;
        }
        match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                self.network("nothing listens there: is the broker running, is the url right?")
            }
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof => self.lost(),
            // The codec's complaint about a packet that ends too early.
            io::ErrorKind::Other if !self.connected => self.unanswered("sent no valid packet"),
            _ => self.network(error),
        }
    }

    /// The peer closed the connection without a word.
    pub fn lost(&self) -> MqttError {
        if self.connected {
            self.network(
                "the broker closed the connection; if this repeats, look into its log, and for a \
                 second client with the same client_id",
            )
        } else {
            self.unanswered("closed the connection instead of answering")
        }
    }

    /// Something other than an MQTT answer to our greeting.
    pub fn unanswered(&self, what: &str) -> MqttError {
        // With TLS 1.3 a broker judges our certificate after the handshake, and not all say why.
        let hint = match self.tls.map(|client| client.own.is_some()) {
            None => "does it want TLS (mqtts://, mostly port 8883)",
            Some(true) => "does it refuse the client certificate (its log says why)",
            Some(false) => "does it want a client certificate (cert_file, key_file)",
        };
        self.network(format!(
            "the other side {what}: is it an MQTT broker, {hint}, does it know this version of MQTT \
             (version = 4 for 3.1.1)?"
        ))
    }

    pub fn timeout(&self) -> MqttError {
        if self.connected {
            self.network("the broker takes no more bytes")
        } else {
            self.network("no answer: is the address right, does a firewall drop the packets?")
        }
    }

    pub fn bad_credentials(&self) -> MqttError {
        self.refused("user name or password refused: check username and password_file in [mqtt]")
    }

    pub fn not_authorized(&self) -> MqttError {
        self.refused(
            "not authorized: check username and password_file in [mqtt], and the broker's access \
             list",
        )
    }

    pub fn bad_client_id(&self) -> MqttError {
        self.refused("the broker does not accept this client_id: choose another in [mqtt]")
    }

    pub fn bad_version(&self) -> MqttError {
        self.refused("the broker does not know this version of MQTT: set version = 4 in [mqtt]")
    }
}
