//! The forecaster's settings, compiled once per series.

use super::calendar::{Calendar, Slot};
use super::fit::Scope;
use super::member::{Shape, Spec};
use super::recursion::Parameters;
use super::schedule;
use super::score::Rung;
use crate::analytics::quantile::normal_quantile;
use crate::analytics::settings::{
    ForecastInitial, ForecastResumed, ForecastSettings, HOUR, Log, Seasonal, Smoothing, Trend,
};
use crate::batch::window::Zone;

/// Longest slot, ten years: slot ends of any accepted time then fit into 64-bit nanoseconds.
const STEP_MAX: i64 = 87_660 * HOUR;
/// Longest season in slots (a week of five-minute slots): the state holds two numbers for each.
pub const SEASON_SLOTS_MAX: i64 = 2016;
/// Most slots forecast at once.
pub const HORIZON_MAX: usize = 100_000;
/// Missing slots in a row that are predicted through (or two seasons, if longer).
const GAP_SLOTS: u32 = 1000;
/// Slots over which live runs remember the size of their errors (or ten seasons, if longer).
const MEMORY_SLOTS: usize = 200;

/// Slots remembered for fits: six weeks of hours.
const RING_SLOTS: usize = 1008;
/// Fits weigh forecasts up to this many slots ahead, or two seasons.
const FIT_HORIZON: usize = 24;

/// Readings, shifted levels and given states are limited to ± this, so that their sums,
/// differences and means are finite.
pub(super) const VALUE_MAX: f64 = 1e300;

/// Smoothing when none is given: middling values of practice, not tuned to any data. The level
/// follows within a few slots (0.3 is also where R's HoltWinters starts its search), a trend
/// builds up over days rather than hours, season factors over about ten seasons, and the trend
/// flattens at the slow end of the usual 0.8 to 0.98 (Hyndman, Athanasopoulos, Forecasting:
/// Principles and Practice, 3rd edition, section 8.2).
const DEFAULT_SMOOTHING: Smoothing =
    Smoothing { alpha: 0.3, beta: 0.01, gamma: 0.1, omega: 0.1, phi: 0.98, rho: 0.0 };

/// [`ForecastSettings`] as the hot path wants them. The configuration refuses what is out of
/// range, with its place; here it is only limited, so that nothing can overflow or grow.
#[derive(Clone, Debug, PartialEq)]
pub struct ForecastPlan {
    pub(super) step: i64,
    pub(super) horizon: usize,
    pub(super) nominal: f64,
    pub(super) quantile: Quantile,
    /// The model that the ladder ends with: until a fit is adopted, or for good.
    pub(super) spec: Spec,
    /// What fits may choose from.
    pub(super) scope: Scope,
    /// Slots remembered for fits; 0: nothing is left to fit.
    pub(super) ring: usize,
    /// Outlying errors are cut.
    pub(super) robust: bool,
    pub(super) initial: Option<ForecastInitial>,
    /// Factor by which older squared errors count less with each observed slot; 1: all the same.
    pub(super) memory: f64,
    pub(super) gap_limit: u32,
}

impl ForecastPlan {
    /// Compiles `settings` for a site in `zone`, whose local time seasons of whole days follow.
    ///
    /// Limits: the step to 1 ns … 10 years; the season to 2016 slots, one shorter than 2 slots (or
    /// `seasonal = "none"`) is none; the horizon to 1 … 100,000 slots; `nominal` to
    /// [1e-6, 1 − 1e-9]; the smoothing to the ranges of [`Parameters`]. `initial` is left out when it is not within ±1e300 or its season
    /// has another length.
    pub fn new(settings: &ForecastSettings, zone: &Zone) -> ForecastPlan {
        let step = settings.step.clamp(1, STEP_MAX);
        let seasons = seasons(settings, step);
        let season_length = seasons[0];
        let initial = settings.initial.clone().filter(|initial| {
            let plain = initial.is_without_season();
            let seasons_fit = plain || initial.season.len() == season_length || season_length == 0;
            let states = [initial.level, initial.trend];
            let longer = initial.resumed.iter().all(|resumed| {
                (plain || resumed.longer.len() == spare(seasons))
                    && (1e-150..=1e140).contains(&resumed.sd)
            });
            let mut all = states.iter().chain(&initial.season).chain(initial.longer());
            seasons_fit && longer && all.all(|s| s.abs() <= VALUE_MAX)
        });
        let textbook = initial.as_ref().is_some_and(|initial| initial.resumed.is_none());
        let memory = match textbook {
            // Reproducible from outside: sigma2 = SSE/n over the whole run.
            true => 1.0,
            false => 1.0 - 1.0 / MEMORY_SLOTS.max(10 * season_length) as f64,
        };
        let spec = spec(settings, seasons, initial.as_ref());
        let horizon = (settings.horizon / step).clamp(1, HORIZON_MAX as i64) as usize;
        let fixed = settings.smoothing.is_some();
        let scope = Scope {
            calendar: Calendar::new(step, seasons, zone),
            seasons,
            trend: settings.trend,
            additive: settings.seasonal != Seasonal::Multiplicative,
            multiplicative: settings.seasonal != Seasonal::Additive,
            log: match (settings.log, settings.seasonal) {
                (Log::Always, _) => Some(true),
                (Log::Never, _) | (_, Seasonal::Additive) => Some(false),
                (Log::Auto, _) => None,
            },
            horizon: horizon.min(FIT_HORIZON.max(2 * season_length)),
            robust: settings.robust,
            fixed: fixed.then_some(spec.parameters),
        };
        let fits = match &initial {
            Some(_) if textbook => false,
            // The model that was found is not given up for another with the same smoothing.
            Some(_) => !fixed,
            None => !fixed || seasons[1] > 0,
        };
        let ring = if fits { RING_SLOTS.max(3 * season_length) } else { 0 };
        let nominal = settings.nominal.clamp(1e-6, 1.0 - 1e-9);
        let z = normal_quantile(0.5 + 0.5 * nominal);
        ForecastPlan {
            step,
            horizon,
            nominal,
            quantile: if textbook { Quantile::normal(z) } else { Quantile::student(z) },
            spec,
            scope,
            ring,
            robust: settings.robust && !textbook,
            initial,
            memory,
            gap_limit: GAP_SLOTS.max(2 * season_length as u32),
        }
    }

    /// Runs from given states that are to be reproducible from outside, not from recorded ones.
    pub(super) fn is_textbook(&self) -> bool {
        self.initial.as_ref().is_some_and(|initial| initial.resumed.is_none())
    }

    /// What was learned from recorded data.
    pub(super) fn resumed(&self) -> Option<&ForecastResumed> {
        self.initial.as_ref().and_then(|initial| initial.resumed.as_ref())
    }

    /// Slots for which recorded states stand: they were learned from more.
    pub(super) fn settled_for(&self) -> u64 {
        match &self.initial {
            Some(initial) if initial.resumed.is_some() => {
                schedule::resumed(self.scope.seasons, initial.is_without_season())
            }
            _ => 0,
        }
    }

    /// Length of a slot in nanoseconds.
    pub fn step(&self) -> i64 {
        self.step
    }

    /// The slot of that number since the epoch.
    pub fn slot(&self, number: i64) -> Slot<'_> {
        self.scope.calendar.slot(number)
    }

    /// What the phases of slots go by.
    pub(super) fn calendar(&self) -> &Calendar {
        &self.scope.calendar
    }

    /// Slots in a season; 0 without one.
    pub fn season_length(&self) -> usize {
        self.scope.seasons[0]
    }

    /// Heap bytes of a forecaster under this plan at worst: three seasons of history before the
    /// start; after it two models of a factor (8 bytes) a phase, the naive forecast's 16 and the contest's
    /// 8 a phase; where the season rests, 17 a phase; the ring of 4 bytes a slot, doubling as it grows.
    pub fn state_bytes(&self) -> usize {
        let [first, second] = self.scope.seasons;
        let history = super::start::capacity(first).next_power_of_two() * 16;
        let factors = if self.ring > 0 { 2 * (first + second) } else { first + second };
        let running = 800 + 8 * factors + 24 * first.max(16);
        1024 + history.max(running) + 17 * first + 4 * self.ring.next_power_of_two()
    }

    /// Slots that [`Forecaster::forecast`](super::Forecaster::forecast) looks ahead.
    pub fn horizon(&self) -> usize {
        self.horizon
    }

    /// Probability that intervals are to cover.
    pub fn nominal(&self) -> f64 {
        self.nominal
    }

    /// Missing slots in a row from which on the level is not carried through the gap but taken
    /// from the first slot after it: 1000, or two seasons if that is more.
    pub fn gap_limit(&self) -> u32 {
        self.gap_limit
    }
}

/// The seasons in slots, the shorter first; 0: none. A second one that is no multiple of the first is
/// left out: their factors could not be told apart over a gap.
fn seasons(settings: &ForecastSettings, step: i64) -> [usize; 2] {
    if settings.seasonal == Seasonal::None {
        return [0, 0];
    }
    let slots = |season: &i64| match season / step {
        // Under `auto` a season must be a whole number of steps, and short enough to be seen three times.
        n if settings.season_auto && (season % step != 0 || n > RING_SLOTS as i64 / 3) => 0,
        ..2 => 0,
        n => n.min(SEASON_SLOTS_MAX) as usize,
    };
    let mut seasons = settings.season.iter().map(slots).filter(|&m| m > 0);
    let first = seasons.next().unwrap_or(0);
    let second = seasons.find(|&m| m > first && m % first.max(1) == 0).unwrap_or(0);
    [first, second]
}

/// Slots of the longer of two seasons, of which there are terms of their own; 0: none.
fn spare([first, second]: [usize; 2]) -> usize {
    if first > 0 { second } else { 0 }
}

/// The model before any fit, and after it where nothing is left to fit.
pub(super) fn spec(
    settings: &ForecastSettings,
    seasons: [usize; 2],
    initial: Option<&ForecastInitial>,
) -> Spec {
    let resumed = initial.map(|initial| initial.resumed.as_ref());
    let seasons = match initial {
        Some(initial) if initial.is_without_season() => [0, 0],
        _ => seasons,
    };
    let shape = match (seasons[0], settings.seasonal) {
        (0, _) => Shape::Plain,
        (m, _) if matches!(resumed, Some(Some(_))) && seasons[1] > 0 => {
            Shape::Double(m, seasons[1])
        }
        (m, Seasonal::Multiplicative) => Shape::Multiplicative(m),
        (m, _) => Shape::Additive(m),
    };
    let log = settings.log == Log::Always && resumed != Some(None);
    let found = resumed.flatten().and_then(|resumed| resumed.smoothing);
    let rung = match (shape, settings.trend) {
        (Shape::Plain, Trend::None) => Rung::Ses,
        // Recorded with no trend, which may be looked for from here on.
        (Shape::Plain, _) if found.is_some_and(|smoothing| smoothing.beta == 0.0) => Rung::Ses,
        (Shape::Plain, Trend::Additive | Trend::Damped) => Rung::Holt,
        (Shape::Double(..), _) => Rung::DoubleSeasonal,
        _ => Rung::HoltWinters,
    };
    let given = settings.smoothing.or(found).unwrap_or(DEFAULT_SMOOTHING);
    Spec { rung, shape, log, parameters: parameters(settings, seasons, given) }
}

/// The smoothing in force, with what the chosen components leave out set to 0.
fn parameters(settings: &ForecastSettings, seasons: [usize; 2], given: Smoothing) -> Parameters {
    // Outside these ranges the recursion may be unstable and its states grow without bound. (max and
    // min rather than clamp: they also turn a NaN into a number.)
    let within = |value: f64, high: f64| value.max(0.0).min(high);
    let alpha = within(given.alpha, 1.0);
    let (beta, phi) = match settings.trend {
        Trend::None => (0.0, 0.0),
        Trend::Additive => (within(given.beta, alpha), 1.0),
        Trend::Damped => (within(given.beta, alpha), within(given.phi, 1.0)),
    };
    let gamma = if seasons[0] == 0 { 0.0 } else { within(given.gamma, 1.0 - alpha) };
    let omega = if seasons[1] == 0 { 0.0 } else { within(given.omega, 1.0 - alpha - gamma) };
    let rho = if seasons[0] == 0 { 0.0 } else { within(given.rho, 0.999) };
    Parameters { alpha, beta, gamma, omega, phi, rho }
}

/// How many standard deviations an interval reaches to each side, given how many errors the
/// standard deviation was learned from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Quantile {
    /// Coefficients of 1, 1/ν, 1/ν², 1/ν³, 1/ν⁴.
    terms: [f64; 5],
}

impl Quantile {
    /// The normal quantile `z`, whatever the number of errors.
    fn normal(z: f64) -> Quantile {
        Quantile { terms: [z, 0.0, 0.0, 0.0, 0.0] }
    }

    /// Student's t for ν errors, by its asymptotic expansion about the normal quantile `z`
    /// (Abramowitz, Stegun, Handbook of Mathematical Functions, 26.7.5): within 2 % from ν = 3 on at
    /// z = 1.96. Young series get honestly wide intervals; old ones the normal quantile.
    fn student(z: f64) -> Quantile {
        let z2 = z * z;
        let g1 = z * (z2 + 1.0) / 4.0;
        let g2 = z * ((5.0 * z2 + 16.0) * z2 + 3.0) / 96.0;
        let g3 = z * (((3.0 * z2 + 19.0) * z2 + 17.0) * z2 - 15.0) / 384.0;
        let g4 = z * ((((79.0 * z2 + 776.0) * z2 + 1482.0) * z2 - 1920.0) * z2 - 945.0) / 92160.0;
        // Near z = 0 the last terms turn negative; there the normal quantile is good enough.
        Quantile { terms: [z, g1, g2, g3.max(0.0), g4.max(0.0)] }
    }

    /// For a standard deviation learned from `errors` ≥ 1 errors.
    pub(super) fn at(&self, errors: f64) -> f64 {
        let r = 1.0 / errors.max(1.0);
        let [g0, g1, g2, g3, g4] = self.terms;
        g0 + r * (g1 + r * (g2 + r * (g3 + r * g4)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `tests/data/reference/kalman/quantiles.json`.
    #[test]
    fn normal_quantile_agrees_with_reference() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reference/kalman/quantiles.json");
        let text = std::fs::read_to_string(path).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let normal = json["normal"].as_object().unwrap();
        assert!(normal.len() >= 8);
        for (p, expected) in normal {
            let (p, expected) = (p.parse::<f64>().unwrap(), expected.as_f64().unwrap());
            let got = normal_quantile(p);
            assert!((got - expected).abs() <= 1e-10 * expected.max(1e-6), "{p}: {got} {expected}");
        }
    }

    /// Percentage points of t, two-sided 95 %, from printed tables.
    #[test]
    fn student_widens_the_interval_of_young_series() {
        let quantile = Quantile::student(normal_quantile(0.975));
        for (errors, expected, tolerance) in
            [(3.0, 3.182, 0.02), (5.0, 2.571, 0.005), (10.0, 2.228, 0.001), (60.0, 2.000, 0.001)]
        {
            let got = quantile.at(errors);
            assert!((got / expected - 1.0).abs() < tolerance, "{errors}: {got}");
        }
        assert!(quantile.at(1.0) > 6.0, "{}", quantile.at(1.0));
        for nominal in [1e-6, 0.01, 0.2, 0.5, 0.999_999_999] {
            let quantile = Quantile::student(normal_quantile(0.5 + 0.5 * nominal));
            assert!(quantile.at(1.0) >= quantile.at(1e9) && quantile.at(1.0).is_finite());
        }
    }

    #[test]
    fn out_of_range_settings_are_limited() {
        let settings = ForecastSettings {
            step: 0,
            season: vec![i64::MAX],
            season_auto: false,
            horizon: -5,
            nominal: 7.0,
            ..ForecastSettings::default()
        };
        let plan = ForecastPlan::new(&settings, &Zone::utc());
        assert_eq!((plan.step(), plan.season_length(), plan.horizon()), (1, 2016, 1));
        assert!(plan.quantile.at(1.0).is_finite());
        let settings = ForecastSettings { step: i64::MAX, ..ForecastSettings::default() };
        assert_eq!(ForecastPlan::new(&settings, &Zone::utc()).season_length(), 0);
    }
}
