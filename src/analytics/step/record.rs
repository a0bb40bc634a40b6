//! Records of what a unit's step leaves behind.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Plan, UnitState};
use crate::analytics::alarm;
use crate::analytics::kalman::{Kalman, Update, Verdict};
use crate::analytics::members::UnitKind;
use crate::analytics::settings::KalmanModel;
use crate::batch::pane::Pane;
use crate::batch::states::States;
use crate::output::{Aggregate, Alarm, Estimate, Forecast, Record, step_seconds};
use crate::reading::{EventTime, Finite};

const SECONDS_PER_HOUR: f64 = 3600.0;

/// The record of a closed pane.
pub fn aggregate(device: &Arc<str>, metric: &Arc<str>, plan: &Plan, pane: &Pane) -> Aggregate {
    let m = &pane.moments;
    let m2 = m.m2();
    let quantiles = match (&pane.sketch, plan.settings.windows.get(usize::from(pane.window))) {
        (Some(sketch), Some(window)) => {
            window.quantiles.iter().filter_map(|&p| Some((p, sketch.quantile(p)?))).collect()
        }
        _ => Vec::new(),
    };
    Aggregate {
        device: device.clone(),
        metric: metric.clone(),
        start: pane.start,
        end: pane.end,
        part: pane.part,
        count: m.count(),
        sum: m.sum(),
        mean: m.mean(),
        min: m.min(),
        max: m.max(),
        m2,
        stddev: m.stddev_of(m2),
        first: m.first(),
        first_time: m.first_time(),
        last: m.last(),
        last_time: m.last_time(),
        covered_s: m.covered_s(),
        outliers: m.outliers(),
        time_mean: pane.time_mean(),
        increase: pane.increase.as_ref().map(|i| i.increase()),
        increase_s: pane.increase.as_ref().map(|i| i.seconds()),
        resets: pane.increase.as_ref().map(|i| i.resets()),
        rate: pane.increase.as_ref().and_then(|i| i.rate()),
        durations: pane.states.as_ref().map(|states| durations(states)),
        transitions: pane.states.as_ref().map(|states| states.transitions()),
        quantiles,
        sketch: pane.sketch.as_ref().map(|sketch| hex(&sketch.to_bytes())),
        slide_s: None,
        source: UnitKind::Series,
        clock_untrusted: pane.clock_untrusted,
    }
}

/// The record of an alarm's begin or end.
pub fn alarm_record(device: &Arc<str>, metric: &Arc<str>, event: alarm::Event) -> Record {
    let alarm::Event { alarm, state, time, value, expected, lower, upper, reason, severity } =
        event;
    let (device, metric) = (device.clone(), metric.clone());
    Record::Alarm(Box::new(Alarm {
        device,
        metric,
        alarm,
        state,
        time,
        value,
        expected,
        lower,
        upper,
        reason,
        severity,
    }))
}

/// The record of a view.
pub fn view(device: &Arc<str>, metric: &Arc<str>, plan: &Plan, view: &Pane) -> Aggregate {
    let slide = plan.settings.windows.get(usize::from(view.window)).and_then(|w| w.slide);
    Aggregate {
        slide_s: Some(slide.map_or(0.0, step_seconds)),
        ..aggregate(device, metric, plan, view)
    }
}

/// Seconds by value, as text.
fn durations(states: &States) -> BTreeMap<String, f64> {
    let other = Some(("other".to_owned(), states.other())).filter(|(_, seconds)| *seconds > 0.0);
    states.durations().map(|(value, seconds)| (format!("{value}"), seconds)).chain(other).collect()
}

/// The record of the present forecast.
pub fn forecast(
    device: &Arc<str>,
    metric: &Arc<str>,
    plan: &Plan,
    unit: &UnitState,
    steps: Option<usize>,
) -> Option<Record> {
    Some(forecast_record(device, metric, unit.forecast(plan, steps)?))
}

/// The record of a forecast.
pub fn forecast_record(
    device: &Arc<str>,
    metric: &Arc<str>,
    f: crate::analytics::holt_winters::Forecast,
) -> Record {
    Record::Forecast(Box::new(Forecast {
        device: device.clone(),
        metric: metric.clone(),
        origin: f.origin,
        step_s: step_seconds(f.step),
        nominal: f.nominal,
        mean: f.mean,
        lower: f.lower,
        upper: f.upper,
        model: f.model,
        coverage: f.coverage,
        skill: f.skill,
    }))
}

/// The estimate after a reading; `None` for a series without a filter or before its first reading.
pub fn estimate(
    device: &Arc<str>,
    metric: &Arc<str>,
    plan: &Plan,
    (time, value, update, kalman): (EventTime, Finite, Option<Update>, &Kalman),
    clock_trusted: bool,
) -> Option<Estimate> {
    if plan.settings.kalman.model == KalmanModel::Off {
        return None;
    }
    let e = kalman.estimate()?;
    Some(Estimate {
        device: device.clone(),
        metric: metric.clone(),
        time,
        reading: value.get(),
        level: e.level,
        variance: e.variance,
        innovation: update.and_then(|u| u.innovation),
        nis: update.and_then(|u| u.nis),
        unit: plan.settings.unit.clone(),
        trend: e.trend.map(|t| t * SECONDS_PER_HOUR),
        trend_variance: e.trend_variance.map(|v| v * SECONDS_PER_HOUR * SECONDS_PER_HOUR),
        gated: update.is_some_and(|u| matches!(u.verdict, Verdict::Gated)),
        clock_untrusted: !clock_trusted,
    })
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
