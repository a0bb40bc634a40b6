//! The states to start Holt-Winters from, found in a short history with holes.
//!
//! Classical decomposition with a straight-line trend: level + trend·t + one factor a phase, fitted
//! by least squares. That is the regression form of the usual heuristic (centred moving average over
//! the first seasons, averaged detrended factors, line through the adjusted values: Hyndman, Koehler,
//! Ord, Snyder 2008, section 2.6.1). For two full seasons its trend is the mean of
//! (y_{t+m} − y_t)/m, as in the NIST/SEMATECH e-Handbook, section 6.4.3.5. Rather than the moving
//! average because it takes missing slots as they are, and because each factor averages both
//! seasons where the moving average leaves it one value.

use std::collections::VecDeque;

use super::calendar::Slot;
use super::recursion::{Components, Season};
use crate::analytics::settings::Trend;

/// Observed slots before `holt` and `ses` start (Hyndman, Koehler, Ord, Snyder 2008, section 2.6.1: ten).
const LEVEL_SLOTS: usize = 10;

/// Slot means in order, oldest first; `None`: missing.
pub(super) type History = VecDeque<Option<f64>>;

/// Slots that the history may hold before the start: three seasons, or thirty slots.
pub(super) fn capacity(season_length: usize) -> usize {
    if season_length == 0 { 3 * LEVEL_SLOTS } else { 3 * season_length }
}

/// True when the states can be found: without a season, ten slots were observed. With one, two
/// seasons have passed and three quarters of the phases were seen twice; or three seasons have passed
/// and a quarter (at least two) were: a machine that is off at night has a season too. `first`: the history's.
pub(super) fn is_ready(history: &History, first: Slot<'_>, season_length: usize) -> bool {
    if season_length == 0 {
        return history.iter().flatten().count() >= LEVEL_SLOTS;
    }
    if history.len() < 2 * season_length {
        return false;
    }
    let mut seen = vec![0_u32; season_length];
    let mut walk = first.walk((season_length, 0));
    for observed in history {
        seen[walk.at().first] += u32::from(observed.is_some());
        walk.advance();
    }
    let twice = seen.iter().filter(|&&n| n >= 2).count();
    let full = history.len() >= capacity(season_length);
    4 * twice >= 3 * season_length || (full && twice >= 2 && 4 * twice >= season_length)
}

/// The last value that the history, which begins with `first`, has at this phase of a season of `length` slots.
pub(super) fn latest(
    history: &History,
    first: Slot<'_>,
    length: usize,
    phase: usize,
) -> Option<f64> {
    let mut walk = first.walk((length, 0));
    let mut latest = None;
    for observed in history {
        if walk.at().first == phase {
            latest = observed.or(latest);
        }
        walk.advance();
    }
    latest
}

/// Sums over one phase, about the reference value.
#[derive(Clone, Copy, Default)]
struct Cell {
    n: f64,
    time: f64,
    value: f64,
}

/// The states before the slot `first`, from pairs of place (0: that slot) and value of the slots
/// that were observed, in order, and how many numbers were fitted. `None` when nothing was observed.
///
/// Phases never seen get the factor on the line between their neighbours'. Factors sum to zero.
pub(super) fn decompose(
    observed: impl Iterator<Item = (usize, f64)> + Clone,
    first: Slot<'_>,
    season_length: usize,
    trend: Trend,
) -> Option<(Components, usize)> {
    let period = season_length.max(1);
    // About a value of the series itself: sums stay small and exact for large offsets.
    let (_, reference) = observed.clone().next()?;
    // Cells by how far the phase lies behind the first slot's.
    let begin = first.phase(period);
    let placed = observed.scan((0, first.walk((period, 0))), |(at, walk), (t, y)| {
        while *at < t {
            *at += 1;
            walk.advance();
        }
        let phase = walk.at().first;
        let cell = if phase >= begin { phase - begin } else { phase + period - begin };
        Some((cell, t, y))
    });
    let mut cells = vec![Cell::default(); period];
    for (cell, t, y) in placed.clone() {
        let cell = &mut cells[cell];
        cell.n += 1.0;
        cell.time += t as f64;
        cell.value += y - reference;
    }
    let (mut covariance, mut variance) = (0.0, 0.0);
    for (cell, t, y) in placed {
        let Cell { n, time, value } = cells[cell];
        let dt = t as f64 - time / n;
        covariance += dt * (y - reference - value / n);
        variance += dt * dt;
    }
    let has_line = variance > 0.0 && (season_length > 0 || trend != Trend::None);
    let slope = if has_line { covariance / variance } else { 0.0 };

    let mut intercepts: Vec<Option<f64>> =
        cells.iter().map(|c| (c.n > 0.0).then(|| c.value / c.n - slope * (c.time / c.n))).collect();
    fill_circular(&mut intercepts);
    let intercepts: Vec<f64> = intercepts.into_iter().flatten().collect();
    let centre = intercepts.iter().sum::<f64>() / intercepts.len() as f64;
    let season = if season_length == 0 {
        Season::None
    } else {
        let mut factors = vec![0.0; period];
        for (t, intercept) in intercepts.iter().enumerate() {
            factors[(begin + t) % period] = intercept - centre;
        }
        Season::Additive(factors)
    };
    // The line at t = −1, one slot before the first.
    let level = reference + (centre - slope);
    let trend = if trend == Trend::None { 0.0 } else { slope };
    let fitted = period + usize::from(has_line);
    Some((Components { level, trend, season, residual: 0.0 }, fitted))
}

/// Replaces each `None` by the line between the nearest known elements on either side, the last
/// element being a neighbour of the first. Leaves a slice without any known element alone.
pub(super) fn fill_circular(values: &mut [Option<f64>]) {
    let n = values.len();
    let Some(first) = values.iter().position(Option::is_some) else { return };
    let mut left = (0, values[first].unwrap_or_default());
    let mut hole = 0;
    // Once around, from the first known element back to itself.
    for k in 1..=n {
        let Some(right) = values[(first + k) % n] else {
            hole += 1;
            continue;
        };
        for i in 1..=hole {
            let share = i as f64 / (hole + 1) as f64;
            values[(first + left.0 + i) % n] = Some(left.1 + share * (right - left.1));
        }
        hole = 0;
        left = (k, right);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::holt_winters::calendar::{UTC, phase};

    #[test]
    fn holes_are_filled_around_the_end() {
        let mut values = [None, Some(2.0), None, None, Some(8.0), None];
        fill_circular(&mut values);
        assert_eq!(values.map(Option::unwrap), [4.0, 2.0, 4.0, 6.0, 8.0, 6.0]);
        let mut one = [None, Some(1.0), None];
        fill_circular(&mut one);
        assert_eq!(one, [Some(1.0); 3]);
        let mut none = [None; 3];
        fill_circular(&mut none);
        assert_eq!(none, [None; 3]);
    }

    /// A line plus a season is found exactly, whatever is missing, wherever the phases start.
    #[test]
    fn exact_series_gives_exact_states() {
        let season = [3.0, -1.0, -4.0, 2.0];
        for slot in [0_i64, 1, 7, -6] {
            for holes in [vec![], vec![1], vec![0, 6], vec![2, 3]] {
                let history: History = (0..8_i64)
                    .map(|t| {
                        let y = 100.0 + 0.5 * t as f64 + season[phase(slot + t, 4)];
                        (!holes.contains(&t)).then_some(y)
                    })
                    .collect();
                let observed = history.iter().enumerate().filter_map(|(t, y)| y.map(|y| (t, y)));
                let (states, fitted) =
                    decompose(observed, UTC.slot(slot), 4, Trend::Additive).unwrap();
                assert_eq!(fitted, 5);
                assert!((states.trend - 0.5).abs() < 1e-12, "{states:?}");
                assert!((states.level - 99.5).abs() < 1e-12, "{states:?}");
                let Season::Additive(factors) = states.season else { panic!() };
                for (got, expected) in factors.iter().zip(season) {
                    assert!((got - expected).abs() < 1e-12, "{factors:?}");
                }
            }
        }
    }

    #[test]
    fn readiness_counts_phases_seen_twice() {
        let of = |n: usize, hole: fn(usize) -> bool| -> History {
            (0..n).map(|t| (!hole(t)).then_some(1.0)).collect()
        };
        assert!(!is_ready(&of(15, |_| false), UTC.slot(5), 8));
        assert!(is_ready(&of(16, |_| false), UTC.slot(5), 8));
        assert!(is_ready(&of(16, |t| t < 2), UTC.slot(5), 8));
        assert!(!is_ready(&of(16, |t| t < 3), UTC.slot(5), 8));
        // Off half of the time: after three seasons.
        assert!(!is_ready(&of(16, |t| t % 8 < 4), UTC.slot(5), 8));
        assert!(is_ready(&of(24, |t| t % 8 < 4), UTC.slot(5), 8));
        assert!(!is_ready(&of(24, |t| t % 8 < 7), UTC.slot(5), 8));
        assert!(!is_ready(&of(9, |_| false), UTC.slot(5), 0));
        assert!(is_ready(&of(20, |t| t % 2 == 0), UTC.slot(5), 0));
    }
}
