//! Units that are fed by the readings of other series, their members.
//!
//! Pure. A member's readings are taken from the frame as they came, never from the member's state,
//! so that units can be stored and replayed each on its own. For the same reason the unit itself
//! knows who its members are and how their values are to be read ([`Gate`]): frames say when that
//! changes.

use serde::{Deserialize, Serialize};

use super::settings::Settings;
use super::step::StepContext;
use crate::batch::order::Order;
use crate::journal::frame::FrameReading;
use crate::reading::{EventTime, Finite, SeriesId};

/// What a unit is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UnitKind {
    /// A series that is read.
    #[default]
    Series,
    /// The readings of several series together.
    Group,
    /// Computed from other metrics of its device.
    Derived,
    /// A filter over several metrics of its device.
    Vector,
}

impl UnitKind {
    /// All, in the order of their numbers in frames.
    pub const ALL: [UnitKind; 4] =
        [UnitKind::Series, UnitKind::Group, UnitKind::Derived, UnitKind::Vector];

    /// A series that is read, and is counted where readings are.
    pub fn is_series(&self) -> bool {
        *self == UnitKind::Series
    }
}

/// What a member's own settings do to a decoded value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// See [`Settings::scale`].
    #[serde(rename = "s")]
    pub scale: f64,
    /// See [`Settings::offset`].
    #[serde(rename = "o")]
    pub offset: f64,
    /// See [`Settings::valid`].
    #[serde(rename = "v")]
    pub valid: Option<(f64, f64)>,
    /// See [`Settings::lateness`]: repeats are recognised as long as the member recognises them.
    #[serde(rename = "l")]
    pub lateness: i64,
}

impl Gate {
    /// Of a series.
    pub fn of(settings: &Settings) -> Gate {
        let Settings { scale, offset, valid, lateness, .. } = *settings;
        Gate { scale, offset, valid, lateness }
    }

    /// The reading; `None`: not valid.
    fn pass(&self, value: Finite) -> Option<Finite> {
        let value = super::settings::scaled(value, self.scale, self.offset)?;
        let is_valid =
            self.valid.is_none_or(|(low, high)| low <= value.get() && value.get() <= high);
        is_valid.then_some(value)
    }
}

/// One member.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Member {
    /// Its slot.
    #[serde(rename = "s")]
    series: SeriesId,
    /// Index into [`Members::gates`].
    #[serde(rename = "g")]
    gate: u32,
    /// Which input it is; 0 in a group.
    #[serde(rename = "i")]
    input: u8,
    /// Recognises its repeats, as the member itself does.
    #[serde(rename = "o")]
    order: Order,
}

/// The members of a unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Members {
    /// Sorted by slot.
    #[serde(rename = "m")]
    members: Vec<Member>,
    /// Most members have the same.
    #[serde(rename = "g")]
    gates: Vec<Gate>,
}

impl Members {
    /// Which input a member is.
    pub fn input(&self, series: SeriesId) -> Option<usize> {
        let at = self.members.binary_search_by_key(&series, |member| member.series).ok()?;
        self.members.get(at).map(|member| usize::from(member.input))
    }

    /// Who they are.
    pub fn series(&self) -> impl Iterator<Item = SeriesId> {
        self.members.iter().map(|member| member.series)
    }

    /// A series comes, as this input, or is another input or has another gate from now on.
    pub fn join(&mut self, series: SeriesId, input: u8, gate: Gate) {
        let gate = self.gates.iter().position(|&other| other == gate).unwrap_or_else(|| {
            self.gates.push(gate);
            self.gates.len() - 1
        }) as u32;
        match self.members.binary_search_by_key(&series, |member| member.series) {
            Ok(at) => {
                if let Some(member) = self.members.get_mut(at) {
                    (member.gate, member.input) = (gate, input);
                }
            }
            Err(at) => {
                self.members.insert(at, Member { series, gate, input, order: Order::default() })
            }
        }
    }

    /// A series goes; `true` when it was a member.
    pub fn part(&mut self, series: SeriesId) -> bool {
        let found = self.members.binary_search_by_key(&series, |member| member.series);
        if let Ok(at) = found {
            self.members.remove(at);
        }
        found.is_ok()
    }

    /// Only those of `series` (sorted) stay; what their gates are is said anew.
    pub fn keep(&mut self, series: &[SeriesId]) {
        self.members.retain(|member| series.binary_search(&member.series).is_ok());
        self.gates.clear();
        self.members.iter_mut().for_each(|member| member.gate = u32::MAX);
    }

    /// The clock stepped back, see [`Order::rewind`]; `true` when that concerned a member.
    pub fn rewind(&mut self, limit: EventTime, to: EventTime) -> bool {
        let mut any = false;
        for member in &mut self.members {
            if member.order.max_time().is_some_and(|max| max > limit) {
                member.order.rewind(to);
                any = true;
            }
        }
        any
    }

    /// The members' readings of a batch as the unit's own, in event order: valid ones, each once.
    pub fn collect(
        &mut self,
        context: &StepContext<'_>,
        readings: &[FrameReading],
    ) -> Vec<FrameReading> {
        let mut taken = Vec::with_capacity(readings.len());
        for run in readings.chunk_by(|a, b| a.series == b.series) {
            let Some(series) = run.first().map(|reading| reading.series) else { continue };
            let found = self.members.binary_search_by_key(&series, |member| member.series);
            let Some(member) = found.ok().and_then(|at| self.members.get_mut(at)) else { continue };
            let Some(gate) = self.gates.get(member.gate as usize) else { continue };
            for reading in run {
                let (time, raw) = (reading.time, reading.value);
                let Some(value) = gate.pass(raw) else { continue };
                let ahead = time.nanos() - context.pane.now.0;
                if context.pane.clock_trusted && ahead > context.pane.max_ahead {
                    continue;
                }
                if reading.dedup && !member.order.remember(time, raw, gate.lateness) {
                    continue;
                }
                member.order.advance(time);
                taken.push(FrameReading { value, dedup: false, ..*reading });
            }
            member.order.prune(gate.lateness, context.max_recent);
        }
        taken.sort_by_key(|reading| (reading.time, reading.value.ordered_bits(), reading.series));
        taken
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.members.capacity() * size_of::<Member>()
            + self.gates.capacity() * size_of::<Gate>()
            + self.members.iter().map(|member| member.order.heap_bytes()).sum::<usize>()
    }
}
