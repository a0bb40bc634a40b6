//! The running daemon: threads, clocks, shutdown.
//!
//! Edge. Who runs where:
//!
//! | thread | does |
//! |---|---|
//! | main | signals, page and metrics, result topics, systemd |
//! | `receiver` | polls the site's broker, nothing else |
//! | `tcp` | reads lines of the `[[tcp]]` inputs |
//! | `pipeline` | [`turn`]: decodes, commits, steps; owns the state |
//! | `fits` | searches parameters within a budget ([`fits`]) |
//! | `checkpoint` | writes sled ([`crate::state::disk`]) |
//! | `forward-…` | one for each forwarder: seals, sends, acknowledges |
//!
//! A thread that fails ends the process with an error; the next start recovers.

pub mod access;
pub mod fits;
pub mod input;
pub mod report;
mod sockets;
pub mod turn;
pub mod watchdog;

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use crate::batch::close::ClosePolicy;
use crate::clock::{self, Clock, clock_trusted};
use crate::config::{Config, Faults, Login, MqttVersion, Trust};
use crate::forwarder::Forwarder;
use crate::http::{self, Handle, Progress, Status};
use crate::mqtt::{self, Access};
use crate::outbox::{self, message::Sender};
use crate::pipeline::Pipeline;
use crate::publisher;
use crate::receiver::mqtt::{Received, Receiver};
use crate::receiver::router::Router;
use crate::receiver::tcp;
use crate::socket::Socket;
use crate::state::disk::{Disk, DiskOptions, OpenedDisk};
use crate::systemd::Notifier;
use access::Accesses;
use report::{Reporter, Results};
use sockets::InheritedSockets;
pub use sockets::names as socket_names;
use turn::{Ended, Event, Turn, nanos};

/// Chunks of messages and other events that wait for the pipeline.
const EVENTS: usize = 32;
/// How long a stop may take before the process ends anyway.
const STOP_WITHIN: Duration = Duration::from_millis(4500);
/// How long lines that have been sent already may take to be read, from a stop on.
const STOP_READING: Duration = Duration::from_secs(1);
/// Payload bytes in one batch at most.
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Acknowledgements that wait in the connection's channel at most.
const ACKNOWLEDGEMENTS: usize = 4096;
/// What a packet has besides its payload: topic and header.
const PACKET_ROOM: usize = 70 * 1024;
/// Hard limit of an MQTT packet, above every sensible payload; ours is `max_payload`.
const PACKET_MAX: u32 = 1024 * 1024;

/// Why the daemon ended.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is bad: exit code 78.
    Config(String),
    /// Something failed while running: exit code 1.
    Runtime(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Config(text) | Failure::Runtime(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}

/// How to run.
pub struct Options {
    /// The configuration, checked.
    pub config: Config,
    /// Where it came from, to be read again on SIGHUP; `None`: SIGHUP does nothing.
    pub path: Option<PathBuf>,
    /// The gateway's clock.
    pub clock: Clock,
    /// Turns true to stop (besides SIGTERM and SIGINT).
    pub stop: watch::Receiver<bool>,
    /// What the service manager has opened, by name: in place of `[http] listen` and of `[[tcp]]`
    /// tables' own.
    pub sockets: InheritedSockets,
    /// Told the page's URL once it listens, and the status to look at.
    pub started: Started,
}

/// Takes the page's URL (if there is one) and the status to look at.
pub type Started = Box<dyn FnOnce(Option<String>, Arc<RwLock<Status>>) + Send>;

/// When batches close.
pub fn close_policy(config: &Config) -> ClosePolicy {
    ClosePolicy {
        interval: nanos(config.batch.interval),
        max_readings: config.batch.max_readings,
        max_bytes: BATCH_BYTES,
        window: usize::from(config.mqtt.receive_maximum),
    }
}

/// How messages and lines are read.
///
/// # Errors
/// What is wrong; `weir check` finds the same.
pub fn router(config: &Config) -> Result<Router, String> {
    Router::new(&config.mqtt.subscribe)?.with_lines(config.tcp.iter().map(|input| &input.lines))
}

fn page_url(socket: &Socket, tls: bool) -> String {
    match socket {
        Socket::Tcp(_) => format!("{}://{}/", if tls { "https" } else { "http" }, socket.address()),
        Socket::Unix { .. } => socket.address(),
    }
}

/// Prefix of the result topics.
pub fn prefix(config: &Config) -> String {
    config.results.prefix.replace("{gateway}", &config.gateway.id)
}

/// Connection options of a login, with what it may use now.
pub fn login(
    login: &Login,
    client_suffix: &str,
    access: &watch::Receiver<Access>,
) -> mqtt::Options {
    let id = format!("{}{client_suffix}", login.client_id);
    let mut options = mqtt::Options::new(login.url.host.clone(), login.url.port, id);
    options.version = match login.version {
        MqttVersion::V5 => mqtt::Version::V5,
        MqttVersion::V4 => mqtt::Version::V4,
    };
    options.set_access(access.borrow().clone());
    options
}

/// Runs the daemon until it is told to stop.
///
/// # Errors
/// See [`Failure`]; everything acknowledged is durable all the same.
pub fn run(options: Options) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Runtime(format!("cannot start the runtime: {error}")))?;
    let outcome = runtime.block_on(serve(options));
    // Dropping it would wait for the task that joins threads; one that hangs must not hold up the
    // end, and nothing that matters is left to it.
    runtime.shutdown_background();
    outcome
}

async fn serve(options: Options) -> Result<(), Failure> {
    let Options { config, path, clock, stop, mut sockets, started } = options;
    let notifier = Notifier::from_env();
    let router = router(&config).map_err(Failure::Config)?;
    let mut accesses = Accesses::read(&config).map_err(Failure::Config)?;
    accesses.warn();
    let runtime_failure = |error: &dyn fmt::Display| Failure::Runtime(error.to_string());

    // Signals first, so that a stop during recovery is clean.
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| runtime_failure(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| runtime_failure(&error))?;
    let mut hangup = signal(SignalKind::hangup()).map_err(|error| runtime_failure(&error))?;

    let status =
        Arc::new(RwLock::new(Status::new(config.gateway.id.clone(), String::new(), clock.now())));
    let (events, receiver) = sync_channel::<Event>(EVENTS);
    let progress = Progress::new();

    let socket = sockets::page(&config, &accesses, &mut sockets).await?;
    let page = socket.as_ref().map(|socket| page_url(socket, config.http.tls.is_some()));
    // Before recovery, so that senders need not try again and again; nothing is read yet.
    let inputs = sockets::inputs(&config, &accesses, &mut sockets).await?;
    let (end, ended) = watch::channel(false);
    if let Some(socket) = socket {
        let door = accesses.door();
        let ask = events.clone();
        let mut handle =
            Handle::new(status.clone(), move |query| ask.try_send(Event::Query(query)).is_ok());
        handle.progress = progress.clone();
        let mut stopped = ended.clone();
        tokio::spawn(async move {
            let shutdown = async move {
                let _ = stopped.wait_for(|ended| *ended).await;
            };
            if let Err(error) = http::serve(socket, door, handle, shutdown).await {
                tracing::error!(%error, "page");
            }
        });
    }
    started(page, status.clone());

    // Nothing is open yet: a stop may end it at once.
    let has_space = tokio::select! {
        has_space = wait_for_space(&config, &status, &stop, &notifier) => has_space?,
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
    };
    if !has_space {
        return Ok(());
    }
    let opened = open_disk(&config, &events)?;
    let OpenedDisk { disk, stored, frames, outboxes, notices, damaged_frames } = opened;
    let instance = disk.instance().to_owned();
    {
        let mut status = status.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        status.instance.clone_from(&instance);
        status.damaged_frames = damaged_frames;
        for notice in notices {
            tracing::error!("{notice}");
            status.notice(notice);
        }
    }

    // Recovery: the journal's frames through the same engine.
    let mut reporter = Reporter::new(&config, outboxes.clone());
    let results = config
        .results
        .enabled
        .then(|| Arc::new(Results { queue: Arc::new(publisher::Queue::default()) }));
    let mut read_error = None;
    let mut start = watchdog::Start::new();
    let frames = frames.map_while(|frame| {
        progress.stamp();
        start.goes_on(&notifier);
        frame.map_err(|error| read_error = Some(error)).ok()
    });
    let kinds = config.forwards.iter().map(|forward| forward.kinds.clone()).collect();
    let (mut pipeline, recovery) =
        Pipeline::recover(stored, frames, disk, router, kinds, |batch, engine, output| {
            if let Some(results) = &results {
                let publications = reporter.publications(engine, batch, &output, false);
                results.queue.push(batch, publications);
            }
        })
        .map_err(|error| runtime_failure(&error))?;
    if let Some(error) = read_error {
        return Err(Failure::Runtime(format!("journal: {error}")));
    }
    if let Some(results) = &results {
        results.queue.push(pipeline.engine().meta().batch, []);
    }
    tracing::info!(
        instance = %instance,
        batch = pipeline.engine().meta().batch,
        series = pipeline.engine().registry().len(),
        frames = recovery.frames,
        "recovered"
    );
    if recovery.missing > 0 || !recovery.unreadable.is_empty() || recovery.orphans > 0 {
        let text = format!(
            "the journal lacks {} frames, {} could not be read (first: {:?}), {} readings belong to series whose definition is lost",
            recovery.missing,
            recovery.unreadable.len(),
            recovery.unreadable.first(),
            recovery.orphans
        );
        tracing::error!("{text}");
        status.write().unwrap_or_else(std::sync::PoisonError::into_inner).notice(text);
    }
    if recovery.foreign_version > 0 {
        tracing::warn!(
            frames = recovery.foreign_version,
            "frames of another engine version were replayed under the present rules"
        );
    }
    let router = crate::daemon::router(&config).map_err(Failure::Config)?;
    let (filters, filters_seen) = watch::channel(router.filters());
    pipeline.configure(router, config.core_config());

    // Threads.
    let (failed, mut failures) = mpsc::unbounded_channel::<String>();
    let clock_trusted = watch_clock(&config, &ended)?;
    let awaited_clock = !clock_trusted.load(Ordering::Relaxed);
    let paused = Arc::new(AtomicBool::new(awaited_clock));
    let mut threads = Vec::new();
    for (index, (forward, outbox)) in config.forwards.iter().zip(&outboxes).enumerate() {
        let access = accesses.forward(index);
        let mut options = login(&forward.login, "", &access);
        options.clean = true;
        options.keep_alive = config.mqtt.keep_alive;
        // A message and its packet around it; a message holds one record at least.
        let largest = forward.max_message.max(outbox::message::RECORD_MAX) + PACKET_ROOM;
        options.max_packet = u32::try_from(largest).unwrap_or(u32::MAX);
        let forwarder = Forwarder {
            options,
            access,
            topic: forward.topic.replace("{gateway}", &config.gateway.id),
            max_message: forward.max_message,
            sender: Sender {
                gateway: config.gateway.id.clone(),
                tags: config.gateway.tags.clone(),
            },
            instance: instance.clone(),
            outbox: outbox.clone(),
            clock,
            stop: ended.clone(),
        };
        let failed = failed.clone();
        threads.push(spawn(&format!("forward-{}", forward.name), move || {
            if let Err(error) = block_on(forwarder.run()) {
                let _ = failed.send(format!("outbox: {error}"));
            }
        })?);
    }

    let mut results_task = None;
    if let Some(results) = &results {
        let access = accesses.mqtt();
        let mut options = login(&config.mqtt.login, "-results", &access);
        options.keep_alive = config.mqtt.keep_alive;
        let (queue, stop) = (results.queue.clone(), ended.clone());
        let publishing = publisher::run(options, access, prefix(&config), queue, stop);
        results_task = Some(tokio::spawn(publishing));
    }

    let (pipeline_done, mut pipeline_ended) = mpsc::unbounded_channel::<Ended>();
    let wake = outboxes.clone();
    let (fits, worker) = fits::Fits::new();
    let found = events.clone();
    threads.push(spawn("fits", move || {
        worker.run(|fit| found.send(Event::Fitted(fit)).is_ok());
    })?);
    let inputs = inputs.into_iter().enumerate().zip(&config.tcp);
    let inputs: Vec<tcp::Input> = inputs
        .map(|((index, socket), input)| tcp::Input {
            config: input.clone(),
            socket,
            door: accesses.input(index),
            counts: Arc::default(),
        })
        .collect();
    for input in &inputs {
        let (name, address) = (&input.config.name, input.socket.address());
        tracing::info!(input = %name, "lines are taken at {address}");
    }
    let turn = Turn {
        pipeline,
        inputs: inputs.iter().map(turn::Input::of).collect(),
        clock,
        policy: close_policy(&config),
        events: receiver,
        reporter,
        results,
        status: status.clone(),
        progress: progress.clone(),
        paused: paused.clone(),
        clock_trusted,
        awaited_clock,
        config: config.clone(),
        fits,
        wake_forwarders: Box::new(move || {
            for outbox in &wake {
                outbox.appended.notify_one();
            }
        }),
    };
    threads.push(spawn("pipeline", move || {
        let _ = pipeline_done.send(turn.run());
    })?);

    let (stop_reading, reading_stops) = watch::channel(false);
    let (reading, read) = std::sync::mpsc::channel();
    if inputs.is_empty() {
        drop(reading);
    } else {
        let shared =
            tcp::Shared { paused: paused.clone(), stop: reading_stops, end: ended.clone(), clock };
        let forward = events.clone();
        let hand_on: tcp::HandOn =
            Arc::new(move |received| forward.send(Event::Lines(received)).is_ok());
        threads.push(spawn("tcp", move || block_on(tcp::run(inputs, shared, reading, hand_on)))?);
    }
    let mut read = Some(read);

    if !config.mqtt.subscribe.is_empty() {
        let access = accesses.mqtt();
        let mut options = login(&config.mqtt.login, "", &access);
        options.clean = false;
        options.session_expiry = config.mqtt.session_expiry;
        options.keep_alive = config.mqtt.keep_alive;
        options.receive_maximum = config.mqtt.receive_maximum;
        options.max_packet = PACKET_MAX;
        // Acknowledgements that do not fit wait in the pipeline, where each costs a twelfth.
        options.channel = ACKNOWLEDGEMENTS;
        // They come in runs, one run a commit, and the library writes every one by itself.
        options.gather = true;
        let (filters, stop) = (filters_seen, ended.clone());
        let receiver = Receiver { options, access, filters, paused, stop, clock };
        let forward = events.clone();
        threads.push(spawn("receiver", move || {
            let hand_on = move |received: Received| forward.send(Event::Received(received)).is_ok();
            block_on(receiver.run(hand_on));
        })?);
    }

    notifier.ready("running");
    let mut life = watchdog::Life::new(notifier.watchdog_interval());
    let mut watchdog = tokio::time::interval(life.look_every());
    let mut config = config;
    let mut stop = stop;
    let mut stopping = false;
    let mut stop_by = None;
    let outcome = loop {
        if stopping && stop_by.is_none() {
            stop_by = Some(tokio::time::Instant::now() + STOP_WITHIN);
            let _ = stop_reading.send(true);
            begin_stop(&notifier, &events, read.take());
        }
        tokio::select! {
            ended = pipeline_ended.recv() => break match ended {
                Some(Ended::Stopped) => Ok(()),
                Some(Ended::Failed(error)) => Err(Failure::Runtime(error)),
                None => Err(Failure::Runtime("the pipeline's thread ended".to_owned())),
            },
            Some(error) = failures.recv() => break Err(Failure::Runtime(error)),
            _ = terminate.recv(), if !stopping => stopping = true,
            _ = interrupt.recv(), if !stopping => stopping = true,
            changed = stop.changed(), if !stopping => stopping = changed.is_err() || *stop.borrow(),
            _ = hangup.recv() => {
                notifier.reloading(crate::systemd::monotonic_usec());
                let mut refused = false;
                if let Some(path) = &path {
                    (config, refused) = reload(path, config, &mut accesses, &events, &filters).await;
                }
                notifier.ready(if refused { "new configuration refused: see the log" } else { "running" });
            }
            () = tokio::time::sleep_until(stop_by.unwrap_or_else(tokio::time::Instant::now)), if stop_by.is_some() => {
                break Err(Failure::Runtime(
                    "the pipeline did not stop in time; what was committed is recovered at the next start".to_owned(),
                ));
            }
            _ = watchdog.tick() => {
                if life.shown_by(progress.stalled_for()) {
                    notifier.watchdog();
                }
                notifier.status(&status_line(&status));
                accesses.warn();
                let certificates = accesses.certificates();
                status.write().unwrap_or_else(std::sync::PoisonError::into_inner).certificates =
                    certificates;
            }
        }
    };
    // Results take leave, forwarders settle; the receiver lets go of the broker.
    let _ = (stop_reading.send(true), end.send(true));
    drop(events);
    let stop_by = stop_by.unwrap_or_else(|| tokio::time::Instant::now() + STOP_WITHIN);
    if let Some(task) = results_task {
        let _ = tokio::time::timeout_at(stop_by, task).await;
    }
    let joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            let _ = thread.join();
        }
    });
    let _ = tokio::time::timeout_at(stop_by, joined).await;
    outcome
}

/// Stops the pipeline, once all lines that were read are handed on: `read` is disconnected then.
fn begin_stop(
    notifier: &Notifier,
    events: &SyncSender<Event>,
    read: Option<std::sync::mpsc::Receiver<()>>,
) {
    tracing::info!("stopping");
    notifier.stopping();
    let events = events.clone();
    // The queue may be full for a moment; the pipeline is emptying it.
    std::thread::spawn(move || {
        let _ = read.map(|read| read.recv_timeout(STOP_READING));
        // The pipeline may have ended by itself.
        let _ = events.send(Event::Stop);
    });
}

fn open_disk(config: &Config, events: &SyncSender<Event>) -> Result<OpenedDisk, Failure> {
    let options = DiskOptions {
        path: config.state.path.clone(),
        segment_bytes: config.state.segment_bytes,
        forwards: config.forwards.iter().map(|forward| forward.name.clone()).collect(),
        outbox_bytes: config.outbox.max_bytes,
        patience: Duration::from_secs(5),
    };
    let events = events.clone();
    let done = move |result| {
        // The pipeline may have ended; then nobody waits for this.
        let _ = events.send(Event::Checkpointed(result));
    };
    Disk::open(&options, done).map_err(|error| Failure::Runtime(error.to_string()))
}

/// Asks until the clock can be trusted, on a thread of its own since asking may take seconds. Once
/// trusted it stays so: a clock that has been set is disciplined or free-running, not unset.
fn watch_clock(config: &Config, ended: &watch::Receiver<bool>) -> Result<Arc<AtomicBool>, Failure> {
    let trusted = Arc::new(AtomicBool::new(config.clock.trust == Trust::Always));
    if trusted.load(Ordering::Relaxed) {
        return Ok(trusted);
    }
    let (seen, ended, wait) = (trusted.clone(), ended.clone(), config.clock.wait);
    let (asked, first) = std::sync::mpsc::channel();
    spawn("clock", move || {
        let mut told = false;
        while !*ended.borrow() {
            match clock_trusted() {
                clock::Trust::Trusted => {
                    seen.store(true, Ordering::Relaxed);
                    if told {
                        tracing::info!("clock synchronised");
                    }
                    return;
                }
                clock::Trust::Untrusted { why } if !told => {
                    told = true;
                    tracing::warn!(%why, ?wait, "clock not synchronised: readings wait for it at the broker, so long at most ([clock] trust, wait)");
                }
                clock::Trust::Untrusted { .. } => {}
            }
            let _ = asked.send(());
            std::thread::sleep(Duration::from_secs(1));
        }
    })?;
    // Mostly it is synchronised: then nothing needs to be paused first.
    let _ = first.recv_timeout(Duration::from_secs(3));
    Ok(trusted)
}

/// On a full disk sled cannot even be opened: waits for space, visibly. False: told to stop.
async fn wait_for_space(
    config: &Config,
    status: &Arc<RwLock<Status>>,
    stop: &watch::Receiver<bool>,
    notifier: &Notifier,
) -> Result<bool, Failure> {
    let path = &config.state.path;
    let mut told = false;
    loop {
        let existing = path.ancestors().find(|p| p.exists()).unwrap_or(path);
        let free = crate::state::folder::free_bytes(existing)
            .map_err(|error| Failure::Runtime(error.to_string()))?;
        if *stop.borrow() {
            return Ok(false);
        }
        if free >= turn::FREE_LEAST {
            let mut status = status.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            status.not_ready_reason = Some("recovering".to_owned());
            return Ok(true);
        }
        if !told {
            told = true;
            tracing::error!(path = %path.display(), free, least = turn::FREE_LEAST, "disk full: waiting for space before the state is opened");
            let mut status = status.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            status.not_ready_reason = Some("disk full".to_owned());
        }
        notifier.starting(watchdog::START_LONGER, "disk full: waiting for space");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Reads the configuration again; a bad one is refused with its faults, the old one goes on. True:
/// refused.
async fn reload(
    path: &std::path::Path,
    old: Config,
    accesses: &mut Accesses,
    events: &SyncSender<Event>,
    filters: &watch::Sender<Vec<(String, u8)>>,
) -> (Config, bool) {
    let loaded: Result<Config, Faults> = Config::load(path);
    let mut new = match loaded {
        Ok(new) => new,
        Err(faults) => {
            tracing::error!("new configuration refused, the old one goes on:\n{faults}");
            return (old, true);
        }
    };
    let same_inputs = old.tcp.len() == new.tcp.len()
        && old.tcp.iter().zip(&new.tcp).all(|(old, new)| old.same_door(new));
    if !same_inputs {
        // Lines are known by the place of their table.
        new.tcp.clone_from(&old.tcp);
    }
    let loaded = match accesses.prepare(&new) {
        Ok(loaded) => loaded,
        Err(faults) => {
            tracing::error!("new configuration refused, the old one goes on:\n{faults}");
            return (old, true);
        }
    };
    let changed_session = |old: &Login, new: &Login| !old.same_session(new);
    let forwards_changed = old.forwards.len() != new.forwards.len()
        || old.forwards.iter().zip(&new.forwards).any(|(old, new)| {
            let same = crate::config::Forward { login: old.login.clone(), ..new.clone() };
            changed_session(&old.login, &new.login) || *old != same
        });
    for (key, changed) in [
        ("[gateway] id", new.gateway.id != old.gateway.id),
        ("[state]", new.state != old.state),
        (
            "[mqtt] connection",
            changed_session(&old.mqtt.login, &new.mqtt.login)
                || new.mqtt.keep_alive != old.mqtt.keep_alive,
        ),
        ("[[forward]]", forwards_changed),
        ("[[tcp]] but for files and how lines are read", !same_inputs),
        ("[http] listen", new.http.listen != old.http.listen),
        (
            "[results] enabled or prefix",
            new.results.enabled != old.results.enabled || new.results.prefix != old.results.prefix,
        ),
    ] {
        if changed {
            tracing::warn!(key, "this change takes effect with the next restart");
        }
    }
    let router = match router(&new) {
        Ok(router) => router,
        Err(error) => {
            tracing::error!(%error, "new configuration refused, the old one goes on");
            return (old, true);
        }
    };
    let (events, sent) = (events.clone(), new.clone());
    accesses.adopt(loaded, &new);
    let handed =
        tokio::task::spawn_blocking(move || events.send(Event::Reload(Box::new(sent))).is_ok());
    let _ = handed.await;
    // Behind the reload: the first messages of a new topic must meet the new router.
    filters.send_if_modified(|seen| {
        let changed = *seen != router.filters();
        *seen = router.filters();
        changed
    });
    (new, false)
}

fn status_line(status: &Arc<RwLock<Status>>) -> String {
    let status = status.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let waiting: u64 = status.forwards.iter().map(|forward| forward.outbox_records).sum();
    match &status.not_ready_reason {
        Some(reason) => format!("{reason}; {} series, {waiting} records waiting", status.series),
        None => format!(
            "{} readings, {} series, {waiting} records waiting for upstream",
            status.readings_total, status.series
        ),
    }
}

fn spawn(
    name: &str,
    body: impl FnOnce() + Send + 'static,
) -> Result<std::thread::JoinHandle<()>, Failure> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(|error| Failure::Runtime(format!("cannot start thread {name}: {error}")))
}

/// Runs a future on a runtime of this thread's own.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(future),
        // No thread starts without a runtime; a process that cannot have one must end.
        Err(error) => {
            tracing::error!(%error, "no runtime");
            std::process::exit(1);
        }
    }
}
