//! Settings of the forecaster, what a table sets of them, and their merge.

use serde::{Deserialize, Serialize};

use super::layer::set;
use super::{Conflict, HOUR};

/// Most slots in a season, and most slots ahead in a forecast: a week of five-minute slots.
pub const SLOTS_MAX: i64 = 2016;

/// Trend component of the forecaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trend {
    /// None.
    None,
    /// A straight line.
    Additive,
    /// A line that flattens out by the factor phi a step.
    Damped,
}

/// Seasonal component of the forecaster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seasonal {
    /// None.
    None,
    /// Added to the level.
    Additive,
    /// Multiplied with the level; for series that are always positive.
    Multiplicative,
    /// Whichever forecasts better, or none.
    Auto,
}

/// Whether the logarithm of a series is forecast, for series that are always positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// If that forecasts better.
    Auto,
    /// No.
    Never,
    /// Yes; a slot mean that is not positive counts as missing.
    Always,
}

/// Settings of the Holt-Winters forecaster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastSettings {
    /// Length of a slot, whose mean is what is forecast; nanoseconds, > 0.
    pub step: i64,
    /// Season lengths in nanoseconds, each a whole number (≥ 2) of steps; at most two, shorter first.
    pub season: Vec<i64>,
    /// The seasons are only considered (`season = "auto"`): those that steps divide and the series shows.
    pub season_auto: bool,
    /// Trend component.
    pub trend: Trend,
    /// Seasonal component.
    pub seasonal: Seasonal,
    /// How far ahead to forecast; nanoseconds, a whole number (≥ 1) of steps.
    pub horizon: i64,
    /// Probability that the interval is to cover, in (0, 1).
    pub nominal: f64,
    /// Smoothing parameters; `None`: found from the series' own history.
    pub smoothing: Option<Smoothing>,
    /// Whether to model the logarithm.
    pub log: Log,
    /// Cut outlying errors before they enter the states.
    pub robust: bool,
    /// States before the first slot; `None`: found from the first two seasons.
    pub initial: Option<ForecastInitial>,
}

impl Default for ForecastSettings {
    fn default() -> Self {
        ForecastSettings {
            step: HOUR,
            season: vec![24 * HOUR, 7 * 24 * HOUR],
            season_auto: true,
            trend: Trend::Damped,
            seasonal: Seasonal::Auto,
            horizon: 24 * HOUR,
            nominal: 0.95,
            smoothing: None,
            log: Log::Auto,
            robust: true,
            initial: None,
        }
    }
}

/// Smoothing parameters in the innovations form (Hyndman, Koehler, Ord, Snyder 2008, table 2.2):
/// `beta` is alpha·beta*, `gamma` multiplies the error directly.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Smoothing {
    /// Level, in (0, 1).
    pub alpha: f64,
    /// Trend, 0 ≤ beta ≤ alpha.
    pub beta: f64,
    /// Season, 0 ≤ gamma ≤ 1 − alpha.
    pub gamma: f64,
    /// The longer of two seasons, 0 ≤ omega ≤ 1 − alpha − gamma.
    #[serde(default)]
    pub omega: f64,
    /// Damping, in (0, 1]; 1: none.
    pub phi: f64,
    /// Autoregression of the residual, in [0, 1).
    #[serde(default)]
    pub rho: f64,
}

/// States of the forecaster before its first slot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastInitial {
    /// Level, in the series' unit.
    pub level: f64,
    /// Trend per step.
    pub trend: f64,
    /// Seasonal terms; element 0 belongs to the first slot, or to the one that `resumed` names.
    pub season: Vec<f64>,
    /// The states were learned from recorded data: the series goes on from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<ForecastResumed>,
}

impl ForecastInitial {
    /// Terms of the longer of two seasons.
    pub fn longer(&self) -> &[f64] {
        self.resumed.as_ref().map_or(&[], |resumed| &resumed.longer)
    }

    /// Learned from data in which no season was found, or for which there was too little: the settings may
    /// have one all the same, which is then looked for.
    pub fn is_without_season(&self) -> bool {
        self.resumed.is_some() && self.season.is_empty() && self.longer().is_empty()
    }
}

/// What else was learned from recorded data (`weir fit`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForecastResumed {
    /// Start of the slot behind the last recorded one; nanoseconds since the epoch. The states are those before it.
    pub at: i64,
    /// Terms of the longer of two seasons, from that slot on; empty: there is one, or none.
    pub longer: Vec<f64>,
    /// Standard deviation of the one-step errors, > 0; of logarithms, where these are forecast.
    pub sd: f64,
    /// Smoothing until the first search for a better one; `None`: that of the settings.
    pub smoothing: Option<Smoothing>,
}

/// What a table sets of [`ForecastSettings`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ForecastPatch {
    /// `Some(false)` (`forecast = false`): off, and what earlier layers set is forgotten.
    /// `Some(true)` (`forecast = true`, or a table): on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// See [`ForecastSettings::step`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<i64>,
    /// See [`ForecastSettings::season`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub season: Option<Vec<i64>>,
    /// See [`ForecastSettings::season_auto`]; goes with `season`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub season_auto: Option<bool>,
    /// See [`ForecastSettings::trend`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trend: Option<Trend>,
    /// See [`ForecastSettings::seasonal`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seasonal: Option<Seasonal>,
    /// See [`ForecastSettings::horizon`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub horizon: Option<i64>,
    /// See [`ForecastSettings::nominal`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nominal: Option<f64>,
    /// See [`ForecastSettings::smoothing`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing: Option<Smoothing>,
    /// `"auto"`: given smoothing of earlier layers is forgotten.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smoothing_auto: Option<bool>,
    /// See [`ForecastSettings::log`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<Log>,
    /// See [`ForecastSettings::robust`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub robust: Option<bool>,
    /// See [`ForecastSettings::initial`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial: Option<ForecastInitial>,
}

impl ForecastSettings {
    pub(super) fn apply(&mut self, patch: &ForecastPatch) {
        set(&mut self.step, &patch.step);
        if let Some(season) = &patch.season {
            self.season.clone_from(season);
            self.season_auto = patch.season_auto.unwrap_or(false);
        }
        set(&mut self.trend, &patch.trend);
        set(&mut self.seasonal, &patch.seasonal);
        set(&mut self.horizon, &patch.horizon);
        set(&mut self.nominal, &patch.nominal);
        if patch.smoothing_auto == Some(true) {
            self.smoothing = None;
        }
        self.smoothing = patch.smoothing.or(self.smoothing);
        set(&mut self.log, &patch.log);
        set(&mut self.robust, &patch.robust);
        if patch.initial.is_some() {
            self.initial.clone_from(&patch.initial);
        }
    }

    /// Slots in a (the shorter) season; 0 when there is none (or `seasonal` is none, or `auto` seasons
    /// that steps do not divide).
    pub fn season_slots(&self) -> i64 {
        match (self.seasonal, self.season.first()) {
            (Seasonal::None, _) | (_, None) => 0,
            (_, Some(season)) if self.season_auto && season % self.step != 0 => 0,
            (_, Some(season)) => season / self.step,
        }
    }

    /// Terms that the longer season wants and has, where these differ; states that were not recorded have none.
    fn longer_slots(&self, initial: &ForecastInitial) -> Option<(i64, usize)> {
        let resumed = initial.resumed.as_ref().filter(|_| !initial.is_without_season())?;
        let wanted = match (self.seasonal, self.season.get(1)) {
            (Seasonal::None, _) | (_, None) => 0,
            (_, Some(season)) => season / self.step,
        };
        let has = resumed.longer.len();
        (has as i64 != wanted).then_some((wanted, has))
    }

    fn season_fits(&self, initial: &ForecastInitial) -> bool {
        initial.is_without_season() || initial.season.len() as i64 == self.season_slots()
    }

    pub(super) fn conflicts(&self, conflicts: &mut Vec<Conflict>) {
        if self.seasonal != Seasonal::None && !self.season_auto {
            const KEYS: &[&str] =
                &["forecast.season", "forecast.step", "forecast.seasonal", "forecast"];
            let mut conflict = |what: String, mend: &str| {
                let remedy = "seasonal is \"none\"";
                conflicts.push(Conflict { keys: KEYS, what, mend: mend.to_owned(), remedy });
            };
            match self.season.first() {
                None => conflict(
                    "a seasonal model needs a season".to_owned(),
                    "write e.g. season = [\"1d\"], season = \"auto\", or seasonal = \"none\"",
                ),
                Some(season) if season % self.step != 0 || *season < 2 * self.step => conflict(
                    "the season must be a whole number (two or more) of steps".to_owned(),
                    "write e.g. step = \"1h\" with season = [\"1d\"], or seasonal = \"none\"",
                ),
                Some(season) if season / self.step > SLOTS_MAX => conflict(
                    format!(
                        "the season has {} steps, at most {SLOTS_MAX} are kept",
                        season / self.step
                    ),
                    "lengthen step, shorten season, or write seasonal = \"none\"",
                ),
                Some(first) => match self.season.get(1) {
                    Some(second) if second % first != 0 || second <= first => conflict(
                        "the second season must be a multiple of the first".to_owned(),
                        "write e.g. season = [\"1d\", \"7d\"]",
                    ),
                    Some(second) if second / self.step > SLOTS_MAX => conflict(
                        format!(
                            "the second season has {} steps, at most {SLOTS_MAX} are kept",
                            second / self.step
                        ),
                        "lengthen step, or keep the shorter season alone",
                    ),
                    _ => {}
                },
            }
        }
        if self.horizon % self.step != 0 || self.horizon < self.step {
            conflicts.push(Conflict {
                keys: &["forecast.horizon", "forecast.step", "forecast"],
                what: "the horizon must be a whole number (one or more) of steps".to_owned(),
                mend: "write e.g. step = \"1h\" with horizon = \"24h\"".to_owned(),
                remedy: "horizon is rounded up to whole steps",
            });
        } else if self.horizon / self.step > SLOTS_MAX {
            conflicts.push(Conflict {
                keys: &["forecast.horizon", "forecast.step", "forecast"],
                what: format!(
                    "the horizon has {} steps, at most {SLOTS_MAX} are forecast",
                    self.horizon / self.step
                ),
                mend: "shorten horizon or lengthen step".to_owned(),
                remedy: "horizon is cut to the most steps allowed",
            });
        }
        if let Some(initial) = &self.initial
            && let Some((_, longer)) = self.longer_slots(initial)
        {
            conflicts.push(Conflict {
                keys: &["forecast.initial", "forecast.season", "forecast.step", "forecast"],
                what: format!(
                    "initial.longer has {longer} terms, the second season has {} steps",
                    self.season.get(1).map_or(0, |season| season / self.step)
                ),
                mend: "give one term for each step of the second season, none without one"
                    .to_owned(),
                remedy: "initial is ignored",
            });
        }
        if let Some(initial) = &self.initial
            && !self.season_fits(initial)
        {
            conflicts.push(Conflict {
                keys: &["forecast.initial", "forecast.season", "forecast.step", "forecast"],
                what: format!(
                    "initial.season has {} terms, the season has {} steps",
                    initial.season.len(),
                    self.season_slots()
                ),
                mend: "give one term for each step of the season, the first slot's first"
                    .to_owned(),
                remedy: "initial is ignored",
            });
        }
    }

    pub(super) fn settle(&mut self) {
        let slots_fit = |season: &i64| {
            season % self.step == 0 && (2..=SLOTS_MAX).contains(&(season / self.step))
        };
        if !self.season_auto {
            let fit = self.season.iter().all(slots_fit) && !self.season.is_empty();
            let nested = self.season.windows(2).all(|s| s[1] > s[0] && s[1] % s[0] == 0);
            if !(fit && nested) {
                self.seasonal = Seasonal::None;
            }
        }
        let steps = self.horizon / self.step + i64::from(self.horizon % self.step != 0);
        self.horizon = steps.clamp(1, SLOTS_MAX) * self.step;
        let unfit = |i: &ForecastInitial| !self.season_fits(i) || self.longer_slots(i).is_some();
        if self.initial.as_ref().is_some_and(unfit) {
            self.initial = None;
        }
    }
}
