//! `weir explain`: the settings of one series and where each comes from, and its state in the running daemon.

mod live;

use std::path::Path;

use super::{Failure, load_config, print};
use crate::analytics::settings::VectorSettings;
use crate::config;

/// Show the settings of one series, and the line of the configuration that each comes from
///
/// Where the daemon runs (asked at `[http] listen`), its state too: filter and noise in force, whether that noise fits
/// the readings and what to do if not, forecast, skill, coverage, active alarms, counts; and the same of the filters over
/// several metrics that the series is part of.
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
    let mut text = config::explain(&config, device, metric);
    match &http.listen {
        None => text.push_str("state: not asked for, [http] listen is off\n"),
        Some(at) => {
            // Of the filters over several metrics that it is part of, too.
            let filters = VectorSettings::of_device(&config.layers, device).into_iter();
            let filters = filters.filter(|f| f.metrics().iter().any(|name| name == metric));
            let names = filters.map(|filter| filter.name.as_str());
            for name in std::iter::once(metric).chain(names) {
                let of =
                    if name == metric { String::new() } else { format!(" of filter {name:?}") };
                text.push_str(&match live::ask(http, at, device, name) {
                    Ok(Some(row)) => {
                        format!("state{of}, from the daemon at {at}\n{}", live::text(&row))
                    }
                    Ok(None) => {
                        format!("state{of}: the daemon at {at} has no reading of this series\n")
                    }
                    Err(why) => format!(
                        "state{of}: the daemon is not running, or cannot be asked at {at}: {why}\n"
                    ),
                });
            }
        }
    }
    print(&text)
}
