//! `level-shift`: a level that has jumped and stays.
//!
//! Pure. The statistic is the median distance of the last seven readings from what was predicted before
//! them, in usual innovations: up to three spikes leave it near nothing, a jump shows in full
//! within seven readings, whether the filter's gate let them through or not. How large it gets by chance (little
//! in white noise, a lot in a random walk) is its own [`Tail`]'s to say.
//!
//! What was predicted for the middle one of the seven: the level, plus the mean innovation of late, plus
//! three of its mean changes of late. A level filter follows a daily cycle, but behind it by as much as its innovations
//! average (the steady-state lag of an α filter behind a ramp); without both, the cycle's slopes would be
//! what is usual, and jumps would have to be larger than they.

use serde::{Deserialize, Serialize};

use super::latch::{Evidence, Kind, Latch};
use super::tail::Tail;
use super::{Event, Seen, WARM_UP, stretched, two_thirds};

/// Readings looked at; more than half of them must agree.
const RUN: usize = 7;
/// Weight of the latest reading in the means of innovations and of the level's changes.
const RECENT: f64 = 1.0 / 16.0;
/// An innovation counts there as at most so many usual ones.
const CLIP: f64 = 2.0;
/// Least distance in usual innovations.
const LEAST: f64 = 2.5;
/// log10 of the exceedances in a cluster, which share one return period: neighbours have six of seven readings in common.
const CLUSTER: f64 = 0.778;
/// Readings without a further jump that end it.
const SETTLED: u8 = 30;
/// What white noise has, [`stretched`]: the 98 % quantile, and mean and mean square of the excess in
/// units of it of clusters (numerical integration, simulated for the clusters).
const WHITE_THRESHOLD: f64 = 1.107;
const WHITE_MEAN: f64 = 0.35;
const WHITE_SQUARE: f64 = 0.23;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LevelShift {
    /// The latest readings, oldest at `next` once full.
    #[serde(rename = "v")]
    values: [f64; RUN],
    /// What was expected of them, and of the middle of the [`RUN`] that they begin.
    #[serde(rename = "e")]
    expected: [f64; RUN],
    /// Mean innovation of late: how far the filter lags behind a cycle, …
    #[serde(rename = "g")]
    lag: f64,
    /// … and mean change of its level between two readings; …
    #[serde(rename = "d")]
    slope: f64,
    /// … the level that it expected last.
    #[serde(rename = "x")]
    level: f64,
    #[serde(rename = "i")]
    next: u8,
    #[serde(rename = "n")]
    filled: u8,
    #[serde(rename = "t")]
    tail: Tail,
    /// Largest of the present cluster of exceedances; 0: there is none.
    #[serde(rename = "p")]
    peak: f64,
    #[serde(rename = "l")]
    latch: Latch,
    #[serde(rename = "c")]
    calm: u8,
}

impl Default for LevelShift {
    fn default() -> LevelShift {
        let tail = Tail::starting_at(WHITE_THRESHOLD, WHITE_MEAN, WHITE_SQUARE);
        LevelShift {
            values: [0.0; RUN],
            expected: [0.0; RUN],
            lag: 0.0,
            slope: 0.0,
            level: 0.0,
            next: 0,
            filled: 0,
            tail,
            peak: 0.0,
            latch: Latch::default(),
            calm: 0,
        }
    }
}

impl LevelShift {
    pub fn latch(&mut self) -> &mut Latch {
        &mut self.latch
    }

    /// Takes in a reading. True when it shows that the level has jumped.
    pub fn reading(
        &mut self,
        seen: &Seen,
        scale: Option<f64>,
        on: bool,
        events: &mut Vec<Event>,
    ) -> bool {
        let (Some(judged), Some(scale)) = (&seen.judged, scale) else {
            (self.filled, self.lag, self.slope) = (0, 0.0, 0.0);
            return false;
        };
        let sd = judged.sd * scale;
        let at = usize::from(self.next).min(RUN - 1);
        self.values[at] = seen.value;
        self.expected[at] = judged.expected + self.lag + (RUN / 2) as f64 * self.slope;
        self.follow(seen.value - judged.expected, judged.expected, sd);
        self.next = if at + 1 == RUN { 0 } else { at as u8 + 1 };
        self.filled = (self.filled + 1).min(RUN as u8);
        if usize::from(self.filled) < RUN {
            return false;
        }
        let before = self.expected[usize::from(self.next).min(RUN - 1)];
        let x = self.median(before, sd);
        let mut found = false;
        if self.latch.is_active() {
            self.calm += 1;
            if self.calm >= SETTLED || !on {
                self.calm = 0;
                let evidence = Evidence::around(seen.value, judged.expected, sd);
                let why = "the level has settled";
                self.latch.clear(
                    Kind::LevelShift,
                    seen.time,
                    seen.refractory,
                    evidence,
                    why,
                    events,
                );
            }
        } else if on
            && self.tail.seen() >= WARM_UP
            && x > stretched(LEAST)
            && self.latch.is_ready(seen.time)
            && self.tail.log10_period(x) >= self.target(seen)
        {
            let target = self.target(seen);
            let mean = self.middle(before);
            let limit = two_thirds(self.tail.level(target)) * sd;
            let reason = format!(
                "the last readings lie {} from the level before them, {}; that far once in {} readings of this series",
                super::number(mean - before),
                super::number(before),
                super::count(self.tail.log10_period(x)),
            );
            let evidence = Evidence::around(mean, before, limit);
            self.latch.raise(Kind::LevelShift, seen.time, evidence, reason, events);
            self.calm = 0;
            self.filled = 0;
            found = true;
        }
        if self.tail.rank(x) && !found {
            self.peak = self.peak.max(x);
        } else if self.peak > 0.0 {
            // Seven readings each share their six neighbours: what exceeds does so in clusters, and a
            // jump on its way must not be learned from before it is judged.
            self.tail.learn(self.peak.max(x));
            self.peak = 0.0;
        }
        found
    }

    /// Learns how the filter lags, and where its level is going; as of the next reading.
    fn follow(&mut self, innovation: f64, level: f64, sd: f64) {
        let most = CLIP * sd;
        let change = if self.filled == 0 { 0.0 } else { level - self.level };
        self.level = level;
        self.lag += RECENT * (innovation.clamp(-most, most) - self.lag);
        self.slope += RECENT * (change.clamp(-most, most) - self.slope);
    }

    /// log10 of the return period worth an alarm.
    fn target(&self, seen: &Seen) -> f64 {
        seen.log10_target() - CLUSTER + self.latch.surplus(seen.time)
    }

    /// The size of the median distance from `before`, [`stretched`]; 0 below the tail's threshold,
    /// which is all that the tail asks of most readings.
    fn median(&self, before: f64, sd: f64) -> f64 {
        let threshold = self.tail.threshold().unwrap_or(0.0);
        // d^1.5 > t for d in units of sd, without a root and a division.
        let limit = threshold * threshold * (sd * sd * sd);
        let (mut above, mut below) = (0, 0);
        for (i, value) in self.values.into_iter().enumerate() {
            let d = value - before;
            let cube = d * d * d;
            above += usize::from(cube > limit);
            below += usize::from(-cube > limit);
            // Too few are left for more than half of them to be far out on one side.
            if i + 1 - above.max(below) > RUN / 2 {
                return 0.0;
            }
        }
        let size = ((self.middle(before) - before) / sd).abs();
        stretched(size.min(1e6))
    }

    /// The median of the readings.
    fn middle(&self, before: f64) -> f64 {
        let mut sorted = self.values;
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(RUN / 2).copied().unwrap_or(before)
    }
}
