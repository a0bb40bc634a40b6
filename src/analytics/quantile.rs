//! Quantiles of the normal and the chi-square distribution, for gates and intervals.
//!
//! Pure; transcendental functions from `libm`, so every target gives the same bits.

use libm::{exp, fabs, lgamma, log, log1p};

/// Horner's rule: `coefficients` from the constant term upwards.
fn polynomial(coefficients: [f64; 8], x: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |sum, c| sum * x + c)
}

/// The `p` quantile of the standard normal distribution; relative error about 1e-15.
///
/// `p` in [0, 1]; 0 and 1 give the infinities, anything outside NaN.
/// Source: Wichura (1988), "Algorithm AS 241: The percentage points of the normal distribution",
/// Applied Statistics 37(3), 477–484, routine PPND16.
pub fn normal_quantile(p: f64) -> f64 {
    if p.is_nan() || !(0.0..=1.0).contains(&p) {
        return f64::NAN;
    }
    let q = p - 0.5;
    if fabs(q) <= 0.425 {
        let r = 0.180625 - q * q;
        return q * polynomial(A, r) / polynomial(B, r);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    if tail == 0.0 {
        return if q < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY };
    }
    let r = (-log(tail)).sqrt();
    let z = if r <= 5.0 {
        polynomial(C, r - 1.6) / polynomial(D, r - 1.6)
    } else {
        polynomial(E, r - 5.0) / polynomial(F, r - 5.0)
    };
    if q < 0.0 { -z } else { z }
}

/// The `p` quantile of the chi-square distribution with `dof` degrees of freedom (1 or more);
/// relative error below 1e-12 for `p` from 1e-12 to 1 − 1e-12 and up to 1,000 degrees.
///
/// `p` in [0, 1]; 0 gives 0, 1 infinity, anything outside, or no degrees of freedom, NaN.
/// Solves P(dof/2, x/2) = p by Newton's method inside a shrinking bracket, from the
/// approximation of Wilson and Hilferty (1931). P, the regularised incomplete gamma function:
/// Abramowitz and Stegun (1964), 6.5.29 (series) and 6.5.31 (continued fraction).
pub fn chi_square_quantile(p: f64, dof: u32) -> f64 {
    if p.is_nan() || !(0.0..=1.0).contains(&p) || dof == 0 {
        return f64::NAN;
    }
    if p == 0.0 {
        return 0.0;
    }
    if p == 1.0 {
        return f64::INFINITY;
    }
    if dof == 2 {
        return -2.0 * log1p(-p);
    }
    let shape = f64::from(dof) / 2.0;
    // Wilson–Hilferty; where it goes negative (small p), the first term of the series instead.
    let ninth = 2.0 / (9.0 * f64::from(dof));
    let cube_root = 1.0 - ninth + normal_quantile(p) * ninth.sqrt();
    let mut x = f64::from(dof) * cube_root * cube_root * cube_root / 2.0;
    if cube_root < 0.2 {
        x = exp((log(p) + lgamma(shape + 1.0)) / shape);
    }
    let (mut low, mut high) = (0.0, f64::INFINITY);
    // Newton doubles the digits each time; a bisection step needs more rounds.
    for _ in 0..200 {
        let excess = gamma_excess(shape, x, p);
        if excess > 0.0 {
            high = x;
        } else {
            low = x;
        }
        let density = exp((shape - 1.0) * log(x) - x - lgamma(shape));
        let mut next = x - excess / density;
        if !(next > low && next < high) {
            next = if high.is_finite() { (low + high) / 2.0 } else { 2.0 * x };
        }
        let moved = fabs(next - x);
        x = next;
        if moved <= 4.0 * f64::EPSILON * x {
            break;
        }
    }
    2.0 * x
}

/// The probability that a chi-square variable of `dof` degrees of freedom (1 or more) exceeds `x`;
/// 0 where that is below the smallest number.
///
/// Abramowitz and Stegun (1964), 26.4.19 with 6.5.29 and 6.5.31.
pub fn chi_square_tail(x: f64, dof: u32) -> f64 {
    if x.is_nan() || dof == 0 {
        return f64::NAN;
    }
    if x <= 0.0 {
        return 1.0;
    }
    // Beyond it exp(−x/2) is 0 for any number of degrees of use here, and a sum of terms of it nothing.
    if x > 1e5 {
        return 0.0;
    }
    (-gamma_excess(f64::from(dof) / 2.0, x / 2.0, 1.0)).clamp(0.0, 1.0)
}

/// P(`shape`, `x`) − `p`, computed on the side (P or 1 − P) where no digits cancel.
fn gamma_excess(shape: f64, x: f64, p: f64) -> f64 {
    let front = exp(shape * log(x) - x - lgamma(shape));
    if x < shape + 1.0 {
        let mut term = 1.0 / shape;
        let mut sum = term;
        let mut n = shape;
        while term > sum * f64::EPSILON / 4.0 {
            n += 1.0;
            term *= x / n;
            sum += term;
        }
        front * sum - p
    } else {
        // Lentz's evaluation of the continued fraction of the upper function.
        let tiny = 1e-300;
        let mut b = x + 1.0 - shape;
        let mut c = 1.0 / tiny;
        let mut d = 1.0 / b;
        let mut fraction = d;
        for i in 1..10_000 {
            let i = f64::from(i);
            let a = -i * (i - shape);
            b += 2.0;
            d = a * d + b;
            if fabs(d) < tiny {
                d = tiny;
            }
            c = b + a / c;
            if fabs(c) < tiny {
                c = tiny;
            }
            d = 1.0 / d;
            let factor = d * c;
            fraction *= factor;
            if fabs(factor - 1.0) < f64::EPSILON {
                break;
            }
        }
        (1.0 - p) - front * fraction
    }
}

// Coefficients of AS 241, PPND16.
const A: [f64; 8] = [
    3.387_132_872_796_366_5,
    1.331_416_678_917_843_8e2,
    1.971_590_950_306_551_3e3,
    1.373_169_376_550_946e4,
    4.592_195_393_154_987e4,
    6.726_577_092_700_87e4,
    3.343_057_558_358_813e4,
    2.509_080_928_730_122_7e3,
];
const B: [f64; 8] = [
    1.0,
    4.231_333_070_160_091e1,
    6.871_870_074_920_579e2,
    5.394_196_021_424_751e3,
    2.121_379_430_158_659_7e4,
    3.930_789_580_009_271e4,
    2.872_908_573_572_194_3e4,
    5.226_495_278_852_854e3,
];
const C: [f64; 8] = [
    1.423_437_110_749_683_5,
    4.630_337_846_156_546,
    5.769_497_221_460_691,
    3.647_848_324_763_204_5,
    1.270_458_252_452_368_4,
    2.417_807_251_774_506e-1,
    2.272_384_498_926_918_4e-2,
    7.745_450_142_783_414e-4,
];
const D: [f64; 8] = [
    1.0,
    2.053_191_626_637_759,
    1.676_384_830_183_803_8,
    6.897_673_349_851e-1,
    1.481_039_764_274_800_8e-1,
    1.519_866_656_361_645_7e-2,
    5.475_938_084_995_345e-4,
    1.050_750_071_644_416_9e-9,
];
const E: [f64; 8] = [
    6.657_904_643_501_103,
    5.463_784_911_164_114,
    1.784_826_539_917_291_3,
    2.965_605_718_285_048_7e-1,
    2.653_218_952_657_612_4e-2,
    1.242_660_947_388_078_4e-3,
    2.711_555_568_743_487_6e-5,
    2.010_334_399_292_288_1e-7,
];
const F: [f64; 8] = [
    1.0,
    5.998_322_065_558_88e-1,
    1.369_298_809_227_358e-1,
    1.487_536_129_085_061_5e-2,
    7.868_691_311_456_133e-4,
    1.846_318_317_510_054_8e-5,
    1.421_511_758_316_446e-7,
    2.044_263_103_389_939_8e-15,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn reference() -> serde_json::Value {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/reference/kalman/quantiles.json");
        let text = std::fs::read_to_string(path).expect(path);
        serde_json::from_str(&text).expect(path)
    }

    #[track_caller]
    fn check(actual: f64, expected: f64, what: &str) {
        let error = fabs(actual - expected);
        assert!(error <= 1e-10 * fabs(expected), "{what}: {actual}, not {expected}");
    }

    #[test]
    fn quantiles_match_the_reference() {
        let reference = reference();
        let mut checked = 0;
        for (p, expected) in reference["normal"].as_object().unwrap() {
            let (p, expected) = (p.parse().unwrap(), expected.as_f64().unwrap());
            check(normal_quantile(p), expected, &format!("normal({p})"));
            check(normal_quantile(1.0 - p), -normal_quantile(p), "symmetry");
            checked += 1;
        }
        for (dof, row) in reference["chi2"].as_object().unwrap() {
            let dof = dof.parse().unwrap();
            for (p, expected) in row.as_object().unwrap() {
                let (p, expected) = (p.parse().unwrap(), expected.as_f64().unwrap());
                check(chi_square_quantile(p, dof), expected, &format!("chi2({p}, {dof})"));
                checked += 1;
            }
        }
        assert!(checked > 70, "only {checked} quantiles in the file");
    }

    #[test]
    fn one_degree_is_the_square_of_the_normal() {
        for p in [1e-3, 0.1, 0.5, 0.9, 0.9999, 1.0 - 1e-12] {
            let z = normal_quantile((1.0 - p) / 2.0);
            let chi = chi_square_quantile(p, 1);
            assert!(fabs(chi - z * z) <= 1e-9 * chi, "{p}: {chi}, not {}", z * z);
        }
    }

    #[test]
    fn quantiles_rise_with_the_probability() {
        for dof in [1, 3, 8, 30, 1000] {
            let mut last = 0.0;
            for i in 0..2000 {
                let p = (f64::from(i) + 0.5) / 2000.0;
                let x = chi_square_quantile(p, dof);
                assert!(x > last && x.is_finite(), "chi2({p}, {dof}) = {x} after {last}");
                last = x;
            }
            assert!(chi_square_quantile(1e-12, dof) > 0.0);
        }
    }

    #[test]
    fn ends_and_outside() {
        assert_eq!(normal_quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(normal_quantile(1.0), f64::INFINITY);
        assert!(normal_quantile(1.5).is_nan() && normal_quantile(f64::NAN).is_nan());
        assert_eq!(chi_square_quantile(0.0, 3), 0.0);
        assert_eq!(chi_square_quantile(1.0, 3), f64::INFINITY);
        assert!(chi_square_quantile(-0.1, 3).is_nan() && chi_square_quantile(0.5, 0).is_nan());
    }
}
