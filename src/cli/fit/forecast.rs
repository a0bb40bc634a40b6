//! Which forecast, judged by forecasts of slots that it has not seen.
//!
//! Each candidate learns from the first slots, goes on from there as a daemon with its profile would, and is
//! judged by what comes of its forecasts: each next slot, and from a rolling origin all of the horizon
//! ([`Evaluation`]).

use crate::analytics::holt_winters::{ForecastPlan, Forecaster, learn, slots_needed};
use crate::analytics::settings::{
    ForecastInitial, ForecastResumed, ForecastSettings, HOUR, Log, Seasonal, Smoothing, Trend,
};
use crate::analytics::step::Outlook;
use crate::batch::window::Zone;
use crate::cli::replay::evaluation::{Evaluation, Measures};
use crate::reading::{EventTime, Finite, SECOND};

use super::filter::significant;

const DAY: i64 = 24 * HOUR;
/// Steps proposed, where the hour is too short or too long.
const STEPS: [i64; 12] = [
    SECOND,
    10 * SECOND,
    60 * SECOND,
    300 * SECOND,
    900 * SECOND,
    HOUR,
    2 * HOUR,
    6 * HOUR,
    DAY,
    7 * DAY,
    28 * DAY,
    365 * DAY,
];
/// Most steps ahead that are judged.
const AHEAD_MAX: usize = 200;
/// Slots between two origins.
const ORIGIN_EVERY: i64 = 6;
/// Slots at the beginning that are not judged, while the defaults learn that there is a series at all.
const UNJUDGED: usize = 3;
/// Slots that must be left to judge by.
pub const JUDGED_MIN: usize = 10;
/// A richer model must be better by this factor.
const MARGIN: f64 = 0.99;

/// Slot means; NaN: missing.
#[derive(Clone, Debug, PartialEq)]
pub struct Slots {
    /// Zone of the site, whose local time seasons of whole days follow.
    pub zone: Zone,
    pub step: i64,
    /// Number of the first since the epoch.
    pub first: i64,
    pub values: Vec<f64>,
}

/// Most slots looked at, the newest.
const SLOTS_MAX: i64 = 200_000;

impl Slots {
    /// The means of `points`, less those whose indexes are in `without` (ascending).
    pub fn new(
        points: &[(EventTime, Finite)],
        without: &[usize],
        step: i64,
        zone: &Zone,
    ) -> Option<Slots> {
        let number = |time: EventTime| time.nanos().div_euclid(step);
        let last = number(points.last()?.0);
        let first = number(points.first()?.0).max(last + 1 - SLOTS_MAX);
        let mut values = vec![f64::NAN; usize::try_from(last + 1 - first).ok()?];
        let mut count = 0.0;
        let mut without = without.iter().peekable();
        let mut open = i64::MIN;
        for (i, (time, value)) in points.iter().enumerate() {
            let slot = number(*time);
            if without.next_if_eq(&&i).is_some() || slot < first {
                continue;
            }
            let place = values.get_mut(usize::try_from(slot - first).ok()?)?;
            if slot != open {
                (open, count, *place) = (slot, 0.0, 0.0);
            }
            count += 1.0;
            *place += (value.get() - *place) / count;
        }
        Some(Slots { zone: zone.clone(), step, first, values })
    }

    /// The index of the slot of `time`, at most their number.
    pub fn index(&self, time: EventTime) -> usize {
        let slot = time.nanos().div_euclid(self.step) - self.first;
        usize::try_from(slot).unwrap_or(0).min(self.values.len())
    }

    /// Starts the forecaster at slot `begin` and lets it see all that follow; judges it from `judge` on.
    pub fn play(&self, settings: &ForecastSettings, begin: usize, judge: usize) -> Evaluation {
        let plan = ForecastPlan::new(settings, &self.zone);
        let ahead = ahead(settings);
        let mut forecaster = Forecaster::new();
        let mut evaluation = Evaluation::default();
        let time = |i: usize| EventTime::clamped((self.first + i as i64) * self.step);
        let observed: Vec<(usize, f64)> = (begin..self.values.len())
            .map(|i| (i, self.values[i]))
            .filter(|(_, value)| value.is_finite())
            .collect();
        let Some(&(start, _)) = observed.first() else { return evaluation };
        // One more closes the last.
        let end = observed.last().map(|&(_, value)| (self.values.len(), value));
        for (i, value) in observed.iter().copied().chain(end) {
            let Some(value) = Finite::new(value) else { continue };
            let Some(closed) = forecaster.observe(&plan, time(i), value) else { continue };
            let from = closed.start.nanos().div_euclid(self.step);
            let next = from + i64::from(closed.closed);
            let outlook = (next.div_euclid(ORIGIN_EVERY) != from.div_euclid(ORIGIN_EVERY))
                .then(|| forecaster.forecast_class1(&plan, ahead))
                .flatten()
                .map(|(forecast, class1)| Outlook { forecast, class1 });
            let after = judge.saturating_sub(start) as i64 * self.step;
            evaluation.take(&plan, after, &[closed], outlook.as_slice());
            if let Some(job) = forecaster.take_fit_job(&plan, 0)
                && let Some(fit) = job.run()
            {
                forecaster.offer(fit);
            }
        }
        evaluation
    }
}

/// How far ahead forecasts are judged: a day, or the horizon, where that is not the default's or a day has no
/// slots; in slots.
fn ahead(settings: &ForecastSettings) -> usize {
    ((settings.horizon / settings.step.max(1)).max(1) as usize).min(AHEAD_MAX)
}

/// Errors and interval scores, one step and the horizon ahead; in the series' unit, smaller is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Score {
    pub mae: [f64; 2],
    pub interval: [f64; 2],
    pub coverage: [f64; 2],
    /// Slots judged one step ahead.
    pub slots: u64,
}

impl Score {
    /// Of an evaluation; `None` while nothing was judged. `steps`: the horizon.
    pub fn new(evaluation: &Evaluation, steps: usize) -> Option<Score> {
        let both = [evaluation.one_step, evaluation.through(steps)];
        let all = |of: fn(&Measures) -> Option<f64>| Some([of(&both[0])?, of(&both[1])?]);
        Some(Score {
            mae: all(Measures::mae)?,
            interval: all(Measures::score)?,
            coverage: all(Measures::coverage)?,
            slots: both[0].n,
        })
    }

    /// The geometric mean of the four measures' ratios to `other`'s; below 1: better.
    pub fn ratio(&self, other: &Score) -> f64 {
        let pairs =
            self.mae.iter().zip(&other.mae).chain(self.interval.iter().zip(&other.interval));
        let logs = pairs.map(|(a, b)| {
            // Both without an error are equal.
            let least = 1e-9 * a.max(*b) + 1e-300;
            libm::log((a + least) / (b + least))
        });
        libm::exp(logs.sum::<f64>() / 4.0)
    }
}

/// A candidate and its score.
#[derive(Clone, Debug)]
pub struct Compared {
    pub name: String,
    pub score: Score,
}

/// The comparison.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The first: the defaults starting with the slots judged; the second: the defaults having seen all before.
    pub compared: Vec<Compared>,
    /// Index of the best; 0: the defaults stand.
    pub best: usize,
    /// The best, with what it learned from all slots.
    pub chosen: Option<ForecastSettings>,
}

/// The step for readings so far apart over such a time: the hour, unless readings come more seldom or the recording
/// has too few hours.
pub fn step(interval: i64, span: i64) -> i64 {
    if interval > HOUR {
        return STEPS.into_iter().find(|&step| step >= interval).unwrap_or(366 * DAY);
    }
    if span / HOUR >= 60 {
        return HOUR;
    }
    let fits = |step: &i64| *step >= 2 * interval && span / *step >= 60;
    STEPS.into_iter().take(5).rev().find(fits).unwrap_or(HOUR)
}

fn describe(s: &ForecastSettings) -> String {
    let season = match (s.seasonal, s.season.len()) {
        (Seasonal::None, _) => "no season".to_owned(),
        (_, 2) => "two seasons".to_owned(),
        (Seasonal::Multiplicative, _) => "multiplicative season".to_owned(),
        _ => "season".to_owned(),
    };
    let trend = match s.trend {
        Trend::None => "",
        Trend::Additive => ", trend",
        Trend::Damped => ", damped trend",
    };
    let log = if s.log == Log::Always { ", log" } else { "" };
    let robust = if s.robust { "" } else { ", not robust" };
    format!("{season}{trend}{log}{robust}")
}

/// The settings under which a model goes on: the states say which model it is, and what the daemon may look for when it
/// has seen enough of its own stays open.
fn widened(s: &ForecastSettings, base: &ForecastSettings) -> ForecastSettings {
    if s.seasonal == Seasonal::None {
        // What was not found in so many slots may be there in more.
        let trend = if s.trend == Trend::None { base.trend } else { s.trend };
        return ForecastSettings { trend, robust: s.robust, initial: None, ..base.clone() };
    }
    if s.seasonal != Seasonal::Additive || s.log == Log::Always {
        return s.clone();
    }
    let default = ForecastSettings::default();
    let trend = if s.trend == Trend::None { default.trend } else { s.trend };
    ForecastSettings { seasonal: Seasonal::Auto, log: Log::Auto, trend, ..s.clone() }
}

/// What is compared, the plainest first.
fn candidates(base: &ForecastSettings, positive: bool) -> Vec<ForecastSettings> {
    let step = base.step;
    let of = |season: &[i64], seasonal, trend, log| ForecastSettings {
        season: season.to_vec(),
        season_auto: false,
        seasonal,
        trend,
        log,
        robust: true,
        smoothing: None,
        initial: None,
        ..base.clone()
    };
    let usable = |season: i64| season % step == 0 && (2..=672).contains(&(season / step));
    let (day, week) = (DAY, 7 * DAY);
    let first = if usable(day) { Some(day) } else { usable(week).then_some(week) };
    let second = first.filter(|&first| first == day && usable(week)).map(|_| week);
    let mut list = vec![
        of(&[], Seasonal::None, Trend::None, Log::Never),
        of(&[], Seasonal::None, Trend::Damped, Log::Never),
        of(&[], Seasonal::None, Trend::Additive, Log::Never),
    ];
    if let Some(first) = first {
        list.push(of(&[first], Seasonal::Additive, Trend::None, Log::Never));
        list.push(of(&[first], Seasonal::Additive, Trend::Damped, Log::Never));
        if positive {
            list.push(of(&[first], Seasonal::Multiplicative, Trend::None, Log::Never));
            list.push(of(&[first], Seasonal::Additive, Trend::None, Log::Always));
        }
        if let Some(second) = second {
            list.push(of(&[first, second], Seasonal::Additive, Trend::None, Log::Never));
            if positive {
                list.push(of(&[first, second], Seasonal::Additive, Trend::None, Log::Always));
            }
        }
    }
    list
}

/// Compares the models on the slots from number `split` on; `None` where there are too few to learn from or to judge by
/// ([`slots_needed`], [`JUDGED_MIN`]).
pub fn choose(base: &ForecastSettings, slots: &Slots, split: usize) -> Option<Choice> {
    let n = slots.values.len();
    if n < split + UNJUDGED + JUDGED_MIN {
        return None;
    }
    let judge = split + UNJUDGED;
    let steps = ahead(base);
    let judged = |settings: &ForecastSettings, begin: usize| {
        Score::new(&slots.play(settings, begin, judge), steps)
    };
    let cold = judged(base, split)?;
    let mut compared = vec![Compared { name: "defaults".to_owned(), score: cold }];
    let warm = judged(base, 0).unwrap_or(cold);
    compared.push(Compared { name: "defaults, having seen all before".to_owned(), score: warm });
    let positive = slots.values.iter().all(|y| y.is_nan() || *y > 0.0);
    let mut best: Option<(f64, ForecastSettings)> = None;
    let mut at = 0;
    let mut try_one = |settings: ForecastSettings, best: &mut Option<(f64, ForecastSettings)>| {
        let initial =
            learn(&settings, &slots.zone, slots.first, &slots.values[..split]).map(rounded);
        let Some(initial) = initial else { return };
        let resumed = ForecastSettings { initial: Some(initial), ..widened(&settings, base) };
        let Some(score) = judged(&resumed, split) else { return };
        let ratio = score.ratio(&cold);
        compared.push(Compared { name: describe(&settings), score });
        let limit = best.as_ref().map_or(1.0, |(least, _)| least * MARGIN);
        if ratio < limit {
            *best = Some((ratio, settings));
            at = compared.len() - 1;
        }
    };
    for settings in candidates(base, positive) {
        try_one(settings, &mut best);
    }
    if let Some((_, settings)) = best.clone() {
        try_one(ForecastSettings { robust: false, ..settings }, &mut best);
    }
    let chosen = best.and_then(|(_, settings)| {
        let initial = rounded(learn(&settings, &slots.zone, slots.first, &slots.values)?);
        Some(ForecastSettings { initial: Some(initial), ..widened(&settings, base) })
    });
    let best = if chosen.is_some() { at } else { 0 };
    Some(Choice { compared, best, chosen })
}

/// Slots that the shortest comparison needs.
pub fn needed(base: &ForecastSettings) -> usize {
    let plain = ForecastSettings { seasonal: Seasonal::None, ..base.clone() };
    // Three quarters are learned from.
    (slots_needed(&plain) * 4).div_ceil(3).max(4 * (UNJUDGED + JUDGED_MIN))
}

/// With five significant digits, relative to the spread of the series: more say nothing.
fn rounded(initial: ForecastInitial) -> ForecastInitial {
    let sd = initial.resumed.as_ref().map_or(1.0, |resumed| resumed.sd);
    // A thousandth of a standard deviation.
    let unit = 10_f64.powi(libm::floor(libm::log10(sd)) as i32 - 3);
    let round = |x: f64| {
        let whole = (x / unit).round();
        let plain: f64 = format!("{:.*}", decimals(unit), whole * unit).parse().unwrap_or(x);
        if whole.abs() < 1e15 { plain } else { x }
    };
    let share = |x: f64| significant(x, 4);
    let smoothing = |s: Smoothing| {
        let alpha = share(s.alpha);
        let gamma = share(s.gamma).min(1.0 - alpha);
        Smoothing {
            alpha,
            beta: share(s.beta).min(alpha),
            gamma,
            omega: share(s.omega).min((1.0 - alpha - gamma).max(0.0)),
            phi: share(s.phi).min(1.0),
            rho: share(s.rho).min(0.999),
        }
    };
    ForecastInitial {
        level: round(initial.level),
        trend: significant(initial.trend, 4),
        season: initial.season.into_iter().map(round).collect(),
        resumed: initial.resumed.map(|resumed| ForecastResumed {
            longer: resumed.longer.into_iter().map(round).collect(),
            sd: significant(resumed.sd, 4),
            smoothing: resumed.smoothing.map(smoothing),
            ..resumed
        }),
    }
}

/// Decimals that a power of ten has.
fn decimals(unit: f64) -> usize {
    (-libm::log10(unit)).round().clamp(0.0, 300.0) as usize
}
