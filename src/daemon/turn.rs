//! The pipeline's thread: one loop, one closed [`Event`], one place that applies it.
//!
//! Edge: it owns the clock and says when a batch closes. The list of variants is the list of
//! everything that can happen to the pipeline.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use crate::analytics::step::UnitState;
use crate::batch::builder::Owed;
use crate::batch::close::{ClosePolicy, Silence};
use crate::clock::Clock;
use crate::config::{Acknowledge, Config};
use crate::daemon::fits::Fits;
use crate::daemon::input::InputWatch;
use crate::daemon::report::{Reporter, Results, log_alarms};
use crate::http::{InputInfo, Progress, Query, Status};
use crate::journal::frame::FrameFit;
use crate::mqtt;
use crate::pipeline::{Committed, Delivered, Moment, Pipeline};
use crate::reading::{AttendedTime, SECOND};
use crate::receiver::mqtt::{Arrived, Received};
use crate::receiver::router::Origin;
use crate::receiver::tcp::{self, Receipt, Refusal};
use crate::state::disk::{Disk, DiskError};

/// Attended time that one turn of the loop can add at most: if the process was frozen for longer,
/// the input was not attended.
const ATTENDED_STEP_MAX: Duration = Duration::from_secs(10);
/// How often the clock's trust and the disk's free space are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// The snapshot for page and metrics is never older than this (and a turn of the loop): forwarders
/// go on without batches.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Longest wait in the loop, so that the watchdog is fed and progress stamped.
const IDLE: Duration = Duration::from_millis(500);
/// A stop waits this long for result topics to take what is due, so that the last checkpoint can
/// include it; a broker that hangs gets it after the next start.
const STOP_RESULTS: Duration = Duration::from_secs(1);
/// A stop waits this long for checkpoints, from its begin; what they lack is replayed.
const STOP_CHECKPOINT: Duration = Duration::from_secs(3);
/// Longest wait in the loop while acknowledgements did not fit the connection's channel: about as
/// long as the channel takes to empty.
const UNSENT: Duration = Duration::from_millis(5);
/// With less free space than this nothing is taken any more.
pub const FREE_LEAST: u64 = 16 * 1024 * 1024;

/// Everything that can happen to the pipeline.
pub enum Event {
    /// From the receiver.
    Received(Received),
    /// From an input of lines.
    Lines(tcp::Received),
    /// The checkpoint of this batch ended.
    Checkpointed(Result<u64, DiskError>),
    /// A background fit found something.
    Fitted(FrameFit),
    /// A new configuration, checked.
    Reload(Box<Config>),
    /// The page asks.
    Query(Query),
    /// Commit, checkpoint and end.
    Stop,
}

/// An input of lines, for the snapshot.
pub struct Input {
    name: String,
    address: String,
    counts: Arc<tcp::Counts>,
}

impl Input {
    /// This one.
    pub fn of(input: &tcp::Input) -> Input {
        let (name, address) = (input.config.name.clone(), input.socket.address());
        Input { name, address, counts: input.counts.clone() }
    }

    fn info(&self) -> InputInfo {
        InputInfo {
            name: self.name.clone(),
            address: self.address.clone(),
            connections: self.counts.connections(),
            lines: self.counts.lines(),
            refused: Refusal::ALL
                .map(|reason| (reason.name(), self.counts.refused(reason)))
                .to_vec(),
        }
    }
}

/// Why the loop ended.
#[derive(Debug)]
pub enum Ended {
    /// As asked.
    Stopped,
    /// The disk failed; the process must end with an error and recover at the next start.
    Failed(String),
}

/// What the pipeline's thread owns.
pub struct Turn {
    /// What happens. First, since fields are dropped in order: the checkpoint thread that the
    /// pipeline's disk waits for at its end may be waiting to tell of its last one.
    pub events: Receiver<Event>,
    /// The pipeline.
    pub pipeline: Pipeline<Disk>,
    /// The inputs of lines.
    pub inputs: Vec<Input>,
    /// The gateway's clock.
    pub clock: Clock,
    /// When batches close.
    pub policy: ClosePolicy,
    /// Makes publications and the page's answers.
    pub reporter: Reporter,
    /// Result topics.
    pub results: Option<Arc<Results>>,
    /// The snapshot for page and metrics.
    pub status: Arc<RwLock<Status>>,
    /// Stamped with every turn.
    pub progress: Progress,
    /// Makes the receiver let go of the broker.
    pub paused: Arc<AtomicBool>,
    /// Turns true when the clock can be trusted.
    pub clock_trusted: Arc<AtomicBool>,
    /// Readings wait for the clock.
    pub awaited_clock: bool,
    /// Configuration in force.
    pub config: Config,
    /// Queue of background fits.
    pub fits: Fits,
    /// Wakes the forwarders after records were added.
    pub wake_forwarders: Box<dyn Fn() + Send>,
}

/// What the loop remembers between turns.
struct Now {
    start: Instant,
    last_turn: Instant,
    attended: AttendedTime,
    connection: Option<(u64, mqtt::Sender)>,
    /// The broker has answered the subscriptions of this connection.
    subscribed: bool,
    /// Acknowledgements that did not fit the connection's channel.
    unsent: VecDeque<Owed>,
    /// The latest lines of each connection in the open batch, to be told when it is committed. At
    /// most one for each connection that sent since the last commit.
    receipts: BTreeMap<u64, Receipt>,
    /// Whether the broker waits for acknowledgements when it falls silent.
    silence: Silence,
    last_commit: Instant,
    last_look: Option<Instant>,
    last_report: Instant,
    clock_trusted: bool,
    disk_full: bool,
    reconnects: u64,
    stopping: bool,
    input: InputWatch,
    /// Attended time at the latest message.
    heard: AttendedTime,
}

impl Turn {
    /// Runs until stopped or failed.
    pub fn run(mut self) -> Ended {
        let start = Instant::now();
        let mut now = Now {
            start,
            last_turn: start,
            attended: self.pipeline.engine().meta().attended,
            connection: None,
            subscribed: false,
            unsent: VecDeque::new(),
            receipts: BTreeMap::new(),
            silence: Silence::default(),
            last_commit: start,
            last_look: None,
            last_report: start,
            clock_trusted: false,
            disk_full: false,
            reconnects: 0,
            stopping: false,
            input: InputWatch::new(start, self.clock.now()),
            heard: AttendedTime(0),
        };
        match self.turns(&mut now) {
            Ok(()) => Ended::Stopped,
            Err(error) => Ended::Failed(error),
        }
    }

    fn turns(&mut self, now: &mut Now) -> Result<(), String> {
        self.look(now);
        if self.pipeline.has_config() && !now.disk_full {
            // Before any reading, so that the first ones are judged by it too.
            self.commit(now)?;
        }
        loop {
            self.look(now);
            self.progress.stamp();
            let idle = if now.unsent.is_empty() { IDLE } else { UNSENT };
            let wait = self.due(now).saturating_duration_since(Instant::now()).min(idle);
            match self.events.recv_timeout(wait) {
                Ok(event) => self.apply(event, now)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => now.stopping = true,
            }
            self.attend(now);
            self.send_unsent(now);
            if let Some(results) = &self.results
                && results.queue.take_connected()
            {
                // The broker may have lost its retained messages.
                let retained = self.reporter.retained(self.pipeline.engine());
                let input = self.reporter.input(now.input.alarm());
                results.queue.push(0, retained.into_iter().chain(input));
            }
            if now.last_report.elapsed() >= REPORT_EVERY {
                self.watch_input(now);
                self.report(now, None);
            }
            if now.stopping {
                return self.stop(now);
            }
            if self.due(now) <= Instant::now() && !now.disk_full {
                self.commit(now)?;
            }
            self.checkpoint()?;
        }
    }

    /// When the next batch must close.
    fn due(&self, now: &Now) -> Instant {
        let far = Instant::now() + Duration::from_secs(3600);
        if now.disk_full {
            return far;
        }
        if self.pipeline.has_config() {
            return now.start;
        }
        let gathered = self.policy.due(self.pipeline.gathered(), &now.silence);
        let gathered = gathered.map(|nanos| now.start + Duration::from_nanos(nanos as u64));
        // Timers alone make at most one batch an interval.
        let timers = self.pipeline.engine().next_deadline().map(|deadline| {
            let left = self.clock.real((deadline.0 - now.attended.0).max(0));
            let interval = Duration::from_nanos(self.policy.interval as u64);
            if self.attends(now) {
                (now.last_turn + left).max(now.last_commit + interval)
            } else if left.is_zero() {
                now.last_commit + interval
            } else {
                far
            }
        });
        gathered.into_iter().chain(timers).min().unwrap_or(far)
    }

    /// Attended time goes on only while the input is there.
    fn attend(&self, now: &mut Now) {
        let instant = Instant::now();
        let step = instant.duration_since(now.last_turn).min(ATTENDED_STEP_MAX);
        now.last_turn = instant;
        if self.attends(now) {
            now.attended.0 += (step.as_nanos() as f64 * self.clock.speed()) as i64;
        }
    }

    /// Whether the input is there: the broker where there are subscriptions, whatever comes as lines
    /// besides, since without it those series' timers must stand still; else the inputs of lines.
    fn attends(&self, now: &Now) -> bool {
        now.connection.is_some() || self.has_lines_alone() && !self.paused.load(Ordering::Relaxed)
    }

    /// Readings come as lines and in no other way.
    fn has_lines_alone(&self) -> bool {
        self.config.mqtt.subscribe.is_empty() && !self.inputs.is_empty()
    }

    fn apply(&mut self, event: Event, now: &mut Now) -> Result<(), String> {
        match event {
            Event::Received(received) => self.received(received, now),
            Event::Lines(received) => self.lines(received, now),
            Event::Checkpointed(Ok(batch)) => {
                self.pipeline.checkpointed(batch).map_err(|e| e.to_string())?;
                self.reporter.checkpoints += 1;
                self.report(now, None);
            }
            Event::Checkpointed(Err(error)) => return Err(error.to_string()),
            Event::Fitted(fit) => {
                if !self.pipeline.fitted(fit) {
                    self.fits.dropped();
                }
            }
            Event::Reload(config) => self.reload(*config),
            Event::Query(query) => self.reporter.answer(self.pipeline.engine(), query),
            Event::Stop => now.stopping = true,
        }
        Ok(())
    }

    fn received(&mut self, received: Received, now: &mut Now) {
        match received {
            Received::Connected { connection, session_present, subscribed, sender } => {
                tracing::info!(session_present, "readings: connected to the broker");
                self.pipeline.connected(session_present);
                now.reconnects += u64::from(connection > 1);
                now.connection = Some((connection, sender));
                now.input.connection(true, Instant::now());
                now.subscribed = subscribed;
                now.unsent.clear();
                self.report(now, None);
            }
            Received::Disconnected { reason } => {
                tracing::debug!(%reason, "readings: connection ended");
                now.connection = None;
                now.input.connection(false, Instant::now());
                now.unsent.clear();
                self.report(now, None);
            }
            Received::Subscribed { connection, failures } => {
                for failure in failures {
                    let text = format!(
                        "the broker refused a subscription ({failure}): check its access rules"
                    );
                    tracing::error!("{text}");
                    let mut status =
                        self.status.write().unwrap_or_else(std::sync::PoisonError::into_inner);
                    status.notice(text);
                }
                if now.connection.as_ref().is_some_and(|(current, _)| *current == connection) {
                    now.subscribed = true;
                }
                self.report(now, None);
            }
            Received::Pong { connection } => {
                if now.connection.as_ref().is_some_and(|(current, _)| *current == connection) {
                    self.pipeline.pong();
                }
            }
            Received::Messages { connection, messages } => {
                now.input.message(Instant::now());
                now.heard = now.attended;
                now.silence.messages(now.start.elapsed().as_nanos() as i64, messages.len());
                let monotonic = now.start.elapsed().as_nanos() as i64;
                for arrived in messages {
                    self.message(connection, &arrived, monotonic, now);
                }
            }
        }
    }

    fn lines(&mut self, received: tcp::Received, now: &mut Now) {
        // Lines are no sign of a broker that is away.
        if self.attends(now) {
            now.input.message(Instant::now());
            now.heard = now.attended;
        }
        let tcp::Received { input, name, connection, lines, receipt } = received;
        let monotonic = now.start.elapsed().as_nanos() as i64;
        if let Some(fault) = self.pipeline.deliver_lines(input, &lines, monotonic) {
            self.reporter.faults.report(Origin::Input(&name), &fault);
        }
        now.receipts.insert(connection, receipt);
    }

    fn message(&mut self, connection: u64, arrived: &Arrived, monotonic: i64, now: &mut Now) {
        let m = &arrived.message;
        let fault = self.pipeline.deliver(&Delivered {
            connection,
            topic: &m.topic,
            payload: &m.payload,
            qos: m.qos,
            dup: m.dup,
            retain: m.retain,
            packet_id: m.packet_id,
            arrival: arrived.arrival,
            now: monotonic,
        });
        if let Some(fault) = fault {
            self.reporter.faults.report(Origin::Topic(&m.topic), &fault);
        }
        if self.config.mqtt.ack == Acknowledge::Eager && m.qos > 0 {
            now.unsent.push_back(Owed { connection, packet_id: m.packet_id });
            self.send_unsent(now);
        }
    }

    fn commit(&mut self, now: &mut Now) -> Result<(), String> {
        let closed = Instant::now();
        let delay = self.pipeline.gathered().map_or(Duration::ZERO, |gathered| {
            now.start.elapsed().saturating_sub(Duration::from_nanos(gathered.opened as u64))
        });
        let moment = Moment {
            now: self.clock.now(),
            attended: now.attended,
            clock_trusted: now.clock_trusted,
        };
        let gathered = self.pipeline.gathered();
        let mut committed = self.pipeline.commit(moment).map_err(|e| e.to_string())?;
        for job in committed.output.fits.drain(..) {
            self.fits.ask(job);
        }
        self.fits.late(committed.output.fits_late);
        now.last_commit = closed;
        if let Some(gathered) = gathered {
            let at = closed.duration_since(now.start).as_nanos() as i64;
            let by_silence = self.policy.is_by_silence(gathered, &now.silence, at);
            let acknowledged = now.start.elapsed().as_nanos() as i64;
            now.silence.acknowledged(acknowledged, committed.owed.len(), by_silence);
        }
        crate::failpoint::hit("acknowledge-before");
        if self.config.mqtt.ack == Acknowledge::AfterCommit {
            now.unsent.extend(&committed.owed);
            self.send_unsent(now);
        }
        for receipt in std::mem::take(&mut now.receipts).into_values() {
            receipt.durable();
        }
        if let Some(batch) = committed.batch {
            if !committed.output.records.is_empty() {
                (self.wake_forwarders)();
            }
            log_alarms(&committed.output.records);
            if let Some(results) = &self.results {
                let engine = self.pipeline.engine();
                let connected = results.queue.is_connected();
                let publications =
                    self.reporter.publications(engine, batch, &committed.output, connected);
                results.queue.push(batch, publications);
            }
            self.report(now, Some((&committed, closed.elapsed(), delay)));
        }
        Ok(())
    }

    /// Through which batch the result topics have everything.
    fn published_through(&self) -> u64 {
        self.results.as_ref().map_or(u64::MAX, |results| results.queue.published_through())
    }

    /// Begins a checkpoint if one is due. Looked at in every turn, not only behind a commit: then
    /// the batch's own records are still on their way to the result topics, and a site whose every
    /// batch closes a pane would never have a checkpoint.
    fn checkpoint(&mut self) -> Result<(), String> {
        // The queue is walked only when the cheap conditions hold.
        if !self.pipeline.checkpoint_due(u64::MAX) {
            return Ok(());
        }
        let published_through = self.published_through();
        if self.pipeline.checkpoint_due(published_through) && self.has_room() {
            let through = published_through.min(self.pipeline.engine().meta().batch);
            self.pipeline.begin_checkpoint(through, false).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    /// A checkpoint that found the disk full would end the process; it needs its size twice.
    fn has_room(&self) -> bool {
        let needed = 2 * self.pipeline.checkpoint_estimate() + FREE_LEAST;
        self.pipeline.storage().free_bytes().is_ok_and(|free| free >= needed)
    }

    /// Sends acknowledgements on the connection that delivered, in receive order.
    fn send_unsent(&self, now: &mut Now) {
        let Some((connection, sender)) = &now.connection else {
            now.unsent.clear();
            return;
        };
        while let Some(owed) = now.unsent.front() {
            if owed.connection == *connection && sender.try_acknowledge(owed.packet_id).is_err() {
                // The channel is full: the rest goes with the next turn.
                return;
            }
            now.unsent.pop_front();
        }
    }

    /// Says once that the whole input is away, and once that it is back.
    fn watch_input(&self, now: &mut Now) {
        if self.has_lines_alone() {
            // There is nothing to connect to: silence alone tells.
            now.input.connection(true, Instant::now());
        } else if self.config.mqtt.subscribe.is_empty() {
            return;
        }
        let (heard, speed) = (now.heard, self.clock.speed());
        let due = |silence: Duration| {
            let units = self.pipeline.engine().units().map(|(_, _, unit)| unit.state());
            readings_due(units, heard, silence.as_secs_f64() * speed)
        };
        if !now.input.look(Instant::now(), self.clock.now(), due) {
            return;
        }
        let alarm = now.input.alarm();
        if now.input.is_active() {
            tracing::warn!(alarm = %alarm.0.alarm, reason = %alarm.0.reason, "alarm begins");
        } else {
            tracing::info!(alarm = %alarm.0.alarm, reason = %alarm.0.reason, "alarm ends");
        }
        if let Some(results) = &self.results {
            results.queue.push(0, self.reporter.input(alarm));
        }
    }

    /// Looks at what changes slowly: the clock's trust and the disk's free space.
    fn look(&mut self, now: &mut Now) {
        let every =
            if now.disk_full || !now.clock_trusted { Duration::from_secs(1) } else { LOOK_EVERY };
        if now.last_look.is_some_and(|last| last.elapsed() < every) {
            return;
        }
        now.last_look = Some(Instant::now());
        now.clock_trusted = self.clock_trusted.load(Ordering::Relaxed);
        let awaited = !now.clock_trusted && now.start.elapsed() < self.config.clock.wait;
        if !awaited && self.awaited_clock {
            tracing::warn!(
                "clock still not synchronised: readings are taken all the same, results are marked clock_untrusted"
            );
        }
        self.awaited_clock = awaited;
        let full = match self.pipeline.storage().free_bytes() {
            Ok(free) => free < FREE_LEAST,
            Err(error) => {
                tracing::error!(%error, "free space cannot be read");
                false
            }
        };
        if full != now.disk_full {
            now.disk_full = full;
            let text = "disk full: no readings are taken until there is space; the broker keeps them within its limits";
            let mut status = self.status.write().unwrap_or_else(std::sync::PoisonError::into_inner);
            if full {
                tracing::error!(free_least = FREE_LEAST, "{text}");
                status.notice(text);
            } else {
                tracing::warn!("disk has space again: readings are taken");
                status.notices.retain(|notice| notice != text);
            }
        }
        self.paused.store(full || awaited, Ordering::Relaxed);
        self.report(now, None);
    }

    fn reload(&mut self, config: Config) {
        match crate::daemon::router(&config) {
            Ok(router) => {
                self.pipeline.configure(router, config.core_config());
                self.policy = crate::daemon::close_policy(&config);
                self.reporter.configure(&config);
                self.config = config;
                tracing::info!("configuration reloaded");
            }
            Err(error) => tracing::error!(%error, "new configuration refused, the old one goes on"),
        }
    }

    fn report(&mut self, now: &mut Now, committed: Option<(&Committed, Duration, Duration)>) {
        now.last_report = Instant::now();
        let awaiting = self.paused.load(Ordering::Relaxed);
        let reason = match (&now.connection, now.disk_full, awaiting) {
            (_, true, _) => Some("disk full"),
            (None, _, true) => Some("waiting for the clock to be synchronised"),
            (None, ..) if self.has_lines_alone() => None,
            (None, ..) => Some("not connected to the broker"),
            (Some(_), ..) if !now.subscribed => {
                Some("the broker has not confirmed the subscriptions yet")
            }
            _ => None,
        };
        let mut status = self.status.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        status.now = self.clock.now();
        status.uptime_s = now.start.elapsed().as_secs_f64();
        status.mqtt_connected = now.connection.is_some();
        status.clock_trusted = now.clock_trusted;
        status.ready = reason.is_none();
        status.not_ready_reason = reason.map(str::to_owned);
        status.reconnects = now.reconnects;
        status.inputs = self.inputs.iter().map(Input::info).collect();
        status.fits = self.fits.counts().info();
        self.reporter.report(&mut status, &self.pipeline, self.results.as_deref(), committed);
        status.input_alarm = now.input.is_active().then(|| now.input.alarm().clone());
        status.alarms_active += u64::from(status.input_alarm.is_some());
    }

    /// A clean stop: what was gathered is committed, then all dirty units are checkpointed, so
    /// that the next start has little to replay.
    fn stop(&mut self, now: &mut Now) -> Result<(), String> {
        if !now.disk_full {
            self.commit(now)?;
        }
        self.report(now, None);
        let begin = Instant::now();
        // A running checkpoint first; then everything that is dirty, if the result topics have
        // their share.
        self.await_checkpoint(begin + STOP_CHECKPOINT)?;
        let batch = self.pipeline.engine().meta().batch;
        while self.published_through() < batch && begin.elapsed() < STOP_RESULTS {
            std::thread::sleep(Duration::from_millis(5));
        }
        if self.published_through() >= batch
            && self.pipeline.engine().dirty_units() > 0
            && !self.pipeline.is_checkpointing()
        {
            self.pipeline.begin_checkpoint(batch, true).map_err(|e| e.to_string())?;
            self.await_checkpoint(begin + STOP_CHECKPOINT)?;
        }
        Ok(())
    }

    fn await_checkpoint(&mut self, deadline: Instant) -> Result<(), String> {
        while self.pipeline.is_checkpointing() {
            let wait = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(wait) {
                Ok(Event::Checkpointed(Ok(batch))) => {
                    self.pipeline.checkpointed(batch).map_err(|e| e.to_string())?;
                }
                Ok(Event::Checkpointed(Err(error))) => return Err(error.to_string()),
                Ok(_) => {}
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }
}

/// How many readings these series would have sent in `silence` seconds, by their usual intervals.
/// Those that had been silent for ten of them when the input was last heard no longer count.
fn readings_due<'u>(
    units: impl Iterator<Item = &'u UnitState>,
    heard: AttendedTime,
    silence: f64,
) -> f64 {
    units
        .filter_map(|unit| {
            let interval = unit.usual_interval()?;
            let before = (heard.0 - unit.seen().0) as f64 / SECOND as f64;
            (before <= 10.0 * interval).then_some(silence / interval)
        })
        .sum()
}

/// Nanoseconds of a duration, for policies.
pub fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX / SECOND * SECOND)
}
