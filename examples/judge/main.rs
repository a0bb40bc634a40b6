//! How good the forecasts are, in the figures that `docs/analytics.md` names.
//!
//! `make judge`, or `cargo run --profile judge --example judge -- [FILE or FOLDER …]`. Every series runs through the
//! production engine with default settings; nothing is tuned here, nothing is known of what lies ahead.
//!
//! - Recorded series (files given, folders of them, by default `tests/data/series`): from the middle of each
//!   on, but not before four weeks were learned from, a forecast of 48 steps at **every hour**. Coverage and
//!   interval score at exactly 1 and 24 steps ahead, against class-1 intervals of the same forecasts; mean error
//!   over steps 1 to 24 and 1 to 48 against the seasonal naive forecast. Series with readings further apart than an hour, or
//!   without two weeks to judge, are left out and named.
//! - Invented series like those of the M4 competition ([`corpus`]): OWA of one forecast of 48 steps at the end of each
//!   ([`m4`]). With `--m4 FOLDER` those of CSV files instead, each series' last 48 values being the ones to forecast.
//! - Invented machines that fail, are moved, change their hours ([`faults`]).
//! - What a search for parameters costs, by model ([`cost`]).

mod corpus;
mod cost;
mod faults;
mod m4;
mod recorded;

use std::path::PathBuf;
use std::process::ExitCode;

/// Series of the invented corpus.
const INVENTED: u64 = 96;

fn main() -> ExitCode {
    let mut paths = Vec::new();
    let mut m4_folder = None;
    let mut seed = 1;
    let mut only = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--m4" => m4_folder = arguments.next().map(PathBuf::from),
            "--seed" => seed = arguments.next().and_then(|s| s.parse().ok()).unwrap_or(seed),
            "--only" => only = arguments.next(),
            option if option.starts_with("--") => {
                eprintln!(
                    "usage: judge [FILE or FOLDER …] [--m4 FOLDER] [--seed N] [--only recorded|m4|faults|cost]"
                );
                return ExitCode::from(2);
            }
            path => paths.push(PathBuf::from(path)),
        }
    }
    if paths.is_empty() {
        paths.push(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/series")));
    }
    let wanted = |part: &str| only.as_deref().is_none_or(|only| only == part);
    let result = || -> Result<(), String> {
        if wanted("recorded") {
            recorded::judge(&paths)?;
        }
        if wanted("m4") {
            match &m4_folder {
                Some(folder) => m4::judge_files(folder)?,
                None => m4::judge_invented(INVENTED, seed),
            }
        }
        if wanted("faults") {
            faults::judge()?;
        }
        if wanted("cost") {
            cost::judge();
        }
        Ok(())
    }();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("judge: {error}");
            ExitCode::FAILURE
        }
    }
}
