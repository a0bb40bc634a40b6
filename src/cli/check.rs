//! `weir check`: whether the configuration is good, and what it costs.

use std::path::Path;

use super::{Failure, config_path, load_config, print};
use crate::config;
use crate::receiver::router::Router;

/// Check the configuration: all its faults, or what it costs at worst on this machine
///
/// Exits with 78 when there are faults or the machine cannot bear it; nothing is changed and no
/// broker is asked.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// Faults, or refusals of this machine.
pub fn run(_: &Args, path: Option<&Path>) -> Result<(), Failure> {
    let config = load_config(path)?;
    let mut report = config::check(&config, config_path(path));
    // Each by itself, so that all faults are reported.
    for (index, subscription) in config.mqtt.subscribe.iter().enumerate() {
        if let Err(fault) = Router::new(std::slice::from_ref(subscription)) {
            report.refusals.push(format!("[[mqtt.subscribe]] number {}: {fault}", index + 1));
        }
    }
    for input in &config.tcp {
        if let Err(fault) = Router::default().with_lines([&input.lines]) {
            report.refusals.push(format!("[[tcp]] {}: {fault}", input.name));
        }
    }
    print(&report.to_string())?;
    if report.ok() { Ok(()) } else { Err(Failure::Config(String::new())) }
}
