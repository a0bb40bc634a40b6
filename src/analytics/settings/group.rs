//! Groups of series: `[[group]]`.

use serde::{Deserialize, Serialize};

use super::{DetectorSettings, KalmanModel, KindSetting, Layer, Settings, glob_matches};

/// What stands for the captured part of a device's name.
pub const KEY: &str = "{key}";

/// Series whose readings are also counted together: one unit for each metric (and key), whose
/// device is the group's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GroupSettings {
    /// Device of its units; with `by` it contains [`KEY`].
    pub name: String,
    /// Globs; one of them must match a member's device.
    pub device: Vec<String>,
    /// Globs; one of them must match a member's metric.
    pub metric: Vec<String>,
    /// Splits the members by a part of their device: a glob with [`KEY`] for the part. What it does
    /// not match is no member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// Whether a filter runs over the group's readings.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimate: bool,
    /// Whether the group's slot means are forecast.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub forecast: bool,
}

impl GroupSettings {
    /// Device of the group's unit that takes the readings of this series; `None`: not a member.
    pub fn device_of(&self, device: &str, metric: &str) -> Option<String> {
        let one = |globs: &[String], text: &str| globs.iter().any(|glob| glob_matches(glob, text));
        if !one(&self.device, device) || !one(&self.metric, metric) {
            return None;
        }
        match &self.by {
            None => Some(self.name.clone()),
            Some(by) => Some(self.name.replacen(KEY, key(by, device)?, 1)),
        }
    }

    /// Whether a unit of this name can be the group's.
    pub fn makes(&self, device: &str) -> bool {
        match self.name.split_once(KEY) {
            Some((before, after)) if self.by.is_some() => {
                device.len() > before.len() + after.len()
                    && device.starts_with(before)
                    && device.ends_with(after)
            }
            _ => self.name == device,
        }
    }
}

/// The part of `device` that [`KEY`] stands for in `by`: it begins as early as what stands before it
/// allows, and is then as short as what stands behind it allows, but not empty.
fn key<'d>(by: &str, device: &'d str) -> Option<&'d str> {
    let (before, after) = by.split_once(KEY)?;
    let ends = || device.char_indices().map(|(at, _)| at).chain([device.len()]);
    let begin = ends().find(|&at| glob_matches(before, device.get(..at).unwrap_or_default()))?;
    let end = ends()
        .filter(|&at| at > begin)
        .find(|&at| glob_matches(after, device.get(at..).unwrap_or_default()))?;
    device.get(begin..end)
}

impl Settings {
    /// The settings of a group's unit: of a series of its name, but members' scale and `valid` have
    /// been applied; filter (with the statistical detectors) and forecast only where the group asks for them; and no alarm of a table
    /// that is for every device, since each member has that already.
    pub fn of_group(
        layers: &[Layer],
        group: Option<&GroupSettings>,
        device: &str,
        metric: &str,
    ) -> Settings {
        let every_device = |layer: &Layer| layer.device.iter().all(|glob| glob == "*");
        let matching = layers
            .iter()
            .filter(|layer| layer.matches(device, metric))
            .filter(|layer| layer.patch.threshold.is_none() || !every_device(layer));
        let mut settings = Settings::merged(matching.map(|layer| &layer.patch));
        settings.kind = KindSetting::Gauge;
        (settings.scale, settings.offset) = (1.0, 0.0);
        (settings.wrap, settings.valid) = (None, None);
        if !group.is_some_and(|group| group.estimate) {
            settings.kalman.model = KalmanModel::Off;
            settings.alarms = DetectorSettings::NONE;
        }
        if !group.is_some_and(|group| group.forecast) {
            settings.forecast = None;
        }
        settings.settle();
        if settings.kalman.model != KalmanModel::Off || settings.forecast.is_some() {
            // Members' readings of one time have no order of their own. They wait for a later one and
            // are then taken by value, lest the order be for the batches to say.
            settings.hold = settings.hold.max(1);
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, by: Option<&str>, device: &str, expected: Option<&str>) {
        let group = GroupSettings {
            name: name.to_owned(),
            device: vec!["*".to_owned()],
            metric: vec!["t*".to_owned()],
            by: by.map(str::to_owned),
            estimate: false,
            forecast: false,
        };
        let found = group.device_of(device, "temperature");
        assert_eq!(found.as_deref(), expected, "{name} by {by:?} of {device}");
        assert!(found.is_none_or(|found| group.makes(&found)));
        assert_eq!(group.device_of(device, "humidity"), None);
    }

    #[test]
    fn members_find_their_group() {
        check("all", None, "boiler-3", Some("all"));
        check("hall {key}", Some("{key}-*"), "h1-boiler-3", Some("hall h1"));
        check("hall {key}", Some("{key}-*"), "h1", None);
        check("hall {key}", Some("{key}-*"), "-x", None);
        check("{key}", Some("*-{key}-*"), "a-b-c-d", Some("b"));
        check("{key}", Some("site/{key}"), "site/ü", Some("ü"));
        check("{key}", Some("site/{key}"), "site/", None);
    }

    #[test]
    fn only_what_the_group_could_have_made_is_its_own() {
        let group = GroupSettings {
            name: "hall {key}".to_owned(),
            device: Vec::new(),
            metric: Vec::new(),
            by: Some("{key}-*".to_owned()),
            estimate: false,
            forecast: false,
        };
        assert!(group.makes("hall 1") && !group.makes("hall ") && !group.makes("all 1"));
    }
}
