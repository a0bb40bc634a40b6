//! `weir fit`: the best settings for recorded series, as TOML.

mod filter;
mod forecast;
mod judge;
mod profile;
mod recorded;
mod series;
mod table;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{Failure, load_config_if_any, print};
use crate::config::Config;
use crate::config::units::parse_duration;
use recorded::Series;
use series::Found;

/// Find model, season and noise in recorded data, and print them as a profile
///
/// FILE is what `weir replay` takes: CSV (header `time,device,metric,value`, or a time column and one column for
/// each metric) or NDJSON with the same names. For each series, candidates are fitted to the first three quarters and
/// compared by what they predict of the rest; the comparison goes to standard error, a TOML text that `weir check`
/// accepts to standard output:
///
///   weir fit history.csv > /etc/weir/conf.d/10-fit.toml
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Recorded data; several files are fitted one after the other
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Forecast so far ahead, and compare by it [default: the configuration's, 24h]
    #[arg(long, value_name = "DURATION", value_parser = horizon)]
    horizon: Option<i64>,
    /// Device of readings without one [default: the file's name without its ending]
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Fit only devices that match; may be given several times
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// Fit only metrics that match; may be given several times
    #[arg(long, value_name = "GLOB")]
    metric: Vec<String>,
    /// Write the TOML here instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// No comparison on standard error
    #[arg(short, long)]
    quiet: bool,
    /// Write no profile; fit the first half of each series and show how the profile does on the second half against
    /// the configuration without it
    #[arg(long, conflicts_with = "output")]
    judge: bool,
}

fn horizon(text: &str) -> Result<i64, String> {
    const YEARS_TEN: i64 = 3650 * 86_400 * 1_000_000_000;
    match parse_duration(text)? {
        nanos @ 1_000_000_000..=YEARS_TEN => Ok(nanos),
        _ => Err("must be from 1s to 3650d; write e.g. 24h".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// The configuration, a file, nothing to fit, or the output.
pub fn run(args: &Args, config: Option<&Path>) -> Result<(), Failure> {
    let config = load_config_if_any(config)?;
    let series = read(args)?;
    if args.judge {
        let judged: Result<Vec<_>, Failure> =
            series.iter().map(|one| judge::judge(&config, one, args.horizon)).collect();
        return print(&judge::table(&judged?));
    }
    let found = fit(args, &config, &series);
    let names: Vec<String> = args
        .files
        .iter()
        .map(|path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned())
        .collect();
    if found.iter().all(|one| one.filter.is_none() && one.forecast.is_none() && one.is_plain()) {
        let note = found.iter().flat_map(|one| one.notes.first()).next();
        let why = note.map_or("no readings".to_owned(), String::clone);
        return Err(Failure::Runtime(format!(
            "{}: nothing can be fitted: {why}",
            names.join(", ")
        )));
    }
    let text = profile::document(&names.join(", "), &found);
    // What is printed is read back, so that it is never refused later.
    Config::from_texts(&[("weir fit", &text)])?;
    match &args.output {
        Some(path) => std::fs::write(path, text).map_err(|error| Failure::of_file(path, error)),
        None => print(&text),
    }
}

/// All series of all files, by name; one that several files have is one.
fn read(args: &Args) -> Result<Vec<Series>, Failure> {
    let mut all: Vec<Series> = Vec::new();
    for path in &args.files {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let device = args.device.clone().or(stem).unwrap_or_else(|| "fit".to_owned());
        let filter =
            recorded::Filter { device: &device, devices: &args.only, metrics: &args.metric };
        let recording = recorded::read(path, &filter)?;
        recording.faults.iter().for_each(|fault| say(fault));
        if recording.faulty > recording.faults.len() {
            let more = recording.faulty - recording.faults.len();
            say(&format!("{}: … and {more} more faulty lines", path.display()));
        }
        if recording.series.is_empty() {
            let what = match args.only.is_empty() && args.metric.is_empty() {
                true => {
                    "has no reading; expected a CSV header such as time,device,metric,value and lines below it"
                }
                false => "has no reading of a series that --only and --metric ask for",
            };
            return Err(Failure::of_file(path, what));
        }
        for series in recording.series {
            let same =
                |one: &Series| (&one.device, &one.metric) == (&series.device, &series.metric);
            match all.iter_mut().find(|one| same(one)) {
                // More of the same series.
                Some(one) => one.append(series),
                None => all.push(series),
            }
        }
    }
    Ok(all)
}

fn fit(args: &Args, config: &Config, series: &[Series]) -> Vec<Found> {
    let mut all = Vec::new();
    for one in series {
        let base = config.settings(&one.device, &one.metric);
        if let Some(found) = series::fit(one, &base, &config.gateway.time_zone, args.horizon) {
            if !args.quiet {
                say(table::table(&found).trim_end());
            }
            all.push(found);
        }
    }
    all
}

/// On standard error; a closed one is no reason to stop.
fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}
