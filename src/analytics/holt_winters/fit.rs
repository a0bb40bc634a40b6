//! Finding the model of a series from its own history: candidates are fitted on the first part,
//! judged by their forecasts of the rest, and the best of them fitted again on everything.
//!
//! Pure, bounded, and the same bits everywhere, so that it may run beside the stream and be replayed.
//! Judged is what a user gets: the mean absolute error 1 … H slots ahead, from many origins
//! (Tashman, International Journal of Forecasting 16 (2000) 437–450: rolling origin). The same is what the
//! parameters minimise: one-step errors would favour models that follow the last slot and are
//! lost a day ahead.

use serde::{Deserialize, Serialize};

use super::calendar::{Calendar, Slot};
use super::member::{Member, Shape, Spec};
use super::recursion::Parameters;
use super::score::Rung;
use super::search::{Bounds, minimise};
use crate::analytics::settings::Trend;

/// Calls of one search at most, from each start.
const CALLS: usize = 120;
/// What each parameter costs a candidate, as a share of its error.
const PENALTY: f64 = 0.003;
/// By how much two models together must be better than the best alone.
const TOGETHER: f64 = 0.995;

/// Logarithms are considered where the largest value is at most so many times the smallest.
const LOG_RANGE: f64 = 1000.0;

/// What the settings allow.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scope {
    /// What seasons go by.
    pub calendar: Calendar,
    /// Lengths of the seasons in slots, shorter first; 0: none.
    pub seasons: [usize; 2],
    pub trend: Trend,
    pub additive: bool,
    pub multiplicative: bool,
    /// `None`: as the series shows.
    pub log: Option<bool>,
    /// Slots ahead that count.
    pub horizon: usize,
    pub robust: bool,
    /// Given smoothing: nothing is searched, the richest model that the history carries is taken.
    pub fixed: Option<Parameters>,
}

impl Scope {
    /// What is left to choose from where values are not always positive. What the settings ask for stays.
    pub fn of_signed(&self) -> Scope {
        let mut scope = self.clone();
        if self.fixed.is_none() {
            scope.log = self.log.or(Some(false));
            scope.multiplicative = self.multiplicative && !self.additive;
        }
        scope
    }

    /// `spec`, or its sibling that is allowed.
    pub fn settled(&self, spec: Spec) -> Spec {
        let log = spec.log && self.log == Some(false);
        let multiplied = matches!(spec.shape, Shape::Multiplicative(_)) && !self.multiplicative;
        if log || multiplied { spec.plainer() } else { spec }
    }
}

/// A fit to be run: everything it needs, owned.
#[derive(Clone, Debug, PartialEq)]
pub struct FitJob {
    pub(super) at: u64,
    /// Number of the first slot.
    pub(super) first: i64,
    /// Slot means, oldest first; NaN: missing.
    pub(super) values: Vec<f64>,
    pub(super) scope: Scope,
}

/// What a fit found: small, to be kept in the journal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    #[serde(rename = "a")]
    pub(super) at: u64,
    /// One model, or two whose forecasts are averaged.
    #[serde(rename = "m")]
    pub(super) members: Vec<Spec>,
}

impl Fit {
    /// The number of slots that the series had seen when the fit began.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// True for what [`FitJob::run`] may have made of a series with these seasons: fits come from
    /// outside, and their lengths become indices.
    pub(super) fn is_sound(&self, seasons: [usize; 2]) -> bool {
        let known = |m: usize| m >= 2 && seasons.contains(&m);
        let sound = |spec: &Spec| {
            let Parameters { alpha, beta, gamma, omega, phi, rho } = spec.parameters;
            let shape = match spec.shape {
                Shape::Plain => true,
                Shape::Additive(m) | Shape::Multiplicative(m) => known(m),
                Shape::Double(m, long) => known(m) && known(long),
            };
            shape && [alpha, beta, gamma, omega, phi, rho].iter().all(|x| (0.0..=1.0).contains(x))
        };
        matches!(self.members.len(), 1 | 2) && self.members.iter().all(sound)
    }

    /// Names of the models, as forecasts tell them.
    pub fn models(&self) -> impl Iterator<Item = &'static str> {
        self.members.iter().map(|spec| spec.rung.name())
    }
}

/// A candidate on the training part: its forecasts of the held-out part.
struct Judged {
    spec: Spec,
    /// By origin, then by slots ahead; in the series' unit.
    forecasts: Vec<f64>,
    loss: f64,
}

impl FitJob {
    /// The number of slots that the series had seen when the fit was asked for.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// How many models [`run`](Self::run) compares.
    pub fn candidates(&self) -> usize {
        let n = self.values.len();
        candidates(&self.scope, &self.values, n - n / 4).len()
    }

    /// The name of the `index`-th of them, and its error after a fit to the first three quarters, on the rest: what [`run`](Self::run)
    /// does with each. For measuring what one costs.
    pub fn try_candidate(&self, index: usize) -> Option<(String, f64)> {
        let training = self.values.len() - self.values.len() / 4;
        let spec = *candidates(&self.scope, &self.values, training).get(index)?;
        let log = if spec.log { " of logarithms" } else { "" };
        let judged = self.judge(spec, training)?;
        Some((format!("{}{log}", spec.rung.name()), judged.loss))
    }

    /// Runs the fit: some milliseconds a candidate. `None` when the history carries nothing.
    pub fn run(&self) -> Option<Fit> {
        let n = self.values.len();
        let held = n / 4;
        let training = n - held;
        let candidates = candidates(&self.scope, &self.values, training);
        if self.scope.fixed.is_some() {
            return Some(Fit { at: self.at, members: vec![*candidates.last()?] });
        }
        let mut judged: Vec<Judged> =
            candidates.into_iter().filter_map(|spec| self.judge(spec, training)).collect();
        judged.sort_by(|a, b| a.loss.total_cmp(&b.loss));
        let best = judged.first()?;
        let mut chosen = vec![best.spec];
        let mut least = best.loss * TOGETHER;
        let leading = &judged[..judged.len().min(4)];
        for (i, a) in leading.iter().enumerate() {
            for b in &leading[i + 1..] {
                let both: Vec<f64> =
                    a.forecasts.iter().zip(&b.forecasts).map(|(a, b)| 0.5 * (a + b)).collect();
                let parameters = free(&a.spec).max(free(&b.spec));
                let loss = self.loss(&both, training) * (1.0 + PENALTY * parameters as f64);
                if loss < least {
                    least = loss;
                    chosen = vec![a.spec, b.spec];
                }
            }
        }
        let members = chosen.into_iter().map(|spec| self.fitted(spec, n, 1)).collect();
        Some(Fit { at: self.at, members })
    }

    /// Fits `spec` to the training part and forecasts the rest from origins a quarter of a season apart.
    fn judge(&self, spec: Spec, training: usize) -> Option<Judged> {
        let spec = self.fitted(spec, training, 2);
        let values = self.inward(&spec);
        let mut member = Member::start(spec, &values[..training], self.first())?;
        let (stride, horizon) = (self.stride(), self.scope.horizon);
        let mut forecasts = Vec::new();
        let mut walk = member.components.season.walk(self.first());
        for (t, &y) in values.iter().enumerate() {
            if t >= training && (t - training).is_multiple_of(stride) {
                let ahead = horizon.min(values.len() - t);
                let points = member.points_along(walk);
                forecasts.extend(points.take(ahead));
            }
            member.step(walk.at(), y.is_finite().then_some(y), self.scope.robust);
            walk.advance();
        }
        let loss = self.loss(&forecasts, training) * (1.0 + PENALTY * free(&spec) as f64);
        loss.is_finite().then_some(Judged { spec, forecasts, loss })
    }

    /// Mean absolute error of forecasts laid out as [`judge`](Self::judge) does.
    fn loss(&self, forecasts: &[f64], training: usize) -> f64 {
        let (mut sum, mut count) = (0.0, 0.0);
        let mut forecasts = forecasts.iter();
        for origin in (training..self.values.len()).step_by(self.stride()) {
            let ahead = self.scope.horizon.min(self.values.len() - origin);
            for (y, forecast) in self.values[origin..origin + ahead].iter().zip(&mut forecasts) {
                if y.is_finite() {
                    sum += (y - forecast).abs();
                    count += 1.0;
                }
            }
        }
        if count > 0.0 { sum / count } else { f64::INFINITY }
    }

    fn first(&self) -> Slot<'_> {
        self.scope.calendar.slot(self.first)
    }

    fn stride(&self) -> usize {
        (self.scope.seasons[0] / 4).max(3)
    }

    /// The values as `spec` works on them.
    fn inward(&self, spec: &Spec) -> Vec<f64> {
        self.values.iter().map(|&y| spec.inward(y).unwrap_or(f64::NAN)).collect()
    }

    /// `spec` with the parameters that forecast the first `n` slots best.
    pub(super) fn fitted(&self, spec: Spec, n: usize, starts: usize) -> Spec {
        let bounds = bounds(&spec);
        if bounds.iter().all(|(low, high)| low == high) {
            return spec;
        }
        let values = self.inward(&spec);
        let values = &values[..n];
        let Some(start) = Member::start(spec, values, self.first()) else { return spec };
        let mut member = start.clone();
        // A later fit begins where the one before it ended.
        let from = [coordinates(&spec.parameters), STARTS[0], STARTS[1]];
        let from = if starts == 1 { &from[..1] } else { &from[1..] };
        let (found, _) = minimise(&bounds, from, CALLS, |x| {
            member.clone_from(&start);
            member.spec.parameters = parameters(x);
            self.cost(&mut member, values)
        });
        Spec { parameters: parameters(&found), ..spec }
    }

    /// Mean absolute error of `member`'s forecasts over `values`, from origins half a season apart.
    fn cost(&self, member: &mut Member, values: &[f64]) -> f64 {
        let (stride, horizon) = (2 * self.stride(), self.scope.horizon);
        let burn = self.scope.seasons[0].max(3);
        let mut walk = member.components.season.walk(self.first());
        let (mut sum, mut count) = (0.0, 0_u32);
        for (t, &y) in values.iter().enumerate() {
            if t >= burn && (t - burn).is_multiple_of(stride) {
                let p = member.spec.parameters;
                let points = member.components.points_along(&p, walk);
                for (y, point) in values[t..].iter().take(horizon).zip(points) {
                    if y.is_finite() {
                        sum += (y - point).abs();
                        count += 1;
                    }
                }
            }
            member.step(walk.at(), y.is_finite().then_some(y), self.scope.robust);
            walk.advance();
        }
        if count > 0 { sum / f64::from(count) } else { f64::INFINITY }
    }
}

/// Free parameters of a model.
fn free(spec: &Spec) -> usize {
    bounds(spec).iter().filter(|(low, high)| high > low).count()
}

/// The search goes over square roots of the gains (most of them are small) and over shares of what the gains
/// before them leave, so that the whole box is allowed: √alpha, beta/alpha, √(gamma/(1 − alpha)),
/// √(omega/(1 − alpha − gamma)), phi, rho.
fn parameters(x: &[f64; 6]) -> Parameters {
    let [a, b, g, o, phi, rho] = *x;
    let alpha = a * a;
    let gamma = (1.0 - alpha) * g * g;
    let omega = (1.0 - alpha - gamma) * o * o;
    Parameters { alpha, beta: alpha * b, gamma, omega, phi, rho }
}

/// The inverse of [`parameters`].
fn coordinates(p: &Parameters) -> [f64; 6] {
    let share = |part: f64, whole: f64| if whole > 0.0 { (part / whole).sqrt() } else { 0.0 };
    let b = if p.alpha > 0.0 { p.beta / p.alpha } else { 0.0 };
    let g = share(p.gamma, 1.0 - p.alpha);
    [p.alpha.sqrt(), b, g, share(p.omega, 1.0 - p.alpha - p.gamma), p.phi, p.rho]
}

/// Quiet and lively.
const STARTS: [[f64; 6]; 2] = [[0.2, 0.1, 0.3, 0.3, 0.95, 0.8], [0.6, 0.1, 0.4, 0.4, 0.9, 0.3]];

/// The box of a model's parameters in the search's coordinates.
fn bounds(spec: &Spec) -> Bounds<6> {
    const HELD: (f64, f64) = (0.0, 0.0);
    let p = &spec.parameters;
    if spec.rung.is_naive() {
        return coordinates(p).map(|x| (x, x));
    }
    let gain = (0.0, 0.95);
    let trend = p.phi > 0.0;
    [
        gain,
        if trend { (0.0, 0.5) } else { HELD },
        if spec.shape == Shape::Plain { HELD } else { gain },
        if matches!(spec.shape, Shape::Double(..)) { gain } else { HELD },
        match (trend, p.phi == 1.0) {
            (false, _) => HELD,
            (true, true) => (1.0, 1.0),
            (true, false) => (0.8, 0.995),
        },
        if p.rho > 0.0 { (0.001, 0.99) } else { HELD },
    ]
}

/// The models considered for a history of which `training` slots are for fitting, the richest last.
fn candidates(scope: &Scope, values: &[f64], training: usize) -> Vec<Spec> {
    let [day, week] = scope.seasons;
    let n = values.len();
    let observed = || values.iter().copied().filter(|y| y.is_finite());
    let positive = observed().all(|y| y > 0.0);
    // The logarithm of what is next to nothing is a huge number that says nothing.
    let (low, high) =
        observed().fold((f64::INFINITY, 0.0), |(low, high), y| (y.min(low), y.max(high)));
    let logarithmic = positive && high <= LOG_RANGE * low;
    let logs: &[bool] = match scope.log {
        _ if scope.fixed.is_some() => &[scope.log == Some(true)],
        Some(true) => &[true],
        Some(false) => &[false],
        None if logarithmic => &[false, true],
        None => &[false],
    };
    let plain = Parameters { alpha: 0.3, ..Parameters::default() };
    let damped = match scope.trend {
        Trend::None => plain,
        Trend::Additive => Parameters { beta: 0.01, phi: 1.0, ..plain },
        Trend::Damped => Parameters { beta: 0.01, phi: 0.95, ..plain },
    };
    let mut list = Vec::new();
    if scope.fixed.is_none() {
        list.push(Spec::last());
    }
    let mut add = |rung, shape, log, p: Parameters| {
        list.push(Spec { rung, shape, log, parameters: scope.fixed.unwrap_or(p) });
    };
    let base = scope.log == Some(true);
    add(Rung::Ses, Shape::Plain, base, plain);
    if scope.trend != Trend::None {
        let rung = if scope.trend == Trend::Damped { Rung::Damped } else { Rung::Holt };
        add(rung, Shape::Plain, base, damped);
    }
    let residual = |p: Parameters| Parameters { gamma: 0.1, rho: 0.5, ..p };
    if day > 0 && training >= 2 * day {
        if scope.additive {
            for &log in logs {
                add(Rung::HoltWinters, Shape::Additive(day), log, residual(plain));
                if scope.trend != Trend::None && !log {
                    add(Rung::HoltWinters, Shape::Additive(day), log, residual(damped));
                }
            }
        }
        if scope.multiplicative && positive && scope.log != Some(true) {
            add(Rung::HoltWinters, Shape::Multiplicative(day), false, residual(plain));
        }
    }
    if week > day && n >= 3 * week && training >= 2 * week {
        // The product of two seasons is the sum of their logarithms.
        for &log in logs.iter().filter(|&&log| log || scope.additive) {
            let p = Parameters { omega: 0.1, ..residual(plain) };
            add(Rung::DoubleSeasonal, Shape::Double(day, week), log, p);
        }
    }
    if scope.fixed.is_none() {
        if day > 0 && training >= day {
            list.push(Spec::naive(Rung::SeasonalNaive, day));
        }
        if week > day && training >= week {
            list.push(Spec::naive(Rung::WeeklyNaive, week));
        }
    }
    list
}

/// The states of `specs` after `values`, the first of which is the slot `first`, calling
/// `each` with the place, the observed value and the average of the members' forecasts, in the series' unit.
pub(super) fn run_through(
    specs: &[Spec],
    values: &[f64],
    first: Slot<'_>,
    robust: bool,
    mut each: impl FnMut(usize, Option<f64>, f64),
) -> Option<Vec<Member>> {
    let mut members = Vec::with_capacity(specs.len());
    let mut walks = Vec::with_capacity(specs.len());
    for &spec in specs {
        let inward: Vec<f64> = values.iter().map(|&y| spec.inward(y).unwrap_or(f64::NAN)).collect();
        let member = Member::start(spec, &inward, first)?;
        walks.push(member.components.season.walk(first));
        members.push(member);
    }
    for (t, y) in values.iter().enumerate() {
        let observed = y.is_finite().then_some(*y);
        let mut predicted = 0.0;
        for (member, walk) in members.iter_mut().zip(&mut walks) {
            let inward = observed.and_then(|y| member.spec.inward(y));
            let step = member.step(walk.at(), inward, robust);
            walk.advance();
            predicted += member.spec.outward(step.predicted);
        }
        each(t, observed, predicted / specs.len() as f64);
    }
    Some(members)
}
