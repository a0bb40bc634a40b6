//! `outlier`: a reading far out in the tail of the series' own innovations.
//!
//! Pure. Each side has its own [`Tail`] of innovations over their standard deviation, so a filter whose noise is
//! wrong, heavy tails and skewed series are all judged by what is usual for them. Of each the mean innovation of late
//! is taken off: a filter of the level lies behind a slope, and without that the day's slopes would widen the tails.
//!
//! Where the noise comes and goes (a machine at work by day), an innovation is judged over the [`Volatility`] of late
//! too, in tails of their own, and counts as what it is in the rarer of the two.

use serde::{Deserialize, Serialize};

use super::latch::{Evidence, Kind, Latch};
use super::tail::{Sides, Tail};
use super::volatility::Volatility;
use super::{Event, Judged, LEARNING, Seen, WARM_UP, stretched, two_thirds};

/// Least distance, [`stretched`], in units of the 98 % quantile: 5 standard deviations of normal noise.
const LEAST: f64 = 3.8;
/// It takes cube roots, and moves slowly.
const RESCALED_EVERY: u8 = 32;
/// Weight of a new innovation in their mean; each counts as at most so many usual ones.
const RECENT: f64 = 1.0 / 64.0;
const CLIP: f64 = 2.0;
/// Ordinary readings in a row that end it.
const CALM: u8 = 3;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Outlier {
    /// Of innovations over their standard deviation, …
    #[serde(rename = "u")]
    whole: Sides,
    /// … and of the same over the volatility of late. `None`: that was always 1, so they are equal.
    #[serde(rename = "d", skip_serializing_if = "Option::is_none")]
    local: Option<Box<Sides>>,
    #[serde(rename = "v")]
    volatility: Volatility,
    #[serde(rename = "l")]
    latch: Latch,
    #[serde(rename = "c")]
    calm: u8,
    /// Readings judged before the first that counts, up to [`LEARNING`].
    #[serde(rename = "s")]
    skipped: u32,
    /// See [`Self::scale`]; 0: not known yet.
    #[serde(rename = "w")]
    scale: f64,
    /// Readings since it was computed.
    #[serde(rename = "n")]
    since: u8,
    /// Mean of the innovations of late, over their standard deviations.
    #[serde(rename = "g")]
    lag: f64,
}

/// Where an innovation lies in the tail that it is judged by.
struct Place<'t> {
    tail: &'t Tail,
    /// Its size there, [`stretched`].
    x: f64,
    /// What it was divided by before; 1 in the tails of innovations as they come.
    volatility: f64,
}

impl Outlier {
    pub fn latch(&mut self) -> &mut Latch {
        &mut self.latch
    }

    /// Innovation over its standard deviation, usually: 1 for a filter that fits. `None` at first.
    pub fn scale(&self) -> Option<f64> {
        (self.scale > 0.0).then_some(self.scale)
    }

    /// The same at present, as volatility goes.
    pub fn scale_of_late(&self) -> Option<f64> {
        Some(self.scale()? * self.volatility.factor())
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.local.as_ref().map_or(0, |_| size_of::<Sides>())
    }

    fn rescale(&mut self) {
        const NORMAL: f64 = 2.053_748_910_631_823;
        if let Some([up, down]) = self.whole.thresholds() {
            self.scale = (two_thirds(up) + two_thirds(down)) / (2.0 * NORMAL);
        }
    }

    /// Where an innovation is rarer. `x`: its size, [`stretched`].
    fn place(&self, w: f64, x: f64, volatility: f64) -> Place<'_> {
        let whole = Place { tail: self.whole.of(w), x, volatility: 1.0 };
        let Some(local) = &self.local else { return whole };
        let x = stretched(w.abs() / volatility);
        let local = Place { tail: local.of(w), x, volatility };
        let period = |place: &Place<'_>| place.tail.log10_period(place.x);
        if period(&whole) > period(&local) { whole } else { local }
    }

    /// Takes in a reading. Returns log10 of the return period of its innovation on its own side, in readings; 0 while too
    /// little is known.
    pub fn reading(&mut self, seen: &Seen, on: bool, events: &mut Vec<Event>) -> f64 {
        let Some(judged) = &seen.judged else { return 0.0 };
        let w = judged.standardised - self.lag;
        let expected = judged.expected + self.lag * judged.sd;
        let most = CLIP * self.scale().unwrap_or(1.0);
        self.lag += RECENT * (judged.standardised.clamp(-most, most) - self.lag);
        let volatility = self.volatility.factor();
        self.volatility.observe(w.abs());
        if volatility != 1.0 && self.local.is_none() {
            self.local = Some(Box::new(self.whole));
        }
        let x = stretched(w.abs());
        let period = self.judge(seen, judged, (w, x, volatility, expected), on, events);
        if self.skipped < LEARNING {
            self.skipped += 1;
            return period;
        }
        self.since = (self.since + 1) % RESCALED_EVERY;
        if self.since == 0 || self.scale == 0.0 {
            self.rescale();
        }
        self.whole.observe(w, x);
        if let Some(local) = &mut self.local {
            local.observe(w, stretched(w.abs() / volatility));
        }
        period
    }

    /// Raises or ends the alarm for an innovation `w`. Returns log10 of its return period.
    fn judge(
        &mut self,
        seen: &Seen,
        judged: &Judged,
        (w, x, volatility, expected): (f64, f64, f64, f64),
        on: bool,
        events: &mut Vec<Event>,
    ) -> f64 {
        let Place { tail, x, volatility } = self.place(w, x, volatility);
        let period = if tail.seen() >= WARM_UP { tail.log10_period(x) } else { 0.0 };
        let ordinary = tail.threshold().is_none_or(|threshold| x <= threshold);
        if ordinary && !self.latch.is_active() {
            return period;
        }
        let (tail, usual) = (*tail, judged.sd * volatility);
        if self.latch.is_active() {
            self.calm = if ordinary { self.calm + 1 } else { 0 };
            if self.calm >= CALM || seen.shifted || !on {
                self.calm = 0;
                let evidence = Evidence::around(
                    seen.value,
                    expected,
                    usual * two_thirds(tail.threshold().unwrap_or(x)),
                );
                let why = "readings are ordinary again";
                self.latch.clear(Kind::Outlier, seen.time, seen.refractory, evidence, why, events);
            }
        } else if !ordinary && on && tail.seen() >= WARM_UP && self.latch.is_ready(seen.time) {
            let far = tail.threshold().is_some_and(|threshold| x > LEAST * threshold);
            let target = seen.log10_target() + tail.caution() + self.latch.surplus(seen.time);
            if far && period >= target {
                let limit = tail.level(target);
                let reason = format!(
                    "{} from the expected {}: {:.1} standard deviations, once in {} readings of this series",
                    super::number(seen.value - expected),
                    super::number(expected),
                    w.abs() / (volatility * self.scale().unwrap_or(1.0)),
                    super::count(period),
                );
                let evidence = Evidence::around(seen.value, expected, usual * two_thirds(limit));
                self.latch.raise(Kind::Outlier, seen.time, evidence, reason, events);
            }
        }
        period
    }
}
