//! What each station is told: one small struct for each, plain data with defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::batch::window::Zone;
use crate::decoder::settings::Subscription;
use crate::reading::SECOND;
use crate::secret::Source;
use crate::tls;

/// `[gateway]`: who this is.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Name in result topics and upstream messages; 1 to 64 characters, none of `+ # /`.
    pub id: String,
    /// Zone of local days and seasons.
    pub time_zone: Zone,
    /// Passed through upstream; at most 64.
    pub tags: BTreeMap<String, String>,
}

/// `[batch]`: when a micro-batch closes.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// At the latest this long after its first message; 100 ms to 60 s.
    pub interval: Duration,
    /// When it holds this many readings; 1 to 1,000,000.
    pub max_readings: usize,
}

impl Default for Batch {
    fn default() -> Self {
        Batch { interval: Duration::from_secs(2), max_readings: 65_536 }
    }
}

/// `[state]`: where the journal, the model state and the outbox live.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The folder. Default: the first of `$STATE_DIRECTORY`, else `/var/lib/weir`.
    pub path: PathBuf,
    /// Bytes after which a journal or outbox segment file is closed and a new one begun.
    pub segment_bytes: u64,
}

/// `[series]`: ceilings and times of all series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Most series kept; 1 to 1,000,000.
    pub max_series: u32,
    /// Most open panes for each series and window; 1 to 10,000.
    pub max_panes: u32,
    /// A reading further ahead of processing time is dropped as `future`; nanoseconds.
    pub max_ahead: i64,
    /// A series without readings for this attended time may go when room is needed; nanoseconds.
    pub evict_idle: i64,
    /// A series without readings for this attended time goes; nanoseconds.
    pub retire_idle: i64,
}

impl Default for Series {
    fn default() -> Self {
        Series {
            max_series: 4_000,
            max_panes: 16,
            max_ahead: 5 * 60 * SECOND,
            evict_idle: 3600 * SECOND,
            retire_idle: 30 * 86_400 * SECOND,
        }
    }
}

/// `[outbox]`: how much waits for upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Outbox {
    /// Ceiling on disk for each forward, in bytes.
    pub max_bytes: u64,
    /// What goes when it is full.
    pub when_full: WhenFull,
}

impl Default for Outbox {
    fn default() -> Self {
        Outbox { max_bytes: 256 << 20, when_full: WhenFull::DropOldest }
    }
}

/// What a full outbox does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest records go, counted.
    DropOldest,
}

/// `[clock]`: when the gateway's clock is believed.
#[derive(Clone, Debug, PartialEq)]
pub struct Clock {
    /// By what.
    pub trust: Trust,
    /// How long the receiver waits for it before it runs with results marked.
    pub wait: Duration,
}

impl Default for Clock {
    fn default() -> Self {
        Clock { trust: Trust::Ntp, wait: Duration::from_secs(120) }
    }
}

/// When the clock is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Once the system says that it is synchronised.
    Ntp,
    /// From the start (a battery-backed clock, or no network ever).
    Always,
}

/// Where a broker is: `mqtt://host:port`, or `mqtts://host:port` for TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerUrl {
    /// TLS.
    pub tls: bool,
    /// Name or address; IPv6 without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// MQTT's protocol version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MqttVersion {
    /// 3.1.1.
    V4,
    /// 5.
    V5,
}

/// How weir presents itself to a broker.
#[derive(Clone, Debug, PartialEq)]
pub struct Login {
    /// The broker.
    pub url: BrokerUrl,
    /// Protocol version.
    pub version: MqttVersion,
    /// Client id; fixed, since the session hangs on it.
    pub client_id: String,
    /// User name.
    pub username: Option<String>,
    /// File whose first line is the password.
    pub password_file: Option<Source>,
    /// With `mqtts://`: whom to believe and our own certificate.
    pub files: tls::Files,
    /// Where the url stands: `weir.toml:3:7: [mqtt] url`. Not part of its identity.
    pub place: Place,
}

impl Login {
    /// Whether a session of the other is one of this: all but secrets and certificates.
    pub fn same_session(&self, other: &Login) -> bool {
        (&self.url, self.version, &self.client_id) == (&other.url, other.version, &other.client_id)
    }
}

/// Where something stands, in words; all places are equal.
#[derive(Clone, Debug, Default)]
pub struct Place(pub String);

impl PartialEq for Place {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// `[mqtt]`: the site's broker.
#[derive(Clone, Debug, PartialEq)]
pub struct Mqtt {
    /// Broker and identity.
    pub login: Login,
    /// MQTT keep-alive; whole seconds.
    pub keep_alive: Duration,
    /// MQTT 5: most unacknowledged messages the broker may send ahead.
    pub receive_maximum: u16,
    /// MQTT 5: how long the broker keeps the session while weir is away; whole seconds.
    pub session_expiry: Duration,
    /// When messages are acknowledged.
    pub ack: Acknowledge,
    /// What is read.
    pub subscribe: Vec<Subscription>,
}

/// `[[tcp]]`: lines of readings, over TCP or a Unix socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Tcp {
    /// In log and metrics, and what the service manager calls its socket; 1 to 32 of `a-z 0-9 - _`,
    /// each once, not `http`.
    pub name: String,
    /// Where; `None`: only where the service manager does.
    pub listen: Option<Listen>,
    /// Certificate and key: TLS. What is beyond this machine has it, and `token` or `clients`.
    pub tls: Option<(Source, Source)>,
    /// File whose first line must be every connection's first line.
    pub token: Option<Source>,
    /// Whose certificates clients must have.
    pub clients: Option<tls::Clients>,
    /// What is written back.
    pub ack: LineAcknowledge,
    /// Connections at a time; 1 to 1000.
    pub max_connections: usize,
    /// A connection that sends nothing for so long is closed.
    pub idle_timeout: Duration,
    /// How a line is read; `max_payload` is the longest.
    pub lines: Subscription,
}

impl Tcp {
    /// Whether the other is the same but for how lines are read and for the files that it names:
    /// only those change without a restart.
    pub fn same_door(&self, other: &Tcp) -> bool {
        let lines = Subscription { max_payload: other.lines.max_payload, ..self.lines.clone() };
        let (tls, token, clients) = (self.tls.clone(), self.token.clone(), self.clients.clone());
        *self == Tcp { lines, tls, token, clients, ..other.clone() }
    }
}

/// What is written back to who sends lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineAcknowledge {
    /// Nothing.
    Off,
    /// `ok N`: the connection's first N lines are on disk.
    Line,
}

/// When messages are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// When the journal frame with them is on disk: nothing acknowledged is ever lost.
    AfterCommit,
    /// On receipt: a crash or power cut loses what was received since the last commit.
    Eager,
}

/// `[results]`: what is published for the site.
#[derive(Clone, Debug, PartialEq)]
pub struct Results {
    /// Whether anything is.
    pub enabled: bool,
    /// Topic prefix, `{gateway}` filled in.
    pub prefix: String,
    /// Payload format.
    pub format: ResultFormat,
    /// At most one estimate for each series in this time.
    pub min_interval: Duration,
    /// What is published, sorted, each once.
    pub kinds: Vec<ResultKind>,
}

/// Payload format of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultFormat {
    /// JSON.
    Json,
    /// CBOR with the same fields.
    Cbor,
}

/// Kinds of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ResultKind {
    /// Kalman posterior.
    Estimate,
    /// Closed pane.
    Aggregate,
    /// Forecast.
    Forecast,
    /// Begin or end of an alarm.
    Alarm,
}

impl ResultKind {
    /// All of them.
    pub const ALL: [ResultKind; 4] =
        [ResultKind::Estimate, ResultKind::Aggregate, ResultKind::Forecast, ResultKind::Alarm];

    /// Its level in its topic.
    pub const fn name(self) -> &'static str {
        match self {
            ResultKind::Estimate => "estimate",
            ResultKind::Aggregate => "aggregate",
            ResultKind::Forecast => "forecast",
            ResultKind::Alarm => "alarm",
        }
    }
}

/// One `[[forward]]`: a durable way upstream, over MQTT with QoS 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// Its name, also of its folder in the outbox: lower-case letters, digits, `-`, `_`.
    pub name: String,
    /// Broker and identity.
    pub login: Login,
    /// Topic, `{gateway}` filled in.
    pub topic: String,
    /// Largest message in bytes.
    pub max_message: usize,
    /// What goes upstream.
    pub kinds: Vec<ForwardKind>,
}

/// What a forward sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ForwardKind {
    /// Closed panes.
    Aggregate,
    /// Begins and ends of alarms.
    Alarm,
}

impl ForwardKind {
    /// All of them.
    pub const ALL: [ForwardKind; 2] = [ForwardKind::Aggregate, ForwardKind::Alarm];
}

/// `[http]`: page, metrics, health.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Where; `None`: off. What is not loopback has `tls` and `token`.
    pub listen: Option<Listen>,
    /// Certificate and key: HTTPS.
    pub tls: Option<(Source, Source)>,
    /// File whose first line visitors must know.
    pub token: Option<Source>,
}

/// Where the page or an input listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket for its owner and group.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(address) => write!(f, "{address}"),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        let listen = Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 9377)));
        Http { listen: Some(listen), tls: None, token: None }
    }
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Least level that is written.
    pub level: LogLevel,
    /// How lines are written.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Log { level: LogLevel::Info, format: LogFormat::Text }
    }
}

/// Levels, from few lines to many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Data lost or a person needed.
    Error,
    /// Recovered, nothing lost.
    Warn,
    /// What an operator follows.
    Info,
    /// What a developer follows.
    Debug,
    /// Everything.
    Trace,
}

impl LogLevel {
    /// Its name in the configuration and for log filters.
    pub const fn name(self) -> &'static str {
        match self {
            LogLevel::Error => "error",
            LogLevel::Warn => "warn",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
            LogLevel::Trace => "trace",
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}
