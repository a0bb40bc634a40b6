//! Simulated sensors of a small site, for the demo and for tests.
//!
//! Pure: the same seed gives the same messages, on every machine. Each device has a random
//! sequence of its own, so that more devices leave the first ones as they were.
//!
//! Messages are JSON, `{"value": 21.37, "ts": 1767225600.000}` (Unix seconds), on
//! `sensors/<device>/<metric>`.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::f64::consts::TAU;

use crate::reading::{EventTime, SECOND};

const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// Time between two readings of the regular sensors, in nanoseconds.
pub const INTERVAL: i64 = 5 * MINUTE;

/// One reading in so many is an outlier (greenhouse temperature).
const OUTLIER_EVERY: u64 = 400;
/// One reading in so many starts a new level (pump).
const LEVEL_STEP_EVERY: u64 = 800;
/// One reading in so many starts the counter anew (meter).
const RESET_EVERY: u64 = 4000;
/// Percentage of readings that the relay sends twice, and that it sends one reading too late.
const REPEATED_PERCENT: u64 = 15;
const DELAYED_PERCENT: u64 = 10;
/// How long the well's radio works before it falls silent: at least, and at most so much more.
const AUDIBLE: (i64, i64) = (24 * HOUR, 18 * HOUR);
/// How long it stays silent: at least, and at most so much more.
const SILENT: (i64, i64) = (2 * HOUR, 4 * HOUR);
/// Readings that the well keeps while it is silent (it never needs as many).
const BACKLOG_MAX: usize = 100;

/// What a device sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimMessage {
    /// When it is published (its reading may be older), in simulated time.
    pub sent: EventTime,
    /// `sensors/<device>/<metric>`.
    pub topic: String,
    /// JSON.
    pub payload: String,
}

/// SplitMix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators",
/// figure 17): 64 bits of state, enough for noise.
#[derive(Clone, Debug)]
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In (0, 1): never 0, so that its logarithm is finite.
    fn uniform(&mut self) -> f64 {
        ((self.bits() >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    /// Standard normal, by Box and Muller (1958).
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * libm::log(self.uniform())).sqrt();
        radius * libm::cos(TAU * self.uniform())
    }

    /// Exponential with mean 1.
    fn exponential(&mut self) -> f64 {
        -libm::log(self.uniform())
    }

    /// True once in `every` times.
    fn once_in(&mut self, every: u64) -> bool {
        self.bits().is_multiple_of(every)
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.bits() % 100 < percent
    }

    /// Evenly in [least, least + more), in nanoseconds.
    fn between(&mut self, (least, more): (i64, i64)) -> i64 {
        least + (self.uniform() * more as f64) as i64
    }
}

/// A reading on its way out: event time and value with the decimals that the sensor shows.
#[derive(Clone, Debug)]
struct Taken {
    time: i64,
    value: f64,
    decimals: usize,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Temperature (°C) with a warm afternoon, correlated noise and seldom an outlier.
    Temperature { noise: f64 },
    /// Relative humidity (%), low when the temperature is high.
    Humidity { noise: f64 },
    /// Pressure (bar) at irregular times, with new levels now and then.
    Pressure { level: f64 },
    /// Energy meter (whole Wh): never falls, but for a reset.
    Energy { total: f64, last: i64 },
    /// A machine that runs (1) or not (0).
    Running { on: bool },
    /// Water level (m) from a radio that falls silent and then sends all it has kept.
    Well { level: f64, silent_from: i64, silent_until: i64, backlog: VecDeque<Taken> },
    /// Temperature through a relay that repeats and swaps messages.
    Relay { noise: f64, held: Option<Taken> },
}

#[derive(Clone, Debug)]
struct Sensor {
    topic: String,
    /// The sensor before it is of the same device.
    shares_device: bool,
    random: Random,
    kind: Kind,
}

/// All sensors of the site, in simulated time.
#[derive(Clone, Debug)]
pub struct Fleet {
    sensors: Vec<Sensor>,
    /// (when, which): the next time each sensor measures.
    due: BinaryHeap<Reverse<(i64, usize)>>,
    /// Messages of the last sensor that measured; at most [`BACKLOG_MAX`] and two.
    out: VecDeque<SimMessage>,
    readings: u64,
}

impl Fleet {
    /// `devices` devices that begin to measure at `start`: in turn greenhouse (temperature and
    /// humidity), pump, meter, machine, well, relay. The same seed gives the same messages.
    pub fn new(seed: u64, devices: usize, start: EventTime) -> Fleet {
        let mut sensors = Vec::new();
        for index in 0..devices {
            // Odd multiplier: different devices get different seeds.
            let device_seed = seed ^ (index as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93);
            add_device(&mut sensors, device_seed, index, start.nanos());
        }
        let mut due = BinaryHeap::with_capacity(sensors.len());
        let mut begins = 0;
        for (index, sensor) in sensors.iter_mut().enumerate() {
            // Devices do not measure all at once, but each of them all that it has. Whole
            // milliseconds, as in the payload.
            let own = sensor.random.between((0, INTERVAL)) / 1_000_000 * 1_000_000;
            begins = if sensor.shares_device { begins } else { own };
            due.push(Reverse((start.nanos() + begins, index)));
        }
        Fleet { sensors, due, out: VecDeque::new(), readings: 0 }
    }

    /// The next message sent no later than `until`; `None` if there is none yet. Messages come in
    /// the order in which they are sent.
    pub fn next_until(&mut self, until: EventTime) -> Option<SimMessage> {
        loop {
            if self.out.front().is_some_and(|message| message.sent <= until) {
                return self.out.pop_front();
            }
            let &Reverse((time, index)) = self.due.peek()?;
            if !self.out.is_empty() || time > until.nanos() {
                return None;
            }
            self.due.pop();
            let sensor = &mut self.sensors[index];
            self.readings += 1;
            let wait = sensor.measure(time, &mut self.out);
            self.due.push(Reverse((time + wait, index)));
        }
    }

    /// All messages sent no later than `until`. For a long time from the start prefer
    /// [`next_until`](Self::next_until), which holds one at a time.
    pub fn readings_until(&mut self, until: EventTime) -> Vec<SimMessage> {
        std::iter::from_fn(|| self.next_until(until)).collect()
    }

    /// When the next message may be sent; `None` without devices. A sensor that measures then may
    /// still keep silent.
    pub fn next_time(&self) -> Option<EventTime> {
        if let Some(message) = self.out.front() {
            return Some(message.sent);
        }
        self.due.peek().map(|&Reverse((time, _))| EventTime::clamped(time))
    }

    /// Readings measured so far, each counted once however often it is sent; those that the well
    /// and the relay still hold are counted, too.
    pub fn readings(&self) -> u64 {
        self.readings
    }

    /// Readings measured but not sent yet.
    pub fn held(&self) -> u64 {
        let held = self.sensors.iter().map(|sensor| match &sensor.kind {
            Kind::Well { backlog, .. } => backlog.len() as u64,
            Kind::Relay { held, .. } => u64::from(held.is_some()),
            _ => 0,
        });
        held.sum()
    }
}

fn add_device(sensors: &mut Vec<Sensor>, seed: u64, index: usize, start: i64) {
    let number = index / 6 + 1;
    let mut random = Random(seed);
    let before = sensors.len();
    let mut add = |device: &str, metric: &str, kind: Kind| {
        let random = Random(random.bits());
        let topic = format!("sensors/{device}-{number}/{metric}");
        let shares_device = sensors.len() > before;
        sensors.push(Sensor { topic, shares_device, random, kind });
    };
    match index % 6 {
        0 => {
            add("greenhouse", "temperature", Kind::Temperature { noise: 0.0 });
            add("greenhouse", "humidity", Kind::Humidity { noise: 0.0 });
        }
        1 => add("pump", "pressure", Kind::Pressure { level: 4.0 }),
        2 => add("meter", "energy", Kind::Energy { total: 1.2e6, last: start }),
        3 => add("machine", "running", Kind::Running { on: false }),
        4 => {
            let silent_from = start + AUDIBLE.0 + (seed % 8) as i64 * HOUR;
            let backlog = VecDeque::new();
            let well = Kind::Well { level: 12.0, silent_from, silent_until: i64::MIN, backlog };
            add("well", "level", well);
        }
        _ => add("relay", "temperature", Kind::Relay { noise: 0.0, held: None }),
    }
}

/// 1 in the warmest hour (15:00 UTC), -1 in the coldest.
fn daily(time: i64) -> f64 {
    let hours = time.rem_euclid(24 * HOUR) as f64 / HOUR as f64;
    libm::cos(TAU * (hours - 15.0) / 24.0)
}

/// First-order autoregression with coefficient 0.9; `innovation` is its standard deviation.
fn correlated(noise: &mut f64, innovation: f64, random: &mut Random) -> f64 {
    *noise = 0.9 * *noise + innovation * random.normal();
    *noise
}

impl Sensor {
    /// Measures at `time` (nanoseconds), sends what there is to send, and tells how long to wait
    /// for the next time.
    fn measure(&mut self, time: i64, out: &mut VecDeque<SimMessage>) -> i64 {
        let Sensor { topic, random, kind, .. } = self;
        let mut send = |taken: &Taken| {
            out.push_back(SimMessage {
                sent: EventTime::clamped(time),
                topic: topic.clone(),
                payload: payload(taken),
            });
        };
        let mut wait = INTERVAL;
        match kind {
            Kind::Temperature { noise } => {
                let mut value = 22.0 + 6.0 * daily(time) + correlated(noise, 0.15, random);
                if random.once_in(OUTLIER_EVERY) {
                    value += if random.percent(50) { 20.0 } else { -20.0 };
                }
                send(&Taken { time, value, decimals: 2 });
            }
            Kind::Humidity { noise } => {
                let value = 62.0 - 15.0 * daily(time) + correlated(noise, 0.6, random);
                send(&Taken { time, value: value.clamp(0.0, 100.0), decimals: 1 });
            }
            Kind::Pressure { level } => {
                if random.once_in(LEVEL_STEP_EVERY) {
                    *level = 2.0 + 4.0 * random.uniform();
                }
                let value = *level + 0.05 * random.normal();
                send(&Taken { time, value, decimals: 3 });
                let gap = (90_000.0 * random.exponential()) as i64;
                wait = gap.clamp(1_000, 600_000) * 1_000_000;
            }
            Kind::Energy { total, last } => {
                let hours = (time - *last) as f64 / HOUR as f64;
                let watts = (2500.0 + 1500.0 * daily(time) + 400.0 * random.normal()).max(100.0);
                *total = if random.once_in(RESET_EVERY) { 0.0 } else { *total + watts * hours };
                *last = time;
                send(&Taken { time, value: *total, decimals: 0 });
            }
            Kind::Running { on } => {
                let hour = time.rem_euclid(24 * HOUR) / HOUR;
                let working = (6..18).contains(&hour);
                let change = match (working, *on) {
                    (true, false) => 30,
                    (true, true) => 8,
                    (false, true) => 50,
                    (false, false) => 1,
                };
                if random.percent(change) {
                    *on = !*on;
                }
                send(&Taken { time, value: f64::from(*on), decimals: 0 });
            }
            Kind::Well { level, silent_from, silent_until, backlog } => {
                *level += 0.004 * random.normal() - 0.002 * (*level - 12.0);
                let taken = Taken { time, value: *level, decimals: 3 };
                if time >= *silent_from {
                    *silent_until = time + random.between(SILENT);
                    *silent_from = *silent_until + random.between(AUDIBLE);
                }
                if time < *silent_until && backlog.len() < BACKLOG_MAX {
                    backlog.push_back(taken);
                } else {
                    backlog.drain(..).for_each(|old| send(&old));
                    send(&taken);
                }
            }
            Kind::Relay { noise, held } => {
                let value = 18.0 + 4.0 * daily(time) + correlated(noise, 0.1, random);
                let taken = Taken { time, value, decimals: 2 };
                match held.take() {
                    None if random.percent(DELAYED_PERCENT) => *held = Some(taken),
                    earlier => {
                        send(&taken);
                        if random.percent(REPEATED_PERCENT) {
                            send(&taken);
                        }
                        if let Some(earlier) = earlier {
                            send(&earlier);
                        }
                    }
                }
            }
        }
        wait
    }
}

fn payload(taken: &Taken) -> String {
    let millis = taken.time.div_euclid(1_000_000);
    let (seconds, rest) = (millis.div_euclid(1_000), millis.rem_euclid(1_000));
    let decimals = taken.decimals;
    format!(r#"{{"value":{:.decimals$},"ts":{seconds}.{rest:03}}}"#, taken.value)
}

#[cfg(test)]
#[path = "sensors_tests.rs"]
mod tests;
