//! Seasons by local time, over changes of the clocks.

use super::noise;
use crate::analytics::holt_winters::{ForecastPlan, Forecaster};
use crate::analytics::settings::{
    ForecastInitial, ForecastSettings, HOUR, Seasonal, Smoothing, Trend,
};
use crate::batch::window::Zone;
use crate::reading::{EventTime, Finite};

/// 2025-03-29T23:00:00Z: midnight in Berlin; at 01:00Z the clocks go from 02:00 to 03:00.
const SPRING: i64 = 1_743_289_200 / 3600;
/// 2025-10-25T22:00:00Z: midnight in Berlin; at 01:00Z the clocks go from 03:00 to 02:00.
const AUTUMN: i64 = 1_761_429_600 / 3600;
/// What clocks in Berlin show at the beginning of each hour from there on, by Python's `zoneinfo`
/// (`tests/data/reference/calendar`).
const SPRING_HOURS: [i64; 28] = [
    0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 0, 1, 2, 3,
    4,
];
const AUTUMN_HOURS: [i64; 28] = [
    0, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 0, 1,
    2,
];

fn berlin() -> Zone {
    Zone::get("Europe/Berlin").unwrap()
}

fn observe(forecaster: &mut Forecaster, plan: &ForecastPlan, hour: i64, value: f64) -> bool {
    let time = EventTime::from_nanos(hour * HOUR).unwrap();
    forecaster.observe(plan, time, Finite::new(value).unwrap()).is_some()
}

/// A level that stands still, and `season` terms from the first slot on that take half of each error.
fn given(season: Vec<f64>, seasons: &[i64]) -> ForecastPlan {
    let settings = ForecastSettings {
        season: seasons.to_vec(),
        season_auto: false,
        seasonal: Seasonal::Additive,
        trend: Trend::None,
        horizon: 48 * HOUR,
        smoothing: Some(Smoothing {
            alpha: 0.0,
            beta: 0.0,
            gamma: 0.5,
            omega: 0.0,
            phi: 1.0,
            rho: 0.0,
        }),
        initial: Some(ForecastInitial { level: 0.0, trend: 0.0, season, resumed: None }),
        ..ForecastSettings::default()
    };
    ForecastPlan::new(&settings, &berlin())
}

/// From each origin, each step ahead is forecast with the term of its own local hour.
#[test]
fn forecasts_take_the_hour_of_each_slot_to_come() {
    for (begin, hours) in [(SPRING, SPRING_HOURS), (AUTUMN, AUTUMN_HOURS)] {
        let plan = given((0..24).map(f64::from).collect(), &[24 * HOUR]);
        let mut forecaster = Forecaster::new();
        for (k, &clock) in hours.iter().enumerate() {
            observe(&mut forecaster, &plan, begin + k as i64, clock as f64);
            let Some(forecast) = forecaster.forecast_steps(&plan, hours.len() - k) else {
                assert_eq!(k, 0);
                continue;
            };
            let expected: Vec<f64> = hours[k..].iter().map(|&clock| clock as f64).collect();
            assert_eq!(forecast.mean, expected, "from {k} hours after midnight");
        }
    }
}

/// Day and week that begin on the Saturday before, both by the clock.
#[test]
fn weeks_keep_weekday_and_hour() {
    // Local midnight of Saturday, 2025-03-29. Sunday has the terms 24 to 47 of the week, Monday 48 on.
    let plan = given((0..168).map(f64::from).collect(), &[168 * HOUR]);
    let mut forecaster = Forecaster::new();
    for k in 0..2 {
        observe(&mut forecaster, &plan, SPRING - 24 + k, k as f64);
    }
    let forecast = forecaster.forecast_steps(&plan, 52).unwrap();
    // The origin is 01:00 on Saturday.
    let sunday = SPRING_HOURS.iter().take(23).map(|&clock| (24 + clock) as f64);
    let expected: Vec<f64> =
        (1..24).map(f64::from).chain(sunday).chain((48..54).map(f64::from)).collect();
    assert_eq!(forecast.mean, expected);
}

/// By hand: every slot of the day lies 2 above its term, so each term seen once rises by 1. On the day of 23
/// hours 02:00 stays. On that of 25 it is seen twice: from 0 by half of 2, then by half of what is left, 1.
#[test]
fn the_hour_left_out_stays_and_the_hour_that_comes_twice_learns_twice() {
    for (begin, hours, length, two) in
        [(SPRING, SPRING_HOURS, 23, 0.0), (AUTUMN, AUTUMN_HOURS, 25, 1.5)]
    {
        let plan = given(vec![0.0; 24], &[24 * HOUR]);
        let mut forecaster = Forecaster::new();
        for k in 0..=length {
            // The last closes the day.
            observe(&mut forecaster, &plan, begin + k, 2.0);
        }
        let forecast = forecaster.forecast_steps(&plan, 24).unwrap();
        assert_eq!(hours[length as usize], 0, "{begin}");
        let expected: Vec<f64> = (0..24).map(|hour| if hour == 2 { two } else { 1.0 }).collect();
        assert_eq!(forecast.mean, expected);
    }
}

/// A series that began the day before: the slot one day before, and then the states found over two days of which one
/// has the change, are the clock's.
#[test]
fn the_first_days_are_forecast_by_the_clock_too() {
    let plan = ForecastPlan::new(&ForecastSettings::default(), &berlin());
    for begin in [SPRING - 30, AUTUMN - 30] {
        let clock = |hour: i64| in_berlin(hour).0 as f64;
        let mut forecaster = Forecaster::new();
        let mut models = Vec::new();
        for hour in begin..begin + 80 {
            observe(&mut forecaster, &plan, hour, clock(hour));
            let Some(forecast) = forecaster.forecast(&plan).filter(|_| hour - begin >= 25) else {
                continue;
            };
            for (ahead, mean) in (hour..).zip(&forecast.mean) {
                assert!((mean - clock(ahead)).abs() < 1e-9, "{} {hour} {ahead}", forecast.model);
            }
            models.push(forecast.model);
        }
        models.dedup();
        assert_eq!(models, ["seasonal-naive", "holt-winters"]);
    }
}

/// A building: people come at seven on weekdays and leave at six in the evening, as their clocks say.
fn building(clock: i64, weekday: i64, hour: i64) -> f64 {
    let working = weekday < 5 && (7..18).contains(&clock);
    let heating = if (5..22).contains(&clock) { 6.0 } else { 0.0 };
    20.0 + heating + if working { 30.0 } else { 0.0 } + 2.0 * noise(hour)
}

/// Hour and weekday (0: Monday) in Berlin in 2025.
fn in_berlin(hour: i64) -> (i64, i64) {
    let summer = (SPRING + 2..AUTUMN + 3).contains(&hour);
    let local = hour + if summer { 2 } else { 1 };
    (local.rem_euclid(24), (local.div_euclid(24) + 3).rem_euclid(7))
}

/// Mean absolute error of forecasts 1 to 24 hours ahead, made every hour of the week before `change`, midnight of
/// the day of the change, and of the week after it.
fn errors(zone: &Zone, change: i64) -> [f64; 2] {
    let plan = ForecastPlan::new(&ForecastSettings::default(), zone);
    let mut forecaster = Forecaster::new();
    let value = |hour: i64| {
        let (clock, weekday) = in_berlin(hour);
        building(clock, weekday, hour)
    };
    let mut sums = [(0.0, 0.0); 2];
    for hour in change - 5 * 168..change + 168 {
        observe(&mut forecaster, &plan, hour, value(hour));
        if let Some(fit) = forecaster.take_fit_job(&plan, 0).and_then(|job| job.run()) {
            forecaster.offer(fit);
        }
        if hour < change - 168 {
            continue;
        }
        let (sum, count) = &mut sums[usize::from(hour >= change)];
        for (ahead, mean) in (hour..).zip(&forecaster.forecast(&plan).unwrap().mean) {
            *sum += (mean - value(ahead)).abs();
            *count += 1.0;
        }
    }
    sums.map(|(sum, count)| sum / count)
}

#[test]
fn a_building_is_forecast_over_the_change_as_well_as_before() {
    for (name, change) in [("spring", SPRING), ("autumn", AUTUMN)] {
        let [before, after] = errors(&berlin(), change);
        let [utc_before, utc_after] = errors(&Zone::utc(), change);
        println!("{name}: local {before:.3} {after:.3}, UTC {utc_before:.3} {utc_after:.3}");
        assert!((before / utc_before - 1.0).abs() < 0.1, "{name}");
        assert!(after < 1.1 * before, "{name}: {before} {after}");
        assert!(utc_after > 1.5 * after, "{name}: {utc_after} {after}");
    }
}

/// Stored and read again after every slot of the days of the change: the same bits.
#[test]
fn a_forecaster_resumed_inside_such_a_day_is_the_same() {
    let plan = ForecastPlan::new(&ForecastSettings::default(), &berlin());
    for change in [SPRING, AUTUMN] {
        let [mut whole, mut resumed] = [(); 2].map(|()| Forecaster::new());
        for hour in change - 100..change + 30 {
            let (clock, weekday) = in_berlin(hour);
            let value = building(clock, weekday, hour);
            for forecaster in [&mut whole, &mut resumed] {
                observe(forecaster, &plan, hour, value);
                if let Some(fit) = forecaster.take_fit_job(&plan, 0).and_then(|job| job.run()) {
                    forecaster.offer(fit);
                }
            }
            let stored = serde_cbor::to_vec(&resumed).unwrap();
            if hour >= change {
                resumed = crate::cbor::from_slice(&stored).unwrap();
            }
            assert_eq!(serde_cbor::to_vec(&whole).unwrap(), stored, "{hour}");
            assert_eq!(whole.forecast(&plan), resumed.forecast(&plan));
        }
    }
}

/// A site that names its zone begins anew: its terms belonged to other hours. One without changes goes on.
#[test]
fn another_zone_begins_afresh_where_its_clocks_change() {
    let plan =
        |zone: &str| ForecastPlan::new(&ForecastSettings::default(), &Zone::get(zone).unwrap());
    let mut forecaster = Forecaster::new();
    for hour in 0..60 {
        observe(&mut forecaster, &plan("UTC"), hour, (hour % 24) as f64);
    }
    assert!(forecaster.forecast(&plan("Asia/Kolkata")).is_some());
    assert!(forecaster.forecast(&plan("Europe/Berlin")).is_none());
    assert!(!observe(&mut forecaster, &plan("Europe/Berlin"), 60, 1.0), "afresh: nothing to close");
    assert!(observe(&mut forecaster, &plan("Europe/Berlin"), 61, 1.0));
    assert!(!observe(&mut forecaster, &plan("Europe/London"), 62, 1.0));
}
