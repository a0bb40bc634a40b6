//! Whether the model is worth following: it runs against the naive forecast, a season at a time.
//!
//! Over the seasons of late the better one is used. Within a season one of them may be plainly wrong: the model, when it has learned an
//! outage or a machine's hours have changed; the naive forecast on the day after an outage. Then the other one is, at once.

use serde::{Deserialize, Serialize};

/// Seasons compared before anything gives way.
const SEASONS_MIN: f64 = 3.0;
/// Seasons after which a comparison counts 1/e of a new one.
const MEMORY_SEASONS: f64 = 10.0;
/// The model gives way when at a block's end its errors are this many times those of the naive forecast …
const LOST: f64 = 1.02;
/// … and comes back below this: between the two nothing changes, so that it does not flap.
const WON: f64 = 0.97;
/// In a block one fails whose errors in it are this many times the other's, and more by those of so many usual blocks.
const FAILS: f64 = 1.2;
const FAILS_BY: f64 = 2.0;
/// An error counts as at most this many usual ones in their mean …
const CLIP: f64 = 4.0;
/// … behind the first seven, by their weight: what is usual must be known a little.
const CLIP_AFTER: f64 = 7.5;
/// Errors count as at most this: their sums must not overflow.
const ERROR_MAX: f64 = 1e300;
/// Slots of a block without a season.
const PLAIN: usize = 12;

/// Running comparison of a model with the naive forecast, over blocks of one season: a forecast of
/// the whole block is made before it, by the model and by the naive forecast.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Contest {
    /// What the model said of the block's slots; empty before the first block.
    #[serde(rename = "f")]
    ahead: Vec<f64>,
    /// Number of the block's first slot.
    #[serde(rename = "o")]
    origin: i64,
    /// The last value before the block: the naive forecast where there is no season.
    #[serde(rename = "h")]
    held: f64,
    /// Sums of absolute errors, older ones counting less, and the sum of their weights.
    #[serde(rename = "a")]
    model: f64,
    #[serde(rename = "b")]
    naive: f64,
    #[serde(rename = "w")]
    weight: f64,
    /// Sums of absolute errors in the block: the model's, the naive forecast's.
    #[serde(rename = "s")]
    block: [f64; 2],
    /// Mean absolute error of the naive forecast without what is far out.
    #[serde(rename = "u")]
    usual: f64,
    /// The naive forecast is used.
    #[serde(rename = "y")]
    pub yields: bool,
}

impl Contest {
    /// Slots in a block.
    pub fn block(season_length: usize) -> usize {
        if season_length == 0 { PLAIN } else { season_length }
    }

    /// Counts an observed slot, by which the model may come back or, where it fails, give way. `naive`: the slot one
    /// season before; without a season it is not asked.
    pub fn observe(&mut self, season_length: usize, slot: i64, y: f64, naive: Option<f64>) {
        let said = usize::try_from(slot - self.origin).ok().and_then(|h| self.ahead.get(h));
        let naive = if season_length == 0 { Some(self.held) } else { naive };
        let (Some(said), Some(naive)) = (said, naive) else { return };
        let block = Contest::block(season_length) as f64;
        let memory = 1.0 - 1.0 / (MEMORY_SEASONS * block);
        let errors = [*said, naive].map(|forecast: f64| (y - forecast).abs().min(ERROR_MAX));
        self.model = self.model * memory + errors[0];
        self.naive = self.naive * memory + errors[1];
        self.weight = self.weight * memory + 1.0;
        let clipped = self.weight > CLIP_AFTER && self.usual > 0.0;
        let most = if clipped { CLIP * self.usual } else { ERROR_MAX };
        self.usual += (errors[1].min(most) - self.usual) / self.weight;
        self.block.iter_mut().zip(errors).for_each(|(sum, error)| *sum += error);
        if !self.is_known(season_length) {
            return;
        }
        let margin = FAILS_BY * block * self.usual;
        let fails = |one: f64, other: f64| one > FAILS * other + margin;
        let [model, naive] = self.block;
        if self.yields {
            self.yields = self.model > WON * self.naive;
            if self.yields && fails(naive, model) {
                self.model = WON * self.naive;
                self.yields = false;
            }
        } else if fails(model, naive) {
            self.model = self.model.max(LOST * self.naive);
            self.yields = true;
        }
    }

    fn is_known(&self, season_length: usize) -> bool {
        self.weight >= SEASONS_MIN * Contest::block(season_length) as f64 * 0.75
    }

    /// True when the block is over once `slot` is.
    pub fn is_due(&self, slot: i64) -> bool {
        slot - self.origin + 1 >= self.ahead.len() as i64
    }

    /// Judges the blocks so far and begins another with the slot `next`. `last`: the last observed value.
    pub fn begin(
        &mut self,
        season_length: usize,
        next: i64,
        last: f64,
        points: impl Iterator<Item = f64>,
    ) {
        if self.is_known(season_length) && !self.yields {
            self.yields = self.model > LOST * self.naive;
        }
        self.block = [0.0; 2];
        self.origin = next;
        self.held = last;
        self.ahead = points
            .take(Contest::block(season_length))
            .map(|p| if p.is_finite() { p } else { last })
            .collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model that is `good` or not against a naive forecast off by 1; true where it yields.
    fn run(contest: &mut Contest, days: std::ops::Range<i64>, error: f64) {
        for slot in days.start * 4..days.end * 4 {
            contest.observe(4, slot, 10.0, Some(11.0));
            if contest.is_due(slot) {
                contest.begin(4, slot + 1, 10.0, std::iter::repeat(10.0 + error));
            }
        }
    }

    #[test]
    fn a_loser_yields_and_may_come_back() {
        let mut contest = Contest::default();
        run(&mut contest, 0..2, 3.0);
        assert!(!contest.yields, "two days are too few");
        run(&mut contest, 2..6, 3.0);
        assert!(contest.yields);
        run(&mut contest, 6..8, 0.0);
        assert!(contest.yields, "not at once");
        run(&mut contest, 8..40, 0.0);
        assert!(!contest.yields);
        // As good as the naive forecast: no reason to change.
        let mut contest = Contest::default();
        run(&mut contest, 0..100, 1.0);
        assert!(!contest.yields);
    }

    /// Of a day on which both were far off the long comparison is full.
    #[test]
    fn whichever_is_plainly_wrong_gives_way_within_the_season() {
        let mut contest = Contest::default();
        run(&mut contest, 0..20, 0.0);
        let begin = |contest: &mut Contest, day: i64| {
            contest.begin(4, day * 4, 10.0, std::iter::repeat(10.0));
        };
        let off = |contest: &mut Contest, day: i64| {
            begin(contest, day);
            (day * 4..day * 4 + 4).for_each(|slot| contest.observe(4, slot, 5e3, Some(11.0)));
            begin(contest, day + 1);
        };
        off(&mut contest, 20);
        assert!(!contest.yields);
        // Hours have changed: the naive forecast knows it from the day before.
        contest.observe(4, 84, 20.0, Some(19.0));
        assert!(!contest.yields, "10 are no more than two days' usual errors");
        contest.observe(4, 85, 20.0, Some(19.0));
        assert!(contest.yields);
        off(&mut contest, 23);
        assert!(contest.yields);
        // What it repeats was an outage.
        contest.observe(4, 96, 10.0, Some(30.0));
        assert!(!contest.yields);
    }
}
