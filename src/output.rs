//! What leaves the core: records, and how they look in JSON and CBOR.
//!
//! Pure. Field names are the contract (other programs read them). Times are RFC 3339 in UTC.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};

use crate::analytics::alarm::{AlarmState, Severity};
use crate::analytics::members::UnitKind;
use crate::reading::{EventTime, SECOND};

/// Serialises an event time as RFC 3339 text where people read, as nanoseconds where we do.
pub(crate) fn time<S: Serializer>(time: &EventTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// The final record of one part of one pane. Its identity upstream is (gateway, instance, device,
/// metric, start, end, part).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    /// Device name.
    pub device: Arc<str>,
    /// Metric name.
    pub metric: Arc<str>,
    /// Start of the pane, inclusive.
    #[serde(serialize_with = "time", deserialize_with = "untime")]
    pub start: EventTime,
    /// End of the pane, exclusive.
    #[serde(serialize_with = "time", deserialize_with = "untime")]
    pub end: EventTime,
    /// The batch that opened this part.
    pub part: u64,
    /// Readings.
    pub count: u64,
    /// Sum of the readings.
    pub sum: f64,
    /// Mean of the readings.
    pub mean: f64,
    /// Least reading.
    pub min: f64,
    /// Greatest reading.
    pub max: f64,
    /// Sum of squared deviations from the mean.
    pub m2: f64,
    /// Sample standard deviation; null for a single reading.
    pub stddev: Option<f64>,
    /// Earliest reading by event time.
    pub first: f64,
    /// Its time.
    #[serde(serialize_with = "time", deserialize_with = "untime")]
    pub first_time: EventTime,
    /// Latest reading by event time.
    pub last: f64,
    /// Its time.
    #[serde(serialize_with = "time", deserialize_with = "untime")]
    pub last_time: EventTime,
    /// Seconds of the pane for which its readings speak: each until the next one, at most for three
    /// intervals that are usual for the series.
    pub covered_s: f64,
    /// Readings that the filter's gate rejected; they are in all the numbers above.
    pub outliers: u64,
    /// Mean over the covered time, each value lasting until the next reading; where the window asks for
    /// it. Merges with weights `covered_s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_mean: Option<f64>,
    /// Of a counter: what it counted. From each reading to the next, in the pane of the later one, so
    /// that panes add up; a reset counts from zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub increase: Option<f64>,
    /// Seconds between the readings whose increase that is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub increase_s: Option<f64>,
    /// How often the counter was reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resets: Option<u64>,
    /// `increase / increase_s`; absent where no time passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Of a state: covered seconds by value (as text), and in `other` values beyond the 16 least.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durations: Option<BTreeMap<String, f64>>,
    /// Of a state: readings that differ from the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transitions: Option<u64>,
    /// Quantiles, as (probability, value).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quantiles: Vec<(f64, f64)>,
    /// The mergeable sketch behind the quantiles, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<String>,
    /// Set for a sliding view, to the seconds from one to the next: it repeats what panes hold, is
    /// published at the site and never goes upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slide_s: Option<f64>,
    /// `"group"` for a group of series, `"derived"` for a metric computed from others: their readings
    /// are in the members' aggregates already. Absent for a series that is read.
    #[serde(default, skip_serializing_if = "UnitKind::is_series")]
    pub source: UnitKind,
    /// Set when a reading came while the gateway's clock was not trusted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub clock_untrusted: bool,
}

/// Reads an event time back from RFC 3339 text.
fn untime<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<EventTime, D::Error> {
    let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
    text.parse::<jiff::Timestamp>()
        .ok()
        .and_then(|t| i64::try_from(t.as_nanosecond()).ok())
        .and_then(EventTime::from_nanos)
        .ok_or_else(|| serde::de::Error::custom("not an RFC 3339 time"))
}

/// The Kalman posterior after one reading.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Device name.
    pub device: Arc<str>,
    /// Metric name.
    pub metric: Arc<str>,
    /// Event time of the reading.
    #[serde(serialize_with = "time")]
    pub time: EventTime,
    /// The reading; of a counter its rate per second, which is what the filter sees.
    pub reading: f64,
    /// Estimated level.
    pub level: f64,
    /// Variance of the level; absent until two readings were seen.
    pub variance: Option<f64>,
    /// Reading minus prediction; absent while the start is diffuse.
    pub innovation: Option<f64>,
    /// Normalised innovation squared.
    pub nis: Option<f64>,
    /// Unit of the series; of a counter all numbers here are in this unit per second.
    pub unit: Option<String>,
    /// Trend in unit per hour, for models that have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trend: Option<f64>,
    /// Variance of the trend, (unit per hour) squared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trend_variance: Option<f64>,
    /// Set when the gate rejected this reading.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gated: bool,
    /// Set while the gateway's clock is not trusted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub clock_untrusted: bool,
}

/// The Kalman posterior after one row of a filter over several metrics. Lists are in the order of
/// `metrics`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VectorEstimate {
    /// Device name.
    pub device: Arc<str>,
    /// The filter's name.
    pub metric: Arc<str>,
    /// Event time of the row.
    #[serde(serialize_with = "time")]
    pub time: EventTime,
    /// The metrics that make up a row.
    pub metrics: Vec<String>,
    /// Their readings; null: missing in this row.
    pub reading: Vec<Option<f64>>,
    /// What each metric measures, without its noise: H·x. Null while that is not known.
    pub level: Vec<Option<f64>>,
    /// Its variance: the diagonal of H·P·Hᵀ.
    pub variance: Vec<Option<f64>>,
    /// Reading minus prediction; null where it is missing, or nothing was expected.
    pub innovation: Vec<Option<f64>>,
    /// Normalised innovation squared of the row; null while nothing is expected of it.
    pub nis: Option<f64>,
    /// Components that it is made of: its degrees of freedom.
    pub dof: usize,
    /// Units of the metrics.
    pub unit: Vec<Option<String>>,
    /// Mean of the state (time unit: second); null until all of it is known.
    pub state: Option<Vec<f64>>,
    /// Its covariance, by rows.
    pub covariance: Option<Vec<Vec<f64>>>,
    /// Set when the gate rejected this row.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub gated: bool,
    /// Set while the gateway's clock is not trusted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub clock_untrusted: bool,
}

/// A forecast of slot means. Element h − 1 is the mean of the slot that starts at
/// `origin + (h − 1)·step`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Forecast {
    /// Device name.
    pub device: Arc<str>,
    /// Metric name.
    pub metric: Arc<str>,
    /// End of the last slot seen.
    #[serde(serialize_with = "time")]
    pub origin: EventTime,
    /// Length of a slot in seconds.
    pub step_s: f64,
    /// Probability that the interval is to cover.
    pub nominal: f64,
    /// Expected slot means.
    pub mean: Vec<f64>,
    /// Lower ends of the intervals.
    pub lower: Vec<f64>,
    /// Upper ends of the intervals.
    pub upper: Vec<f64>,
    /// What was used: `level`, `seasonal-naive`, `holt-winters`, ….
    pub model: &'static str,
    /// Share of past one-step intervals that held the slot mean.
    pub coverage: Option<f64>,
    /// 1 − MAE / MAE of the seasonal naive forecast.
    pub skill: Option<f64>,
}

/// An alarm begins or ends. Upstream it is told from others by (gateway, instance, device, metric,
/// alarm, state, time).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alarm {
    /// Device name.
    pub device: Arc<str>,
    /// Metric name.
    pub metric: Arc<str>,
    /// The alarm's name.
    pub alarm: Arc<str>,
    /// Begin or end.
    pub state: AlarmState,
    /// Event time of what decided it.
    #[serde(serialize_with = "time", deserialize_with = "untime")]
    pub time: EventTime,
    /// The reading (or slot mean) that decided it.
    pub value: Option<f64>,
    /// What was expected instead, or is forecast.
    pub expected: Option<f64>,
    /// Lower end of what would have been ordinary.
    pub lower: Option<f64>,
    /// Upper end of what would have been ordinary.
    pub upper: Option<f64>,
    /// In words, with numbers.
    pub reason: String,
    /// How bad it is.
    pub severity: Severity,
}

/// A record that leaves with its batch, in canonical order.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// A pane closed.
    Aggregate(Box<Aggregate>),
    /// A sliding view moved on. Not upstream: it repeats what panes hold.
    View(Box<Aggregate>),
    /// A slot closed, so the forecast moved on.
    Forecast(Box<Forecast>),
    /// An alarm began or ended.
    Alarm(Box<Alarm>),
}

impl Record {
    /// The `kind` of the contract.
    pub fn kind(&self) -> &'static str {
        match self {
            Record::Aggregate(_) | Record::View(_) => "aggregate",
            Record::Forecast(_) => "forecast",
            Record::Alarm(_) => "alarm",
        }
    }

    /// (device, metric).
    pub fn series(&self) -> (&str, &str) {
        match self {
            Record::Aggregate(a) | Record::View(a) => (&a.device, &a.metric),
            Record::Forecast(f) => (&f.device, &f.metric),
            Record::Alarm(a) => (&a.device, &a.metric),
        }
    }
}

/// A record with its `kind` first, as replay prints it and upstream gets it.
#[derive(Serialize)]
pub struct Kinded<'a, T> {
    /// `estimate`, `aggregate`, `forecast`, `alarm`.
    pub kind: &'a str,
    /// The record's own fields.
    #[serde(flatten)]
    pub record: &'a T,
}

/// A step in seconds.
pub fn step_seconds(step: i64) -> f64 {
    step as f64 / SECOND as f64
}
