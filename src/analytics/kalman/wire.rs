//! [`Kalman`] as it is stored: short names, and every number checked on the way back.

use serde::{Deserialize, Serialize};

use super::Belief;
use super::health::Watch;
use super::moments::READINGS_MAX;
use super::plan::Noise;
use super::run::{Run, SHIFT_AFTER};
use super::state::{GATE_AFTER, Kalman, Learning, Source};
use super::tuning::Tuning;
use crate::reading::{EventTime, Finite};

/// One letter a field; what is usually empty is left out.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wire {
    #[serde(rename = "b")]
    belief: Belief,
    #[serde(rename = "a")]
    at: Option<EventTime>,
    /// Absent: as `at`.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    frontier: Option<EventTime>,
    #[serde(rename = "n")]
    accepted: u8,
    #[serde(rename = "u", default, skip_serializing_if = "is_false")]
    run_above: bool,
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    run: Vec<(EventTime, Finite)>,
    #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
    noise: Option<Noise>,
    #[serde(rename = "l", default, skip_serializing_if = "Option::is_none")]
    learning: Option<LearningWire>,
    #[serde(rename = "t", default, skip_serializing_if = "Option::is_none")]
    tuning: Option<Box<Tuning>>,
    #[serde(rename = "h", default, skip_serializing_if = "Watch::is_new")]
    watch: Watch,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LearningWire {
    #[serde(rename = "r")]
    readings: Vec<(EventTime, Finite)>,
    #[serde(rename = "x", default, skip_serializing_if = "is_zero")]
    rejected: u64,
    #[serde(rename = "s", default, skip_serializing_if = "is_zero_byte")]
    start: u8,
    #[serde(rename = "g", default, skip_serializing_if = "is_false")]
    forgot: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

fn is_zero(bits: &u64) -> bool {
    *bits == 0
}

fn is_zero_byte(byte: &u8) -> bool {
    *byte == 0
}

impl From<Kalman> for Wire {
    fn from(kalman: Kalman) -> Wire {
        let (noise, learning) = match kalman.source {
            Source::Given => (None, None),
            Source::Learned(noise) => (Some(noise), None),
            Source::Learning(learning) => {
                let Learning { readings, rejected, start, forgot, noise } = *learning;
                (noise, Some(LearningWire { readings, rejected, start, forgot }))
            }
        };
        Wire {
            belief: kalman.belief,
            at: kalman.at,
            frontier: kalman.frontier.filter(|_| kalman.frontier != kalman.at),
            accepted: kalman.accepted,
            run_above: kalman.run.is_above(),
            run: kalman.run.readings().to_vec(),
            noise,
            learning,
            tuning: kalman.tuning,
            watch: kalman.watch,
        }
    }
}

impl TryFrom<Wire> for Kalman {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Kalman, &'static str> {
        let check = |holds: bool, what: &'static str| if holds { Ok(()) } else { Err(what) };
        let frontier = wire.frontier.or(wire.at);
        let in_range = |time: EventTime| EventTime::from_nanos(time.nanos()).is_some();
        let ordered = |readings: &[(EventTime, Finite)]| {
            readings.iter().all(|&(time, _)| in_range(time) && Some(time) <= frontier)
                && readings.is_sorted_by_key(|&(time, _)| time)
        };
        check(wire.belief.is_sound(), "filter state: mean or covariance is not sound")?;
        check(frontier.is_none_or(in_range), "filter state: frontier is out of range")?;
        check(
            wire.at.is_none_or(in_range) && wire.at <= frontier,
            "filter state: last accepted reading is out of range or beyond the frontier",
        )?;
        check(wire.accepted <= GATE_AFTER, "filter state: count of accepted readings too high")?;
        check(
            wire.run.len() < SHIFT_AFTER && ordered(&wire.run),
            "filter state: run of rejected readings is too long or out of order",
        )?;
        check(wire.noise.is_none_or(|noise| noise.is_sound()), "filter state: noise is not sound")?;
        let source = match (wire.learning, wire.noise) {
            (Some(learning), noise) => {
                let LearningWire { readings, rejected, start, forgot } = learning;
                check(
                    readings.len() < READINGS_MAX && ordered(&readings),
                    "filter state: readings to learn from are too many or out of order",
                )?;
                check(
                    noise.is_some() != readings.is_empty()
                        && rejected >> readings.len() == 0
                        && usize::from(start) <= readings.len(),
                    "filter state: learning is not sound",
                )?;
                Source::Learning(Box::new(Learning { readings, rejected, start, forgot, noise }))
            }
            (None, Some(noise)) => Source::Learned(noise),
            (None, None) => Source::Given,
        };
        check(wire.watch.is_sound(), "filter state: statistics of innovations are not sound")?;
        let unknown = !matches!(source, Source::Given);
        check(
            wire.tuning.as_ref().is_none_or(|tuning| unknown && tuning.is_sound()),
            "filter state: fitting of the noise is not sound",
        )?;
        let run = Run::from_slice(wire.run_above, &wire.run)
            .ok_or("filter state: run of rejected readings is too long")?;
        Ok(Kalman {
            belief: wire.belief,
            at: wire.at,
            frontier,
            accepted: wire.accepted,
            run,
            source,
            tuning: wire.tuning,
            watch: wire.watch,
        })
    }
}
