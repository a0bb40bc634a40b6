//! Synthetic recordings of the kinds in the Numenta Anomaly Benchmark (their descriptions: Lavin and Ahmad
//! 2015, and the benchmark's data folder), for choosing the score's constants without looking at
//! recorded ones. Every recording is drawn anew by its seed: lengths, levels, cycles, noise, what is harmless and what is
//! labelled. Harmless events without a label are in most of them, as in the benchmark; some labels stand where there is hardly
//! anything to see.

use super::rig::{MINUTE, Random};

/// A recording with what is wrong in it.
pub struct Recording {
    pub kind: &'static str,
    /// Seconds since the start, and values.
    pub readings: Vec<(f64, f64)>,
    /// First and last reading of each window.
    pub windows: Vec<(usize, usize)>,
}

/// Of the kinds in the benchmark, about as often as there.
pub const KINDS: [(&str, usize); 22] = [
    ("cpu", 3),
    ("cpu-busy", 2),
    ("network", 3),
    ("disk", 2),
    ("requests", 2),
    ("latency", 2),
    ("scaling-group", 2),
    ("database", 2),
    ("advertising", 6),
    ("machine", 2),
    ("taxi", 1),
    ("office", 1),
    ("keys", 2),
    ("occupancy", 2),
    ("speed", 3),
    ("travel", 2),
    ("tweets", 10),
    ("daily-fault", 4),
    ("daily-clean", 2),
    ("spike-density", 1),
    ("flat", 1),
    ("noise", 2),
];

/// A recording under way.
struct Maker {
    r: Random,
    n: usize,
    step: f64,
    labels: Vec<usize>,
    values: Vec<f64>,
}

impl Maker {
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.r.uniform()
    }

    fn chance(&mut self, p: f64) -> bool {
        self.r.uniform() < p
    }

    fn log_between(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }

    /// Readings to label, apart from each other and behind the probation.
    fn places(&mut self, most: usize) -> Vec<usize> {
        let count = 1 + (self.r.uniform() * most as f64) as usize;
        let n = self.n as f64;
        let mut places = Vec::new();
        for _ in 0..20 * count {
            let at = (n * (0.22 + 0.70 * self.r.uniform())) as usize;
            if places.len() < count
                && places.iter().all(|&p: &usize| p.abs_diff(at) > self.n / 10 / count)
            {
                places.push(at);
            }
        }
        places.sort_unstable();
        self.labels = places.clone();
        places
    }

    /// Hours since the start.
    fn hour(&self, i: usize) -> f64 {
        i as f64 * self.step / 3600.0
    }

    /// In [0, 1], low at night, high by day.
    fn day(&self, i: usize, sharp: f64) -> f64 {
        let phase = std::f64::consts::TAU * (self.hour(i) - 9.0) / 24.0;
        (0.5 + 0.5 * phase.sin()).powf(sharp)
    }

    fn weekend(&self, i: usize) -> bool {
        (self.hour(i) / 24.0) as u64 % 7 >= 5
    }

    fn fill(&mut self, mut value: impl FnMut(&mut Maker, usize) -> f64) {
        for i in 0..self.n {
            let v = value(self, i);
            self.values.push(v);
        }
    }

    /// Gamma-mixed Poisson, roughly: mean, and how much its rate varies.
    fn count(&mut self, mean: f64, spread: f64) -> f64 {
        let rate = mean * (spread * self.r.normal() - 0.5 * spread * spread).exp();
        (rate + rate.sqrt() * self.r.normal()).round().max(0.0)
    }

    /// Adds `height(k)` from `at` on, k readings after it.
    fn add(&mut self, at: usize, length: usize, height: impl Fn(usize) -> f64) {
        for (k, v) in self.values.iter_mut().skip(at).take(length).enumerate() {
            *v += height(k);
        }
    }

    fn set(&mut self, at: usize, length: usize, value: impl Fn(&mut Random) -> f64) {
        for v in self.values.iter_mut().skip(at).take(length) {
            *v = value(&mut self.r);
        }
    }

    /// Somewhere.
    fn anywhere(&mut self) -> usize {
        (self.r.uniform() * self.n as f64) as usize
    }

    fn round(&mut self, unit: f64) {
        self.values.iter_mut().for_each(|v| *v = (*v / unit).round() * unit);
    }

    fn clamp(&mut self, low: f64, high: f64) {
        self.values.iter_mut().for_each(|v| *v = v.clamp(low, high));
    }
}

/// The recording of this kind and seed.
pub fn recording(kind: &'static str, seed: u64) -> Recording {
    let mut r =
        Random::new(seed.wrapping_mul(1009).wrapping_add(kind.bytes().map(u64::from).sum()));
    (0..8).for_each(|_| _ = r.uniform());
    let (n, step) = match kind {
        "machine" => (15_000, 5.0 * MINUTE),
        "tweets" => (11_000, 5.0 * MINUTE),
        "taxi" => (10_320, 30.0 * MINUTE),
        "office" => (7_000, 60.0 * MINUTE),
        "advertising" => (1_600, 60.0 * MINUTE),
        "occupancy" | "travel" => (2_400, 7.0 * MINUTE),
        "speed" => (if r.uniform() < 0.4 { 1_120 } else { 2_450 }, 7.0 * MINUTE),
        "scaling-group" if r.uniform() < 0.4 => (16_000, 5.0 * MINUTE),
        "keys" => (if r.uniform() < 0.5 { 1_880 } else { 5_300 }, 5.0 * MINUTE),
        _ => (4_032, 5.0 * MINUTE),
    };
    let mut m = Maker { r, n, step, labels: Vec::new(), values: Vec::with_capacity(n) };
    match kind {
        "cpu" => cpu(&mut m),
        "cpu-busy" => cpu_busy(&mut m),
        "network" => network(&mut m),
        "disk" => disk(&mut m),
        "requests" => requests(&mut m),
        "latency" => latency(&mut m),
        "scaling-group" => scaling_group(&mut m),
        "database" => database(&mut m),
        "advertising" => advertising(&mut m),
        "machine" => machine(&mut m),
        "taxi" => taxi(&mut m),
        "office" => office(&mut m),
        "keys" => keys(&mut m),
        "occupancy" => road(&mut m, Road::Occupancy),
        "speed" => road(&mut m, Road::Speed),
        "travel" => road(&mut m, Road::Travel),
        "tweets" => tweets(&mut m),
        "daily-fault" => daily(&mut m, true),
        "daily-clean" => daily(&mut m, false),
        "spike-density" => spike_density(&mut m),
        "flat" => {
            let level = m.between(0.0, 90.0);
            m.fill(|_, _| level);
        }
        "noise" => {
            let (level, sd) = (m.between(10.0, 50.0), m.log_between(0.5, 5.0));
            m.fill(|m, _| level + sd * (m.r.uniform() - 0.5));
        }
        _ => unreachable!("{kind}"),
    }
    finish(kind, m)
}

fn finish(kind: &'static str, mut m: Maker) -> Recording {
    let irregular = matches!(kind, "occupancy" | "speed" | "travel");
    let (mut time, mut readings) = (0.0, Vec::with_capacity(m.n));
    for (i, &value) in m.values.clone().iter().enumerate() {
        readings.push((time, value));
        time += m.step;
        if irregular {
            // Five-minute readings of which some are missing, at night most.
            let hour = m.hour(i) % 24.0;
            let missing = if !(5.0..22.0).contains(&hour) { 0.15 } else { 0.02 };
            time += m.step * (m.r.uniform() < 0.25) as u8 as f64;
            if m.r.uniform() < missing {
                time += m.between(1.0, 12.0) * m.step;
            }
        }
    }
    // As the benchmark does: a tenth of the recording, shared between its labels.
    let width = m.n / 10 / m.labels.len().max(1);
    let windows = m
        .labels
        .iter()
        .map(|&at| (at.saturating_sub(width / 2), (at + width / 2).min(m.n - 1)))
        .collect();
    Recording { kind, readings, windows }
}

/// An idle machine: few distinct small values, harmless blips.
fn cpu(m: &mut Maker) {
    let (level, unit) = (m.log_between(0.05, 3.0), m.between(0.02, 0.1));
    let (sd, blips, blip) =
        (unit * m.between(0.4, 2.0), m.log_between(0.001, 0.02), m.between(5.0, 12.0) * unit);
    let every = if m.chance(0.5) { m.between(100.0, 300.0) as usize } else { usize::MAX };
    m.fill(|m, i| {
        let job = if i % every == every - 1 { 1.5 * blip } else { 0.0 };
        let extra = if m.chance(blips) { blip * m.r.uniform() } else { 0.0 };
        level + sd * m.r.normal() + extra + job
    });
    for at in m.places(2) {
        let height = blip * m.between(1.5, 8.0);
        match (m.r.uniform() * 3.0) as u8 {
            0 => m.add(at, 2, |_| height),
            1 => m.add(at, usize::MAX, |_| 0.6 * height),
            _ => m.add(at, 60, |k| height * (-(k as f64) / 20.0).exp()),
        }
    }
    m.clamp(0.0, 100.0);
    m.round(unit);
}

/// A busy machine: correlated load in percent; labels: it changes for good, falls idle, or runs full.
fn cpu_busy(m: &mut Maker) {
    let (level, sd, phi) = (m.between(25.0, 60.0), m.between(2.0, 8.0), m.between(0.3, 0.95));
    let mut x = 0.0;
    m.fill(|m, _| {
        x = phi * x + (1.0 - phi * phi).sqrt() * m.r.normal();
        level + sd * x
    });
    for _ in 0..3 {
        let (at, height) = (m.anywhere(), sd * m.between(3.0, 6.0));
        m.add(at, 3, |_| height);
    }
    let change = sd * m.between(3.0, 7.0);
    for at in m.places(2) {
        match (m.r.uniform() * 4.0) as u8 {
            0 => m.add(at, usize::MAX, |_| change),
            1 => m.add(at, 40, |_| -level),
            2 => m.add(at, 30, |_| 100.0),
            _ => m.add(at, 2, |_| 1.5 * change),
        }
    }
    m.clamp(0.0, 99.9);
}

/// Bytes: log-normal with bursts and a job at fixed times.
fn network(m: &mut Maker) {
    let (level, spread) = (m.log_between(1e4, 1e6), m.between(0.05, 0.5));
    let (bursts, height) = (m.log_between(0.002, 0.02), m.log_between(2.0, 20.0));
    let every = if m.chance(0.6) { m.between(12.0, 288.0) as usize } else { usize::MAX };
    let job = m.between(0.3, 1.0) * height;
    m.fill(|m, i| {
        let mut v = level * (spread * m.r.normal()).exp();
        if m.chance(bursts) {
            v += level * height * m.between(0.3, 1.0);
        }
        if i % every < 2 {
            v += level * job * m.between(0.8, 1.2);
        }
        v
    });
    for at in m.places(2) {
        match (m.r.uniform() * 3.0) as u8 {
            0 => m.add(at, 3, |_| 3.0 * level * height),
            1 => m.add(at, 50, |_| 1.3 * level * height),
            _ => m.add(at, usize::MAX, |_| 0.5 * level * height),
        }
    }
    m.round(1.0);
}

/// Bytes written: nothing but for rare writes of all sizes.
fn disk(m: &mut Maker) {
    let (share, size) = (m.log_between(0.005, 0.2), m.log_between(1e4, 1e7));
    m.fill(|m, _| if m.chance(share) { size * (0.8 * m.r.normal()).exp() } else { 0.0 });
    for at in m.places(2) {
        if m.chance(0.5) {
            m.add(at, 2, |_| 15.0 * size);
        } else {
            m.set(at, 40, |r| size * (0.8 * r.normal()).exp());
        }
    }
}

/// Requests to a balancer: counts with a daily cycle.
fn requests(m: &mut Maker) {
    let (low, high, spread) = (m.between(5.0, 30.0), m.between(40.0, 150.0), m.between(0.2, 0.6));
    m.fill(|m, i| {
        let mean = low + (high - low) * m.day(i, 1.5);
        m.count(mean, spread)
    });
    for _ in 0..3 {
        let (at, height) = (m.anywhere(), high * m.between(1.0, 3.0));
        m.add(at, 1, |_| height.round());
    }
    for at in m.places(2) {
        let height = (high * m.between(2.5, 6.0)).round();
        m.add(at, 3, |k| (height / (1 + k) as f64).round());
    }
}

/// Milliseconds: correlated noise with spikes.
fn latency(m: &mut Maker) {
    let (sd, spikes) = (m.between(1.0, 4.0), m.log_between(0.0005, 0.004));
    let mut x = 0.0;
    m.fill(|m, _| {
        x = 0.6 * x + 0.8 * m.r.normal();
        let spike = if m.chance(spikes) { sd * m.between(4.0, 9.0) } else { 0.0 };
        45.0 + sd * x + spike
    });
    for at in m.places(3) {
        let height = sd * m.between(7.0, 15.0);
        let length = m.between(1.0, 6.0) as usize;
        m.add(at, length, |_| height);
    }
}

/// A quantity that is set in steps, with a daily rhythm at times; labels: a level never seen, a collapse.
fn scaling_group(m: &mut Maker) {
    let (low, high, noise) = (m.between(20.0, 40.0), m.between(50.0, 80.0), m.between(0.2, 4.0));
    let rhythm = m.chance(0.6);
    let mut level = low;
    m.fill(|m, i| {
        if rhythm {
            level = if m.day(i, 1.0) > 0.6 { high } else { low };
        } else if m.chance(0.001) {
            level = m.between(low, high);
        }
        level + noise * m.r.normal()
    });
    for at in m.places(2) {
        let (length, height) =
            (m.between(40.0, 400.0) as usize, m.between(0.5, 1.0) * (high - low) + 5.0 * noise);
        if m.chance(0.5) {
            m.add(at, length, |_| height);
        } else {
            m.set(at, length, |_| 0.0);
        }
    }
    m.clamp(0.0, 1000.0);
}

/// A database: flat, now and then for hours a little higher; labels: higher than that, or a gap down.
fn database(m: &mut Maker) {
    let (level, sd) = (m.between(5.0, 20.0), m.between(0.2, 1.0));
    m.fill(|m, _| level + sd * m.r.heavy());
    for _ in 0..6 {
        let (at, height) = (m.anywhere(), sd * m.between(2.0, 5.0));
        let length = m.between(5.0, 60.0) as usize;
        m.add(at, length, |_| height);
    }
    for at in m.places(2) {
        let height = sd * m.between(5.0, 12.0) * if m.chance(0.3) { -1.0 } else { 1.0 };
        let length = m.log_between(2.0, 200.0) as usize;
        m.add(at, length, |_| height);
    }
    m.clamp(0.0, 100.0);
}

/// Prices by the hour: noise with heavy upper tail; labels: the highest, some no more than others.
fn advertising(m: &mut Maker) {
    let (level, spread, daily) =
        (m.log_between(0.05, 5.0), m.between(0.15, 0.5), m.between(0.0, 0.5));
    m.fill(|m, i| {
        let tail = if m.chance(0.02) { m.between(1.0, 2.5) } else { 0.0 };
        let mean = 1.0 + daily * (m.day(i, 1.0) - 0.5);
        level * mean * (spread * m.r.normal() + tail).exp()
    });
    for at in m.places(3) {
        let height = level * m.between(2.0, 15.0);
        let length = m.log_between(1.0, 8.0) as usize;
        m.add(at, length, |_| height);
    }
}

/// A machine's temperature: wanders, shut down once as planned; labels: a slow decline that ends in a failure.
fn machine(m: &mut Maker) {
    let mut x = 0.0;
    let (sd, slow) = (m.between(0.4, 1.2), m.between(200.0, 800.0));
    m.fill(|m, i| {
        x += -x / slow + 6.0 * (2.0 / slow).sqrt() * m.r.normal();
        85.0 + x + 3.0 * m.day(i, 1.0) + sd * m.r.normal()
    });
    for _ in 0..4 {
        let (at, depth) = (m.anywhere(), m.between(8.0, 18.0));
        m.add(at, 150, |k| -depth * (1.0 - k as f64 / 150.0));
    }
    for at in m.places(4) {
        let (depth, before) = (m.between(20.0, 60.0), m.between(200.0, 600.0) as usize);
        m.add(at - before, before, |k| -0.4 * depth * k as f64 / before as f64);
        m.add(at, 120, |k| -depth * (1.0 - k as f64 / 120.0));
    }
    m.clamp(0.0, 110.0);
}

/// Passengers: smooth days and weeks; labels: days that are like no other.
fn taxi(m: &mut Maker) {
    m.fill(|m, i| {
        let weekend = m.weekend(i);
        let day = m.day(i, if weekend { 0.8 } else { 0.6 });
        let rush = (-((m.hour(i) % 24.0 - 19.0) / 2.0).powi(2)).exp();
        let mean = 3000.0 + 15_000.0 * day + if weekend { -1000.0 } else { 5000.0 * rush };
        mean * (1.0 + 0.04 * m.r.normal())
    });
    for at in m.places(5) {
        let factor = match (m.r.uniform() * 3.0) as u8 {
            0 => 0.4,
            1 => 0.1,
            _ => 1.5,
        };
        m.values[at - 10..].iter_mut().take(34).for_each(|v| *v *= factor);
    }
    m.round(1.0);
}

/// An office's temperature by the hour: weather and a weak day; labels: cold or hot for hours or days.
fn office(m: &mut Maker) {
    let mut x = 0.0;
    m.fill(|m, i| {
        x += -x / 100.0 + 3.0 * (0.02f64).sqrt() * m.r.normal();
        71.0 + x + 3.0 * m.day(i, 1.0) + 0.6 * m.r.normal()
    });
    for at in m.places(2) {
        let depth = m.between(6.0, 14.0) * if m.chance(0.7) { -1.0 } else { 1.0 };
        let length = m.between(10.0, 80.0) as usize;
        m.add(at, length, |_| depth);
    }
}

/// Seconds that keys are held: bursts of work, little to see at the labels.
fn keys(m: &mut Maker) {
    let (mut working, spread) = (false, m.between(0.2, 0.6));
    m.fill(|m, i| {
        if m.chance(0.03) {
            working = m.chance(0.3 + 0.4 * m.day(i, 1.0));
        }
        if working {
            0.1 * (spread * m.r.normal()).exp()
        } else {
            0.05 * (0.1 * m.r.normal()).exp()
        }
    });
    for at in m.places(2) {
        let height = m.between(0.05, 0.6);
        m.add(at, 12, |_| height);
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Road {
    Occupancy,
    Speed,
    Travel,
}

/// A road's detector by day and night.
fn road(m: &mut Maker, what: Road) {
    let (noise, rush) = (m.between(0.05, 0.15), m.between(0.2, 0.6));
    let mut x = 0.0;
    let mut busy = vec![0.0; m.n];
    for (i, busy) in busy.iter_mut().enumerate() {
        x = 0.8 * x + 0.6 * m.r.normal();
        let peak = |at: f64| (-((m.hour(i) % 24.0 - at) / 1.5).powi(2)).exp();
        let week = if m.weekend(i) { 0.2 } else { 1.0 };
        *busy = (0.15 + 0.3 * m.day(i, 0.7) + week * rush * (peak(8.0) + peak(17.5)) + noise * x)
            .max(0.01);
    }
    for _ in 0..3 {
        let (at, height) = (m.anywhere(), m.between(0.2, 0.5));
        busy.iter_mut().skip(at).take(4).for_each(|b| *b += height);
    }
    for at in m.places(3) {
        let (height, length) = (m.between(0.5, 1.5), m.between(3.0, 25.0) as usize);
        busy.iter_mut().skip(at).take(length).for_each(|b| *b += height);
    }
    m.fill(|m, i| match what {
        Road::Occupancy => (12.0 * busy[i] * (0.3 * m.r.normal()).exp()).min(90.0),
        Road::Speed => {
            let jam = (busy[i] - 0.7).max(0.0);
            (68.0 - 40.0 * jam + 4.0 * m.r.normal()).round().max(5.0)
        }
        Road::Travel => {
            let jam = (busy[i] - 0.5).max(0.0);
            let stray = if m.chance(0.01) { m.between(100.0, 600.0) } else { 0.0 };
            (90.0 + 400.0 * jam + 30.0 * (0.7 * m.r.normal()).exp() + stray).round()
        }
    });
}

/// Mentions in five minutes: counts, bursts of all sizes that die away; labels: some of the largest.
fn tweets(m: &mut Maker) {
    let (mean, spread) = (m.log_between(2.0, 50.0), m.between(0.3, 0.7));
    m.fill(|m, i| {
        let mean = mean * (0.3 + 1.4 * m.day(i, 1.0)) * if m.weekend(i) { 0.8 } else { 1.0 };
        m.count(mean, spread)
    });
    let burst = |m: &mut Maker, at: usize, size: f64| {
        let half = m.log_between(2.0, 30.0);
        m.add(at, 200, |k| (size * mean * (-(k as f64) / half).exp()).round());
    };
    for _ in 0..25 {
        let (at, size) = (m.anywhere(), 2.0 / m.between(0.15, 1.0).powf(1.1));
        burst(m, at, size);
    }
    for at in m.places(4) {
        let size = m.log_between(6.0, 40.0);
        burst(m, at, size);
    }
}

/// A day's plateau and a night's, with little noise or none; labels: a day without, or with another, or a longer one.
fn daily(m: &mut Maker, fault: bool) {
    let (low, high) = (m.between(15.0, 25.0), m.between(60.0, 90.0));
    let (sharp, noise) =
        (m.chance(0.3), if fault { m.between(0.5, 5.0) } else { m.between(-2.0, 5.0).max(0.0) });
    let shape = move |hour: f64| {
        let day = (9.0..18.0).contains(&hour);
        let ramp = ((hour - 9.0).min(18.0 - hour)).clamp(0.0, 0.5) * 2.0;
        low + (high - low) * if sharp { f64::from(u8::from(day)) } else { ramp }
    };
    m.fill(|m, i| shape(m.hour(i) % 24.0) + noise * (m.r.uniform() - 0.5));
    if !fault {
        return;
    }
    let day = (24.0 * 3600.0 / m.step) as usize;
    let start = day * m.between(6.0, 12.0) as usize + day * 9 / 24;
    m.labels = vec![start + day * 4 / 24];
    let what = (m.r.uniform() * 4.0) as u8;
    for k in 0..day * 9 / 24 {
        m.values[start + k] = match what {
            0 => low + noise * (m.r.uniform() - 0.5),
            1 => m.values[start + k] + 0.6 * (high - low),
            2 => m.values[start + k] - 0.5 * (high - low),
            _ => low + 0.5 * (high - low) + noise * (m.r.uniform() - 0.5),
        };
    }
}

/// Spikes of equal height that come twice to five times as often for a day.
fn spike_density(m: &mut Maker) {
    let (every, height) = (m.between(30.0, 60.0) as usize, m.between(10.0, 50.0));
    m.places(1);
    let (at, times) = (m.labels[0], m.between(2.0, 5.0) as usize);
    m.fill(|_, i| {
        let every = if (at..at + 288).contains(&i) { every / times } else { every };
        if i % every == 0 { height } else { 0.0 }
    });
}

/// All of them; `round`: which seeds.
pub fn corpus(round: u64) -> impl Iterator<Item = Recording> {
    KINDS.into_iter().flat_map(move |(kind, count)| {
        (0..count as u64).map(move |i| recording(kind, round * 100 + i))
    })
}
