//! When fits begin and when they are adopted, counted in slots: the same for every run.

use crate::reading::SECOND;

/// Time for a fit to come back, in event time: short slots wait for more of their kind.
const ANSWER: i64 = 300 * SECOND;

/// Slots over which the fits of series without a season are spread.
const PLAIN: u64 = 12;

/// The slot count at which a fit begun at `at` is adopted, if it was offered before: the next slot, or
/// as many slots of `step` nanoseconds as five minutes have.
pub(super) fn adopted(at: u64, step: i64) -> u64 {
    at.saturating_add((ANSWER / step.max(1)).max(1).unsigned_abs())
}

/// The slot count at which a series that goes on from recorded states has seen enough of its own to look for
/// better ones: 21 seasons, 7 where the states know of none (`plain`), 300 slots where there can be none.
pub(super) fn resumed(seasons: [usize; 2], plain: bool) -> u64 {
    match seasons[0] as u64 {
        0 => 300,
        m if plain => 7 * m,
        m => 21 * m,
    }
}

/// The last slot count up to `seen` at which a fit is due; `None` before the first.
///
/// With a season of m slots after 2, 3, 7, 14, 21 and 28 of them, then every 28; with a second one
/// also after 3 of these. Without a season after 30, 100, 300 and 1000 slots, then every 1000.
pub(super) fn last_due(seasons: [usize; 2], seen: u64) -> Option<u64> {
    let [m, long] = seasons.map(|m| m as u64);
    let (early, every): (&[u64], u64) = match m {
        0 => (&[30, 100, 300], 1000),
        _ => (&[2, 3, 7, 14, 21], 28),
    };
    let m = m.max(1);
    let early = early.iter().map(|k| k * m).chain((long > 0).then_some(3 * long));
    let regular = seen - seen % (every * m);
    early.chain([regular]).filter(|&due| due > 0 && due <= seen).max()
}

/// How many slots later than others a series begins its fits, by its `stagger`: within a season, or 12 slots
/// without one. Of thousands of series that began together so many fall into one slot that a bounded queue
/// holds their fits.
pub(super) fn delay(seasons: [usize; 2], stagger: u32) -> u64 {
    let span = if seasons[0] == 0 { PLAIN } else { seasons[0] as u64 };
    u64::from(stagger) % span
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_that_began_together_are_spread() {
        let mut starts = std::collections::BTreeMap::new();
        for series in 0..4000_u32 {
            // Any hash will do.
            let stagger = crc32fast::hash(format!("device-{series}").as_bytes());
            let delay = delay([24, 168], stagger);
            let due =
                (0..200_u64).find(|&n| last_due([24, 168], n.saturating_sub(delay)).is_some());
            *starts.entry(due.unwrap()).or_insert(0) += 1;
        }
        assert_eq!(starts.len(), 24);
        assert!(starts.keys().all(|slot| (48..72).contains(slot)), "{starts:?}");
        assert!(starts.values().all(|&n| n < 256), "{starts:?}");
        assert!((0..1000).all(|stagger| delay([0, 0], stagger) < 12));
    }

    #[test]
    fn fits_are_due_sooner_while_all_is_new() {
        let dues = |seasons: [usize; 2], until: u64| {
            let mut dues: Vec<u64> = (0..until).filter_map(|n| last_due(seasons, n)).collect();
            dues.dedup();
            dues
        };
        assert_eq!(dues([24, 168], 2100), [48, 72, 168, 336, 504, 672, 1344, 2016],);
        assert_eq!(dues([24, 0], 700), [48, 72, 168, 336, 504, 672]);
        assert_eq!(dues([0, 0], 2100), [30, 100, 300, 1000, 2000]);
        assert_eq!(dues([96, 672], 2100), [192, 288, 672, 1344, 2016]);
    }
}
