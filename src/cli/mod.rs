//! The command line: one file for each command. This one finds the command, reads the
//! configuration for it and turns failures into one plain text and an exit code.
//!
//! A new command is a variant of [`Command`] and an arm in [`run`].

pub mod check;
pub mod demo;
pub mod explain;
pub mod fit;
pub mod logging;
pub mod replay;
pub mod run;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, Faults};

/// Where the configuration is when `--config` does not say.
pub const CONFIG_DEFAULT: &str = "/etc/weir/weir.toml";

/// Edge analytics: sensor readings over MQTT in, estimates, forecasts and exact aggregates out.
#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    after_help = "Exit codes: 0 done, 1 failed while running, 2 wrong usage, 78 bad configuration."
)]
struct Cli {
    /// Configuration file [default: /etc/weir/weir.toml]; conf.d/*.toml beside it are read after it
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Check(check::Args),
    Demo(demo::Args),
    Explain(explain::Args),
    Fit(fit::Args),
    Replay(replay::Args),
}

fn run(cli: Cli) -> Result<(), Failure> {
    let config = cli.config.as_deref();
    match cli.command {
        Command::Run(args) => run::run(&args, config),
        Command::Demo(args) => demo::run(&args, config),
        Command::Check(args) => check::run(&args, config),
        Command::Explain(args) => explain::run(&args, config),
        Command::Fit(args) => fit::run(&args, config),
        Command::Replay(args) => replay::run(&args, config),
    }
}

/// The definition of the command line, for man pages and completions.
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Parses the command line, runs the command, says once what failed.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let text = failure.to_string();
            if !text.is_empty() {
                // Nothing can be done about a closed standard error.
                let _ = writeln!(io::stderr(), "{}", text.trim_end());
            }
            failure.exit_code()
        }
    }
}

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// While running; exit code 1.
    Runtime(String),
    /// The command line asks for something impossible; exit code 2.
    Usage(String),
    /// The configuration cannot be used; exit code 78. An empty text: already said.
    Config(String),
}

impl Failure {
    /// A failure of `path`.
    pub fn of_file(path: &Path, error: impl fmt::Display) -> Failure {
        Failure::Runtime(format!("{}: {error}", path.display()))
    }

    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Runtime(_) => 1,
            Failure::Usage(_) => 2,
            // EX_CONFIG of sysexits.h: the unit file tells systemd not to restart on it.
            Failure::Config(_) => 78,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Config(text) if text.is_empty() => Ok(()),
            Failure::Runtime(text) | Failure::Usage(text) | Failure::Config(text) => {
                write!(f, "weir: {text}")
            }
        }
    }
}

impl std::error::Error for Failure {}

impl From<Faults> for Failure {
    /// Each fault begins with its place, so that editors can jump there.
    fn from(faults: Faults) -> Failure {
        let _ = writeln!(io::stderr(), "{faults}");
        Failure::Config(String::new())
    }
}

/// The path of the configuration.
pub fn config_path(given: Option<&Path>) -> &Path {
    given.unwrap_or(Path::new(CONFIG_DEFAULT))
}

/// Reads the configuration.
///
/// # Errors
/// All its faults.
pub fn load_config(given: Option<&Path>) -> Result<Config, Failure> {
    Ok(Config::load(config_path(given))?)
}

/// The configuration where one is given or in its default place, else the defaults: for commands
/// that work without a gateway.
///
/// # Errors
/// All its faults; a file that was named but is not there is one.
pub fn load_config_if_any(given: Option<&Path>) -> Result<Config, Failure> {
    if given.is_none() && !Path::new(CONFIG_DEFAULT).exists() {
        return Ok(Config::from_text("")?);
    }
    load_config(given)
}

/// Writes to standard output. A reader that went away (`weir … | head`) has seen what it wanted.
///
/// # Errors
/// Any other.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Runtime(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}
