//! [`Gaussian`] as it is stored: lists under one-letter names, checked on the way back.

use serde::{Deserialize, Serialize};

use super::factors::Factors;
use super::linear::{Gaussian, vector};

/// Mean, the factors of P*, and while some direction is diffuse those of P∞.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Packed {
    /// `n` numbers.
    #[serde(rename = "m")]
    mean: Vec<f64>,
    /// Above the diagonal of U, row by row: `n·(n − 1)/2` numbers.
    #[serde(rename = "u", default, skip_serializing_if = "Vec::is_empty")]
    u: Vec<f64>,
    /// `n` weights.
    #[serde(rename = "d")]
    d: Vec<f64>,
    /// As `u`, of P∞.
    #[serde(rename = "v", default, skip_serializing_if = "Vec::is_empty")]
    diffuse_u: Vec<f64>,
    /// As `d`, of P∞; empty: nothing is diffuse.
    #[serde(rename = "e", default, skip_serializing_if = "Vec::is_empty")]
    diffuse_d: Vec<f64>,
}

impl Packed {
    /// Length of the state.
    pub fn states(&self) -> usize {
        self.mean.len()
    }
}

fn upper<const N: usize>(factors: &Factors<N>) -> Vec<f64> {
    (0..N).flat_map(|i| (i + 1..N).map(move |j| factors.u[(i, j)])).collect()
}

fn factors<const N: usize>(upper: &[f64], d: &[f64]) -> Option<Factors<N>> {
    let mut factors = Factors { d: vector(d)?, ..Factors::zero() };
    if upper.len() != N * (N - 1) / 2 {
        return None;
    }
    let places = (0..N).flat_map(|i| (i + 1..N).map(move |j| (i, j)));
    for (place, &u) in places.zip(upper) {
        factors.u[place] = u;
    }
    factors.is_sound().then_some(factors)
}

impl<const N: usize> From<Gaussian<N>> for Packed {
    fn from(gaussian: Gaussian<N>) -> Packed {
        Packed {
            mean: gaussian.mean.iter().copied().collect(),
            u: upper(&gaussian.proper),
            d: gaussian.proper.d.iter().copied().collect(),
            diffuse_u: gaussian.diffuse.as_ref().map(upper).unwrap_or_default(),
            diffuse_d: gaussian
                .diffuse
                .map(|diffuse| diffuse.d.iter().copied().collect())
                .unwrap_or_default(),
        }
    }
}

impl<const N: usize> TryFrom<Packed> for Gaussian<N> {
    type Error = &'static str;

    fn try_from(packed: Packed) -> Result<Self, Self::Error> {
        let read = || {
            let diffuse = match packed.diffuse_d.as_slice() {
                [] if packed.diffuse_u.is_empty() => None,
                d => Some(factors(&packed.diffuse_u, d)?),
            };
            let proper = factors(&packed.u, &packed.d)?;
            Some(Gaussian { mean: vector(&packed.mean)?, proper, diffuse })
        };
        read()
            .filter(Gaussian::is_sound)
            .ok_or("filter state: mean or factors of the covariance are not sound")
    }
}
