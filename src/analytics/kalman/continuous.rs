//! A linear system in continuous time, dx = A·x·dt + dw with E[dw·dwᵀ] = Q·dt, brought to any
//! interval: F = exp(A·dt), Q(dt) = ∫₀^dt exp(A·s)·Q·exp(Aᵀ·s) ds.
//!
//! Van Loan (1978), *Computing integrals involving the matrix exponential*, IEEE Trans. AC-23, takes
//! both from one exponential that holds exp(−A·dt), which overflows over a long gap of any system
//! that decays. Here the interval is halved until ‖A‖·h ≤ ½ (scaling and squaring: Higham 2008,
//! *Functions of Matrices*, section 10.3); exp(A·s) is then a Taylor sum, the integral a
//! Gauss-Legendre sum, whose weights are positive, and doubling back is
//! F ← F², Q ← Q + F·Q·Fᵀ. Each step of Q adds non-negative matrices, so it stays in factors.

use nalgebra::{SMatrix, SVector};

use super::linear::{Factors, Transition};

/// exp's Taylor series at ‖A‖·h ≤ ½: what is left out is below 0.5¹⁶/16! = 1e-18.
const TERMS: usize = 16;
/// Seven points are exact to degree 13; at ‖A‖·h ≤ ½ what is left out is below 1e-19
/// (Abramowitz and Stegun 25.4.30). Nodes and weights on [−1, 1] (their table 25.4).
const NODES: [(f64, f64); 7] = [
    (-0.949_107_912_342_758_5, 0.129_484_966_168_869_7),
    (-0.741_531_185_599_394_4, 0.279_705_391_489_276_7),
    (-0.405_845_151_377_397_2, 0.381_830_050_505_118_9),
    (0.0, 0.417_959_183_673_469_4),
    (0.405_845_151_377_397_2, 0.381_830_050_505_118_9),
    (0.741_531_185_599_394_4, 0.279_705_391_489_276_7),
    (0.949_107_912_342_758_5, 0.129_484_966_168_869_7),
];
/// Halvings at most. Entries of A are at most 1e6, and all of event time is 1e10 s: 57 are needed.
const HALVINGS_MAX: u32 = 64;

/// The system, with the powers of A at hand.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Generator<const N: usize> {
    /// Aᵏ/k!, from k = 0.
    powers: [SMatrix<f64, N, N>; TERMS],
    /// ‖A‖, largest sum of a row.
    norm: f64,
    /// Factors of Q, per second.
    noise: Factors<N>,
}

impl<const N: usize> Generator<N> {
    pub fn new(a: &SMatrix<f64, N, N>, noise: Factors<N>) -> Self {
        let mut powers = [SMatrix::identity(); TERMS];
        let mut power = SMatrix::identity();
        for (k, entry) in powers.iter_mut().enumerate().skip(1) {
            power = power * a / k as f64;
            *entry = power;
        }
        let norm = a.row_iter().map(|row| row.iter().map(|x| x.abs()).sum()).fold(0.0, f64::max);
        Generator { powers, norm, noise }
    }

    /// exp(A·s) for ‖A‖·s ≤ ½.
    fn exponential(&self, s: f64) -> SMatrix<f64, N, N> {
        let mut sum = SMatrix::zeros();
        let mut scale = 1.0;
        for power in &self.powers {
            sum += power * scale;
            scale *= s;
        }
        sum
    }

    /// `dt`: seconds, ≥ 0.
    pub fn transition(&self, dt: f64) -> Transition<N> {
        let mut h = dt;
        let mut halvings = 0;
        while self.norm * h > 0.5 && halvings < HALVINGS_MAX {
            h /= 2.0;
            halvings += 1;
        }
        let mut f = self.exponential(h);
        let mut noise = Factors::zero();
        if !self.noise.is_zero() {
            for (node, weight) in NODES {
                let u = self.exponential(h * (1.0 + node) / 2.0) * self.noise.u;
                let d = self.noise.d * (h * weight / 2.0);
                noise = Factors::of_sum(noise.u, &noise.d, u, &d);
            }
        }
        for _ in 0..halvings {
            noise = Factors::of_sum(noise.u, &noise.d, f * noise.u, &noise.d);
            f *= f;
        }
        Transition { matrix: f, offset: SVector::zeros(), noise }
    }
}
