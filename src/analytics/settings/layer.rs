//! Layers of settings and their merge.
//!
//! Layers travel in journal frames: field names are a stored format. Keys that are not set are
//! not written, so new keys can be added without changing old bytes.

use serde::{Deserialize, Serialize};

use super::{
    DetectorPatch, ForecastPatch, KalmanPatch, KindSetting, Settings, THRESHOLDS_MAX,
    ThresholdSettings, VectorSettings, WindowSettings, glob_covers, glob_matches, glob_meets,
};

/// What one `[[profile]]`, `[[device]]` or `[[alarm]]` table sets; `None`: not set here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Patch {
    /// See [`Settings::unit`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// See [`Settings::kind`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<KindSetting>,
    /// See [`Settings::scale`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// See [`Settings::offset`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<f64>,
    /// See [`Settings::wrap`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wrap: Option<f64>,
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
    /// Merged key by key.
    #[serde(skip_serializing_if = "is_default")]
    pub alarms: DetectorPatch,
    /// Added to the alarms of earlier layers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<ThresholdSettings>,
    /// A filter over several metrics of each device that matches; of the series themselves it sets
    /// nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vector: Option<VectorSettings>,
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
        if let Some(kind) = patch.kind {
            // What was set for whatever this series might be was not set for a state.
            (self.kalman_asked, self.forecast_asked) = (false, false);
            self.kind = kind;
        }
        if self.kind == KindSetting::State {
            self.kalman_asked |= patch.kalman != KalmanPatch::default();
            self.forecast_asked = patch.forecast.enabled.unwrap_or(self.forecast_asked);
        }
        set(&mut self.scale, &patch.scale);
        set(&mut self.offset, &patch.offset);
        self.wrap = patch.wrap.or(self.wrap);
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
        self.alarms.apply(&patch.alarms);
        if let Some(threshold) = &patch.threshold {
            self.add_threshold(threshold);
        }
    }

    /// Names tell alarms apart on topics and in the state, so of two with one name the later wins.
    fn add_threshold(&mut self, threshold: &ThresholdSettings) {
        let room = self.thresholds.len() < THRESHOLDS_MAX;
        match self.thresholds.iter_mut().find(|other| other.name == threshold.name) {
            Some(other) => other.clone_from(threshold),
            None if room => self.thresholds.push(threshold.clone()),
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
        self.kalman.settle();
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
        self.kalman.conflicts(&mut conflicts);
        if let Some(forecast) = &self.forecast {
            forecast.conflicts(&mut conflicts);
        }
        conflicts
    }
}

pub(super) fn set<T: Clone>(target: &mut T, source: &Option<T>) {
    if let Some(value) = source {
        target.clone_from(value);
    }
}
