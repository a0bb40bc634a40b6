//! Fixed-interval smoothing: what is believed of every time once all readings are known.
//!
//! Rauch, Tung and Striebel (1965), in factors. The joint vector of the state at a time and at the
//! next is reduced by weighted Gram-Schmidt, the later one first; that gives the gain
//! C = P·Fᵀ·(F·P·Fᵀ + Q)⁻¹ without inverting anything, and as what is left over the covariance of
//! the earlier state given the later one. Then
//!
//! x̂ ← x + C·(x̂' − F·x − c),  P̂ ← (covariance of x given x') + C·P̂'·Cᵀ:
//!
//! sums of non-negative matrices, where the usual P + C·(P̂' − P')·Cᵀ takes differences (Bierman
//! 1977, section X.2, has the same reason for his form). While directions are diffuse they are
//! eliminated first, which is the limit of the same step for κ → ∞ (Durbin and Koopman 2012,
//! section 5.3, reach it by power series).

use nalgebra::{SMatrix, SVector};

use super::factors::unless_cancelled;
use super::linear::{Factors, Gaussian, Transition};

/// The state's distribution at each time given all readings. `filtered`: after each reading (or
/// missing one), in order; `transition(i)` leads from `filtered[i]` to the next one.
pub(super) fn smooth<const N: usize>(
    filtered: &[Gaussian<N>],
    transition: impl Fn(usize) -> Transition<N>,
) -> Vec<Gaussian<N>> {
    let mut smoothed: Vec<Gaussian<N>> = Vec::with_capacity(filtered.len());
    for (i, now) in filtered.iter().enumerate().rev() {
        let back = match smoothed.last() {
            None => *now,
            Some(next) => step(now, &transition(i), next),
        };
        smoothed.push(back);
    }
    smoothed.reverse();
    smoothed
}

/// One step back: from `next`, smoothed, to the time of `now`, filtered.
fn step<const N: usize>(
    now: &Gaussian<N>,
    transition: &Transition<N>,
    next: &Gaussian<N>,
) -> Gaussian<N> {
    let Backward { gain, rest, rest_diffuse } = Backward::new(now, transition);
    let predicted = transition.matrix * now.mean + transition.offset;
    let mean = now.mean + gain * (next.mean - predicted);
    let proper = Factors::of_sum(rest.u, &rest.d, gain * next.proper.u, &next.proper.d);
    let unseen = next.diffuse.unwrap_or(Factors::zero());
    let diffuse = Factors::of_sum(rest_diffuse.u, &rest_diffuse.d, gain * unseen.u, &unseen.d);
    Gaussian { mean, proper, diffuse: (!diffuse.is_zero()).then_some(diffuse) }
}

/// The state given the next one: gain·next + what is left.
struct Backward<const N: usize> {
    gain: SMatrix<f64, N, N>,
    rest: Factors<N>,
    rest_diffuse: Factors<N>,
}

/// Rows that make up states from independent parts: the filtered state's P*, its P∞, and Q.
#[derive(Clone, Copy)]
struct Rows<const N: usize> {
    proper: SMatrix<f64, N, N>,
    diffuse: SMatrix<f64, N, N>,
    noise: SMatrix<f64, N, N>,
}

impl<const N: usize> Rows<N> {
    /// Row i of `self` less `times` row j of `other`.
    fn take_off(&mut self, i: usize, times: f64, other: &Rows<N>, j: usize) {
        for k in 0..N {
            self.proper[(i, k)] -= times * other.proper[(j, k)];
            let (mine, off) = (self.diffuse[(i, k)], times * other.diffuse[(j, k)]);
            self.diffuse[(i, k)] = unless_cancelled(mine - off, mine.abs() + off.abs());
            self.noise[(i, k)] -= times * other.noise[(j, k)];
        }
    }
}

impl<const N: usize> Backward<N> {
    fn new(now: &Gaussian<N>, transition: &Transition<N>) -> Self {
        let f = &transition.matrix;
        let unseen = now.diffuse.unwrap_or(Factors::zero());
        let (dp, dz, dq) = (&now.proper.d, &unseen.d, &transition.noise.d);
        let mut top = Rows { proper: now.proper.u, diffuse: unseen.u, noise: SMatrix::zeros() };
        let mut bottom = Rows {
            proper: f * now.proper.u,
            // Whether a direction is there at all must not hang on the last bit.
            diffuse: SMatrix::from_fn(|i, k| {
                let terms = (0..N).map(|j| f[(i, j)] * unseen.u[(j, k)]);
                let (sum, size) = terms.fold((0.0, 0.0), |(s, a), term| (s + term, a + term.abs()));
                unless_cancelled(sum, size)
            }),
            noise: transition.noise.u,
        };
        let infinite = |a: &Rows<N>, i: usize, b: &Rows<N>, j: usize| -> f64 {
            (0..N).map(|k| dz[k] * a.diffuse[(i, k)] * b.diffuse[(j, k)]).sum()
        };
        let finite = |a: &Rows<N>, i: usize, b: &Rows<N>, j: usize| -> f64 {
            let part = |k: usize| {
                dp[k] * a.proper[(i, k)] * b.proper[(j, k)]
                    + dq[k] * a.noise[(i, k)] * b.noise[(j, k)]
            };
            (0..N).map(part).sum()
        };
        // What is left of a row is zero where it is no more than rounding, as in `Factors::of_sum`.
        let rounding = 8.0 * N as f64 * f64::EPSILON;
        let nothing = rounding * rounding;
        let whole: [(f64, f64); N] = std::array::from_fn(|j| {
            (infinite(&bottom, j, &bottom, j), finite(&bottom, j, &bottom, j))
        });
        let whole_top: [f64; N] = std::array::from_fn(|i| infinite(&top, i, &top, i));
        // [x; x'] = [[., U12], [0, U22]]·(independent parts).
        let mut u12 = SMatrix::<f64, N, N>::zeros();
        let mut u22 = SMatrix::<f64, N, N>::identity();
        for j in (0..N).rev() {
            let row = bottom;
            let unbounded = infinite(&row, j, &row, j);
            let bounded = finite(&row, j, &row, j);
            let product: &dyn Fn(&Rows<N>, usize) -> f64 = if unbounded > nothing * whole[j].0 {
                &|rows, i| infinite(rows, i, &row, j) / unbounded
            } else if bounded > nothing * whole[j].1 {
                &|rows, i| finite(rows, i, &row, j) / bounded
            } else {
                continue;
            };
            for i in 0..j {
                let u = product(&bottom, i);
                u22[(i, j)] = u;
                bottom.take_off(i, u, &row, j);
            }
            for i in 0..N {
                let u = product(&top, i);
                u12[(i, j)] = u;
                top.take_off(i, u, &row, j);
            }
        }
        for (i, &whole) in whole_top.iter().enumerate() {
            if infinite(&top, i, &top, i) <= nothing * whole {
                top.diffuse.row_mut(i).fill(0.0);
            }
        }
        // C = U12·U22⁻¹, column by column.
        let mut gain = u12;
        for j in 0..N {
            for k in 0..j {
                let column = gain.column(k) * u22[(k, j)];
                gain.column_mut(j).zip_apply(&column, |g, c| *g -= c);
            }
        }
        Backward {
            gain,
            rest: Factors::of_sum(top.proper, dp, top.noise, dq),
            rest_diffuse: Factors::of_sum(top.diffuse, dz, SMatrix::identity(), &SVector::zeros()),
        }
    }
}
