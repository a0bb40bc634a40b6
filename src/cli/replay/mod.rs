//! `weir replay`: recorded data through the production engine, at full speed.

pub(in crate::cli) mod evaluation;
mod lines;
pub mod player;
mod plot;
mod smoothed;
mod summary;

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use super::{Failure, load_config_if_any};
use crate::analytics::holt_winters::ForecastPlan;
use crate::analytics::step::{Origins, forecast_record};
use crate::config::units::parse_duration;
use crate::decoder::recorded::{RecordedFault, RecordedReader};
use crate::engine::{ConfigError, Engine, StepOutput};
use lines::{EstimateLines, write_output, write_record};
use player::Player;
use plot::Plot;
use smoothed::Smoothing;
use summary::Summary;

/// Faulty lines that are shown; the others are only counted.
const FAULTS_SHOWN: usize = 5;
/// Readings between two looks at the progress bar.
const PROGRESS_EVERY: u32 = 4096;
const BUFFER_BYTES: usize = 64 * 1024;

/// Run recorded data through the engine, with event time as its clock
///
/// FILE is CSV (header `time,device,metric,value`, or a time column and one column for each
/// metric) or NDJSON with the same names; times are RFC 3339 or Unix seconds; `-` reads standard
/// input. Results are written as NDJSON, `kind` first; a summary goes to standard error. Without
/// --config, and with no configuration in the default place, every setting is the default.
#[derive(Debug, clap::Args)]
pub struct Args {
    file: PathBuf,
    /// Write an estimate for every reading, with an anomaly score in [0, 1]
    #[arg(long)]
    every_reading: bool,
    /// Add state, covariance (time unit: second) and loglik to these estimates
    #[arg(long, requires = "every_reading")]
    full: bool,
    /// At the end, write the level at each reading given all readings of its series (kind
    /// `smoothed`); keeps all readings in memory
    #[arg(long)]
    smooth: bool,
    /// Write a forecast of N slots at the end of each series, after the slot of its last reading
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    horizon: Option<u32>,
    /// Device of readings without one [default: the file's name without its ending]
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Write the results here instead of to standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the summary as JSON here, every measure by series and by step
    #[arg(long, value_name = "FILE")]
    summary: Option<PathBuf>,
    /// Judge forecasts made this often: at the ends of slots next to its multiples
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = origin_every)]
    origin_every: i64,
    /// Judge forecasts only of what comes so long after a series' beginning
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = parse_duration)]
    judge_after: i64,
    /// Draw readings, estimate, forecast and alarms into an SVG file
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// No progress bar (there is none anyway unless standard error is a terminal)
    #[arg(long)]
    no_progress: bool,
}

fn origin_every(text: &str) -> Result<i64, String> {
    match parse_duration(text)? {
        nanos @ 1.. => Ok(nanos),
        _ => Err("must be longer than nothing; write e.g. 24h".to_owned()),
    }
}

/// Why a replay ends early.
enum Stop {
    Failed(Failure),
    /// Nobody reads the output any more.
    Closed,
}

impl From<ConfigError> for Stop {
    fn from(error: ConfigError) -> Stop {
        Stop::Failed(Failure::Config(error.to_string()))
    }
}

/// Runs the command.
///
/// # Errors
/// The configuration, the file, or the output.
pub fn run(args: &Args, config: Option<&Path>) -> Result<(), Failure> {
    let config = load_config_if_any(config)?;
    let stdin = args.file == Path::new("-");
    let device = args.device.clone().unwrap_or_else(|| {
        let stem = args.file.file_stem().filter(|_| !stdin);
        stem.map_or("replay".to_owned(), |stem| stem.to_string_lossy().into_owned())
    });
    let source: Box<dyn BufRead> = if stdin {
        Box::new(io::stdin().lock())
    } else {
        let file = File::open(&args.file).map_err(|error| Failure::of_file(&args.file, error))?;
        Box::new(BufReader::with_capacity(BUFFER_BYTES, file))
    };
    let reader = RecordedReader::new(source, &device)
        .map_err(|error| Failure::of_file(&args.file, error))?;
    let (out, out_name): (Box<dyn Write>, _) = match &args.output {
        Some(path) => {
            let file = File::create(path).map_err(|error| Failure::of_file(path, error))?;
            (Box::new(file), path.display().to_string())
        }
        None => (Box::new(io::stdout().lock()), "standard output".to_owned()),
    };
    let interval = i64::try_from(config.batch.interval.as_nanos()).unwrap_or(i64::MAX);
    let mut player = Player::new(config.core_config(), interval, config.batch.max_readings)
        .map_err(|error| Failure::Config(error.to_string()))?;
    let steps = |plan: &ForecastPlan| evaluation::ranges(plan)[1];
    player.keep_outlooks(Origins { every: args.origin_every, steps });
    let mut replay = Replay {
        estimates: match (args.every_reading, args.full) {
            (false, _) => EstimateLines::None,
            (true, false) => EstimateLines::Plain,
            (true, true) => EstimateLines::Full,
        },
        smoothing: args.smooth.then(Smoothing::default),
        horizon: args.horizon,
        progress: progress(args, stdin),
        out: BufWriter::with_capacity(BUFFER_BYTES, out),
        out_name,
        summary: Summary::new(args.judge_after),
        summary_file: args.summary.clone(),
        plot: args
            .plot
            .as_deref()
            .map(|path| Plot::new(path, args.horizon.map(|steps| steps as usize))),
        faults: 0,
    };
    match replay.run(reader, player) {
        Ok(()) | Err(Stop::Closed) => Ok(()),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

fn progress(args: &Args, stdin: bool) -> ProgressBar {
    if args.no_progress || stdin || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let length = std::fs::metadata(&args.file).map_or(0, |data| data.len());
    let bar = ProgressBar::new(length);
    match ProgressStyle::with_template("{bar:40} {percent}% {elapsed} (left {eta})") {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

struct Replay<W: Write> {
    estimates: EstimateLines,
    smoothing: Option<Smoothing>,
    horizon: Option<u32>,
    progress: ProgressBar,
    out: BufWriter<W>,
    out_name: String,
    summary: Summary,
    summary_file: Option<PathBuf>,
    plot: Option<Plot>,
    faults: usize,
}

impl<W: Write> Replay<W> {
    fn run<R: BufRead>(
        &mut self,
        mut reader: RecordedReader<R>,
        mut player: Player,
    ) -> Result<(), Stop> {
        let begin = Instant::now();
        let mut until_progress = PROGRESS_EVERY;
        while let Some(item) = reader.next() {
            until_progress -= 1;
            if until_progress == 0 {
                until_progress = PROGRESS_EVERY;
                self.progress.set_position(reader.bytes());
            }
            match item {
                Ok(r) => {
                    if let Some(output) = player.push((&r.device, &r.metric), r.time, r.value)? {
                        self.take(&output)?;
                    }
                }
                Err(fault) => {
                    player.drop_one(fault.reason);
                    self.fault(&fault);
                }
            }
        }
        player.finish(|_, output| self.take(&output))?;
        if let Some(smoothing) = &self.smoothing {
            smoothing.write(&mut self.out).map_err(|error| self.stop(error))?;
        }
        if let Some(steps) = self.horizon {
            self.forecasts(player.engine(), steps as usize)?;
        }
        self.out.flush().map_err(|error| self.stop(error))?;
        if let Some(plot) = self.plot.take() {
            self.draw(plot, player.engine())?;
        }
        self.progress.finish_and_clear();
        if self.faults > FAULTS_SHOWN {
            self.say(&format!("… and {} more faulty lines", self.faults - FAULTS_SHOWN));
        }
        let report = self.summary.finish(player.engine(), reader.lines(), begin.elapsed());
        self.say(report.to_string().trim_end());
        if let Some(path) = &self.summary_file {
            let text = format!("{:#}\n", report.json());
            std::fs::write(path, text)
                .map_err(|error| Stop::Failed(Failure::of_file(path, error)))?;
        }
        Ok(())
    }

    fn take(&mut self, output: &StepOutput) -> Result<(), Stop> {
        self.summary.take(output);
        if let Some(smoothing) = &mut self.smoothing {
            smoothing.take(output);
        }
        if let Some(plot) = &mut self.plot {
            plot.take(output);
        }
        write_output(&mut self.out, output, self.estimates).map_err(|error| self.stop(error))
    }

    fn draw(&self, plot: Plot, engine: &Engine) -> Result<(), Stop> {
        let path = plot.path().to_owned();
        let failed = |error: &dyn std::fmt::Display| Stop::Failed(Failure::of_file(&path, error));
        let (svg, note) = plot.finish(engine).map_err(|error| failed(&error))?;
        std::fs::write(&path, svg).map_err(|error| failed(&error))?;
        if let Some(note) = note {
            self.say(&note);
        }
        Ok(())
    }

    fn forecasts(&mut self, engine: &Engine, steps: usize) -> Result<(), Stop> {
        for (_, name, unit) in engine.units() {
            if let Some(forecast) = unit.state().forecast_after_end(unit.plan(), steps) {
                let record = forecast_record(&name.device, &name.metric, forecast);
                write_record(&mut self.out, &record).map_err(|error| self.stop(error))?;
            }
        }
        Ok(())
    }

    fn fault(&mut self, fault: &RecordedFault) {
        self.faults += 1;
        if self.faults <= FAULTS_SHOWN {
            self.say(&fault.to_string());
        }
    }

    /// On standard error, without tearing the progress bar; a closed one is no reason to stop.
    fn say(&self, text: &str) {
        self.progress.suspend(|| {
            let _ = writeln!(io::stderr(), "{text}");
        });
    }

    fn stop(&self, error: io::Error) -> Stop {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Stop::Closed;
        }
        Stop::Failed(Failure::Runtime(format!("{}: {error}", self.out_name)))
    }
}
