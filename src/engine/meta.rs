//! What concerns no single unit: the part of the configuration that the core depends on, and the counts and
//! clocks of one batch.

use serde::{Deserialize, Serialize};

use crate::analytics::settings::{DeriveSettings, GroupSettings, Layer};
use crate::analytics::step::UnitCounts;
use crate::reading::{AttendedTime, DropCounts, ProcessingTime, SECOND};

/// The part of the configuration that the core depends on. Travels in frames.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CoreConfig {
    /// Profiles and devices.
    pub layers: Vec<Layer>,
    /// Groups of series.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupSettings>,
    /// Metrics computed from others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derives: Vec<DeriveSettings>,
    /// IANA name of the site's zone.
    pub time_zone: String,
    /// Most series.
    pub max_series: usize,
    /// Most open panes for each series and window.
    pub max_panes: usize,
    /// Most readings remembered (and held) for each series.
    pub max_recent: usize,
    /// How far ahead of the clock a reading may be, nanoseconds.
    pub max_ahead: i64,
    /// Attended time without readings after which a series that was never established may go.
    pub evict_idle: i64,
    /// Attended time without readings after which any series may go.
    pub retire_idle: i64,
}

impl Default for CoreConfig {
    fn default() -> Self {
        CoreConfig {
            layers: Vec::new(),
            groups: Vec::new(),
            derives: Vec::new(),
            time_zone: "UTC".to_owned(),
            max_series: 10_000,
            max_panes: 16,
            max_recent: 512,
            max_ahead: 300 * SECOND,
            evict_idle: 3600 * SECOND,
            retire_idle: 30 * 86_400 * SECOND,
        }
    }
}

/// What concerns no single unit, as of one batch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meta {
    /// The newest batch included.
    pub batch: u64,
    /// Its processing time.
    pub processing_time: ProcessingTime,
    /// Its attended time.
    pub attended: AttendedTime,
    /// Whether its clock was trusted.
    pub clock_trusted: bool,
    /// Configuration in force.
    pub config: CoreConfig,
    /// Drops counted by frames.
    pub drops: DropCounts,
    /// Messages counted by frames.
    pub messages: u64,
    /// Counts of series that left.
    pub retired: UnitCounts,
}

impl Meta {
    /// Before the first frame.
    pub fn new(config: CoreConfig) -> Meta {
        Meta {
            batch: 0,
            processing_time: ProcessingTime(i64::MIN),
            attended: AttendedTime(0),
            clock_trusted: false,
            config,
            drops: DropCounts::default(),
            messages: 0,
            retired: UnitCounts::default(),
        }
    }
}

/// The configuration carried by a frame cannot be used.
#[derive(Debug)]
pub struct ConfigError(pub String);

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "configuration in the journal cannot be used: {}", self.0)
    }
}

impl std::error::Error for ConfigError {}
