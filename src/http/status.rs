//! What the pipeline tells the outside about itself: plain data, cheap to publish after each batch.
//!
//! Everything here is bounded: [`RECENT`] batches, [`NOTICES`] notices, one [`ForwardInfo`] per
//! configured forwarder; device rows are made on demand and capped by the caller.

use std::collections::VecDeque;

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use crate::analytics::alarm::{Event, Severity};
use crate::analytics::kalman::{Health, NoiseInForce};
use crate::daemon::input::InputAlarm;
use crate::reading::{DropCounts, DropReason, EventTime, ProcessingTime};

/// Most batches kept in [`Status::recent`].
pub const RECENT: usize = 120;

/// Most notices kept in [`Status::notices`].
pub const NOTICES: usize = 16;

/// A snapshot of the daemon. Counters are committed values: they come from frames, so a crash
/// neither loses nor repeats them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// `gateway.id`.
    pub gateway: String,
    /// Identity of the state; new after loss of state.
    pub instance: String,
    /// Version of the program.
    pub version: String,
    /// When the process started; RFC 3339 in JSON.
    #[serde(serialize_with = "rfc3339")]
    pub started: ProcessingTime,
    /// When this snapshot was made; RFC 3339 in JSON.
    #[serde(serialize_with = "rfc3339")]
    pub now: ProcessingTime,
    /// Seconds since the start, by the monotonic clock.
    pub uptime_s: f64,
    /// The site's broker is connected and the subscriptions stand.
    pub mqtt_connected: bool,
    /// The inputs of lines, in order of configuration.
    pub inputs: Vec<InputInfo>,
    /// The wall clock is trusted (`clock.trust`).
    pub clock_trusted: bool,
    /// Recovery is done and readings are being taken.
    pub ready: bool,
    /// Why not, when `ready` is false.
    pub not_ready_reason: Option<String>,
    /// The last batch committed; set by [`Status::committed`].
    pub batch: Option<BatchInfo>,
    /// The last [`RECENT`] batches, oldest first; filled by [`Status::committed`].
    pub recent: VecDeque<BatchInfo>,
    /// Seconds from a batch's close to its being committed and stepped.
    pub batch_duration: Histogram,
    /// Seconds that the oldest reading of a batch waited.
    pub batch_delay: Histogram,
    /// Readings committed.
    pub readings_total: u64,
    /// Readings and messages dropped, by reason.
    #[serde(serialize_with = "by_reason")]
    pub drops: DropCounts,
    /// Bytes ever written to the journal.
    pub journal_bytes_total: u64,
    /// Bytes ever written to sled by checkpoints.
    pub checkpoint_bytes_total: u64,
    /// Checkpoints ever finished.
    pub checkpoints_total: u64,
    /// Bytes the journal holds now.
    pub journal_bytes_now: u64,
    /// Series held.
    pub series: u64,
    /// Most series that may be held.
    pub max_series: u64,
    /// The forwarders, in order of configuration.
    pub forwards: Vec<ForwardInfo>,
    /// The client that publishes results at the site.
    pub results: ResultsInfo,
    /// Times the broker's connection was made again.
    pub reconnects: u64,
    /// Redelivered messages that were recognised and only acknowledged.
    pub duplicates_transport: u64,
    /// Journal frames found damaged at start.
    pub damaged_frames: u64,
    /// Searches for better parameters in the background.
    pub fits: FitsInfo,
    /// Series, and filters over several metrics, whose noise does not fit their readings.
    pub noise_misfit_series: u64,
    /// Groups, derived metrics and filters over several metrics that are not made, in words; the
    /// first [`NOTICES`] of them.
    pub unmade: Vec<String>,
    /// How many are not made, by reason.
    #[serde(serialize_with = "pairs")]
    pub unmade_total: Vec<(&'static str, u64)>,
    /// Alarms active now.
    pub alarms_active: u64,
    /// The whole input is away.
    pub input_alarm: Option<InputAlarm>,
    /// Certificates in use.
    pub certificates: Vec<CertificateInfo>,
    /// What an operator should know, in sentences, newest last; see [`Status::notice`].
    pub notices: Vec<String>,
}

/// An input of lines, since the process started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InputInfo {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// Connections at the moment.
    pub connections: u64,
    /// Lines taken from sockets.
    pub lines: u64,
    /// Connections refused or ended, by reason.
    #[serde(serialize_with = "pairs")]
    pub refused: Vec<(&'static str, u64)>,
}

/// A certificate in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateInfo {
    /// `mqtt`, a forward's or input's name, or `http`.
    pub used_by: String,
    /// `own`; `broker`: the one of the broker last connected to; `crl`: no certificate, but the list
    /// of revoked ones that ends first.
    pub whose: &'static str,
    /// Its end, Unix seconds.
    pub not_after: i64,
}

impl Status {
    /// A daemon that has just started and is not ready yet.
    pub fn new(gateway: String, instance: String, started: ProcessingTime) -> Status {
        Status {
            gateway,
            instance,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started,
            now: started,
            uptime_s: 0.0,
            mqtt_connected: false,
            inputs: Vec::new(),
            clock_trusted: false,
            ready: false,
            not_ready_reason: Some("starting".to_owned()),
            batch: None,
            recent: VecDeque::with_capacity(RECENT),
            batch_duration: Histogram::default(),
            batch_delay: Histogram::default(),
            readings_total: 0,
            drops: DropCounts::default(),
            journal_bytes_total: 0,
            checkpoint_bytes_total: 0,
            checkpoints_total: 0,
            journal_bytes_now: 0,
            series: 0,
            max_series: 0,
            forwards: Vec::new(),
            results: ResultsInfo::default(),
            reconnects: 0,
            duplicates_transport: 0,
            damaged_frames: 0,
            fits: FitsInfo::default(),
            noise_misfit_series: 0,
            unmade: Vec::new(),
            unmade_total: Vec::new(),
            alarms_active: 0,
            input_alarm: None,
            certificates: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Takes a committed batch in: as the last one, among the recent ones, into both histograms.
    /// The totals are the caller's, because they are state and this is not.
    pub fn committed(&mut self, batch: BatchInfo) {
        self.batch_duration.observe(batch.duration_ms / 1000.0);
        self.batch_delay.observe(batch.delay_ms / 1000.0);
        while self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(batch.clone());
        self.batch = Some(batch);
    }

    /// Adds a notice unless it stands already; the oldest goes when there are [`NOTICES`].
    pub fn notice(&mut self, text: impl Into<String>) {
        let text = text.into();
        if !self.notices.contains(&text) {
            if self.notices.len() >= NOTICES {
                self.notices.remove(0);
            }
            self.notices.push(text);
        }
    }
}

/// One committed batch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BatchInfo {
    /// Its number, from 1, without gaps.
    pub number: u64,
    /// When it was closed; RFC 3339 in JSON.
    #[serde(serialize_with = "rfc3339")]
    pub closed: ProcessingTime,
    /// Readings committed with it.
    pub readings: u64,
    /// Messages they came in.
    pub messages: u64,
    /// Commit and step, in milliseconds.
    pub duration_ms: f64,
    /// How long its oldest reading waited for the commit, in milliseconds.
    pub delay_ms: f64,
    /// Size of its frame.
    pub journal_bytes: u64,
    /// Output records it made.
    pub records: u64,
}

/// One forwarder and its outbox.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ForwardInfo {
    /// `[[forward]] name`.
    pub name: String,
    /// The connection upstream stands.
    pub connected: bool,
    /// Bytes waiting.
    pub outbox_bytes: u64,
    /// Records waiting.
    pub outbox_records: u64,
    /// Age of the oldest waiting record in seconds; `None`: nothing waits.
    pub oldest_seconds: Option<f64>,
    /// Unix seconds of the last acknowledgement; `None`: never yet.
    pub last_success: Option<f64>,
    /// Messages acknowledged by upstream, ever.
    pub acknowledged_messages: u64,
    /// Sequence of the next message.
    pub next_sequence: u64,
    /// Records lost because the outbox was full.
    pub dropped_records: u64,
    /// Readings those records counted.
    pub dropped_readings: u64,
}

/// Searches for better parameters in the background, since the process started.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct FitsInfo {
    /// Found parameters that are better, and handed them on.
    pub found: u64,
    /// Found none: the series keeps those it has.
    pub kept: u64,
    /// Of those found, what came too late to be adopted.
    pub late: u64,
    /// Given up because the queue was full.
    pub dropped: u64,
    /// CPU time they took.
    pub seconds: f64,
}

/// The client that publishes results at the site.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ResultsInfo {
    /// Connected.
    pub connected: bool,
    /// Messages published.
    pub published: u64,
    /// Messages waiting.
    pub queued: u64,
    /// Messages given up because the queue was full (estimates only).
    pub dropped: u64,
}

/// One series as the page shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceRow {
    /// Device: text from a payload or topic, not to be trusted.
    pub device: String,
    /// Metric: likewise.
    pub metric: String,
    /// Unit of readings, if known.
    pub unit: Option<String>,
    /// Event time of the last reading; RFC 3339 in JSON.
    #[serde(serialize_with = "rfc3339_opt")]
    pub time: Option<EventTime>,
    /// The last reading.
    pub reading: Option<f64>,
    /// `gauge`, `counter` (level, trend, forecast and history are then of its rate per second),
    /// `state`, or `vector`: a filter over several metrics.
    pub kind: &'static str,
    /// Where that comes from: `settings`, `readings`, or `default` while these have not decided it.
    pub kind_from: &'static str,
    /// The filter's level, posterior.
    pub level: Option<f64>,
    /// Its variance, in the unit squared.
    pub variance: Option<f64>,
    /// The filter's trend per second, for models that have one.
    pub trend: Option<f64>,
    /// Normalised innovation squared of the last reading.
    pub nis: Option<f64>,
    /// Readings taken.
    pub count: u64,
    /// Readings dropped.
    pub dropped: u64,
    /// Which filter, in words (`"level"`).
    pub model: String,
    /// Whether the filter's noise fits the readings; `None`: no filter.
    pub noise: Option<NoiseRow>,
    /// The current forecast.
    pub forecast: Option<ForecastRow>,
    /// Of a filter over several metrics: its last row. `nis` and `time` are the row's, readings and
    /// levels stand here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<VectorRow>,
    /// Its active alarms.
    pub alarms: Vec<AlarmRow>,
    /// Recent (Unix seconds, reading, level), oldest first.
    pub history: Vec<(f64, f64, Option<f64>)>,
}

/// The last row of a filter over several metrics.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VectorRow {
    /// Metric by metric, in the order of H's rows.
    pub metrics: Vec<ComponentRow>,
    /// How many of them the row had that were expected.
    pub dof: usize,
    /// The gate rejected it.
    pub gated: bool,
    /// Readings that came after their row had been filtered.
    pub late: u64,
    /// Rows that the gate rejected, so far.
    pub outliers: u64,
    /// Shifts of the state, so far.
    pub shifts: u64,
    /// Mean of the state (time unit: second); `None` until all of it is known.
    pub state: Option<Vec<f64>>,
    /// Its covariance, by rows.
    pub covariance: Option<Vec<Vec<f64>>>,
}

/// A metric in a row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ComponentRow {
    /// The metric.
    pub metric: String,
    /// Its unit.
    pub unit: Option<String>,
    /// Its reading; `None`: missing in this row.
    pub reading: Option<f64>,
    /// What it measures, without its noise.
    pub level: Option<f64>,
    /// The variance of that.
    pub variance: Option<f64>,
}

/// An active alarm.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AlarmRow {
    /// Device; absent in a series' own row, and for the alarm of the whole input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Metric; likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<String>,
    /// Its name.
    pub alarm: String,
    /// Event time of its begin; RFC 3339 in JSON.
    pub since: String,
    /// The reading that began it.
    pub value: Option<f64>,
    /// What was expected instead.
    pub expected: Option<f64>,
    /// Lower end of the ordinary.
    pub lower: Option<f64>,
    /// Upper end of the ordinary.
    pub upper: Option<f64>,
    /// In words, with numbers.
    pub reason: String,
    /// How bad it is.
    pub severity: Severity,
}

impl AlarmRow {
    /// Of the event of its begin.
    pub fn of(event: &Event) -> AlarmRow {
        AlarmRow {
            device: None,
            metric: None,
            alarm: event.alarm.to_string(),
            since: event.time.to_string(),
            value: event.value,
            expected: event.expected,
            lower: event.lower,
            upper: event.upper,
            reason: event.reason.clone(),
            severity: event.severity,
        }
    }
}

/// Active alarms.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Alarms {
    /// The worst first, among equals the newest.
    pub alarms: Vec<AlarmRow>,
    /// How many there are in all.
    pub total: u64,
}

/// Whether a filter's noise fits, by its latest innovations.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NoiseRow {
    /// Mean of the normalised innovation squared and so on.
    #[serde(flatten)]
    pub health: Health,
    /// What was found and what to do about it, in a sentence.
    pub advice: String,
    /// The noise in force.
    #[serde(flatten)]
    pub in_force: Option<NoiseInForce>,
    /// Readings behind the filter.
    pub unordered: u64,
    /// Readings that the filter gated.
    pub outliers: u64,
    /// Level shifts.
    pub shifts: u64,
}

/// A forecast of slot means: element h is that of the slot that starts at `origin` + h·`step_s`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ForecastRow {
    /// End of the last slot seen; RFC 3339 in JSON.
    #[serde(serialize_with = "rfc3339")]
    pub origin: EventTime,
    /// Length of a slot in seconds.
    pub step_s: f64,
    /// Probability that the interval is to cover.
    pub nominal: f64,
    /// Means, in the unit.
    pub mean: Vec<f64>,
    /// Lower ends of the interval, as long as `mean`.
    pub lower: Vec<f64>,
    /// Upper ends of the interval, as long as `mean`.
    pub upper: Vec<f64>,
    /// Which forecaster, in words (`"daily"`).
    pub model: String,
    /// Measured coverage of the interval in [0, 1]; `None`: too few slots yet.
    pub coverage: Option<f64>,
    /// 1 − error / error of the naive forecast; positive is better than naive.
    pub skill: Option<f64>,
}

/// Upper bounds of the buckets of a [`Histogram`], in seconds: from a commit to fast storage to a
/// card that stalls, in steps of 1-2.5-5. The last bucket is unbounded.
pub const BOUNDS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Counts of durations by size.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
    sum: f64,
}

impl Histogram {
    /// Counts one duration of `seconds`. What is not finite or negative (a clock's misstep) counts
    /// as zero, so that the sum stays a number and never falls.
    pub fn observe(&mut self, seconds: f64) {
        let seconds = if seconds.is_finite() { seconds.max(0.0) } else { 0.0 };
        self.counts[BOUNDS.partition_point(|&bound| bound < seconds)] += 1;
        self.sum += seconds;
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum in seconds.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// (upper bound in seconds, count of this bucket alone); the last bound is infinite.
    pub fn buckets(&self) -> [(f64, u64); BOUNDS.len() + 1] {
        std::array::from_fn(|i| (BOUNDS.get(i).copied().unwrap_or(f64::INFINITY), self.counts[i]))
    }
}

fn pairs<S: Serializer>(pairs: &[(&'static str, u64)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(pairs.iter().copied())
}

fn rfc3339<T: std::fmt::Display, S: Serializer>(time: &T, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(time)
}

fn rfc3339_opt<S: Serializer>(time: &Option<EventTime>, to: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => to.collect_str(time),
        None => to.serialize_none(),
    }
}

/// All reasons, zeros too: whoever reads the JSON finds the same names every time.
fn by_reason<S: Serializer>(drops: &DropCounts, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(DropReason::ALL.len()))?;
    for reason in DropReason::ALL {
        map.serialize_entry(reason.name(), &drops.get(reason))?;
    }
    map.end()
}
