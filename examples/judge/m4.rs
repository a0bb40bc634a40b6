//! The M4 competition's measure: one forecast of 48 hours at the end of each series.
//!
//! Source: Makridakis, Spiliotis, Assimakopoulos, The M4 Competition, International Journal of Forecasting 36 (2020)
//! 54–74: OWA is the mean of sMAPE and MASE, each over all series and relative to Naive2. Naive2 repeats the last
//! value of the series without its season (classical multiplicative decomposition, where the autocorrelation at lag 24 is significant at
//! 90 %), as the organisers' program does.

use std::collections::BTreeMap;
use std::path::Path;

use weir::analytics::settings::HOUR;
use weir::cli::replay::player::Player;
use weir::engine::{ConfigError, CoreConfig};
use weir::reading::{EventTime, Finite, SECOND};

use crate::corpus::{self, HORIZON};
use crate::recorded;

const SEASON: usize = 24;
/// Where a series without times begins: any midnight.
const BEGIN: i64 = 1_600_041_600 * SECOND;

/// Sums of sMAPE and MASE.
#[derive(Clone, Copy, Default)]
struct Errors {
    symmetric: f64,
    scaled: f64,
}

impl Errors {
    fn of(history: &[f64], actual: &[f64], forecast: &[f64]) -> Errors {
        let n = actual.len() as f64;
        let pairs = history.len().saturating_sub(SEASON).max(1) as f64;
        let scale = history.iter().zip(history.iter().skip(SEASON)).map(|(a, b)| (b - a).abs());
        let scale = (scale.sum::<f64>() / pairs).max(f64::MIN_POSITIVE);
        let mut errors = Errors::default();
        for (y, f) in actual.iter().zip(forecast) {
            let (error, size) = ((y - f).abs(), y.abs() + f.abs());
            errors.symmetric += if size > 0.0 { 200.0 * error / size / n } else { 0.0 };
            errors.scaled += error / scale / n;
        }
        errors
    }

    fn add(&mut self, other: Errors) {
        self.symmetric += other.symmetric;
        self.scaled += other.scaled;
    }

    fn owa(&self, naive2: &Errors) -> f64 {
        0.5 * (self.symmetric / naive2.symmetric + self.scaled / naive2.scaled)
    }
}

/// The last value without its season, with the season to come.
fn naive2(history: &[f64]) -> Vec<f64> {
    let factors = if is_seasonal(history) { factors(history) } else { vec![1.0; SEASON] };
    let n = history.len();
    let last = history.last().copied().unwrap_or(0.0) / factors[(n - 1) % SEASON];
    (0..HORIZON).map(|h| last * factors[(n + h) % SEASON]).collect()
}

/// The organisers' test: |r_24| above 1.645/√n · √(1 + 2 Σ r_k²), the sum over the lags before.
fn is_seasonal(y: &[f64]) -> bool {
    let n = y.len() as f64;
    if y.len() < 3 * SEASON {
        return false;
    }
    let mean = y.iter().sum::<f64>() / n;
    let moment =
        |lag: usize| -> f64 { y.iter().zip(&y[lag..]).map(|(a, b)| (a - mean) * (b - mean)).sum() };
    let r: Vec<f64> = (1..=SEASON).map(|lag| moment(lag) / moment(0)).collect();
    let sum: f64 = r[..SEASON - 1].iter().map(|r| r * r).sum();
    r[SEASON - 1].abs() > 1.645 / n.sqrt() * (1.0 + 2.0 * sum).sqrt()
}

/// Season factors by place modulo 24: means of the ratios to a centred moving average, their mean 1.
fn factors(y: &[f64]) -> Vec<f64> {
    let half = SEASON / 2;
    let (mut sums, mut counts) = (vec![0.0; SEASON], vec![0.0; SEASON]);
    for t in half..y.len() - half {
        let inner: f64 = y[t - half + 1..t + half].iter().sum();
        let average = (inner + 0.5 * (y[t - half] + y[t + half])) / SEASON as f64;
        if average > 0.0 {
            sums[t % SEASON] += y[t] / average;
            counts[t % SEASON] += 1.0;
        }
    }
    let means: Vec<f64> = sums.iter().zip(&counts).map(|(s, c)| s / f64::max(*c, 1.0)).collect();
    let mean = means.iter().sum::<f64>() / SEASON as f64;
    means.iter().map(|f| (f / mean).max(1e-3)).collect()
}

/// What the engine, with default settings, forecasts at the end of `history`, one value an hour; its model's name.
fn ours(history: &[f64], begin: i64) -> Result<(Vec<f64>, &'static str), ConfigError> {
    let mut player = Player::new(CoreConfig::default(), 3600 * SECOND, 4096)?;
    for (t, &y) in history.iter().enumerate() {
        let time = EventTime::clamped(begin + t as i64 * HOUR);
        if let Some(value) = Finite::new(y) {
            player.push(("judge", "value"), time, value)?;
        }
    }
    player.finish::<ConfigError>(|_, _| Ok(()))?;
    let forecast = player
        .engine()
        .units()
        .next()
        .and_then(|(_, _, unit)| unit.state().forecast_after_end(unit.plan(), HORIZON));
    Ok(forecast.map_or((vec![0.0; HORIZON], "none"), |f| (f.mean, f.model)))
}

/// Sums over series: ours, seasonal naive, Naive2.
#[derive(Clone, Default)]
struct Table {
    rows: BTreeMap<String, (u32, [Errors; 3], u32)>,
}

impl Table {
    fn judge(&mut self, kind: &str, values: &[f64], begin: i64) -> Result<(), ConfigError> {
        let (history, actual) = values.split_at(values.len() - HORIZON);
        let season = &history[history.len() - SEASON..];
        let repeated: Vec<f64> = (0..HORIZON).map(|h| season[h % SEASON]).collect();
        let (own, model) = ours(history, begin)?;
        let errors = [&own, &repeated, &naive2(history)].map(|f| Errors::of(history, actual, f));
        if std::env::var_os("JUDGE_VERBOSE").is_some() {
            println!("{kind} {model} ours {:.3} naive {:.3}", errors[0].scaled, errors[1].scaled);
        }
        for row in [kind, ""] {
            let (n, sums, lost) = self.rows.entry(row.to_owned()).or_default();
            *n += 1;
            sums.iter_mut().zip(errors).for_each(|(sum, errors)| sum.add(errors));
            *lost += u32::from(errors[0].scaled > errors[1].scaled);
        }
        Ok(())
    }

    fn print(&self, title: &str) {
        println!(
            "{title}\n\n{:28} {:>4} {:>8} {:>8} {:>9} {:>9} {:>12} {:>12}",
            "kind", "n", "OWA", "naive", "sMAPE", "naive", "MASE/naive", "worse than"
        );
        let total = self.rows.iter().filter(|(kind, _)| kind.is_empty());
        for (kind, (n, [own, naive, naive2], lost)) in
            self.rows.iter().filter(|(kind, _)| !kind.is_empty()).chain(total)
        {
            let mean = |sum: f64| sum / f64::from(*n);
            println!(
                "{:28} {n:>4} {:>8.3} {:>8.3} {:>9.2} {:>9.2} {:>6.3}/{:<6.3} {lost:>11}",
                if kind.is_empty() { "all" } else { kind },
                own.owa(naive2),
                naive.owa(naive2),
                mean(own.symmetric),
                mean(naive.symmetric),
                mean(own.scaled),
                mean(naive.scaled)
            );
        }
        println!();
    }
}

/// The invented corpus.
pub fn judge_invented(n: u64, seed: u64) {
    let mut table = Table::default();
    for index in 0..n {
        let (kind, values) = corpus::series(seed, index);
        if let Err(error) = table.judge(kind, &values, BEGIN) {
            println!("{kind}: {error}");
        }
    }
    table.print(&format!(
        "Invented series like M4's hourly ones, seed {seed}: one forecast of {HORIZON} hours at the end of each (naive: seasonal)"
    ));
}

/// Series of CSV files: their readings in the files' order, taken to be an hour apart; the last 48 are forecast.
///
/// # Errors
/// A file that cannot be read.
pub fn judge_files(folder: &Path) -> Result<(), String> {
    let mut table = Table::default();
    for (name, readings) in recorded::load(folder)? {
        let values: Vec<f64> = readings.iter().map(|(_, value)| value.get()).collect();
        if values.len() < 3 * SEASON + HORIZON {
            println!("left out: {name} (too short)");
            continue;
        }
        table.judge("files", &values, BEGIN).map_err(|error| error.to_string())?;
    }
    table.print(&format!("Series of {}: the last {HORIZON} values of each", folder.display()));
    Ok(())
}
