//! The run of rejected readings from which a level shift is told.

use smallvec::SmallVec;

use crate::reading::{EventTime, Finite};

/// So many rejections in a row on one side are a level shift.
pub(super) const SHIFT_AFTER: usize = 5;

/// Of a level shift's, all but the last.
pub type Held = SmallVec<[(EventTime, Finite); SHIFT_AFTER - 1]>;

/// Readings rejected in a row, all on the same side. Never longer than [`SHIFT_AFTER`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    readings: [(EventTime, Finite); SHIFT_AFTER],
    length: u8,
    above: bool,
}

impl Run {
    pub fn empty() -> Run {
        let unused = (EventTime::EARLIEST, Finite::new(0.0).expect("zero is finite"));
        Run { readings: [unused; SHIFT_AFTER], length: 0, above: false }
    }

    /// `None` if there are more than [`SHIFT_AFTER`] readings.
    pub fn from_slice(above: bool, readings: &[(EventTime, Finite)]) -> Option<Run> {
        let mut run = Run { above, ..Run::empty() };
        run.readings.get_mut(..readings.len())?.copy_from_slice(readings);
        run.length = readings.len() as u8;
        Some(run)
    }

    pub fn readings(&self) -> &[(EventTime, Finite)] {
        &self.readings[..usize::from(self.length)]
    }

    pub fn is_above(&self) -> bool {
        self.above
    }

    pub fn clear(&mut self) {
        self.length = 0;
        self.above = false;
    }

    /// A rejection on the other side starts the run anew. True when the run is complete.
    pub fn push(&mut self, above: bool, time: EventTime, value: Finite) -> bool {
        if self.above != above || usize::from(self.length) == SHIFT_AFTER {
            self.clear();
            self.above = above;
        }
        self.readings[usize::from(self.length)] = (time, value);
        self.length += 1;
        usize::from(self.length) == SHIFT_AFTER
    }
}

impl PartialEq for Run {
    fn eq(&self, other: &Run) -> bool {
        self.readings() == other.readings() && (self.length == 0 || self.above == other.above)
    }
}
