//! Recorded series: intervals and points from an origin every hour.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use weir::analytics::settings::HOUR;
use weir::analytics::step::Origins;
use weir::cli::replay::evaluation::{Evaluation, Measures};
use weir::cli::replay::player::Player;
use weir::decoder::recorded::{Recorded, RecordedReader};
use weir::engine::{ConfigError, CoreConfig, StepOutput};
use weir::reading::{EventTime, Finite, SECOND};

const DAY: i64 = 24 * HOUR;
/// Learned from before anything is judged.
const LEARNED: i64 = 28 * DAY;
/// Least that is judged.
const JUDGED: i64 = 14 * DAY;
/// Steps of each forecast.
const STEPS: usize = 48;
/// Coverage may be this far from nominal.
const TOLERANCE: f64 = 0.015;

/// One series: name and readings in the file's order.
type Series = (String, Vec<(EventTime, Finite)>);

/// All series of a file, or of the `.csv` files of a folder in the order of their names.
///
/// # Errors
/// A file or folder that cannot be read.
pub fn load(path: &Path) -> Result<Vec<Series>, String> {
    let text = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| text(&error))?;
        let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "csv"));
        files.sort();
        let all: Result<Vec<Vec<Series>>, String> = files.iter().map(|file| load(file)).collect();
        return Ok(all?.into_iter().flatten().collect());
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let mut by_name: BTreeMap<String, Vec<(EventTime, Finite)>> = BTreeMap::new();
    for item in RecordedReader::open(path, &stem).map_err(|error| text(&error))? {
        // A faulty line is one that the engine would count and leave out.
        let Ok(Recorded { time, device, metric, value }) = item else { continue };
        by_name.entry(format!("{device}/{metric}")).or_default().push((time, value));
    }
    Ok(by_name.into_iter().collect())
}

/// From when a series is judged, in nanoseconds after its first reading; `Err`: why not at all.
fn judge_after(readings: &[(EventTime, Finite)]) -> Result<i64, &'static str> {
    let mut times: Vec<i64> = readings.iter().map(|(time, _)| time.nanos()).collect();
    times.sort_unstable();
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return Err("empty") };
    let span = last - first;
    let after = LEARNED.max(span / 2);
    if span - after < JUDGED {
        return Err("too short: wants six weeks");
    }
    let mut apart: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    apart.sort_unstable();
    if apart.get(apart.len() / 2).is_none_or(|&median| median > HOUR) {
        return Err("readings are more than an hour apart");
    }
    Ok(after)
}

/// What came of one series' forecasts.
pub struct Judged {
    pub evaluation: Evaluation,
    /// Numbers in forecasts that are not finite.
    unsound: u64,
}

/// Runs a series, forecasts being judged from `after` nanoseconds behind its first reading on.
///
/// # Errors
/// Settings that the engine refuses.
pub fn run(readings: &[(EventTime, Finite)], after: i64) -> Result<Judged, ConfigError> {
    let mut player = Player::new(CoreConfig::default(), 3600 * SECOND, 4096)?;
    player.keep_outlooks(Origins { every: HOUR, steps: |_| STEPS });
    let mut judged = Judged { evaluation: Evaluation::default(), unsound: 0 };
    let mut take = |output: &StepOutput| {
        for detail in &output.details {
            let (slots, outlooks) = (&detail.details.slots, &detail.details.outlooks);
            let Some(plan) = &detail.plan.forecast else { continue };
            for outlook in outlooks {
                let f = &outlook.forecast;
                let numbers = f.mean.iter().chain(&f.lower).chain(&f.upper);
                judged.unsound += numbers.filter(|x| !x.is_finite()).count() as u64;
            }
            judged.evaluation.take(plan, after, slots, outlooks);
        }
    };
    for &(time, value) in readings {
        if let Some(output) = player.push(("judge", "value"), time, value)? {
            take(&output);
        }
    }
    player.finish::<ConfigError>(|_, output| {
        take(&output);
        Ok(())
    })?;
    Ok(judged)
}

/// Figures of one line, and the sum of many.
#[derive(Clone, Copy, Default)]
struct Sums {
    n: f64,
    values: [f64; 8],
    missed: [u32; 4],
    unsound: u64,
}

/// Judges all series under `paths` and prints a line for each, then the means.
///
/// # Errors
/// A file that cannot be read.
pub fn judge(paths: &[PathBuf]) -> Result<(), String> {
    println!(
        "Recorded series: last half, at least {} days learned from; origin every hour; an asterisk: goal missed\n\
         (coverage 0.95 ± {TOLERANCE}, score at most class 1's, MASE at most naive's)\n\n\
         {:44} {:>5}  {:>7} {:>7}  {:>8} {:>8}  {:>13} {:>7}  {:>13} {:>7}",
        LEARNED / DAY,
        "series",
        "n",
        "cover 1",
        "24",
        "/class1 1",
        "24",
        "MASE/naive 24",
        "skill",
        "MASE/naive 48",
        "skill"
    );
    let mut sums = Sums::default();
    let mut left_out = Vec::new();
    for path in paths {
        for (name, readings) in load(path)? {
            match judge_after(&readings) {
                Ok(after) => {
                    let judged = run(&readings, after).map_err(|error| error.to_string())?;
                    line(&name, &judged, &mut sums);
                }
                Err(why) => left_out.push(format!("{name} ({why})")),
            }
        }
    }
    if sums.n > 0.0 {
        let [c1, c24, s1, s24, m24, n24, m48, n48] = sums.values.map(|sum| sum / sums.n);
        println!(
            "{:44} {:>5}  {c1:>7.3} {c24:>8.3} {s1:>8.3} {s24:>9.3}  {m24:>6.3}/{n24:<6.3} {:>7.3}  {m48:>6.3}/{n48:<6.3} {:>7.3}",
            "mean",
            sums.n,
            1.0 - m24 / n24,
            1.0 - m48 / n48
        );
    }
    let [coverage, score, near, far] = sums.missed;
    println!(
        "missed: coverage {coverage} of {}, interval score {score} of {}, naive at 24 {near}, at 48 {far}; numbers not finite: {}",
        2.0 * sums.n,
        2.0 * sums.n,
        sums.unsound
    );
    if !left_out.is_empty() {
        println!("left out: {}", left_out.join(", "));
    }
    println!();
    Ok(())
}

fn line(name: &str, judged: &Judged, sums: &mut Sums) {
    let evaluation = &judged.evaluation;
    let at = |h: usize| evaluation.by_step.get(h - 1).copied().unwrap_or_default();
    let ratio = |m: &Measures| Some(m.score()? / m.score_class1()?);
    let (one, day) = (at(1), at(24));
    let (near, far) = (evaluation.through(24), evaluation.through(48));
    let figures = (|| {
        Some([
            one.coverage()?,
            day.coverage()?,
            ratio(&one)?,
            ratio(&day)?,
            near.mase()?,
            near.mase_naive()?,
            far.mase()?,
            far.mase_naive()?,
        ])
    })();
    let Some(figures) = figures else {
        println!("{name:44} nothing to judge");
        return;
    };
    let [c1, c24, s1, s24, m24, n24, m48, n48] = figures;
    let [skill24, skill48] = [near, far].map(|m| m.skill().unwrap_or(0.0));
    let mark = |missed: bool| if missed { '*' } else { ' ' };
    let uncovered = [c1, c24].map(|c| (c - 0.95_f64).abs() > TOLERANCE);
    let dear = [s1, s24].map(|s| s > 1.0);
    let lost = [skill24, skill48].map(|s| s < 0.0);
    println!(
        "{name:44} {:>5}  {c1:>7.3}{}{c24:>7.3}{}{s1:>8.3}{} {s24:>8.3}{} {m24:>6.3}/{n24:<6.3} {skill24:>7.3}{} {m48:>6.3}/{n48:<6.3} {skill48:>7.3}{}",
        day.n,
        mark(uncovered[0]),
        mark(uncovered[1]),
        mark(dear[0]),
        mark(dear[1]),
        mark(lost[0]),
        mark(lost[1])
    );
    sums.n += 1.0;
    sums.values.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
    let counts = [
        uncovered.iter().filter(|&&missed| missed).count(),
        dear.iter().filter(|&&missed| missed).count(),
        usize::from(lost[0]),
        usize::from(lost[1]),
    ];
    sums.missed.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count as u32);
    sums.unsound += judged.unsound;
}
