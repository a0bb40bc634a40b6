//! The page with INVENTED DATA, for looking at it without a broker or a pipeline.
//!
//! `cargo run --example page [PORT [COPIES]]`, then open <http://localhost:9377/>. Nothing here is measured:
//! a dozen made-up series, a made-up outage of one forwarder. The real thing is `weir demo`.

use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use weir::analytics::alarm::Severity;
use weir::http::{
    AlarmRow, Alarms, BatchInfo, DeviceRow, ForecastRow, ForwardInfo, Handle, Query, ResultsInfo,
    Status,
};
use weir::reading::{DropReason, EventTime, ProcessingTime, SECOND};

/// One made-up series: a daily wave around a mean, and noise.
struct Invented {
    device: String,
    metric: &'static str,
    unit: Option<&'static str>,
    mean: f64,
    wave: f64,
    noise: f64,
    trend: bool,
    forecast: bool,
    level: Option<f64>,
    count: u64,
    dropped: u64,
    nis: f64,
    history: Vec<(f64, f64, Option<f64>)>,
}

/// Device, metric, unit, mean, wave, noise, whether with a trend, whether with a forecast.
type Made = (&'static str, &'static str, Option<&'static str>, f64, f64, f64, bool, bool);

const INVENTED: [Made; 13] = [
    ("boiler-1", "temperature", Some("°C"), 71.5, 6.0, 0.35, false, true),
    ("boiler-1", "pressure", Some("bar"), 1.82, 0.12, 0.006, true, true),
    ("boiler-3", "temperature", Some("°C"), 68.0, 5.0, 0.8, false, true),
    ("chiller-2", "flow", Some("l/min"), 42.0, 9.0, 1.3, false, true),
    ("cold-room", "temperature", Some("°C"), -18.4, 0.9, 0.12, false, true),
    ("compressor", "current", Some("A"), 12.6, 3.1, 0.5, false, true),
    ("compressor", "vibration/x", Some("mm/s"), 2.31, 0.4, 0.21, true, true),
    ("greenhouse", "humidity", Some("%"), 64.0, 11.0, 0.7, false, true),
    ("greenhouse", "co2", Some("ppm"), 612.0, 140.0, 9.0, false, true),
    ("meter-main", "power", Some("W"), 18_400.0, 6_200.0, 310.0, false, true),
    ("tank-7", "level", Some("m"), 3.412, 0.31, 0.004, true, false),
    ("weather", "pressure", Some("hPa"), 1013.2, 1.1, 0.05, true, true),
    (
        "<b>a name as long and as hostile as a payload may carry</b>",
        "t",
        None,
        5.0,
        1.0,
        0.2,
        false,
        false,
    ),
];

const DAY: f64 = 86_400.0;

impl Invented {
    fn expected(&self, at: f64) -> f64 {
        let turn = std::f64::consts::TAU * at / DAY;
        self.mean + self.wave * (libm::sin(turn) + 0.25 * libm::sin(3.0 * turn + 0.6))
    }

    fn read(&mut self, at: f64, dice: &mut Dice) {
        // The wave runs sixty times as fast in what was read, so that there is something to see.
        let shown = self.expected(at) + 0.12 * self.wave * libm::sin(at / 17.0 + self.mean);
        let reading = shown + self.noise * dice.bell();
        let before = self.level.unwrap_or(reading);
        let level = before + 0.22 * (reading - before);
        let z = (reading - before) / (1.2 * self.noise);
        self.nis = z * z;
        self.level = Some(level);
        self.count += 1;
        if self.history.len() >= 300 {
            self.history.remove(0);
        }
        self.history.push((at, reading, Some(level)));
    }

    fn row(&self) -> DeviceRow {
        let last = self.history.last();
        DeviceRow {
            device: self.device.clone(),
            metric: self.metric.to_owned(),
            unit: self.unit.map(str::to_owned),
            time: last.map(|&(at, ..)| EventTime::clamped((at * SECOND as f64) as i64)),
            reading: last.map(|&(_, reading, _)| reading),
            level: self.level,
            variance: Some(0.12 * self.noise * self.noise),
            trend: self.trend.then_some(self.wave / 40_000.0),
            nis: Some(self.nis),
            count: self.count,
            dropped: self.dropped,
            kind: "gauge",
            kind_from: "readings",
            model: if self.trend { "trend" } else { "level" }.to_owned(),
            vector: None,
            noise: None,
            forecast: last.filter(|_| self.forecast).map(|&(at, ..)| self.forecast(at)),
            alarms: self
                .alarm()
                .into_iter()
                .map(|row| AlarmRow { device: None, metric: None, ..row })
                .collect(),
            history: self.history.clone(),
        }
    }

    /// Some are in alarm.
    fn alarm(&self) -> Option<AlarmRow> {
        let &(at, value, _) = self.history.last()?;
        let upper = self.mean + 0.3 * self.wave;
        let unit = self.unit.unwrap_or_default();
        (self.trend && value > upper).then(|| AlarmRow {
            device: Some(self.device.clone()),
            metric: Some(self.metric.to_owned()),
            alarm: format!("{}-above", self.metric),
            since: EventTime::clamped((at - 1234.0) as i64 * SECOND).to_string(),
            value: Some(value),
            expected: None,
            lower: None,
            upper: Some(upper),
            reason: format!("above {upper:.1} {unit} for 5 min, now {value:.2} {unit}"),
            severity: Severity::Warning,
        })
    }

    fn forecast(&self, at: f64) -> ForecastRow {
        let origin = libm::floor(at / 3600.0) * 3600.0;
        let mean: Vec<f64> =
            (0..24).map(|h| self.expected(origin + (f64::from(h) + 0.5) * 3600.0)).collect();
        let half =
            |h: usize| (self.noise + 0.06 * self.wave) * (1.0 + h as f64 * 0.22).sqrt() * 1.4;
        ForecastRow {
            origin: EventTime::clamped(origin as i64 * SECOND),
            step_s: 3600.0,
            nominal: 0.95,
            lower: mean.iter().enumerate().map(|(h, m)| m - half(h)).collect(),
            upper: mean.iter().enumerate().map(|(h, m)| m + half(h)).collect(),
            mean,
            model: "daily".to_owned(),
            coverage: Some(0.943),
            skill: Some(0.31),
        }
    }
}

/// A small linear congruential generator (Knuth, TAOCP 2, 3.3.4, line 26); looks, not science.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// About normal: twelve uniforms.
    fn bell(&mut self) -> f64 {
        (0..12).map(|_| self.roll()).sum::<f64>() - 6.0
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

fn stamp(at: f64) -> ProcessingTime {
    ProcessingTime((at * SECOND as f64) as i64)
}

fn batch(number: u64, at: f64, dice: &mut Dice) -> BatchInfo {
    let readings =
        180 + (dice.roll() * 60.0) as u64 + if number.is_multiple_of(37) { 420 } else { 0 };
    let stall = if dice.roll() > 0.97 { 38.0 } else { 0.0 };
    BatchInfo {
        number,
        closed: stamp(at),
        readings,
        messages: readings / 3,
        duration_ms: 5.5 + 0.01 * readings as f64 + 2.0 * dice.roll() + stall,
        delay_ms: 1900.0 + 150.0 * dice.roll(),
        journal_bytes: readings * 14 + 120,
        records: 4 + (dice.roll() * 12.0) as u64,
    }
}

fn advance(status: &mut Status, done: BatchInfo, at: f64, since: Instant) {
    status.now = stamp(at);
    status.uptime_s = 90_000.0 + since.elapsed().as_secs_f64();
    status.readings_total += done.readings;
    status.journal_bytes_total += done.journal_bytes;
    status.journal_bytes_now = 2_400_000 + status.journal_bytes_total % 3_000_000;
    if done.number.is_multiple_of(60) {
        status.checkpoints_total += 1;
        status.checkpoint_bytes_total += 260_000;
    }
    if done.number.is_multiple_of(3) {
        status.drops.add(DropReason::Duplicate, 2);
    }
    status.results.published += done.records + 12;
    let away = &mut status.forwards[1];
    away.outbox_records += done.records;
    away.outbox_bytes += done.records * 210;
    away.oldest_seconds = away.last_success.map(|last| at - last);
    let cloud = &mut status.forwards[0];
    cloud.outbox_records = done.records;
    cloud.outbox_bytes = done.records * 210;
    cloud.oldest_seconds = Some(1.0);
    cloud.acknowledged_messages += 1;
    cloud.next_sequence += 1;
    cloud.last_success = Some(at - 1.0);
    status.committed(done);
}

fn first(at: f64) -> Status {
    let mut status =
        Status::new("ber-plant-01".to_owned(), "01J9ZK3T5Q".to_owned(), stamp(at - 90_000.0));
    status.mqtt_connected = true;
    status.clock_trusted = true;
    status.ready = true;
    status.not_ready_reason = None;
    status.readings_total = 8_412_000;
    status.journal_bytes_total = 121_000_000;
    status.checkpoint_bytes_total = 31_000_000;
    status.checkpoints_total = 118;
    status.max_series = 10_000;
    for (reason, n) in [
        (DropReason::Duplicate, 1204),
        (DropReason::Invalid, 310),
        (DropReason::Missing, 85),
        (DropReason::Malformed, 12),
        (DropReason::Future, 7),
    ] {
        status.drops.add(reason, n);
    }
    status.reconnects = 2;
    status.duplicates_transport = 31;
    status.results = ResultsInfo { connected: true, published: 902_118, queued: 0, dropped: 0 };
    status.forwards = vec![
        ForwardInfo {
            name: "cloud".to_owned(),
            connected: true,
            acknowledged_messages: 44_812,
            next_sequence: 44_813,
            ..ForwardInfo::default()
        },
        ForwardInfo {
            name: "archive".to_owned(),
            outbox_bytes: 1_840_000,
            outbox_records: 8_700,
            last_success: Some(at - 5_400.0),
            acknowledged_messages: 12_030,
            next_sequence: 12_031,
            ..ForwardInfo::default()
        },
    ];
    status.notice("Invented data: this is the page's example, not a running weir.");
    status
}

fn answer(all: &[Invented], query: Query) {
    match query {
        Query::Series { search, after, limit, reply } => {
            let search = search.to_lowercase();
            let rows = all
                .iter()
                .filter(|s| format!("{}/{}", s.device, s.metric).to_lowercase().contains(&search))
                .filter(|s| {
                    after
                        .as_ref()
                        .is_none_or(|(d, m)| (s.device.as_str(), s.metric) > (d.as_str(), m))
                })
                .take(limit)
                .map(Invented::row)
                .collect();
            let _ = reply.send(rows);
        }
        Query::One { device, metric, reply } => {
            let row = all.iter().find(|s| s.device == device && s.metric == metric);
            let _ = reply.send(row.map(Invented::row));
        }
        Query::Alarms { limit, reply } => {
            let mut alarms: Vec<AlarmRow> = all.iter().filter_map(Invented::alarm).collect();
            let total = alarms.len() as u64;
            alarms.truncate(limit);
            let _ = reply.send(Alarms { alarms, total });
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(9377);
    let since = Instant::now();
    let mut dice = Dice(7);
    let copies: usize = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(1).min(100);
    let mut all: Vec<Invented> = (0..copies.max(1))
        .flat_map(|copy| INVENTED.iter().map(move |series| (copy, series)))
        .map(|(copy, &(device, metric, unit, mean, wave, noise, trend, forecast))| Invented {
            device: if copy == 0 { device.to_owned() } else { format!("{device}-{copy}") },
            metric,
            unit,
            mean,
            wave,
            noise,
            trend,
            forecast,
            level: None,
            count: (40_000.0 * dice.roll()) as u64,
            dropped: if dice.roll() > 0.7 { 14 } else { 0 },
            nis: 0.0,
            history: Vec::new(),
        })
        .collect();
    all.sort_by(|a, b| (&a.device, a.metric).cmp(&(&b.device, b.metric)));
    let begun = now();
    let mut status = first(begun);
    status.series = all.len() as u64;
    for number in 0..120 {
        let at = begun - 2.0 * f64::from(120 - number);
        let done = batch(46_000 + number as u64, at, &mut dice);
        advance(&mut status, done, at, since);
        for series in &mut all {
            series.read(at, &mut dice);
        }
    }

    let status = Arc::new(RwLock::new(status));
    let all = Arc::new(Mutex::new(all));
    let asked = Arc::clone(&all);
    let handle = Handle::new(Arc::clone(&status), move |query| {
        asked.lock().map(|all| answer(&all, query)).is_ok()
    });
    let progress = handle.progress.clone();
    tokio::spawn(async move {
        let mut number = 46_120;
        let mut ticks = tokio::time::interval(Duration::from_secs(2));
        loop {
            ticks.tick().await;
            let at = now();
            if let (Ok(mut status), Ok(mut all)) = (status.write(), all.lock()) {
                let done = batch(number, at, &mut dice);
                advance(&mut status, done, at, since);
                for series in all.iter_mut() {
                    series.read(at, &mut dice);
                }
            }
            number += 1;
            progress.stamp();
        }
    });

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("invented data at http://localhost:{}/", listener.local_addr()?.port());
    let door = tokio::sync::watch::channel(weir::config::access::Door::default()).1;
    weir::http::serve(listener, door, handle, async {
        let _ = tokio::signal::ctrl_c().await;
    })
    .await
}
