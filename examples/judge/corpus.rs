//! Invented hourly series of the kinds that the M4 competition's hourly ones are: 700 to 960 points, then 48 to forecast.
//!
//! Seeded, the same everywhere (`libm`). M4's 414 hourly series come from traffic, electricity and the like: nearly all have a
//! strong day, many a week, some drift or change; so have these. They stand in for data that this
//! repository may not carry, and say nothing of M4 itself.

use std::f64::consts::TAU;

/// Points to forecast.
pub const HORIZON: usize = 48;

/// The kinds, in turn.
pub const KINDS: [&str; 12] = [
    "day",
    "day, week",
    "day, week, growing swing",
    "load: day, week, weather",
    "traffic: two rushes",
    "sun: zero at night",
    "counts with quiet nights",
    "day that wanders",
    "day with level shifts",
    "day with outliers",
    "walk with a faint day",
    "noise with a faint week",
];

/// A small generator (xorshift64*: Vigna, ACM TOMS 42, 2016): streams of numbers by seed.
pub struct Chance(u64);

impl Chance {
    /// A stream.
    pub fn new(seed: u64) -> Chance {
        Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// In [0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Between two numbers.
    pub fn within(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// Standard normal (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        let r = (-2.0 * libm::log(1.0 - self.uniform())).sqrt();
        r * libm::cos(TAU * self.uniform())
    }
}

/// Series `index` of the corpus with `seed`, the last [`HORIZON`] points being the ones to forecast; its kind.
pub fn series(seed: u64, index: u64) -> (&'static str, Vec<f64>) {
    let kind = (index % KINDS.len() as u64) as usize;
    let mut chance = Chance::new(seed.wrapping_mul(1_000_003).wrapping_add(index));
    // The first numbers of near seeds are near each other.
    (0..20).for_each(|_| {
        chance.uniform();
    });
    let n = 700 + (chance.uniform() * 261.0) as usize + HORIZON;
    let begin = (chance.uniform() * 168.0) as usize;
    // A day of three harmonics, and weekdays of a weight each.
    let waves: Vec<[f64; 2]> =
        (1..=3).map(|k| [chance.normal(), chance.normal()].map(|x| x / f64::from(k))).collect();
    let day = |hour: f64| -> f64 {
        let wave = |(k, w): (usize, &[f64; 2])| {
            let angle = TAU * (k + 1) as f64 * hour / 24.0;
            w[0] * libm::cos(angle) + w[1] * libm::sin(angle)
        };
        waves.iter().enumerate().map(wave).sum()
    };
    let weekend = chance.within(0.3, 0.9);
    let level = libm::exp(chance.within(1.0, 8.0));
    let swing = chance.within(0.1, 0.35);
    let noise = chance.within(0.01, 0.08);
    let persistence = chance.within(0.3, 0.95);
    let growth = chance.within(-0.3, 0.6);
    let (mut residual, mut walk, mut phase) = (0.0, 0.0, 0.0);
    let mut values = Vec::with_capacity(n);
    for t in 0..n {
        let hour = ((begin + t) % 24) as f64;
        let weekday = (begin + t) / 24 % 7;
        let free = weekday >= 5;
        residual =
            persistence * residual + (1.0 - persistence * persistence).sqrt() * chance.normal();
        walk += chance.normal();
        let share = t as f64 / n as f64;
        let week = if free { weekend } else { 1.0 };
        let relative = match kind {
            0 => 1.0 + swing * day(hour) + noise * residual,
            1 => 0.6 + 0.4 * week + swing * day(hour) * week + noise * residual,
            2 => {
                (1.0 + growth * share) * (0.7 + 0.3 * week) * (1.0 + swing * day(hour))
                    + noise * residual
            }
            3 => 0.75 + 0.25 * week + swing * day(hour) + 2.0 * noise * residual + 0.004 * walk,
            4 => {
                let rush = |at: f64| libm::exp(-0.5 * ((hour - at) / 1.6) * ((hour - at) / 1.6));
                let peaks = if free { 0.5 * rush(14.0) } else { rush(8.0) + 1.1 * rush(17.5) };
                (0.1 + peaks) * libm::exp(0.12 * residual)
            }
            5 => {
                let height = libm::sin(TAU * (hour - 6.0) / 24.0).max(0.0);
                height * (1.0 - 0.5 * libm::fabs(residual).min(1.8) * 0.5)
            }
            6 => {
                let rate = libm::exp(1.2 * swing / 0.2 * (day(hour) - 1.0) + 0.4 * week);
                let mean = 20.0 * rate;
                ((mean + mean.sqrt() * chance.normal()) / 20.0).max(0.0)
            }
            7 => {
                phase += 0.03 * chance.normal();
                1.0 + swing * day(hour + phase) * (1.0 + 0.3 * libm::sin(0.01 * t as f64))
                    + noise * residual
            }
            8 => {
                if chance.uniform() < 0.004 {
                    walk += 40.0 * chance.normal();
                }
                1.0 + swing * day(hour) + 0.004 * walk + noise * residual
            }
            9 => {
                let hit = if chance.uniform() < 0.01 { 0.8 * chance.normal() } else { 0.0 };
                1.0 + swing * day(hour) + noise * residual + hit
            }
            10 => 1.0 + 0.02 * walk + 0.1 * swing * day(hour),
            _ => 1.0 + 0.15 * chance.normal() + 0.15 * week,
        };
        // M4's are positive.
        values.push((level * relative).max(if kind == 5 || kind == 6 {
            0.0
        } else {
            0.01 * level
        }));
    }
    (KINDS[kind], values)
}
