//! The generic core: a linear Gaussian filter of `N` states with scalar observations and an exact
//! diffuse start.
//!
//! Every covariance is kept as its factors P = U·D·Uᵀ (U unit upper triangular, D diagonal and
//! non-negative), so it is symmetric and has no negative eigenvalue whatever is rounded, and keeps
//! the digits that a covariance form loses (about 2e-3 on the slope of an ill-conditioned start,
//! where this form keeps 1e-9). The models that run today have closed forms of the same
//! recursions ([`super::level`], [`super::trend`]) and are tested against this one.
//!
//! Sources: Bierman (1977), *Factorization Methods for Discrete Sequential Estimation*, sections
//! V.3 (observation) and VI.4 (time: weighted Gram–Schmidt, after Thornton); Durbin and Koopman
//! (2012), *Time Series Analysis by State Space Methods*, 2nd ed., sections 4.3 (filter) and 5.2
//! (exact initial filter).

use nalgebra::{SMatrix, SVector};

/// A covariance as U·D·Uᵀ.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors<const N: usize> {
    /// Unit upper triangular.
    u: SMatrix<f64, N, N>,
    /// Diagonal of D, each ≥ 0.
    d: SVector<f64, N>,
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
    fn of_sum(
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
    fn observe(&mut self, h: &SVector<f64, N>, r: f64) -> Option<(SVector<f64, N>, f64)> {
        let f = self.seen(h);
        let mut gain: SVector<f64, N> = SVector::zeros();
        let mut alpha = r;
        let mut after = *self;
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
                after.u[(i, j)] = u + gain[i] * lambda;
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
    fn seen(&self, h: &SVector<f64, N>) -> SVector<f64, N> {
        SVector::from_fn(|j, _| {
            let (mut sum, mut size) = (0.0, 0.0);
            for i in 0..=j {
                let term = self.u[(i, j)] * h[i];
                sum += term;
                size += term.abs();
            }
            if sum.abs() <= 8.0 * f64::EPSILON * size { 0.0 } else { sum }
        })
    }

    /// True when every weight is zero.
    fn is_zero(&self) -> bool {
        self.d.iter().all(|&d| d == 0.0)
    }
}

/// How the state moves from one time to the next: x' = F·x + c + w, w ~ N(0, Q).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition<const N: usize> {
    /// F.
    pub matrix: SMatrix<f64, N, N>,
    /// c; zero except for models that return to a mean.
    pub offset: SVector<f64, N>,
    /// Factors of Q.
    pub noise: Factors<N>,
}

/// What a reading sees of the state: y = H·x + v, v ~ N(0, R).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation<const N: usize> {
    /// H, as a vector.
    pub row: SVector<f64, N>,
    /// R ≥ 0.
    pub variance: f64,
}

/// A reading against what was expected of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Innovation {
    /// Reading less expectation, in its unit.
    pub value: f64,
    /// Its variance, > 0.
    pub variance: f64,
}

impl Innovation {
    /// The normalised innovation squared, v²/S; saturates instead of overflowing.
    pub fn nis(&self) -> f64 {
        (self.value / self.variance * self.value).min(f64::MAX)
    }

    /// Log-likelihood of the reading, with the log 2π term.
    pub fn loglik(&self) -> f64 {
        loglik(self.variance, self.nis())
    }
}

/// −½·(ln 2π + ln S + NIS): Durbin and Koopman (2012), equation 7.2, one reading.
pub(super) fn loglik(innovation_variance: f64, nis: f64) -> f64 {
    const LN_TWO_PI: f64 = 1.837_877_066_409_345_3;
    -0.5 * (LN_TWO_PI + libm::log(innovation_variance) + nis)
}

/// Mean and covariance of the state, the covariance being P* + κ·P∞ with κ → ∞ as long as some
/// direction is diffuse (Durbin and Koopman 2012, equation 5.6).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gaussian<const N: usize> {
    mean: SVector<f64, N>,
    proper: Factors<N>,
    /// `None` once every direction has been seen.
    diffuse: Option<Factors<N>>,
}

impl<const N: usize> Gaussian<N> {
    /// Nothing known: P* = 0, P∞ = I.
    pub fn diffuse() -> Self {
        Gaussian {
            mean: SVector::zeros(),
            proper: Factors::zero(),
            diffuse: Some(Factors::identity()),
        }
    }

    /// A known mean and covariance.
    pub fn new(mean: SVector<f64, N>, covariance: &SMatrix<f64, N, N>) -> Self {
        Gaussian { mean, proper: Factors::new(covariance), diffuse: None }
    }

    /// The mean. Means nothing in diffuse directions.
    pub fn mean(&self) -> &SVector<f64, N> {
        &self.mean
    }

    /// P*; the covariance once nothing is diffuse.
    pub fn covariance(&self) -> SMatrix<f64, N, N> {
        self.proper.covariance()
    }

    /// True while some direction of the state is diffuse.
    pub fn is_diffuse(&self) -> bool {
        self.diffuse.is_some()
    }

    /// Moves on in time.
    pub fn predict(&mut self, transition: &Transition<N>) {
        let f = &transition.matrix;
        self.mean = f * self.mean + transition.offset;
        self.proper = Factors::of_sum(
            f * self.proper.u,
            &self.proper.d,
            transition.noise.u,
            &transition.noise.d,
        );
        if let Some(diffuse) = &mut self.diffuse {
            *diffuse =
                Factors::of_sum(f * diffuse.u, &diffuse.d, SMatrix::identity(), &SVector::zeros());
        }
    }

    /// Takes in a reading. `None` where it went into a diffuse direction (and so had no
    /// expectation), or where state and reading are both without noise.
    pub fn update(&mut self, observation: &Observation<N>, reading: f64) -> Option<Innovation> {
        let h = &observation.row;
        let value = reading - h.dot(&self.mean);
        if let Some(diffuse) = &mut self.diffuse
            && let Some((gain, _)) = diffuse.observe(h, 0.0)
        {
            // F∞ > 0. P∞ loses the direction as by a reading without noise; P* = L·P*·Lᵀ + K·R·Kᵀ
            // with L = I − K·H is equation 5.14 with its terms collected.
            self.mean += gain * value;
            let l = SMatrix::<f64, N, N>::identity() - gain * h.transpose();
            let mut noise = SMatrix::<f64, N, N>::zeros();
            noise.set_column(0, &gain);
            let mut weights = SVector::<f64, N>::zeros();
            weights[0] = observation.variance;
            self.proper = Factors::of_sum(l * self.proper.u, &self.proper.d, noise, &weights);
            if diffuse.is_zero() {
                self.diffuse = None;
            }
            return None;
        }
        // F∞ = 0, or nothing diffuse any more: the usual filter on P*.
        let (gain, variance) = self.proper.observe(h, observation.variance)?;
        self.mean += gain * value;
        Some(Innovation { value, variance })
    }
}
