//! `weir run`: the daemon.

use std::path::Path;

use tokio::sync::watch;

use super::{Failure, config_path, load_config, logging};
use crate::clock::Clock;
use crate::daemon;
use crate::systemd::activation::Sockets;

/// Run the daemon: readings in, results and aggregates out
///
/// SIGTERM or SIGINT: commit and stop. SIGHUP: read the configuration again.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// A bad configuration; whatever ends the daemon.
pub fn run(_: &Args, path: Option<&Path>) -> Result<(), Failure> {
    // First: it changes the environment, which only a process without threads may.
    let sockets = Sockets::from_env().map_err(Failure::Runtime)?;
    let config = load_config(path)?;
    let sockets = sockets.by_name(&daemon::socket_names(&config)).map_err(Failure::Runtime)?;
    logging::init(&config.log).map_err(Failure::Usage)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        gateway = %config.gateway.id,
        state = %config.state.path.display(),
        broker = %config.mqtt.login.url,
        "starting"
    );
    // Kept until the end: a dropped sender would be a stop.
    let (_stop, stopped) = watch::channel(false);
    let options = daemon::Options {
        config,
        path: Some(config_path(path).to_owned()),
        clock: Clock::system(),
        stop: stopped,
        sockets,
        started: Box::new(|page, _| {
            if let Some(page) = page {
                tracing::info!("page and metrics at {page}");
            }
        }),
    };
    daemon::run(options)?;
    tracing::info!("stopped");
    Ok(())
}

impl From<daemon::Failure> for Failure {
    fn from(failure: daemon::Failure) -> Failure {
        match failure {
            daemon::Failure::Config(text) => Failure::Config(text),
            daemon::Failure::Runtime(text) => Failure::Runtime(text),
        }
    }
}
