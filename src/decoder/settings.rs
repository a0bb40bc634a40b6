//! What a subscription says about the messages on its topics: `[[mqtt.subscribe]]`.
//!
//! Pure data; the configuration builds it, [`super::Decoder`] compiles it.

use std::collections::BTreeMap;

/// One `[[mqtt.subscribe]]` table (also used by other receivers).
#[derive(Clone, Debug, PartialEq)]
pub struct Subscription {
    /// Topic templates: `{name}` stands for one level, `{name+}` for one or several.
    pub topics: Vec<String>,
    /// 0 or 1.
    pub qos: u8,
    /// How payloads are written.
    pub format: Format,
    /// Which values a message holds.
    pub values: Values,
    /// Where the time is (JSON pointer, or CSV column name); `None`: arrival time.
    pub time: Option<String>,
    /// What the time counts.
    pub time_unit: TimeUnit,
    /// Device: a JSON pointer (starts with `/`) or a text with topic captures (`"{site}-{device}"`). Default `"{device}"`.
    pub device: String,
    /// Metric for `Values::One`: as `device`. Default `"{metric}"`; with several values the key names the metric.
    pub metric: String,
    /// JSON pointer to an array of records (`""`: the payload itself is the array); `None`: the payload is one record.
    pub records: Option<String>,
    /// Texts that stand for numbers (`ON = 1`).
    pub map: BTreeMap<String, f64>,
    /// Values that mean "no reading".
    pub missing: Vec<Missing>,
    /// Take retained messages that the broker replays on subscribe.
    pub retained: bool,
    /// Whether readings repeated by the device count once.
    pub dedup: Dedup,
    /// Largest payload in bytes; larger ones are dropped as `oversize`.
    pub max_payload: usize,
    /// Most readings in one message; those beyond are dropped as `too_many`.
    pub max_readings: usize,
}

impl Default for Subscription {
    fn default() -> Self {
        Subscription {
            topics: Vec::new(),
            qos: 1,
            format: Format::Json,
            values: Values::One(String::new()),
            time: None,
            time_unit: TimeUnit::Second,
            device: "{device}".to_owned(),
            metric: "{metric}".to_owned(),
            records: None,
            map: BTreeMap::new(),
            missing: Vec::new(),
            retained: false,
            dedup: Dedup::Auto,
            max_payload: 256 * 1024,
            max_readings: 10_000,
        }
    }
}

/// Payload formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JSON.
    Json,
    /// CBOR, addressed by the same pointers as JSON.
    Cbor,
    /// Lines of comma-separated values; the first line is a header when `value`/`time` name columns.
    Csv,
    /// The payload is the number, as text.
    Text,
}

/// Which values of a record are readings.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// One value at this pointer (`""`: the record itself).
    One(String),
    /// Metric name → pointer.
    Named(BTreeMap<String, String>),
    /// Every numeric leaf; its path, joined with `/`, names the metric.
    All,
}

/// What a time counts, since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds, with any number of decimals.
    Second,
    /// Milliseconds.
    Milli,
    /// Microseconds.
    Micro,
    /// Nanoseconds.
    Nano,
    /// RFC 3339 text.
    Rfc3339,
}

/// A value that means "no reading".
#[derive(Clone, Debug, PartialEq)]
pub enum Missing {
    /// This number.
    Number(f64),
    /// This text.
    Text(String),
}

/// Duplicate recognition by (series, event time, value).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dedup {
    /// `TimeValue` where the payload carries a time, `Off` for arrival time.
    Auto,
    /// Same series, event time and value above the watermark is one reading.
    TimeValue,
    /// Every reading counts.
    Off,
}
