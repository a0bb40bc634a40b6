//! Fits: what they find in made-up series, when they are adopted, when a model gives way.

use super::noise;
use crate::analytics::holt_winters::{Fit, FitJob, Forecast, ForecastPlan, Forecaster};
use crate::analytics::settings::{ForecastSettings, HOUR, Log, Seasonal, Smoothing, Trend};
use crate::batch::window::Zone;
use crate::reading::{EventTime, Finite};

fn plan(change: impl FnOnce(&mut ForecastSettings)) -> ForecastPlan {
    let mut settings = ForecastSettings::default();
    change(&mut settings);
    ForecastPlan::new(&settings, &Zone::utc())
}

fn daily(hour: i64) -> f64 {
    libm::sin(std::f64::consts::TAU * hour as f64 / 24.0)
}

/// Saturdays and Sundays are quiet.
fn weekly(hour: i64) -> f64 {
    if hour.div_euclid(24).rem_euclid(7) >= 5 { -6.0 } else { 0.0 }
}

fn observe(forecaster: &mut Forecaster, plan: &ForecastPlan, hour: i64, value: f64) -> bool {
    let time = EventTime::from_nanos(hour * HOUR).unwrap();
    forecaster.observe(plan, time, Finite::new(value).unwrap()).is_some()
}

/// Hourly values; fits run where they arise. The forecaster after the last and its fits.
fn learn(
    plan: &ForecastPlan,
    hours: i64,
    value: impl Fn(i64) -> Option<f64>,
) -> (Forecaster, Vec<Fit>) {
    let (mut forecaster, mut fits) = (Forecaster::new(), Vec::new());
    for hour in 0..=hours {
        let Some(y) = value(hour) else { continue };
        if observe(&mut forecaster, plan, hour, y)
            && let Some(fit) = forecaster.take_fit_job(plan, 0).and_then(|job| job.run())
        {
            assert!(forecaster.offer(fit.clone()));
            fits.push(fit);
        }
    }
    (forecaster, fits)
}

/// Mean absolute error of a forecast from hour `origin`, against the series without noise.
fn error(forecast: &Forecast, origin: i64, truth: impl Fn(i64) -> f64) -> f64 {
    let n = forecast.mean.len() as f64;
    (origin..).zip(&forecast.mean).map(|(hour, mean)| (mean - truth(hour)).abs()).sum::<f64>() / n
}

#[test]
fn day_and_week_are_found() {
    let truth = |hour: i64| 50.0 + 5.0 * daily(hour) + weekly(hour);
    let value = |hour: i64| Some(truth(hour) + 0.8 * noise(hour));
    let (plan, end) = (plan(|_| {}), 24 * 7 * 5 + 15);
    let (forecaster, fits) = learn(&plan, end, value);
    assert_eq!(fits.iter().map(Fit::at).collect::<Vec<_>>(), [48, 72, 168, 336, 504, 672]);
    let forecast = forecaster.forecast_steps(&plan, 168).unwrap();
    assert!(["double-seasonal", "combination"].contains(&forecast.model), "{}", forecast.model);
    // Uniform noise of ±0.8 has a mean size of 0.4; the seasonal naive forecast is off by 1.7.
    let off = error(&forecast, end, truth);
    assert!(off < 0.4, "{off}");
    // Without the week: worse by far.
    let daily_only = plan_of_days();
    let (forecaster, _) = learn(&daily_only, end, value);
    let forecast = forecaster.forecast_steps(&daily_only, 168).unwrap();
    assert_ne!(forecast.model, "double-seasonal");
    assert!(error(&forecast, end, truth) > 2.0 * off);
}

fn plan_of_days() -> ForecastPlan {
    plan(|s| {
        s.season = vec![24 * HOUR];
        s.season_auto = false;
    })
}

#[test]
fn a_swing_that_grows_with_the_level_is_multiplied() {
    let truth = |hour: i64| {
        // Up and down by a factor of four in nine days.
        let level = 100.0 * libm::exp(0.7 * libm::sin(std::f64::consts::TAU * hour as f64 / 216.0));
        level * (1.0 + 0.5 * daily(hour))
    };
    let value = |hour: i64| Some(truth(hour) * (1.0 + 0.01 * noise(hour)));
    let end = 24 * 20;
    let multiplied = plan(|s| s.seasonal = Seasonal::Multiplicative);
    let added = plan(|s| s.seasonal = Seasonal::Additive);
    let logs = plan(|s| s.log = Log::Always);
    let [auto, multiplied, logs, added] = [plan(|_| {}), multiplied, logs, added].map(|plan| {
        // From each hour of the last days: where on the hill it stands must not matter.
        let sum = (0..9).map(|day| {
            let end = end + 24 * day;
            let (forecaster, _) = learn(&plan, end, value);
            error(&forecaster.forecast(&plan).unwrap(), end, truth)
        });
        sum.sum::<f64>()
    });
    assert!(auto < 0.9 * added && multiplied < 0.9 * added && logs < 0.9 * added);
}

#[test]
fn logarithms_keep_intervals_above_zero() {
    let plan = plan(|s| s.log = Log::Always);
    let value = |hour: i64| Some(libm::exp(daily(hour) + noise(hour)));
    let (mut forecaster, _) = learn(&plan, 24 * 20, value);
    let forecast = forecaster.forecast(&plan).unwrap();
    for h in 0..24 {
        let (l, m, u) = (forecast.lower[h], forecast.mean[h], forecast.upper[h]);
        assert!(0.0 < l && l < m && m < u, "{l} {m} {u}");
    }
    // What has no logarithm is a missing slot, whatever comes.
    for hour in 24 * 20 + 1..24 * 25 {
        observe(&mut forecaster, &plan, hour, -1.0);
    }
    let forecast = forecaster.forecast(&plan).unwrap();
    assert!(forecast.mean.iter().all(|m| m.is_finite()));
}

/// A thermometer in degrees Celsius: logarithms serve it all summer, and not at the first frost.
#[test]
fn logarithms_are_left_when_a_value_has_none() {
    let plan = plan_of_days();
    let summer = |hour: i64| Some(libm::exp(daily(hour) + 0.2 * noise(hour)));
    let frost = 24 * 22 + 1;
    let (mut forecaster, _) = learn(&plan, frost - 1, summer);
    assert!(forecaster.model().works_on_logarithms());
    let mut asked = None;
    for hour in frost..frost + 24 * 7 {
        observe(&mut forecaster, &plan, hour, summer(hour).unwrap() - 1.0);
        let asks = forecaster.take_fit_job(&plan, 0).is_some();
        asked = asked.or(asks.then_some(hour - frost));
    }
    // By the schedule the next is due six days later.
    assert!(asked.is_some_and(|hours| hours <= 24), "a fit was asked for after {asked:?} hours");
    assert!(!forecaster.model().works_on_logarithms());
    let forecast = forecaster.forecast(&plan).unwrap();
    assert!(forecast.mean.iter().any(|&mean| mean < -0.2), "{:?}", forecast.mean);
    // Nor does a fit find them again when the frost is forgotten.
    for hour in frost + 24 * 7..24 * 120 {
        observe(&mut forecaster, &plan, hour, summer(hour).unwrap());
        let job = forecaster.take_fit_job(&plan, 0);
        if let Some(fit) = job.and_then(|job| job.run()) {
            forecaster.offer(fit);
        }
        assert!(!forecaster.model().works_on_logarithms(), "hour {hour}");
    }
}

#[test]
fn what_repeats_exactly_is_left_to_the_naive_forecast() {
    // A new noise for each hour of the day, the same every day: nothing to smooth.
    let value = |hour: i64| Some(20.0 + noise(hour.rem_euclid(24)) + 0.01 * noise(hour / 24));
    let plan = plan(|_| {});
    let (forecaster, _) = learn(&plan, 24 * 15, value);
    let forecast = forecaster.forecast(&plan).unwrap();
    let off = (0..24).map(|h| (forecast.mean[h] - value(24 * 15 + h as i64).unwrap()).abs());
    assert!(off.fold(0.0, f64::max) < 0.03);
}

#[test]
fn a_loser_gives_way_and_its_name_is_told() {
    // Smoothing that follows nothing, on a series whose days are alike but for a slow rise.
    let smoothing =
        Smoothing { alpha: 0.01, beta: 0.0, gamma: 0.0, omega: 0.0, phi: 1.0, rho: 0.0 };
    let plan = plan(|s| s.smoothing = Some(smoothing));
    let rise = |hour: i64| Some(10.0 * noise(hour.rem_euclid(24)) + 0.05 * hour as f64);
    let (forecaster, fits) = learn(&plan_with_one_season(smoothing), 24 * 12, rise);
    assert!(fits.is_empty(), "nothing is left to fit");
    let forecast = forecaster.forecast(&plan_with_one_season(smoothing)).unwrap();
    assert_eq!(forecast.model, "seasonal-naive");
    let mean = rise(24 * 11).unwrap();
    assert!((forecast.mean[0] - mean).abs() < 1e-9, "{} {mean}", forecast.mean[0]);
    assert!(forecast.lower[0] < mean && mean + 1.0 < forecast.upper[0]);
    // Given smoothing with two seasons: the fit only says which model the history carries.
    let (_, fits) = learn(&plan, 24 * 7 * 4 + 2, |h| Some(weekly(h) + daily(h)));
    let names: Vec<_> = fits.iter().map(|fit| fit.models().next().unwrap()).collect();
    assert_eq!(names.last(), Some(&"double-seasonal"), "{names:?}");
}

fn plan_with_one_season(smoothing: Smoothing) -> ForecastPlan {
    plan(|s| {
        s.season = vec![24 * HOUR];
        s.season_auto = false;
        s.smoothing = Some(smoothing);
        s.trend = Trend::None;
    })
}

#[test]
fn a_fit_is_adopted_at_its_slot_or_never() {
    let plan = plan(|_| {});
    let value = |hour: i64| 30.0 + 5.0 * daily(hour) + noise(hour);
    let mut forecaster = Forecaster::new();
    let mut job: Option<FitJob> = None;
    for hour in 0..=73 {
        let closed = observe(&mut forecaster, &plan, hour, value(hour));
        let asked = if closed { forecaster.take_fit_job(&plan, 0) } else { None };
        assert_eq!(asked.is_some(), hour == 48 || hour == 72, "{hour}");
        job = asked.or(job);
    }
    // Asked for with 72 slots closed; 73 are closed now: too late.
    let fit = job.clone().unwrap().run().unwrap();
    assert_eq!(fit.at(), 72);
    assert!(!forecaster.offer(fit.clone()));
    // It is asked for again a season later; another's fit is not taken, nor one with foreign lengths.
    for hour in 74..=96 {
        assert!(observe(&mut forecaster, &plan, hour, value(hour)));
        job = forecaster.take_fit_job(&plan, 0);
        assert_eq!(job.is_some(), hour == 96);
    }
    assert!(!forecaster.offer(fit.clone()));
    let text = format!("{:?}", job.clone().unwrap());
    assert!(text.contains("FitJob"));
    let right = job.unwrap().run().unwrap();
    let mut foreign = serde_cbor::to_vec(&right).unwrap();
    let at = foreign.windows(2).position(|w| w == [0x18, 24]);
    if let Some(at) = at {
        foreign[at + 1] = 255;
        if let Ok(foreign) = crate::cbor::from_slice::<Fit>(&foreign) {
            assert!(!forecaster.offer(foreign));
        }
    }
    assert!(forecaster.offer(right));
    let before = forecaster.clone();
    assert!(observe(&mut forecaster, &plan, 97, value(97)));
    let bytes = serde_cbor::to_vec(&before).unwrap();
    let mut resumed: Forecaster = crate::cbor::from_slice(&bytes).unwrap();
    observe(&mut resumed, &plan, 97, value(97));
    assert_eq!(resumed, forecaster, "a fit that waits is part of the state");
}

/// Written and read between any two slots, fits and all: the same bits.
#[test]
fn resumed_runs_with_fits_give_the_same_bits() {
    let plan = plan(|_| {});
    let value = |hour: i64| {
        let gone = (200..230).contains(&hour) || hour % 97 == 3;
        (!gone).then(|| 30.0 + 5.0 * daily(hour) + weekly(hour) + 2.0 * noise(hour))
    };
    let (mut whole, mut resumed) = (Forecaster::new(), Forecaster::new());
    for hour in 0..24 * 7 * 5 {
        let Some(y) = value(hour) else { continue };
        for forecaster in [&mut whole, &mut resumed] {
            if observe(forecaster, &plan, hour, y)
                && let Some(fit) = forecaster.take_fit_job(&plan, 0).and_then(|job| job.run())
            {
                let fit = crate::cbor::from_slice(&serde_cbor::to_vec(&fit).unwrap()).unwrap();
                assert!(forecaster.offer(fit));
            }
        }
        if hour % 5 == 0 {
            let bytes = serde_cbor::to_vec(&resumed).unwrap();
            resumed = crate::cbor::from_slice(&bytes).unwrap();
        }
    }
    assert_eq!(serde_cbor::to_vec(&whole).unwrap(), serde_cbor::to_vec(&resumed).unwrap());
    assert_eq!(whole.forecast(&plan), resumed.forecast(&plan));
    let stored = serde_cbor::to_vec(&whole).unwrap().len();
    assert!(stored < 9000 && whole.heap_bytes() <= plan.state_bytes(), "{stored}");
}

#[test]
fn outliers_do_not_enter_the_states() {
    let truth = |hour: i64| 30.0 + 5.0 * daily(hour);
    let spiked = |hour: i64| {
        let spike = if hour % 53 == 7 { 60.0 } else { 0.0 };
        Some(truth(hour) + noise(hour) + spike)
    };
    let off = |robust: bool| {
        let plan = plan(|s| s.robust = robust);
        let end = 24 * 28 + 8;
        let (forecaster, _) = learn(&plan, end, spiked);
        error(&forecaster.forecast(&plan).unwrap(), end, truth)
    };
    let (with, without) = (off(true), off(false));
    assert!(with < 1.0 && with < 0.8 * without, "{with} {without}");
}

/// Every candidate can be tried by itself, and values next to nothing have no logarithms worth a model.
#[test]
fn logarithms_of_next_to_nothing_are_no_candidates() {
    let plan = ForecastPlan::new(&ForecastSettings::default(), &Zone::utc());
    for (least, logarithms) in [(1.0, true), (1e-6, false)] {
        let mut forecaster = Forecaster::new();
        let mut job = None;
        for hour in 0..24 * 8_i64 {
            let value = if hour % 24 < 12 { least } else { 10.0 + (hour % 5) as f64 };
            let value = Finite::new(value).unwrap();
            forecaster.observe(&plan, EventTime::clamped(hour * HOUR), value);
            job = forecaster.take_fit_job(&plan, 0).or(job);
        }
        let job = job.unwrap();
        let names: Vec<String> =
            (0..job.candidates()).filter_map(|i| Some(job.try_candidate(i)?.0)).collect();
        assert_eq!(names.len(), job.candidates());
        assert_eq!(names.iter().any(|n| n.contains("logarithms")), logarithms, "{names:?}");
    }
}
