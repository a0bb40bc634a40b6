//! A covariance as its factors P = U·D·Uᵀ (U unit upper triangular, D diagonal and non-negative):
//! symmetric and without negative eigenvalue whatever is rounded.
//!
//! Sources: Bierman (1977), *Factorization Methods for Discrete Sequential Estimation*, sections
//! V.3 (observation) and VI.4 (time: weighted Gram–Schmidt, after Thornton).

use nalgebra::{SMatrix, SVector};

/// A covariance as U·D·Uᵀ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors<const N: usize> {
    /// Unit upper triangular.
    pub(super) u: SMatrix<f64, N, N>,
    /// Diagonal of D, each ≥ 0.
    pub(super) d: SVector<f64, N>,
}

impl<const N: usize> Factors<N> {
    /// The zero covariance.
    pub fn zero() -> Self {
        Factors { u: SMatrix::identity(), d: SVector::zeros() }
    }

    /// The identity.
    pub fn identity() -> Self {
        Factors { u: SMatrix::identity(), d: SVector::repeat(1.0) }
    }

    /// Factors a symmetric, non-negative `covariance` (only its upper triangle is read). What
    /// rounding made negative counts as zero.
    pub fn new(covariance: &SMatrix<f64, N, N>) -> Self {
        let mut rest = *covariance;
        let mut factors = Self::zero();
        for j in (0..N).rev() {
            let d = rest[(j, j)].max(0.0);
            factors.d[j] = d;
            if d == 0.0 {
                continue;
            }
            for i in 0..j {
                factors.u[(i, j)] = rest[(i, j)] / d;
            }
            for i in 0..j {
                for k in i..j {
                    rest[(i, k)] -= factors.u[(i, j)] * factors.u[(k, j)] * d;
                }
            }
        }
        factors
    }

    /// U·D·Uᵀ, exactly symmetric.
    pub fn covariance(&self) -> SMatrix<f64, N, N> {
        SMatrix::from_fn(|i, k| {
            let (i, k) = (i.min(k), i.max(k));
            (k..N).map(|j| self.u[(i, j)] * self.d[j] * self.u[(k, j)]).sum()
        })
    }

    /// The factors of A·diag(`a_weights`)·Aᵀ + B·diag(`b_weights`)·Bᵀ by weighted Gram–Schmidt:
    /// sums of squares only. Weights ≥ 0. What is left of a row is zero where it is no more than
    /// the rounding of what was taken off: otherwise a diffuse matrix would gain back directions.
    pub(super) fn of_sum(
        mut a: SMatrix<f64, N, N>,
        a_weights: &SVector<f64, N>,
        mut b: SMatrix<f64, N, N>,
        b_weights: &SVector<f64, N>,
    ) -> Self {
        let mut factors = Self::zero();
        let size = |a: &SMatrix<f64, N, N>, b: &SMatrix<f64, N, N>, j: usize| -> f64 {
            (0..N)
                .map(|k| {
                    a_weights[k] * a[(j, k)] * a[(j, k)] + b_weights[k] * b[(j, k)] * b[(j, k)]
                })
                .sum()
        };
        let rounding = 8.0 * N as f64 * f64::EPSILON;
        let whole: [f64; N] = std::array::from_fn(|j| size(&a, &b, j));
        for j in (0..N).rev() {
            let d = size(&a, &b, j);
            if d <= rounding * rounding * whole[j] {
                continue;
            }
            factors.d[j] = d;
            for i in 0..j {
                let mut product = 0.0;
                for k in 0..N {
                    product +=
                        a_weights[k] * a[(i, k)] * a[(j, k)] + b_weights[k] * b[(i, k)] * b[(j, k)];
                }
                let u = product / d;
                factors.u[(i, j)] = u;
                for k in 0..N {
                    a[(i, k)] -= u * a[(j, k)];
                    b[(i, k)] -= u * b[(j, k)];
                }
            }
        }
        factors
    }

    /// Takes in a scalar observation with row `h` and noise variance `r` ≥ 0. Returns the gain and
    /// the innovation variance; `None`, and nothing changed, if that is zero.
    pub(super) fn observe(
        &mut self,
        h: &SVector<f64, N>,
        r: f64,
    ) -> Option<(SVector<f64, N>, f64)> {
        let f = self.seen(h);
        let mut gain: SVector<f64, N> = SVector::zeros();
        let mut alpha = r;
        let mut after = *self;
        let mut seen = (0..N).filter(|&i| h[i] != 0.0);
        let sole = seen.next().filter(|_| seen.next().is_none());
        for j in 0..N {
            let v = self.d[j] * f[j];
            let before = alpha;
            alpha += f[j] * v;
            if alpha > 0.0 {
                after.d[j] = self.d[j] * (before / alpha);
            }
            // While `before` is zero nothing has been gained yet and there is nothing to rotate.
            let lambda = if before > 0.0 { -f[j] / before } else { 0.0 };
            for i in 0..j {
                let u = self.u[(i, j)];
                let turned = gain[i] * lambda;
                // In the row of the one component that is seen the sum is u·r/before: written out, it loses
                // as many digits as the state's variance has more than the reading's.
                after.u[(i, j)] = if sole == Some(i) && before > 0.0 {
                    u * (r / before)
                } else if r == 0.0 {
                    // Of a diffuse matrix what a reading without noise has seen is gone, not small.
                    unless_cancelled(u + turned, u.abs() + turned.abs())
                } else {
                    u + turned
                };
                gain[i] += u * v;
            }
            gain[j] = v;
        }
        if alpha > 0.0 {
            *self = after;
            Some((gain / alpha, alpha))
        } else {
            None
        }
    }

    /// Uᵀh. A component that is nothing but rounding of cancelled terms is zero: whether a diffuse
    /// direction is seen at all must not hang on the last bit.
    pub(super) fn seen(&self, h: &SVector<f64, N>) -> SVector<f64, N> {
        SVector::from_fn(|j, _| {
            let (mut sum, mut size) = (0.0, 0.0);
            for i in 0..=j {
                let term = self.u[(i, j)] * h[i];
                sum += term;
                size += term.abs();
            }
            unless_cancelled(sum, size)
        })
    }

    /// True when every weight is zero.
    pub(super) fn is_zero(&self) -> bool {
        self.d.iter().all(|&d| d == 0.0)
    }

    /// hᵀ·P·h, a sum of squares.
    pub(super) fn variance_of(&self, h: &SVector<f64, N>) -> f64 {
        let seen = self.u.tr_mul(h);
        (0..N).map(|j| self.d[j] * seen[j] * seen[j]).sum()
    }

    /// Whether h·x varies at all.
    pub(super) fn is_seen_by(&self, h: &SVector<f64, N>) -> bool {
        let seen = self.seen(h);
        (0..N).any(|j| self.d[j] > 0.0 && seen[j] != 0.0)
    }

    /// Brings the largest weight to 1: of a diffuse matrix only the directions mean anything, and
    /// what grows or decays for ever would leave the range.
    pub(super) fn rescale(&mut self) {
        let largest = self.d.max();
        if largest > 0.0 && largest.is_finite() {
            self.d /= largest;
        }
    }

    /// All numbers finite, also of the covariance; weights ≥ 0.
    pub(super) fn is_sound(&self) -> bool {
        self.u.iter().all(|u| u.is_finite())
            && self.d.iter().all(|d| d.is_finite() && *d >= 0.0)
            && self.covariance().iter().all(|p| p.is_finite())
    }
}

/// A sum of terms whose absolute values add up to `size`; zero if it is nothing but their rounding.
pub(super) fn unless_cancelled(sum: f64, size: f64) -> f64 {
    if sum.abs() <= 8.0 * f64::EPSILON * size { 0.0 } else { sum }
}
