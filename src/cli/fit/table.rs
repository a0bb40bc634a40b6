//! The comparison, for people.

use std::fmt::Write as _;

use super::series::Found;

/// Everything that was compared for one series; the chosen rows carry a star.
pub fn table(found: &Found) -> String {
    let mut text = format!("{}/{}\n", found.device, found.metric);
    if let Some(choice) = &found.filter {
        let _ = writeln!(
            text,
            "  {:40} {:>11} {:>9} {:>7}   ({} readings held out)",
            "filter", "log density", "outliers", "shifts", choice.judged
        );
        for (i, one) in choice.compared.iter().enumerate() {
            let star = if i == choice.best { '*' } else { ' ' };
            let (outliers, shifts) = (one.run.outliers, one.run.shifts);
            let _ = writeln!(
                text,
                " {star}{:40} {:>11.4} {outliers:>9} {shifts:>7}",
                one.name, one.score
            );
        }
    }
    if let Some(choice) = &found.forecast {
        let _ = writeln!(
            text,
            "  {:40} {:>15} {:>13} {:>15} {:>8} {:>6}   ({} slots held out)",
            "forecast: next slot, horizon",
            "MAE",
            "coverage",
            "interval score",
            "/started",
            "/seen",
            choice.compared[0].score.slots
        );
        let [cold, warm] = [0, 1].map(|i| choice.compared[i].score);
        for (i, one) in choice.compared.iter().enumerate() {
            let star = if i == choice.best { '*' } else { ' ' };
            let s = &one.score;
            let _ = writeln!(
                text,
                " {star}{:40} {:>7} {:>7} {:>6.3} {:>6.3} {:>7} {:>7} {:>8.3} {:>6.3}",
                one.name,
                number(s.mae[0]),
                number(s.mae[1]),
                s.coverage[0],
                s.coverage[1],
                number(s.interval[0]),
                number(s.interval[1]),
                s.ratio(&cold),
                s.ratio(&warm)
            );
        }
    }
    for note in &found.notes {
        let _ = writeln!(text, "  {note}");
    }
    text
}

/// Three or four significant digits in seven columns.
fn number(value: f64) -> String {
    let size = value.abs();
    match size {
        _ if size == 0.0 => "0".to_owned(),
        1e-2..1e5 => {
            let digits = [0.1, 1.0, 10.0, 100.0, 1000.0].iter().filter(|&&l| size < l).count();
            format!("{value:.digits$}")
        }
        _ => format!("{value:.1e}"),
    }
}
