//! `drift`: a level that creeps away over days.
//!
//! Pure. The statistic W is the mean of the last day less that of the same day a week before, so
//! neither a daily nor a weekly cycle is in it; it is judged each third of a day. What is ordinary is
//! told from how much W changes in a day, as if those changes added up over the week like a random
//! walk's: then weather and walks stay ordinary, whereas noise around a level that stays put leaves
//! room to spare. A drift that the filter and the forecast follow without complaint shows here.

use serde::{Deserialize, Serialize};

use super::Event;
use super::latch::{Evidence, Kind, Latch};
use crate::reading::{EventTime, SECOND};

/// Length of a block.
const BLOCK: i64 = 8 * 3600 * SECOND;
const DAY: usize = 3;
const WEEK: usize = 7 * DAY;
const KEPT: usize = WEEK + DAY;
/// Changes of W seen before any alarm: nearly three days' worth.
const WARM_UP: u16 = 8;
/// Changes looked back on: 30 days' worth.
const MEMORY: u16 = 90;
/// Standard deviation of W over that of its change in a day, for a random walk: √(7/2).
const WALK: f64 = 1.870_828_693_386_970_7;
/// W is ordinary within so many of these standard deviations, …
const LIMIT: f64 = 4.5;
/// … and more while the deviation is known from n changes only: LIMIT·(1 + YOUNG/n).
const YOUNG: f64 = 4.0;
/// Changes wait two days before they are learned from, lest a drift make itself ordinary.
const WAITING: usize = 2 * DAY;
/// A change counts as at most so many standard deviations.
const CLIP: f64 = 3.0;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Drift {
    /// End of the open block, nanoseconds; 0 before the first reading.
    #[serde(rename = "e")]
    end: i64,
    /// Mean of the open block.
    #[serde(rename = "s")]
    mean: f64,
    /// Readings in it.
    #[serde(rename = "n")]
    count: u32,
    /// Means of the closed blocks, oldest first; `None`: no reading.
    #[serde(rename = "b")]
    blocks: Vec<Option<f64>>,
    /// W a block, two and three ago; oldest first.
    #[serde(rename = "w")]
    before: [Option<f64>; DAY],
    /// Mean square of the change of W in a day.
    #[serde(rename = "v")]
    variance: f64,
    /// Changes of late, not learned from yet.
    #[serde(rename = "q")]
    waiting: Vec<f64>,
    /// Changes seen, up to [`MEMORY`].
    #[serde(rename = "k")]
    changes: u16,
    /// Event time (nanoseconds) before which no alarm begins.
    #[serde(rename = "m")]
    muted: i64,
    #[serde(rename = "l")]
    latch: Latch,
}

impl Drift {
    pub fn latch(&mut self) -> &mut Latch {
        &mut self.latch
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.blocks.capacity() * size_of::<Option<f64>>()
    }

    /// Event times so far were a wrong clock's.
    pub fn rewind(&mut self) {
        let latch = self.latch;
        *self = Drift { latch, ..Drift::default() };
    }

    /// Takes in a reading that the filter accepted.
    pub fn reading(
        &mut self,
        time: EventTime,
        value: f64,
        (on, refractory): (bool, i64),
        events: &mut Vec<Event>,
    ) {
        if time.nanos() >= self.end || self.count == 0 {
            self.advance(time, (on, refractory), events);
        }
        self.count = self.count.saturating_add(1);
        self.mean += (value - self.mean) / f64::from(self.count);
    }

    /// The level has jumped at `time`, and that has been told: for a week and a day W says nothing new.
    pub fn mute(&mut self, time: EventTime) {
        self.muted = time.nanos().saturating_add(KEPT as i64 * BLOCK);
    }

    #[inline(never)]
    fn advance(&mut self, time: EventTime, settings: (bool, i64), events: &mut Vec<Event>) {
        let block = time.nanos().div_euclid(BLOCK);
        let open = self.end.div_euclid(BLOCK) - 1;
        if self.count > 0 {
            self.close(Some(self.mean), time, settings, events);
            let missing = block - open - 1;
            if missing >= KEPT as i64 {
                self.blocks.clear();
                self.before = [None; DAY];
            } else {
                (0..missing).for_each(|_| self.close(None, time, settings, events));
            }
        }
        self.end = (block + 1).saturating_mul(BLOCK);
        self.mean = 0.0;
        self.count = 0;
    }

    fn close(
        &mut self,
        mean: Option<f64>,
        time: EventTime,
        (on, refractory): (bool, i64),
        events: &mut Vec<Event>,
    ) {
        if self.blocks.len() == KEPT {
            self.blocks.remove(0);
        }
        self.blocks.push(mean);
        let w = self.week().map(|(new, old)| (new - old, new, old));
        let day_ago = self.before[0];
        self.before.rotate_left(1);
        self.before[DAY - 1] = w.map(|(w, ..)| w);
        let Some((w, new, old)) = w else { return };
        let limit = self.limit();
        let evidence = Evidence::around(new, old, limit);
        if self.latch.is_active() {
            if w.abs() < 0.5 * limit || !on {
                let why = "the last day is like the same day a week before";
                self.latch.clear(Kind::Drift, time, refractory, evidence, why, events);
            }
        } else if on
            && self.changes >= WARM_UP
            && w.abs() > limit
            && time.nanos() >= self.muted
            && self.latch.is_ready(time)
        {
            let reason = format!(
                "the mean of the last day, {}, is {} from that of the same day a week before; ordinary is {}",
                super::number(new),
                super::number(w),
                super::number(limit),
            );
            self.latch.raise(Kind::Drift, time, evidence, reason, events);
        }
        if let Some(day_ago) = day_ago {
            let change = w - day_ago;
            self.waiting.push(change);
            if self.waiting.len() > WAITING {
                let change = self.waiting.remove(0);
                self.learn(change, w.abs() > 0.5 * limit);
            }
        }
    }

    /// Mean of the last day and of the same day a week before.
    fn week(&self) -> Option<(f64, f64)> {
        let mean = |blocks: &[Option<f64>]| {
            blocks.iter().try_fold(0.0, |sum, block| Some(sum + (*block)? / DAY as f64))
        };
        let old = self.blocks.get(..DAY).filter(|_| self.blocks.len() == KEPT)?;
        Some((mean(self.blocks.get(WEEK..)?)?, mean(old)?))
    }

    /// How large W ordinarily is at most.
    fn limit(&self) -> f64 {
        let young = 1.0 + YOUNG / f64::from(self.changes.max(1));
        LIMIT * young * WALK * self.variance.sqrt()
    }

    /// `far`: W is not ordinary just now, and must not make itself so.
    fn learn(&mut self, change: f64, far: bool) {
        let square = (change * change).min(f64::MAX);
        self.changes = (self.changes + 1).min(MEMORY);
        let early = self.changes <= DAY as u16;
        let most = if early { square } else { CLIP * CLIP * self.variance };
        let slow = if far && self.changes > WARM_UP { 0.25 } else { 1.0 };
        let weight = slow / f64::from(self.changes);
        self.variance += weight * (square.min(most) - self.variance);
    }
}
