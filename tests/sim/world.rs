//! One seed's life: devices, broker, pipeline, disk, crashes; then the reckoning.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use weir::analytics::alarm::Severity;
use weir::analytics::settings::{
    Align, CustomSettings, GroupSettings, KindSetting, Layer, Patch, ThresholdSettings,
    VectorSettings, WindowSettings,
};
use weir::config::ForwardKind;
use weir::decoder::settings::{Subscription, Values};
use weir::engine::{CoreConfig, Engine};
use weir::journal::frame::{Frame, FrameFit};
use weir::output::{Aggregate, Alarm, Kinded, Record};
use weir::pipeline::{Delivered, Moment, Pipeline, PipelineError};
use weir::reading::{AttendedTime, DropReason, EventTime, ProcessingTime, SECOND};
use weir::receiver::router::Router;

use super::broker::{Broker, Published};
use super::disk::{Died, Disk};
use super::rng::Rng;

const START: i64 = 1_700_000_000 * SECOND;
const LATENESS: i64 = 5 * SECOND;
/// What the devices measure.
const METRIC: &str = "m";

/// What a run met, so that the test can see that it met something.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    pub readings: u64,
    pub kills: u64,
    pub redelivered: u64,
    pub resent: u64,
    pub checkpoints: u64,
    pub parts: u64,
    pub reconfigured: u64,
    pub clock_steps: u64,
    /// Results of background fits that reached a frame.
    pub fits: u64,
    /// Of those, what came too late.
    pub fits_late: u64,
    pub alarms: u64,
}

impl Outcome {
    pub fn add(&mut self, other: &Outcome) {
        self.readings += other.readings;
        self.kills += other.kills;
        self.redelivered += other.redelivered;
        self.resent += other.resent;
        self.checkpoints += other.checkpoints;
        self.parts += other.parts;
        self.reconfigured += other.reconfigured;
        self.clock_steps += other.clock_steps;
        self.fits += other.fits;
        self.fits_late += other.fits_late;
        self.alarms += other.alarms;
    }
}

/// The model: distinct readings by (device, window start), counted and summed.
#[derive(Default)]
struct Model {
    published: BTreeMap<String, (u64, i64)>,
    panes: BTreeMap<(String, i64), (u64, i64)>,
    invalid: u64,
    future: u64,
    resent: u64,
}

struct Device {
    name: String,
    timed: bool,
    /// Largest event time published.
    largest: i64,
    recent: VecDeque<(i64, i64)>,
    used: BTreeSet<(i64, i64)>,
    silent_until: i64,
    backlog: Vec<(i64, i64)>,
}

struct World {
    rng: Rng,
    /// True time; the gateway's clock may differ by `clock_error`.
    now: i64,
    clock_error: i64,
    clock_trusted: bool,
    attended: i64,
    broker: Broker,
    devices: Vec<Device>,
    model: Model,
    disk: Disk,
    pipeline: Option<Pipeline<Disk>>,
    steps: u64,
    /// Results of background fits with the step at which each comes. A crash loses them; some come
    /// all the same, since whatever comes too late must do no harm.
    fits: Vec<(u64, FrameFit)>,
    connection: u64,
    config: CoreConfig,
    published_through: u64,
    republished: BTreeSet<String>,
    outcome: Outcome,
}

fn subscriptions() -> Vec<Subscription> {
    let base = Subscription { values: Values::One("/v".to_owned()), ..Subscription::default() };
    vec![
        Subscription {
            topics: vec!["t/{device}/{metric}".to_owned()],
            time: Some("/t".to_owned()),
            ..base.clone()
        },
        Subscription { topics: vec!["a/{device}/{metric}".to_owned()], ..base },
    ]
}

fn config(rng: &mut Rng) -> CoreConfig {
    let window = |seconds: i64| WindowSettings {
        size: seconds * SECOND,
        align: Align::Epoch,
        quantiles: if seconds > 30 { vec![0.5] } else { Vec::new() },
        ..WindowSettings::default()
    };
    let patch = Patch {
        valid: Some((-1e6, 1e6)),
        lateness: Some(LATENESS),
        hold: Some([0, 0, 2 * SECOND][rng.below(3) as usize]),
        windows: Some(vec![
            window(10),
            // Panes of a minute, and a view of three.
            WindowSettings {
                size: 180 * SECOND,
                slide: Some(60 * SECOND),
                time_weighted: true,
                ..window(60)
            },
        ]),
        ..Patch::default()
    };
    let held = threshold("held", [0, 2, 10][rng.below(3) as usize]);
    let kind = |device: &str, kind| Layer {
        device: vec![device.to_owned()],
        ..layer(Patch { kind: Some(kind), ..Patch::default() })
    };
    CoreConfig {
        layers: vec![
            layer(patch),
            kind("d1", KindSetting::Counter),
            kind("d3", KindSetting::State),
            // Its other metric never comes: every row is incomplete, and waits.
            layer(Patch { vector: Some(vector()), ..Patch::default() }),
            alarm(threshold("at-once", 0)),
            alarm(held),
        ],
        groups: vec![GroupSettings {
            name: "together".to_owned(),
            device: vec!["*".to_owned()],
            metric: vec!["*".to_owned()],
            by: None,
            estimate: true,
            forecast: false,
        }],
        max_series: 100,
        max_panes: 1 + rng.below(4) as usize,
        max_ahead: 300 * SECOND,
        ..CoreConfig::default()
    }
}

fn layer(patch: Patch) -> Layer {
    let all = || vec!["*".to_owned()];
    Layer { origin: "simulation".to_owned(), device: all(), metric: all(), patch }
}

fn vector() -> VectorSettings {
    let custom = CustomSettings {
        metrics: vec![METRIC.to_owned(), "absent".to_owned()],
        f: vec![vec![-0.01]],
        h: vec![vec![1.0], vec![2.0]],
        q: vec![vec![100.0]],
        r: vec![vec![1e4, 0.0], vec![0.0, 1.0]],
        per_second: true,
        step: None,
    };
    VectorSettings { name: "joined".to_owned(), custom, gate: 0.9999, initial: None }
}

fn alarm(threshold: ThresholdSettings) -> Layer {
    layer(Patch { threshold: Some(threshold), ..Patch::default() })
}

/// Beyond it are a fifth of the values.
fn threshold(name: &str, hold: i64) -> ThresholdSettings {
    ThresholdSettings {
        name: name.to_owned(),
        above: Some(300.0),
        below: None,
        clear_above: None,
        clear_below: Some(200.0),
        hold: hold * SECOND,
        within: None,
        repeat_after: hold / 2 * SECOND,
        severity: Severity::Info,
    }
}

/// Lives one seed and reckons.
pub fn run(seed: u64) -> Outcome {
    let mut rng = Rng::new(seed);
    let config = config(&mut rng);
    // Fits begin after 150 readings of a series. In so long a life packet ids come again that are
    // still unproven, and with the same payload a message would pass for a redelivery: no two are
    // the same then. (A real broker has 130 times as many ids.)
    let is_long = seed.is_multiple_of(5);
    let devices = (0..2 + rng.below(4))
        .map(|i| Device {
            name: format!("d{i}"),
            timed: is_long || i % 3 != 2,
            largest: START,
            recent: VecDeque::new(),
            used: BTreeSet::new(),
            silent_until: 0,
            backlog: Vec::new(),
        })
        .collect();
    let mut world = World {
        broker: Broker::new(3 + rng.below(20) as usize),
        rng,
        now: START,
        clock_error: 0,
        clock_trusted: true,
        attended: 0,
        devices,
        model: Model::default(),
        disk: Disk::new(seed),
        pipeline: None,
        steps: 0,
        fits: Vec::new(),
        connection: 0,
        config,
        published_through: 0,
        republished: BTreeSet::new(),
        outcome: Outcome::default(),
    };
    world.start();
    let steps = (150 + world.rng.below(250)) * if is_long { 4 } else { 1 };
    world.disk.0.borrow_mut().deadliness = 5 + world.rng.below(30);
    for _ in 0..steps {
        world.step();
    }
    world.finish();
    world.reckon(seed);
    world.outcome.redelivered = world.outcome.redelivered.max(1);
    world.outcome
}

impl World {
    /// The process starts: recovers until it survives its own start, then connects.
    fn start(&mut self) {
        loop {
            let frames: Vec<_> = self.disk.0.borrow().journal.clone();
            let router = Router::new(&subscriptions()).expect("subscriptions compile");
            let republished = &mut self.republished;
            let recovered = Pipeline::recover(
                self.disk.stored(),
                frames.into_iter(),
                self.disk.clone(),
                router,
                vec![ForwardKind::ALL.to_vec()],
                |_, _, output| {
                    republished.extend(output.records.iter().filter_map(identity));
                },
            );
            match recovered {
                Ok((mut pipeline, recovery)) => {
                    assert!(
                        recovery.unreadable.is_empty() && recovery.missing == 0,
                        "{recovery:?}"
                    );
                    assert_eq!(recovery.orphans, 0);
                    pipeline.configure(
                        Router::new(&subscriptions()).expect("subscriptions compile"),
                        self.config.clone(),
                    );
                    self.attended = self.attended.max(pipeline.engine().meta().attended.0);
                    self.attended = pipeline.engine().meta().attended.0;
                    self.pipeline = Some(pipeline);
                    self.connect();
                    return;
                }
                Err(PipelineError::Storage(Died(_))) => self.die(),
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn connect(&mut self) {
        self.connection += 1;
        self.broker.disconnect();
        self.broker.connect();
        if let Some(pipeline) = &mut self.pipeline {
            pipeline.connected(true);
        }
    }

    fn die(&mut self) {
        self.outcome.kills += 1;
        if self.rng.chance(70) {
            self.fits.clear();
        }
        if let Some(pipeline) = self.pipeline.take() {
            self.outcome.redelivered += pipeline.redelivered();
        }
        self.broker.disconnect();
        self.disk.crash();
    }

    fn kill_and_restart(&mut self) {
        self.die();
        // Downtimes from none to longer than the lateness.
        self.now += [0, SECOND, 3 * SECOND, 20 * SECOND][self.rng.below(4) as usize];
        self.start();
    }

    fn step(&mut self) {
        self.now += self.rng.below(SECOND as u64) as i64;
        self.attended += self.rng.below(SECOND as u64) as i64;
        self.steps += 1;
        for (_, fit) in self.fits.extract_if(.., |(at, _)| *at <= self.steps) {
            assert!(self.pipeline.as_mut().expect("running").fitted(fit));
        }
        match self.rng.below(100) {
            0..40 => self.publish(),
            40..65 => self.deliver(),
            65..85 => self.commit(),
            85..90 => self.checkpoint(),
            90..93 => self.finish_checkpoint(),
            93..95 => {
                self.broker.disconnect();
                self.connect();
            }
            95..97 => self.kill_and_restart(),
            97 => {
                let pipeline = self.pipeline.as_mut().expect("running");
                pipeline.pong();
            }
            98 => self.reconfigure(),
            _ => self.step_clock(),
        }
    }

    fn reconfigure(&mut self) {
        self.outcome.reconfigured += 1;
        self.config.max_panes = 1 + self.rng.below(4) as usize;
        // The held alarm goes and comes, and changes.
        let held = [None, Some(1), Some(5)][self.rng.below(3) as usize];
        self.config.layers.truncate(2);
        self.config.layers.extend(held.map(|hold| alarm(threshold("held", hold))));
        let patch = &mut self.config.layers[0].patch;
        patch.hold = Some([0, SECOND][self.rng.below(2) as usize]);
        if let Some(windows) = &mut patch.windows {
            // The 10 s window, which the model counts, always stays.
            windows.reverse();
        }
        let pipeline = self.pipeline.as_mut().expect("running");
        let router = Router::new(&subscriptions()).expect("subscriptions compile");
        pipeline.configure(router, self.config.clone());
    }

    /// The gateway's clock is wrong for a while, or right again.
    fn step_clock(&mut self) {
        self.outcome.clock_steps += 1;
        self.clock_error =
            [0, 0, 100 * SECOND, -100 * SECOND, 40 * SECOND][self.rng.below(5) as usize];
        self.clock_trusted = self.rng.chance(80);
    }

    fn publish(&mut self) {
        for _ in 0..1 + self.rng.below(4) {
            let which = self.rng.below(self.devices.len() as u64) as usize;
            let value = self.rng.below(1000) as i64 - 500;
            if self.devices[which].timed {
                self.publish_timed(which, value);
            } else {
                let device = &self.devices[which];
                let entry = self.model.published.entry(device.name.clone()).or_default();
                entry.0 += 1;
                entry.1 += value;
                let (topic, payload) =
                    (format!("a/{}/m", device.name), format!("{{\"v\":{value}}}"));
                self.broker.publish(Published { topic, payload });
            }
        }
    }

    fn publish_timed(&mut self, which: usize, value: i64) {
        let roll = self.rng.below(100);
        let disorder = self.rng.below(20) as i64;
        let device = &mut self.devices[which];
        // Silence gathers a backlog that comes at once, newest last.
        if roll == 0 {
            device.silent_until = self.now + 40 * SECOND;
        }
        let behind = match roll {
            70..85 => disorder * SECOND / 4,
            85..90 => 60 * SECOND + disorder * SECOND,
            _ => 0,
        };
        let time = (self.now / (SECOND / 10) * (SECOND / 10)) - behind;
        if !device.used.insert((time, value)) {
            return;
        }
        if self.now < device.silent_until {
            device.backlog.push((time, value));
            return;
        }
        let mut readings = std::mem::take(&mut device.backlog);
        readings.push((time, value));
        for (time, value) in readings {
            self.send(which, time, value, true);
        }
        // The device resends something recent: the model says what lies above the watermark.
        if self.rng.chance(20) {
            let device = &self.devices[which];
            let watermark = device.largest - LATENESS;
            let again = device.recent.iter().rev().find(|&&(time, _)| time > watermark).copied();
            if let Some((time, value)) = again {
                self.model.resent += 1;
                self.outcome.resent += 1;
                self.send(which, time, value, false);
            }
        }
    }

    fn send(&mut self, which: usize, time: i64, value: i64, new: bool) {
        let device = &mut self.devices[which];
        device.largest = device.largest.max(time);
        device.recent.push_back((time, value));
        if device.recent.len() > 8 {
            device.recent.pop_front();
        }
        if new {
            let entry = self.model.published.entry(device.name.clone()).or_default();
            entry.0 += 1;
            entry.1 += value;
            let start = time.div_euclid(10 * SECOND) * 10 * SECOND;
            let pane = self.model.panes.entry((device.name.clone(), start)).or_default();
            pane.0 += 1;
            pane.1 += value;
        }
        let seconds = time / SECOND;
        let payload = format!("{{\"t\":{seconds}.{:03},\"v\":{value}}}", time % SECOND / 1_000_000);
        self.broker.publish(Published { topic: format!("t/{}/m", device.name), payload });
    }

    fn deliver(&mut self) {
        for _ in 0..1 + self.rng.below(12) {
            let Some(sent) = self.broker.receive() else { return };
            let pipeline = self.pipeline.as_mut().expect("running");
            let fault = pipeline.deliver(&Delivered {
                connection: self.connection,
                topic: &sent.message.topic,
                payload: sent.message.payload.as_bytes(),
                qos: 1,
                dup: sent.dup,
                retain: false,
                packet_id: sent.packet_id,
                arrival: EventTime::clamped((self.now + self.clock_error) / 1000 * 1000),
                now: self.now,
            });
            assert_eq!(fault, None);
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            now: ProcessingTime(self.now + self.clock_error),
            attended: AttendedTime(self.attended),
            clock_trusted: self.clock_trusted,
        }
    }

    fn commit(&mut self) {
        let moment = self.moment();
        let pipeline = self.pipeline.as_mut().expect("running");
        match pipeline.commit(moment) {
            Ok(committed) => {
                for job in committed.output.fits {
                    let slowest = [1, 10, 100, 500][self.rng.below(4) as usize];
                    let delay = self.rng.below(slowest);
                    self.fits.extend(job.run().map(|fit| (self.steps + delay, fit)));
                }
                for owed in committed.owed {
                    // Acknowledgements of another connection must not be sent; some get lost.
                    if owed.connection == self.connection {
                        self.broker.acknowledge(owed.packet_id);
                    }
                }
                if let Some(batch) = committed.batch {
                    self.republished.extend(committed.output.records.iter().filter_map(identity));
                    if self.rng.chance(70) {
                        self.published_through = batch;
                    }
                }
            }
            Err(PipelineError::Storage(Died(_))) => self.kill_and_restart(),
            Err(error) => panic!("{error}"),
        }
    }

    fn checkpoint(&mut self) {
        let pipeline = self.pipeline.as_mut().expect("running");
        let batch = pipeline.engine().meta().batch;
        let all = self.rng.chance(10);
        if pipeline.is_checkpointing() || self.published_through < batch || batch == 0 {
            return;
        }
        match pipeline.begin_checkpoint(self.published_through.min(batch), all) {
            Ok(_) => {}
            Err(PipelineError::Storage(Died(_))) => self.kill_and_restart(),
            Err(error) => panic!("{error}"),
        }
    }

    fn finish_checkpoint(&mut self) {
        let Some(batch) = self.disk.finish_checkpoint() else { return };
        self.outcome.checkpoints += 1;
        let pipeline = self.pipeline.as_mut().expect("running");
        match pipeline.checkpointed(batch) {
            Ok(()) => {}
            Err(PipelineError::Storage(Died(_))) => self.kill_and_restart(),
            Err(error) => panic!("{error}"),
        }
    }

    /// No more crashes: everything is published and taken, every pane closes.
    fn finish(&mut self) {
        self.disk.0.borrow_mut().deadliness = 0;
        self.clock_error = 0;
        self.clock_trusted = true;
        for which in 0..self.devices.len() {
            for (time, value) in std::mem::take(&mut self.devices[which].backlog) {
                self.send(which, time, value, true);
            }
        }
        // What a closed connection did not acknowledge comes again on the next one.
        self.connect();
        for _ in 0..10_000 {
            if self.broker.is_drained() {
                break;
            }
            self.deliver();
            self.commit();
        }
        assert!(self.broker.is_drained(), "the broker still has messages");
        for _ in 0..100 {
            self.now += 20 * SECOND;
            self.attended += 20 * SECOND;
            self.commit();
        }
        let pipeline = self.pipeline.as_ref().expect("running");
        self.outcome.redelivered += pipeline.redelivered();
        assert_eq!(pipeline.engine().next_deadline(), None, "something is still open");
    }

    fn reckon(&mut self, seed: u64) {
        let platter = self.disk.0.borrow();
        let pipeline = self.pipeline.as_ref().expect("running");
        // Upstream: every identity once, totals as the model says.
        let mut identities = BTreeSet::new();
        let mut totals: BTreeMap<String, (u64, f64)> = BTreeMap::new();
        let mut panes: BTreeMap<(String, i64), (u64, f64)> = BTreeMap::new();
        let mut parts: BTreeMap<(String, i64), u64> = BTreeMap::new();
        for entry in &platter.outbox {
            for line in entry.body.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
                if line.starts_with(b"{\"kind\":\"alarm\"") {
                    let record: Alarm = serde_json::from_slice(line).expect("a record");
                    identities.insert(identity(&Record::Alarm(Box::new(record))));
                    self.outcome.alarms += 1;
                    continue;
                }
                let record: Aggregate = serde_json::from_slice(line).expect("a record");
                let identity = identity(&Record::Aggregate(Box::new(record.clone())));
                assert!(identities.insert(identity), "seed {seed}: twice: {record:?}");
                if record.end.nanos() - record.start.nanos() != 10 * SECOND {
                    continue;
                }
                let total = totals.entry(record.device.to_string()).or_default();
                total.0 += record.count;
                total.1 += record.sum;
                let key = (record.device.to_string(), record.start.nanos());
                let pane = panes.entry(key.clone()).or_default();
                pane.0 += record.count;
                pane.1 += record.sum;
                *parts.entry(key).or_default() += 1;
            }
        }
        self.outcome.parts = parts.values().filter(|&&parts| parts > 1).count() as u64;
        let drops = pipeline.engine().drops();
        let future = drops.get(DropReason::Future);
        assert_eq!(drops.get(DropReason::Duplicate), self.model.resent, "seed {seed}: resends");
        assert_eq!(
            (future, drops.get(DropReason::Invalid)),
            (self.model.future, self.model.invalid)
        );
        for (device, &(count, sum)) in &self.model.published {
            let found = totals.get(device).copied().unwrap_or_default();
            assert_eq!(found, (count, sum as f64), "seed {seed}: totals of {device}");
            self.outcome.readings += count;
        }
        // Their group: all of it, and nothing twice.
        let published = self.model.published.values();
        let all =
            published.fold((0, 0.0), |(n, total), &(count, sum)| (n + count, total + sum as f64));
        let together = totals.get("together").copied().unwrap_or_default();
        assert_eq!(together, all, "seed {seed}: totals of the group");
        for (key, &(count, sum)) in &self.model.panes {
            let found = panes.get(key).copied().unwrap_or_default();
            assert_eq!(found, (count, sum as f64), "seed {seed}: pane {key:?}");
        }
        // Result topics: everything at least once.
        for identity in identities.into_iter().flatten() {
            assert!(
                self.republished.contains(&identity),
                "seed {seed}: never published {identity}"
            );
        }
        // The same frames without crashes: the same state and records, bit for bit.
        let mut clean = Engine::new(CoreConfig::default()).expect("UTC is known");
        let mut lines = Vec::new();
        for (_, bytes) in &platter.archive {
            let frame = Frame::decode(bytes).expect("a frame");
            let output = clean.step(&frame).expect("its configuration is usable");
            self.outcome.fits += frame.fits.len() as u64;
            self.outcome.fits_late += output.fits_late;
            for record in &output.records {
                let kind = record.kind();
                let line = match record {
                    Record::Aggregate(record) => {
                        serde_json::to_vec(&Kinded { kind, record: &**record })
                    }
                    Record::Alarm(record) => {
                        serde_json::to_vec(&Kinded { kind, record: &**record })
                    }
                    Record::View(_) | Record::Forecast(_) => continue,
                };
                lines.extend(line.expect("JSON"));
                lines.push(b'\n');
            }
        }
        let outbox: Vec<u8> = platter.outbox.iter().flat_map(|e| e.body.clone()).collect();
        assert!(outbox == lines, "seed {seed}: records differ from a replay without crashes");
        assert!(
            pipeline.engine().image() == clean.image(),
            "seed {seed}: state differs from a replay without crashes"
        );
        assert_eq!(pipeline.engine().meta(), clean.meta(), "seed {seed}");
    }
}

fn identity(record: &Record) -> Option<String> {
    match record {
        Record::Aggregate(a) => {
            Some(format!("{}/{} {} {} {}", a.device, a.metric, a.start, a.end, a.part))
        }
        Record::Alarm(a) => {
            Some(format!("{}/{} {} {:?} {}", a.device, a.metric, a.alarm, a.state, a.time))
        }
        Record::View(_) | Record::Forecast(_) => None,
    }
}
