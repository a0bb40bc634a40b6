//! Recorded files as series in event order.

use std::collections::BTreeMap;
use std::path::Path;

use crate::analytics::classify::Classifier;
use crate::analytics::settings::{Kind, Settings, glob_matches};
use crate::batch::counter::CounterStep;
use crate::cli::Failure;
use crate::decoder::recorded::RecordedReader;
use crate::reading::{EventTime, Finite, SECOND};

/// Most readings kept, 16 bytes each.
const READINGS_MAX: usize = 20_000_000;
/// Faulty lines that are told; the others are counted.
const FAULTS_TOLD: usize = 5;

/// Readings in event order, each time and value once.
pub type Points = Vec<(EventTime, Finite)>;

/// One series of a recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    pub device: String,
    pub metric: String,
    pub readings: Points,
    /// By how much the file went back in time for this series, at most; nanoseconds.
    pub lag: i64,
}

impl Series {
    /// Joins the readings of another file.
    pub fn append(&mut self, other: Series) {
        self.readings.extend(other.readings);
        self.lag = self.lag.max(other.lag);
        self.order();
    }

    /// As batches have them: by time, then by value; each once.
    fn order(&mut self) {
        self.readings.sort_by_key(|(time, value)| (*time, value.ordered_bits()));
        self.readings.dedup();
    }
}

/// What is read, and what is not.
#[derive(Debug, Default)]
pub struct Recording {
    pub series: Vec<Series>,
    /// Texts of the first faulty lines.
    pub faults: Vec<String>,
    pub faulty: usize,
}

/// Which series.
#[derive(Clone, Debug)]
pub struct Filter<'a> {
    /// Device of readings without one.
    pub device: &'a str,
    /// Globs; empty: all.
    pub devices: &'a [String],
    pub metrics: &'a [String],
}

impl Filter<'_> {
    fn takes(&self, device: &str, metric: &str) -> bool {
        let any = |globs: &[String], name: &str| {
            globs.is_empty() || globs.iter().any(|glob| glob_matches(glob, name))
        };
        any(self.devices, device) && any(self.metrics, metric)
    }
}

/// Reads a file.
///
/// # Errors
/// It cannot be read, or has more readings than are kept.
pub fn read(path: &Path, filter: &Filter<'_>) -> Result<Recording, Failure> {
    let reader = RecordedReader::open(path, filter.device).map_err(Failure::Runtime)?;
    let mut series: BTreeMap<(String, String), (Points, i64)> = BTreeMap::new();
    let mut recording = Recording::default();
    let mut kept = 0;
    for item in reader {
        let reading = match item {
            Ok(reading) => reading,
            Err(fault) => {
                recording.faulty += 1;
                if recording.faulty <= FAULTS_TOLD {
                    recording.faults.push(format!("{}: {fault}", path.display()));
                }
                continue;
            }
        };
        if !filter.takes(&reading.device, &reading.metric) {
            continue;
        }
        kept += 1;
        if kept > READINGS_MAX {
            return Err(Failure::of_file(
                path,
                format!("more than {READINGS_MAX} readings; choose some with --only or --metric"),
            ));
        }
        let (points, lag) = series.entry((reading.device, reading.metric)).or_default();
        if let Some((last, _)) = points.last() {
            *lag = (*lag).max(last.nanos() - reading.time.nanos());
        }
        points.push((reading.time, reading.value));
    }
    let ordered = |((device, metric), (readings, lag))| {
        let mut series = Series { device, metric, readings, lag };
        series.order();
        series
    };
    recording.series = series.into_iter().map(ordered).collect();
    Ok(recording)
}

/// What filter and forecast see of a series.
#[derive(Clone, Debug)]
pub struct Signal {
    pub kind: Kind,
    /// The readings leave no doubt of it; `false`: the settings say it, or nothing does.
    pub found: bool,
    pub points: Points,
    /// Median of the intervals, nanoseconds, ≥ 1.
    pub interval: i64,
    /// Lowest and highest reading.
    pub range: (f64, f64),
}

/// The signal of readings under these settings: scaled, within `valid`, a counter's as its rate.
pub fn signal(settings: &Settings, readings: &[(EventTime, Finite)]) -> Signal {
    let mut classifier = Classifier::default();
    for (_, value) in readings {
        classifier.observe(*value);
    }
    let kind = settings.kind.fixed().unwrap_or_else(|| classifier.kind());
    let found = settings.kind.fixed().is_none() && !classifier.is_undecided();
    let scaled = |&(time, value): &(EventTime, Finite)| {
        let value = settings.scaled(value)?;
        let (low, high) = settings.valid.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
        (low <= value.get() && value.get() <= high).then_some((time, value))
    };
    let values: Points = readings.iter().filter_map(scaled).collect();
    let range = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), (_, v)| {
        (low.min(v.get()), high.max(v.get()))
    });
    let mut intervals: Vec<i64> =
        values.windows(2).map(|pair| pair[1].0.nanos() - pair[0].0.nanos()).collect();
    intervals.sort_unstable();
    let interval = intervals.get(intervals.len() / 2).copied().unwrap_or(SECOND).max(1);
    let points = match kind {
        Kind::Gauge | Kind::State => values,
        Kind::Counter => {
            let range = settings.counter_range();
            let rate = |pair: &[(EventTime, Finite)]| {
                let step = CounterStep::between(pair[0].1, pair[1].1, &range);
                let nanos = pair[1].0.nanos().abs_diff(pair[0].0.nanos());
                Some((pair[1].0, step.rate(nanos)?))
            };
            values.windows(2).filter_map(rate).collect()
        }
    };
    Signal { kind, found, points, interval, range }
}
