//! Who feeds whom: groups and derived metrics come and go with their members.
//!
//! Pure. Decided before a frame is written ([`Engine::plan_joins`]) and recorded in it, so that
//! replay does not decide again: what it would decide by may by then be of a later batch.

use std::collections::{BTreeMap, BTreeSet};

use super::{CoreConfig, Engine, StepOutput};
use crate::analytics::derive::Expression;
use crate::analytics::members::{Gate, UnitKind};
use crate::analytics::settings::{DeriveSettings, Settings, VectorSettings};
use crate::journal::frame::{Define, Frame, FrameReading, Join};
use crate::reading::SeriesId;

/// A unit that a series feeds.
pub(super) struct Fed {
    pub kind: UnitKind,
    pub device: String,
    pub metric: String,
    /// Which input the series is.
    pub input: u8,
}

/// What a configuration has that is fed.
pub(super) struct Feeds<'c> {
    config: &'c CoreConfig,
    /// Of each derived metric.
    inputs: Vec<Vec<String>>,
    has_vectors: bool,
}

impl<'c> Feeds<'c> {
    pub fn of(config: &'c CoreConfig) -> Feeds<'c> {
        Feeds {
            config,
            inputs: config.derives.iter().map(inputs).collect(),
            has_vectors: config.layers.iter().any(|layer| layer.patch.vector.is_some()),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.config.groups.is_empty() && self.inputs.is_empty() && !self.has_vectors
    }

    /// The units that a series feeds, groups first.
    pub fn units(&self, device: &str, metric: &str) -> Vec<Fed> {
        let config = self.config;
        let groups = config.groups.iter().filter_map(|g| g.device_of(device, metric));
        // Two groups may have the same name for it.
        let groups: BTreeSet<String> = groups.collect();
        let metric_of = |device| (UnitKind::Group, device, metric.to_owned(), 0);
        let of_device = |kind, name: &String, inputs: &[String]| {
            let input = inputs.iter().position(|input| input == metric)? as u8;
            Some((kind, device.to_owned(), name.clone(), input))
        };
        let derives = config.derives.iter().zip(&self.inputs);
        let derived = derives.filter(|(derive, _)| derive.is_of(device));
        let derived = derived
            .filter_map(|(derive, inputs)| of_device(UnitKind::Derived, &derive.name, inputs));
        let vectors = match self.has_vectors {
            true => VectorSettings::of_device(&config.layers, device),
            false => Vec::new(),
        };
        let vectors = vectors
            .into_iter()
            .filter_map(|vector| of_device(UnitKind::Vector, &vector.name, vector.metrics()));
        let all = groups.into_iter().map(metric_of).chain(derived).chain(vectors);
        all.map(|(kind, device, metric, input)| Fed { kind, device, metric, input }).collect()
    }
}

/// The metrics that it is computed from, in the order of its inputs.
fn inputs(derive: &DeriveSettings) -> Vec<String> {
    let expression = Expression::parse(&derive.expression);
    expression.map(|expression| expression.inputs().to_vec()).unwrap_or_default()
}

impl Engine {
    /// Completes a frame whose newcomers and leavers stand: defines the units that newcomers are
    /// the first members of, lets go those whose last member leaves, and says who joins which. With
    /// a new configuration all that is decided anew.
    ///
    /// A unit whose name a series has, or that would be beyond `max_series`, is not made
    /// ([`Engine::unmade`] says so); when it is, later on, it gets all its members.
    pub fn plan_joins(&self, frame: &mut Frame) {
        let changed = frame
            .configuration
            .as_deref()
            .and_then(|bytes| crate::cbor::from_slice::<CoreConfig>(bytes).ok());
        let is_changed = changed.is_some();
        let config = changed.as_ref().unwrap_or(&self.meta.config);
        let is_quiet = frame.define.is_empty() && frame.evict.is_empty() && !is_changed;
        if is_quiet {
            return;
        }
        let feeds = Feeds::of(config);
        if feeds.is_empty() && self.fed.is_empty() {
            return;
        }
        let leaving: BTreeSet<SeriesId> = frame.evict.iter().copied().collect();
        let mut wanted: BTreeMap<(String, String), (UnitKind, Vec<Join>)> = BTreeMap::new();
        {
            let mut consider = |series: SeriesId, device: &str, metric: &str| {
                let units = feeds.units(device, metric);
                if units.is_empty() {
                    return;
                }
                let gate = Gate::of(&Settings::resolve(&config.layers, device, metric));
                for Fed { kind, device, metric, input } in units {
                    let entry = wanted.entry((device, metric));
                    let (first, joins) = entry.or_insert_with(|| (kind, Vec::new()));
                    if *first == kind {
                        joins.push(Join { unit: series, member: series, input, gate });
                    }
                }
            };
            if is_changed {
                for (series, name, unit) in self.units() {
                    if unit.state().kind_of_unit().is_series() && !leaving.contains(&series) {
                        consider(series, &name.device, &name.metric);
                    }
                }
            }
            for define in &frame.define {
                consider(define.series, &define.device, &define.metric);
            }
        }
        let used = self.registry.len() + frame.define.len();
        let mut room = (config.max_series + leaving.len()).saturating_sub(used);
        let mut free = self.free_slots(frame, room.min(wanted.len()));
        let mut kept = BTreeSet::new();
        for ((device, metric), (kind, mut joins)) in wanted {
            let known = self.registry.get(&device, &metric).filter(|unit| !leaving.contains(unit));
            let unit = match known {
                Some(unit) if self.is_of_kind(unit, kind) => unit,
                Some(_) => continue,
                None => {
                    let is_taken = |d: &Define| d.device == device && d.metric == metric;
                    if room == 0 || frame.define.iter().any(is_taken) {
                        continue;
                    }
                    let Some(series) = free.next() else { continue };
                    room -= 1;
                    if !is_changed {
                        // Members that were there when there was no room for it, or its name was taken.
                        let others = self.members_of(&feeds, kind, &device, &metric);
                        joins.extend(others.filter(|join| !leaving.contains(&join.member)));
                    }
                    frame.define.push(Define { series, device, metric, kind });
                    series
                }
            };
            kept.insert(unit);
            frame.joins.extend(joins.into_iter().map(|join| Join { unit, ..join }));
        }
        for &slot in &self.fed {
            let unit = SeriesId(slot);
            let Some((_, fed)) = self.unit(unit) else { continue };
            let mut members = fed.state().members().into_iter().flat_map(|m| m.series());
            let is_left = is_changed || members.all(|member| leaving.contains(&member));
            if is_left && !kept.contains(&unit) && !leaving.contains(&unit) {
                frame.evict.push(unit);
            }
        }
        frame.joins.sort_by_key(|join| (join.unit, join.member));
    }

    /// The series that feed a unit; what the unit is, is not said.
    fn members_of(
        &self,
        feeds: &Feeds<'_>,
        kind: UnitKind,
        device: &str,
        metric: &str,
    ) -> impl Iterator<Item = Join> {
        let series = self.units().filter(|(_, _, unit)| unit.state().kind_of_unit().is_series());
        // All that feeds it has its device, or (in a group) its metric.
        let near = series.filter(move |(_, name, _)| match kind {
            UnitKind::Group => &*name.metric == metric,
            _ => &*name.device == device,
        });
        near.filter_map(move |(member, name, _)| {
            let units = feeds.units(&name.device, &name.metric);
            let is_it =
                |fed: &&Fed| (fed.kind, &*fed.device, &*fed.metric) == (kind, device, metric);
            let input = units.iter().find(is_it)?.input;
            let settings = Settings::resolve(&feeds.config.layers, &name.device, &name.metric);
            Some(Join { unit: member, member, input, gate: Gate::of(&settings) })
        })
    }

    pub(super) fn is_of_kind(&self, series: SeriesId, kind: UnitKind) -> bool {
        self.unit(series).is_some_and(|(_, unit)| unit.state().kind_of_unit() == kind)
    }

    fn free_slots(&self, frame: &Frame, count: usize) -> impl Iterator<Item = SeriesId> + use<> {
        let defined: BTreeSet<SeriesId> = frame.define.iter().map(|d| d.series).collect();
        let slots = self.registry.next_slots(count + defined.len());
        slots.into_iter().filter(move |slot| !defined.contains(slot))
    }

    /// Members leave with the frame's leavers, and join as it says.
    pub(super) fn join(&mut self, frame: &Frame, output: &mut StepOutput) {
        let is_changed = frame.configuration.is_some();
        if frame.joins.is_empty() && !is_changed && frame.evict.is_empty() {
            return;
        }
        for slot in self.fed.clone() {
            let Some(Some(unit)) = self.units.get_mut(slot as usize) else { continue };
            if unit.included >= frame.batch {
                continue;
            }
            let Some(members) = unit.state.members_mut() else { continue };
            let own = frame.joins.partition_point(|join| join.unit.0 < slot);
            let joins = frame.joins.get(own..).unwrap_or_default();
            let joins = joins.iter().take_while(|join| join.unit.0 == slot);
            let mut changed = is_changed;
            for &series in &frame.evict {
                changed |= members.part(series);
            }
            if is_changed {
                let stay: Vec<SeriesId> = joins.clone().map(|join| join.member).collect();
                members.keep(&stay);
            }
            for join in joins {
                members.join(join.member, join.input, join.gate);
                changed = true;
            }
            if changed {
                self.changed(slot, frame.batch, output);
            }
        }
        self.reroute();
    }

    /// Finds anew which units a member's readings go to.
    pub(super) fn reroute(&mut self) {
        self.routes.clear();
        for &slot in &self.fed {
            let Some(Some(unit)) = self.units.get(slot as usize) else { continue };
            for member in unit.state.members().into_iter().flat_map(|m| m.series()) {
                self.routes.entry(member.0).or_default().push(slot);
            }
        }
    }

    /// The members' readings for each unit that is fed, by slot.
    pub(super) fn gather(&self, frame: &Frame) -> BTreeMap<u32, Vec<FrameReading>> {
        let mut gathered: BTreeMap<u32, Vec<FrameReading>> = BTreeMap::new();
        if !self.routes.is_empty() {
            for run in frame.readings.chunk_by(|a, b| a.series == b.series) {
                let units = run.first().and_then(|reading| self.routes.get(&reading.series.0));
                for &unit in units.into_iter().flatten() {
                    gathered.entry(unit).or_default().extend(run);
                }
            }
        }
        gathered
    }

    /// Whether a slot is not a series' but a unit's that other series feed: nothing is read under
    /// its name.
    pub fn is_fed(&self, series: SeriesId) -> bool {
        !self.fed.is_empty() && self.fed.contains(&series.0)
    }
}
