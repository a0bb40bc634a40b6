//! States to go on from, learned from recorded slots.
//!
//! Pure. One model, which the settings name (`weir fit` compares several), is searched for its smoothing and run over
//! the recording; what it knows at the end is what [`ForecastInitial`] carries into a daemon that starts where
//! the recording ends.

use super::fit::{FitJob, run_through};
use super::member::Shape;
use super::plan::{self, ForecastPlan};
use super::recursion::{Parameters, Season};
use crate::analytics::settings::{
    ForecastInitial, ForecastResumed, ForecastSettings, Smoothing, Trend,
};
use crate::batch::window::Zone;

/// Slots searched over, or four of the longest season, if more: twelve weeks of hours.
const SLOTS_MAX: usize = 2016;

/// Slots that [`learn`] needs for these settings: two and a half of the longest season, 30 without one.
pub fn slots_needed(settings: &ForecastSettings) -> usize {
    let longest = longest(&ForecastPlan::new(settings, &Zone::utc()));
    if longest == 0 { 30 } else { longest * 5 / 2 }
}

fn longest(plan: &ForecastPlan) -> usize {
    plan.scope.seasons[0].max(plan.scope.seasons[1])
}

/// The states of the settings' model behind `values`, slot means of which the first belongs to slot number
/// `first` (NaN: missing), at a site in `zone`. The smoothing is searched for, unless the settings give it. `None` when the recording
/// is too short or too sparse, or has values without a logarithm where logarithms are asked for.
pub fn learn(
    settings: &ForecastSettings,
    zone: &Zone,
    first: i64,
    values: &[f64],
) -> Option<ForecastInitial> {
    let settings = ForecastSettings { initial: None, ..settings.clone() };
    let plan = ForecastPlan::new(&settings, zone);
    let seasons = plan.scope.seasons;
    if values.len() < slots_needed(&settings) {
        return None;
    }
    let kept = values.len().min(SLOTS_MAX.max(4 * longest(&plan)));
    let (first, values) = (first + (values.len() - kept) as i64, &values[values.len() - kept..]);
    let next = first + kept as i64;
    // As the plan will have it when it goes on.
    let blank = ForecastInitial {
        level: 0.0,
        trend: 0.0,
        season: vec![0.0; seasons[0]],
        resumed: Some(ForecastResumed {
            at: next.checked_mul(plan.step)?,
            longer: vec![0.0; if seasons[0] > 0 { seasons[1] } else { 0 }],
            sd: 1.0,
            smoothing: None,
        }),
    };
    let mut spec = plan::spec(&settings, seasons, Some(&blank));
    if spec.is_picky() && values.iter().any(|y| *y <= 0.0) {
        return None;
    }
    if settings.smoothing.is_none() {
        let phi = match settings.trend {
            Trend::None => 0.0,
            Trend::Additive => 1.0,
            Trend::Damped => 0.95,
        };
        let p = Parameters { alpha: 0.3, phi, ..Parameters::default() };
        let p = Parameters { beta: if phi > 0.0 { 0.01 } else { 0.0 }, ..p };
        let seasonal = Parameters { gamma: 0.1, rho: 0.5, ..p };
        let parameters = match spec.shape {
            Shape::Plain => p,
            Shape::Additive(_) | Shape::Multiplicative(_) => seasonal,
            Shape::Double(..) => Parameters { omega: 0.1, ..seasonal },
        };
        spec.parameters = parameters;
        let scope = plan.scope.clone();
        let job = FitJob { at: 0, first, values: values.to_vec(), scope };
        spec = job.fitted(spec, kept, 2);
    }
    let (mut sum, mut count) = (0.0, 0_u32);
    let members =
        run_through(&[spec], values, plan.slot(first), plan.robust, |t, observed, predicted| {
            let Some(y) = observed.filter(|_| t >= kept / 4) else { return };
            let error = if spec.log { libm::log(y / predicted) } else { y - predicted };
            sum += error * error;
            count += 1;
        })?;
    let components = &members.first()?.components;
    let from_next = |factors: &[f64]| {
        let mut terms = factors.to_vec();
        let m = terms.len();
        if m > 0 {
            terms.rotate_left(plan.slot(next).phase(m));
        }
        terms
    };
    let (season, longer) = match &components.season {
        Season::None => (Vec::new(), Vec::new()),
        Season::Additive(f) | Season::Multiplicative(f) => (from_next(f), Vec::new()),
        Season::Double(f, g) => (from_next(f), from_next(g)),
    };
    let Parameters { alpha, beta, gamma, omega, phi, rho } = spec.parameters;
    // What a configuration may say; an alpha of 0 is a level that stands still.
    let alpha = alpha.clamp(1e-4, 0.9999);
    let phi = if phi > 0.0 { phi } else { 1.0 };
    let smoothing = Smoothing { alpha, beta: beta.min(alpha), gamma, omega, phi, rho };
    let sd = (sum / f64::from(count.max(1))).sqrt();
    let numbers = [components.level, components.trend, sd];
    let sound = numbers.iter().chain(&season).chain(&longer).all(|x| x.is_finite());
    if count < 10 || !sound {
        return None;
    }
    let resumed = ForecastResumed {
        at: next * plan.step,
        longer,
        // A series that was forecast without any error has an interval all the same.
        sd: sd.max(1e-9 * components.level.abs()).max(1e-12),
        smoothing: settings.smoothing.is_none().then_some(smoothing),
    };
    let (level, trend) = (components.level, components.trend);
    Some(ForecastInitial { level, trend, season, resumed: Some(resumed) })
}
