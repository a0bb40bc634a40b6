//! What systemd is told of the daemon's life: while it recovers, and while it runs.
//!
//! Only the pipeline's own progress counts. That the process exists, or that its main thread turns,
//! is no sign that readings become durable.

use std::time::{Duration, Instant};

use crate::systemd::Notifier;

/// How often the status line is renewed where nobody watches.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// Recovery asks for more time this often.
const START_EVERY: Duration = Duration::from_secs(5);
/// A start that gets on asks for so much more time.
pub const START_LONGER: Duration = Duration::from_secs(60);

/// Decides when the watchdog is fed.
#[derive(Debug)]
pub struct Life {
    interval: Option<Duration>,
    told: Instant,
}

impl Life {
    /// `interval`: within which systemd wants to hear of it.
    pub fn new(interval: Option<Duration>) -> Life {
        Life { interval, told: Instant::now() }
    }

    /// How often to ask [`shown_by`](Self::shown_by): six times an interval, so that the process is
    /// ended one interval after the last progress, and at most a sixth later.
    pub fn look_every(&self) -> Duration {
        self.interval.map_or(STATUS_EVERY, |interval| {
            (interval / 6).clamp(Duration::from_millis(1), STATUS_EVERY)
        })
    }

    /// True when the pipeline has got on since the last time that this was true: then systemd is to
    /// be told. `stalled_for`: since the pipeline's last progress.
    pub fn shown_by(&mut self, stalled_for: Duration) -> bool {
        let now = Instant::now();
        let progressed = stalled_for < now.duration_since(self.told);
        if progressed {
            self.told = now;
        }
        progressed
    }
}

/// A start that takes its time: each replayed frame is progress, and from time to time systemd hears
/// that it goes on. One that hangs says nothing, and systemd's timeout ends it.
#[derive(Debug)]
pub struct Start {
    frames: u64,
    told: Instant,
}

impl Start {
    /// Begins now.
    pub fn new() -> Start {
        Start { frames: 0, told: Instant::now() }
    }

    /// One more frame has been read.
    pub fn goes_on(&mut self, notifier: &Notifier) {
        self.frames += 1;
        if self.told.elapsed() >= START_EVERY {
            self.told = Instant::now();
            notifier.starting(START_LONGER, &format!("recovering: {} batches", self.frames));
        }
    }
}

impl Default for Start {
    fn default() -> Self {
        Start::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_progress_since_the_last_time_feeds_it() {
        let mut life = Life::new(Some(Duration::from_secs(60)));
        life.told = Instant::now() - Duration::from_secs(10);
        // Last progress before the last time: the main thread turns, the pipeline does not.
        assert!(!life.shown_by(Duration::from_secs(11)));
        assert!(!life.shown_by(Duration::from_secs(12)));
        assert!(life.shown_by(Duration::from_secs(3)));
        // The same progress does not count twice.
        assert!(!life.shown_by(Duration::from_secs(3)));
    }

    #[test]
    fn it_looks_often_enough() {
        for (interval, every) in [
            (None, STATUS_EVERY),
            (Some(Duration::from_secs(60)), STATUS_EVERY),
            (Some(Duration::from_secs(6)), Duration::from_secs(1)),
            (Some(Duration::from_micros(1)), Duration::from_millis(1)),
        ] {
            assert_eq!(Life::new(interval).look_every(), every, "{interval:?}");
        }
    }
}
