//! Medians and ranges.

pub struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    pub fn of(mut values: Vec<f64>) -> Spread {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            (values[middle - 1] + values[middle]) / 2.0
        };
        Spread { median, least: values[0], most: values[values.len() - 1] }
    }
}

pub fn row(name: &str, spread: &Spread, digits: usize) {
    let Spread { median, least, most } = spread;
    println!(
        "  {name:<26} median {median:9.digits$}   min {least:9.digits$}   max {most:9.digits$}"
    );
}
