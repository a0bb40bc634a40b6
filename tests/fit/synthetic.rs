//! Series whose truth is known, by seed.

use std::f64::consts::TAU;
use std::fmt::Write as _;

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(self.uniform())).sqrt();
        radius * libm::cos(TAU * self.uniform())
    }
}

/// Seconds between two readings, and readings in a day.
pub const INTERVAL: i64 = 900;
const DAY: f64 = 96.0;
/// A Monday.
pub const START: i64 = 1_767_571_200;

/// The kinds that the judge tries, each with its name.
pub const KINDS: [&str; 14] = [
    "noise",
    "level",
    "walk",
    "trend",
    "decay",
    "daily",
    "daily-quiet",
    "daily-weekly",
    "daily-multiplicative",
    "daily-correlated",
    "outliers",
    "steps",
    "growth",
    "counter",
];

/// `count` values of a kind.
pub fn values(kind: &str, seed: u64, count: usize) -> Vec<f64> {
    let mut random = Random(seed);
    let (mut level, mut slope, mut total) = (0.0, 0.0, 1e6);
    let mut at = |t: usize| {
        let day = t as f64 / DAY;
        let daily = 4.0 * libm::sin(TAU * (day - 0.4)) + 1.5 * libm::sin(2.0 * TAU * day);
        let weekend = if (day as usize % 7) >= 5 { -5.0 } else { 0.0 };
        let (a, b) = (random.normal(), random.normal());
        match kind {
            "noise" => 20.0 + a,
            "level" => {
                level += 0.316_227_766 * b;
                20.0 + level + a
            }
            "walk" => {
                level += 0.2 * b;
                20.0 + level
            }
            "trend" => {
                slope = 0.995 * slope + 0.004 * b;
                level += slope;
                20.0 + level + 0.3 * a
            }
            "decay" => {
                level = 0.97 * level + 0.5 * b;
                20.0 + level + 0.2 * a
            }
            "daily" => 20.0 + daily + a,
            "daily-quiet" => 20.0 + daily + 0.1 * a,
            "daily-weekly" => 30.0 + daily + weekend + 0.7 * a,
            "daily-multiplicative" => {
                level += 0.01 * b;
                40.0 * libm::exp(0.5 * level) * (1.0 + daily / 10.0) * (1.0 + 0.03 * a)
            }
            "daily-correlated" => {
                level = 0.98 * level + 0.3 * b;
                20.0 + daily + level + 0.2 * a
            }
            "outliers" => 20.0 + daily + if t % 97 == 50 { 30.0 * b } else { 0.5 * a },
            "steps" => {
                if t.is_multiple_of(700) {
                    level += 10.0 * b;
                }
                50.0 + level + 0.5 * a
            }
            "growth" => 20.0 + 0.004 * t as f64 + daily + a,
            "counter" => {
                total += (60.0 + 10.0 * daily + 3.0 * a).max(0.0).round();
                total
            }
            _ => panic!("no such kind: {kind}"),
        }
    };
    (0..count).map(&mut at).collect()
}

/// As a file that `weir fit` reads.
pub fn csv(device: &str, metric: &str, interval: i64, values: &[f64]) -> String {
    let mut text = "time,device,metric,value\n".to_owned();
    for (t, value) in values.iter().enumerate() {
        let time = START + t as i64 * interval;
        let _ = writeln!(text, "{time},{device},{metric},{value:.4}");
    }
    text
}
