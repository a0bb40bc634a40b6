//! The whole forecaster on made-up series: rungs, gaps, shifts, scores, state.

use proptest::prelude::*;

use super::noise;
use crate::analytics::holt_winters::{Forecast, ForecastPlan, Forecaster, SlotsClosed};
use crate::analytics::settings::{
    ForecastInitial, ForecastSettings, HOUR, Log, Seasonal, Smoothing, Trend,
};
use crate::batch::window::Zone;
use crate::reading::{EventTime, Finite, SECOND};

fn time(nanos: i64) -> EventTime {
    EventTime::from_nanos(nanos).unwrap()
}

fn finite(value: f64) -> Finite {
    Finite::new(value).unwrap()
}

/// Hourly slots, one reading in the middle of each of `hours` for which `value` has one.
fn feed(
    forecaster: &mut Forecaster,
    plan: &ForecastPlan,
    hours: std::ops::Range<i64>,
    value: impl Fn(i64) -> Option<f64>,
) -> Vec<SlotsClosed> {
    let readings = hours.filter_map(|h| value(h).map(|v| (h, v)));
    readings
        .filter_map(|(h, v)| forecaster.observe(plan, time(h * HOUR + HOUR / 2), finite(v)))
        .collect()
}

/// 20 with a daily swing of 5.
fn daily(hour: i64) -> f64 {
    20.0 + 5.0 * libm::sin(std::f64::consts::TAU * hour as f64 / 24.0)
}

fn noisy_daily(hour: i64) -> Option<f64> {
    Some(daily(hour) + 0.5 * noise(hour))
}

fn plan(change: impl FnOnce(&mut ForecastSettings)) -> ForecastPlan {
    let mut settings = ForecastSettings::default();
    change(&mut settings);
    ForecastPlan::new(&settings, &Zone::utc())
}

fn half_widths(forecast: &Forecast) -> Vec<f64> {
    forecast.upper.iter().zip(&forecast.mean).map(|(upper, mean)| upper - mean).collect()
}

#[test]
fn the_ladder_is_climbed_as_history_allows() {
    let plan = plan(|_| {});
    let mut forecaster = Forecaster::new();
    let start = 400_003;
    let mut models = Vec::new();
    for slot in 0..100 {
        feed(&mut forecaster, &plan, start + slot..start + slot + 1, noisy_daily);
        // `slot` slots have closed.
        models.push(forecaster.forecast(&plan).map(|f| f.model));
    }
    let rungs = |from: usize, to: usize| &models[from..to];
    assert!(rungs(0, 2).iter().all(Option::is_none));
    assert!(rungs(2, 24).iter().all(|m| *m == Some("level")));
    assert!(rungs(24, 48).iter().all(|m| *m == Some("seasonal-naive")));
    assert!(rungs(48, 100).iter().all(|m| *m == Some("holt-winters")));
}

#[test]
fn each_rung_covers_what_comes() {
    let plan = plan(|_| {});
    let start = 400_003;
    for seen in [12, 30, 49, 24 * 20] {
        let mut forecaster = Forecaster::new();
        feed(&mut forecaster, &plan, start..start + seen + 1, noisy_daily);
        let forecast = forecaster.forecast(&plan).unwrap();
        let first = start + seen;
        assert_eq!(forecast.origin, time(first * HOUR));
        assert_eq!(forecast.mean.len(), 24);
        let inside = (0..24)
            .filter(|&h| {
                let y = noisy_daily(first + h as i64).unwrap();
                (forecast.lower[h]..=forecast.upper[h]).contains(&y)
            })
            .count();
        assert!(inside >= 22, "{seen} slots, {}: {inside} of 24 inside", forecast.model);
    }
}

#[test]
fn a_daily_sine_is_forecast_to_its_noise() {
    let plan = plan(|_| {});
    let mut forecaster = Forecaster::new();
    let start = -1000;
    let end = start + 24 * 40;
    feed(&mut forecaster, &plan, start..end + 1, noisy_daily);
    let forecast = forecaster.forecast(&plan).unwrap();
    for (h, mean) in (end..).zip(&forecast.mean) {
        assert!((mean - daily(h)).abs() < 0.6, "{h}: {mean}, expected {}", daily(h));
    }
    // Uniform noise in ±0.5 has a standard deviation of 0.289: 95 % intervals of about ±0.6.
    let half = half_widths(&forecast)[0];
    assert!((0.5..0.8).contains(&half), "{half}");
    let coverage = forecast.coverage.unwrap();
    assert!((0.9..=1.0).contains(&coverage), "{coverage}");
    let skill = forecast.skill.unwrap();
    assert!((0.05..0.5).contains(&skill), "{skill}");
}

#[test]
fn scores_are_those_of_the_model_at_work() {
    let plan = plan(|_| {});
    let mut forecaster = Forecaster::new();
    let mut scored = Vec::new();
    for hour in 0..100 {
        feed(&mut forecaster, &plan, hour..hour + 1, noisy_daily);
        if let Some(forecast) = forecaster.forecast(&plan) {
            assert_eq!(forecast.coverage.is_some(), forecast.skill.is_some());
            if let Some(skill) = forecast.skill {
                scored.push((hour, forecast.model, skill));
            }
        }
    }
    // Level scored slots 2 to 23, seasonal naive 24 to 47, Holt-Winters from 48 on: 20 each first.
    let of = |model| scored.iter().filter(move |(_, m, _)| *m == model);
    assert_eq!(of("level").map(|s| s.0).collect::<Vec<_>>(), [22, 23]);
    assert_eq!(of("seasonal-naive").map(|s| s.0).collect::<Vec<_>>(), [44, 45, 46, 47]);
    assert_eq!(of("holt-winters").map(|s| s.0).next(), Some(68));
    assert!(
        of("seasonal-naive").all(|s| s.2 == 0.0),
        "the naive forecast has no skill against itself"
    );
}

#[test]
fn a_machine_off_at_night_gets_its_season() {
    let plan = plan(|_| {});
    let mut forecaster = Forecaster::new();
    let day = |h: i64| (h.rem_euclid(24) < 8).then(|| daily(h) + 0.1 * noise(h));
    feed(&mut forecaster, &plan, 0..24 * 30 + 4, day);
    let forecast = forecaster.forecast(&plan).unwrap();
    assert_eq!(forecast.model, "holt-winters");
    let (next, mean) = (24 * 30 + 3, forecast.mean[0]);
    assert!((mean - daily(next)).abs() < 0.3, "{mean}, {}", daily(next));
}

#[test]
fn closed_slots_are_told_with_mean_and_expectation() {
    let plan = plan(|s| s.season.clear());
    let mut forecaster = Forecaster::new();
    let at = |minutes: i64| time(minutes * 60 * SECOND);
    assert_eq!(forecaster.observe(&plan, at(5), finite(1.0)), None);
    assert_eq!(forecaster.observe(&plan, at(59), finite(3.0)), None);
    // Before the open slot: counts as inside it.
    assert_eq!(forecaster.observe(&plan, at(-500), finite(5.0)), None);
    let closed = forecaster.observe(&plan, at(60), finite(4.0)).unwrap();
    assert_eq!((closed.closed, closed.missing), (1, 0));
    assert_eq!((closed.start, closed.mean, closed.count), (at(0), 3.0, 3));
    assert_eq!(closed.expected, None);
    assert_eq!(forecaster.forecast(&plan), None);

    let closed = forecaster.observe(&plan, at(5 * 60), finite(4.0)).unwrap();
    assert_eq!((closed.closed, closed.missing), (4, 3));
    assert_eq!((closed.start, closed.mean, closed.count), (at(60), 4.0, 1));
    let forecast = forecaster.forecast(&plan).unwrap();
    assert_eq!(forecast.origin, at(5 * 60));
    // l = 3 + 0.3·(4 − 3); three slots were missed, so the next is four ahead.
    assert_eq!(forecast.mean[0], 3.3);
    let half = half_widths(&forecast);
    assert!((half[0] / half[12] - 0.5).abs() < 1e-12, "{} {}", half[0], half[12]);

    let closed = forecaster.observe(&plan, at(6 * 60), finite(4.0)).unwrap();
    let expected = closed.expected.unwrap();
    let told = (expected.mean, expected.lower, expected.upper);
    assert_eq!(told, (forecast.mean[0], forecast.lower[0], forecast.upper[0]));
}

#[test]
fn gaps_keep_the_phase_of_the_season() {
    let plan = plan(|_| {});
    // Missing: a few hours, days, more than the gap limit (1000), years.
    for gap in [1, 30, 999, 1000, 5000, 24 * 365 * 20 + 7] {
        let mut forecaster = Forecaster::new();
        let seen = 24 * 20;
        feed(&mut forecaster, &plan, 0..seen, noisy_daily);
        let after = seen + gap;
        let moved = if gap >= 1000 { 30.0 } else { 0.0 };
        let closed = feed(&mut forecaster, &plan, after..after + 2, |h| Some(daily(h) + moved));
        assert_eq!(closed[0].missing, gap as u32);
        let forecast = forecaster.forecast(&plan).unwrap();
        assert_eq!(forecast.model, "holt-winters");
        assert_eq!(forecast.origin, time((after + 1) * HOUR));
        // The swing of the day is where it was.
        let noon = (0..24).find(|h| (after + 1 + h) % 24 == 6).unwrap() as usize;
        let night = (0..24).find(|h| (after + 1 + h) % 24 == 18).unwrap() as usize;
        let swing = forecast.mean[noon] - forecast.mean[night];
        assert!((8.0..14.0).contains(&swing), "{gap}: {swing}");
        if gap >= 1000 {
            // The level is taken from the first slot after it, and not held against the model.
            let expected = daily(after + 1) + moved;
            assert!((forecast.mean[0] - expected).abs() < 1.0, "{gap}: {}", forecast.mean[0]);
            assert!(half_widths(&forecast)[0] < 1.0);
        }
    }
}

#[test]
fn intervals_widen_over_a_gap() {
    let plan = plan(|_| {});
    let mut forecaster = Forecaster::new();
    feed(&mut forecaster, &plan, 0..24 * 20, noisy_daily);
    let before = forecaster.forecast(&plan).unwrap();
    feed(&mut forecaster, &plan, 24 * 20 + 10..24 * 20 + 11, noisy_daily);
    let after = forecaster.forecast(&plan).unwrap();
    assert!(half_widths(&after)[0] > 1.2 * half_widths(&before)[0]);
}

/// Of a shift in that hour.
fn at(hour: i64) -> (EventTime, EventTime) {
    (time(hour * HOUR), time(hour * HOUR))
}

#[test]
fn a_level_shift_moves_the_level_and_keeps_the_season() {
    let plan = plan(|_| {});
    // Before any model all of it, of which α had 0.3 anyway; then half.
    for (seen, moved) in [(5, 70.0), (24 * 10, 50.0)] {
        let mut forecaster = Forecaster::new();
        feed(&mut forecaster, &plan, 0..seen, noisy_daily);
        let mut shifted = forecaster.clone();
        shifted.confirm_shift(&plan, at(seen), 100.0);
        forecaster.confirm_shift(&plan, at(seen), f64::NAN);
        for forecaster in [&mut forecaster, &mut shifted] {
            feed(forecaster, &plan, seen..seen + 2, |h| noisy_daily(h).map(|y| y + 100.0));
        }
        let before = forecaster.forecast(&plan).unwrap();
        let after = shifted.forecast(&plan).unwrap();
        for (a, b) in after.mean.iter().zip(&before.mean) {
            assert!((a - b - moved).abs() < 8.0, "{seen}: {a} {b}");
        }
    }
}

/// A filter of the level takes a steep rise at the same hour of each day for a shift.
#[test]
fn a_rise_that_the_season_has_is_no_shift() {
    let plan = plan(|_| {});
    let rise = |h: i64| if h.rem_euclid(24) < 8 { 20.0 } else { 70.0 };
    let mut forecaster = Forecaster::new();
    let until = 24 * 10 + 12;
    feed(&mut forecaster, &plan, 0..until, |h| Some(rise(h) + 0.1 * noise(h)));
    let before = forecaster.forecast(&plan).unwrap();
    forecaster.confirm_shift(&plan, at(until), 50.0);
    feed(&mut forecaster, &plan, until..until + 2, |h| Some(rise(h) + 0.1 * noise(h)));
    let after = forecaster.forecast(&plan).unwrap();
    for (a, b) in after.mean.iter().zip(&before.mean[2..]) {
        assert!((a - b).abs() < 0.5, "{a} {b}");
    }
}

/// Half at once, the rest once it has lasted for a season; one that returns, whole.
#[test]
fn a_confirmed_shift_is_believed_as_it_lasts() {
    let smoothing = |s: &mut ForecastSettings| {
        // Nothing but the shift moves the level.
        s.smoothing =
            Some(Smoothing { alpha: 0.0, beta: 0.0, gamma: 0.0, omega: 0.0, phi: 1.0, rho: 0.0 });
        s.trend = Trend::None;
        s.season = vec![24 * HOUR];
        s.season_auto = false;
    };
    let plan = plan(smoothing);
    let until = 24 * 10;
    // A little uneven, lest it be at rest.
    let moved = |h: i64, by: f64| Some(daily(h) + by + 0.01 * (h % 7) as f64);
    let mean = |forecaster: &Forecaster| {
        let forecast = forecaster.forecast(&plan).unwrap();
        forecast.mean.iter().sum::<f64>() / forecast.mean.len() as f64
    };
    let mut forecaster = Forecaster::new();
    feed(&mut forecaster, &plan, 0..until, |h| moved(h, 0.0));
    let confirm = |forecaster: &mut Forecaster, h: i64, delta: f64| {
        forecaster.confirm_shift(&plan, at(h), delta);
    };
    confirm(&mut forecaster, until, -10.0);
    // The slot that decides is still open.
    feed(&mut forecaster, &plan, until..until + 1, |h| moved(h, -10.0));
    assert!((mean(&forecaster) - 20.0).abs() < 0.3, "{}", mean(&forecaster));
    feed(&mut forecaster, &plan, until + 1..until + 2, |h| moved(h, -10.0));
    assert!((mean(&forecaster) - 15.0).abs() < 0.3, "{}", mean(&forecaster));
    let (mut returned, mut unseen) = (forecaster.clone(), forecaster.clone());
    feed(&mut forecaster, &plan, until + 2..until + 12, |h| moved(h, -10.0));
    assert!((mean(&forecaster) - 15.0).abs() < 0.3, "{}", mean(&forecaster));
    feed(&mut forecaster, &plan, until + 12..until + 30, |h| moved(h, -10.0));
    assert!((mean(&forecaster) - 10.0).abs() < 0.3, "{}", mean(&forecaster));

    feed(&mut returned, &plan, until + 2..until + 12, |h| moved(h, -10.0));
    confirm(&mut returned, until + 12, 10.0);
    feed(&mut returned, &plan, until + 12..until + 14, |h| moved(h, 0.0));
    assert!((mean(&returned) - 20.0).abs() < 0.3, "{}", mean(&returned));
    feed(&mut returned, &plan, until + 14..until + 60, |h| moved(h, 0.0));
    assert!((mean(&returned) - 20.0).abs() < 0.3, "{}", mean(&returned));

    // The filter, which has become unsure, does not confirm the way back: three slots do.
    feed(&mut unseen, &plan, until + 2..until + 9, |h| moved(h, -10.0));
    feed(&mut unseen, &plan, until + 9..until + 12, |h| moved(h, 0.0));
    assert!((mean(&unseen) - 15.0).abs() < 0.3, "{}", mean(&unseen));
    feed(&mut unseen, &plan, until + 12..until + 60, |h| moved(h, 0.0));
    assert!((mean(&unseen) - 20.0).abs() < 0.3, "{}", mean(&unseen));
}

/// Readings an hour apart: the last one's slot says what the shift means, not the first, in which the pump ran down.
#[test]
fn the_slot_of_the_last_reading_says_what_a_shift_means() {
    let plan = plan(|_| {});
    let (mut forecaster, until) = (Forecaster::new(), 24 * 10);
    feed(&mut forecaster, &plan, 0..until, noisy_daily);
    let by = |h: i64| if h == until { -5.0 } else { -50.0 };
    let mut unaware = forecaster.clone();
    forecaster.confirm_shift(&plan, (time(until * HOUR), time((until + 4) * HOUR)), -50.0);
    let run = |forecaster: &mut Forecaster, to: i64| {
        feed(forecaster, &plan, until..to, |h| Some(daily(h) + by(h)));
        forecaster.forecast(&plan).unwrap().mean[0]
    };
    let [aware, unaware_of_it] = [&mut forecaster, &mut unaware].map(|f| run(f, until + 5));
    assert_eq!(aware, unaware_of_it, "its slot is open");
    let [aware, unaware_of_it] = [&mut forecaster, &mut unaware].map(|f| {
        feed(f, &plan, until + 5..until + 6, |h| Some(daily(h) + by(h)));
        f.forecast(&plan).unwrap().mean[0]
    });
    assert!(aware < unaware_of_it - 5.0, "{aware} {unaware_of_it}");
}

/// Fits learn from what was seen: at the level of the day if that stays, as it was if it is back.
#[test]
fn what_was_seen_moves_once_a_shift_has_lasted() {
    let plan = plan(|_| {});
    let (shift, end) = (24 * 10, 24 * 14 + 1);
    let seen = |back: i64| {
        let mut forecaster = Forecaster::new();
        let moved = |by: f64| move |h: i64| Some(daily(h) + by + 0.01 * (h % 7) as f64);
        let confirm = |forecaster: &mut Forecaster, h: i64, delta: f64| {
            forecaster.confirm_shift(&plan, at(h), delta);
        };
        feed(&mut forecaster, &plan, 0..shift, moved(0.0));
        confirm(&mut forecaster, shift, -10.0);
        feed(&mut forecaster, &plan, shift..back, moved(-10.0));
        if back < end {
            confirm(&mut forecaster, back, 10.0);
            feed(&mut forecaster, &plan, back..end, moved(0.0));
        }
        forecaster.take_fit_job(&plan, 0).expect("after two weeks").values
    };
    let all_near = |values: &[f64], by: f64| {
        (0..).zip(values).all(|(h, value)| (value - daily(h) - by).abs() < 0.2)
    };
    let lasted = seen(end);
    assert!(all_near(&lasted, -10.0), "{lasted:?}");
    let returned = seen(shift + 9);
    let before = usize::try_from(shift).unwrap();
    assert!(all_near(&returned[..before], 0.0), "{returned:?}");
}

#[test]
fn without_a_season_a_line_is_followed() {
    for (trend, model) in [(Trend::None, "ses"), (Trend::Additive, "holt"), (Trend::Damped, "holt")]
    {
        let plan = plan(|s| {
            s.seasonal = Seasonal::None;
            s.trend = trend;
        });
        let mut forecaster = Forecaster::new();
        feed(&mut forecaster, &plan, 0..10, |h| Some(7.0 + 2.0 * h as f64));
        assert_eq!(forecaster.forecast(&plan).unwrap().model, "level");
        feed(&mut forecaster, &plan, 10..31, |h| Some(7.0 + 2.0 * h as f64));
        let forecast = forecaster.forecast(&plan).unwrap();
        assert_eq!(forecast.model, model);
        if trend == Trend::Additive {
            for (h, mean) in (30..).zip(&forecast.mean) {
                assert!((mean - 7.0 - 2.0 * f64::from(h)).abs() < 1e-9, "{mean}");
            }
            // 20 slots scored; a naive forecast is wrong by 2 each time.
            assert!((forecast.skill.unwrap() - 1.0).abs() < 1e-9);
        }
    }
}

#[test]
fn a_constant_series_is_forecast_as_it_is() {
    let plan = plan(|_| {});
    let mut forecaster = Forecaster::new();
    feed(&mut forecaster, &plan, 0..200, |_| Some(0.1));
    let forecast = forecaster.forecast(&plan).unwrap();
    assert!(forecast.mean.iter().all(|mean| (mean - 0.1).abs() < 1e-12));
    assert!(forecast.coverage.is_some());
}

#[test]
fn overflow_starts_afresh_and_says_so() {
    for initial in
        [None, Some(ForecastInitial { level: 1e300, trend: 1e300, season: vec![], resumed: None })]
    {
        let plan = plan(|s| {
            s.season.clear();
            s.initial = initial;
        });
        let mut forecaster = Forecaster::new();
        let closed = feed(&mut forecaster, &plan, 0..60, |h| match h {
            0 => Some(f64::MAX),
            1 => Some(-f64::MAX),
            h => Some(noise(h)),
        });
        let restarts = closed.iter().filter(|c| c.restarted).count();
        assert!((2..=3).contains(&restarts), "{restarts}");
        let forecast = forecaster.forecast(&plan).unwrap();
        assert!(half_widths(&forecast)[0] < 10.0);
    }
}

#[test]
fn another_step_or_season_starts_afresh() {
    let hourly = plan(|_| {});
    let mut forecaster = Forecaster::new();
    feed(&mut forecaster, &hourly, 0..100, noisy_daily);
    for other in [
        plan(|s| s.step = HOUR / 2),
        plan(|s| {
            s.season = vec![12 * HOUR];
            s.season_auto = false;
        }),
    ] {
        let mut forecaster = forecaster.clone();
        assert_eq!(forecaster.forecast(&other), None);
        assert_eq!(forecaster.observe(&other, time(100 * HOUR), finite(1.0)), None);
        assert!(forecaster.observe(&other, time(101 * HOUR), finite(1.0)).is_some());
    }
}

#[test]
fn stored_state_is_small() {
    let mut largest = 0;
    let mut forecaster = Forecaster::new();
    let plan = plan(|_| {});
    for hour in 0..200 {
        feed(&mut forecaster, &plan, hour..hour + 1, noisy_daily);
        largest = largest.max(serde_cbor::to_vec(&forecaster).unwrap().len());
    }
    // 200 slots of 4 bytes for fits, 24 phases of 9 bytes for factors, naive forecast, contest and rests
    // each; the calibration of intervals is the rest.
    assert!(largest < 4200, "{largest} bytes");
    // The worst: a history of three seasons.
    let mut forecaster = Forecaster::new();
    for hour in 0..200 {
        feed(&mut forecaster, &plan, hour..hour + 1, |h| {
            (h % 24 < 5 || h >= 48).then(|| noisy_daily(h)).flatten()
        });
        largest = largest.max(serde_cbor::to_vec(&forecaster).unwrap().len());
    }
    assert!(largest < 4200, "{largest} bytes");
}

#[derive(Clone, Debug)]
enum Action {
    /// Nanoseconds later, a value.
    Observe(i64, f64),
    Shift(f64),
}

fn action(extreme: bool) -> impl Strategy<Value = Action> {
    let value = if extreme {
        prop_oneof![
            -100.0..100.0_f64,
            prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL | prop::num::f64::ZERO,
            prop::sample::select(vec![1e300, -1e300, 1e154, -1e154, 1e-300, f64::MAX, f64::MIN]),
        ]
        .boxed()
    } else {
        (-100.0..100.0_f64).boxed()
    };
    let wait = prop_oneof![
        8 => 0..2 * SECOND,
        2 => 0..20 * SECOND,
        1 => 0..5000 * SECOND,
    ];
    prop_oneof![
        30 => (wait, value.clone()).prop_map(|(wait, value)| Action::Observe(wait, value)),
        1 => value.prop_map(Action::Shift),
    ]
}

const SMOOTHING: Smoothing =
    Smoothing { alpha: 0.3, beta: 0.0, gamma: 0.1, omega: 0.0, phi: 1.0, rho: 0.0 };

fn any_plan() -> impl Strategy<Value = ForecastPlan> {
    let trend = prop::sample::select(vec![Trend::None, Trend::Additive, Trend::Damped]);
    let smoothing = prop::option::of((0.01..1.0_f64, 0.0..1.0_f64, 0.0..1.0_f64, 0.5..=1.0_f64));
    let initial = prop::option::of(-1e3..1e3_f64);
    (trend, 0..6_usize, smoothing, initial).prop_map(|(trend, m, smoothing, initial)| {
        plan(|s| {
            s.step = SECOND;
            s.season = vec![m as i64 * SECOND, 3 * m as i64 * SECOND];
            s.season_auto = false;
            s.trend = trend;
            s.seasonal = [Seasonal::Auto, Seasonal::Additive, Seasonal::Multiplicative][m % 3];
            s.log = [Log::Auto, Log::Never, Log::Always][m / 2];
            s.horizon = 20 * SECOND;
            s.smoothing = smoothing.map(|(alpha, beta, gamma, phi)| Smoothing {
                alpha,
                beta: beta * alpha,
                gamma: gamma * (1.0 - alpha),
                phi,
                ..SMOOTHING
            });
            s.initial = initial.map(|level| ForecastInitial {
                level,
                trend: level / 10.0,
                season: if m < 2 { vec![] } else { vec![level / 2.0; m] },
                resumed: None,
            });
        })
    })
}

fn apply(forecaster: &mut Forecaster, plan: &ForecastPlan, now: &mut i64, action: &Action) {
    match action {
        Action::Observe(wait, value) => {
            *now += wait;
            let closed = forecaster.observe(plan, time(*now), finite(*value));
            if let Some(closed) = closed {
                assert!(closed.mean.is_finite() && closed.count > 0);
                assert!(closed.missing < closed.closed);
            }
            // Fits cost milliseconds: those of the first minutes must do.
            if *now < 400 * SECOND
                && let Some(fit) = forecaster.take_fit_job(plan, 0).and_then(|job| job.run())
            {
                assert!(forecaster.offer(fit));
            }
        }
        Action::Shift(delta) => {
            // Of one slot, or of many.
            let last = *now + if *delta > 0.0 { 5 * SECOND } else { 0 };
            forecaster.confirm_shift(plan, (time(*now), time(last)), *delta);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Written and read anywhere, in both codecs, the run goes on with the same bits.
    #[test]
    fn resumed_anywhere_gives_the_same_bits(
        plan in any_plan(),
        actions in prop::collection::vec(action(false), 1..150),
        cut in any::<prop::sample::Index>(),
    ) {
        let cut = cut.index(actions.len());
        let (mut whole, mut resumed) = (Forecaster::new(), Forecaster::new());
        let (mut now, mut now_resumed) = (-30 * SECOND, -30 * SECOND);
        for (i, action) in actions.iter().enumerate() {
            apply(&mut whole, &plan, &mut now, action);
            apply(&mut resumed, &plan, &mut now_resumed, action);
            // Forecasting between readings changes nothing.
            let _ = resumed.forecast(&plan);
            if i >= cut {
                let bytes = serde_cbor::to_vec(&resumed).unwrap();
                resumed = crate::cbor::from_slice(&bytes).unwrap();
                prop_assert_eq!(&serde_cbor::to_vec(&resumed).unwrap(), &bytes);
            }
        }
        prop_assert_eq!(serde_cbor::to_vec(&whole).unwrap(), serde_cbor::to_vec(&resumed).unwrap());
        let (a, b) = (whole.forecast(&plan), resumed.forecast(&plan));
        prop_assert_eq!(format!("{a:?}"), format!("{b:?}"));
    }

    /// No reading, however large, makes a NaN or an infinity, and intervals hold their mean.
    #[test]
    fn numbers_stay_finite(
        plan in any_plan(),
        actions in prop::collection::vec(action(true), 1..150),
    ) {
        let mut forecaster = Forecaster::new();
        let mut now = 0;
        for action in &actions {
            apply(&mut forecaster, &plan, &mut now, action);
            let text = format!("{forecaster:?}");
            prop_assert!(!text.contains("NaN") && !text.contains("inf"), "{}", text);
            if let Some(forecast) = forecaster.forecast(&plan) {
                prop_assert_eq!(forecast.mean.len(), 20);
                for i in 0..20 {
                    let (l, m, u) = (forecast.lower[i], forecast.mean[i], forecast.upper[i]);
                    prop_assert!(l <= m && m <= u && l.is_finite() && u.is_finite(), "{l} {m} {u}");
                }
                prop_assert!(forecast.coverage.is_none_or(|c| (0.0..=1.0).contains(&c)));
                prop_assert!(forecast.skill.is_none_or(|s| s.is_finite() && s <= 1.0));
            }
        }
    }

    /// Slots tile time: those told as closed are exactly those between the first and the open one.
    #[test]
    fn every_slot_closes_once(
        plan in any_plan(),
        start in -600_000_000..1_000_000_000_i64,
        waits in prop::collection::vec(0..3000 * SECOND, 1..60),
    ) {
        let mut forecaster = Forecaster::new();
        let first = start;
        let mut now = start * SECOND;
        forecaster.observe(&plan, time(now), finite(1.0));
        let mut closed = 0;
        for wait in waits {
            now += wait;
            if let Some(told) = forecaster.observe(&plan, time(now), finite(1.0)) {
                prop_assert_eq!(told.start.nanos(), (first + closed) * SECOND);
                closed += i64::from(told.closed);
            }
            prop_assert_eq!(first + closed, now.div_euclid(SECOND));
        }
    }
}

/// Solar power: nothing at night, and never less.
#[test]
fn a_night_at_rest_is_forecast_as_it_is() {
    let plan = plan(|_| {});
    let sun = |h: i64| {
        let height = (std::f64::consts::TAU * (h.rem_euclid(24) as f64 - 6.0) / 24.0).sin();
        Some(if height > 0.05 { (600.0 + 80.0 * noise(h)) * height } else { 0.0 })
    };
    let mut forecaster = Forecaster::new();
    feed(&mut forecaster, &plan, 0..24 * 40, sun);
    let forecast = forecaster.forecast(&plan).unwrap();
    for (h, (&mean, (&lower, &upper))) in
        forecast.mean.iter().zip(forecast.lower.iter().zip(&forecast.upper)).enumerate()
    {
        // The last slot fed is open still.
        let at = 24 * 40 - 1 + h as i64;
        assert!(lower >= 0.0 && lower <= mean && mean <= upper, "{h}: {lower} {mean} {upper}");
        if sun(at) == Some(0.0) {
            // Forty nights: more probable than the interval asks for.
            assert_eq!((lower, mean, upper), (0.0, 0.0, 0.0), "{h}");
        } else {
            assert!(upper > lower, "{h}");
        }
    }
}
