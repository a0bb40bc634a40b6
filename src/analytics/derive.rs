//! Metrics computed from others: an expression, and the join of its inputs by event time.
//!
//! Pure. A row of the [`join`](super::join) is evaluated when it leaves; an input without a reading
//! of its time stands with its last value, if that is not too old.

use exmex::{Express, FlatEx};
use serde::{Deserialize, Serialize};

use super::join::{Join, Row};
use super::settings::DeriveSettings;
use crate::reading::{AttendedTime, EventTime, Finite};

/// Most inputs of an expression.
pub const INPUTS_MAX: usize = 16;
/// Longest expression, in bytes.
pub const EXPRESSION_BYTES_MAX: usize = 1024;

/// What an expression may use.
mod operators {
    use exmex::{BinOp, MakeOperators, Operator, ops_factory};

    const fn infix(apply: fn(f64, f64) -> f64, prio: i64) -> BinOp<f64> {
        // Never reordered: the bits are those of the expression as it is written.
        BinOp { apply, prio, is_commutative: false }
    }

    fn truth(holds: bool) -> f64 {
        f64::from(u8::from(holds))
    }

    // Functions whose bits depend on the platform come from `libm`.
    ops_factory!(
        Operators,
        f64,
        Operator::make_bin("<", infix(|a, b| truth(a < b), 0)),
        Operator::make_bin("<=", infix(|a, b| truth(a <= b), 0)),
        Operator::make_bin(">", infix(|a, b| truth(a > b), 0)),
        Operator::make_bin(">=", infix(|a, b| truth(a >= b), 0)),
        Operator::make_bin("==", infix(|a, b| truth(a == b), 0)),
        Operator::make_bin("!=", infix(|a, b| truth(a != b), 0)),
        Operator::make_bin_unary("+", infix(|a, b| a + b, 1), |a| a),
        Operator::make_bin_unary("-", infix(|a, b| a - b, 1), |a| -a),
        Operator::make_bin("*", infix(|a, b| a * b, 2)),
        Operator::make_bin("/", infix(|a, b| a / b, 2)),
        Operator::make_bin("^", infix(libm::pow, 3)),
        Operator::make_bin("min", infix(f64::min, 4)),
        Operator::make_bin("max", infix(f64::max, 4)),
        Operator::make_unary("abs", f64::abs),
        Operator::make_unary("sqrt", f64::sqrt),
        Operator::make_unary("floor", f64::floor),
        Operator::make_unary("ceil", f64::ceil),
        Operator::make_unary("round", f64::round),
        Operator::make_unary("exp", libm::exp),
        Operator::make_unary("ln", libm::log),
        Operator::make_unary("log10", libm::log10),
        Operator::make_unary("sin", libm::sin),
        Operator::make_unary("cos", libm::cos),
        Operator::make_unary("tan", libm::tan),
        Operator::make_unary("atan", libm::atan),
        Operator::make_constant("PI", std::f64::consts::PI)
    );
}
use operators::Operators;

/// An expression over metrics of one device.
#[derive(Clone, Debug)]
pub struct Expression(FlatEx<f64, Operators>);

impl Expression {
    /// Reads an expression such as `voltage * current` or `{supply temp} - {return temp}`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Expression, String> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("is longer than {EXPRESSION_BYTES_MAX} bytes"));
        }
        // Without folding of constants, which is free to choose an order.
        let expression = FlatEx::parse_wo_compile(text).map_err(|error| {
            let error = error.msg();
            if !text.contains(',') {
                return error.to_owned();
            }
            format!("{error}; what takes two values stands between them, as in `a max (b min 3)`")
        })?;
        match expression.var_names().len() {
            0 => Err("names no metric".to_owned()),
            1..=INPUTS_MAX => Ok(Expression(expression)),
            _ => Err(format!("names more than {INPUTS_MAX} metrics")),
        }
    }

    /// The metrics that it names, sorted.
    pub fn inputs(&self) -> &[String] {
        self.0.var_names()
    }

    /// Its value; `inputs` in the order of [`inputs`](Self::inputs). `None`: not finite.
    fn value(&self, inputs: &[f64]) -> Option<Finite> {
        self.0.eval(inputs).ok().and_then(Finite::new)
    }
}

/// Settings and what is computed from them once.
#[derive(Clone, Debug)]
pub struct DerivePlan {
    /// The settings.
    pub settings: DeriveSettings,
    expression: Expression,
}

impl DerivePlan {
    /// `None`: the expression cannot be read (the configuration refuses that).
    pub fn new(settings: &DeriveSettings) -> Option<DerivePlan> {
        let expression = Expression::parse(&settings.expression).ok()?;
        Some(DerivePlan { settings: settings.clone(), expression })
    }
}

/// The state of the join.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Derived {
    #[serde(flatten)]
    join: Join,
    /// Last value of each input.
    #[serde(rename = "l")]
    last: Vec<Option<(EventTime, Finite)>>,
}

/// What came of a row: its time, and the value, or `None` where an input was missing or the result
/// is not finite.
pub type Evaluated = (EventTime, Option<Finite>);

impl Derived {
    /// Takes a reading of an input; `false`: too late, its row has been evaluated. Follow with
    /// [`ready`](Self::ready).
    pub fn take(
        &mut self,
        plan: &DerivePlan,
        reading: (usize, EventTime, Finite),
        deadline: AttendedTime,
    ) -> bool {
        self.join.take(plan.expression.inputs().len(), reading, deadline)
    }

    /// The rows whose turn has come, in event order.
    pub fn ready(&mut self, plan: &DerivePlan, hold: i64) -> Vec<Evaluated> {
        let rows = self.join.ready(hold);
        rows.iter().map(|row| self.evaluate(plan, row)).collect()
    }

    /// The rows that have waited until `attended`, with all before them.
    pub fn due(&mut self, plan: &DerivePlan, attended: AttendedTime) -> Vec<Evaluated> {
        let rows = self.join.due(attended);
        rows.iter().map(|row| self.evaluate(plan, row)).collect()
    }

    fn evaluate(&mut self, plan: &DerivePlan, row: &Row) -> Evaluated {
        self.last.resize(row.values.len(), None);
        for (last, value) in self.last.iter_mut().zip(&row.values) {
            if let &Some(value) = value {
                *last = Some((row.time, value));
            }
        }
        let is_young = |time: EventTime| row.time.nanos() - time.nanos() <= plan.settings.max_age;
        let inputs: Option<Vec<f64>> = self
            .last
            .iter()
            .map(|last| last.filter(|&(time, _)| is_young(time)).map(|(_, value)| value.get()))
            .collect();
        (row.time, inputs.and_then(|inputs| plan.expression.value(&inputs)))
    }

    /// When the next row is evaluated without further readings.
    pub fn next_deadline(&self) -> Option<AttendedTime> {
        self.join.next_deadline()
    }

    /// The clock stepped back: nothing after `to` can have been measured.
    pub fn rewind(&mut self, to: EventTime) {
        self.join.rewind(to);
        for last in self.last.iter_mut().flatten() {
            last.0 = last.0.min(to);
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.join.heap_bytes() + self.last.capacity() * size_of::<Option<(EventTime, Finite)>>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::reading::SECOND;

    #[track_caller]
    fn check(text: &str, inputs: &[(&str, f64)], expected: Option<f64>) {
        let expression = Expression::parse(text).unwrap();
        let names: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
        assert_eq!(expression.inputs(), names, "{text}");
        let values: Vec<f64> = inputs.iter().map(|(_, value)| *value).collect();
        assert_eq!(expression.value(&values).map(Finite::get), expected, "{text}");
    }

    #[test]
    fn expressions() {
        check("voltage * current", &[("current", 2.0), ("voltage", 3.0)], Some(6.0));
        check(
            "{supply temp} - {return temp}",
            &[("return temp", 3.0), ("supply temp", 5.0)],
            Some(2.0),
        );
        check("a - b - 1", &[("a", 5.0), ("b", 2.0)], Some(2.0));
        check("a / b / 2 * 3", &[("a", 8.0), ("b", 2.0)], Some(6.0));
        check("-a ^ 2", &[("a", 3.0)], Some(9.0));
        check("2 + a * 3", &[("a", 4.0)], Some(14.0));
        check("max(2 * min(b, 3), a) + 1", &[("a", 1.0), ("b", 9.0)], Some(7.0));
        check("a max (b min 3)", &[("a", 1.0), ("b", 9.0)], Some(3.0));
        check("(a > 10) * 5 + (a <= 10) * 7", &[("a", 10.0)], Some(7.0));
        check("sqrt(a)", &[("a", -1.0)], None);
        check("1 / a", &[("a", 0.0)], None);
        // (0.1 + 0.2) + 0.3 and 0.1 + (0.2 + 0.3) differ in the last bit: as written, from the left.
        check("a + 0.2 + 0.3", &[("a", 0.1)], Some((0.1 + 0.2) + 0.3));
        check(
            "ln(exp(a)) + PI",
            &[("a", 2.0)],
            Some(libm::log(libm::exp(2.0)) + std::f64::consts::PI),
        );
    }

    #[test]
    fn what_is_no_expression_says_so() {
        for (text, part) in [
            ("", ""),
            ("1 + 2", "no metric"),
            ("a +", ""),
            ("a b", ""),
            ("(a", ""),
            ("max(a, min(b, 3))", "as in `a max (b min 3)`"),
            (&"a+".repeat(600), "longer"),
            (&(0..17).map(|i| format!("x{i}")).collect::<Vec<_>>().join("+"), "more than 16"),
        ] {
            let error = Expression::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-c0-9.+*/^(){} ,<=>!-]{0,20}", inputs in prop::collection::vec(-1e9..1e9f64, 16)) {
            if let Ok(expression) = Expression::parse(&text) {
                let _ = expression.value(&inputs[..expression.inputs().len()]);
            }
        }
    }

    fn plan(max_age: i64) -> DerivePlan {
        let expression = "a + 100 * b".to_owned();
        let (name, device) = ("sum".to_owned(), vec!["*".to_owned()]);
        DerivePlan::new(&DeriveSettings { name, device, expression, max_age }).unwrap()
    }

    fn at(seconds: i64) -> EventTime {
        EventTime::clamped(seconds * SECOND)
    }

    /// (input, second, value) and what each leaves: (second, value).
    #[track_caller]
    fn rows(hold: i64, max_age: i64, steps: &[(usize, i64, f64)], expected: &[(i64, Option<f64>)]) {
        let (plan, mut derived) = (plan(max_age * SECOND), Derived::default());
        let mut results = Vec::new();
        for &(input, second, value) in steps {
            let reading = (input, at(second), Finite::new(value).unwrap());
            derived.take(&plan, reading, AttendedTime(second));
            results.extend(derived.ready(&plan, hold * SECOND));
            let stored = serde_cbor::to_vec(&derived).unwrap();
            assert_eq!(crate::cbor::from_slice::<Derived>(&stored).unwrap(), derived);
        }
        results.extend(derived.due(&plan, AttendedTime(i64::MAX)));
        assert_eq!(derived.next_deadline(), None);
        let results: Vec<_> =
            results.iter().map(|(time, v)| (time.nanos() / SECOND, v.map(Finite::get))).collect();
        assert_eq!(results, expected);
    }

    #[test]
    fn rows_join_by_event_time() {
        // Both have it: at once. One alone: with the other's last, when a later time shows.
        rows(
            0,
            60,
            &[(0, 1, 1.0), (1, 1, 2.0), (0, 5, 3.0), (0, 9, 4.0)],
            &[(1, Some(201.0)), (5, Some(203.0)), (9, Some(204.0))],
        );
        // Nothing yet of the other; too old.
        rows(
            0,
            3,
            &[(0, 1, 1.0), (1, 2, 2.0), (0, 6, 3.0)],
            &[(1, None), (2, Some(201.0)), (6, None)],
        );
        // Too late for a row that was evaluated; in time while rows are held.
        rows(0, 60, &[(0, 1, 1.0), (0, 2, 2.0), (1, 1, 9.0)], &[(1, None), (2, None)]);
        rows(
            5,
            60,
            &[(0, 1, 1.0), (0, 2, 2.0), (1, 1, 9.0)],
            &[(1, Some(901.0)), (2, Some(902.0))],
        );
    }
}
