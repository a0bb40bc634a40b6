//! Filters over several metrics of one device: `kalman = { model = "custom", metrics = [...] }`.

use serde::{Deserialize, Serialize};

use super::{
    CustomSettings, DetectorSettings, KalmanInitial, KalmanModel, KindSetting, Layer, Settings,
    glob_matches,
};

/// A filter over rows of readings of several metrics of one device. A unit of its own for each
/// device that the table matches; the metrics' own series keep their settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorSettings {
    /// The metric under which its estimates stand.
    pub name: String,
    /// The matrices and the metrics, two or more.
    pub custom: CustomSettings,
    /// See [`KalmanSettings::gate`](super::KalmanSettings::gate); the degrees of freedom are the
    /// components of a row that are there.
    pub gate: f64,
    /// State predicted for the first row; `None`: exact diffuse start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<KalmanInitial>,
}

impl VectorSettings {
    /// The metrics of a row, in the order of H's rows.
    pub fn metrics(&self) -> &[String] {
        &self.custom.metrics
    }

    /// Those of a device, in the order of their tables; of two with one name the later counts.
    pub fn of_device<'a>(layers: &'a [Layer], device: &str) -> Vec<&'a VectorSettings> {
        let mut found: Vec<&VectorSettings> = Vec::new();
        for layer in layers {
            let Some(vector) = &layer.patch.vector else { continue };
            if !layer.device.iter().any(|glob| glob_matches(glob, device)) {
                continue;
            }
            match found.iter_mut().find(|other| other.name == vector.name) {
                Some(other) => *other = vector,
                None => found.push(vector),
            }
        }
        found
    }
}

/// [`VectorSettings`] of one device, with what else its metrics' own settings say.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceVector {
    /// The table's.
    pub settings: VectorSettings,
    /// Units of the metrics, in order.
    pub units: Vec<Option<String>>,
}

impl DeviceVector {
    /// The unit's settings: no panes, forecast and alarms, since its metrics have their own, and the
    /// longest lateness among them. With it what the filter needs; `None`: the device has no filter
    /// of that name (any more).
    pub fn resolve(layers: &[Layer], device: &str, name: &str) -> (Settings, Option<DeviceVector>) {
        let mut settings = Settings {
            kind: KindSetting::Gauge,
            windows: Vec::new(),
            forecast: None,
            alarms: DetectorSettings::NONE,
            ..Settings::default()
        };
        settings.kalman.model = KalmanModel::Off;
        let found = VectorSettings::of_device(layers, device);
        let Some(vector) = found.into_iter().find(|vector| vector.name == name) else {
            return (settings, None);
        };
        let metrics = vector.metrics().iter();
        let of_metrics: Vec<Settings> =
            metrics.map(|metric| Settings::resolve(layers, device, metric)).collect();
        settings.lateness = of_metrics.iter().map(|s| s.lateness).max().unwrap_or_default();
        let units = of_metrics.into_iter().map(|settings| settings.unit).collect();
        (settings, Some(DeviceVector { settings: vector.clone(), units }))
    }
}
