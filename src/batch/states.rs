//! How long a series was in which state: [`States`].
//!
//! Pure. A state lasts from its reading to the next one in order, as far as that time is covered.
//! At most [`MAX_STATES`] values are told apart, the least ones; the rest share one sum. (The least
//! and not the first: so the result does not depend on order, and parts merge exactly.)

use serde::{Deserialize, Serialize};

use crate::reading::{Finite, SECOND};

/// Most values told apart.
pub const MAX_STATES: usize = 16;

/// Durations by value, and transitions. Merging parts in any tree gives the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct States {
    /// (value, nanoseconds), ascending by value.
    durations: Vec<(Finite, u64)>,
    /// Nanoseconds in values beyond the [`MAX_STATES`] least.
    other: u64,
    transitions: u64,
}

impl States {
    /// Adds `nanos` in the state `value`.
    pub fn cover(&mut self, value: Finite, nanos: u64) {
        match self.durations.binary_search_by(|(v, _)| v.get().total_cmp(&value.get())) {
            Ok(at) => {
                let sum = &mut self.durations[at].1;
                *sum = sum.saturating_add(nanos);
            }
            Err(at) if at < MAX_STATES => {
                if self.durations.len() == self.durations.capacity() {
                    self.durations.reserve_exact(4.min(MAX_STATES + 1 - self.durations.len()));
                }
                self.durations.insert(at, (value, nanos));
                if self.durations.len() > MAX_STATES
                    && let Some((_, nanos)) = self.durations.pop()
                {
                    self.other = self.other.saturating_add(nanos);
                }
            }
            Err(_) => self.other = self.other.saturating_add(nanos),
        }
    }

    /// Counts a reading whose state is not that of the reading before.
    pub fn count_transition(&mut self) {
        self.transitions = self.transitions.saturating_add(1);
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &States) {
        for &(value, nanos) in &other.durations {
            self.cover(value, nanos);
        }
        self.other = self.other.saturating_add(other.other);
        self.transitions = self.transitions.saturating_add(other.transitions);
    }

    /// (value, seconds), ascending by value.
    pub fn durations(&self) -> impl Iterator<Item = (f64, f64)> {
        self.durations.iter().map(|&(value, nanos)| (value.get(), seconds(nanos)))
    }

    /// Seconds in values that are not told apart.
    pub fn other(&self) -> f64 {
        seconds(self.other)
    }

    /// Readings whose state was not that of the reading before.
    pub fn transitions(&self) -> u64 {
        self.transitions
    }

    /// Bytes on the heap, at most.
    pub const HEAP_MAX: usize = (MAX_STATES + 1) * size_of::<(Finite, u64)>();

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.durations.capacity() * size_of::<(Finite, u64)>()
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / SECOND as f64
}

/// [`States`] as stored.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    d: Vec<(Finite, u64)>,
    #[serde(default, skip_serializing_if = "is_zero")]
    o: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    t: u64,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl From<States> for Stored {
    fn from(s: States) -> Stored {
        Stored { d: s.durations, o: s.other, t: s.transitions }
    }
}

impl TryFrom<Stored> for States {
    type Error = &'static str;

    fn try_from(s: Stored) -> Result<States, Self::Error> {
        if s.d.len() > MAX_STATES || !s.d.is_sorted_by(|a, b| a.0 < b.0) {
            return Err("states: too many values, or not in order");
        }
        Ok(States { durations: s.d, other: s.o, transitions: s.t })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn states(stretches: &[(i8, u32)]) -> States {
        let mut states = States::default();
        for &(value, nanos) in stretches {
            states.cover(Finite::new(f64::from(value)).unwrap(), u64::from(nanos));
        }
        states
    }

    #[test]
    fn stored_form_refuses_nonsense() {
        let text = |json: &str| serde_json::from_str::<States>(json).map_err(|e| e.to_string());
        assert!(text(r#"{"d":[[0.0,5],[1.0,7]],"t":3}"#).is_ok());
        assert!(text(r#"{"d":[[1.0,5],[0.0,7]]}"#).unwrap_err().contains("not in order"));
        let many: Vec<String> = (0..17).map(|i| format!("[{i}.0,1]")).collect();
        assert!(text(&format!(r#"{{"d":[{}]}}"#, many.join(","))).is_err());
    }

    proptest! {
        /// Against a map with everything in it, in any order, cut anywhere.
        #[test]
        fn order_and_merging_do_not_matter(
            stretches in prop::collection::vec((-12i8..12, 0u32..1_000_000), 0..80),
            cut in 0usize..80,
        ) {
            let mut all = BTreeMap::<i8, u64>::new();
            for &(value, nanos) in &stretches {
                *all.entry(value).or_default() += u64::from(nanos);
            }
            let whole = states(&stretches);
            let expected: Vec<(f64, f64)> = all.iter().take(MAX_STATES)
                .map(|(&v, &n)| (f64::from(v), n as f64 / 1e9)).collect();
            prop_assert_eq!(whole.durations().collect::<Vec<_>>(), expected);
            let other: u64 = all.values().skip(MAX_STATES).sum();
            prop_assert_eq!(whole.other(), other as f64 / 1e9);
            let (a, b) = stretches.split_at(cut.min(stretches.len()));
            let mut merged = states(b);
            merged.merge(&states(a));
            prop_assert_eq!(&merged, &whole);
            prop_assert!(whole.heap_bytes() <= States::HEAP_MAX);
            let stored = serde_cbor::to_vec(&whole).unwrap();
            prop_assert_eq!(crate::cbor::from_slice::<States>(&stored).unwrap(), whole);
        }
    }
}
