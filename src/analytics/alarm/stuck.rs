//! `stuck`: a value that no longer moves, or hardly.
//!
//! Pure. Readings within a twentieth of the usual change from the first of them are a run. The alarm
//! needs a run far longer than the longest of late, and never comes for series that often repeat themselves
//! (switches, counters at rest, coarse sensors of slow things): of them a long run says nothing.

use serde::{Deserialize, Serialize};

use super::latch::{Evidence, Kind, Latch};
use super::{Event, Seen, WARM_UP};

/// Share of the usual change that counts as none.
const BAND: f64 = 0.05;
/// A run is longer than this many times the longest of late, …
const TIMES_LONGEST: f64 = 4.0;
/// … and than so many readings.
const LEAST: u32 = 15;
/// Share of readings that repeat the last above which a series is never stuck.
const OFTEN: f64 = 0.3;
/// Changes that the usual change looks back on, and the share of repeats.
const MEMORY: f64 = 1000.0;
/// What the longest run loses with each further run.
const FADE: f64 = 1.0 - 1e-4;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Stuck {
    /// The first value of the run.
    #[serde(rename = "v")]
    value: f64,
    /// Readings in it.
    #[serde(rename = "r")]
    run: u32,
    /// Readings so far, up to a bound.
    #[serde(rename = "n")]
    seen: u32,
    /// Usual size of a change.
    #[serde(rename = "c")]
    change: f64,
    /// Share of readings that repeat the last.
    #[serde(rename = "p")]
    repeats: f64,
    /// Longest run of late, in readings.
    #[serde(rename = "m")]
    longest: f64,
    #[serde(rename = "l")]
    latch: Latch,
}

impl Stuck {
    pub fn latch(&mut self) -> &mut Latch {
        &mut self.latch
    }

    pub fn reading(&mut self, seen: &Seen, on: bool, events: &mut Vec<Event>) {
        self.seen = self.seen.saturating_add(1);
        let change = (seen.value - self.value).abs().min(f64::MAX);
        if self.run > 0 && change <= BAND * self.change {
            self.run = self.run.saturating_add(1);
            if self.run >= LEAST && on {
                self.judge(seen, events);
            }
            return;
        }
        if self.run > 0 {
            self.end_of_run(change);
            if self.latch.is_active() {
                let evidence = Evidence { value: Some(seen.value), ..Evidence::default() };
                let why = "the value moves again";
                self.latch.clear(Kind::Stuck, seen.time, seen.refractory, evidence, why, events);
            }
        }
        self.value = seen.value;
        self.run = 1;
    }

    fn end_of_run(&mut self, change: f64) {
        let n = f64::from(self.seen.min(1 << 20)).min(MEMORY);
        let most = if self.change > 0.0 { 5.0 * self.change } else { change };
        self.change += (change.min(most) - self.change) / n.clamp(1.0, 100.0);
        let length = f64::from(self.run);
        // The run's readings one by one, but the last: repeats; the last: none.
        let (weight, share) = if self.run == 1 && n == MEMORY {
            // Nearly always, and without a division.
            (1.0 / MEMORY, 0.0)
        } else {
            ((length / n.max(length)).min(1.0), (length - 1.0) / length)
        };
        self.repeats += weight * (share - self.repeats);
        // A run that raised the alarm counts in part: such runs may turn out to be usual here.
        let counted =
            if self.latch.is_active() { length.min(TIMES_LONGEST * self.longest) } else { length };
        self.longest = (self.longest * FADE).max(counted);
    }

    fn judge(&mut self, seen: &Seen, events: &mut Vec<Event>) {
        let limit = TIMES_LONGEST * self.longest;
        if self.latch.is_active()
            || self.seen < 2 * WARM_UP + self.run
            || self.repeats > OFTEN
            || f64::from(self.run) <= limit
            || !self.latch.is_ready(seen.time)
        {
            return;
        }
        let reason = format!(
            "{} for {} readings; the longest run of late had {:.0}, a usual change is {}",
            super::number(self.value),
            self.run,
            self.longest,
            super::number(self.change),
        );
        let evidence = Evidence { value: Some(seen.value), ..Evidence::default() };
        self.latch.raise(Kind::Stuck, seen.time, evidence, reason, events);
    }
}
