//! When noise is fitted anew, and when what a fit found counts.
//!
//! Pure. A fit starts at set counts of readings and is *adopted* a set count later, if it was
//! offered by then. So the state is a function of the readings and of the fits offered, whenever and
//! wherever they were computed.

use serde::{Deserialize, Serialize};

use super::fit::{Fit, FitJob, READINGS_MIN};
use super::plan::{KalmanPlan, Noise};
use super::recent::{RECENT_MAX, Recent};
use crate::reading::{EventTime, Finite, SECOND};

/// Readings from the start of a fit to its adoption.
pub const FIT_DELAY: u64 = 64;

/// Counts of readings at which the first fits start.
const FIRST: [u64; 3] = [150, 400, 1000];
/// The later ones: when there are so many more readings,
const LATER: u64 = 1000;
/// and a day has passed.
const DAY: i64 = 86_400 * SECOND;

/// The state of fitting, while some noise is not given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tuning {
    /// Readings so far.
    #[serde(rename = "n")]
    count: u64,
    /// At this count the next fit starts.
    #[serde(rename = "x")]
    next: u64,
    /// Time of the last start.
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    started: Option<EventTime>,
    /// The last start's count; 0: none, or nothing came of it.
    #[serde(rename = "s", default, skip_serializing_if = "is_zero")]
    fit_at: u64,
    /// Offered, not adopted yet.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pending: Option<Fit>,
    /// The last readings, up to the next start; none while that is far off.
    #[serde(rename = "r", default, skip_serializing_if = "Recent::is_empty")]
    recent: Recent,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Tuning {
    pub fn new() -> Tuning {
        Tuning {
            count: 0,
            next: FIRST[0],
            started: None,
            fit_at: 0,
            pending: None,
            recent: Recent::default(),
        }
    }

    /// Counts a reading; the fit to be adopted behind it, if there is one. `known`: there is noise
    /// that a fit could better.
    pub fn take(&mut self, time: EventTime, value: Finite, known: bool) -> Option<Noise> {
        const FILL: u64 = RECENT_MAX as u64;
        if self.count == self.next {
            self.schedule();
        }
        self.count += 1;
        if self.count + FILL > self.next {
            if self.recent.is_empty() && self.is_too_soon(time) {
                self.next += FILL;
            } else {
                self.recent.push(time, value);
            }
        }
        if self.count == self.next {
            if known && self.recent.len() >= READINGS_MIN {
                self.started = Some(time);
                self.fit_at = self.count;
                self.pending = None;
            } else {
                self.next += FILL;
            }
        }
        if self.fit_at > 0 && self.count == self.fit_at + FIT_DELAY {
            self.fit_at = 0;
            return self.pending.take().map(|fit| fit.noise);
        }
        None
    }

    /// Behind the reading at which a fit started: when the next one does.
    fn schedule(&mut self) {
        self.next = FIRST
            .into_iter()
            .find(|&count| count > self.count)
            .unwrap_or(self.count.saturating_add(LATER));
        let ahead = usize::try_from(self.next - self.count).unwrap_or(RECENT_MAX);
        self.recent.keep_last(RECENT_MAX.saturating_sub(ahead));
    }

    fn is_too_soon(&self, time: EventTime) -> bool {
        self.count > FIRST[2]
            && self.started.is_some_and(|start| time.nanos().saturating_sub(start.nanos()) < DAY)
    }

    /// Whether a fit has just started with the last reading.
    pub fn has_started(&self) -> bool {
        self.fit_at > 0 && self.fit_at == self.count
    }

    /// The fit that has just started with the last reading.
    pub fn job(&self, plan: &KalmanPlan, present: Noise) -> Option<FitJob> {
        self.has_started().then(|| FitJob {
            at: self.count,
            plan: plan.clone(),
            present,
            steps: self.recent.steps().to_vec(),
        })
    }

    /// Keeps `fit` for its time; `false` if it is not the one that was started last, or comes too
    /// late.
    pub fn offer(&mut self, fit: Fit) -> bool {
        let expected = self.fit_at > 0 && fit.at == self.fit_at;
        if expected {
            self.pending = Some(fit);
        }
        expected
    }

    /// Event times went back: intervals across that mean nothing.
    pub fn rewind(&mut self) {
        self.started = None;
        self.recent.keep_last(0);
    }

    pub fn is_sound(&self) -> bool {
        let in_range = |time: EventTime| EventTime::from_nanos(time.nanos()).is_some();
        let is_open =
            self.fit_at > 0 && self.fit_at <= self.count && self.count < self.fit_at + FIT_DELAY;
        self.count <= self.next
            && self.next < u64::MAX / 2
            && self.started.is_none_or(in_range)
            && (self.fit_at == 0 || is_open)
            && self
                .pending
                .as_ref()
                .is_none_or(|fit| is_open && fit.at == self.fit_at && fit.noise.is_sound())
            && self.recent.is_sound()
    }

    pub fn heap_bytes(&self) -> usize {
        self.recent.heap_bytes()
    }
}
