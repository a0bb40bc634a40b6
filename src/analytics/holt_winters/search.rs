//! Bounded minimisation: Nelder and Mead's simplex in a box.
//!
//! Pure and bounded: a fixed number of calls at most, no randomness, the same bits for the same
//! function. Source: J. A. Nelder, R. Mead, A simplex method for function minimization, The Computer
//! Journal 7 (1965) 308–313, with the usual coefficients (1, 2, 1/2, 1/2); points outside the
//! box are moved to its border (M. J. Box, The Computer Journal 8 (1965) 42–52).

/// A box of `N` bounded numbers: lower and upper ends.
pub(super) type Bounds<const N: usize> = [(f64, f64); N];

/// Size of a simplex below which it has arrived, as a share of the box.
const ARRIVED: f64 = 1e-4;

/// The smallest value found of `cost` in the box, and where. Each start gets a simplex of its own and
/// up to `calls` calls; the best of them is taken up once more with a fresh, smaller simplex,
/// because simplices degenerate at borders. A cost that is NaN counts as infinite.
///
/// Coordinates with equal ends are held and cost nothing.
pub(super) fn minimise<const N: usize>(
    bounds: &Bounds<N>,
    starts: &[[f64; N]],
    calls: usize,
    mut cost: impl FnMut(&[f64; N]) -> f64,
) -> ([f64; N], f64) {
    let free = bounds.map(|(low, high)| high > low);
    let mut best = (bounds.map(|(low, _)| low), f64::INFINITY);
    for start in starts {
        let found = simplex(bounds, &free, start, 0.25, calls, &mut cost);
        if found.1 < best.1 {
            best = found;
        }
    }
    let again = simplex(bounds, &free, &best.0, 0.1, calls, &mut cost);
    if again.1 < best.1 { again } else { best }
}

type Vertex<const N: usize> = ([f64; N], f64);

fn simplex<const N: usize>(
    bounds: &Bounds<N>,
    free: &[bool; N],
    start: &[f64; N],
    size: f64,
    calls: usize,
    cost: &mut impl FnMut(&[f64; N]) -> f64,
) -> Vertex<N> {
    let mut spent = 0;
    let mut evaluate = |point: [f64; N]| -> Vertex<N> {
        let mut point = point;
        for (x, (low, high)) in point.iter_mut().zip(bounds) {
            *x = x.max(*low).min(*high);
        }
        spent += 1;
        let value = cost(&point);
        (point, if value.is_nan() { f64::INFINITY } else { value })
    };
    let first = evaluate(*start);
    let mut vertices: Vec<Vertex<N>> = vec![first];
    for i in (0..N).filter(|&i| free[i]) {
        let (low, high) = bounds[i];
        let mut point = first.0;
        let step = size * (high - low);
        // Into the box, whichever side has the room.
        point[i] += if point[i] + step <= high { step } else { -step };
        vertices.push(evaluate(point));
    }
    let last = vertices.len() - 1;
    if last == 0 {
        return first;
    }
    // Every round takes at most two calls, or one for each vertex when it shrinks.
    for _ in 0..calls.saturating_sub(last + 1) / 2 {
        vertices.sort_by(|a, b| a.1.total_cmp(&b.1));
        let best = vertices[0];
        if extent(bounds, &vertices) < ARRIVED {
            break;
        }
        let worst = vertices[last];
        let mut centre = [0.0; N];
        for (point, _) in &vertices[..last] {
            for (c, x) in centre.iter_mut().zip(point) {
                *c += x / last as f64;
            }
        }
        let along = |t: f64| -> [f64; N] {
            let mut point = centre;
            for (x, w) in point.iter_mut().zip(&worst.0) {
                *x += t * (*x - w);
            }
            point
        };
        let reflected = evaluate(along(1.0));
        if reflected.1 < best.1 {
            let expanded = evaluate(along(2.0));
            vertices[last] = if expanded.1 < reflected.1 { expanded } else { reflected };
        } else if reflected.1 < vertices[last - 1].1 {
            vertices[last] = reflected;
        } else {
            let contracted = evaluate(along(if reflected.1 < worst.1 { 0.5 } else { -0.5 }));
            if contracted.1 < worst.1.min(reflected.1) {
                vertices[last] = contracted;
            } else {
                for vertex in &mut vertices[1..] {
                    let mut point = vertex.0;
                    for (x, b) in point.iter_mut().zip(&best.0) {
                        *x = 0.5 * (*x + b);
                    }
                    *vertex = evaluate(point);
                }
            }
        }
    }
    vertices.into_iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or(first)
}

/// The widest side of the simplex, as a share of the box's.
fn extent<const N: usize>(bounds: &Bounds<N>, vertices: &[Vertex<N>]) -> f64 {
    let side = |i: usize| {
        let (low, high) = bounds[i];
        let ends = vertices
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v.0[i]), b.max(v.0[i])));
        if high > low { (ends.1 - ends.0) / (high - low) } else { 0.0 }
    };
    (0..N).map(side).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rosenbrock's valley, its minimum inside and outside the box.
    #[test]
    fn a_curved_valley_is_followed_to_its_end() {
        let cost = |x: &[f64; 2]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            a * a + 100.0 * b * b
        };
        let (at, value) = minimise(&[(-2.0, 2.0), (-1.0, 3.0)], &[[-1.2, 1.0]], 400, cost);
        assert!(value < 1e-6 && (at[0] - 1.0).abs() < 1e-2, "{at:?} {value}");
        let (at, value) = minimise(&[(-2.0, 0.5), (-1.0, 3.0)], &[[-1.2, 1.0]], 400, cost);
        assert!((value - 0.25).abs() < 1e-6 && at[0] == 0.5, "{at:?} {value}");
    }

    #[test]
    fn calls_are_bounded_and_held_coordinates_stay() {
        let mut calls = 0;
        let (at, _) =
            minimise(&[(0.0, 1.0), (0.3, 0.3), (0.0, 1.0)], &[[0.5, 0.3, 0.5]], 60, |x| {
                calls += 1;
                libm::sin(50.0 * x[0]) * libm::cos(31.0 * x[2])
            });
        assert_eq!(at[1], 0.3);
        assert!(calls <= 2 * 62, "{calls}");
        // Nothing but NaN is no reason to fall over.
        let (_, value) = minimise(&[(0.0, 1.0)], &[[0.5]], 60, |_| f64::NAN);
        assert_eq!(value, f64::INFINITY);
    }
}
