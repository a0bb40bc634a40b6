//! Metrics computed from others: `[[derive]]`.

use serde::{Deserialize, Serialize};

use super::glob_matches;

/// A metric computed from other metrics of the same device.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeriveSettings {
    /// Its metric.
    pub name: String,
    /// Globs; every device that one of them matches has it.
    pub device: Vec<String>,
    /// The expression ([`Expression`](crate::analytics::derive::Expression)).
    pub expression: String,
    /// How old an input's last value may be to stand for a missing one; nanoseconds, ≥ 0.
    pub max_age: i64,
}

impl DeriveSettings {
    /// Whether a device has it.
    pub fn is_of(&self, device: &str) -> bool {
        self.device.iter().any(|glob| glob_matches(glob, device))
    }
}
