//! Settings of the windows.

use serde::{Deserialize, Serialize};

use crate::reading::SECOND;

/// What a window's panes are aligned to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// Multiples of the size since 1970-01-01T00:00:00Z.
    Epoch,
    /// Local midnights of `gateway.time_zone`; the size must then be whole days.
    Local,
}

/// One window: a size and what its panes are aligned to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WindowSettings {
    /// Nanoseconds, > 0.
    pub size: i64,
    /// Alignment.
    pub align: Align,
    /// Probabilities in (0, 1) of the quantiles to report; empty: no sketch is kept.
    pub quantiles: Vec<f64>,
}

impl Default for WindowSettings {
    fn default() -> Self {
        WindowSettings { size: 60 * SECOND, align: Align::Epoch, quantiles: Vec::new() }
    }
}
