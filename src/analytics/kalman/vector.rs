//! The filter of several metrics of one device at once: `custom` with rows of readings.
//!
//! Pure. A row is judged as a whole: its normalised innovation squared against the chi-square
//! quantile with as many degrees of freedom as it has expected components. Five rejected rows in a
//! row, the same component most surprising in each and on the same side, are a level shift: the
//! filter starts anew, diffusely, at the first of them. A row in which nothing was measured only
//! predicts.

use serde::{Deserialize, Serialize};

use super::custom::Row;
use super::health::{Health, RowWatch};
use super::run::SHIFT_AFTER;
use super::sized::{AnyState, AnySystem, SmoothedState};
use super::state::GATE_AFTER;
use super::{Estimate, seconds};
use crate::analytics::quantile::chi_square_quantile;
use crate::analytics::settings::{CustomSettings, KalmanInitial, METRICS_MAX};
use crate::reading::{EventTime, Finite};

/// [`CustomSettings`] compiled: one plan serves every device with the same settings.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorPlan {
    metrics: Vec<String>,
    system: AnySystem,
    /// By degrees of freedom.
    gates: [f64; METRICS_MAX + 1],
}

impl VectorPlan {
    /// Compiles `custom`. `gate`: probability as in the settings, 1 switches it off; `initial`:
    /// the state predicted for the first row, if it fits.
    ///
    /// # Errors
    /// The key and what is wrong with it ([`CustomSettings::fault`]).
    pub fn new(
        custom: &CustomSettings,
        gate: f64,
        initial: Option<&KalmanInitial>,
    ) -> Result<VectorPlan, (&'static str, String)> {
        if let Some(fault) = custom.fault() {
            return Err(fault);
        }
        let unsized_fault = || ("F", "has no or too many states".to_owned());
        let system = AnySystem::new(custom, initial).ok_or_else(unsized_fault)?;
        let gates = std::array::from_fn(|dof| match dof {
            0 => f64::INFINITY,
            _ => chi_square_quantile(gate, dof as u32),
        });
        Ok(VectorPlan { metrics: custom.metrics.clone(), system, gates })
    }

    /// The metrics of a row, in order; empty: one, the series that has the settings.
    pub fn metrics(&self) -> &[String] {
        &self.metrics
    }

    /// Components of a row.
    pub fn width(&self) -> usize {
        self.system.metrics()
    }

    /// The state at each row given all of them (Rauch-Tung-Striebel): rows in event order. With
    /// `first` they start where `initial` belongs, otherwise diffusely.
    pub fn smooth(
        &self,
        rows: &[(EventTime, Vec<Option<Finite>>)],
        first: bool,
    ) -> Vec<SmoothedState> {
        let start = if first { self.system.start() } else { self.system.diffuse() };
        self.system.smooth(&start, rows)
    }
}

/// What became of a row.
#[derive(Clone, Debug, PartialEq)]
pub enum VectorVerdict {
    /// The filter took it.
    Accepted,
    /// Beyond the gate: the filter did not take it.
    Gated,
    /// The fifth rejection in a row of one kind: the state has shifted.
    Shift {
        /// By component: what it measures now less what was expected of it; 0 where that is not
        /// known.
        deltas: Vec<f64>,
        /// Time of the first row after the shift.
        since: EventTime,
    },
}

/// The verdict on a row and what it was judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorUpdate {
    /// By component: reading less expectation; `None` where it is missing or nothing was expected.
    pub innovations: Vec<Option<f64>>,
    /// Their variances, each for itself (diagonal of H·P·Hᵀ + R), > 0.
    pub variances: Vec<Option<f64>>,
    /// Normalised innovation squared of the row: chi-square with `dof` degrees of freedom if the
    /// model fits. `None` where nothing was expected.
    pub nis: Option<f64>,
    /// Components that were expected.
    pub dof: usize,
    /// Log-likelihood of the row, with the log 2π terms (Durbin and Koopman 2012, equation 7.2).
    pub loglik: Option<f64>,
    /// What became of it.
    pub verdict: VectorVerdict,
}

/// The filter of one device's metrics.
///
/// Serialised with one-letter names; what comes back is checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub struct VectorFilter {
    state: AnyState,
    /// Time of the last row that the state includes.
    at: Option<EventTime>,
    /// Time of the last row accepted or judged.
    frontier: Option<EventTime>,
    /// Rows accepted since the (re)start, up to [`GATE_AFTER`].
    accepted: u8,
    /// Rows rejected in a row, fewer than [`SHIFT_AFTER`].
    run: Vec<Row>,
    /// The most surprising component of each of them, and whether it was above.
    side: (u8, bool),
    /// What the innovations say of the noise.
    watch: RowWatch,
}

impl VectorFilter {
    /// No row yet.
    pub fn new(plan: &VectorPlan) -> VectorFilter {
        VectorFilter {
            state: plan.system.start(),
            at: None,
            frontier: None,
            accepted: 0,
            run: Vec::new(),
            side: (0, false),
            watch: RowWatch::default(),
        }
    }

    /// Judges a row and, unless it is gated, takes it in. A component of `row` that is missing is
    /// `None`; `time` must not be before [`frontier`](Self::frontier) (it then counts as there).
    /// A state of another size than the plan's starts anew.
    pub fn update(
        &mut self,
        plan: &VectorPlan,
        time: EventTime,
        row: &[Option<Finite>],
    ) -> VectorUpdate {
        let time = self.frontier.map_or(time, |frontier| frontier.max(time));
        if !plan.system.fits(&self.state) {
            *self = VectorFilter::new(plan);
        }
        self.frontier = Some(time);
        let row = row.get(..plan.width()).unwrap_or(row);
        let update = self.step(plan, true, time, row);
        if let Some(nis) = update.nis {
            let pairs = update.innovations.iter().zip(&update.variances);
            self.watch.take((nis, update.dof), pairs.map(|(of, variance)| of.zip(*variance)));
        }
        update
    }

    /// Whether Q and R fit the rows of late.
    pub fn health(&self) -> Health {
        self.watch.health()
    }

    /// Q or R changed: what was found of the noise holds no more.
    pub fn forget_health(&mut self) {
        self.watch = RowWatch::default();
    }

    fn step(
        &mut self,
        plan: &VectorPlan,
        gated: bool,
        time: EventTime,
        row: &[Option<Finite>],
    ) -> VectorUpdate {
        let system = &plan.system;
        let mut state = self.state.clone();
        if let Some(at) = self.at {
            system.predict(&mut state, seconds(at, time));
        }
        let mut update = expectations(system, &state, row);
        let predicted = state.clone();
        let taken = system.take(&mut state, row);
        if taken.dof > 0 && taken.loglik.is_finite() {
            update.dof = taken.dof;
            update.nis = Some(taken.nis);
            update.loglik = Some(taken.loglik);
        }
        let gate = plan.gates.get(update.dof).copied().unwrap_or(f64::INFINITY);
        let surprising = update.nis.is_some_and(|nis| nis > gate);
        if gated && surprising && self.accepted >= GATE_AFTER {
            update.verdict = self.reject(plan, predicted, time, row, &update);
            return update;
        }
        if !state.is_sound() {
            state = system.diffuse();
            system.take(&mut state, row);
            if !state.is_sound() {
                state = system.diffuse();
            }
            self.accepted = 0;
        }
        self.state = state;
        self.at = Some(time);
        if row.iter().any(Option::is_some) {
            self.accepted = (self.accepted + 1).min(GATE_AFTER);
            self.run.clear();
        }
        update
    }

    /// A row beyond the gate: the fifth of one kind is a shift.
    fn reject(
        &mut self,
        plan: &VectorPlan,
        predicted: AnyState,
        time: EventTime,
        row: &[Option<Finite>],
        update: &VectorUpdate,
    ) -> VectorVerdict {
        let side = most_surprising(update);
        if side != self.side {
            self.run.clear();
            self.side = side;
        }
        self.run.push((time, row.to_vec()));
        if self.run.len() < SHIFT_AFTER {
            if plan.system.is_per_reading() && predicted.is_sound() {
                // Each row is a step, also one that is not taken.
                self.state = predicted;
                self.at = Some(time);
            }
            return VectorVerdict::Gated;
        }
        let run = std::mem::take(&mut self.run);
        let since = run.first().map_or(time, |(time, _)| *time);
        self.state = plan.system.diffuse();
        self.at = None;
        self.accepted = 0;
        for (time, row) in &run {
            self.step(plan, false, *time, row);
        }
        let delta = |i| {
            let now = plan.system.level(&self.state, i)?.0;
            Some((now - plan.system.level(&predicted, i)?.0).clamp(f64::MIN, f64::MAX))
        };
        let deltas = (0..plan.width()).map(|i| delta(i).unwrap_or(0.0)).collect();
        VectorVerdict::Shift { deltas, since }
    }

    /// The clock that stamped the rows was ahead and stepped back: what is known is as of `to`.
    pub fn rewind(&mut self, to: EventTime) {
        self.at = self.at.map(|at| at.min(to));
        self.frontier = self.frontier.map(|frontier| frontier.min(to));
        self.run.clear();
    }

    /// Time of the last row that was accepted or judged.
    pub fn frontier(&self) -> Option<EventTime> {
        self.frontier
    }

    /// Mean of the state as of the last row it includes; `None` while any of it is not known.
    pub fn state(&self) -> Option<Vec<f64>> {
        Some(self.state.known().filter(|_| self.at.is_some())?.0)
    }

    /// Its covariance: rows, exactly symmetric, without negative eigenvalue.
    pub fn covariance(&self) -> Option<Vec<Vec<f64>>> {
        Some(self.state.known().filter(|_| self.at.is_some())?.1)
    }

    /// Bytes on the heap, roughly.
    pub fn heap_bytes(&self) -> usize {
        let row = size_of::<Row>() + METRICS_MAX * size_of::<Option<Finite>>();
        self.state.bytes() + self.run.capacity() * row + self.watch.heap_bytes()
    }

    /// By component: what it measures (its reading without noise), with its variance, as of the
    /// last row the state includes.
    pub fn estimate(&self, plan: &VectorPlan) -> Vec<Option<Estimate>> {
        let known = |i| {
            self.at?;
            let (level, variance) = plan.system.level(&self.state, i)?;
            Some(Estimate { level, variance: Some(variance), trend: None, trend_variance: None })
        };
        (0..plan.width()).map(known).collect()
    }
}

/// By component what is expected of it, and the innovation where it is there.
fn expectations(system: &AnySystem, state: &AnyState, row: &[Option<Finite>]) -> VectorUpdate {
    let width = system.metrics();
    let mut update = VectorUpdate {
        innovations: vec![None; width],
        variances: vec![None; width],
        nis: None,
        dof: 0,
        loglik: None,
        verdict: VectorVerdict::Accepted,
    };
    let slots = update.innovations.iter_mut().zip(&mut update.variances).zip(row);
    for (i, ((innovation, variance), reading)) in slots.enumerate() {
        if let Some(reading) = reading
            && let Some((mean, of)) = system.reading(state, i)
            && (reading.get() - mean).is_finite()
            && of.is_finite()
        {
            *innovation = Some(reading.get() - mean);
            *variance = Some(of);
        }
    }
    update
}

/// The component whose innovation is the most of its standard deviation, and whether it is above.
fn most_surprising(update: &VectorUpdate) -> (u8, bool) {
    let mut most = (0, false);
    let mut largest = -1.0;
    for (i, pair) in update.innovations.iter().zip(&update.variances).enumerate() {
        if let (Some(value), Some(variance)) = pair {
            let surprise = value / variance * value;
            if surprise > largest {
                largest = surprise;
                most = (i as u8, *value > 0.0);
            }
        }
    }
    most
}

/// [`VectorFilter`] as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(rename = "b")]
    state: AnyState,
    #[serde(rename = "a")]
    at: Option<EventTime>,
    /// Absent: as `at`.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    frontier: Option<EventTime>,
    #[serde(rename = "n")]
    accepted: u8,
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    run: Vec<Row>,
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    side: Option<(u8, bool)>,
    #[serde(rename = "w", default, skip_serializing_if = "RowWatch::is_new")]
    watch: RowWatch,
}

impl From<VectorFilter> for Wire {
    fn from(filter: VectorFilter) -> Wire {
        Wire {
            state: filter.state,
            at: filter.at,
            frontier: filter.frontier.filter(|_| filter.frontier != filter.at),
            accepted: filter.accepted,
            side: Some(filter.side).filter(|side| *side != (0, false)),
            run: filter.run,
            watch: filter.watch,
        }
    }
}

impl TryFrom<Wire> for VectorFilter {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<VectorFilter, &'static str> {
        let frontier = wire.frontier.or(wire.at);
        let in_range = |time: EventTime| EventTime::from_nanos(time.nanos()).is_some();
        let good = frontier.is_none_or(in_range)
            && wire.at.is_none_or(in_range)
            && wire.at <= frontier
            && wire.accepted <= GATE_AFTER
            && wire.run.len() < SHIFT_AFTER
            && wire.run.iter().all(|(time, row)| {
                in_range(*time) && Some(*time) <= frontier && row.len() <= METRICS_MAX
            })
            && wire.run.is_sorted_by_key(|(time, _)| *time)
            && wire.watch.is_sound();
        if !good {
            return Err("filter state: times, counts, rejected rows or mean NIS are not sound");
        }
        Ok(VectorFilter {
            state: wire.state,
            at: wire.at,
            frontier,
            accepted: wire.accepted,
            run: wire.run,
            side: wire.side.unwrap_or_default(),
            watch: wire.watch,
        })
    }
}
