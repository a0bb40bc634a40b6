//! The state of a series in the daemon that runs, by its API.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::Value;

use crate::config::{Http, Listen};

/// The daemon is on this machine: what takes longer is no answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer read.
const BYTES_MAX: u64 = 4 << 20;

/// Asks for the series at `listen`, with the token where one is set. `Ok(None)`: the daemon has not
/// seen it.
///
/// # Errors
/// No daemon, none that answers, or one that is asked by TLS alone: why, in words.
pub fn ask(
    http: &Http,
    listen: &Listen,
    device: &str,
    metric: &str,
) -> Result<Option<Value>, String> {
    if http.tls.is_some() {
        return Err("[http] has a certificate, and explain does not speak TLS: see the page".into());
    }
    let token = match &http.token {
        Some(source) => Some(source.read_line().map_err(|fault| fault.to_string())?),
        None => None,
    };
    let path = format!("/api/series/{}/{}", encoded(device), encoded(metric));
    let answer = get(listen, &path, token.as_deref()).map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("no HTTP answer")?;
    let code = head.split(' ').nth(1).unwrap_or("");
    match (code, serde_json::from_str::<Value>(body)) {
        ("200", Ok(row)) if row["device"] == device && row["metric"] == metric => Ok(Some(row)),
        ("404", Ok(_)) => Ok(None),
        (_, Ok(fault)) if fault["error"].is_string() => {
            Err(fault["error"].as_str().unwrap_or_default().to_owned())
        }
        _ => Err("something else than weir answers there".to_owned()),
    }
}

fn get(listen: &Listen, path: &str, token: Option<&str>) -> std::io::Result<String> {
    match listen {
        Listen::Tcp(address) => {
            let address = reachable(*address);
            let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream, &address.to_string(), path, token)
        }
        Listen::Unix(socket) => {
            let stream = UnixStream::connect(socket)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            exchange(stream, "localhost", path, token)
        }
    }
}

/// A daemon that listens everywhere is asked on loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        ip if ip.is_unspecified() && ip.is_ipv4() => ([127, 0, 0, 1], address.port()).into(),
        ip if ip.is_unspecified() => (std::net::Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}

fn exchange(
    mut stream: impl Read + Write,
    host: &str,
    path: &str,
    token: Option<&str>,
) -> std::io::Result<String> {
    // With 1.0 the answer is one piece, and ends with the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n")?;
    if let Some(token) = token {
        write!(stream, "Authorization: Bearer {token}\r\n")?;
    }
    write!(stream, "\r\n")?;
    let mut answer = Vec::new();
    stream.take(BYTES_MAX).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// One segment of a path.
fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric()
            || b"-_.~".contains(&byte) && !name.trim_matches('.').is_empty()
        {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// What the API says of a series, a line for each thing that an operator asks.
pub fn text(row: &Value) -> String {
    table(if row["vector"].is_object() { of_vector(row) } else { of_series(row) })
}

type Lines = Vec<(&'static str, String)>;

fn table(lines: Lines) -> String {
    let mut text = String::new();
    for (key, value) in lines {
        let _ = writeln!(text, "  {key:10}{}", printable(&value));
    }
    text
}

/// A filter over several metrics: of the last row what was read and what the filter makes of it.
fn of_vector(row: &Value) -> Lines {
    let vector = &row["vector"];
    let count = |key: &str| words(&vector[key]);
    let readings = format!(
        "{}, {} late; {} rows gated, {} shifts",
        words(&row["count"]),
        count("late"),
        count("outliers"),
        count("shifts")
    );
    let verdict = if vector["gated"] == true { "gated" } else { "taken" };
    let last = match number(&row["nis"]) {
        Some(nis) => format!(
            "row of {}, {verdict}; NIS {nis}, about {} if the noise fits",
            words(&row["time"]),
            count("dof")
        ),
        None => {
            format!("row of {}, {verdict}; nothing was expected of it yet", words(&row["time"]))
        }
    };
    let mut lines = vec![
        ("filter", format!("{}, over several metrics", words(&row["model"]))),
        ("readings", readings),
        ("last", last),
    ];
    lines.extend(noise(row));
    for metric in vector["metrics"].as_array().map_or(&[][..], Vec::as_slice) {
        let unit = metric["unit"].as_str().map_or(String::new(), |unit| format!(" {unit}"));
        let reading = number(&metric["reading"]).unwrap_or("missing".to_owned());
        let level = level(metric, &unit);
        lines.push(("metric", format!("{}: reading {reading}{level}", words(&metric["metric"]))));
    }
    lines
}

/// Whether the filter's noise fits, and what to do about it.
fn noise(row: &Value) -> Option<(&'static str, String)> {
    let noise = &row["noise"];
    let advice = noise["advice"].as_str()?;
    Some(("noise", format!("{}: {advice}", words(&noise["verdict"]))))
}

/// Level and its standard deviation, if they are known.
fn level(row: &Value, unit: &str) -> String {
    let Some(level) = number(&row["level"]) else { return String::new() };
    let sd = row["variance"].as_f64().map(f64::sqrt);
    let sd = sd.map_or(String::new(), |sd| format!(" ± {}", short(sd)));
    format!(", level {level}{sd}{unit}")
}

fn of_series(row: &Value) -> Lines {
    let unit = row["unit"].as_str().map_or(String::new(), |unit| format!(" {unit}"));
    let mut lines = Lines::new();
    let from = match row["kind_from"].as_str().unwrap_or("") {
        "settings" => "by the settings",
        "readings" => "found from the readings",
        _ => "not decided yet",
    };
    lines.push(("kind", format!("{}, {from}", words(&row["kind"]))));
    let counts = &row["noise"];
    let mut readings = format!("{}, {} dropped", words(&row["count"]), words(&row["dropped"]));
    for (key, what) in
        [("unordered", "behind the filter"), ("outliers", "gated"), ("shifts", "level shifts")]
    {
        if let Some(n) = counts[key].as_u64() {
            let _ = write!(readings, ", {n} {what}");
        }
    }
    lines.push(("readings", readings));
    if let Some(reading) = number(&row["reading"]) {
        lines.push(("last", format!("{reading}{unit} at {}", words(&row["time"]))));
    }
    lines.push(("filter", filter(row, &unit)));
    lines.extend(noise(row));
    lines.push(("forecast", forecast(&row["forecast"])));
    let alarms = row["alarms"].as_array().map_or(&[][..], Vec::as_slice);
    if alarms.is_empty() {
        lines.push(("alarms", "none active".to_owned()));
    }
    for alarm in alarms {
        let [name, since, reason] = ["alarm", "since", "reason"].map(|key| words(&alarm[key]));
        lines.push((
            "alarm",
            format!("{name} ({}) since {since}: {reason}", words(&alarm["severity"])),
        ));
    }
    lines
}

fn filter(row: &Value, unit: &str) -> String {
    let mut text = words(&row["model"]) + &level(row, unit);
    let noise = &row["noise"];
    let sds = ["observation_sd", "level_sd", "trend_sd", "acceleration_sd"];
    let sds: Vec<String> =
        sds.iter().filter_map(|key| Some(format!("{key} {}", number(&noise[*key])?))).collect();
    if !sds.is_empty() {
        let from = match noise["noise_from"].as_str().unwrap_or("") {
            "settings" => "given",
            "learning" => "being learned",
            _ => "found from the readings",
        };
        let _ = write!(text, "; {} ({from})", sds.join(", "));
    }
    text
}

fn forecast(forecast: &Value) -> String {
    let Some(mean) = forecast["mean"].as_array() else { return "none yet, or off".to_owned() };
    let share =
        |value: &Value| value.as_f64().map_or("not known yet".to_owned(), |x| format!("{x:.3}"));
    let next = [&forecast["mean"][0], &forecast["lower"][0], &forecast["upper"][0]].map(number);
    let next = match next {
        [Some(mean), Some(lower), Some(upper)] => format!("; next {mean} in {lower} to {upper}"),
        _ => String::new(),
    };
    format!(
        "{}, {} slots of {} s{next}; coverage {} of {} asked, skill against the naive forecast {}",
        words(&forecast["model"]),
        mean.len(),
        words(&forecast["step_s"]),
        share(&forecast["coverage"]),
        words(&forecast["nominal"]),
        share(&forecast["skill"])
    )
}

/// A value as it stands; `-`: none.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('_', " "),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn number(value: &Value) -> Option<String> {
    value.as_f64().map(short)
}

/// Five significant digits.
fn short(value: f64) -> String {
    let rounded: f64 = format!("{value:.4e}").parse().unwrap_or(value);
    format!("{rounded}")
}

/// Names and reasons come from payloads: nothing that moves a terminal's cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_segment_of_the_path() {
        assert_eq!(encoded("boiler-3"), "boiler-3");
        assert_eq!(encoded("a/b c?"), "a%2Fb%20c%3F");
        assert_eq!(encoded(".."), "%2E%2E");
    }

    #[test]
    fn the_state_is_told_in_lines() {
        let row = serde_json::json!({
            "device": "d", "metric": "m", "unit": "°C", "time": "2026-01-01T00:00:00Z", "reading": 21.5,
            "kind": "gauge", "kind_from": "readings", "level": 21.25, "variance": 0.04, "count": 400,
            "dropped": 3, "model": "level",
            "noise": { "verdict": "too_small", "advice": "the noise is too small: raise observation_sd",
                "observation_sd": 0.5, "level_sd": 1.0, "trend_sd": null, "noise_from": "settings",
                "outliers": 4, "shifts": 1, "unordered": 2 },
            "forecast": { "model": "holt-winters", "mean": [1.0, 2.0], "lower": [0.5, 1.0], "upper": [1.5, 3.0],
                "step_s": 3600.0, "nominal": 0.95, "coverage": 0.944, "skill": null },
            "alarms": [{ "alarm": "outlier", "since": "2026-01-01T00:00:00Z", "severity": "warning",
                "reason": "far\u{1b}[2J off" }],
        });
        let text = text(&row);
        for part in [
            "kind      gauge, found from the readings",
            "readings  400, 3 dropped, 2 behind the filter, 4 gated, 1 level shifts",
            "filter    level, level 21.25 ± 0.2 °C; observation_sd 0.5, level_sd 1 (given)",
            "noise     too small: the noise is too small: raise observation_sd",
            "forecast  holt-winters, 2 slots of 3600.0 s; next 1 in 0.5 to 1.5; coverage 0.944 of 0.95 asked",
            "alarm     outlier (warning) since 2026-01-01T00:00:00Z: far [2J off",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn a_filter_over_several_metrics_is_told_by_its_last_row() {
        let row = serde_json::json!({
            "device": "d", "metric": "both", "time": "2026-01-01T00:00:00Z", "nis": 2.5, "count": 79,
            "model": "custom", "noise": { "verdict": "too_large", "advice": "lower R or Q" },
            "forecast": null, "alarms": [],
            "vector": { "dof": 2, "gated": false, "late": 3, "outliers": 4, "shifts": 1, "metrics": [
                { "metric": "t", "unit": "°C", "reading": 21.5, "level": 21.25, "variance": 0.04 },
                { "metric": "u", "unit": null, "reading": null, "level": null, "variance": null },
            ] },
        });
        assert_eq!(
            text(&row),
            "  filter    custom, over several metrics\n\
             \x20 readings  79, 3 late; 4 rows gated, 1 shifts\n\
             \x20 last      row of 2026-01-01T00:00:00Z, taken; NIS 2.5, about 2 if the noise fits\n\
             \x20 noise     too large: lower R or Q\n\
             \x20 metric    t: reading 21.5, level 21.25 ± 0.2 °C\n\
             \x20 metric    u: reading missing\n"
        );
    }

    #[test]
    fn nobody_listening_is_said() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let listen = Listen::Tcp(address);
        assert!(ask(&Http::default(), &listen, "d", "m").is_err());
    }
}
