//! What a step leaves behind beside the state.

use std::sync::Arc;

use super::registry::Name;
use crate::analytics::fit::Job;
use crate::analytics::step::{Details, Plan};
use crate::journal::frame::FrameFit;
use crate::output::Record;
use crate::reading::SeriesId;

/// What a step leaves behind.
#[derive(Clone, Debug, Default)]
pub struct StepOutput {
    /// Records in canonical order.
    pub records: Vec<Record>,
    /// Series with a new estimate, in slot order.
    pub touched: Vec<SeriesId>,
    /// Searches that units ask for; the caller may run them and bring what they find with a later
    /// frame.
    pub fits: Vec<FitRequest>,
    /// Fits of the frame that came too late: their units are past the reading at which they would
    /// be adopted, have other settings by now, or are gone.
    pub fits_late: u64,
    /// What became of each series' readings and slots, in slot order; empty unless asked for with
    /// [`Engine::keep_details`](super::Engine::keep_details).
    pub details: Vec<Detail>,
}

/// A search that a unit asks for, and where its result belongs.
#[derive(Clone, Debug)]
pub struct FitRequest {
    /// The unit's slot.
    pub series: SeriesId,
    /// The batch that defined the unit.
    pub defined: u64,
    /// The unit's fit epoch.
    pub epoch: u32,
    /// The search.
    pub job: Job,
}

impl FitRequest {
    /// Searches; what is found goes into the next frame.
    pub fn run(&self) -> Option<FrameFit> {
        let fit = self.job.run()?.to_bytes();
        Some(FrameFit { series: self.series, defined: self.defined, epoch: self.epoch, fit })
    }
}

/// What a step went through in one series.
#[derive(Clone, Debug)]
pub struct Detail {
    /// The series; it may have left with this step.
    pub name: Name,
    /// Its settings and constants.
    pub plan: Arc<Plan>,
    /// Readings and slots, in the order in which they were taken.
    pub details: Details,
}
