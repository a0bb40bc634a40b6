//! What a series is, and how its decoded values become its readings.

use serde::{Deserialize, Serialize};

use super::Settings;
use crate::batch::counter::CounterRange;
use crate::reading::Finite;

/// What the readings of a series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A quantity measured: filtered and forecast as it is.
    Gauge,
    /// A count that grows and may be reset: its rate per second is filtered and forecast.
    Counter,
    /// One of a few states: how long it lasts is what counts.
    State,
}

impl Kind {
    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::State => "state",
        }
    }
}

/// `kind` as it is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KindSetting {
    /// A gauge until the readings show otherwise ([`Classifier`](crate::analytics::classify::Classifier)).
    #[default]
    Auto,
    /// [`Kind::Gauge`].
    Gauge,
    /// [`Kind::Counter`].
    Counter,
    /// [`Kind::State`].
    State,
}

impl KindSetting {
    /// The kind that it fixes; `None`: the readings decide.
    pub fn fixed(self) -> Option<Kind> {
        match self {
            KindSetting::Auto => None,
            KindSetting::Gauge => Some(Kind::Gauge),
            KindSetting::Counter => Some(Kind::Counter),
            KindSetting::State => Some(Kind::State),
        }
    }
}

impl Settings {
    /// The reading that a decoded value stands for, `value·scale + offset`, which `valid` and all
    /// behind it sees; `None` beyond all floats.
    pub fn scaled(&self, value: Finite) -> Option<Finite> {
        scaled(value, self.scale, self.offset)
    }

    /// Whether readings differ from decoded values.
    pub fn is_scaled(&self) -> bool {
        self.scale != 1.0 || self.offset != 0.0
    }

    /// What a counter of these settings shows after a reset and before it wraps, as a reading.
    pub fn counter_range(&self) -> CounterRange {
        let wrap = self.wrap.map(|wrap| times(wrap, self.scale).abs());
        CounterRange { zero: self.offset, wrap: wrap.filter(|wrap| wrap.is_finite()) }
    }
}

/// See [`Settings::scaled`].
pub fn scaled(value: Finite, scale: f64, offset: f64) -> Option<Finite> {
    if scale != 1.0 || offset != 0.0 {
        Finite::new(times(value.get(), scale) + offset)
    } else {
        Some(value)
    }
}

/// `value·scale`; for a scale of 0.1, 0.001 and their like by division, which is correctly rounded:
/// 3 tenths are then 0.3 and not 0.30000000000000004.
fn times(value: f64, scale: f64) -> f64 {
    let divisor = (1.0 / scale).round_ties_even();
    if 1.0 / divisor == scale { value / divisor } else { value * scale }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(scale: f64, offset: f64, value: f64, expected: Option<f64>) {
        let settings = Settings { scale, offset, ..Settings::default() };
        let scaled = settings.scaled(Finite::new(value).unwrap());
        assert_eq!(scaled.map(Finite::get), expected, "{value} * {scale} + {offset}");
    }

    #[test]
    fn decimal_scales_give_decimals() {
        check(1.0, 0.0, -0.1, Some(-0.1));
        check(0.1, 0.0, 3.0, Some(0.3));
        check(0.001, 0.0, 1234567.0, Some(1234.567));
        check(-0.1, 0.0, 3.0, Some(-0.3));
        check(0.1, -40.0, 655.0, Some(25.5));
        check(1.8, 32.0, 100.0, Some(212.0));
        check(1000.0, 0.0, 1.5, Some(1500.0));
        check(2.5, 1.0, 2.0, Some(6.0));
    }

    #[test]
    fn what_overflows_is_no_reading() {
        check(10.0, 0.0, f64::MAX, None);
        check(1.0, f64::MAX, f64::MAX, None);
        check(f64::MIN_POSITIVE, 0.0, f64::MAX, Some(f64::MAX * f64::MIN_POSITIVE));
        check(5e-324, 0.0, 1.0, Some(5e-324));
    }

    #[test]
    fn a_counters_range_is_scaled_too() {
        let settings =
            Settings { scale: 0.001, offset: 5.0, wrap: Some(65536.0), ..Settings::default() };
        assert_eq!(settings.counter_range(), CounterRange { zero: 5.0, wrap: Some(65.536) });
    }
}
