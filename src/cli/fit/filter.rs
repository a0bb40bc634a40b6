//! Which filter, judged by how probable it finds readings that it has not seen.
//!
//! Candidates are given the noise under which the first readings are most probable; then the production filter starts
//! with the held-out ones, as it would in a daemon, and the mean logarithm of the density that it predicted for each decides
//! (the logarithmic score: Gneiting and Raftery 2007, section 4.1; [`kalman::log_density`]).

use crate::analytics::kalman::{self, Kalman, KalmanPlan, Update, Verdict};
use crate::analytics::settings::{KalmanModel, KalmanOutliers, KalmanSettings};
use crate::reading::{EventTime, Finite};

/// A richer or rarer choice must be better by so much, per reading.
const MARGIN: f64 = 0.002;
/// Readings of which the filter has nothing to say count as one five standard deviations off, on the scale of the
/// last that it judged: starting anew must not pay.
const STARTED_ANEW_NIS: f64 = 25.0;

/// What a filter made of the readings.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Sum and number of the log densities of the readings that were judged by.
    sum: f64,
    count: u64,
    pub outliers: u64,
    pub shifts: u64,
    /// Indexes of the readings that were gated.
    pub gated: Vec<usize>,
}

impl Run {
    /// Per reading, natural logarithm.
    pub fn score(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// Runs the production filter, searches in place, over `points`.
pub fn run(settings: &KalmanSettings, points: &[(EventTime, Finite)]) -> Run {
    let plan = KalmanPlan::new(settings);
    let mut filter = Kalman::new(&plan);
    let mut run = Run::default();
    let mut variance = None;
    for (i, &(time, value)) in points.iter().enumerate() {
        let update = filter.update(&plan, time, value);
        if let Some(job) = filter.take_fit_job(&plan)
            && let Some(fit) = job.run()
        {
            filter.offer(fit);
        }
        match update.verdict {
            Verdict::Gated => run.gated.push(i),
            Verdict::Accepted | Verdict::Shift { .. } => {}
        }
        variance = update.innovation_variance.or(variance);
        run.outliers += u64::from(update.verdict == Verdict::Gated);
        run.shifts += u64::from(matches!(update.verdict, Verdict::Shift { .. }));
        let anew = Update { innovation_variance: variance, nis: Some(STARTED_ANEW_NIS), ..update };
        let judged = if update.nis.is_some() { update } else { anew };
        if let Some(density) = kalman::log_density(&judged) {
            run.sum += density;
            run.count += 1;
        }
    }
    run
}

/// A candidate and its score.
#[derive(Clone, Debug)]
pub struct Compared {
    pub name: String,
    pub score: f64,
    pub settings: KalmanSettings,
    pub run: Run,
}

/// The comparison.
#[derive(Clone, Debug)]
pub struct Choice {
    /// In the order compared; the first is what the settings say without a fit.
    pub compared: Vec<Compared>,
    /// Index of the best.
    pub best: usize,
    /// Readings judged.
    pub judged: u64,
    /// The best, fitted to all readings; `None`: the defaults stand.
    pub chosen: Option<KalmanSettings>,
    /// Of the final settings over all readings: which were gated.
    pub gated: Vec<usize>,
}

/// Compares the models on the readings from number `split` on. `None`: too few readings to learn from, readings
/// that do not change, or settings without a filter to choose.
pub fn choose(
    base: &KalmanSettings,
    points: &[(EventTime, Finite)],
    split: usize,
) -> Option<Choice> {
    if matches!(base.model, KalmanModel::Off | KalmanModel::Custom) {
        return None;
    }
    let learned = &points[..split];
    let compare = |name: &str, settings: KalmanSettings| {
        let run = run(&settings, &points[split..]);
        let score = run.score()?;
        Some(Compared { name: name.to_owned(), score, settings, run })
    };
    let blank = |model| KalmanSettings { model, ..KalmanSettings::default() };
    let mut compared = vec![compare("defaults", base.clone())?];
    let mut most = 0;
    let models =
        [KalmanModel::Level, KalmanModel::Trend, KalmanModel::Decay, KalmanModel::Acceleration];
    let mut leading: Option<usize> = None;
    for model in models {
        let found = kalman::maximum_likelihood(&blank(model), learned);
        let Some(found) = found.and_then(|s| compare(model.name(), rounded(s))) else {
            continue;
        };
        let margin = if leading.is_some() { MARGIN } else { 0.0 };
        let before = leading.map_or(f64::NEG_INFINITY, |i| compared[i].score);
        compared.push(found);
        let last = compared.len() - 1;
        if compared[last].score > before + margin {
            leading = Some(last);
        }
    }
    let models = compared.len();
    if let Some(leading) = leading {
        most = if compared[leading].score > compared[0].score { leading } else { 0 };
        let (name, settings) = (compared[leading].name.clone(), compared[leading].settings.clone());
        let variants = [
            ("gate 0.999999", 0.999_999, KalmanOutliers::Gate),
            ("huber", 0.9999, KalmanOutliers::Huber),
            ("no gate", 1.0, KalmanOutliers::Gate),
        ];
        for (how, gate, outliers) in variants {
            let settings = KalmanSettings { gate, outliers, ..settings.clone() };
            compared.extend(compare(&format!("{name}, {how}"), settings));
        }
    }
    let automatic = [
        ("level, huber, noise auto", KalmanModel::Level, KalmanOutliers::Huber),
        ("trend, noise auto", KalmanModel::Trend, KalmanOutliers::Gate),
    ];
    for (name, model, outliers) in automatic {
        compared.extend(compare(name, KalmanSettings { outliers, ..blank(model) }));
    }
    for i in models..compared.len() {
        if compared[i].score > compared[most].score + MARGIN {
            most = i;
        }
    }
    let judged = compared[0].run.count;
    let chosen = (most > 0).then(|| refitted(&compared[most].settings, points));
    let last = chosen.as_ref().unwrap_or(base);
    let gated = run(last, points).gated;
    Some(Choice { compared, best: most, judged, chosen, gated })
}

/// The same model and gate, its noise found from all readings.
fn refitted(settings: &KalmanSettings, points: &[(EventTime, Finite)]) -> KalmanSettings {
    if settings.observation_sd.is_none() {
        return settings.clone();
    }
    let KalmanSettings { model, gate, outliers, .. } = settings.clone();
    let blank = KalmanSettings { model, gate, outliers, ..KalmanSettings::default() };
    kalman::maximum_likelihood(&blank, points).map_or_else(|| settings.clone(), rounded)
}

/// With four significant digits: more say nothing, and fill the page.
fn rounded(settings: KalmanSettings) -> KalmanSettings {
    let round = |sd: Option<f64>| sd.map(|sd| significant(sd, 4));
    // Of a level around zero the mean keeps as many decimals as its noise has.
    KalmanSettings {
        // What rounds to nothing is no longer above it.
        observation_sd: round(settings.observation_sd).map(|sd| sd.max(1e-150)),
        level_sd: round(settings.level_sd),
        trend_sd: round(settings.trend_sd),
        acceleration_sd: round(settings.acceleration_sd),
        tau: settings.tau.map(|tau| {
            // Whole seconds, where it has many.
            let second = crate::reading::SECOND;
            if tau > 100 * second { tau / second * second } else { tau }
        }),
        mean: settings.mean.map(|mean| significant(mean, 7)),
        ..settings
    }
}

/// `value` with so many significant digits.
pub fn significant(value: f64, digits: usize) -> f64 {
    format!("{value:.*e}", digits.saturating_sub(1)).parse().unwrap_or(value)
}
