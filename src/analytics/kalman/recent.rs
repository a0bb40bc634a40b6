//! The recent readings that a fit of the noise looks at, kept small: eight bytes a reading.
//!
//! Pure. Models without a known start do not care for an offset, so differences are enough. Each is
//! taken from the *rebuilt* reading before it, not from the true one, so that rounding to `f32` does
//! not add up (differential pulse-code modulation: Jayant and Noll 1984, *Digital Coding of
//! Waveforms*, chapter 6): what is rebuilt is off by one rounding of the last difference.

use serde::{Deserialize, Serialize};

use super::seconds;
use crate::reading::{EventTime, Finite};

/// Most readings kept.
pub(super) const RECENT_MAX: usize = 256;
/// Differences are kept inside ±this; what lies beyond is an outlier however far.
const DIFFERENCE_MAX: f64 = 1e30;
const BYTES: usize = 8;

/// A reading: seconds since the one before and difference to the one before it; both 0 for the
/// first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Step {
    /// ≥ 0, finite.
    pub dt: f32,
    /// Finite.
    pub difference: f32,
}

/// Readings in event order, as differences.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recent {
    #[serde(rename = "s", with = "bytes")]
    steps: Vec<Step>,
    #[serde(rename = "e")]
    last: Option<Last>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    #[serde(rename = "t")]
    time: EventTime,
    #[serde(rename = "v")]
    value: Finite,
    /// `value` as the differences have it.
    #[serde(rename = "r")]
    rebuilt: Finite,
}

impl Recent {
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub fn len(&self) -> usize {
        self.steps.len()
    }

    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// The caller sees to it that there are never more than [`RECENT_MAX`]; the oldest goes if not.
    pub fn push(&mut self, time: EventTime, value: Finite) {
        if self.steps.len() >= RECENT_MAX {
            self.keep_last(RECENT_MAX - 1);
        }
        let (step, rebuilt) = match self.last {
            None => (Step { dt: 0.0, difference: 0.0 }, value),
            // Nothing changed, so nothing is made of rounding.
            Some(last) if last.value == value => {
                (Step { dt: seconds(last.time, time) as f32, difference: 0.0 }, last.rebuilt)
            }
            Some(last) => {
                let exact = value.get() - last.rebuilt.get();
                let difference = exact.clamp(-DIFFERENCE_MAX, DIFFERENCE_MAX) as f32;
                let rebuilt = Finite::new(last.rebuilt.get() + f64::from(difference));
                let rebuilt = rebuilt.filter(|_| exact.abs() <= DIFFERENCE_MAX).unwrap_or(value);
                (Step { dt: seconds(last.time, time) as f32, difference }, rebuilt)
            }
        };
        self.steps.push(step);
        self.last = Some(Last { time, value, rebuilt });
    }

    /// Forgets all but the last `count`.
    pub fn keep_last(&mut self, count: usize) {
        if count == 0 {
            *self = Recent::default();
            return;
        }
        self.steps.drain(..self.steps.len().saturating_sub(count));
        if let Some(first) = self.steps.first_mut() {
            *first = Step { dt: 0.0, difference: 0.0 };
        }
    }

    pub fn is_sound(&self) -> bool {
        let sound =
            |step: &Step| step.dt.is_finite() && step.dt >= 0.0 && step.difference.is_finite();
        let in_range = |last: Last| EventTime::from_nanos(last.time.nanos()).is_some();
        self.steps.len() <= RECENT_MAX
            && self.steps.iter().all(sound)
            && self.last.is_some() != self.steps.is_empty()
            && self.last.is_none_or(in_range)
    }

    pub fn heap_bytes(&self) -> usize {
        self.steps.capacity() * BYTES
    }
}

/// Steps as one byte string, little-endian.
mod bytes {
    use serde::{Deserializer, Serializer, de};

    use super::{BYTES, RECENT_MAX, Step};

    pub fn serialize<S: Serializer>(steps: &[Step], to: S) -> Result<S::Ok, S::Error> {
        let bytes: Vec<u8> = steps
            .iter()
            .flat_map(|step| [step.dt.to_le_bytes(), step.difference.to_le_bytes()])
            .flatten()
            .collect();
        to.serialize_bytes(&bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Step>, D::Error> {
        from.deserialize_bytes(Steps)
    }

    struct Steps;

    impl<'de> de::Visitor<'de> for Steps {
        type Value = Vec<Step>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {} bytes, {BYTES} a reading", RECENT_MAX * BYTES)
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<Step>, E> {
            let (whole, rest) = bytes.as_chunks::<BYTES>();
            if !rest.is_empty() || whole.len() > RECENT_MAX {
                return Err(E::invalid_length(bytes.len(), &self));
            }
            let step = |&[a, b, c, d, e, f, g, h]: &[u8; BYTES]| Step {
                dt: f32::from_le_bytes([a, b, c, d]),
                difference: f32::from_le_bytes([e, f, g, h]),
            };
            Ok(whole.iter().map(step).collect())
        }

        // Text formats have no byte strings.
        fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Step>, A::Error> {
            let mut bytes = Vec::new();
            while let Some(byte) = list.next_element::<u8>()? {
                if bytes.len() == RECENT_MAX * BYTES {
                    return Err(de::Error::invalid_length(bytes.len() + 1, &self));
                }
                bytes.push(byte);
            }
            self.visit_bytes(&bytes)
        }
    }
}
