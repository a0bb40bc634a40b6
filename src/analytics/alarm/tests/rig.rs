//! A series as the step runs it (filter, forecaster, detectors), and synthetic series.

use super::super::*;
use crate::analytics::holt_winters::{ForecastPlan, Forecaster};
use crate::analytics::kalman::{Kalman, KalmanPlan, Verdict};
use crate::analytics::settings::Settings;
use crate::batch::window::Zone;
use crate::reading::{AttendedTime, Finite, SECOND};

/// 2026-01-05, a Monday.
pub const START: i64 = 1_767_571_200 * SECOND;
pub const MINUTE: f64 = 60.0;
pub const DAY: f64 = 86_400.0;

#[derive(Clone)]
pub struct Rig {
    kalman_plan: KalmanPlan,
    forecast_plan: ForecastPlan,
    plan: DetectorPlan,
    kalman: Kalman,
    forecaster: Forecaster,
    pub detectors: Detectors,
    pub events: Vec<Event>,
    pub attended: i64,
    /// Whether the forecaster's searches run too: a live run has them, but they take most of the time.
    fits: bool,
}

impl Rig {
    pub fn new() -> Rig {
        let settings = Settings::default();
        let kalman_plan = KalmanPlan::new(&settings.kalman);
        let forecast_plan = ForecastPlan::new(settings.forecast.as_ref().unwrap(), &Zone::utc());
        let plan = DetectorPlan::new(&settings.alarms, Some(forecast_plan.step()));
        Rig {
            kalman: Kalman::new(&kalman_plan),
            forecaster: Forecaster::new(),
            detectors: Detectors::new(),
            events: Vec::new(),
            attended: 0,
            fits: false,
            kalman_plan,
            forecast_plan,
            plan,
        }
    }

    /// With all that a replay has.
    pub fn whole() -> Rig {
        Rig { fits: true, ..Rig::new() }
    }

    /// As `UnitState::accept` does.
    pub fn reading(&mut self, seconds: f64, value: f64) {
        let nanos = (seconds * 1e9) as i64;
        let (time, value) = (EventTime::clamped(START + nanos), Finite::new(value).unwrap());
        self.attended = self.attended.max(nanos);
        let held = self.kalman.held();
        let update = self.kalman.update(&self.kalman_plan, time, value);
        if let Some(fit) = self.kalman.take_fit_job(&self.kalman_plan).and_then(|job| job.run()) {
            self.kalman.offer(fit);
        }
        let taken = match update.verdict {
            Verdict::Accepted => vec![(time, value)],
            Verdict::Gated => vec![],
            Verdict::Shift { delta, since } => {
                self.forecaster.confirm_shift(&self.forecast_plan, (since, time), delta);
                [&held, &[(time, value)][..]].concat()
            }
        };
        for (at, value) in taken {
            let plan = &self.forecast_plan;
            if let Some(slots) = self.forecaster.observe(plan, at, value) {
                self.detectors.slot(&self.plan, &slots, time, &mut self.events);
            }
            if self.fits
                && let Some(fit) = self.forecaster.take_fit_job(plan, 0).and_then(|job| job.run())
            {
                self.forecaster.offer(fit);
            }
        }
        let attended = AttendedTime(self.attended);
        let seen = ReadingSeen { time, value, attended, update: &update };
        self.detectors.reading(&self.plan, &seen, &mut self.events);
    }

    pub fn silence(&mut self, until: f64) {
        self.attended = (until * 1e9) as i64;
        let now = EventTime::clamped(START + self.attended);
        self.detectors.tick(&self.plan, AttendedTime(self.attended), now, &mut self.events);
    }

    /// Names of the alarms begun since `from`.
    pub fn begun(&self, from: f64) -> Vec<&str> {
        let from = EventTime::clamped(START + (from * 1e9) as i64);
        let begun = |e: &&Event| e.state == AlarmState::Active && e.time >= from;
        self.events.iter().filter(begun).map(|e| &*e.alarm).collect()
    }
}

/// xorshift64*, and what is made of it.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// In (0, 1).
    pub fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        (bits as f64 + 0.5) / (1u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Student's t with five degrees of freedom, scaled to variance 1.
    pub fn heavy(&mut self) -> f64 {
        let chi: f64 = (0..5).map(|_| self.normal().powi(2)).sum();
        self.normal() / (chi / 5.0).sqrt() / (5.0f64 / 3.0).sqrt()
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Series {
    White,
    Autoregressive,
    AutoregressiveSlow,
    Daily,
    DailyWeekly,
    Heteroscedastic,
    Coarse,
    CoarseDaily,
    Walk,
    WalkNoise,
    Irregular,
    HeavyTails,
    Counts,
    Weather,
}

impl Series {
    pub const ALL: [Series; 14] = [
        Series::White,
        Series::Autoregressive,
        Series::AutoregressiveSlow,
        Series::Daily,
        Series::DailyWeekly,
        Series::Heteroscedastic,
        Series::Coarse,
        Series::CoarseDaily,
        Series::Walk,
        Series::WalkNoise,
        Series::Irregular,
        Series::HeavyTails,
        Series::Counts,
        Series::Weather,
    ];

    /// Standard deviation of the noise around what could be known before; of walks, of their steps.
    pub fn noise(self) -> f64 {
        match self {
            Series::Coarse => 1.04,
            Series::CoarseDaily => 0.33,
            // At the daily mean of ten.
            Series::Counts => 3.2,
            Series::Weather => 0.5,
            _ => 1.0,
        }
    }
}

/// Readings of one series, one after the other; noise has standard deviation 1.
#[derive(Clone)]
pub struct Source {
    pub series: Series,
    pub random: Random,
    pub step: f64,
    pub time: f64,
    state: f64,
    slow: f64,
}

impl Source {
    pub fn new(series: Series, step: f64, seed: u64) -> Source {
        Source { series, random: Random::new(seed), step, time: 0.0, state: 0.0, slow: 0.0 }
    }

    /// Seconds since the start, and the value.
    pub fn next(&mut self) -> (f64, f64) {
        let r = &mut self.random;
        self.time += match self.series {
            Series::Irregular => -self.step * r.uniform().ln(),
            _ => self.step * (1.0 + 0.01 * (r.uniform() - 0.5)),
        };
        let phase = std::f64::consts::TAU * self.time / DAY;
        let weekend = ((self.time / DAY) as u64 % 7) >= 5;
        let daily = phase.sin() + 0.4 * (2.0 * phase + 1.0).sin();
        let mut ar = |phi: f64, r: &mut Random| {
            self.state = phi * self.state + (1.0 - phi * phi).sqrt() * r.normal();
            self.state
        };
        let value = match self.series {
            Series::White | Series::Irregular => r.normal(),
            Series::Autoregressive => ar(0.8, r),
            Series::AutoregressiveSlow => ar(0.98, r),
            Series::Daily => 4.0 * daily + r.normal(),
            Series::DailyWeekly => {
                4.0 * daily * if weekend { 0.4 } else { 1.0 } - if weekend { 2.0 } else { 0.0 }
                    + r.normal()
            }
            Series::Heteroscedastic => 3.0 * daily + (1.0 + 0.7 * phase.sin()) * r.normal(),
            Series::Coarse => r.normal().round(),
            Series::CoarseDaily => ((4.0 * daily + 0.3 * r.normal()) * 2.0).round() / 2.0,
            Series::Walk => {
                self.state += r.normal();
                self.state
            }
            Series::WalkNoise => {
                self.state += 0.1 * r.normal();
                self.state + r.normal()
            }
            Series::HeavyTails => r.heavy(),
            Series::Counts => {
                // Poisson with a daily mean between 2 and 18.
                let (limit, mut product, mut k) = ((-(10.0 + 5.5 * daily)).exp(), 1.0, -1.0);
                while product > limit {
                    product *= r.uniform();
                    k += 1.0;
                }
                k
            }
            Series::Weather => {
                // Fronts of some days, a daily cycle, sensor noise.
                let hours = self.step / 3600.0;
                self.slow +=
                    -self.slow * hours / 60.0 + 4.0 * (2.0 * hours / 60.0).sqrt() * r.normal();
                self.state += -self.state * hours + 0.5 * (2.0 * hours).sqrt() * r.normal();
                let value = 15.0 + self.slow + self.state + 5.0 * daily + 0.1 * r.normal();
                (value * 10.0).round() / 10.0
            }
        };
        (self.time, value)
    }
}
