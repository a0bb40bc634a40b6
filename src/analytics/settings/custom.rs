//! Settings of a `custom` filter: the matrices as they are written.

use serde::{Deserialize, Serialize};

/// Most states of a custom filter.
pub const STATES_MAX: usize = 8;
/// Most metrics of a custom filter.
pub const METRICS_MAX: usize = 4;
/// Longest name of a metric, in bytes.
const NAME_BYTES_MAX: usize = 256;
/// Largest entry of a matrix; of F with `per_second`, so that all of event time can be halved away.
const ENTRY_MAX: f64 = 1e100;
const RATE_MAX: f64 = 1e6;

/// x' = F·x + w, w ~ N(0, Q); y = H·x + v, v ~ N(0, R), with `n` states and `m` metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CustomSettings {
    /// The metrics of one device that a row of readings consists of, in the order of H's rows;
    /// empty: the series that has the settings, alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<String>,
    /// F: `n` rows of `n`. From one reading to the next, or with `per_second` the generator A of
    /// dx = A·x·dt + dw (entries per second).
    pub f: Vec<Vec<f64>>,
    /// H: `m` rows of `n`.
    pub h: Vec<Vec<f64>>,
    /// Q: `n` rows of `n`, symmetric, not negative. Between readings, or with `per_second` in a
    /// second.
    pub q: Vec<Vec<f64>>,
    /// R: `m` rows of `m`, symmetric, not negative, its diagonal positive. Of one row of readings.
    pub r: Vec<Vec<f64>>,
    /// Whether F and Q are rates in time instead of steps from reading to reading.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub per_second: bool,
    /// How long one step of F and Q takes, nanoseconds, > 0: from one reading to the next there are as
    /// many steps as that fits between them, rounded. `None`: one step, whatever the time between.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<i64>,
}

impl CustomSettings {
    /// Length of the state vector.
    pub fn states(&self) -> usize {
        self.f.len()
    }

    /// What is wrong with the matrices: the key, and what it must be.
    pub fn fault(&self) -> Option<(&'static str, String)> {
        let (n, m) = (self.f.len(), self.h.len());
        let sized = |rows: &[Vec<f64>], height: usize, width: usize| {
            rows.len() == height && rows.iter().all(|row| row.len() == width)
        };
        let within = |rows: &[Vec<f64>], most: f64| rows.iter().flatten().all(|x| x.abs() <= most);
        let rate = if self.per_second { RATE_MAX } else { ENTRY_MAX };
        let fault = |key, what: String| Some((key, what));
        if !(1..=STATES_MAX).contains(&n) || !sized(&self.f, n, n) {
            return fault("F", format!("must be square, with 1 to {STATES_MAX} rows"));
        }
        if !(1..=METRICS_MAX).contains(&m) || !sized(&self.h, m, n) {
            let what = format!("must have 1 to {METRICS_MAX} rows of {n} number(s), as many as F");
            return fault("H", what);
        }
        if let Some(what) = self.names_fault() {
            return fault("metrics", what);
        }
        let metrics = self.metrics.len().max(1);
        if m != metrics {
            let what = format!("has {m} row(s), metrics has {metrics}: one row belongs to each");
            return fault("H", what);
        }
        let what = |size| format!("must be symmetric, positive semidefinite, {size} by {size}");
        if !sized(&self.q, n, n) || !is_covariance(&self.q) {
            return fault("Q", what(n));
        }
        if !sized(&self.r, m, m) || !is_covariance(&self.r) {
            return fault("R", what(m));
        }
        if self.r.iter().enumerate().any(|(i, row)| row.get(i).is_none_or(|r| *r <= 0.0)) {
            return fault("R", "must be positive on its diagonal: every reading has noise".into());
        }
        if !within(&self.f, rate) {
            return fault("F", format!("has an entry beyond ±{rate:e}"));
        }
        if self.step.is_some_and(|step| step <= 0 || self.per_second) {
            return fault(
                "step",
                "and per_second exclude each other: F is one or the other".into(),
            );
        }
        let others = [("H", &self.h), ("Q", &self.q), ("R", &self.r)];
        let (key, _) = others.into_iter().find(|(_, rows)| !within(rows, ENTRY_MAX))?;
        fault(key, format!("has an entry beyond ±{ENTRY_MAX:e}"))
    }
}

impl CustomSettings {
    /// What is wrong with the names of the metrics.
    fn names_fault(&self) -> Option<String> {
        let mut names = std::collections::BTreeSet::new();
        let good = |name: &String| {
            (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.contains(char::is_control)
        };
        if !self.metrics.iter().all(good) {
            return Some(format!("must be names of 1 to {NAME_BYTES_MAX} bytes"));
        }
        let twice = self.metrics.iter().find(|name| !names.insert(name.as_str()))?;
        Some(format!("has {twice:?} twice"))
    }
}

/// Square, symmetric, positive semidefinite up to rounding of decimals.
pub fn is_covariance(rows: &[Vec<f64>]) -> bool {
    let n = rows.len();
    if n == 0 || rows.iter().any(|row| row.len() != n || row.iter().any(|x| !x.is_finite())) {
        return false;
    }
    let diagonal: Vec<f64> = rows.iter().enumerate().map(|(i, row)| row[i]).collect();
    let symmetric = (0..n).all(|i| (0..i).all(|j| rows[i][j] == rows[j][i]));
    if !symmetric || diagonal.iter().any(|d| *d < 0.0) {
        return false;
    }
    // Correlations, so that one tolerance fits every scale; then Gauss elimination.
    let scale = |i: usize, j: usize| (diagonal[i]).sqrt() * (diagonal[j]).sqrt();
    let mut rest = rows.to_vec();
    for (i, row) in rest.iter_mut().enumerate() {
        for (j, x) in row.iter_mut().enumerate() {
            let largest = scale(i, j);
            if largest > 0.0 {
                *x /= largest;
            } else if *x != 0.0 {
                return false;
            }
        }
    }
    const ROUNDING: f64 = 1e-9;
    for k in (0..n).rev() {
        let d = rest[k][k];
        if d < -ROUNDING {
            return false;
        }
        for i in 0..k {
            if d <= ROUNDING {
                if rest[i][k] * rest[i][k] > ROUNDING {
                    return false;
                }
                continue;
            }
            for j in 0..k {
                rest[i][j] -= rest[i][k] * rest[k][j] / d;
            }
        }
    }
    true
}
