//! The rung `seasonal-naive`: the slot one season before, until two seasons are there.

use super::calendar::Slot;
use super::start::{self, History};

/// The slot one season before, from a history of at least one season.
pub(super) struct SeasonalNaive {
    /// By phase: the last value, and how many seasons older than the one before the forecast it is.
    season: Vec<(f64, f64)>,
    sigma2: f64,
    /// Errors that sigma2 rests on.
    pub errors: f64,
}

impl SeasonalNaive {
    /// `None` without a season, before one has passed, or when fewer than half its phases were seen.
    /// `first`: the history's first slot.
    ///
    /// sigma2 = (SSE + 2·s²)/(n + 1) over the n pairs one season apart: the spread s² of all slots
    /// stands in as one error (two unrelated slots differ by 2·s²) until seasons can be compared.
    pub fn new(history: &History, first: Slot<'_>, m: usize) -> Option<SeasonalNaive> {
        if m == 0 || history.len() < m {
            return None;
        }
        let slots = || {
            let mut walk = first.walk((m, 0));
            history.iter().map(move |&observed| {
                let phase = walk.at().first;
                walk.advance();
                (phase, observed)
            })
        };
        let mut latest = vec![None; m];
        let mut age = vec![0.0; m];
        for (phase, observed) in slots() {
            match observed {
                Some(_) => (latest[phase], age[phase]) = (observed, 0.0),
                None => age[phase] += 1.0,
            }
        }
        if 2 * latest.iter().flatten().count() < m {
            return None;
        }
        start::fill_circular(&mut latest);
        let season = latest.into_iter().flatten().zip(age).collect();

        let values = || history.iter().flatten();
        let n = values().count() as f64;
        let reference = *values().next()?;
        let mean = values().map(|y| y - reference).sum::<f64>() / n;
        let spread = values().map(|y| (y - reference - mean) * (y - reference - mean)).sum::<f64>()
            / f64::max(n - 1.0, 1.0);
        let (mut sse, mut pairs) = (2.0 * spread, 1.0);
        let mut before = vec![None; m];
        for (phase, observed) in slots() {
            if let (Some(before), Some(after)) = (before[phase], observed) {
                let error: f64 = after - before;
                sse += error * error;
                pairs += 1.0;
            }
            before[phase] = observed;
        }
        Some(SeasonalNaive { season, sigma2: sse / pairs, errors: pairs })
    }

    /// Mean and variance of the slot `h` + 1 ahead, which lies at `phase`: sigma2·(⌊h/m⌋ + 1), and once more
    /// for each season that the value is older.
    /// Source: Hyndman, Athanasopoulos, Forecasting: Principles and Practice, 3rd edition, table 5.2.
    pub fn at(&self, h: usize, phase: usize) -> (f64, f64) {
        let (value, age) = self.season[phase];
        (value, self.sigma2 * ((h / self.season.len()) as f64 + 1.0 + age))
    }
}
