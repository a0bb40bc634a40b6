//! The open panes of one series: disjoint windows that fill with readings, close once, and leave
//! one final, immutable record each.
//!
//! Pure. A pane closes when the series' watermark passes its end, or when attended time passes its
//! deadline. A reading for a pane already closed opens another *part* of it (`part` = the batch
//! that opened it); that part closes by its deadline only, each further reading moving it. At most
//! `max_panes` are open for each window; above that the one with the nearest deadline closes, which
//! costs parts, never readings.

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::analytics::settings::WindowSettings;
use crate::batch::counter::{CounterStep, Increase};
use crate::batch::integral::Integral;
use crate::batch::moments::Moments;
use crate::batch::order::Watermark;
use crate::batch::sketch::Sketch;
use crate::batch::states::States;
use crate::batch::window::{Zone, bounds};
use crate::reading::{AttendedTime, EventTime, Finite, ProcessingTime};

/// One open pane.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pane {
    /// Index of the window in the series' settings.
    #[serde(rename = "w")]
    pub window: u8,
    /// Start, inclusive.
    #[serde(rename = "s")]
    pub start: EventTime,
    /// End, exclusive.
    #[serde(rename = "e")]
    pub end: EventTime,
    /// The batch that opened it.
    #[serde(rename = "p")]
    pub part: u64,
    /// Opened behind the watermark, so that only its deadline closes it.
    #[serde(rename = "l")]
    late: bool,
    /// Opened after another part of it that took readings in order: what time they cover was
    /// credited to that one.
    #[serde(rename = "a", default, skip_serializing_if = "std::ops::Not::not")]
    again: bool,
    /// Attended time at which it closes whatever the watermark.
    #[serde(rename = "d")]
    deadline: AttendedTime,
    /// Whether a reading came while the clock was not trusted.
    #[serde(rename = "u")]
    pub clock_untrusted: bool,
    /// The aggregate.
    #[serde(rename = "m")]
    pub moments: Moments,
    /// Quantile sketch, where the window asks for one.
    #[serde(rename = "q", default, skip_serializing_if = "Option::is_none")]
    pub sketch: Option<Box<Sketch>>,
    /// Over the covered time, where the window asks for its mean.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub integral: Option<Integral>,
    /// Of a counter; `None` before its first step.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub increase: Option<Box<Increase>>,
    /// Of a state; `None` before its first covered stretch.
    #[serde(rename = "v", default, skip_serializing_if = "Option::is_none")]
    pub states: Option<Box<States>>,
}

/// The time for which a reading speaks: until the next one in order, but not for long.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// When it was measured.
    pub from: EventTime,
    /// Until when it speaks, exclusive.
    pub to: EventTime,
    /// The reading.
    pub value: Finite,
    /// Whether it is a state whose durations are kept.
    pub is_state: bool,
}

/// What panes need to know of the batch.
#[derive(Clone, Copy, Debug)]
pub struct PaneContext<'a> {
    /// Batch number.
    pub batch: u64,
    /// The gateway's clock.
    pub now: ProcessingTime,
    /// Attended time.
    pub attended: AttendedTime,
    /// Whether the clock is trusted.
    pub clock_trusted: bool,
    /// How far ahead of the clock a reading may be; bounds how long an idle pane waits.
    pub max_ahead: i64,
    /// The site's time zone.
    pub zone: &'a Zone,
    /// Most open panes for each window.
    pub max_panes: usize,
}

/// All open panes of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Panes {
    open: SmallVec<[Pane; 2]>,
}

impl Pane {
    /// Whether `time` falls into it.
    pub fn holds(&self, time: EventTime) -> bool {
        self.start <= time && time < self.end
    }

    /// Takes in all of another pane's readings; bounds and part stay.
    pub fn merge(&mut self, other: &Pane) {
        self.moments.merge(&other.moments);
        self.clock_untrusted |= other.clock_untrusted;
        match (&mut self.sketch, &other.sketch) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine, theirs) => merge_missing(mine, theirs),
        }
        match (&mut self.integral, &other.integral) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine, theirs) => merge_missing(mine, theirs),
        }
        match (&mut self.increase, &other.increase) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine, theirs) => merge_missing(mine, theirs),
        }
        match (&mut self.states, &other.states) {
            (Some(mine), Some(theirs)) => mine.merge(theirs),
            (mine, theirs) => merge_missing(mine, theirs),
        }
    }

    /// The time-weighted mean; `None` where it is not kept, or no time is covered.
    pub fn time_mean(&self) -> Option<f64> {
        self.integral.as_ref()?.mean(self.moments.covered_ns())
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.sketch.as_ref().map_or(0, |s| s.memory_bytes())
            + self.increase.as_ref().map_or(0, |_| size_of::<Increase>())
            + self.states.as_ref().map_or(0, |s| size_of::<States>() + s.heap_bytes())
    }

    /// Credits it with what of a stretch lies in it. A pane that closes before the next reading in order
    /// is credited with all that its last one may still speak for: so it does not matter whether the
    /// watermark closes it or its deadline.
    pub fn cover(&mut self, stretch: &Stretch) {
        if self.again {
            return;
        }
        let nanos = stretch.to.min(self.end).nanos() - stretch.from.max(self.start).nanos();
        if nanos <= 0 {
            return;
        }
        let nanos = nanos.unsigned_abs();
        self.moments.cover(nanos);
        if let Some(integral) = &mut self.integral {
            integral.cover(stretch.value, nanos);
        }
        if stretch.is_state {
            self.states.get_or_insert_default().cover(stretch.value, nanos);
        }
    }

    fn waits_for(&self, pending: Option<Watermark>) -> bool {
        !self.late && pending.is_some_and(|watermark| !watermark.has_passed(self.end))
    }
}

impl Panes {
    /// Puts a reading into its pane of every window. Panes that must close on the way go to `closed`.
    /// `patience`: nanoseconds of attended time that a pane stays open after its end. `last`: time of
    /// the last reading in order before this one.
    #[expect(clippy::too_many_arguments, reason = "one reading with all it is judged by")]
    pub fn add(
        &mut self,
        windows: &[WindowSettings],
        patience: i64,
        watermark: Watermark,
        context: &PaneContext<'_>,
        time: EventTime,
        value: Finite,
        outlier: bool,
        last: Option<EventTime>,
        closed: &mut Vec<Pane>,
    ) {
        for (index, window) in windows.iter().enumerate() {
            let index = index as u8;
            let found = self.open.iter().rposition(|p| p.window == index && p.holds(time));
            let deadline = |pane_start: EventTime, pane_end: EventTime| {
                let size = pane_end.nanos() - pane_start.nanos();
                let left = (pane_end.nanos() - context.now.0).clamp(0, size + context.max_ahead);
                AttendedTime(context.attended.0 + left + patience)
            };
            let pane = match found {
                Some(at) => {
                    let pane = &mut self.open[at];
                    pane.moments.add(time, value);
                    // Never earlier than before: the two clocks may drift apart a little.
                    pane.deadline = pane.deadline.max(deadline(pane.start, pane.end));
                    pane
                }
                None => {
                    let (start, end) = bounds(window, context.zone, time);
                    self.close_passed(watermark, closed);
                    self.make_room(index, context.max_panes, closed);
                    self.open.push(Pane {
                        window: index,
                        start,
                        end,
                        part: context.batch,
                        late: watermark.has_passed(end),
                        again: last.is_some_and(|last| last >= start),
                        deadline: deadline(start, end),
                        clock_untrusted: false,
                        moments: Moments::new(time, value),
                        sketch: (!window.quantiles.is_empty()).then(|| Box::new(Sketch::new())),
                        integral: window.time_weighted.then(Integral::default),
                        increase: None,
                        states: None,
                    });
                    let last = self.open.len() - 1;
                    &mut self.open[last]
                }
            };
            if let Some(sketch) = &mut pane.sketch {
                sketch.add(value);
            }
            if outlier {
                pane.moments.count_outlier();
            }
            pane.clock_untrusted |= !context.clock_trusted;
        }
    }

    /// Credits a stretch to the open panes that it touches. Panes without readings do not exist and are
    /// not credited.
    pub fn cover(&mut self, stretch: &Stretch) {
        self.open.iter_mut().for_each(|pane| pane.cover(stretch));
    }

    /// Adds a counter's step, which took `nanos`, to the panes of the reading at its end, `time`.
    pub fn count_increase(&mut self, time: EventTime, step: &CounterStep, nanos: u64) {
        for pane in self.open.iter_mut().filter(|pane| pane.holds(time)) {
            pane.increase.get_or_insert_default().add(step, nanos);
        }
    }

    /// Counts a change of state in the panes of the reading that shows it.
    pub fn count_transition(&mut self, time: EventTime) {
        for pane in self.open.iter_mut().filter(|pane| pane.holds(time)) {
            pane.states.get_or_insert_default().count_transition();
        }
    }

    /// Closes the panes behind the watermark.
    pub fn close_passed(&mut self, watermark: Watermark, closed: &mut Vec<Pane>) {
        self.close_where(closed, |pane| !pane.late && watermark.has_passed(pane.end));
    }

    /// Closes the panes whose deadline has come. `pending`: see [`next_deadline`](Self::next_deadline).
    pub fn close_due(
        &mut self,
        attended: AttendedTime,
        pending: Option<Watermark>,
        closed: &mut Vec<Pane>,
    ) {
        self.close_where(closed, |pane| pane.deadline <= attended && !pane.waits_for(pending));
    }

    /// Closes all (the series leaves).
    pub fn close_all(&mut self, closed: &mut Vec<Pane>) {
        self.close_where(closed, |_| true);
    }

    /// Follows a change of the windows: panes of windows that stay keep filling, others close.
    pub fn change_windows(
        &mut self,
        old: &[WindowSettings],
        new: &[WindowSettings],
        closed: &mut Vec<Pane>,
    ) {
        let moved = |pane: &Pane| {
            let was = old.get(usize::from(pane.window))?;
            new.iter().position(|window| window == was).map(|index| index as u8)
        };
        self.close_where(closed, |pane| moved(pane).is_none());
        for pane in &mut self.open {
            pane.window = moved(pane).unwrap_or(pane.window);
        }
    }

    /// When the next pane closes without further readings. `pending`: the watermark as it will be
    /// at the turn of the earliest reading that is held back. Panes that this reading finds open
    /// wait for it, so that what they hold does not depend on when batches closed.
    pub fn next_deadline(&self, pending: Option<Watermark>) -> Option<AttendedTime> {
        match (self.open.as_slice(), pending) {
            // Nearly always.
            ([pane], None) => Some(pane.deadline),
            (panes, _) => {
                let panes = panes.iter().filter(|pane| !pane.waits_for(pending));
                panes.map(|pane| pane.deadline).min()
            }
        }
    }

    /// The open panes, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &Pane> {
        self.open.iter()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let heap: usize = self.open.iter().map(Pane::heap_bytes).sum();
        let open = if self.open.spilled() { self.open.capacity() } else { 0 };
        open * size_of::<Pane>() + heap
    }

    fn make_room(&mut self, window: u8, max_panes: usize, closed: &mut Vec<Pane>) {
        if self.open.iter().filter(|pane| pane.window == window).count() < max_panes {
            return;
        }
        let nearest = self
            .open
            .iter()
            .enumerate()
            .filter(|(_, pane)| pane.window == window)
            .min_by_key(|(_, pane)| (pane.deadline, pane.start, pane.part))
            .map(|(at, _)| at);
        if let Some(at) = nearest {
            closed.push(self.open.remove(at));
        }
    }

    /// Moves the panes that fit out, ordered by (window, start, part).
    fn close_where(&mut self, closed: &mut Vec<Pane>, leaves: impl Fn(&Pane) -> bool) {
        // Nearly every call finds nothing.
        if !self.open.iter().any(&leaves) {
            return;
        }
        if self.open.len() == 1 {
            closed.extend(self.open.pop());
            return;
        }
        let from = closed.len();
        // What `Vec::extract_if` does; few are open.
        let mut at = 0;
        while let Some(pane) = self.open.get(at) {
            if leaves(pane) {
                closed.push(self.open.remove(at));
            } else {
                at += 1;
            }
        }
        closed[from..].sort_by_key(|pane| (pane.window, pane.start, pane.part));
    }
}

/// Where only one side has something, the merge has that.
fn merge_missing<T: Clone>(mine: &mut Option<T>, theirs: &Option<T>) {
    if mine.is_none() {
        mine.clone_from(theirs);
    }
}
