//! Exactness of the real program between real brokers, killed at random moments and at every named
//! failpoint: counts, sums, bits.
//!
//! `cargo test --test crash` kills a little; `--features failpoints` adds the named places, many
//! checkpoints and journal trims, and the whole journal's replay. `KILLS=200` sets how often to
//! kill at random, `SEED` the first seed, `RATE` the messages a second. A failure prints its seed
//! and keeps its folder.
//!
//! This is the one test that lets real time pass: moments of kills and lengths of downtimes are
//! what it is about.

use std::time::{Duration, Instant, SystemTime};

#[path = "crash/collector.rs"]
mod collector;
#[path = "crash/daemon.rs"]
mod daemon;
#[path = "crash/model.rs"]
mod model;
#[path = "support/mosquitto.rs"]
mod mosquitto;
#[path = "support/program.rs"]
mod program;
#[path = "crash/publisher.rs"]
mod publisher;
#[path = "crash/reckoning.rs"]
mod reckoning;
#[path = "sim/rng.rs"]
mod rng;

use daemon::{Daemon, Home};
use model::{LATENESS_MS, Model};
use mosquitto::Mosquitto;
use publisher::Publisher;
use reckoning::Image;
use rng::Rng;
use weir::failpoint::NAMES;

/// Series of the flood of names that find room beside the others.
const FLOOD_ROOM: usize = 10;
/// One life in so many is long enough for pings to prove acknowledgements, without which the
/// journal is not trimmed.
const LONG_LIFE_EVERY: u64 = 20;
/// How long that is from its connection on: two pings (keep-alive is 5 s) and a checkpoint.
const LONG_LIFE: Duration = Duration::from_secs(13);
/// How long a failpoint may take to be reached, and the end to be drained.
const PATIENCE: Duration = Duration::from_secs(120);

/// Unix milliseconds.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    since.as_millis() as i64
}

fn setting<T: std::str::FromStr>(name: &str, otherwise: T) -> T {
    let Ok(text) = std::env::var(name) else { return otherwise };
    text.parse().unwrap_or_else(|_| panic!("{name}={text}: must be a number"))
}

/// What happened, for the last line.
#[derive(Debug, Default)]
struct Account {
    random: u64,
    /// Kills by failpoint, in the order of [`NAMES`].
    at: [u64; NAMES.len()],
    redelivered: u64,
    checkpoints: u64,
    outages: u64,
}

impl Account {
    fn ended(&mut self, seen: &daemon::Metrics) {
        self.redelivered += seen.get("weir_transport_duplicates_total");
        self.checkpoints += seen.get("weir_checkpoints_total");
    }
}

/// Says where to look when the test fails.
struct Keep {
    seed: u64,
    folder: Option<tempfile::TempDir>,
}

impl Drop for Keep {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("crash: SEED={} failed; its folder: {}", self.seed, folder.keep().display());
        }
    }
}

#[test]
fn nothing_is_lost_or_doubled_whatever_is_killed() {
    let kills: u64 = setting("KILLS", 10);
    let failpoints =
        if cfg!(feature = "failpoints") { (kills / 2).max(NAMES.len() as u64) } else { 0 };
    battery(setting("SEED", 1), kills, failpoints, setting("RATE", 400.0));
}

fn battery(seed: u64, kills: u64, failpoints: u64, rate: f64) {
    let began = Instant::now();
    let keep = Keep { seed, folder: Some(tempfile::tempdir().expect("a temporary folder")) };
    let root = keep.folder.as_ref().expect("just made").path().to_owned();
    let mut rng = Rng::new(seed);
    let (site, mut cloud) = (Mosquitto::start(), Mosquitto::start());
    let model = Model::new(seed);
    let mut home = Home::new(&root, site.port(), cloud.port(), model.series() + FLOOD_ROOM);
    let upstream = collector::upstream(cloud.port(), "fleet/crash");
    let results = collector::results(site.port(), "weir/crash/+/+/aggregate");
    let mut account = Account::default();
    let mut copies: Vec<Image> = Vec::new();

    // The first life makes the session; what is published before it nobody could see.
    let mut daemon = home.start(None);
    await_ready(&mut daemon);
    let publisher = Publisher::start(site.port(), model, rate);
    let mut failpoint: Option<(usize, String)> = None;
    for kill in 0..kills + failpoints {
        assert!(publisher.is_alive(), "the publisher failed");
        match failpoint.take() {
            None => {
                let long = account.random % LONG_LIFE_EVERY == LONG_LIFE_EVERY / 2 - 1;
                live(&mut daemon, &mut rng, long);
                account.ended(&daemon.kill());
                account.random += 1;
            }
            Some((which, name)) => {
                daemon.await_death(&name, PATIENCE);
                account.ended(&daemon.seen);
                account.at[which] += 1;
            }
        }
        if kill % 8 == 7 {
            // What a start would make of this very moment.
            let copy = root.join("copy");
            reckoning::copy(&home.state(), &copy);
            copies.push(reckoning::recover(&copy).0);
            std::fs::remove_dir_all(&copy).expect("the folder is ours");
        }
        match (cloud.pid().is_some(), rng.below(100)) {
            (true, 0..8) => {
                cloud.stop();
                account.outages += 1;
            }
            (false, 0..35) => cloud.restart(),
            _ => {}
        }
        // Failpoints are spread evenly among the random kills; all but the last life has its kill.
        let before = |kill: u64| kill * failpoints / (kills + failpoints);
        let named = before(kill + 2) > before(kill + 1) && kill + 1 < kills + failpoints;
        if named {
            let which = (before(kill + 1) % NAMES.len() as u64) as usize;
            failpoint = Some((which, format!("{}:{}", NAMES[which], 1 + rng.below(3))));
            // Without upstream some are never reached.
            if cloud.pid().is_none() {
                cloud.restart();
            }
        }
        let lateness = LATENESS_MS as u64;
        let downtime = [0, 0, 30, lateness / 2, 2 * lateness][rng.below(5) as usize];
        std::thread::sleep(Duration::from_millis(downtime));
        daemon = home.start(failpoint.as_ref().map(|(_, name)| name.as_str()));
    }
    if cloud.pid().is_none() {
        cloud.restart();
    }

    // The last life: everything must come out.
    let model = publisher.finish();
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(daemon.ended().is_none(), "weir ended by itself; log:\n{}", daemon.log());
        let looked = daemon.look();
        let refused = daemon.seen.dropped("series_limit");
        let drained = daemon.seen.get("weir_readings_total") >= model.readings_total(refused)
            && daemon.seen.get("weir_outbox_records{forward=\"cloud\"}") == 0
            && upstream.lock().readings() >= model.accepted_readings() + model.flood - refused;
        if (looked && drained) || Instant::now() > deadline {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // The longer windows end later.
    let largest = model::WINDOWS_MS[1] as u64 + LATENESS_MS as u64;
    std::thread::sleep(Duration::from_millis(largest + 1_500));
    assert!(daemon.look(), "no metrics; log:\n{}", daemon.log());
    let metrics = daemon.seen.clone();
    account.ended(&metrics);
    let took = daemon.stop();
    assert!(took < Duration::from_secs(5), "SIGTERM took {took:?}");

    let upstream = upstream.lock();
    let (lost, doubled) = reckoning::count(&model, &upstream, &results.lock(), &metrics);
    let (last, deadline) = reckoning::recover(&home.state());
    assert_eq!(deadline, None, "something is still open");
    let frames = reckoning::replay(&home, &copies, &last, &upstream);
    let results = results.lock();

    println!(
        "crash: {} kills ({} random, {} at failpoints), seed {seed}, {:.0} s; {} readings in {} messages published, {} redeliveries recognised, {lost} lost, {doubled} doubled",
        account.random + account.at.iter().sum::<u64>(),
        account.random,
        account.at.iter().sum::<u64>(),
        began.elapsed().as_secs_f64(),
        model.accepted_readings() + model.flood,
        model.messages,
        account.redelivered,
    );
    for (name, hits) in NAMES.iter().zip(account.at).filter(|&(_, hits)| hits > 0) {
        println!("crash: failpoint {name}: {hits}");
    }
    let drops: Vec<String> =
        model.drops.iter().map(|(reason, n)| format!("{n} {}", reason.name())).collect();
    println!(
        "crash: drops as counted by the model: {}; series_limit {} of {} flood readings",
        drops.join(", "),
        metrics.dropped("series_limit"),
        model.flood
    );
    println!(
        "crash: {} records ({} of further parts) in {} messages upstream, {} messages repeated with equal bytes, {} outages upstream; {} results repeated",
        upstream.records.len(),
        upstream.further_parts,
        upstream.messages(),
        upstream.repeated,
        account.outages,
        results.repeated,
    );
    println!(
        "crash: {frames} frames, {} checkpoints, {} of {} journal segments deleted while running; state bit-equal to a replay without kills at the end and at {} copies",
        account.checkpoints,
        deleted_segments(&home),
        std::fs::read_dir(home.archive()).map_or(0, Iterator::count),
        copies.len(),
    );
    if cfg!(feature = "failpoints") {
        assert!(account.checkpoints > kills / 4, "too few checkpoints to prove anything");
        assert!(deleted_segments(&home) > 0, "the journal was never trimmed");
        assert!(account.at.iter().all(|&hits| hits > 0), "{account:?}");
        // Without failpoints it is chance whether a kill falls between a sync and its
        // acknowledgements.
        assert!(account.redelivered > 0, "no redelivery: the kills missed every open batch");
    }
}

/// Segments that the archive has and the journal no longer.
fn deleted_segments(home: &Home) -> usize {
    let count = |path: &std::path::Path| std::fs::read_dir(path).map_or(0, Iterator::count);
    count(&home.archive()) - count(&home.state().join("journal"))
}

fn await_ready(daemon: &mut Daemon) {
    let deadline = Instant::now() + PATIENCE;
    while !daemon.look() || daemon.seen.get("weir_mqtt_connected") == 0 {
        assert!(Instant::now() < deadline, "weir is not ready; log:\n{}", daemon.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    // The subscription follows the connection by a moment.
    std::thread::sleep(Duration::from_millis(500));
}

/// Lets the daemon live for a while: mostly long enough to work, now and then hardly begun; `long`:
/// see [`LONG_LIFE`].
fn live(daemon: &mut Daemon, rng: &mut Rng, long: bool) {
    let life = if rng.chance(20) { rng.below(100) } else { 100 + rng.below(1_400) };
    let life = if long {
        await_ready(daemon);
        LONG_LIFE
    } else {
        Duration::from_millis(life)
    };
    let end = Instant::now() + life;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(Duration::from_millis(150)));
        daemon.look();
    }
}
