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
    /// `Some`: the panes are this long (nanoseconds, > 0, `size` is a multiple), and whenever one
    /// closes, a view of the last `size` is published locally.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slide: Option<i64>,
    /// Whether the time-weighted mean is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub time_weighted: bool,
}

impl WindowSettings {
    /// Length of a pane, nanoseconds.
    pub fn pane_size(&self) -> i64 {
        self.slide.unwrap_or(self.size)
    }

    /// Panes in a view; 0: it has none.
    pub fn view_panes(&self) -> i64 {
        self.slide.map_or(0, |slide| self.size / slide.max(1))
    }
}

impl Default for WindowSettings {
    fn default() -> Self {
        WindowSettings {
            size: 60 * SECOND,
            align: Align::Epoch,
            quantiles: Vec::new(),
            slide: None,
            time_weighted: false,
        }
    }
}
