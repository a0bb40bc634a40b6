//! Layers of settings and their merge.
//!
//! Layers travel in journal frames: field names are a stored format. Keys that are not set are
//! not written, so new keys can be added without changing old bytes.

use serde::{Deserialize, Serialize};

use super::{
    ForecastInitial, ForecastSettings, KalmanInitial, KalmanModel, KalmanSettings, Seasonal,
    Settings, Smoothing, Trend, WindowSettings, glob_covers, glob_matches, glob_meets,
};

/// Most slots in a season, and most slots ahead in a forecast: a week of five-minute slots.
pub const SLOTS_MAX: i64 = 2016;

/// What one `[[profile]]` or `[[device]]` table sets; `None`: not set here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Patch {
    /// See [`Settings::unit`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// See [`Settings::valid`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid: Option<(f64, f64)>,
    /// See [`Settings::lateness`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lateness: Option<i64>,
    /// See [`Settings::hold`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<i64>,
    /// Merged key by key.
    #[serde(skip_serializing_if = "is_default")]
    pub kalman: KalmanPatch,
    /// Replaces all windows of earlier layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Vec<WindowSettings>>,
    /// Merged key by key.
    #[serde(skip_serializing_if = "is_default")]
    pub forecast: ForecastPatch,
}

/// What a table sets of [`KalmanSettings`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KalmanPatch {
    /// See [`KalmanSettings::model`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<KalmanModel>,
    /// See [`KalmanSettings::observation_sd`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observation_sd: Option<f64>,
    /// See [`KalmanSettings::level_sd`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level_sd: Option<f64>,
    /// See [`KalmanSettings::trend_sd`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trend_sd: Option<f64>,
    /// See [`KalmanSettings::gate`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gate: Option<f64>,
    /// See [`KalmanSettings::initial`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial: Option<KalmanInitial>,
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
    /// See [`ForecastSettings::initial`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial: Option<ForecastInitial>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A patch and the series it applies to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layer {
    /// Where it was written: `"weir.toml:12 [[profile]]"`.
    pub origin: String,
    /// Globs ([`glob_matches`]); one of them must match the device.
    pub device: Vec<String>,
    /// Globs; one of them must match the metric.
    pub metric: Vec<String>,
    /// What it sets.
    pub patch: Patch,
}

impl Layer {
    /// Whether it applies to this series.
    pub fn matches(&self, device: &str, metric: &str) -> bool {
        self.device.iter().any(|glob| glob_matches(glob, device))
            && self.metric.iter().any(|glob| glob_matches(glob, metric))
    }

    /// Whether it applies to every series that `other` applies to (may miss odd cases, see
    /// [`glob_covers`]; never claims too much).
    pub fn covers(&self, other: &Layer) -> bool {
        let all = |wide: &[String], narrow: &[String]| {
            narrow.iter().all(|n| wide.iter().any(|w| glob_covers(w, n)))
        };
        all(&self.device, &other.device) && all(&self.metric, &other.metric)
    }

    /// Whether some series could have both.
    pub fn meets(&self, other: &Layer) -> bool {
        let any = |mine: &[String], theirs: &[String]| {
            mine.iter().any(|a| theirs.iter().any(|b| glob_meets(a, b)))
        };
        any(&self.device, &other.device) && any(&self.metric, &other.metric)
    }
}

/// Why merged settings do not fit together, and which keys are involved.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// Keys, dotted (`"forecast.horizon"`), the most telling first.
    pub keys: &'static [&'static str],
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub mend: String,
    /// What is done about it when it can no longer be refused.
    pub remedy: &'static str,
}

impl Settings {
    /// The settings of a series: the defaults, then every matching layer in order, later ones win
    /// key by key. Always valid: layers that each pass the configuration's checks but clash where
    /// they meet are settled as [`settle`](Self::settle) says.
    pub fn resolve(layers: &[Layer], device: &str, metric: &str) -> Settings {
        let matching = layers.iter().filter(|layer| layer.matches(device, metric));
        let mut settings = Settings::merged(matching.map(|layer| &layer.patch));
        settings.settle();
        settings
    }

    /// The defaults, then every patch in order; not settled.
    pub fn merged<'a>(patches: impl IntoIterator<Item = &'a Patch>) -> Settings {
        let mut settings = Settings::default();
        for patch in patches {
            settings.apply(patch);
        }
        settings
    }

    fn apply(&mut self, patch: &Patch) {
        if patch.unit.is_some() {
            self.unit.clone_from(&patch.unit);
        }
        self.valid = patch.valid.or(self.valid);
        set(&mut self.lateness, &patch.lateness);
        set(&mut self.hold, &patch.hold);
        self.kalman.apply(&patch.kalman);
        set(&mut self.windows, &patch.windows);
        match patch.forecast.enabled {
            Some(false) => self.forecast = None,
            Some(true) => self.forecast.get_or_insert_default().apply(&patch.forecast),
            None => {}
        }
    }

    /// Makes any combination valid, by the `remedy` of each conflict, and returns the conflicts.
    /// Nothing is changed when there are none.
    pub fn settle(&mut self) -> Vec<Conflict> {
        let conflicts = self.conflicts();
        if conflicts.is_empty() {
            return conflicts;
        }
        self.hold = self.hold.min(self.lateness);
        if let Some(initial) = &self.kalman.initial
            && initial.state.len() != self.kalman.model.states()
        {
            self.kalman.initial = None;
        }
        if let Some(forecast) = &mut self.forecast {
            forecast.settle();
        }
        conflicts
    }

    /// What in the merged settings does not fit together.
    pub fn conflicts(&self) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        if self.hold > self.lateness {
            conflicts.push(Conflict {
                keys: &["hold", "lateness"],
                what: "must not be longer than lateness: a reading held longer would miss its pane"
                    .to_owned(),
                mend: "shorten hold or lengthen lateness".to_owned(),
                remedy: "hold is cut to lateness",
            });
        }
        let states = self.kalman.model.states();
        if let Some(initial) = &self.kalman.initial
            && initial.state.len() != states
        {
            conflicts.push(Conflict {
                keys: &["kalman.initial", "kalman.model"],
                what: format!(
                    "has {} number(s) in state, the model has {states}",
                    initial.state.len()
                ),
                mend: "give level for \"level\", level and trend per second for \"trend\""
                    .to_owned(),
                remedy: "initial is ignored",
            });
        }
        if let Some(forecast) = &self.forecast {
            forecast.conflicts(&mut conflicts);
        }
        conflicts
    }
}

fn set<T: Clone>(target: &mut T, source: &Option<T>) {
    if let Some(value) = source {
        target.clone_from(value);
    }
}

impl KalmanModel {
    /// Length of the state vector.
    pub const fn states(self) -> usize {
        match self {
            KalmanModel::Off => 0,
            KalmanModel::Level => 1,
            KalmanModel::Trend => 2,
        }
    }
}

impl KalmanSettings {
    fn apply(&mut self, patch: &KalmanPatch) {
        set(&mut self.model, &patch.model);
        self.observation_sd = patch.observation_sd.or(self.observation_sd);
        self.level_sd = patch.level_sd.or(self.level_sd);
        self.trend_sd = patch.trend_sd.or(self.trend_sd);
        set(&mut self.gate, &patch.gate);
        if patch.initial.is_some() {
            self.initial.clone_from(&patch.initial);
        }
    }
}

impl ForecastSettings {
    fn apply(&mut self, patch: &ForecastPatch) {
        set(&mut self.step, &patch.step);
        set(&mut self.season, &patch.season);
        set(&mut self.trend, &patch.trend);
        set(&mut self.seasonal, &patch.seasonal);
        set(&mut self.horizon, &patch.horizon);
        set(&mut self.nominal, &patch.nominal);
        self.smoothing = patch.smoothing.or(self.smoothing);
        if patch.initial.is_some() {
            self.initial.clone_from(&patch.initial);
        }
    }

    /// Slots in a season; 0 when there is none (or `seasonal` is none). Steps must divide it.
    pub fn season_slots(&self) -> i64 {
        match (self.seasonal, self.season.first()) {
            (Seasonal::Additive, Some(season)) => season / self.step,
            _ => 0,
        }
    }

    fn conflicts(&self, conflicts: &mut Vec<Conflict>) {
        if self.seasonal == Seasonal::Additive {
            const KEYS: &[&str] =
                &["forecast.season", "forecast.step", "forecast.seasonal", "forecast"];
            let mut conflict = |what: String, mend: &str| {
                let remedy = "seasonal is \"none\"";
                conflicts.push(Conflict { keys: KEYS, what, mend: mend.to_owned(), remedy });
            };
            match self.season.first() {
                None => conflict(
                    "seasonal = \"additive\" needs a season".to_owned(),
                    "write e.g. season = [\"1d\"], or seasonal = \"none\"",
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
                Some(_) => {}
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
            && initial.season.len() as i64 != self.season_slots()
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

    fn settle(&mut self) {
        let slots_fit = |season: &i64| {
            season % self.step == 0 && (2..=SLOTS_MAX).contains(&(season / self.step))
        };
        if !self.season.first().is_some_and(slots_fit) {
            self.seasonal = Seasonal::None;
        }
        let steps = self.horizon / self.step + i64::from(self.horizon % self.step != 0);
        self.horizon = steps.clamp(1, SLOTS_MAX) * self.step;
        let slots = self.season_slots();
        if self.initial.as_ref().is_some_and(|i| i.season.len() as i64 != slots) {
            self.initial = None;
        }
    }
}
