//! Sliding views: the merge of the latest closed panes of a window, for readers at the site.
//!
//! Pure. Whenever a pane closes that is later than all before it, a view of the window's `size`
//! that ends with it leaves. A later part of an older pane changes the views to come, none that
//! left. Kept are the panes of the latest view, parts of one pane merged: at most size / slide of
//! them. Only panes go upstream, so a view counts nothing twice there.

use serde::{Deserialize, Serialize};

use crate::analytics::settings::{Align, WindowSettings};
use crate::batch::pane::Pane;
use crate::batch::window::{Zone, bounds};
use crate::reading::EventTime;

/// The latest closed panes of one series' sliding windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Views {
    /// Of all windows, ascending by (window, start).
    panes: Vec<Pane>,
}

impl Views {
    /// Whether there is nothing to keep.
    pub fn is_empty(&self) -> bool {
        self.panes.is_empty()
    }

    /// Takes in a closed pane of `window`. Returns the view that ends with it, if one does.
    pub fn take(&mut self, window: &WindowSettings, zone: &Zone, closed: &Pane) -> Option<Pane> {
        window.slide?;
        let index = closed.window;
        let newest = self.panes.iter().rev().find(|pane| pane.window == index);
        if let Some(newest) = newest
            && closed.start <= newest.start
        {
            if closed.start >= view_start(window, zone, newest) {
                self.take_late(closed);
            }
            return None;
        }
        let start = view_start(window, zone, closed);
        self.panes.retain(|pane| pane.window != index || pane.start >= start);
        let at = self.panes.partition_point(|pane| pane.window <= index);
        self.panes.insert(at, closed.clone());
        let mut panes = self.panes.iter().filter(|pane| pane.window == index);
        let mut view = panes.next()?.clone();
        panes.for_each(|pane| view.merge(pane));
        (view.start, view.end, view.part) = (start, closed.end, closed.part);
        Some(view)
    }

    /// A part of a pane within the latest view.
    fn take_late(&mut self, closed: &Pane) {
        let key = (closed.window, closed.start);
        let at = self.panes.partition_point(|pane| (pane.window, pane.start) < key);
        match self.panes.get_mut(at) {
            Some(pane) if (pane.window, pane.start) == key => pane.merge(closed),
            _ => self.panes.insert(at, closed.clone()),
        }
    }

    /// Follows a change of the windows: those that stay keep their panes.
    pub fn change_windows(&mut self, old: &[WindowSettings], new: &[WindowSettings]) {
        self.panes.retain_mut(|pane| {
            let was = old.get(usize::from(pane.window));
            match was.and_then(|was| new.iter().position(|window| window == was)) {
                Some(index) => {
                    pane.window = index as u8;
                    true
                }
                None => false,
            }
        });
        self.panes.sort_by_key(|pane| (pane.window, pane.start));
    }

    /// Forgets panes that begin after `to`: the clock that put readings there was wrong, and no later
    /// pane would be the latest.
    pub fn rewind(&mut self, to: EventTime) {
        self.panes.retain(|pane| pane.start <= to);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.panes.clear();
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let heap: usize = self.panes.iter().map(Pane::heap_bytes).sum();
        self.panes.capacity() * size_of::<Pane>() + heap
    }
}

/// Start of the view that ends with `last`.
fn view_start(window: &WindowSettings, zone: &Zone, last: &Pane) -> EventTime {
    if window.align == Align::Epoch {
        return EventTime::clamped(last.end.nanos().saturating_sub(window.size));
    }
    // Local days are of several lengths.
    (1..window.view_panes())
        .fold(last.start, |start, _| bounds(window, zone, EventTime::clamped(start.nanos() - 1)).0)
}
