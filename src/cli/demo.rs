//! `weir demo`: the real pipeline on simulated sensors, with nothing to set up.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::watch;

use super::{Failure, logging, print};
use crate::clock::Clock;
use crate::config::{BrokerUrl, Config, Log, LogFormat, LogLevel};
use crate::daemon;
use crate::demo;
use crate::demo::sensors::Fleet;
use crate::http::Status;
use crate::mqtt;
use crate::reading::{EventTime, SECOND};

/// Simulated time begins this long ago, so that it does not run ahead of the world at once.
const BEGIN_AGO: i64 = 30 * 86_400 * SECOND;

/// Show everything at work: simulated sensors, a broker, the real pipeline, a page
#[derive(Debug, clap::Args)]
pub struct Args {
    /// End after this many seconds, with a summary [default: run until Ctrl-C]
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Seconds of simulated time in a second
    #[arg(long, default_value_t = 3600.0, value_name = "FACTOR", value_parser = speed)]
    speed: f64,
    /// Simulated devices
    #[arg(long, default_value_t = 12, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    devices: u16,
    /// Seed of the simulation
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the state in this folder (a new run goes on from it) [default: a temporary folder]
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,
    /// Use this broker instead of the embedded one
    #[arg(long, value_name = "mqtt://HOST:PORT")]
    broker: Option<String>,
    /// Port of the embedded broker on 127.0.0.1; 0: any free one
    #[arg(long, default_value_t = 18830)]
    port: u16,
    /// Address of the page
    #[arg(long, default_value = "127.0.0.1:9377")]
    listen: std::net::SocketAddr,
    /// Log more than warnings
    #[arg(long)]
    verbose: bool,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(speed) if (1.0..=100_000.0).contains(&speed) => Ok(speed),
        _ => Err("must be a number from 1 to 100000".to_owned()),
    }
}

/// Runs the command.
///
/// # Errors
/// Without a broker; whatever ends the daemon.
pub fn run(args: &Args, _: Option<&Path>) -> Result<(), Failure> {
    let level = if args.verbose { LogLevel::Info } else { LogLevel::Warn };
    logging::init(&Log { level, format: LogFormat::Text }).map_err(Failure::Usage)?;
    let broker = broker(args)?;
    let temporary = Temporary::new(args.state.as_deref())?;
    let config = configuration(args, &broker, temporary.path())?;
    let real_now = Clock::system().now().0;
    let clock = Clock::scaled(real_now - BEGIN_AGO, args.speed);
    let (stop, stopped) = watch::channel(false);
    let begin = EventTime::clamped(clock.now().0);

    let sensors = sensors(
        &broker,
        Fleet::new(args.seed, usize::from(args.devices), begin),
        clock,
        stopped.clone(),
    )?;
    if let Some(seconds) = args.seconds {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(seconds));
            let _ = stop.send(true);
        });
    } else {
        // Ctrl-C ends the daemon, which ends the process; the sender must live until then.
        std::mem::forget(stop);
    }
    let seen: Arc<Mutex<Option<Arc<RwLock<Status>>>>> = Arc::default();
    let keep = seen.clone();
    let hint = hint(args, &broker);
    let result = daemon::run(daemon::Options {
        config,
        path: None,
        clock,
        stop: stopped,
        sockets: Default::default(),
        started: Box::new(move |page, status| {
            *keep.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
            let page = page.map(|page| format!("  page          {page}\n"));
            let _ = print(&hint.replace("{page}", &page.unwrap_or_default()));
        }),
    });
    drop(sensors);
    let status = seen.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(status) = status {
        print(&summary(&status.read().unwrap_or_else(PoisonError::into_inner)))?;
    }
    result?;
    Ok(())
}

/// Where the demo's broker is.
struct Broker {
    host: String,
    port: u16,
    version: mqtt::Version,
}

#[cfg(feature = "demo")]
fn embedded(port: u16) -> Result<Broker, Failure> {
    let addresses = demo::broker::start(port).map_err(|error| {
        Failure::Runtime(format!(
            "embedded broker: port {port}: {error}; choose another --port, or 0 for any"
        ))
    })?;
    let host = addresses.v4.ip().to_string();
    Ok(Broker { host, port: addresses.v4.port(), version: mqtt::Version::V4 })
}

#[cfg(not(feature = "demo"))]
fn embedded(_: u16) -> Result<Broker, Failure> {
    Err(Failure::Usage(
        "this build has no embedded broker (feature demo): name one with --broker mqtt://HOST:PORT"
            .to_owned(),
    ))
}

fn broker(args: &Args) -> Result<Broker, Failure> {
    let Some(url) = &args.broker else { return embedded(args.port) };
    let text = format!("[mqtt]\nurl = {}\n", toml_text(url));
    let config = Config::from_text(&text)?;
    let BrokerUrl { tls, host, port } = config.mqtt.login.url;
    if tls {
        return Err(Failure::Usage("weir demo speaks plain mqtt:// only".to_owned()));
    }
    Ok(Broker { host, port, version: mqtt::Version::V5 })
}

/// A TOML string with this content.
fn toml_text(text: &str) -> String {
    // JSON's escapes are a subset of TOML's.
    serde_json::Value::from(text).to_string()
}

fn configuration(args: &Args, broker: &Broker, state: &Path) -> Result<Config, Failure> {
    let version = if broker.version == mqtt::Version::V5 { 5 } else { 4 };
    let host =
        if broker.host.contains(':') { format!("[{}]", broker.host) } else { broker.host.clone() };
    // What takes minutes on a real site happens many times a second here.
    let text = format!(
        "[gateway]\nid = \"demo\"\n[state]\npath = {}\n[batch]\ninterval = \"500ms\"\n\
         [clock]\ntrust = \"always\"\n[mqtt]\nurl = \"mqtt://{host}:{}\"\nversion = {version}\n\
         [results]\nmin_interval = \"1s\"\n[http]\nlisten = \"{}\"\n\
         [series]\nmax_ahead = \"1d\"\n{}",
        toml_text(&state.display().to_string()),
        broker.port,
        args.listen,
        demo::CONFIGURATION
    );
    Ok(Config::from_text(&text)?)
}

/// Publishes on a thread of its own until it is dropped.
fn sensors(
    broker: &Broker,
    fleet: Fleet,
    clock: Clock,
    stop: watch::Receiver<bool>,
) -> Result<std::thread::JoinHandle<()>, Failure> {
    let mut options = mqtt::Options::new(broker.host.clone(), broker.port, "weir-demo-sensors");
    options.version = broker.version;
    options.clean = true;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Runtime(format!("sensors: {error}")))?;
    Ok(std::thread::spawn(move || {
        runtime.block_on(demo::publish(options, fleet, clock, stop));
    }))
}

fn hint(args: &Args, broker: &Broker) -> String {
    let Broker { host, port, .. } = broker;
    let day = 86_400.0 / args.speed;
    format!(
        "weir demo: {} simulated devices, a day of theirs passes in {day:.0} s; the pipeline is the real one.\n\n\
         {{page}}  broker        mqtt://{host}:{port}\n\n\
         Try, in another terminal:\n\
         \x20 mosquitto_sub -h {host} -p {port} -v -t 'weir/demo/+/+/estimate'    levels with their variance\n\
         \x20 mosquitto_sub -h {host} -p {port} -v -t 'weir/demo/+/+/aggregate'   hourly and daily aggregates\n\
         \x20 mosquitto_sub -h {host} -p {port} -v -t 'weir/demo/+/+/forecast'    the next day, hour by hour\n\
         \x20 mosquitto_pub -h {host} -p {port} -t sensors/mine/temperature -m '{{\"value\": 21.5}}'\n\n\
         A forecast with a season needs two simulated days: {:.0} s. Ctrl-C ends it.\n",
        args.devices,
        2.0 * day
    )
}

fn summary(status: &Status) -> String {
    let mut text = String::new();
    let drops: Vec<String> =
        status.drops.iter().map(|(reason, n)| format!("{n} {}", reason.name())).collect();
    let _ = writeln!(
        text,
        "\n{} readings of {} series in {} batches",
        status.readings_total,
        status.series,
        status.batch.as_ref().map_or(0, |batch| batch.number)
    );
    let _ = writeln!(
        text,
        "dropped: {}",
        if drops.is_empty() { "none".to_owned() } else { drops.join(", ") }
    );
    let _ = writeln!(
        text,
        "{} results published; journal {} bytes, {} checkpoints of {} bytes in all",
        status.results.published,
        status.journal_bytes_total,
        status.checkpoints_total,
        status.checkpoint_bytes_total
    );
    text
}

/// A folder that goes with the demo, unless it was given.
struct Temporary {
    path: PathBuf,
    ours: bool,
}

impl Temporary {
    fn new(given: Option<&Path>) -> Result<Temporary, Failure> {
        if let Some(path) = given {
            return Ok(Temporary { path: path.to_owned(), ours: false });
        }
        let path = std::env::temp_dir().join(format!("weir-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| Failure::of_file(&path, error))?;
        Ok(Temporary { path, ours: true })
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.ours {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
