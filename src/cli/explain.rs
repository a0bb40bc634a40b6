//! `weir explain`: the settings of one series and where each comes from, and its state in the running daemon.

mod live;

use std::path::Path;

use super::{Failure, load_config, print};
use crate::config;

/// Show the settings of one series, and the line of the configuration that each comes from
///
/// Where the daemon runs (asked at `[http] listen`), its state too: filter and noise in force, whether that noise fits
/// the readings and what to do if not, forecast, skill, coverage, active alarms, counts.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// DEVICE/METRIC (the metric is what follows the last '/'), or the device alone
    #[arg(value_name = "DEVICE/METRIC")]
    series: String,
    /// The metric, when the first argument is the device alone
    metric: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// A series that is none; faults of the configuration.
pub fn run(args: &Args, path: Option<&Path>) -> Result<(), Failure> {
    let (device, metric) = match &args.metric {
        Some(metric) => (args.series.as_str(), metric.as_str()),
        None => args.series.rsplit_once('/').unwrap_or((&args.series, "")),
    };
    if device.is_empty() || metric.is_empty() {
        return Err(Failure::Usage(format!(
            "{:?} names no series; write e.g. boiler-3/temperature",
            args.series
        )));
    }
    let config = load_config(path)?;
    let http = &config.http;
    let state = match http.listen.as_ref().map(|at| (at, live::ask(http, at, device, metric))) {
        None => "state: not asked for, [http] listen is off\n".to_owned(),
        Some((at, Ok(Some(row)))) => {
            format!("state, from the daemon at {at}\n{}", live::text(&row))
        }
        Some((at, Ok(None))) => {
            format!("state: the daemon at {at} has no reading of this series\n")
        }
        Some((at, Err(why))) => {
            format!("state: the daemon is not running, or cannot be asked at {at}: {why}\n")
        }
    };
    print(&format!("{}{state}", config::explain(&config, device, metric)))
}
