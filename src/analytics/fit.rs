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
    /// Stands in for a model in the tests of what carries jobs.
    #[cfg(test)]
    Probe(probe::Job),
}

/// The result of a [`Job`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fit {
    /// Of [`Job::Probe`].
    #[cfg(test)]
    Probe(probe::Fit),
}

impl Job {
    /// Searches; `None`: nothing better than what is in force.
    pub fn run(&self) -> Option<Fit> {
        match *self {
            #[cfg(test)]
            Job::Probe(ref job) => job.run().map(Fit::Probe),
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
        serde_cbor::from_slice(bytes).ok()
    }
}

/// A model whose fits are as visible as can be: whatever carries them must carry these.
#[cfg(test)]
pub mod probe {
    use serde::{Deserialize, Serialize};

    use crate::reading::Finite;

    const EVERY: u64 = 20;
    const WAIT: u64 = 7;

    /// A sum with a weight that fits change.
    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    pub struct Probe {
        readings: u64,
        sum: f64,
        weight: f64,
        pending: Option<Fit>,
        /// How many fits were adopted.
        pub adopted: u64,
    }

    /// See [`Probe::take_fit_job`].
    #[derive(Clone, Debug)]
    pub struct Job {
        at: u64,
        sum: f64,
    }

    /// A weight.
    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub struct Fit {
        at: u64,
        weight: f64,
    }

    impl Job {
        /// Every fifth finds nothing.
        pub fn run(&self) -> Option<Fit> {
            (self.at % (5 * EVERY) != 0).then_some(Fit { at: self.at, weight: self.sum / 3.0 })
        }
    }

    impl Probe {
        pub fn update(&mut self, value: Finite) {
            if let Some(fit) = self.pending.take_if(|fit| fit.at + WAIT <= self.readings) {
                self.weight = fit.weight;
                self.adopted += 1;
            }
            self.readings += 1;
            self.sum = self.sum * 0.9 + value.get() + self.weight * 0.01;
        }

        pub fn take_fit_job(&mut self) -> Option<Job> {
            (self.readings % EVERY == 0).then_some(Job { at: self.readings, sum: self.sum })
        }

        pub fn offer(&mut self, fit: Fit) {
            if self.readings < fit.at + WAIT {
                self.pending = Some(fit);
            }
        }
    }
}
