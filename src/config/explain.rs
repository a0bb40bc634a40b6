//! `weir explain DEVICE/METRIC`: the settings of one series and where each comes from.

use super::Config;
use super::units::format_duration;
use crate::analytics::settings::*;

/// A setting: its key, its value as TOML (`None`: does not apply), whether a patch sets it.
type Row = (&'static str, fn(&Settings) -> Option<String>, fn(&Patch) -> bool);

const ROWS: &[Row] = &[
    ("unit", |s| Some(s.unit.as_ref().map_or("(none)".to_owned(), quoted)), |p| p.unit.is_some()),
    ("kind", |s| Some(name(&s.kind)), |p| p.kind.is_some()),
    ("scale", |s| Some(format!("{:?}", s.scale)), |p| p.scale.is_some()),
    ("offset", |s| Some(format!("{:?}", s.offset)), |p| p.offset.is_some()),
    ("wrap", |s| s.wrap.map(|wrap| format!("{wrap:?}")), |p| p.wrap.is_some()),
    (
        "valid",
        |s| Some(s.valid.map_or("(any)".to_owned(), |(low, high)| format!("[{low:?}, {high:?}]"))),
        |p| p.valid.is_some(),
    ),
    ("lateness", |s| Some(duration(s.lateness)), |p| p.lateness.is_some()),
    ("hold", |s| Some(duration(s.hold)), |p| p.hold.is_some()),
    ("kalman.model", |s| Some(name(&s.kalman.model)), |p| p.kalman.model.is_some()),
    (
        "kalman.observation_sd",
        |s| using(s, "kalman.observation_sd").map(|k| sd(k.observation_sd)),
        |p| p.kalman.observation_sd.is_some(),
    ),
    (
        "kalman.level_sd",
        |s| using(s, "kalman.level_sd").map(|k| sd(k.level_sd)),
        |p| p.kalman.level_sd.is_some(),
    ),
    (
        "kalman.trend_sd",
        |s| using(s, "kalman.trend_sd").map(|k| sd(k.trend_sd)),
        |p| p.kalman.trend_sd.is_some(),
    ),
    (
        "kalman.acceleration_sd",
        |s| using(s, "kalman.acceleration_sd").map(|k| sd(k.acceleration_sd)),
        |p| p.kalman.acceleration_sd.is_some(),
    ),
    (
        "kalman.tau",
        |s| using(s, "kalman.tau").and_then(|k| k.tau).map(duration),
        |p| p.kalman.tau.is_some(),
    ),
    (
        "kalman.mean",
        |s| using(s, "kalman.mean").and_then(|k| k.mean).map(|mean| format!("{mean:?}")),
        |p| p.kalman.mean.is_some(),
    ),
    (
        "kalman.custom",
        |s| using(s, "kalman.F").and_then(|k| k.custom.as_ref()).map(custom),
        |p| p.kalman.custom.is_some(),
    ),
    ("kalman.gate", |s| filter(s).map(|k| format!("{:?}", k.gate)), |p| p.kalman.gate.is_some()),
    ("kalman.outliers", |s| filter(s).map(|k| name(&k.outliers)), |p| p.kalman.outliers.is_some()),
    (
        "kalman.initial",
        |s| filter(s).map(|k| k.initial.as_ref().map_or("(exact diffuse)".to_owned(), initial)),
        |p| p.kalman.initial.is_some(),
    ),
    ("windows", |s| Some(windows(&s.windows)), |p| p.windows.is_some()),
    (
        "forecast",
        |s| s.forecast.is_none().then(|| "false".to_owned()),
        |p| p.forecast.enabled == Some(false),
    ),
    (
        "forecast.step",
        |s| s.forecast.as_ref().map(|f| duration(f.step)),
        |p| p.forecast.step.is_some(),
    ),
    (
        "forecast.season",
        |s| {
            let list = |f: &ForecastSettings| {
                if f.season_auto {
                    return "\"auto\"".to_owned();
                }
                let texts: Vec<String> = f.season.iter().map(|&ns| duration(ns)).collect();
                format!("[{}]", texts.join(", "))
            };
            s.forecast.as_ref().map(list)
        },
        |p| p.forecast.season.is_some(),
    ),
    (
        "forecast.trend",
        |s| s.forecast.as_ref().map(|f| name(&f.trend)),
        |p| p.forecast.trend.is_some(),
    ),
    (
        "forecast.seasonal",
        |s| s.forecast.as_ref().map(|f| name(&f.seasonal)),
        |p| p.forecast.seasonal.is_some(),
    ),
    (
        "forecast.horizon",
        |s| s.forecast.as_ref().map(|f| duration(f.horizon)),
        |p| p.forecast.horizon.is_some(),
    ),
    (
        "forecast.nominal",
        |s| s.forecast.as_ref().map(|f| format!("{:?}", f.nominal)),
        |p| p.forecast.nominal.is_some(),
    ),
    (
        "forecast.smoothing",
        |s| {
            let f = s.forecast.as_ref()?;
            Some(f.smoothing.as_ref().map_or("\"auto\"".to_owned(), smoothing))
        },
        |p| p.forecast.smoothing.is_some() || p.forecast.smoothing_auto.is_some(),
    ),
    (
        "forecast.log",
        |s| {
            s.forecast.as_ref().map(|f| match f.log {
                Log::Auto => "\"auto\"".to_owned(),
                log => (log == Log::Always).to_string(),
            })
        },
        |p| p.forecast.log.is_some(),
    ),
    (
        "forecast.robust",
        |s| s.forecast.as_ref().map(|f| f.robust.to_string()),
        |p| p.forecast.robust.is_some(),
    ),
    (
        "forecast.initial",
        |s| {
            let given = |i: &ForecastInitial| {
                let (level, trend, season) = (i.level, i.trend, &i.season);
                let resumed = i.resumed.as_ref().map_or(String::new(), |r| {
                    let at = crate::reading::EventTime::clamped(r.at);
                    let smoothing = r.smoothing.as_ref().map(smoothing);
                    let smoothing =
                        smoothing.map_or(String::new(), |s| format!(", smoothing = {s}"));
                    format!(", at = \"{at}\", longer = {:?}, sd = {:?}{smoothing}", r.longer, r.sd)
                });
                format!("{{ level = {level:?}, trend = {trend:?}, season = {season:?}{resumed} }}")
            };
            let f = s.forecast.as_ref()?;
            Some(f.initial.as_ref().map_or("(from the first seasons)".to_owned(), given))
        },
        |p| p.forecast.initial.is_some(),
    ),
];

/// The filter, if its model uses the key.
fn using<'a>(settings: &'a Settings, key: &str) -> Option<&'a KalmanSettings> {
    filter(settings).filter(|k| k.model_for(key).is_none())
}

fn custom(c: &CustomSettings) -> String {
    let step = if c.per_second { ", per_second = true" } else { "" };
    format!("F = {:?}, H = {:?}, Q = {:?}, R = {:?}{step}", c.f, c.h, c.q, c.r)
}

fn initial(i: &KalmanInitial) -> String {
    format!("{{ state = {:?}, covariance = {:?} }}", i.state, i.covariance)
}

fn filter(settings: &Settings) -> Option<&KalmanSettings> {
    Some(&settings.kalman).filter(|k| k.model != KalmanModel::Off)
}

fn sd(sd: Option<f64>) -> String {
    sd.map_or("(estimated)".to_owned(), |sd| format!("{sd:?}"))
}

fn smoothing(s: &Smoothing) -> String {
    let Smoothing { alpha, beta, gamma, omega, phi, rho } = s;
    format!(
        "{{ alpha = {alpha:?}, beta = {beta:?}, gamma = {gamma:?}, omega = {omega:?}, phi = {phi:?}, \
         rho = {rho:?} }}"
    )
}

fn quoted(text: &String) -> String {
    format!("{text:?}")
}

fn duration(nanos: i64) -> String {
    format!("\"{}\"", format_duration(nanos))
}

/// The configuration's name of an enum's value: its serde name.
fn name<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn windows(windows: &[WindowSettings]) -> String {
    let one = |w: &WindowSettings| {
        let mut text = format!("{{ size = {}", duration(w.size));
        if w.align != Align::Epoch {
            text.push_str(&format!(", align = {}", name(&w.align)));
        }
        if let Some(slide) = w.slide {
            text.push_str(&format!(", slide = {}", duration(slide)));
        }
        if w.time_weighted {
            text.push_str(", time_weighted = true");
        }
        if !w.quantiles.is_empty() {
            text.push_str(&format!(", quantiles = {:?}", w.quantiles));
        }
        text + " }"
    };
    // One to a line, lest the first columns be pushed apart.
    format!("[{}]", windows.iter().map(one).collect::<Vec<_>>().join(",\n "))
}

fn alarm(t: &ThresholdSettings) -> String {
    let mut parts = vec![format!("name = {:?}", t.name)];
    for (key, limit) in [
        ("above", t.above),
        ("below", t.below),
        ("clear_above", t.clear_above),
        ("clear_below", t.clear_below),
    ] {
        parts.extend(limit.map(|limit| format!("{key} = {limit:?}")));
    }
    for (key, nanos) in [
        ("hold", Some(t.hold).filter(|&ns| ns > 0)),
        ("within", t.within),
        ("repeat_after", Some(t.repeat_after).filter(|&ns| ns > 0)),
    ] {
        parts.extend(nanos.map(|nanos| format!("{key} = {}", duration(nanos))));
    }
    parts.push(format!("severity = {}", name(&t.severity)));
    format!("{{ {} }}", parts.join(", "))
}

/// The resolved settings of one series, a line each: key, value as TOML (in brackets what weir
/// finds by itself), and the layer it comes from or `default`. Of a filter over several metrics its own; of a metric also
/// which such filters it is part of.
pub fn explain(config: &Config, device: &str, metric: &str) -> String {
    let vectors = VectorSettings::of_device(&config.layers, device);
    let origin = |vector: &VectorSettings| {
        let from = config.layers.iter().rev().find(|l| l.patch.vector.as_ref() == Some(vector));
        from.map_or("default", |layer| layer.origin.as_str())
    };
    if let Some(vector) = vectors.iter().find(|vector| vector.name == metric) {
        let from = origin(vector);
        let (settings, _) = DeviceVector::resolve(&config.layers, device, metric);
        let initial = vector.initial.as_ref().map_or("(exact diffuse)".to_owned(), initial);
        let rows = [
            ("kalman.metrics", format!("{:?}", vector.metrics()), from),
            ("kalman.custom", custom(&vector.custom), from),
            ("kalman.gate", format!("{:?}", vector.gate), from),
            ("kalman.initial", initial, from),
            ("lateness", duration(settings.lateness), "the longest of its metrics'"),
        ];
        return table(&format!("{device}/{metric}: a filter over several metrics"), &rows);
    }
    let matching: Vec<&Layer> =
        config.layers.iter().filter(|layer| layer.matches(device, metric)).collect();
    let mut settings = Settings::merged(matching.iter().map(|layer| &layer.patch));
    let conflicts = settings.settle();
    // `forecast = false` forgets what was set before it.
    let forgotten =
        matching.iter().rposition(|l| l.patch.forecast.enabled == Some(false)).unwrap_or(0);
    let rows: Vec<(&str, String, &str)> = ROWS
        .iter()
        .filter_map(|(key, value, sets)| {
            let from = if key.starts_with("forecast") { forgotten } else { 0 };
            let layer = matching[from..].iter().rev().find(|l| sets(&l.patch));
            Some((*key, value(&settings)?, layer.map_or("default", |l| l.origin.as_str())))
        })
        .collect();
    let alarms = matching.iter().filter_map(|layer| {
        let threshold = layer.patch.threshold.as_ref()?;
        // Of more than a series can have, or of two with one name, only some are in force.
        let in_force = settings.thresholds.contains(threshold);
        in_force.then(|| ("alarm", alarm(threshold), layer.origin.as_str()))
    });
    let part_of = vectors
        .iter()
        .filter(|v| v.metrics().iter().any(|name| name == metric))
        .map(|v| ("part of", format!("filter {:?} over {:?}", v.name, v.metrics()), origin(v)));
    let rows: Vec<(&str, String, &str)> = rows.into_iter().chain(alarms).chain(part_of).collect();
    let mut text = table(&format!("{device}/{metric}"), &rows);
    for conflict in conflicts {
        let (key, what, remedy) = (conflict.keys[0], conflict.what, conflict.remedy);
        text.push_str(&format!("  note: {key}: {what}; {remedy}\n"));
    }
    text
}

/// A title and below it key, value and origin in columns.
fn table(title: &str, rows: &[(&str, String, &str)]) -> String {
    let key_width = rows.iter().map(|row| row.0.chars().count()).max().unwrap_or(0);
    let lines = rows.iter().flat_map(|row| row.1.lines());
    // Long lists of numbers stand out rather than push every origin off the screen.
    let value_width =
        lines.map(|line| line.chars().count()).filter(|w| *w <= 48).max().unwrap_or(0);
    let mut text = format!("{title}\n");
    for (key, value, origin) in rows {
        let mut lines = value.lines();
        let first = lines.next().unwrap_or("");
        text.push_str(&format!("  {key:key_width$}  {first:value_width$}  {origin}\n"));
        for line in lines {
            text.push_str(&format!("  {:key_width$}  {line}\n", ""));
        }
    }
    text
}
