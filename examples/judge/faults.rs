//! Invented series of machines and buildings with what happens to such: they fail, are moved to another level, work longer, stand
//! still on a holiday, change their hours.
//!
//! Eight weeks, readings each five minutes and each hour, two weeks learned from; origin every hour. Seeded, the same everywhere.

use std::f64::consts::TAU;

use weir::cli::replay::evaluation::Measures;
use weir::reading::{EventTime, Finite, SECOND};

use crate::corpus::Chance;
use crate::recorded;

const DAY: i64 = 86_400;
const DAYS: i64 = 56;
const LEARNED: i64 = 14;
/// From this day on hours are others. Not one of those after which models are looked for.
const CHANGED: i64 = 24;
/// A Monday (2026-03-02).
const START: i64 = 20_514 * DAY;
/// Series of each kind with each fault, at each interval.
const SERIES: u64 = 4;

const KINDS: [&str; 5] =
    ["day", "day, less at weekends", "on by day", "on by weekday", "runs for half an hour"];
const FAULTS: [&str; 6] =
    ["none", "outages", "steps", "hours of more or less", "holidays", "other hours"];

/// What a machine does, without noise, by seconds since [`START`].
struct Habit {
    kind: usize,
    begin: f64,
    hours: f64,
    by: f64,
}

impl Habit {
    fn new(kind: usize, chance: &mut Chance) -> Habit {
        let hours = if kind == 4 { chance.within(0.3, 0.7) } else { chance.within(6.0, 13.0) };
        Habit { kind, begin: chance.within(4.0, 9.0), hours, by: chance.within(8.0, 80.0) }
    }

    fn at(&self, second: i64) -> f64 {
        let hour = (second % DAY) as f64 / 3600.0;
        let free = second / DAY % 7 >= 5;
        let wave = libm::sin(TAU * (hour - self.begin) / 24.0);
        let on = (self.begin..self.begin + self.hours).contains(&hour);
        100.0
            + self.by
                * match self.kind {
                    0 => 0.4 * wave,
                    1 => wave * if free { 0.1 } else { 0.4 },
                    3 => f64::from(u8::from(on && !free)),
                    _ => f64::from(u8::from(on)),
                }
    }
}

/// Readings of a machine of that kind with that fault.
fn series(kind: usize, fault: usize, interval: i64, seed: u64) -> Vec<(EventTime, Finite)> {
    let mut chance = Chance::new(seed * 1009 + (kind * FAULTS.len() + fault) as u64);
    // The first numbers of near seeds are near each other.
    (0..20).for_each(|_| {
        chance.uniform();
    });
    let (habit, other) = (Habit::new(kind, &mut chance), Habit::new(kind, &mut chance));
    let noise = chance.within(0.5, 2.0);
    // From, until, by how much: one in about a week.
    let mut events = Vec::new();
    let mut from = 15 * DAY;
    while from < DAYS * DAY {
        from += (-libm::log(1.0 - chance.uniform()) * 5.0 * DAY as f64) as i64;
        let length = (chance.within(3.0, 40.0) * 3600.0) as i64;
        let sign = if chance.uniform() < 0.5 { -1.0 } else { 1.0 };
        events.push((from, from + length, sign * chance.within(10.0, 50.0)));
        from += 2 * DAY;
    }
    let mut residual = 0.0;
    (0..DAYS * DAY / interval)
        .filter_map(|index| {
            let t = index * interval;
            let hours = interval as f64 / 3600.0;
            residual += -residual * hours / 10.0 + 0.5 * hours.sqrt() * chance.normal();
            let within = events.iter().find(|event| (event.0..event.1).contains(&t));
            let usual = habit.at(t);
            let value = match fault {
                1 if within.is_some() => 0.0,
                2 => usual + events.iter().filter(|event| event.0 <= t).map(|e| e.2).sum::<f64>(),
                3 => usual + within.map_or(0.0, |event| event.2),
                4 if events.iter().any(|event| event.0 / DAY == t / DAY) => habit.at(6 * DAY),
                5 if t >= CHANGED * DAY => other.at(t),
                _ => usual,
            };
            let value = Finite::new(value + residual + noise * chance.normal())?;
            Some((EventTime::clamped((START + t) * SECOND), value))
        })
        .collect()
}

/// Of the series of one line: logarithms of ratios to the naive forecast's error, and of scores to those of class 1.
#[derive(Default)]
struct Line {
    n: f64,
    ratios: [f64; 3],
    coverage: f64,
    worse: u32,
}

impl Line {
    fn add(&mut self, one: &Measures, day: &Measures) -> Option<()> {
        let ratio = |m: &Measures| Some(m.mase()? / m.mase_naive()?);
        let figures = [ratio(one)?, ratio(day)?, day.score()? / day.score_class1()?];
        self.ratios.iter_mut().zip(figures).for_each(|(sum, x)| *sum += libm::log(x));
        self.coverage += day.coverage()?;
        self.worse += u32::from(figures[1] > 1.0);
        self.n += 1.0;
        Some(())
    }

    fn print(&self, name: &str) {
        let [one, day, score] = self.ratios.map(|sum| libm::exp(sum / self.n));
        println!(
            "{name:48} {:>4} {one:>8.3} {day:>8.3} {:>9.3} {score:>9.3} {:>6}",
            self.n,
            self.coverage / self.n,
            self.worse
        );
    }
}

/// Prints a line for each kind and fault, then the means.
///
/// # Errors
/// Settings that the engine refuses.
pub fn judge() -> Result<(), String> {
    println!(
        "Invented machines, {SERIES} series each at 5 and 60 minutes: error over the seasonal naive forecast's (geometric means), one \
         step\nand a day ahead; coverage and interval score over class 1's of that day; series worse than it\n\n\
         {:48} {:>4} {:>8} {:>8} {:>9} {:>9} {:>6}",
        "machine, what happens to it", "n", "1 step", "day", "coverage", "/class1", "worse"
    );
    let mut all = Line::default();
    for (kind, habit) in KINDS.iter().enumerate() {
        for (fault, what) in FAULTS.iter().enumerate() {
            let mut line = Line::default();
            for (interval, seed) in [300, 3600]
                .into_iter()
                .flat_map(|interval| (1..=SERIES).map(move |s| (interval, s)))
            {
                let readings = series(kind, fault, interval, seed);
                let judged =
                    recorded::run(&readings, LEARNED * DAY * SECOND).map_err(|e| e.to_string())?;
                let evaluation = &judged.evaluation;
                let one = evaluation.by_step.first().copied().unwrap_or_default();
                let day = evaluation.through(24);
                for line in [&mut line, &mut all] {
                    line.add(&one, &day).ok_or("nothing to judge")?;
                }
            }
            line.print(&format!("{habit}; {what}"));
        }
    }
    all.print("all");
    println!();
    Ok(())
}
