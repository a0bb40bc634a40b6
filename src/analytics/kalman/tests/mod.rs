//! Tests of the filter: against the reference files, closed forms against the generic core,
//! behaviour of gate, shift and learning, and what must hold for any input.

mod behaviour;
mod fitting;
mod golden;
mod golden_custom;
mod health;
mod models;
mod properties;

use super::*;
use crate::analytics::kalman::level::Level;
use crate::analytics::kalman::trend::{Diffuse, Trend};
use crate::analytics::settings::{CustomSettings, KalmanInitial, KalmanModel, KalmanSettings};
use crate::reading::Finite;

fn finite(value: f64) -> Finite {
    Finite::new(value).expect("test values are finite")
}

/// Seconds since the epoch, to the nanosecond.
fn at(seconds: f64) -> EventTime {
    EventTime::from_nanos((seconds * SECOND as f64).round() as i64).expect("test times are valid")
}

/// A level filter with known noise: variance `r` of a reading, `q` per second of the level.
fn level_settings(r: f64, q: f64) -> KalmanSettings {
    KalmanSettings {
        observation_sd: Some(r.sqrt()),
        level_sd: Some((q * 3600.0).sqrt()),
        ..KalmanSettings::default()
    }
}

/// A trend filter with known noise; `q_trend` per second of the trend per second.
fn trend_settings(r: f64, q_level: f64, q_trend: f64) -> KalmanSettings {
    KalmanSettings {
        model: KalmanModel::Trend,
        trend_sd: Some((q_trend * 3600.0 * 3600.0 * 3600.0).sqrt()),
        ..level_settings(r, q_level)
    }
}

/// A repeatable stream of standard normal numbers: sums of twelve uniform ones.
struct Normal(u64);

impl Normal {
    fn next(&mut self) -> f64 {
        let mut sum = -6.0;
        for _ in 0..12 {
            // Steele, Lea, Flood (2014): splitmix64.
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            sum += ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64;
        }
        sum
    }
}

/// A level beside a damped oscillation of ten minutes, in continuous time.
fn oscillator() -> CustomSettings {
    let w = 2.0 * std::f64::consts::PI / 600.0;
    CustomSettings {
        metrics: Vec::new(),
        f: vec![vec![0.0, 0.0, 0.0], vec![0.0, -1e-3, w], vec![0.0, -w, -1e-3]],
        h: vec![vec![1.0, 1.0, 0.0]],
        q: vec![vec![1e-4, 0.0, 0.0], vec![0.0, 1e-3, 0.0], vec![0.0, 0.0, 1e-3]],
        r: vec![vec![0.25]],
        per_second: true,
        step: None,
    }
}
