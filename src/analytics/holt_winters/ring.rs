//! The recent slot means of a series, as fits want them: four bytes each.

use std::collections::VecDeque;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Stands for a missing slot.
const MISSING: f32 = f32::MAX;
/// Differences beyond this are not kept.
const DIFFERENCE_MAX: f64 = 1e38;

/// Slot means, oldest first, each as a single-precision difference from a reference: seven digits of
/// the range that the series moves in, however far that lies from zero. Bounded by whoever pushes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Ring {
    #[serde(rename = "r")]
    reference: f64,
    #[serde(rename = "v", serialize_with = "pack", deserialize_with = "unpack")]
    values: VecDeque<f32>,
}

impl Ring {
    /// Appends a slot and forgets the oldest beyond `capacity`. A mean too far from the reference
    /// begins afresh: a series that leaps 1e38 has no history worth fitting.
    pub fn push(&mut self, capacity: usize, observed: Option<f64>) {
        if let Some(y) = observed {
            if self.values.iter().all(|&v| v == MISSING) {
                self.reference = y;
            } else if (y - self.reference).abs() >= DIFFERENCE_MAX {
                self.values.clear();
                self.reference = y;
            }
        }
        while self.values.len() >= capacity.max(1) {
            self.values.pop_front();
        }
        self.values.push_back(observed.map_or(MISSING, |y| (y - self.reference) as f32));
    }

    pub fn clear(&mut self) {
        self.values.clear();
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.values.capacity() * size_of::<f32>()
    }

    pub fn len(&self) -> usize {
        self.values.len()
    }

    /// Moves the oldest `count` slots.
    pub fn move_first(&mut self, count: usize, by: f64) {
        for value in self.values.iter_mut().take(count).filter(|value| **value != MISSING) {
            let moved = f64::from(*value) + by;
            *value = moved.clamp(-DIFFERENCE_MAX, DIFFERENCE_MAX) as f32;
        }
    }

    /// The slot at that place, the oldest first; `None`: missing.
    pub fn get(&self, at: usize) -> Option<f64> {
        let value = self.values.get(at).filter(|value| **value != MISSING)?;
        Some(self.reference + f64::from(*value))
    }

    /// Oldest first; NaN: missing.
    pub fn to_vec(&self) -> Vec<f64> {
        let outward =
            |&v: &f32| if v == MISSING { f64::NAN } else { self.reference + f64::from(v) };
        self.values.iter().map(outward).collect()
    }
}

fn pack<S: Serializer>(values: &VecDeque<f32>, serializer: S) -> Result<S::Ok, S::Error> {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    serializer.serialize_bytes(&bytes)
}

fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VecDeque<f32>, D::Error> {
    struct Packed;
    impl Visitor<'_> for Packed {
        type Value = VecDeque<f32>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("finite single-precision numbers, four bytes each")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            let (numbers, rest) = bytes.as_chunks::<4>();
            let values: VecDeque<f32> = numbers.iter().map(|b| f32::from_le_bytes(*b)).collect();
            if rest.is_empty() && values.iter().all(|v| v.is_finite()) {
                Ok(values)
            } else {
                Err(E::invalid_value(de::Unexpected::Bytes(bytes), &self))
            }
        }
    }
    deserializer.deserialize_bytes(Packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_to_seven_digits_of_their_range() {
        let mut ring = Ring::default();
        for t in 0..10 {
            ring.push(4, (t != 7).then(|| 1e9 + 0.1 * f64::from(t)));
        }
        let values = ring.to_vec();
        assert_eq!(values.len(), 4);
        assert!(values[1].is_nan());
        for (got, expected) in [(values[0], 0.6), (values[2], 0.8), (values[3], 0.9)] {
            assert!((got - 1e9 - expected).abs() < 1e-6, "{got}");
        }
        let bytes = serde_cbor::to_vec(&ring).unwrap();
        assert!(bytes.len() < 40, "{}", bytes.len());
        assert_eq!(crate::cbor::from_slice::<Ring>(&bytes).unwrap(), ring);
        ring.move_first(1, 5.0);
        assert!((ring.to_vec()[0] - 1e9 - 5.6).abs() < 1e-6);
        ring.push(4, Some(1e300));
        assert_eq!(ring.to_vec(), [1e300]);
    }
}
