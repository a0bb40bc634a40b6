//! [`Kalman`]: judging readings, telling level shifts, learning the noise.

use serde::{Deserialize, Serialize};

use super::fit::{Fit, FitJob};
use super::health::{Health, SetBy, Watch};
use super::linear::Innovation;
use super::moments::{self, READINGS_MAX};
use super::outlier::{huber_weight, weighted};
use super::plan::{Dynamics, KalmanPlan, Noise};
use super::run::{Held, Run, SHIFT_AFTER};
use super::tuning::Tuning;
use super::{Belief, Estimate, Update, Verdict, seconds, wire};
use crate::analytics::settings::KalmanModel;
use crate::reading::{EventTime, Finite};

/// The gate is off until so many readings were accepted since the (re)start.
pub(super) const GATE_AFTER: u8 = 30;
/// Fewer changes than these teach nothing about the noise; a glitch makes two.
const MOVES_MIN: usize = 3;
/// Readings that survive when a buffer has taught nothing: enough for an estimate with variance.
const KEPT: usize = 2;

/// The filter of one series. See the [module](super) for what it does.
///
/// Serialised with one-letter names; what comes back is checked, and refused if it is not a state
/// that a filter can be in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "wire::Wire", into = "wire::Wire")]
pub struct Kalman {
    /// As of `at`.
    pub(super) belief: Belief,
    /// Time of the last reading accepted.
    pub(super) at: Option<EventTime>,
    /// Time of the last reading accepted or judged.
    pub(super) frontier: Option<EventTime>,
    /// Readings accepted since the (re)start, up to [`GATE_AFTER`].
    pub(super) accepted: u8,
    pub(super) run: Run,
    pub(super) source: Source,
    /// While the plan does not give all noise.
    pub(super) tuning: Option<Box<Tuning>>,
    /// Of the innovations under the present noise.
    pub(super) watch: Watch,
}

/// Where the noise comes from.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Source {
    /// The plan gives all of it.
    Given,
    /// It is being learned.
    Learning(Box<Learning>),
    /// It has been learned (what the plan gives comes first).
    Learned(Noise),
}

/// The first readings, from which noise is estimated.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Learning {
    /// In order; fewer than [`READINGS_MAX`] between updates.
    pub readings: Vec<(EventTime, Finite)>,
    /// Bit i: the filter rejected reading i.
    pub rejected: u64,
    /// The filter has been started anew at this reading, by a level shift.
    pub start: u8,
    /// Earlier readings were forgotten, so the plan's initial state does not belong here.
    pub forgot: bool,
    /// What the readings say; with one of them a stand-in.
    pub noise: Option<Noise>,
}

impl Learning {
    fn new() -> Box<Learning> {
        Box::new(Learning {
            readings: Vec::new(),
            rejected: 0,
            start: 0,
            forgot: false,
            noise: None,
        })
    }
}

impl Kalman {
    /// No reading yet.
    pub fn new(plan: &KalmanPlan) -> Kalman {
        Kalman {
            belief: plan.start.clone(),
            at: None,
            frontier: None,
            accepted: 0,
            run: Run::empty(),
            source: match plan.noise {
                Some(_) => Source::Given,
                None if plan.is_on() => Source::Learning(Learning::new()),
                None => Source::Given,
            },
            tuning: plan.is_auto().then(|| Box::new(Tuning::new())),
            watch: Watch::default(),
        }
    }

    /// False if the plan has no filter.
    pub fn is_on(&self, plan: &KalmanPlan) -> bool {
        plan.is_on()
    }

    /// Judges a reading and, unless it is gated, takes it in. `time` must not be before
    /// [`frontier`](Self::frontier); if it is, it counts as at the frontier.
    ///
    /// A state made under a plan with another model starts anew. Variances that the plan gives are
    /// used from the next reading on; if it no longer gives one that was never learned, learning
    /// starts anew.
    pub fn update(&mut self, plan: &KalmanPlan, time: EventTime, value: Finite) -> Update {
        debug_assert!(
            self.frontier.is_none_or(|frontier| time >= frontier),
            "reading at {time} is before the filter's frontier {:?}",
            self.frontier
        );
        let time = self.frontier.map_or(time, |frontier| frontier.max(time));
        if !self.belief.fits(plan) {
            *self = Kalman::new(plan);
        }
        self.frontier = Some(time);
        if !plan.is_on() {
            return Update::UNJUDGED;
        }
        let noise = match (&plan.noise, &self.source) {
            (Some(noise), Source::Given) => *noise,
            (Some(noise), _) => {
                self.source = Source::Given;
                self.tuning = None;
                *noise
            }
            (None, Source::Learned(learned)) => {
                let noise = plan.given.or(learned);
                let gate = plan.gate * self.watch.widening(self.run.readings().len());
                let update = self.step(plan, &noise, gate, time, value);
                self.watch(&update);
                self.tune(time, value);
                return update;
            }
            (None, _) => {
                let update = self.learn(plan, time, value);
                self.tune(time, value);
                return update;
            }
        };
        let update = self.step(plan, &noise, plan.gate, time, value);
        self.watch(&update);
        update
    }

    /// The rejected readings which the next one may confirm as a level shift.
    pub fn held(&self) -> Held {
        let run = self.run.readings();
        if run.len() + 1 == SHIFT_AFTER { Held::from_slice(run) } else { Held::new() }
    }

    fn watch(&mut self, update: &Update) {
        if let (Some(innovation), Some(nis)) = (update.innovation, update.nis) {
            self.watch.take(innovation, nis);
        }
    }

    /// Counts a reading towards the next fit; adopts the one whose time has come.
    fn tune(&mut self, time: EventTime, value: Finite) {
        let Some(tuning) = &mut self.tuning else { return };
        let known = matches!(self.source, Source::Learned(_));
        if let Some(noise) = tuning.take(time, value, known)
            && known
        {
            self.source = Source::Learned(noise);
            self.watch = Watch::default();
        }
    }

    /// Whether the noise fits the readings.
    pub fn health(&self, plan: &KalmanPlan) -> Health {
        let known = match &self.source {
            Source::Given => plan.noise.is_some(),
            Source::Learning(_) => false,
            Source::Learned(_) => true,
        };
        let set_by = match plan.dynamics {
            Dynamics::Custom(_) => SetBy::Matrices,
            _ if plan.is_auto() => SetBy::Readings,
            _ => SetBy::Settings,
        };
        self.watch.health(known && plan.is_on(), set_by)
    }

    /// The fit of the noise that starts with the last reading, once for each start: ask after every
    /// [`update`](Self::update). Its result goes to [`offer`](Self::offer).
    #[inline]
    pub fn take_fit_job(&mut self, plan: &KalmanPlan) -> Option<FitJob> {
        let tuning = self.tuning.as_deref().filter(|tuning| tuning.has_started())?;
        let Source::Learned(learned) = &self.source else { return None };
        // The likelihood is searched over the noise of an observation, a level and a trend.
        let searched = matches!(plan.model, KalmanModel::Level | KalmanModel::Trend);
        if searched { tuning.job(plan, *learned) } else { None }
    }

    /// Takes the result of the last [`FitJob`]: it counts from reading
    /// [`at`](Fit::at) + [`FIT_DELAY`](super::FIT_DELAY) on, for the readings behind that one. One
    /// that comes later, or does not belong here, is refused: `false`.
    pub fn offer(&mut self, fit: Fit) -> bool {
        let fits = self.belief.is_of(fit.model) && fit.noise.is_sound();
        fits && self.tuning.as_mut().is_some_and(|tuning| tuning.offer(fit))
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let learning = match &self.source {
            Source::Learning(learning) => {
                size_of::<Learning>()
                    + learning.readings.capacity() * size_of::<(EventTime, Finite)>()
            }
            Source::Given | Source::Learned(_) => 0,
        };
        let tuning = |tuning: &Tuning| size_of::<Tuning>() + tuning.heap_bytes();
        learning + self.tuning.as_deref().map_or(0, tuning)
    }

    /// The clock that stamped the readings was ahead and stepped back: what is known is as of
    /// `to`, so that readings from then on are in order. Noise still being learned from such
    /// readings is learned anew.
    pub fn rewind(&mut self, plan: &KalmanPlan, to: EventTime) {
        if matches!(self.source, Source::Learning(_)) {
            *self = Kalman::new(plan);
        }
        self.at = self.at.map(|at| at.min(to));
        self.frontier = self.frontier.map(|frontier| frontier.min(to));
        self.run.clear();
        if let Some(tuning) = &mut self.tuning {
            tuning.rewind();
        }
    }

    /// Time of the last reading that was accepted or judged.
    pub fn frontier(&self) -> Option<EventTime> {
        self.frontier
    }

    /// The posterior as of the last accepted reading; `None` before the first and with the filter
    /// off.
    pub fn estimate(&self) -> Option<Estimate> {
        self.at?;
        let estimate = self.belief.estimate()?;
        Some(self.hide_unknown(estimate))
    }

    /// The variances it runs with; `None` while nothing is known of them.
    pub(super) fn noise(&self, plan: &KalmanPlan) -> Option<Noise> {
        match &self.source {
            Source::Given => plan.noise,
            Source::Learning(learning) => Some(plan.given.or(&learning.noise?)),
            Source::Learned(learned) => Some(plan.given.or(learned)),
        }
    }

    /// The estimate predicted for `time` (not before the last accepted reading): what is believed
    /// where a reading was gated, or is missing.
    pub fn predicted(&self, plan: &KalmanPlan, time: EventTime) -> Option<Estimate> {
        let at = self.at?;
        let noise = self.noise(plan)?;
        let mut belief = self.belief.clone();
        if !plan.is_per_reading() || self.frontier.is_some_and(|frontier| time > frontier) {
            belief.predict(plan, &noise, seconds(at, time));
        }
        Some(self.hide_unknown(belief.estimate().filter(|_| belief.is_sound())?))
    }

    /// Mean and covariance of the state as of the last accepted reading: level, then trend per
    /// second, then acceleration per second², or as `custom` has it; `n` numbers and `n` rows of `n`. `None` while any of it is not known.
    pub fn state_and_covariance(&self) -> Option<(Vec<f64>, Vec<Vec<f64>>)> {
        self.at?;
        if self.is_stand_in() {
            return None;
        }
        self.belief.state_and_covariance()
    }

    /// With one reading and noise to be learned, the noise is a stand-in.
    fn is_stand_in(&self) -> bool {
        matches!(&self.source, Source::Learning(learning) if learning.readings.len() < 2)
    }

    fn hide_unknown(&self, estimate: Estimate) -> Estimate {
        if self.is_stand_in() {
            Estimate { variance: None, trend_variance: None, ..estimate }
        } else {
            estimate
        }
    }

    /// [`step`](Self::step) where nothing is special: a level that is known, a reading that the gate
    /// lets through. `None`, and nothing has changed, in all other cases.
    #[inline]
    fn step_level(
        &mut self,
        plan: &KalmanPlan,
        noise: &Noise,
        gate: f64,
        time: EventTime,
        value: Finite,
    ) -> Option<Update> {
        let (Belief::Level(belief), Some(at)) = (&mut self.belief, self.at) else { return None };
        let (mut level, reading) = (*belief, value.get());
        level.predict(noise.level, seconds(at, time));
        let innovation = level.innovation(noise.observation, reading)?;
        let nis = innovation.nis();
        let gated = nis > gate && self.accepted >= GATE_AFTER;
        let finite = innovation.value.is_finite() && innovation.variance.is_finite();
        if gated || plan.huber || !finite {
            return None;
        }
        level.update(noise.observation, reading);
        if !level.is_sound() {
            return None;
        }
        *belief = level;
        self.at = Some(time);
        self.accepted = (self.accepted + 1).min(GATE_AFTER);
        self.run.clear();
        Some(Update::judged(Verdict::Accepted, innovation, nis))
    }

    /// One reading with known noise: predict, judge, take in.
    fn step(
        &mut self,
        plan: &KalmanPlan,
        noise: &Noise,
        gate: f64,
        time: EventTime,
        value: Finite,
    ) -> Update {
        if let Some(update) = self.step_level(plan, noise, gate, time, value) {
            return update;
        }
        let reading = value.get();
        let mut belief = self.belief.clone();
        if let Some(at) = self.at {
            belief.predict(plan, noise, seconds(at, time));
        }
        let mut update = Update::UNJUDGED;
        if let Some(innovation) = belief.innovation(plan, noise, reading)
            && innovation.value.is_finite()
            && innovation.variance.is_finite()
        {
            let nis = innovation.nis();
            if nis > gate && self.accepted >= GATE_AFTER {
                let complete = self.run.push(innovation.value > 0.0, time, value);
                let verdict =
                    if complete { self.shift(plan, noise, &belief) } else { Verdict::Gated };
                if plan.huber && !complete {
                    self.weigh(plan, belief, noise, innovation, time, value);
                } else if verdict == Verdict::Gated && plan.is_per_reading() {
                    // Each reading is a step of the model, also one that is not taken.
                    self.belief = belief;
                    self.at = Some(time);
                }
                return Update::judged(verdict, innovation, nis);
            }
            update = Update::judged(Verdict::Accepted, innovation, nis);
            if plan.huber && self.accepted >= GATE_AFTER {
                self.run.clear();
                self.weigh(plan, belief, noise, innovation, time, value);
                return update;
            }
        }
        belief.update(plan, noise, value);
        if !belief.is_sound() {
            belief = plan.diffuse();
            belief.update(plan, noise, value);
            if !belief.is_sound() {
                belief = plan.diffuse();
            }
            self.accepted = 0;
        }
        self.belief = belief;
        self.at = Some(time);
        self.accepted = (self.accepted + 1).min(GATE_AFTER);
        self.run.clear();
        update
    }

    /// Takes a reading in with Huber's weight. `belief`: predicted to `time`. The gate and the run of
    /// rejections are the caller's.
    fn weigh(
        &mut self,
        plan: &KalmanPlan,
        mut belief: Belief,
        noise: &Noise,
        innovation: Innovation,
        time: EventTime,
        reading: Finite,
    ) {
        let weight = huber_weight(innovation.nis());
        if let Some(noise) = weighted(noise, innovation.variance, weight) {
            belief.update(plan, &noise, reading);
        }
        if belief.is_sound() {
            self.belief = belief;
            self.at = Some(time);
        }
    }

    /// Starts anew at the first reading of the complete run and takes all of it. `expected`: the
    /// old belief, predicted to now.
    fn shift(&mut self, plan: &KalmanPlan, noise: &Noise, expected: &Belief) -> Verdict {
        let run = self.run;
        let since = run.readings()[0].0;
        self.restart(plan.diffuse());
        for &(time, value) in run.readings() {
            self.step(plan, noise, f64::INFINITY, time, value);
        }
        let level = |belief: &Belief| belief.estimate().map_or(0.0, |estimate| estimate.level);
        let delta = level(&self.belief) - level(expected);
        Verdict::Shift { delta: delta.clamp(f64::MIN, f64::MAX), since }
    }

    fn restart(&mut self, belief: Belief) {
        self.belief = belief;
        self.at = None;
        self.accepted = 0;
        self.run.clear();
    }

    /// One reading with noise still to be learned: judged by what is known so far, then everything
    /// again with what is known now.
    fn learn(&mut self, plan: &KalmanPlan, time: EventTime, value: Finite) -> Update {
        let mut learning = match std::mem::replace(&mut self.source, Source::Given) {
            Source::Learning(learning) => learning,
            Source::Given | Source::Learned(_) => {
                self.restart(plan.start.clone());
                self.tuning = Some(Box::new(Tuning::new()));
                let mut learning = Learning::new();
                // Not the series' first readings, so not what `initial` speaks of.
                learning.forgot = true;
                learning
            }
        };
        let update = match learning.noise {
            Some(noise) if learning.readings.len() > 1 => {
                let noise = plan.given.or(&noise);
                let moved = moments::moves(&learning.readings) >= MOVES_MIN;
                let gate = if moved { plan.gate } else { f64::INFINITY };
                self.step(plan, &noise, gate, time, value)
            }
            _ => Update::UNJUDGED,
        };
        let index = learning.readings.len();
        learning.readings.push((time, value));
        match update.verdict {
            Verdict::Accepted => {}
            Verdict::Gated => learning.rejected |= 1 << index,
            Verdict::Shift { .. } => {
                let start = index + 1 - SHIFT_AFTER;
                learning.start = start as u8;
                learning.rejected &= (1 << start) - 1;
            }
        }
        let noise = moments::estimate(plan.model, &plan.given, &learning.readings);
        learning.noise = Some(noise);
        self.rerun(plan, &noise, &learning);
        if learning.readings.len() < READINGS_MAX {
            self.source = Source::Learning(learning);
        } else if moments::moves(&learning.readings) >= MOVES_MIN {
            self.source = Source::Learned(noise);
        } else {
            learning.readings.drain(..READINGS_MAX - KEPT);
            learning.rejected = 0;
            learning.start = 0;
            learning.forgot = true;
            self.source = Source::Learning(learning);
        }
        update
    }

    /// Filters the accepted readings from the (re)start on. The run of rejections stays.
    fn rerun(&mut self, plan: &KalmanPlan, noise: &Noise, learning: &Learning) {
        let run = self.run;
        let first = learning.start == 0 && !learning.forgot;
        self.restart(if first { plan.start.clone() } else { plan.diffuse() });
        let readings = learning.readings.iter().enumerate().skip(usize::from(learning.start));
        for (i, &(time, value)) in readings {
            if learning.rejected >> i & 1 == 0 {
                self.step(plan, noise, f64::INFINITY, time, value);
            }
        }
        self.run = run;
    }
}
