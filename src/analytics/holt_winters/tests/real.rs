//! Real hourly series: are the intervals as wide as they should be, does the model beat the naive
//! forecast? The defaults are not tuned to these series; the bounds here only say "not broken".

use crate::analytics::holt_winters::{Forecast, ForecastPlan, Forecaster};
use crate::analytics::settings::ForecastSettings;
use crate::batch::window::Zone;
use crate::reading::{EventTime, Finite};

/// Readings of one column (from 1) of a recorded series; times are taken as UTC.
fn series(name: &str, column: usize) -> Vec<(EventTime, Finite)> {
    let path = format!("{}/tests/data/series/{name}.csv", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split(',').collect::<Vec<_>>());
    rows.filter_map(|row| {
        let time: jiff::Timestamp = format!("{}Z", &row[0][..19]).parse().unwrap();
        let nanos = i64::try_from(time.as_nanosecond()).unwrap();
        // Missing values are empty fields.
        let value = row[column].trim().parse().ok().and_then(Finite::new)?;
        Some((EventTime::from_nanos(nanos).unwrap(), value))
    })
    .collect()
}

/// The last forecast, the share of later slots inside the 24-hour intervals issued every day, and the
/// mean absolute error of these forecasts over that of the seasonal naive ones.
fn run(name: &str, column: usize) -> (Forecast, f64, f64) {
    let plan = ForecastPlan::new(&ForecastSettings::default(), &Zone::utc());
    let mut forecaster = Forecaster::new();
    let mut issued: Option<Forecast> = None;
    let (mut inside, mut scored) = (0_u32, 0_u32);
    let (mut off, mut naive_off) = (0.0, 0.0);
    let mut day = [None; 24];
    for (time, value) in series(name, column) {
        let Some(closed) = forecaster.observe(&plan, time, value) else { continue };
        if let Some(fit) = forecaster.take_fit_job(&plan, 0).and_then(|job| job.run()) {
            assert!(forecaster.offer(fit));
        }
        if let Some(forecast) = &issued {
            let h = (closed.start.nanos() - forecast.origin.nanos()) / forecast.step;
            if let Some(h) = usize::try_from(h).ok().filter(|&h| h < 24) {
                let band = forecast.lower[h]..=forecast.upper[h];
                inside += u32::from(band.contains(&closed.mean));
                scored += 1;
                let hour = (closed.start.nanos() / forecast.step).rem_euclid(24) as usize;
                if let Some(before) = day[hour] {
                    off += (closed.mean - forecast.mean[h]).abs();
                    naive_off += f64::abs(closed.mean - before);
                }
            } else {
                issued = None;
            }
        }
        let hour = (closed.start.nanos() / plan.step()).rem_euclid(24) as usize;
        day[hour] = Some(closed.mean);
        if issued.is_none() {
            issued = forecaster.forecast(&plan);
        }
    }
    assert!(scored > 800, "{name}: {scored}");
    (forecaster.forecast(&plan).unwrap(), f64::from(inside) / f64::from(scored), off / naive_off)
}

#[test]
fn intervals_cover_real_series() {
    for (name, column, least_skill) in [
        ("nyc_jfk_weather_2013_hourly", 1, 0.5),
        ("nyc_jfk_weather_2013_hourly", 2, 0.5),
        ("nyc_jfk_weather_2013_hourly", 3, 0.5),
        ("nyc_jfk_weather_2013_hourly", 4, 0.3),
        // Climate normals, not weather: each day repeats the last to a tenth of a degree.
        ("sf_temps_2010_hourly", 1, 0.0),
        // Ends with the naive forecast at work: no skill against itself.
        ("water_flow_2022_hourly", 1, -0.01),
        ("nab_ambient_temperature_system_failure", 1, 0.2),
    ] {
        let (last, day, relative) = run(name, column);
        let (one, skill) = (last.coverage.unwrap(), last.skill.unwrap());
        println!(
            "{name} {column} {}: {one:.3} one step, {day:.3} a day, skill {skill:.3}, \
             error {relative:.3} of naive",
            last.model
        );
        assert!(relative < 1.0, "{name} {column}: error {relative} of naive");
        assert!((0.9..=1.0).contains(&one), "{name} {column}: one step {one}");
        assert!((0.9..=0.99).contains(&day), "{name} {column}: a day ahead {day}");
        assert!(skill > least_skill, "{name} {column}: skill {skill}");
    }
}
