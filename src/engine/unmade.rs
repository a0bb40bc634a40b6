//! What the configuration asks for and is not there: a group, derived metric or filter over several
//! metrics whose name a series has, or for which there was no room.
//!
//! Pure, and computed when asked for, from names and configuration: nothing of it is stored.

use std::collections::BTreeMap;

use super::Engine;
use super::members::Feeds;
use crate::analytics::members::UnitKind;

/// Why a unit is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WhyUnmade {
    /// Something else has its name.
    NameTaken,
    /// `max_series` was reached when it was to be made.
    SeriesLimit,
}

impl WhyUnmade {
    /// All.
    pub const ALL: [WhyUnmade; 2] = [WhyUnmade::NameTaken, WhyUnmade::SeriesLimit];

    /// As it is counted.
    pub fn name(self) -> &'static str {
        match self {
            WhyUnmade::NameTaken => "name_taken",
            WhyUnmade::SeriesLimit => "series_limit",
        }
    }
}

/// A unit that is not made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unmade {
    /// The device it would have.
    pub device: String,
    /// The metric it would have.
    pub metric: String,
    /// What it would be.
    pub kind: UnitKind,
    /// Why it is not.
    pub why: WhyUnmade,
}

impl std::fmt::Display for Unmade {
    /// In words, with how to mend it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.kind {
            UnitKind::Series => "series",
            UnitKind::Group => "group",
            UnitKind::Derived => "derived metric",
            UnitKind::Vector => "filter over several metrics",
        };
        let why = match self.why {
            WhyUnmade::NameTaken => "something else has its name; rename one of the two",
            WhyUnmade::SeriesLimit => {
                "[series] max_series is reached; raise it, or match fewer devices"
            }
        };
        write!(f, "{what} {}/{} is not made: {why}", self.device, self.metric)
    }
}

impl Engine {
    /// Those that the present series would feed. Looks at every series: not for each batch.
    pub fn unmade(&self) -> Vec<Unmade> {
        let feeds = Feeds::of(&self.meta.config);
        if feeds.is_empty() {
            return Vec::new();
        }
        let mut found = BTreeMap::new();
        for (_, name, unit) in self.units() {
            if !unit.state().kind_of_unit().is_series() {
                continue;
            }
            for fed in feeds.units(&name.device, &name.metric) {
                let why = match self.registry.get(&fed.device, &fed.metric) {
                    Some(unit) if self.is_of_kind(unit, fed.kind) => continue,
                    Some(_) => WhyUnmade::NameTaken,
                    None => WhyUnmade::SeriesLimit,
                };
                found.entry((fed.device, fed.metric, fed.kind)).or_insert(why);
            }
        }
        let unmade = |((device, metric, kind), why)| Unmade { device, metric, kind, why };
        found.into_iter().map(unmade).collect()
    }
}
