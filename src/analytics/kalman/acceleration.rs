//! Level, trend and acceleration in continuous time: state (level, trend per second, acceleration
//! per second²), the acceleration a random walk (continuous white jerk):
//! F = [[1, dt, dt²/2], [0, 1, dt], [0, 0, 1]],
//! Q = q_a·[[dt⁵/20, dt⁴/8, dt³/6], [dt⁴/8, dt³/3, dt²/2], [dt³/6, dt²/2, dt]] and, where they are
//! given, the level's and the trend's own noise as in [`super::trend`].
//!
//! Bar-Shalom, Li and Kirubarajan (2001), *Estimation with Applications to Tracking and
//! Navigation*, section 6.2.3 (equations 6.2.3-2 and 6.2.3-3, "continuous Wiener process
//! acceleration"). Q is not formed: its factors are known in closed form, so nothing cancels.

use nalgebra::{SMatrix, SVector};

use super::linear::{Factors, Observation, Transition};
use super::plan::Noise;

/// A reading sees the level.
pub(super) fn observation(noise: &Noise) -> Observation<3> {
    Observation { row: SVector::from([1.0, 0.0, 0.0]), variance: noise.observation }
}

/// `dt`: seconds, ≥ 0.
pub(super) fn transition(noise: &Noise, dt: f64) -> Transition<3> {
    let matrix = SMatrix::from_row_slice(&[1.0, dt, dt * dt / 2.0, 0.0, 1.0, dt, 0.0, 0.0, 1.0]);
    let (cube, fifth) = (dt * dt * dt, dt * dt * dt * dt * dt);
    // U·D·Uᵀ of the matrix above: the last state first, as in Gauss elimination.
    let mut sum = Factors {
        u: SMatrix::from_row_slice(&[
            1.0,
            dt / 2.0,
            dt * dt / 6.0,
            0.0,
            1.0,
            dt / 2.0,
            0.0,
            0.0,
            1.0,
        ]),
        d: SVector::from([fifth / 720.0, cube / 12.0, dt]) * noise.acceleration,
    };
    if noise.level > 0.0 || noise.trend > 0.0 {
        let lower = Factors {
            u: SMatrix::from_row_slice(&[1.0, dt / 2.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]),
            d: SVector::from([noise.level * dt + noise.trend * cube / 12.0, noise.trend * dt, 0.0]),
        };
        sum = Factors::of_sum(sum.u, &sum.d, lower.u, &lower.d);
    }
    Transition { matrix, offset: SVector::zeros(), noise: sum }
}
