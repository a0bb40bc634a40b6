//! Background fits: what a unit asks for when it wants its model's parameters searched for, and what
//! comes back.
//!
//! Pure. A search takes milliseconds, a reading must not: so a unit that reaches reading (or slot)
//! N hands out a [`Job`] with all that the search needs, and goes on. The result, a [`Fit`], comes
//! back as an input, in a frame; the unit keeps it until N + M and adopts it exactly there. One that
//! comes later is not taken at all. So the state is a function of the frames, and, as long as
//! results come in time, the same however readings are cut into batches. [`FitMode::InPlace`] runs
//! the job where it arises (`replay`).

use serde::{Deserialize, Serialize};

use super::{holt_winters, kalman};

/// What becomes of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FitMode {
    /// The step's output carries it; results come with frames. Replay of a journal ignores the
    /// jobs, since its frames hold the results.
    #[default]
    Background,
    /// It runs inside the step, and its result is offered at once.
    InPlace,
}

/// One search, with all that it needs.
#[derive(Clone, Debug)]
pub enum Job {
    /// For the filter's noise.
    Noise(Box<kalman::FitJob>),
    /// For the forecast's model.
    Forecast(Box<holt_winters::FitJob>),
}

/// The result of a [`Job`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fit {
    /// Of [`Job::Noise`].
    #[serde(rename = "k")]
    Noise(kalman::Fit),
    /// Of [`Job::Forecast`].
    #[serde(rename = "h")]
    Forecast(holt_winters::Fit),
}

impl Job {
    /// Searches; `None`: nothing better than what is in force.
    pub fn run(&self) -> Option<Fit> {
        match self {
            Job::Noise(job) => job.run().map(Fit::Noise),
            Job::Forecast(job) => job.run().map(Fit::Forecast),
        }
    }
}

impl Fit {
    /// As it stands in a frame.
    pub fn to_bytes(&self) -> Vec<u8> {
        // A plain tree of numbers and texts: encoding cannot fail.
        serde_cbor::to_vec(self).unwrap_or_default()
    }

    /// From a frame; `None`: of a version that had other fits.
    pub fn from_bytes(bytes: &[u8]) -> Option<Fit> {
        crate::cbor::from_slice(bytes).ok()
    }
}
