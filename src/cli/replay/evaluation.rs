//! How good the forecasts of one series were, by what came of them.
//!
//! Pure. Two ways, both out of sample: every slot against the one-step forecast issued before it;
//! and from a **rolling origin** (every 24 h unless asked otherwise) all steps of the forecast made there. Next to
//! the model stand the seasonal naive forecast (the last value seen at that point of the season; without
//! a season the last value) and the model's own class-1 intervals before calibration.
//!
//! Memory: one number a point of the season, the forecasts whose slots are still to come, and sums
//! by step: bounded by the season and the steps judged, however long the series.

use std::collections::VecDeque;

use crate::analytics::holt_winters::{ForecastPlan, SlotsClosed};
use crate::analytics::step::Outlook;

/// Most steps judged.
const STEPS_MAX: usize = 400;

/// The steps that are told of together: one season and two, without one the horizon and twice it; ≤ 400.
pub fn ranges(plan: &ForecastPlan) -> [usize; 2] {
    let near = match plan.season_length() {
        m if (2..=STEPS_MAX / 2).contains(&m) => m,
        _ => plan.horizon().min(STEPS_MAX / 2),
    };
    [near, 2 * near]
}

/// Measures of point and interval forecasts, as sums. "Scaled" is divided by the mean absolute
/// error of the seasonal naive forecast over all slots before the origin (Hyndman, Koehler, Another look at measures of
/// forecast accuracy, International Journal of Forecasting 22, 2006, 679–688: MASE).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measures {
    /// Forecasts that met a slot with readings.
    pub n: u64,
    absolute: f64,
    squared: f64,
    symmetric: f64,
    inside: u64,
    inside_class1: u64,
    width: f64,
    score: f64,
    score_class1: f64,
    /// Those for which a scale other than 0 was known, …
    scaled_n: u64,
    scaled: f64,
    scaled_score: f64,
    scaled_score_class1: f64,
    /// … and, of them, those for which the naive forecast existed: its scaled error, and the model's on the same.
    compared: u64,
    naive: f64,
    against: f64,
}

/// One forecast of one slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judged {
    /// What came.
    pub actual: f64,
    /// What was said.
    pub mean: f64,
    /// The ends as published.
    pub interval: (f64, f64),
    /// The ends before calibration.
    pub class1: (f64, f64),
    /// What the seasonal naive forecast said.
    pub naive: Option<f64>,
    /// MASE's denominator at the origin.
    pub scale: Option<f64>,
}

/// Winkler's score of a (1 − α) interval: width + 2/α times how far outside the actual lies; smaller is better.
/// Source: Gneiting, Raftery, Strictly proper scoring rules, prediction, and estimation, Journal of the
/// American Statistical Association 102, 2007, equation 43.
pub fn winkler((lower, upper): (f64, f64), actual: f64, alpha: f64) -> f64 {
    (upper - lower) + 2.0 / alpha * ((lower - actual).max(0.0) + (actual - upper).max(0.0))
}

impl Measures {
    /// Counts one forecast whose intervals were to cover with probability `nominal`.
    pub fn add(&mut self, j: &Judged, nominal: f64) {
        let holds = |(lower, upper): (f64, f64)| u64::from(lower <= j.actual && j.actual <= upper);
        let score = |interval| winkler(interval, j.actual, 1.0 - nominal);
        let error = (j.actual - j.mean).abs();
        let size = j.actual.abs() + j.mean.abs();
        self.n += 1;
        self.absolute += error;
        self.squared += error * error;
        self.symmetric += if size > 0.0 { 2.0 * error / size } else { 0.0 };
        self.inside += holds(j.interval);
        self.inside_class1 += holds(j.class1);
        self.width += j.interval.1 - j.interval.0;
        self.score += score(j.interval);
        self.score_class1 += score(j.class1);
        let Some(scale) = j.scale.filter(|&scale| scale > 0.0) else { return };
        self.scaled_n += 1;
        self.scaled += error / scale;
        self.scaled_score += score(j.interval) / scale;
        self.scaled_score_class1 += score(j.class1) / scale;
        let Some(naive) = j.naive else { return };
        self.compared += 1;
        self.naive += (j.actual - naive).abs() / scale;
        self.against += error / scale;
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Measures) {
        self.n += other.n;
        self.absolute += other.absolute;
        self.squared += other.squared;
        self.symmetric += other.symmetric;
        self.inside += other.inside;
        self.inside_class1 += other.inside_class1;
        self.width += other.width;
        self.score += other.score;
        self.score_class1 += other.score_class1;
        self.scaled_n += other.scaled_n;
        self.scaled += other.scaled;
        self.scaled_score += other.scaled_score;
        self.scaled_score_class1 += other.scaled_score_class1;
        self.compared += other.compared;
        self.naive += other.naive;
        self.against += other.against;
    }

    /// Mean absolute error, in the series' unit. This and the others: `None` where nothing was counted.
    pub fn mae(&self) -> Option<f64> {
        mean(self.absolute, self.n)
    }

    /// Root of the mean square of the errors, in the series' unit.
    pub fn rmse(&self) -> Option<f64> {
        mean(self.squared, self.n).map(f64::sqrt)
    }

    /// Mean of 200·|error|/(|actual| + |forecast|), in per cent of 0 to 200; 0/0 counts 0 (Makridakis,
    /// Spiliotis, Assimakopoulos, The M4 competition, International Journal of Forecasting 36, 2020, 54–74).
    pub fn smape(&self) -> Option<f64> {
        mean(100.0 * self.symmetric, self.n)
    }

    /// Mean of the scaled absolute errors.
    pub fn mase(&self) -> Option<f64> {
        mean(self.scaled, self.scaled_n)
    }

    /// The same of the seasonal naive forecast.
    pub fn mase_naive(&self) -> Option<f64> {
        mean(self.naive, self.compared)
    }

    /// 1 − (scaled error)/(that of the seasonal naive forecast), on the same slots. Positive: better than naive.
    pub fn skill(&self) -> Option<f64> {
        (self.naive > 0.0).then(|| 1.0 - self.against / self.naive).filter(|s| s.is_finite())
    }

    /// Share of the slots inside their interval.
    pub fn coverage(&self) -> Option<f64> {
        mean(self.inside as f64, self.n)
    }

    /// The same of class-1 intervals.
    pub fn coverage_class1(&self) -> Option<f64> {
        mean(self.inside_class1 as f64, self.n)
    }

    /// Mean width of the intervals, in the series' unit.
    pub fn width(&self) -> Option<f64> {
        mean(self.width, self.n)
    }

    /// Mean Winkler score, in the series' unit.
    pub fn score(&self) -> Option<f64> {
        mean(self.score, self.n)
    }

    /// The same of class-1 intervals.
    pub fn score_class1(&self) -> Option<f64> {
        mean(self.score_class1, self.n)
    }

    /// Mean scaled Winkler score (M4's MSIS).
    pub fn msis(&self) -> Option<f64> {
        mean(self.scaled_score, self.scaled_n)
    }

    /// The same of class-1 intervals.
    pub fn msis_class1(&self) -> Option<f64> {
        mean(self.scaled_score_class1, self.scaled_n)
    }
}

fn mean(sum: f64, n: u64) -> Option<f64> {
    (n > 0).then(|| sum / n as f64).filter(|mean| mean.is_finite())
}

/// A forecast whose slots are still to come, with what was known at its origin.
#[derive(Debug)]
struct Pending {
    outlook: Outlook,
    /// What the seasonal naive forecast says, by phase.
    naive: Vec<Option<f64>>,
    scale: Option<f64>,
}

/// The judgement of one series.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// Every slot, one step before.
    pub one_step: Measures,
    /// From the rolling origin, by step; element h-1 is h ahead.
    pub by_step: Vec<Measures>,
    /// Origins with a forecast.
    pub origins: u64,
    /// The steps told of together, as of the last slot.
    pub ranges: [usize; 2],
    /// Slots in a season; 0 without one.
    pub season_length: usize,
    /// Length of a slot in nanoseconds.
    pub step: i64,
    /// Probability that intervals were to cover.
    pub nominal: f64,
    /// Slots that start before it are only learned from; `None` before the first.
    judge_from: Option<i64>,
    pending: VecDeque<Pending>,
    /// Last value seen, and its slot's place, by phase (without a season: one element).
    last: Vec<Option<(f64, i64)>>,
    /// Σ |y − that of the slot one season before|, and how many.
    naive_error: f64,
    naive_pairs: u64,
}

impl Evaluation {
    /// Takes in what a batch showed: slots that closed, and forecasts made at origins, each in order.
    /// `judge_after`: slots that start less than so many nanoseconds after the first are not judged.
    pub fn take(
        &mut self,
        plan: &ForecastPlan,
        judge_after: i64,
        slots: &[SlotsClosed],
        outlooks: &[Outlook],
    ) {
        let Some(first) = slots.first() else { return };
        self.judge_from.get_or_insert(first.start.nanos().saturating_add(judge_after));
        let m = plan.season_length().max(1);
        if (self.step, self.last.len()) != (plan.step(), m) {
            let (one_step, by_step) = (self.one_step, std::mem::take(&mut self.by_step));
            let kept = Evaluation {
                one_step,
                by_step,
                origins: self.origins,
                judge_from: self.judge_from,
                ..Evaluation::default()
            };
            *self = kept;
            self.last = vec![None; m];
        }
        self.step = plan.step();
        self.season_length = plan.season_length();
        self.nominal = plan.nominal();
        self.ranges = ranges(plan);
        let mut outlooks = outlooks.iter().peekable();
        for slot in slots {
            while let Some(outlook) = outlooks.next_if(|o| o.forecast.origin <= slot.start) {
                self.begin(outlook);
            }
            self.close(plan, slot);
        }
        outlooks.for_each(|outlook| self.begin(outlook));
    }

    /// A new origin.
    fn begin(&mut self, outlook: &Outlook) {
        self.origins += 1;
        let naive = self.last.iter().map(|last| last.map(|(value, _)| value)).collect();
        self.pending.push_back(Pending { outlook: outlook.clone(), naive, scale: self.scale() });
    }

    fn close(&mut self, plan: &ForecastPlan, closed: &SlotsClosed) {
        let slot = closed.start.nanos().div_euclid(self.step);
        let m = self.last.len();
        let (place, phase) = (plan.slot(slot).place(m), plan.slot(slot).phase(m));
        let actual = closed.mean;
        let judge = self.judge_from.is_some_and(|from| closed.start.nanos() >= from);
        if let Some(expected) = closed.expected.filter(|_| judge) {
            let judged = Judged {
                actual,
                mean: expected.mean,
                interval: (expected.lower, expected.upper),
                class1: expected.class1.into(),
                naive: self.last[phase].map(|(value, _)| value),
                scale: self.scale(),
            };
            self.one_step.add(&judged, self.nominal);
        }
        for pending in &self.pending {
            let forecast = &pending.outlook.forecast;
            let ahead = slot - forecast.origin.nanos().div_euclid(self.step);
            let Some(index) = usize::try_from(ahead).ok().filter(|_| judge) else { continue };
            let of = |values: &[f64]| values.get(index).copied();
            let (Some(mean), Some(lower), Some(upper), Some(&class1)) = (
                of(&forecast.mean),
                of(&forecast.lower),
                of(&forecast.upper),
                pending.outlook.class1.get(index),
            ) else {
                continue;
            };
            let judged = Judged {
                actual,
                mean,
                interval: (lower, upper),
                class1: class1.into(),
                naive: pending.naive.get(phase).copied().flatten(),
                scale: pending.scale,
            };
            if self.by_step.len() <= index {
                self.by_step.resize(index + 1, Measures::default());
            }
            self.by_step[index].add(&judged, forecast.nominal);
        }
        self.pending.retain(|pending| {
            let forecast = &pending.outlook.forecast;
            slot + 1 - forecast.origin.nanos().div_euclid(self.step) < forecast.mean.len() as i64
        });
        let last = &mut self.last[phase];
        if let Some((before, _)) = last.filter(|&(_, seen)| seen == place - m as i64) {
            self.naive_error += (actual - before).abs();
            self.naive_pairs += 1;
        }
        *last = Some((actual, place));
    }

    /// MASE's denominator over all slots so far.
    fn scale(&self) -> Option<f64> {
        mean(self.naive_error, self.naive_pairs)
    }

    /// Steps 1 to `steps` together.
    pub fn through(&self, steps: usize) -> Measures {
        let mut sum = Measures::default();
        self.by_step.iter().take(steps).for_each(|measures| sum.merge(measures));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analytics::holt_winters::{Expected, Forecast};
    use crate::analytics::settings::{ForecastSettings, HOUR};
    use crate::batch::window::Zone;
    use crate::reading::EventTime;

    fn plan() -> ForecastPlan {
        ForecastPlan::new(
            &ForecastSettings {
                step: HOUR,
                season: vec![2 * HOUR],
                season_auto: false,
                horizon: 2 * HOUR,
                nominal: 0.9,
                ..ForecastSettings::default()
            },
            &Zone::utc(),
        )
    }

    fn slot(number: i64, mean: f64, expected: Option<(f64, f64, f64, f64)>) -> SlotsClosed {
        SlotsClosed {
            closed: 1,
            missing: 0,
            start: EventTime::clamped(number * HOUR),
            mean,
            count: 1,
            expected: expected.map(|(mean, lower, upper, half)| Expected {
                mean,
                lower,
                upper,
                class1: [mean - half, mean + half],
            }),
            restarted: false,
        }
    }

    fn outlook<const N: usize>(origin: i64, means: [f64; N]) -> Outlook {
        let forecast = Forecast {
            origin: EventTime::clamped(origin * HOUR),
            step: HOUR,
            nominal: 0.9,
            mean: means.to_vec(),
            lower: means.map(|m| m - 1.0).to_vec(),
            upper: means.map(|m| m + 2.0).to_vec(),
            model: "holt-winters",
            coverage: None,
            skill: None,
        };
        Outlook { forecast, class1: means.map(|m| [m - 4.0, m + 4.0]).to_vec() }
    }

    fn close(actual: Option<f64>, expected: f64) {
        let actual = actual.expect("a number");
        assert!((actual - expected).abs() < 1e-12, "{actual} is not {expected}");
    }

    #[test]
    fn the_interval_score_is_gneitings() {
        // Width 3; one below by 2, at 2/0.1 = 20 each.
        assert_eq!(winkler((1.0, 4.0), 2.0, 0.1), 3.0);
        assert_eq!(winkler((1.0, 4.0), 4.0, 0.1), 3.0);
        assert!((winkler((1.0, 4.0), -1.0, 0.1) - 43.0).abs() < 1e-12);
        assert!((winkler((1.0, 4.0), 4.5, 0.1) - 13.0).abs() < 1e-12);
    }

    /// Slots 0 to 5 are 10, 20, 12, 22, 15, 21; season 2. Naive errors two slots apart: 2, 2, 3, 1.
    #[test]
    fn one_step_by_hand() {
        let mut evaluation = Evaluation::default();
        let slots = [
            slot(0, 10.0, None),
            slot(1, 20.0, None),
            slot(2, 12.0, Some((11.0, 10.0, 11.5, 3.0))),
            slot(3, 22.0, Some((22.0, 21.0, 23.0, 3.0))),
            slot(4, 15.0, Some((13.0, 12.0, 16.0, 1.0))),
        ];
        evaluation.take(&plan(), 0, &slots, &[]);
        let m = evaluation.one_step;
        assert_eq!(m.n, 3);
        close(m.mae(), 1.0);
        close(m.rmse(), (5.0_f64 / 3.0).sqrt());
        close(m.smape(), (200.0 / 23.0 + 0.0 + 400.0 / 28.0) / 3.0);
        close(m.coverage(), 2.0 / 3.0);
        close(m.coverage_class1(), 2.0 / 3.0);
        close(m.width(), (1.5 + 2.0 + 4.0) / 3.0);
        // α = 0.1: slot 2 lies 0.5 above its interval; slot 4 1 above its class-1 interval.
        close(m.score(), (1.5 + 20.0 * 0.5 + 2.0 + 4.0) / 3.0);
        close(m.score_class1(), (6.0 + 6.0 + 2.0 + 20.0) / 3.0);
        // Scales: none before slot 2; 2 before slot 3; 2 before slot 4.
        close(m.mase(), (0.0 / 2.0 + 2.0 / 2.0) / 2.0);
        close(m.mase_naive(), (2.0 / 2.0 + 3.0 / 2.0) / 2.0);
        close(m.skill(), 1.0 - 1.0 / 2.5);
        close(m.msis(), (2.0 / 2.0 + 4.0 / 2.0) / 2.0);
        close(m.msis_class1(), (6.0 / 2.0 + 22.0 / 2.0) / 2.0);
    }

    /// From the origin behind slot 3; slot 6 is missing; the second origin's slots come only in part.
    #[test]
    fn rolling_origin_by_hand() {
        let mut evaluation = Evaluation::default();
        let first: Vec<_> =
            [10.0, 20.0, 12.0, 22.0].iter().zip(0..).map(|(&y, t)| slot(t, y, None)).collect();
        evaluation.take(&plan(), 0, &first, &[outlook(4, [14.0, 20.0, 13.0, 25.0])]);
        let later = [slot(4, 15.0, None), slot(5, 21.0, None), slot(7, 20.0, None)];
        evaluation.take(&plan(), 0, &later, &[outlook(6, [10.0, 21.0, 0.0, 0.0])]);
        assert_eq!((evaluation.origins, evaluation.ranges), (2, [2, 4]));
        // Origin 4, scale (2 + 2)/2 = 2: errors 1, 1 and, four ahead, 5. Naive 12, 22, -, 22: 3, 1, 2.
        // Origin 6, scale (2 + 2 + 3 + 1)/4 = 2: two ahead, error 1; naive 21: 1.
        let by_step: Vec<u64> = evaluation.by_step.iter().map(|m| m.n).collect();
        assert_eq!(by_step, [1, 2, 0, 1]);
        let near = evaluation.through(2);
        close(near.mae(), 1.0);
        close(near.mase(), 0.5);
        close(near.mase_naive(), (1.5 + 0.5 + 0.5) / 3.0);
        close(near.coverage(), 1.0);
        let far = evaluation.through(4);
        close(far.mae(), 2.0);
        close(far.mase_naive(), (1.5 + 0.5 + 0.5 + 1.0) / 4.0);
        close(far.skill(), 1.0 - (0.5 + 0.5 + 0.5 + 2.5) / (1.5 + 0.5 + 0.5 + 1.0));
        // Four ahead: 20 in [24, 27] is 4 below; class 1 [21, 29], 1 below.
        close(evaluation.by_step[3].score(), 3.0 + 20.0 * 4.0);
        close(evaluation.by_step[3].score_class1(), 8.0 + 20.0);
        close(far.coverage_class1(), 0.75);
    }

    #[test]
    fn the_beginning_can_be_left_out() {
        let mut evaluation = Evaluation::default();
        let slots: Vec<_> =
            (0..10).map(|t| slot(t, t as f64, Some((0.0, -1.0, 1.0, 1.0)))).collect();
        evaluation.take(&plan(), 4 * HOUR, &slots, &[outlook(1, [0.0; 4])]);
        assert_eq!(evaluation.one_step.n, 6);
        assert_eq!(evaluation.by_step.iter().map(|m| m.n).sum::<u64>(), 1, "slot 4 alone");
        assert!(evaluation.pending.is_empty(), "{}", evaluation.pending.len());
    }

    /// Clocks in Berlin are put forward on 2025-03-30. Values are the clock's hour, and one more every other day: the
    /// hour of the day before is off by 1, seen from each slot and from the midnight before the change.
    #[test]
    fn the_naive_forecast_keeps_to_the_clock() {
        let plan = ForecastPlan::new(
            &ForecastSettings {
                season: vec![24 * HOUR],
                season_auto: false,
                ..ForecastSettings::default()
            },
            &Zone::get("Europe/Berlin").unwrap(),
        );
        let midnight = 1_743_289_200 / 3600;
        let local = |hour: i64| hour + if hour < midnight + 2 { 1 } else { 2 };
        let value =
            |hour: i64| (local(hour).rem_euclid(24) + local(hour).div_euclid(24) % 2) as f64;
        let of = |hour| slot(hour, value(hour), None);
        let mut evaluation = Evaluation::default();
        let before: Vec<_> = (midnight - 48..midnight).map(of).collect();
        evaluation.take(&plan, 0, &before, &[]);
        assert_eq!((evaluation.naive_error, evaluation.naive_pairs), (24.0, 24));
        let after: Vec<_> = (midnight..midnight + 23 + 24).map(of).collect();
        evaluation.take(&plan, 0, &after, &[outlook(midnight, [0.0; 24])]);
        // On Monday 02:00 was last seen on Saturday.
        assert_eq!((evaluation.naive_error, evaluation.naive_pairs), (24.0 + 46.0, 24 + 46));
        let naive: Vec<_> = evaluation.by_step[..23].iter().map(Measures::mase_naive).collect();
        assert_eq!(naive, [Some(1.0); 23]);
    }

    #[test]
    fn ranges_are_seasons_or_horizons() {
        let of = |season: i64, horizon: i64| {
            ranges(&ForecastPlan::new(
                &ForecastSettings {
                    step: HOUR,
                    season: vec![season * HOUR],
                    season_auto: false,
                    horizon: horizon * HOUR,
                    ..ForecastSettings::default()
                },
                &Zone::utc(),
            ))
        };
        assert_eq!(of(24, 12), [24, 48]);
        assert_eq!(of(0, 10), [10, 20]);
        assert_eq!(of(1000, 10), [10, 20]);
        assert_eq!(of(0, 5000), [200, 400]);
    }
}
