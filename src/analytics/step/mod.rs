//! One unit's step: the readings of one series in one batch, through order, gate and filter, panes
//! and forecaster.
//!
//! Pure: state and batch in, state and records out. A unit looks at nothing but its own state and
//! the batch, so units can be checkpointed and replayed each on its own, and no device can change
//! another one's results.

mod accept;
mod change;
mod counts;
mod deadline;
mod effects;
mod plan;
mod record;
mod state;
mod take;

pub use counts::UnitCounts;
pub use effects::{Details, Effects, Origins, Outlook};
pub use plan::{Plan, StepContext};
pub use record::{aggregate, alarm_record, estimate, forecast, forecast_record, view};
pub use state::{Last, UnitState};
