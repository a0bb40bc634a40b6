//! The generic core: a linear Gaussian filter of `N` states with scalar observations and an exact
//! diffuse start.
//!
//! Every covariance is kept as its factors P = U·D·Uᵀ (U unit upper triangular, D diagonal and
//! non-negative), so it is symmetric and has no negative eigenvalue whatever is rounded, and keeps
//! the digits that a covariance form loses (about 2e-3 on the slope of an ill-conditioned start,
//! where this form keeps 1e-9). `level`, `trend` and `decay` have closed forms of the same
//! recursions ([`super::level`], [`super::trend`], [`super::decay`]) and are tested against this
//! one; `acceleration` and `custom` run on it.
//!
//! Sources: Bierman (1977), *Factorization Methods for Discrete Sequential Estimation*, sections
//! V.3 (observation) and VI.4 (time: weighted Gram–Schmidt, after Thornton); Durbin and Koopman
//! (2012), *Time Series Analysis by State Space Methods*, 2nd ed., sections 4.3 (filter) and 5.2
//! (exact initial filter).

use nalgebra::{SMatrix, SVector};
use serde::{Deserialize, Serialize};

pub use super::factors::Factors;

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
///
/// Serialised as [`super::packed::Packed`], and checked on the way back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "super::packed::Packed", into = "super::packed::Packed")]
pub struct Gaussian<const N: usize> {
    pub(super) mean: SVector<f64, N>,
    pub(super) proper: Factors<N>,
    /// `None` once every direction has been seen.
    pub(super) diffuse: Option<Factors<N>>,
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

    /// The same from numbers and rows; `None` if there are not `N` of each, one is not finite, or
    /// a variance is negative.
    pub fn from_rows(mean: &[f64], covariance: &[Vec<f64>]) -> Option<Self> {
        let gaussian = Gaussian::new(vector(mean)?, &matrix(covariance)?);
        let negative = covariance.iter().enumerate().any(|(i, row)| row.get(i) < Some(&0.0));
        (!negative && gaussian.is_sound()).then_some(gaussian)
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

    /// Mean and variance of h·x; `None` while that is diffuse.
    pub fn of(&self, h: &SVector<f64, N>) -> Option<(f64, f64)> {
        if self.diffuse.as_ref().is_some_and(|diffuse| diffuse.is_seen_by(h)) {
            return None;
        }
        Some((h.dot(&self.mean), self.proper.variance_of(h)))
    }

    /// All numbers finite, no variance negative.
    pub fn is_sound(&self) -> bool {
        self.mean.iter().all(|x| x.is_finite())
            && self.proper.is_sound()
            && self.diffuse.as_ref().is_none_or(Factors::is_sound)
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
        if let Some(diffuse) = &self.diffuse {
            let none = SMatrix::identity();
            let mut next = Factors::of_sum(f * diffuse.u, &diffuse.d, none, &SVector::zeros());
            next.rescale();
            // F may forget a direction: there is nothing left to be seen of it.
            self.diffuse = (!next.is_zero()).then_some(next);
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

/// `None` if there are not `N` numbers.
pub(super) fn vector<const N: usize>(numbers: &[f64]) -> Option<SVector<f64, N>> {
    (numbers.len() == N).then(|| SVector::from_column_slice(numbers))
}

/// `None` if there are not `N` rows of `N`.
pub(super) fn matrix<const N: usize>(rows: &[Vec<f64>]) -> Option<SMatrix<f64, N, N>> {
    let square = rows.len() == N && rows.iter().all(|row| row.len() == N);
    square.then(|| SMatrix::from_row_iterator(rows.iter().flatten().copied()))
}

/// A matrix as rows.
pub(super) fn rows<const N: usize>(matrix: &SMatrix<f64, N, N>) -> Vec<Vec<f64>> {
    matrix.row_iter().map(|row| row.iter().copied().collect()).collect()
}
