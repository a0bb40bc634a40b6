//! Minimum of a function of up to [`DIMENSIONS_MAX`] numbers, without derivatives.
//!
//! Pure. Nelder and Mead (1965), "A simplex method for function minimization", Computer Journal 7,
//! with the usual coefficients (reflection 1, expansion 2, contraction ½, shrinkage ½); the steps
//! are those of Lagarias, Reeds, Wright and Wright (1998), SIAM Journal on Optimization 9.

/// Most numbers searched over.
pub(super) const DIMENSIONS_MAX: usize = 3;

/// A point; only the first `dimensions` numbers count.
pub(super) type Point = [f64; DIMENSIONS_MAX];

/// Where and how long to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// 1 to [`DIMENSIONS_MAX`].
    pub dimensions: usize,
    /// Extent of the first simplex.
    pub extent: f64,
    /// It ends when the simplex' values differ by no more,
    pub tolerance: f64,
    /// or after so many evaluations, within one round.
    pub evaluations: usize,
}

impl Search {
    /// The best point found and its value, never worse than `start`. Values that are not numbers
    /// count as infinite.
    pub fn minimise(&self, start: Point, function: impl Fn(&Point) -> f64) -> (Point, f64) {
        let n = self.dimensions.clamp(1, DIMENSIONS_MAX);
        let value = |point: Point| {
            let value = function(&point);
            (point, if value.is_nan() { f64::INFINITY } else { value })
        };
        let mut simplex = [value(start); DIMENSIONS_MAX + 1];
        let simplex = &mut simplex[..=n];
        for (i, vertex) in simplex.iter_mut().enumerate().skip(1) {
            let mut point = start;
            point[i - 1] += self.extent;
            *vertex = value(point);
        }
        let mut evaluations = n + 1;
        loop {
            simplex.sort_by(|a, b| a.1.total_cmp(&b.1));
            let (best, second_worst, worst) = (simplex[0], simplex[n - 1], simplex[n]);
            // Not a number where all are infinite.
            let spread = worst.1 - best.1;
            let settled = spread <= self.tolerance || spread.is_nan();
            if settled || evaluations >= self.evaluations {
                return best;
            }
            let mut centre = [0.0; DIMENSIONS_MAX];
            for (point, _) in &simplex[..n] {
                for (c, p) in centre.iter_mut().zip(point) {
                    *c += p / n as f64;
                }
            }
            let along = |t: f64| std::array::from_fn(|i| centre[i] + t * (worst.0[i] - centre[i]));
            let reflected = value(along(-1.0));
            evaluations += 1;
            if reflected.1 < best.1 {
                let expanded = value(along(-2.0));
                evaluations += 1;
                simplex[n] = if expanded.1 < reflected.1 { expanded } else { reflected };
                continue;
            }
            if reflected.1 < second_worst.1 {
                simplex[n] = reflected;
                continue;
            }
            let outside = reflected.1 < worst.1;
            let contracted = value(along(if outside { -0.5 } else { 0.5 }));
            evaluations += 1;
            if contracted.1 < worst.1.min(reflected.1) {
                simplex[n] = contracted;
                continue;
            }
            for vertex in &mut simplex[1..] {
                *vertex = value(std::array::from_fn(|i| (best.0[i] + vertex.0[i]) / 2.0));
            }
            evaluations += n;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(dimensions: usize) -> Search {
        Search { dimensions, extent: 1.0, tolerance: 1e-14, evaluations: 2000 }
    }

    #[test]
    fn finds_known_minima() {
        // Rosenbrock (1960): a curved valley, minimum 0 at (1, 1).
        let rosenbrock = |p: &Point| {
            let (a, b) = (1.0 - p[0], p[1] - p[0] * p[0]);
            a * a + 100.0 * b * b
        };
        let (at, least) = search(2).minimise([-1.2, 1.0, 0.0], rosenbrock);
        assert!((at[0] - 1.0).abs() < 1e-5 && (at[1] - 1.0).abs() < 1e-5, "{at:?}: {least}");
        let (at, _) = search(1).minimise([5.0, 0.0, 0.0], |p| (p[0] + 3.0) * (p[0] + 3.0));
        assert!((at[0] + 3.0).abs() < 1e-6, "{at:?}");
        let bowl = |p: &Point| p.iter().zip([1.0, -2.0, 3.0]).map(|(x, m)| (x - m) * (x - m)).sum();
        let (at, _) = search(3).minimise([0.0; 3], bowl);
        assert!(at.iter().zip([1.0, -2.0, 3.0]).all(|(x, m)| (x - m).abs() < 1e-5), "{at:?}");
    }

    #[test]
    fn ends_whatever_the_function() {
        for value in [f64::NAN, f64::INFINITY, 0.0] {
            let (at, _) = search(2).minimise([1.0, 2.0, 0.0], |_| value);
            assert_eq!(at[..2], [1.0, 2.0]);
        }
        let count = std::cell::Cell::new(0);
        let endless = |p: &Point| {
            count.set(count.get() + 1);
            -p[0]
        };
        Search { evaluations: 30, ..search(1) }.minimise([0.0; 3], endless);
        assert!((30..34).contains(&count.get()), "{}", count.get());
    }
}
