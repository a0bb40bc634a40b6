//! What was acknowledged survives kill -9, and what was not and comes again counts once.
//!
//! `KILLS=100` sets how often to kill, `SEED` the seed.

use std::time::{Duration, Instant};

use crate::daemon::{PATIENCE, Site, Weir, until};
use crate::rng::Rng;
use crate::sender::{Sender, line};
use crate::{JSON, site};

/// Readings that a sender has out at most: what comes again must lie within `lateness`.
const WINDOW: u64 = 200;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().expect("a number"))
}

/// One sender: readings 0.., one a second of event time, again from the last acknowledged one on
/// with each connection.
struct Source {
    device: String,
    acknowledged: u64,
    /// Highest reading ever sent.
    sent: u64,
}

impl Source {
    /// Sends until the connection breaks or all of `through` are acknowledged.
    fn run(&mut self, port: u16, through: u64) {
        let Ok(mut sender) = Sender::try_new(port) else { return };
        let first = self.acknowledged;
        let mut next = first;
        while self.acknowledged < through {
            let upto = (self.acknowledged + WINDOW).min(through);
            while next < upto {
                let (seconds, value) = (next as f64, next as f64);
                next += 1;
                self.sent = self.sent.max(next);
                if sender.try_send(line(&self.device, seconds, value)).is_err() {
                    return;
                }
            }
            match sender.durable() {
                Some(lines) => self.acknowledged = first + lines,
                None => return,
            }
        }
    }
}

fn start(site: &Site) -> Weir {
    let weir = site.spawn();
    weir.says("lines are taken at");
    weir
}

#[test]
fn acknowledged_lines_survive_kill_9_and_repeats_count_once() {
    let kills = setting("KILLS", 12);
    let mut rng = Rng::new(setting("SEED", 1));
    let (site, port) = site(None, JSON, "[[profile]]\nmatch = {}\nlateness = '10m'\n");
    let mut sources: Vec<Source> =
        (0..3).map(|n| Source { device: format!("d{n}"), acknowledged: 0, sent: 0 }).collect();
    for _ in 0..kills {
        let mut weir = start(&site);
        let life = Duration::from_millis(20 + rng.below(400));
        std::thread::scope(|scope| {
            for source in &mut sources {
                scope.spawn(move || source.run(port, u64::MAX));
            }
            // The moment of the kill is what this is about.
            std::thread::sleep(life);
            weir.kill();
        });
    }
    let weir = start(&site);
    let acknowledged: u64 = sources.iter().map(|source| source.acknowledged).sum();
    // Every one of them is there before any comes again.
    until("what was acknowledged", || (counted(&weir) >= acknowledged).then_some(()));
    let begin = Instant::now();
    for source in &mut sources {
        let through = source.sent;
        while source.acknowledged < through {
            source.run(port, through);
            assert!(begin.elapsed() < PATIENCE, "the rest is not taken");
        }
    }
    let sent: u64 = sources.iter().map(|source| source.sent).sum();
    assert!(sent > 0 && acknowledged > 0, "{sent} sent, {acknowledged} acknowledged");
    assert_eq!(counted(&weir), sent, "each reading once");
    for source in &sources {
        let row: serde_json::Value =
            serde_json::from_str(&weir.get(&format!("/api/series/{}/m", source.device)).1).unwrap();
        assert_eq!(row["reading"].as_f64(), Some((source.sent - 1) as f64), "{row}");
    }
    let repeats = weir.metric("weir_readings_dropped_total{reason=\"duplicate\"}");
    eprintln!(
        "tcp crash: {kills} kills, {sent} readings, {acknowledged} acknowledged before the last \
         life, {repeats} repeats recognised"
    );
    weir.stop();
}

/// Readings of all series: committed, less those recognised as repeats.
fn counted(weir: &Weir) -> u64 {
    let metrics = weir.metrics();
    let repeats = metrics["weir_readings_dropped_total{reason=\"duplicate\"}"];
    (metrics["weir_readings_total"] - repeats) as u64
}
