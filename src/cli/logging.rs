//! Log lines, to standard error; where that is the journal (and libsystemd is there), as journal
//! entries with fields.

use std::io::{self, IsTerminal};

use tracing_subscriber::Layer as _;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{Log, LogFormat, LogLevel};

/// Overrides `[log] level`: a level, or levels by module (`info,weir::mqtt=debug`).
pub const LEVEL_VARIABLE: &str = "WEIR_LOG";

/// Starts the log as configured, or as `WEIR_LOG` says. Once in a process; a second call is an
/// error.
///
/// # Errors
/// `WEIR_LOG` cannot be read, or there is a log already.
pub fn init(log: &Log) -> Result<(), String> {
    let filter = filter(log.level, std::env::var(LEVEL_VARIABLE).ok().as_deref())?;
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    let layer = match log.format {
        #[cfg(feature = "systemd")]
        LogFormat::Text if crate::systemd::journal::is_standard_error() => {
            crate::systemd::journal::Journal.boxed()
        }
        LogFormat::Text => layer.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .try_init()
        .map_err(|error| format!("cannot start the log: {error}"))
}

/// What is written: `variable` if it is set and not empty, else `level`.
fn filter(level: LogLevel, variable: Option<&str>) -> Result<Targets, String> {
    let targets = match variable.map(str::trim).filter(|text| !text.is_empty()) {
        Some(text) => text.parse::<Targets>().map_err(|error| {
            format!(
                "{LEVEL_VARIABLE}={text:?}: {error}; write e.g. debug, or info,weir::mqtt=debug"
            )
        })?,
        None => Targets::new().with_default(match level {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }),
    };
    // The embedded broker of the demo logs each of its own connections and its loss as an error.
    let asked_for = targets.iter().any(|(target, _)| target.starts_with("rumqttd"));
    Ok(if asked_for { targets } else { targets.with_target("rumqttd", LevelFilter::OFF) })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn the_variable_wins_and_the_embedded_broker_is_silent() {
        for (variable, target, level, written) in [
            (None, "weir::mqtt", Level::WARN, true),
            (None, "weir::mqtt", Level::INFO, false),
            (Some(""), "weir", Level::INFO, false),
            (Some("debug"), "weir", Level::DEBUG, true),
            (Some("debug"), "rumqttd::server", Level::ERROR, false),
            (Some("info,weir::mqtt=trace"), "weir::mqtt", Level::TRACE, true),
            (Some("info,weir::mqtt=trace"), "weir::http", Level::DEBUG, false),
            (Some("info,rumqttd=info"), "rumqttd", Level::INFO, true),
        ] {
            let filter = filter(LogLevel::Warn, variable).unwrap();
            assert_eq!(
                filter.would_enable(target, &level),
                written,
                "{variable:?} {target} {level}"
            );
        }
    }

    #[test]
    fn a_bad_variable_is_said() {
        let error = filter(LogLevel::Warn, Some("weir=loud")).unwrap_err();
        assert!(error.starts_with("WEIR_LOG=\"weir=loud\": "), "{error}");
    }
}
