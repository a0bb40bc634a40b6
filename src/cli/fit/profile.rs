//! What was found as TOML that a configuration takes.

use std::fmt::Write as _;

use super::series::Found;
use crate::analytics::settings::{
    ForecastInitial, ForecastSettings, KalmanOutliers, KalmanSettings, Log, Seasonal, Smoothing,
    Trend,
};
use crate::config::units::format_duration;
use crate::reading::{EventTime, SECOND};

/// Columns of a list of numbers.
const COLUMNS: usize = 100;

/// All profiles, each with the comments that say why. Series of one metric with equal text share it.
pub fn document(source: &str, found: &[Found]) -> String {
    let mut text = format!(
        "# Found by `weir fit` in {}.\n# Put it into conf.d/ beside weir.toml; [[device]] tables and later files \
         win over it.\n# Units are left to you: unit = \"…\" in the tables below.\n",
        comment(source)
    );
    // The first of each body leads.
    let mut groups: Vec<(String, Vec<&Found>)> = Vec::new();
    for one in found {
        let body = body(one);
        let alike =
            |group: &&mut (String, Vec<&Found>)| group.0 == body && group.1[0].metric == one.metric;
        match groups.iter_mut().find(alike) {
            Some((_, members)) => members.push(one),
            None => groups.push((body, vec![one])),
        }
    }
    for (body, members) in groups {
        text.push('\n');
        for one in &members {
            for line in reasons(one) {
                let _ = writeln!(text, "# {}", comment(&line));
            }
        }
        if body.is_empty() {
            text.push_str("# The defaults stand.\n");
            continue;
        }
        let devices: Vec<String> = members.iter().map(|one| quoted(&one.device)).collect();
        let devices = match devices.as_slice() {
            [device] => device.clone(),
            devices => format!("[{}]", devices.join(", ")),
        };
        let metric = quoted(&members[0].metric);
        let _ = writeln!(text, "[[profile]]\nmatch = {{ device = {devices}, metric = {metric} }}");
        text.push_str(&body);
    }
    text
}

/// The keys of one profile, without its match.
fn body(found: &Found) -> String {
    let mut text = String::new();
    if let Some(kind) = found.kind_key() {
        let _ = writeln!(text, "kind = {}", quoted(kind));
    }
    if let Some(lateness) = found.lateness {
        let _ = writeln!(text, "lateness = {}", duration(lateness));
    }
    if let Some(settings) = found.filter.as_ref().and_then(|choice| choice.chosen.as_ref()) {
        kalman(settings, &mut text);
    }
    if let Some(settings) = found.forecast.as_ref().and_then(|choice| choice.chosen.as_ref()) {
        forecast(settings, &mut text);
    }
    text
}

fn kalman(s: &KalmanSettings, text: &mut String) {
    let mut keys = vec![format!("model = {}", quoted(s.model.name()))];
    let numbers = [
        ("observation_sd", s.observation_sd),
        ("level_sd", s.level_sd),
        ("trend_sd", s.trend_sd),
        ("acceleration_sd", s.acceleration_sd),
        ("mean", s.mean),
    ];
    keys.extend(s.tau.map(|tau| format!("tau = {}", duration(tau))));
    keys.extend(numbers.into_iter().filter_map(|(key, x)| Some(format!("{key} = {}", number(x?)))));
    keys.push(format!("gate = {}", number(s.gate)));
    if s.outliers == KalmanOutliers::Huber {
        keys.push("outliers = \"huber\"".to_owned());
    }
    let _ = writeln!(text, "kalman = {{ {} }}", keys.join(", "));
}

fn forecast(s: &ForecastSettings, text: &mut String) {
    let seasonal = match s.seasonal {
        Seasonal::None => "none",
        Seasonal::Additive => "additive",
        Seasonal::Multiplicative => "multiplicative",
        Seasonal::Auto => "auto",
    };
    let trend = match s.trend {
        Trend::None => "none",
        Trend::Additive => "additive",
        Trend::Damped => "damped",
    };
    let seasons: Vec<String> = s.season.iter().map(|&season| duration(season)).collect();
    let mut line = |key: &str, value: String| {
        let _ = writeln!(text, "forecast.{key} = {value}");
    };
    line("step", duration(s.step));
    if s.seasonal != Seasonal::None {
        let listed = format!("[{}]", seasons.join(", "));
        line("season", if s.season_auto { quoted("auto") } else { listed });
    }
    line("seasonal", quoted(seasonal));
    line("trend", quoted(trend));
    line(
        "log",
        match s.log {
            Log::Auto => quoted("auto"),
            log => (log == Log::Always).to_string(),
        },
    );
    line("robust", s.robust.to_string());
    line("horizon", duration(s.horizon));
    if let Some(s) = &s.initial {
        initial(s, &mut line);
    }
}

fn initial(initial: &ForecastInitial, line: &mut impl FnMut(&str, String)) {
    line("initial.level", number(initial.level));
    line("initial.trend", number(initial.trend));
    line("initial.season", list(&initial.season));
    let Some(resumed) = &initial.resumed else { return };
    line("initial.at", format!("\"{}\"", EventTime::clamped(resumed.at)));
    line("initial.sd", number(resumed.sd));
    if !resumed.longer.is_empty() {
        line("initial.longer", list(&resumed.longer));
    }
    if let Some(Smoothing { alpha, beta, gamma, omega, phi, rho }) = resumed.smoothing {
        let keys = [
            ("alpha", alpha),
            ("beta", beta),
            ("gamma", gamma),
            ("omega", omega),
            ("phi", phi),
            ("rho", rho),
        ];
        let keys = keys.map(|(key, value)| format!("{key} = {}", number(value)));
        line("initial.smoothing", format!("{{ {} }}", keys.join(", ")));
    }
}

/// Why, for one series.
fn reasons(found: &Found) -> Vec<String> {
    let kind = match found.kind_key() {
        Some(kind) => format!("a {kind}"),
        None => "kind left open".to_owned(),
    };
    let (low, high) = found.signal.range;
    let mut lines = vec![
        format!("{}/{}: {kind}; {} readings", found.device, found.metric, found.readings),
        format!(
            "  {} to {}, one in {}, from {} to {} (valid is left to you)",
            found.first,
            found.last,
            about(found.signal.interval),
            number(low),
            number(high)
        ),
    ];
    if let Some(choice) = &found.filter {
        let (best, first) = (&choice.compared[choice.best], &choice.compared[0]);
        lines.push(if choice.best == 0 {
            format!(
                "  filter: the defaults; none of {} others was better",
                choice.compared.len() - 1
            )
        } else {
            format!(
                "  filter: {}; log density a reading, held out: {:.3} (defaults {:.3})",
                best.name, best.score, first.score
            )
        });
    }
    if let Some(choice) = &found.forecast {
        let best = &choice.compared[choice.best];
        lines.push(if choice.best == 0 {
            let others = choice.compared.len() - 2;
            format!("  forecast: the defaults; none of {others} others was better")
        } else {
            let [cold, warm] = [0, 1].map(|i| best.score.ratio(&choice.compared[i].score));
            format!(
                "  forecast: {}; error and interval score, held out: {cold:.2} of the defaults' started then, \
                 {warm:.2} of theirs after all before",
                best.name
            )
        });
    }
    lines.extend(found.notes.iter().map(|note| format!("  {note}")));
    if found.signal.interval >= 60 * SECOND {
        lines.push(
            "  one reading or none in a one-minute pane; perhaps: windows = [{ size = \"1h\" }]"
                .to_owned(),
        );
    }
    lines
}

/// In one or two units.
pub fn about(nanos: i64) -> String {
    let round = if nanos >= 10 * SECOND { SECOND } else { 1_000_000 };
    format_duration(((nanos + round / 2) / round * round).max(1))
}

fn duration(nanos: i64) -> String {
    format!("\"{}\"", format_duration(nanos))
}

/// The shortest text that is read back as the same number, and as a float.
fn number(value: f64) -> String {
    format!("{value:?}")
}

fn list(values: &[f64]) -> String {
    let mut text = "[".to_owned();
    let mut column = 0;
    for (i, value) in values.iter().enumerate() {
        let one = number(*value);
        if i > 0 {
            text.push(',');
            column += 1;
            if column + one.len() >= COLUMNS {
                text.push_str("\n    ");
                column = 0;
            } else {
                text.push(' ');
            }
        }
        column += one.len() + 1;
        text.push_str(&one);
    }
    text.push(']');
    text
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// Text that cannot leave its comment.
fn comment(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_strings() {
        assert_eq!(quoted("a\"b\\c\nd"), "\"a\\\"b\\\\c\\u000Ad\"");
        assert_eq!(comment("x\n[mqtt]"), "x [mqtt]");
    }

    #[test]
    fn long_lists_are_broken() {
        let text = list(&vec![0.125; 200]);
        assert!(text.lines().count() > 5 && text.lines().all(|line| line.len() <= 110), "{text}");
    }
}
