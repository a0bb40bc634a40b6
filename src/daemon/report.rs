//! What the outside sees: publications for the result topics, the status snapshot, rows for the
//! page, and rate-limited log lines for bad input.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::analytics::alarm::{AlarmState, Event as AlarmEvent};
use crate::analytics::kalman::Health;
use crate::analytics::settings::Kind;
use crate::analytics::step::{UnitCounts, alarm_record, estimate, forecast};
use crate::analytics::vector;
use crate::config::{Config, ResultFormat, ResultKind};
use crate::daemon::input::InputAlarm;
use crate::decoder::Fault;
use crate::engine::registry::Name;
use crate::engine::{Engine, StepOutput, Unit, Unmade, WhyUnmade};
use crate::http::status::NOTICES;
use crate::http::{
    AlarmRow, Alarms, BatchInfo, ComponentRow, DeviceRow, ForecastRow, ForwardInfo, NoiseRow,
    Query, Status, VectorRow,
};
use crate::outbox::Shared;
use crate::output::{Record, VectorEstimate};
use crate::pipeline::{Committed, Pipeline};
use crate::publisher::{Publication, Queue, alarm_topic, input_topic, topic};
use crate::reading::SeriesId;
use crate::receiver::router::Origin;
use crate::state::disk::Disk;

/// Points kept for the page's small charts, for each series and in all.
const HISTORY_POINTS: usize = 120;
/// Series that have such a history; later ones go without.
const HISTORY_SERIES: usize = 1000;
/// Counting misfits looks at every series; about once a minute is enough.
const MISFITS_EVERY: u64 = 32;

/// A point of a small chart. Single precision shows what pixels can; this is the largest part of a
/// series in memory that is not its state.
#[derive(Clone, Copy, Debug)]
struct Point {
    /// Event time, Unix seconds.
    time: f64,
    reading: f32,
    /// NaN: no level yet.
    level: f32,
}

/// The shortest decimal that reads back as this number, without the digits that conversion adds.
fn widened(value: f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::NAN)
}

/// As the page takes it; `None` for a reading beyond single precision (3.4e38).
fn shown(point: &Point) -> Option<(f64, f64, Option<f64>)> {
    let level = point.level.is_finite().then(|| widened(point.level));
    point.reading.is_finite().then(|| (point.time, widened(point.reading), level))
}

/// The result topics' side of the daemon.
pub struct Results {
    /// What waits to be published.
    pub queue: Arc<Queue>,
}

/// Makes everything that leaves for people and programs.
pub struct Reporter {
    prefix: String,
    format: ResultFormat,
    kinds: Vec<ResultKind>,
    min_interval: Duration,
    /// When a series' estimate was last published, by slot.
    published: Vec<Option<Instant>>,
    /// By slot.
    history: Vec<History>,
    /// Batches remembered; every [`MISFITS_EVERY`] of them, misfits are counted.
    remembered: u64,
    /// Series whose filter's noise did not fit when they were last counted.
    misfits: u64,
    /// What was not made when that was last looked at, with the misfits.
    unmade: Vec<Unmade>,
    /// Forwarders' outboxes.
    pub outboxes: Vec<Arc<Shared>>,
    /// Checkpoints since start.
    pub checkpoints: u64,
    /// Log lines for bad input.
    pub faults: FaultLog,
}

/// The latest points of a slot's series, and which that is.
#[derive(Default)]
struct History {
    of: Option<(Name, Kind)>,
    points: VecDeque<Point>,
}

impl History {
    /// Another series in the slot begins anew, and so does one that was found to be a counter: it is shown by its
    /// rate from then on.
    fn push(&mut self, name: &Name, kind: Kind, point: Point) {
        if self.of.as_ref().is_none_or(|(before, was)| before != name || *was != kind) {
            self.of = Some((name.clone(), kind));
            self.points.clear();
        }
        if self.points.len() >= HISTORY_POINTS {
            self.points.pop_front();
        }
        self.points.push_back(point);
    }
}

impl Reporter {
    /// For a configuration.
    pub fn new(config: &Config, outboxes: Vec<Arc<Shared>>) -> Reporter {
        let mut reporter = Reporter {
            prefix: crate::daemon::prefix(config),
            format: config.results.format,
            kinds: Vec::new(),
            min_interval: Duration::ZERO,
            published: Vec::new(),
            history: Vec::new(),
            remembered: 0,
            misfits: 0,
            unmade: Vec::new(),
            outboxes,
            checkpoints: 0,
            faults: FaultLog::default(),
        };
        reporter.prefix = crate::daemon::prefix(config);
        reporter.configure(config);
        reporter
    }

    /// Follows a new configuration; the prefix stays until a restart, as the will's does. The prefix stays: status and last will stand under it until
    /// the next start.
    pub fn configure(&mut self, config: &Config) {
        self.format = config.results.format;
        self.kinds.clone_from(&config.results.kinds);
        self.min_interval = config.results.min_interval;
    }

    /// The publications of one batch.
    pub fn publications(
        &mut self,
        engine: &Engine,
        batch: u64,
        output: &StepOutput,
        connected: bool,
    ) -> Vec<Publication> {
        let mut publications = Vec::new();
        for record in &output.records {
            publications.extend(self.record(Some(batch), record));
        }
        self.remember(engine, &output.touched);
        if connected && self.kinds.contains(&ResultKind::Estimate) {
            self.estimates(engine, &output.touched, &mut publications);
        }
        publications
    }

    /// What is retained and can be asserted again: every series' forecast and active alarms.
    pub fn retained(&self, engine: &Engine) -> Vec<Publication> {
        engine
            .units()
            .flat_map(|(_, name, unit)| {
                let (device, metric) = (&name.device, &name.metric);
                let alarms = unit.state().alarms().iter();
                let alarms = alarms.map(|event| alarm_record(device, metric, event.clone()));
                let forecast = forecast(device, metric, unit.plan(), unit.state(), None);
                let records: Vec<Record> = alarms.chain(forecast).collect();
                records.into_iter().filter_map(|record| self.record(None, &record))
            })
            .collect()
    }

    /// The alarm of the whole input.
    pub fn input(&self, alarm: &InputAlarm) -> Option<Publication> {
        self.kinds.contains(&ResultKind::Alarm).then(|| Publication {
            batch: None,
            topic: input_topic(&self.prefix),
            payload: self.encode(alarm),
            qos: 1,
            retain: true,
        })
    }

    fn record(&self, batch: Option<u64>, record: &Record) -> Option<Publication> {
        let (device, metric) = record.series();
        let (kind, payload, retain) = match record {
            Record::Aggregate(a) | Record::View(a) => {
                (ResultKind::Aggregate, self.encode(&**a), false)
            }
            Record::Forecast(f) => (ResultKind::Forecast, self.encode(&**f), true),
            Record::Alarm(a) => (ResultKind::Alarm, self.encode(&**a), true),
        };
        if !self.kinds.contains(&kind) {
            return None;
        }
        let topic = match record {
            Record::Alarm(a) => alarm_topic(&self.prefix, device, metric, &a.alarm),
            _ => topic(&self.prefix, device, metric, record.kind()),
        };
        Some(Publication { batch, topic, payload, qos: 1, retain })
    }

    fn encode<T: Serialize>(&self, record: &T) -> Vec<u8> {
        // Finite numbers and texts: encoding cannot fail.
        match self.format {
            ResultFormat::Json => serde_json::to_vec(record).unwrap_or_default(),
            ResultFormat::Cbor => serde_cbor::to_vec(record).unwrap_or_default(),
        }
    }

    /// At most one estimate a series in `min_interval`; the newest counts.
    fn estimates(
        &mut self,
        engine: &Engine,
        touched: &[SeriesId],
        publications: &mut Vec<Publication>,
    ) {
        let now = Instant::now();
        for &series in touched {
            let slot = series.0 as usize;
            if self.published.len() <= slot {
                self.published.resize(slot + 1, None);
            }
            // A little early is better than every other interval.
            let due = self.published[slot].is_none_or(|last| {
                now.duration_since(last) + self.min_interval / 20 >= self.min_interval
            });
            let Some((name, unit)) = engine.unit(series) else { continue };
            if !due {
                continue;
            }
            let Some(payload) = self.estimate(name, unit, engine.meta().clock_trusted) else {
                continue;
            };
            self.published[slot] = Some(now);
            publications.push(Publication {
                batch: None,
                topic: topic(&self.prefix, &name.device, &name.metric, "estimate"),
                payload,
                qos: 0,
                retain: false,
            });
        }
    }

    /// The latest estimate of a unit that has one.
    fn estimate(&self, name: &Name, unit: &Unit, clock_trusted: bool) -> Option<Vec<u8>> {
        let (state, plan) = (unit.state(), unit.plan());
        if let Some(plan) = &plan.vector {
            let names = (&name.device, &name.metric);
            let latest = state.vector()?.latest()?;
            return Some(self.encode(&vector::estimate(names, plan, latest, clock_trusted)));
        }
        let last = state.last()?;
        let latest = (last.time, last.signal(), last.update, state.kalman());
        let estimate = estimate(&name.device, &name.metric, plan, latest, clock_trusted)?;
        Some(self.encode(&estimate))
    }

    fn remember(&mut self, engine: &Engine, touched: &[SeriesId]) {
        if self.remembered.is_multiple_of(MISFITS_EVERY) {
            let misfit = |unit: &Unit| noise_health(unit).is_some_and(|health| health.is_misfit());
            self.misfits = engine.units().filter(|(_, _, unit)| misfit(unit)).count() as u64;
            let unmade = engine.unmade();
            log_unmade(&self.unmade, &unmade);
            self.unmade = unmade;
        }
        self.remembered = self.remembered.wrapping_add(1);
        for &series in touched {
            let slot = series.0 as usize;
            if slot >= HISTORY_SERIES {
                continue;
            }
            if self.history.len() <= slot {
                self.history.resize_with(slot + 1, History::default);
            }
            let Some((name, unit)) = engine.unit(series) else { continue };
            let Some(last) = unit.state().last() else { continue };
            let level = unit.state().kalman().estimate().map(|e| e.level);
            let point = Point {
                time: last.time.nanos() as f64 / 1e9,
                reading: last.signal().get() as f32,
                level: level.map_or(f32::NAN, |level| level as f32),
            };
            self.history[slot].push(name, unit.state().kind(unit.plan()), point);
        }
    }

    /// Brings the snapshot up to date.
    pub fn report(
        &self,
        status: &mut Status,
        pipeline: &Pipeline<Disk>,
        results: Option<&Results>,
        committed: Option<(&Committed, Duration, Duration)>,
    ) {
        let engine = pipeline.engine();
        let totals = engine.totals();
        status.readings_total = totals.readings;
        status.drops = engine.drops();
        status.alarms_active = engine.alarms_active() as u64;
        status.series = engine.registry().len() as u64;
        status.noise_misfit_series = self.misfits;
        let count = |why| self.unmade.iter().filter(|unmade| unmade.why == why).count() as u64;
        status.unmade_total = WhyUnmade::ALL.map(|why| (why.name(), count(why))).to_vec();
        status.unmade = self.unmade.iter().take(NOTICES).map(Unmade::to_string).collect();
        status.max_series = engine.meta().config.max_series as u64;
        status.journal_bytes_total = pipeline.journal_bytes();
        status.checkpoint_bytes_total = pipeline.checkpoint_bytes();
        status.checkpoints_total = self.checkpoints;
        status.journal_bytes_now = pipeline.storage().journal_bytes();
        status.duplicates_transport = pipeline.redelivered();
        status.results = results.map(|results| results.queue.info()).unwrap_or_default();
        status.forwards = self.outboxes.iter().map(|outbox| forward_info(outbox)).collect();
        if let Some((committed, took, delay)) = committed
            && let Some(number) = committed.batch
        {
            status.committed(BatchInfo {
                number,
                closed: engine.meta().processing_time,
                readings: committed.readings as u64,
                messages: committed.messages,
                duration_ms: took.as_secs_f64() * 1e3,
                delay_ms: delay.as_secs_f64() * 1e3,
                journal_bytes: committed.frame_bytes as u64,
                records: committed.output.records.len() as u64,
            });
        }
    }

    /// Answers the page.
    pub fn answer(&self, engine: &Engine, query: Query) {
        match query {
            Query::Series { search, after, limit, reply } => {
                let search = search.to_lowercase();
                let mut found: Vec<(&Name, SeriesId)> = engine
                    .units()
                    .filter(|(_, name, _)| {
                        search.is_empty()
                            || format!("{}/{}", name.device, name.metric)
                                .to_lowercase()
                                .contains(&search)
                    })
                    .filter(|(_, name, _)| {
                        after.as_ref().is_none_or(|(device, metric)| {
                            (&*name.device, &*name.metric) > (device.as_str(), metric.as_str())
                        })
                    })
                    .map(|(series, name, _)| (name, series))
                    .collect();
                found.sort_unstable_by_key(|(name, _)| (&name.device, &name.metric));
                let rows = found.into_iter().take(limit).filter_map(|(name, series)| {
                    engine.unit(series).map(|(_, unit)| self.row(series, name, unit))
                });
                let _ = reply.send(rows.collect());
            }
            Query::Alarms { limit, reply } => {
                let _ = reply.send(Self::alarms(engine, limit));
            }
            Query::One { device, metric, reply } => {
                let row = engine
                    .registry()
                    .get(&device, &metric)
                    .and_then(|series| Some((series, engine.unit(series)?)))
                    .map(|(series, (name, unit))| self.row(series, name, unit));
                let _ = reply.send(row);
            }
        }
    }

    /// The active alarms: the worst first, among equals the newest.
    fn alarms(engine: &Engine, limit: usize) -> Alarms {
        let mut found: Vec<(&Name, &AlarmEvent)> = engine
            .units()
            .flat_map(|(_, name, unit)| unit.state().alarms().iter().map(move |e| (name, e)))
            .collect();
        found.sort_by_key(|(_, e)| (Reverse(e.severity), Reverse(e.time)));
        let total = found.len() as u64;
        let rows = found.into_iter().take(limit).map(|(name, event)| AlarmRow {
            device: Some(name.device.to_string()),
            metric: Some(name.metric.to_string()),
            ..AlarmRow::of(event)
        });
        Alarms { alarms: rows.collect(), total }
    }

    fn row(&self, series: SeriesId, name: &Name, unit: &Unit) -> DeviceRow {
        let (state, plan) = (unit.state(), unit.plan());
        let counts = state.counts();
        let estimate = state.kalman().estimate();
        let model = plan.settings.kalman.model.name();
        let forecast = state.forecast(plan, None).map(|f| ForecastRow {
            origin: f.origin,
            step_s: crate::output::step_seconds(f.step),
            nominal: f.nominal,
            mean: f.mean,
            lower: f.lower,
            upper: f.upper,
            model: f.model.to_owned(),
            coverage: f.coverage,
            skill: f.skill,
        });
        let history = self.history.get(series.0 as usize);
        let row = plan.vector.as_ref().and_then(|plan| {
            let latest = state.vector()?.latest()?;
            let names = (&name.device, &name.metric);
            Some(vector::estimate(names, plan, latest, true))
        });
        DeviceRow {
            device: name.device.to_string(),
            metric: name.metric.to_string(),
            unit: plan.settings.unit.clone(),
            time: match &row {
                Some(estimate) => Some(estimate.time),
                None => state.last().map(|last| last.time),
            },
            reading: state.last().map(|last| last.value.get()),
            level: estimate.map(|e| e.level),
            variance: estimate.and_then(|e| e.variance),
            trend: estimate.and_then(|e| e.trend),
            nis: match &row {
                Some(estimate) => estimate.nis,
                None => state.last().and_then(|last| last.update?.nis),
            },
            count: counts.readings,
            dropped: counts.invalid + counts.future + counts.duplicate,
            kind: match plan.vector {
                Some(_) => "vector",
                None => state.kind(plan).name(),
            },
            kind_from: match (plan.settings.kind.fixed(), state.is_undecided(plan)) {
                (Some(_), _) => "settings",
                (None, true) => "default",
                (None, false) => "readings",
            },
            model: if plan.vector.is_some() { "custom" } else { model }.to_owned(),
            noise: noise_health(unit).map(|health| NoiseRow {
                health,
                advice: health.advice(),
                in_force: state.kalman().noise_in_force(&plan.kalman),
                unordered: counts.unordered,
                outliers: counts.outliers,
                shifts: counts.shifts,
            }),
            forecast,
            vector: row.map(|estimate| vector_row(estimate, counts)),
            alarms: state.alarms().iter().map(AlarmRow::of).collect(),
            history: history
                .map(|h| h.points.iter().filter_map(shown).collect())
                .unwrap_or_default(),
        }
    }
}

/// Whether the noise of the unit's filter fits; `None`: it has no filter (states have none), or no row yet.
fn noise_health(unit: &Unit) -> Option<Health> {
    let (state, plan) = (unit.state(), unit.plan());
    if plan.vector.is_some() {
        return Some(state.vector()?.latest()?.1.health());
    }
    let filtered = plan.kalman.is_on() && state.kind(plan) != Kind::State;
    filtered.then(|| state.kalman().health(&plan.kalman))
}

fn vector_row(estimate: VectorEstimate, counts: &UnitCounts) -> VectorRow {
    let component = |i: usize, metric: String| ComponentRow {
        metric,
        unit: estimate.unit.get(i).cloned().flatten(),
        reading: estimate.reading.get(i).copied().flatten(),
        level: estimate.level.get(i).copied().flatten(),
        variance: estimate.variance.get(i).copied().flatten(),
    };
    let metrics = estimate.metrics.clone().into_iter().enumerate();
    VectorRow {
        metrics: metrics.map(|(i, metric)| component(i, metric)).collect(),
        dof: estimate.dof,
        gated: estimate.gated,
        late: counts.unordered,
        outliers: counts.outliers,
        shifts: counts.shifts,
        state: estimate.state,
        covariance: estimate.covariance,
    }
}

fn forward_info(outbox: &Shared) -> ForwardInfo {
    let mut state = outbox.lock();
    let now = Instant::now();
    let records = state.spool.records();
    // Since when something waits, as far as this process knows; a restart begins anew.
    let since = match (records, state.waiting_since) {
        (0, _) => None,
        (_, None) => Some(now),
        (_, since) => since,
    };
    state.waiting_since = since;
    ForwardInfo {
        name: state.name.clone(),
        connected: state.connected,
        outbox_bytes: state.spool.bytes(),
        outbox_records: records,
        oldest_seconds: since.map(|since| now.duration_since(since).as_secs_f64()),
        last_success: state.last_success,
        acknowledged_messages: state.acknowledged_messages,
        next_sequence: state.spool.cursor().next_sequence,
        dropped_records: state.dropped.map_or(0, |dropped| dropped.records),
        dropped_readings: state.dropped.map_or(0, |dropped| dropped.readings),
    }
}

/// Log lines for units not made, each time that is looked at, at most.
const UNMADE_LINES: usize = 10;

/// A log line for each unit that is not made and was not among those `before` (both are sorted).
fn log_unmade(before: &[Unmade], now: &[Unmade]) {
    let mut new = now.iter().filter(|unmade| before.binary_search(unmade).is_err());
    for unmade in new.by_ref().take(UNMADE_LINES) {
        tracing::warn!(reason = unmade.why.name(), "{unmade}");
    }
    let more = new.count();
    if more > 0 {
        tracing::warn!(more, "more groups, derived metrics or filters are not made");
    }
}

/// Log lines for alarms in one batch at most; what many series do at once is said by the first.
const ALARM_LINES: usize = 20;

/// A log line for each begin and end.
pub fn log_alarms(records: &[Record]) {
    let mut alarms = records.iter().filter_map(|record| match record {
        Record::Alarm(alarm) => Some(alarm),
        Record::Aggregate(_) | Record::View(_) | Record::Forecast(_) => None,
    });
    for a in alarms.by_ref().take(ALARM_LINES) {
        let what = match a.state {
            AlarmState::Active => "alarm begins",
            AlarmState::Cleared => "alarm ends",
        };
        tracing::info!(
            device = %a.device,
            metric = %a.metric,
            alarm = %a.alarm,
            severity = a.severity.name(),
            reason = %a.reason,
            "{what}"
        );
    }
    let more = alarms.count();
    if more > 0 {
        tracing::info!(more, "more alarms began or ended in this batch");
    }
}

/// One log line for bad input in a while, with how many there were in between.
#[derive(Debug, Default)]
pub struct FaultLog {
    last: Option<Instant>,
    unreported: u64,
}

impl FaultLog {
    const EVERY: Duration = Duration::from_secs(10);

    /// Logs a fault, unless one was logged a moment ago.
    pub fn report(&mut self, origin: Origin<'_>, fault: &Fault) {
        if self.last.is_some_and(|last| last.elapsed() < Self::EVERY) {
            self.unreported += 1;
            return;
        }
        let unreported = std::mem::take(&mut self.unreported);
        self.last = Some(Instant::now());
        tracing::warn!(reason = fault.reason.name(), unreported, "dropped: {origin}: {fault}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_begins_anew_with_another_series_or_kind() {
        let mut history = History::default();
        let name = |device: &str| Name { device: device.into(), metric: "flow".into() };
        let mut push = |device, kind| {
            let point = Point { time: 0.0, reading: 1.0, level: 1.0 };
            history.push(&name(device), kind, point);
            history.points.len()
        };
        assert_eq!((push("a", Kind::Gauge), push("a", Kind::Gauge)), (1, 2));
        assert_eq!((push("a", Kind::Counter), push("a", Kind::Counter)), (1, 2));
        assert_eq!((push("b", Kind::Counter), push("b", Kind::Counter)), (1, 2));
        (0..2 * HISTORY_POINTS).for_each(|_| {
            push("b", Kind::Counter);
        });
        assert_eq!(push("b", Kind::Counter), HISTORY_POINTS);
    }
}
