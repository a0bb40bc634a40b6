use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn time(nanos: i64) -> EventTime {
    EventTime::from_nanos(nanos).unwrap()
}

fn finite(value: f64) -> Finite {
    Finite::new(value).unwrap()
}

/// The aggregate of `values`, one a second.
fn aggregate(values: &[f64]) -> Moments {
    readings(&values.iter().zip(0..).map(|(&x, t)| (t * SECOND, x)).collect::<Vec<_>>())
}

fn readings(readings: &[(i64, f64)]) -> Moments {
    let mut moments = Moments::new(time(readings[0].0), finite(readings[0].1));
    for &(t, x) in &readings[1..] {
        moments.add(time(t), finite(x));
    }
    moments
}

fn golden() -> Vec<(String, Value)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/reference/stats");
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            (path.file_stem().unwrap().to_str().unwrap().to_owned(), text)
        })
        .map(|(name, text)| (name, serde_json::from_str::<Value>(&text).unwrap()))
        .filter(|(_, file)| file["expected"]["count"].is_u64())
        .collect()
}

fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

/// Relative tolerance, or the absolute one where the file gives that.
fn close(what: &str, actual: f64, expected: f64, relative: f64, absolute: f64) {
    let error = (actual - expected).abs();
    assert!(
        error <= relative * expected.abs() + absolute,
        "{what}: {actual:e}, expected {expected:e}, error {error:e}"
    );
}

#[test]
fn golden_files_hold_whole_and_merged() {
    let files = golden();
    assert_eq!(files.len(), 12, "all files about moments are seen");
    for (name, file) in files {
        let x: Vec<f64> =
            file["x"].as_array().unwrap().iter().map(|x| number(x).unwrap()).collect();
        let tolerance = |key: &str| number(&file["tolerance"][key]);
        let mean_rel = tolerance("mean_rel").unwrap_or(1e-15);
        let mean_abs = tolerance("mean_abs").unwrap_or(0.0);
        let var_rel = tolerance("var_rel_stretch_shifted_or_compensated")
            .or(tolerance("var_rel"))
            .unwrap_or(1e-15)
            .min(1e-13);
        let check = |what: &str, m: &Moments, expected: &Value| {
            let what = format!("{name} {what}");
            let field = |key: &str| number(&expected[key]);
            assert_eq!(Some(m.count()), expected["count"].as_u64(), "{what} count");
            assert_eq!(Some(m.min()), field("min"), "{what} min");
            assert_eq!(Some(m.max()), field("max"), "{what} max");
            if let Some(sum) = field("sum") {
                assert_eq!(m.sum(), sum, "{what} sum");
            }
            close(&format!("{what} mean"), m.mean(), field("mean").unwrap(), mean_rel, mean_abs);
            close(&format!("{what} m2"), m.m2(), field("m2_sum_sq_dev").unwrap(), var_rel, 0.0);
            if expected.get("sd_sample").is_some() {
                match (m.stddev(), field("sd_sample")) {
                    (Some(sd), Some(e)) => close(&format!("{what} sd"), sd, e, var_rel, 0.0),
                    (sd, e) => assert_eq!(sd, e, "{what} sd"),
                }
            }
        };
        check("whole", &aggregate(&x), &file["expected"]);

        let Some(splits) = file["merge_splits"].as_array() else { continue };
        let mut bounds = vec![0];
        bounds.extend(splits.iter().map(|s| s.as_u64().unwrap() as usize));
        bounds.push(x.len());
        let timed: Vec<_> = x.iter().zip(0..).map(|(&x, t)| (t * SECOND, x)).collect();
        let parts: Vec<Moments> = bounds.windows(2).map(|w| readings(&timed[w[0]..w[1]])).collect();
        for (i, (part, expected)) in parts.iter().zip(file["parts"].as_array().unwrap()).enumerate()
        {
            check(&format!("part {i}"), part, expected);
        }
        let fold = |parts: &mut dyn Iterator<Item = &Moments>| {
            let mut merged = parts.next().unwrap().clone();
            parts.for_each(|part| merged.merge(part));
            merged
        };
        check("merged", &fold(&mut parts.iter()), &file["expected"]);
        check("merged backwards", &fold(&mut parts.iter().rev()), &file["expected"]);
    }
}

#[test]
fn a_first_reading_far_off_costs_no_precision() {
    // Plain shifting by the first reading would leave nothing of the spread.
    let mut values = vec![1e12];
    values.extend((0..1000).map(|i| 20.0 + f64::from(i % 2)));
    let whole = aggregate(&values);
    let mut exact = aggregate(&values[1..]);
    close("without", exact.m2(), 250.0, 1e-15, 0.0);
    // Then the outlier comes last in arrival, yet first in time.
    exact.merge(&Moments::new(time(-SECOND), finite(1e12)));
    close("order", whole.m2(), exact.m2(), 1e-15, 0.0);
    // Taken out again by algebra: n1·n2/n·(mean difference)² is what the outlier adds.
    let added = 1000.0 / 1001.0 * (1e12 - 20.5) * (1e12 - 20.5);
    close("with", whole.m2(), added + 250.0, 1e-15, 0.0);
}

#[test]
fn deviations_that_no_float_holds_are_not_rounded() {
    // Σ(x − first)² is n times as large as m2, and so would be the rounding of x − first.
    let (first, rest, n) = (1e6 / 3.0, 0.1, 100_000);
    let mut m = Moments::new(time(0), finite(first));
    (1..n).for_each(|t| m.add(time(t), finite(rest)));
    let n = n as f64;
    close("m2", m.m2(), (n - 1.0) / n * (first - rest) * (first - rest), 1e-15, 0.0);
}

#[test]
fn ends_go_by_time_then_value_not_by_arrival() {
    let m = readings(&[(5, 3.0), (9, 1.0), (5, 2.0), (9, 4.0), (7, 100.0), (5, 2.5), (9, 2.0)]);
    assert_eq!((m.first_time().nanos(), m.first()), (5, 2.0));
    assert_eq!((m.last_time().nanos(), m.last()), (9, 4.0));
    assert_eq!((m.min(), m.max(), m.count(), m.sum()), (1.0, 100.0, 7, 114.5));
}

#[test]
fn cover_and_outliers_add_up_exactly() {
    let mut a = aggregate(&[1.0]);
    let mut b = aggregate(&[2.0]);
    for _ in 0..10 {
        a.cover(100_000_000);
    }
    b.cover(8_200_000_000);
    b.count_outlier();
    a.merge(&b);
    assert_eq!((a.covered_s(), a.outliers()), (9.2, 1));
}

#[test]
fn extreme_readings_stay_finite() {
    let huge = f64::MAX;
    for values in [
        &[1e300, 1e300, 1e300][..],
        &[1e300, -1e300, 1e300, 1.0],
        &[huge, huge, -huge, -huge, -huge],
        &[-huge, -huge],
        &[huge, 0.0, -huge],
        &[1.0, huge, -huge],
        &[5e-324, -5e-324, 0.0],
        &[1e154, 2e154, -3e154],
    ] {
        for forward in [true, false] {
            let mut m = Moments::new(time(0), finite(values[0]));
            let mut merged = m.clone();
            for (i, &x) in values.iter().enumerate().skip(1) {
                let t = if forward { i as i64 } else { -(i as i64) };
                m.add(time(t), finite(x));
                merged.merge(&Moments::new(time(t), finite(x)));
            }
            for m in [&m, &merged] {
                let numbers = [m.sum(), m.mean(), m.m2(), m.stddev().unwrap()];
                assert!(numbers.iter().all(|x| x.is_finite()), "{values:?}: {m:?} {numbers:?}");
                assert!(m.m2() >= 0.0 && m.min() <= m.mean() && m.mean() <= m.max(), "{m:?}");
                let bytes = serde_cbor::to_vec(m).unwrap();
                assert_eq!(&crate::cbor::from_slice::<Moments>(&bytes).unwrap(), m);
            }
        }
    }
    let constant = aggregate(&[1e300; 50]);
    assert_eq!((constant.m2(), constant.mean(), constant.sum()), (0.0, 1e300, 5e301));
    // One off by a unit in the last place, far beyond where factors can be split: the exact m2 is
    // u²·49/50, which overflows the float range, and so stays at its end.
    let mut values = [1e300; 50];
    values[49] = 1e300 * (1.0 + f64::EPSILON);
    assert_eq!(aggregate(&values).m2(), f64::MAX);
    // A saturated sum stays so, rather than coming back wrong.
    assert_eq!(aggregate(&[huge, huge, -huge]).sum(), huge);
    // A sum that does not overflow is not disturbed by m2 that does.
    assert_eq!(aggregate(&[1e300, 7.0, -1e300]).sum(), 7.0);
}

#[test]
fn stored_form_is_compact_and_refuses_nonsense() {
    let m = aggregate(&(0..1000).map(|i| 20.0 + f64::from(i) * 0.137).collect::<Vec<_>>());
    let bytes = serde_cbor::to_vec(&m).unwrap();
    assert!(bytes.len() <= 120, "{} bytes", bytes.len());
    let good = serde_json::to_value(&m).unwrap();
    assert_eq!(serde_json::from_value::<Moments>(good.clone()).unwrap(), m);
    for (key, bad) in [
        ("n", Value::from(0)),
        ("q", Value::from(-1.0)),
        ("lo", Value::from(1e9)),
        ("f", Value::from(-1e9)),
        ("ft", Value::from(i64::MAX)),
        ("lt", Value::from(-1)),
        ("x", Value::from(1)),
    ] {
        let mut value = good.clone();
        value[key] = bad;
        assert!(serde_json::from_value::<Moments>(value).is_err(), "{key}");
    }
    let nan = serde_cbor::to_vec(
        &serde_cbor::value::to_value(&m)
            .map(|v| {
                let serde_cbor::Value::Map(mut map) = v else { panic!("a map") };
                map.insert(serde_cbor::Value::Text("s".into()), serde_cbor::Value::Float(f64::NAN));
                map
            })
            .unwrap(),
    )
    .unwrap();
    assert!(crate::cbor::from_slice::<Moments>(&nan).is_err());
}

/// Splits and merges `parts` in a tree that `choices` shape.
fn merge_tree(mut parts: Vec<Moments>, choices: &[usize]) -> Moments {
    let mut choices = choices.iter().cycle();
    while parts.len() > 1 {
        let taken = parts.swap_remove(choices.next().unwrap() % parts.len());
        let into = choices.next().unwrap() % parts.len();
        parts[into].merge(&taken);
    }
    parts.pop().unwrap()
}

/// Multiples of 2⁻³⁰ in every magnitude: their sums are exact in `i128`, and so is the rounding.
fn dyadic() -> impl Strategy<Value = i64> {
    (any::<i64>(), 11u32..63).prop_map(|(bits, shift)| (bits >> 11) >> (shift - 11))
}

/// Rounds `n`·2⁻³⁰ to the nearest float; `as` rounds to nearest, ties to even.
fn scaled(n: i128) -> f64 {
    n as f64 / f64::from(1 << 30)
}

proptest! {
    #[test]
    fn order_and_merge_tree_do_not_matter(
        values in prop::collection::vec((dyadic(), -50i64..50), 1..120),
        shuffled in any::<prop::sample::Index>(),
        cuts in prop::collection::vec(1usize..9, 1..40),
        choices in prop::collection::vec(any::<usize>(), 8),
    ) {
        let exact_sum: i128 = values.iter().map(|&(n, _)| i128::from(n)).sum();
        let list: Vec<(i64, f64)> = values.iter().map(|&(n, t)| (t, scaled(n.into()))).collect();
        let one = readings(&list);

        let mut other_order = list.clone();
        other_order.rotate_left(shuffled.index(list.len()));
        other_order.reverse();
        let other = readings(&other_order);

        let mut rest = &list[..];
        let mut parts = Vec::new();
        for &cut in cuts.iter().cycle() {
            if rest.is_empty() { break; }
            let (part, tail) = rest.split_at(cut.min(rest.len()));
            parts.push(readings(part));
            rest = tail;
        }
        let merged = merge_tree(parts, &choices);

        let n = list.len() as i128;
        // n²·m2 = n·Σx² − (Σx)², as whole numbers; 2^52 · 2^52 · 120² fits.
        let squares: i128 = values.iter().map(|&(x, _)| i128::from(x) * i128::from(x)).sum();
        let m2 = (n * squares - exact_sum * exact_sum) as f64 / n as f64
            / f64::from(1 << 30) / f64::from(1 << 30);
        let mean = exact_sum as f64 / n as f64 / f64::from(1 << 30);
        let mut sorted: Vec<(i64, f64)> = list.clone();
        sorted.sort_by(|a, b| a.partial_cmp(b).unwrap());
        let ends = (sorted[0], sorted[sorted.len() - 1]);
        for m in [&one, &other, &merged] {
            prop_assert_eq!(m.count(), list.len() as u64);
            prop_assert_eq!(m.sum(), scaled(exact_sum));
            prop_assert_eq!(m.min(), list.iter().map(|r| r.1).fold(f64::MAX, f64::min));
            prop_assert_eq!(m.max(), list.iter().map(|r| r.1).fold(f64::MIN, f64::max));
            prop_assert_eq!(
                ((m.first_time().nanos(), m.first()), (m.last_time().nanos(), m.last())), ends
            );
            prop_assert!((m.mean() - mean).abs() <= 4e-16 * mean.abs(), "{} {}", m.mean(), mean);
            prop_assert!((m.m2() - m2).abs() <= 1e-15 * m2, "{} {}", m.m2(), m2);
        }
    }

    #[test]
    fn nothing_is_ever_infinite_or_nan(
        values in prop::collection::vec(
            (any::<f64>().prop_filter("finite", |x| x.is_finite()), -9i64..9), 2..20),
        cut in any::<prop::sample::Index>(),
    ) {
        let list: Vec<(i64, f64)> = values.iter().map(|&(x, t)| (t, x)).collect();
        let whole = readings(&list);
        let (left, right) = list.split_at(1 + cut.index(list.len() - 1));
        let mut merged = readings(left);
        merged.merge(&readings(right));
        for m in [&whole, &merged] {
            for x in [m.sum(), m.mean(), m.m2(), m.stddev().unwrap()] {
                prop_assert!(x.is_finite(), "{:?}", m);
            }
            prop_assert!(m.m2() >= 0.0);
        }
        prop_assert_eq!(whole.sum.is_saturated() , merged.sum.is_saturated());
    }
}
