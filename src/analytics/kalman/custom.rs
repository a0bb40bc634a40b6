//! A linear system whose matrices the operator gives: `n` states (at most 8), rows of `m` readings
//! (at most 4) of which any may be missing.
//!
//! The components of a row are taken in one after the other (Durbin and Koopman 2012, section
//! 6.4). Where their noise is correlated the observed ones are first decorrelated: with R = L·D·Lᵀ
//! (L unit lower triangular), L⁻¹·y = L⁻¹·H·x + v, v ~ N(0, D). |L| = 1, so the likelihood stays
//! what it is.

use nalgebra::{SMatrix, SVector};

use super::backward::smooth;
use super::continuous::Generator;
use super::linear::{Factors, Gaussian, Observation, Transition, matrix, vector};
use crate::analytics::settings::{CustomSettings, KalmanInitial};
use crate::reading::{EventTime, Finite, SECOND};

/// A row of readings and its time.
pub(super) type Row = (EventTime, Vec<Option<Finite>>);

/// [`CustomSettings`] compiled for `N` states.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct System<const N: usize> {
    dynamics: Dynamics<N>,
    /// Rows of H.
    rows: Vec<SVector<f64, N>>,
    /// Diagonal of R.
    variances: Vec<f64>,
    /// What is taken in, by which components are there (bit i: component i).
    views: Vec<Vec<View<N>>>,
    /// What is believed before the first row.
    pub start: Gaussian<N>,
}

#[derive(Clone, Debug, PartialEq)]
enum Dynamics<const N: usize> {
    /// From each row to the next.
    PerReading(Transition<N>),
    /// As many steps as fit between two rows, each of so many seconds.
    PerStep(Transition<N>, f64),
    PerSecond(Generator<N>),
}

/// One decorrelated component.
#[derive(Clone, Debug, PartialEq)]
struct View<const N: usize> {
    /// Of the row.
    component: usize,
    /// What is taken off of the views before it: a row of L.
    mix: Vec<f64>,
    observation: Observation<N>,
}

/// What a row was worth.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Taken {
    /// Normalised innovation squared of all components that were expected.
    pub nis: f64,
    /// Their number.
    pub dof: usize,
    /// Their log-likelihood.
    pub loglik: f64,
}

impl<const N: usize> System<N> {
    /// `None` if the matrices do not fit ([`CustomSettings::fault`]). An `initial` that does not
    /// fit counts as not given.
    pub fn new(custom: &CustomSettings, initial: Option<&KalmanInitial>) -> Option<Self> {
        let noise = Factors::new(&matrix(&custom.q)?);
        let f = matrix(&custom.f)?;
        let rows = custom.h.iter().map(|row| vector(row)).collect::<Option<Vec<_>>>()?;
        let m = rows.len();
        if custom.r.len() != m || custom.r.iter().any(|row| row.len() != m) || m >= 16 {
            return None;
        }
        let views = (0..1_usize << m).map(|mask| decorrelated(&rows, &custom.r, mask)).collect();
        let start = initial.and_then(|i| Gaussian::from_rows(&i.state, &i.covariance));
        Some(System {
            dynamics: if custom.per_second {
                Dynamics::PerSecond(Generator::new(&f, noise))
            } else {
                let transition = Transition { matrix: f, offset: SVector::zeros(), noise };
                match custom.step {
                    Some(step) => Dynamics::PerStep(transition, step as f64 / SECOND as f64),
                    None => Dynamics::PerReading(transition),
                }
            },
            variances: custom.r.iter().enumerate().map(|(i, row)| row[i]).collect(),
            rows,
            views,
            start: start.unwrap_or_else(Gaussian::diffuse),
        })
    }

    pub fn is_per_reading(&self) -> bool {
        matches!(self.dynamics, Dynamics::PerReading(_))
    }

    pub fn metrics(&self) -> usize {
        self.rows.len()
    }

    /// From one row to the next, `dt` ≥ 0 seconds later.
    pub fn transition(&self, dt: f64) -> Transition<N> {
        match &self.dynamics {
            Dynamics::PerReading(transition) => *transition,
            Dynamics::PerStep(transition, step) => power(transition, (dt / step).round() as u64),
            Dynamics::PerSecond(generator) => generator.transition(dt),
        }
    }

    pub fn predict(&self, state: &mut Gaussian<N>, dt: f64) {
        if dt > 0.0 || self.is_per_reading() {
            state.predict(&self.transition(dt));
        }
    }

    /// Mean and variance of what component `i` measures, without its own noise; `None` while
    /// diffuse.
    pub fn level(&self, state: &Gaussian<N>, i: usize) -> Option<(f64, f64)> {
        state.of(self.rows.get(i)?)
    }

    /// Mean and variance of a reading of component `i`.
    pub fn reading(&self, state: &Gaussian<N>, i: usize) -> Option<(f64, f64)> {
        let (mean, variance) = self.level(state, i)?;
        Some((mean, variance + self.variances.get(i)?))
    }

    /// Takes in a row.
    pub fn take(&self, state: &mut Gaussian<N>, row: &[Option<Finite>]) -> Taken {
        let present = row.iter().take(self.rows.len()).enumerate();
        let mask = present.fold(0, |mask, (i, y)| mask | usize::from(y.is_some()) << i);
        let mut taken = Taken::default();
        let mut decorrelated: Vec<f64> = Vec::with_capacity(self.rows.len());
        for view in self.views.get(mask).into_iter().flatten() {
            let Some(y) = row.get(view.component).copied().flatten() else { continue };
            let before = view.mix.iter().zip(&decorrelated).map(|(l, y)| l * y);
            let y = before.fold(y.get(), |y, before| y - before);
            decorrelated.push(y);
            if let Some(innovation) = state.update(&view.observation, y) {
                taken.nis = (taken.nis + innovation.nis()).min(f64::MAX);
                taken.dof += 1;
                taken.loglik += innovation.loglik();
            }
        }
        taken
    }

    /// The state at each row given all rows; `start` is what was believed before the first.
    pub fn smooth(&self, start: &Gaussian<N>, rows: &[Row]) -> Vec<Gaussian<N>> {
        let dt = |i: usize| match (rows.get(i), rows.get(i + 1)) {
            (Some((now, _)), Some((next, _))) => super::seconds(*now, *next),
            _ => 0.0,
        };
        let mut state = *start;
        let filtered: Vec<Gaussian<N>> = rows
            .iter()
            .enumerate()
            .map(|(i, (_, row))| {
                if let Some(before) = i.checked_sub(1) {
                    self.predict(&mut state, dt(before));
                }
                self.take(&mut state, row);
                state
            })
            .collect();
        smooth(&filtered, |i| self.transition(dt(i)))
    }
}

/// `count` steps in one, without offsets: of two in succession F = F₂·F₁, Q = F₂·Q₁·F₂ᵀ + Q₂, by
/// squaring.
fn power<const N: usize>(step: &Transition<N>, mut count: u64) -> Transition<N> {
    let then = |first: &Transition<N>, second: &Transition<N>| Transition {
        matrix: second.matrix * first.matrix,
        offset: SVector::zeros(),
        noise: Factors::of_sum(
            second.matrix * first.noise.u,
            &first.noise.d,
            second.noise.u,
            &second.noise.d,
        ),
    };
    let (matrix, noise) = (SMatrix::identity(), Factors::zero());
    let mut whole = Transition { matrix, offset: SVector::zeros(), noise };
    let mut square = *step;
    loop {
        if count & 1 == 1 {
            whole = then(&whole, &square);
        }
        count >>= 1;
        if count == 0 {
            return whole;
        }
        square = then(&square, &square);
    }
}

/// The observed components of a row, decorrelated.
fn decorrelated<const N: usize>(
    rows: &[SVector<f64, N>],
    r: &[Vec<f64>],
    mask: usize,
) -> Vec<View<N>> {
    let observed: Vec<usize> = (0..rows.len()).filter(|i| mask >> i & 1 == 1).collect();
    let mut views: Vec<View<N>> = Vec::with_capacity(observed.len());
    // Row by row: R[k][l] = Σ L[k][i]·D[i]·L[l][i].
    for (k, &component) in observed.iter().enumerate() {
        let mut mix = vec![0.0; k];
        let mut variance = r[component][component];
        let mut row = rows[component];
        for l in 0..k {
            let shared: f64 =
                (0..l).map(|i| mix[i] * views[i].observation.variance * views[l].mix[i]).sum();
            let earlier = &views[l].observation;
            if earlier.variance > 0.0 {
                mix[l] = (r[component][observed[l]] - shared) / earlier.variance;
                variance -= mix[l] * mix[l] * earlier.variance;
                row -= earlier.row * mix[l];
            }
        }
        let variance = variance.max(0.0);
        views.push(View { component, mix, observation: Observation { row, variance } });
    }
    views
}

/// Mean and covariance as lists.
pub(super) fn lists<const N: usize>(state: &Gaussian<N>) -> (Vec<f64>, Vec<Vec<f64>>) {
    let covariance: SMatrix<f64, N, N> = state.covariance();
    (state.mean().iter().copied().collect(), super::linear::rows(&covariance))
}
