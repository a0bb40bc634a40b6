//! Names to slots: each (device, metric) pair has a small dense number while it is known.
//!
//! Pure. Look-up costs one hash and one comparison and allocates nothing. The table is never
//! walked in hash order.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashTable;

use crate::reading::SeriesId;

/// Device and metric of a series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Device.
    pub device: Arc<str>,
    /// Metric.
    pub metric: Arc<str>,
}

/// The slots and their names.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    names: Vec<Option<Name>>,
    free: BTreeSet<u32>,
    table: HashTable<u32>,
}

impl Registry {
    /// The slot of a known series.
    pub fn get(&self, device: &str, metric: &str) -> Option<SeriesId> {
        let names = &self.names;
        self.table
            .find(hash(device, metric), |&slot| {
                names[slot as usize]
                    .as_ref()
                    .is_some_and(|name| &*name.device == device && &*name.metric == metric)
            })
            .map(|&slot| SeriesId(slot))
    }

    /// The name in a slot.
    pub fn name(&self, series: SeriesId) -> Option<&Name> {
        self.names.get(series.0 as usize)?.as_ref()
    }

    /// How many series are known.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// True when none is known.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The slots that the next `count` newcomers get: free ones from the lowest, then new ones.
    pub fn next_slots(&self, count: usize) -> Vec<SeriesId> {
        let beyond = self.names.len() as u32..;
        self.free.iter().copied().chain(beyond).take(count).map(SeriesId).collect()
    }

    /// Gives `series` to a name. A slot already taken is overwritten.
    pub fn insert(&mut self, series: SeriesId, device: &str, metric: &str) {
        self.remove(series);
        let slot = series.0 as usize;
        while self.names.len() <= slot {
            self.free.insert(self.names.len() as u32);
            self.names.push(None);
        }
        self.free.remove(&series.0);
        self.names[slot] = Some(Name { device: device.into(), metric: metric.into() });
        let names = &self.names;
        self.table.insert_unique(hash(device, metric), series.0, |&slot| {
            names[slot as usize].as_ref().map_or(0, |name| hash(&name.device, &name.metric))
        });
    }

    /// Frees a slot.
    pub fn remove(&mut self, series: SeriesId) {
        let Some(name) = self.names.get_mut(series.0 as usize).and_then(Option::take) else {
            return;
        };
        let hash = hash(&name.device, &name.metric);
        if let Ok(entry) = self.table.find_entry(hash, |&slot| slot == series.0) {
            entry.remove();
        }
        self.free.insert(series.0);
    }
}

/// A fixed seed: the table is bounded by `max_series`, so a flood of colliding names can cost
/// time, never memory, and only while newcomers are admitted.
fn hash(device: &str, metric: &str) -> u64 {
    FixedState::with_seed(0x7765_6972).hash_one(Pair(device, metric))
}

#[derive(Hash)]
struct Pair<'a>(&'a str, &'a str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_find_their_slots_and_slots_are_used_again() {
        let mut registry = Registry::default();
        let slots = registry.next_slots(3);
        assert_eq!(slots, [SeriesId(0), SeriesId(1), SeriesId(2)]);
        registry.insert(slots[0], "a", "x");
        registry.insert(slots[1], "a", "y");
        registry.insert(slots[2], "ax", "");
        assert_eq!(registry.get("a", "y"), Some(SeriesId(1)));
        assert_eq!(registry.get("a", "z"), None);
        assert_eq!(registry.get("ax", ""), Some(SeriesId(2)), "the pair, not the joined text");
        registry.remove(SeriesId(1));
        assert_eq!(registry.get("a", "y"), None);
        assert_eq!(registry.next_slots(2), [SeriesId(1), SeriesId(3)]);
        registry.insert(SeriesId(5), "b", "y");
        assert_eq!(registry.next_slots(4), [1, 3, 4, 6].map(SeriesId));
        assert_eq!(registry.len(), 3);
    }

    #[test]
    fn many_names() {
        let mut registry = Registry::default();
        for i in 0..5000 {
            registry.insert(SeriesId(i), &format!("device-{}", i / 7), &format!("m{}", i % 7));
        }
        for i in (0..5000).step_by(3) {
            registry.remove(SeriesId(i));
        }
        for i in 0..5000 {
            let found = registry.get(&format!("device-{}", i / 7), &format!("m{}", i % 7));
            assert_eq!(found, (i % 3 != 0).then_some(SeriesId(i)));
        }
    }
}
