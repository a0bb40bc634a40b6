//! One model of a series: its form and parameters, its states, and how it guards itself.

use serde::{Deserialize, Serialize};

use super::calendar::{Phase, Slot, Walk};
use super::recursion::{Components, OneStep, Parameters, Season, variance_factors};
use super::score::Rung;
use super::start;
use crate::analytics::settings::Trend;

/// Errors beyond this many robust standard deviations are cut to it before they enter the states.
/// Gelper, Fried, Croux (Journal of Forecasting 29 (2010) 285–300) take 2; 3 leaves a normal series
/// as good as untouched.
const CLIP: f64 = 3.0;
/// Standard deviation of a normal distribution over its mean absolute deviation.
const NORMAL: f64 = 1.253_314_137_315_500_3;
/// So many cut errors in a row on one side are no outliers: the next is taken whole.
const STREAK: i8 = 3;
/// Weight of a new error in the scale.
const SCALE_GAIN: f64 = 0.02;

/// Which seasons, and how they combine with the level. Lengths in slots, ≥ 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Shape {
    #[serde(rename = "n")]
    Plain,
    #[serde(rename = "a")]
    Additive(usize),
    #[serde(rename = "m")]
    Multiplicative(usize),
    #[serde(rename = "d")]
    Double(usize, usize),
}

/// A model with its parameters, without states.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Spec {
    #[serde(rename = "n")]
    pub rung: Rung,
    #[serde(rename = "s")]
    pub shape: Shape,
    /// Works on logarithms.
    #[serde(rename = "l")]
    pub log: bool,
    #[serde(rename = "p")]
    pub parameters: Parameters,
}

impl Spec {
    /// The seasonal naive forecast with a season of `length`: no level, the factor is the last error
    /// taken whole.
    pub fn naive(rung: Rung, length: usize) -> Spec {
        let parameters = Parameters { gamma: 1.0, ..Parameters::default() };
        Spec { rung, shape: Shape::Additive(length), log: false, parameters }
    }

    /// The last slot, for ever.
    pub fn last() -> Spec {
        let parameters = Parameters { alpha: 1.0, ..Parameters::default() };
        Spec { rung: Rung::Naive, shape: Shape::Plain, log: false, parameters }
    }

    /// `value` as the model works on it; `None` when it has no logarithm.
    pub fn inward(&self, value: f64) -> Option<f64> {
        match self.log {
            false => Some(value),
            true => (value > 0.0).then(|| libm::log(value)),
        }
    }

    /// Back: what the model says, in the series' unit. With logarithms the median of what comes.
    pub fn outward(&self, value: f64) -> f64 {
        if self.log { exp(value) } else { value }
    }

    /// True when not every series has states of this form.
    pub fn is_picky(&self) -> bool {
        self.log || matches!(self.shape, Shape::Multiplicative(_))
    }

    /// The form that every series has.
    pub fn plainer(self) -> Spec {
        let shape = match self.shape {
            Shape::Multiplicative(m) => Shape::Additive(m),
            shape => shape,
        };
        Spec { shape, log: false, ..self }
    }

    /// True for forecasts that only repeat: nothing is smoothed, nothing may be cut.
    fn repeats(&self) -> bool {
        self.parameters.alpha == 1.0 || self.parameters.gamma == 1.0
    }
}

/// e to the `value`, kept within 1e±300: products of two such numbers are finite, or zero.
pub(super) fn exp(value: f64) -> f64 {
    libm::exp(value.clamp(-690.0, 690.0))
}

/// A model at work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Member {
    #[serde(rename = "m")]
    pub spec: Spec,
    #[serde(rename = "c")]
    pub components: Components,
    /// Mean absolute one-step error, older ones counting less; 0: not known yet.
    #[serde(rename = "e")]
    scale: f64,
    /// Cut errors in a row; negative when below.
    #[serde(rename = "k")]
    streak: i8,
}

impl Member {
    /// From given states, without guard until errors were seen.
    pub fn new(spec: Spec, components: Components) -> Member {
        Member { spec, components, scale: 0.0, streak: 0 }
    }

    /// With the states before `values[0]`, the slot `first`, found by classical
    /// decomposition in the beginning of `values` (already inward; NaN: missing). `None` when too little
    /// was observed.
    ///
    /// Two seasons: the second is what the first leaves, each factor the mean of n remainders times
    /// n/(n + 1/2), since so few of them would otherwise be taken for more than they are.
    pub fn start(spec: Spec, values: &[f64], first: Slot<'_>) -> Option<Member> {
        let window = &values[..spec.window(values)];
        let observed = || window.iter().copied().enumerate().filter(|(_, y)| y.is_finite());
        let trend = if spec.parameters.phi > 0.0 { Trend::Additive } else { Trend::None };
        let length = match spec.shape {
            Shape::Plain => 0,
            Shape::Additive(m) | Shape::Multiplicative(m) | Shape::Double(m, _) => m,
        };
        let (mut components, _) = start::decompose(observed(), first, length, trend)?;
        match (spec.shape, &mut components.season) {
            (Shape::Multiplicative(_), Season::Additive(factors)) => {
                let n = observed().count() as f64;
                let mean = observed().map(|(_, y)| y / n).sum::<f64>();
                if mean.is_nan() || mean <= 0.0 {
                    return None;
                }
                let factors = factors.iter().map(|s| (1.0 + s / mean).max(0.01)).collect();
                components.season = Season::Multiplicative(factors);
            }
            (Shape::Double(_, long), Season::Additive(short)) => {
                let (mut sums, mut counts) = (vec![0.0; long], vec![0.0; long]);
                let level = observed().map(|(_, y)| y).sum::<f64>() / observed().count() as f64;
                let mut walk = first.walk((short.len(), long));
                for y in window {
                    let at = walk.at();
                    walk.advance();
                    if y.is_finite() {
                        sums[at.second] += y - level - short[at.first];
                        counts[at.second] += 1.0;
                    }
                }
                let shrunk = |(sum, n): (&f64, &f64)| sum / (n + 0.5);
                let factors = sums.iter().zip(&counts).map(shrunk).collect();
                components.season = Season::Double(std::mem::take(short), factors);
            }
            _ => {}
        }
        Some(Member::new(spec, components))
    }

    /// Forecast of the slot at `at` (inward), then takes it in. The error told is whole, what enters
    /// the states is cut when `robust`.
    #[inline]
    pub fn step(&mut self, at: Phase, observed: Option<f64>, robust: bool) -> OneStep {
        let p = &self.spec.parameters;
        let Some(y) = observed else { return self.components.step_at(p, at, None) };
        let predicted = self.components.predict_at(p, at);
        let error = y - predicted;
        let size = error.abs();
        let limit = (CLIP * NORMAL) * self.scale;
        let side = if error > 0.0 { 1 } else { -1 };
        let cut = robust && size > limit && self.scale > 0.0 && !self.spec.repeats();
        let taken = if cut && self.streak * side < STREAK {
            self.streak = if self.streak * side > 0 { self.streak + side } else { side };
            predicted + limit * f64::from(side)
        } else {
            self.streak = if cut { self.streak } else { 0 };
            y
        };
        if robust {
            // A huge error may widen the scale by a third, no more.
            let known = self.scale > 0.0;
            let seen = if known { size.min(16.0 * self.scale) } else { size };
            self.scale += if known { SCALE_GAIN } else { 1.0 } * (seen - self.scale);
        }
        self.components.step_at(p, at, Some(taken));
        OneStep { predicted, error: Some(error) }
    }

    /// Forecast of `slot` (the next) without its residual, in the series' unit.
    pub fn settled(&self, slot: Slot<'_>) -> f64 {
        self.spec.outward(self.settled_inward(slot))
    }

    /// The same in the model's scale.
    pub fn settled_inward(&self, slot: Slot<'_>) -> f64 {
        let at = self.components.season.walk(slot).at();
        self.components.settled_at(&self.spec.parameters, at)
    }

    /// Lengths of the seasons.
    pub fn lengths(&self) -> (usize, usize) {
        self.components.season.lengths()
    }

    /// Class-1 variances as multiples of sigma2.
    pub fn variance_factors(&self, correlation: f64) -> impl Iterator<Item = f64> + use<> {
        variance_factors(&self.spec.parameters, self.lengths(), correlation)
    }

    /// Forecasts in the series' unit from `slot` (the next) on.
    pub fn points<'a>(&'a self, slot: Slot<'a>) -> impl Iterator<Item = f64> + use<'a> {
        self.points_along(self.components.season.walk(slot))
    }

    /// [`points`](Self::points) of the slots of `walk`.
    pub fn points_along<'a>(&'a self, walk: Walk<'a>) -> impl Iterator<Item = f64> + use<'a> {
        let spec = self.spec;
        self.components.points_along(&spec.parameters, walk).map(move |point| spec.outward(point))
    }
}

impl Spec {
    /// How many of `values` the decomposition takes for the states to start from: two seasons or half of
    /// the history; without a season up to the tenth observed slot (Hyndman, Koehler, Ord, Snyder 2008,
    /// section 2.6.1).
    fn window(&self, values: &[f64]) -> usize {
        let n = values.len();
        let slots = match self.shape {
            Shape::Plain => {
                let observed = values.iter().enumerate().filter(|(_, y)| y.is_finite());
                observed.map(|(t, _)| t + 1).take(10).last().unwrap_or(n)
            }
            Shape::Additive(m) | Shape::Multiplicative(m) | Shape::Double(_, m) => {
                (2 * m).max(n / 2)
            }
        };
        slots.min(n)
    }
}
