//! Readings that enter the filter with less than full weight.
//!
//! Pure.

use super::plan::Noise;

/// Beyond so many standard deviations a reading enters with less weight, where that is chosen.
/// Gelper, Fried and Croux (2010), "Robust forecasting with exponential and Holt-Winters smoothing",
/// Journal of Forecasting 29, use the same.
pub(super) const HUBER: f64 = 2.0;
/// A reading of less weight does not enter at all.
const WEIGHT_MIN: f64 = 1e-3;

/// Huber's (1964) weight of a normalised innovation squared: 1 up to [`HUBER`] standard deviations,
/// beyond that it falls so that the correction grows no further.
pub(super) fn huber_weight(nis: f64) -> f64 {
    if nis <= HUBER * HUBER { 1.0 } else { HUBER / nis.sqrt() }
}

/// `noise` with which the gain comes out as `weight` in [0, 1] times the usual one: an observation
/// variance of r + F·(1/w − 1), for F = P + r the innovation variance (Masreliez and Martin 1977,
/// IEEE Transactions on Automatic Control 22). `None`: too little to enter.
pub(super) fn weighted(noise: &Noise, innovation_variance: f64, weight: f64) -> Option<Noise> {
    if weight >= 1.0 {
        return Some(*noise);
    }
    let observation = noise.observation + innovation_variance * (1.0 / weight - 1.0);
    (weight >= WEIGHT_MIN && observation.is_finite()).then_some(Noise { observation, ..*noise })
}
