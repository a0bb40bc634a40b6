//! Text to event time, exactly.
//!
//! Pure. A decimal never passes through `f64`, whose spacing at today's Unix seconds is 240 ns:
//! digits are shifted, and only what lies behind the nanosecond is rounded (half to even).

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

use super::settings::TimeUnit;
use crate::reading::EventTime;

/// Reads `text` (without surrounding white space) as a time in `unit`. `None` when it is not one,
/// or outside [`EventTime`]'s range.
pub fn parse(text: &str, unit: TimeUnit) -> Option<EventTime> {
    match decimal_places(unit) {
        Some(places) => parse_decimal(text, places),
        None => parse_rfc3339(text),
    }
}

/// Powers of ten from the unit to nanoseconds; `None` for RFC 3339.
fn decimal_places(unit: TimeUnit) -> Option<i64> {
    match unit {
        TimeUnit::Second => Some(9),
        TimeUnit::Milli => Some(6),
        TimeUnit::Micro => Some(3),
        TimeUnit::Nano => Some(0),
        TimeUnit::Rfc3339 => None,
    }
}

/// Times of recorded data: Unix seconds as a decimal, RFC 3339, or `2013-07-04 00:00:00` (also with
/// `T`, with a fraction, or the date alone), which without an offset is taken as UTC.
pub fn parse_lenient(text: &str) -> Option<EventTime> {
    if let Some(time) = parse(text, TimeUnit::Second) {
        return Some(time);
    }
    if let Some(time) = parse_rfc3339(text) {
        return Some(time);
    }
    let civil: DateTime = text.parse().ok()?;
    from_timestamp(TimeZone::UTC.to_timestamp(civil).ok()?)
}

fn parse_rfc3339(text: &str) -> Option<EventTime> {
    // jiff refuses more than nine decimals; recorders that print more exist, and the digits beyond
    // are far below what any clock knows, so they are cut.
    let bytes = text.as_bytes();
    if let Some(point) = text.find('.') {
        let digits = bytes[point + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits > 9 {
            let cut = format!("{}{}", &text[..point + 10], &text[point + 1 + digits..]);
            return from_timestamp(cut.parse().ok()?);
        }
    }
    from_timestamp(text.parse().ok()?)
}

fn from_timestamp(timestamp: Timestamp) -> Option<EventTime> {
    EventTime::from_nanos(i64::try_from(timestamp.as_nanosecond()).ok()?)
}

/// `text` · 10^`places` nanoseconds, where `text` is `[+-]digits[.digits][e[+-]digits]`.
fn parse_decimal(text: &str, places: i64) -> Option<EventTime> {
    let bytes = text.as_bytes();
    let (negative, bytes) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    let (mantissa, exponent) = match bytes.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&bytes[..at], parse_exponent(&bytes[at + 1..])?),
        None => (bytes, 0),
    };
    let (whole, fraction): (&[u8], &[u8]) = match mantissa.iter().position(|&b| b == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &[]),
    };
    if whole.is_empty() && fraction.is_empty()
        || !whole.iter().chain(fraction).all(u8::is_ascii_digit)
    {
        return None;
    }
    let mut digits = whole.iter().chain(fraction).map(|b| b - b'0');
    // How many digits stand before the point, once it has moved to the nanosecond.
    let mut point = i64::try_from(whole.len()).ok()? + exponent + places;
    let mut nanos: u64 = 0;
    let mut first = digits.next();
    while point > 0 && first == Some(0) {
        first = digits.next();
        point -= 1;
    }
    if first.is_none() {
        return EventTime::from_nanos(0);
    }
    if point > 19 {
        // At least 10^19 ns, unless only zeros are left; those were skipped.
        return None;
    }
    let mut digits = first.into_iter().chain(digits);
    for _ in 0..point {
        // At most 19 digits: no overflow.
        nanos = nanos * 10 + u64::from(digits.next().unwrap_or(0));
    }
    if point >= 0 {
        // A negative point means a first digit behind tenths of a nanosecond: rounds to zero.
        let half = digits.next().unwrap_or(0);
        let rest = digits.any(|digit| digit != 0);
        if half > 5 || half == 5 && (rest || nanos % 2 == 1) {
            nanos += 1;
        }
    }
    let nanos = i64::try_from(nanos).ok()?;
    EventTime::from_nanos(if negative { -nanos } else { nanos })
}

/// `[+-]digits`; saturates far beyond what a payload's digits could shift back.
fn parse_exponent(bytes: &[u8]) -> Option<i64> {
    let (sign, digits) = match bytes {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        _ => (1, bytes),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let exponent = digits.iter().fold(0i64, |exponent, digit| {
        exponent.saturating_mul(10).saturating_add(i64::from(digit - b'0')).min(1 << 40)
    });
    Some(sign * exponent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nanos(text: &str, unit: TimeUnit) -> Option<i64> {
        parse(text, unit).map(EventTime::nanos)
    }

    #[test]
    fn decimals_are_exact() {
        let check = |text, unit, expect| assert_eq!(nanos(text, unit), Some(expect), "{text}");
        check("1700000000.123", TimeUnit::Second, 1_700_000_000_123_000_000);
        check("1700000000.123456789", TimeUnit::Second, 1_700_000_000_123_456_789);
        check("1700000000123.456789", TimeUnit::Milli, 1_700_000_000_123_456_789);
        check("1700000000123456.789", TimeUnit::Micro, 1_700_000_000_123_456_789);
        check("1700000000123456789", TimeUnit::Nano, 1_700_000_000_123_456_789);
        check("1.7e9", TimeUnit::Second, 1_700_000_000_000_000_000);
        check("1.700000000123456789E+9", TimeUnit::Second, 1_700_000_000_123_456_789);
        check("17000000000e-1", TimeUnit::Second, 1_700_000_000_000_000_000);
        check("0000000000000000000000001", TimeUnit::Second, 1_000_000_000);
        check("0.000000000000000000001e21", TimeUnit::Second, 1_000_000_000);
        check("-1.5", TimeUnit::Second, -1_500_000_000);
        check("+1.", TimeUnit::Second, 1_000_000_000);
        check(".5", TimeUnit::Second, 500_000_000);
        check("0e99999999999999999999999", TimeUnit::Second, 0);
        check("-0", TimeUnit::Second, 0);
        check("1e-99999999999999999999999", TimeUnit::Second, 0);
    }

    #[test]
    fn beyond_the_nanosecond_rounds_half_to_even() {
        let check = |text, expect| assert_eq!(nanos(text, TimeUnit::Nano), Some(expect), "{text}");
        check("0.5", 0);
        check("1.5", 2);
        check("2.5", 2);
        check("2.50000000000000000000000001", 3);
        check("2.49999999999999999999999999", 2);
        check("-1.5", -2);
        check("0.51", 1);
        check("0.05", 0);
        check("0.09", 0);
        check("9e-1", 1);
        check("9e-2", 0);
        check("1700000000123456789.9", 1_700_000_000_123_456_790);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "-",
            ".",
            "e5",
            "1e",
            "1e+",
            "1.2.3",
            "1 ",
            " 1",
            "0x10",
            "1_000",
            "nan",
            "inf",
            "1e10",
            "1e400",
            "99999999999999999999999999",
            "--1",
            "1e5.0",
            "²",
            "7258118400.000000001",
            "-631152000.000000001",
            "2013-07-04",
        ] {
            assert_eq!(nanos(text, TimeUnit::Second), None, "{text}");
        }
        assert_eq!(nanos("7258118400", TimeUnit::Second), Some(EventTime::LATEST.nanos()));
        assert_eq!(nanos("-631152000", TimeUnit::Second), Some(EventTime::EARLIEST.nanos()));
    }

    #[test]
    fn rfc3339() {
        let check = |text, expect| assert_eq!(nanos(text, TimeUnit::Rfc3339), expect, "{text}");
        check("2023-11-14T22:13:20Z", Some(1_700_000_000_000_000_000));
        check("2023-11-14T23:13:20+01:00", Some(1_700_000_000_000_000_000));
        check("2023-11-14t22:13:20.123456789z", Some(1_700_000_000_123_456_789));
        check("2023-11-14 22:13:20Z", Some(1_700_000_000_000_000_000));
        check("2023-11-14T22:13:20.123456789999Z", Some(1_700_000_000_123_456_789));
        check("2023-11-14T22:13:20.1234567899-01:00", Some(1_700_003_600_123_456_789));
        check("1969-12-31T23:59:59.5Z", Some(-500_000_000));
        check("2023-11-14T22:13:20", None);
        check("2023-02-30T00:00:00Z", None);
        check("1800-01-01T00:00:00Z", None);
        check("2500-01-01T00:00:00Z", None);
        check("1700000000", None);
        check("", None);
    }

    #[test]
    fn lenient_takes_times_without_a_zone_as_utc() {
        let check = |text, expect| {
            assert_eq!(parse_lenient(text).map(EventTime::nanos), expect, "{text}");
        };
        check("2013-07-04 00:00:00", Some(1_372_896_000_000_000_000));
        check("2013-07-04T00:00:00.25", Some(1_372_896_000_250_000_000));
        check("2013-07-04", Some(1_372_896_000_000_000_000));
        check("2013-07-04T02:00:00+02:00", Some(1_372_896_000_000_000_000));
        check("1959.083333", Some(1_959_083_333_000));
        check("yesterday", None);
    }

    proptest! {
        #[test]
        fn every_nanosecond_round_trips(
            ns in EventTime::EARLIEST.nanos()..=EventTime::LATEST.nanos(),
        ) {
            let (sign, abs) = if ns < 0 { ("-", ns.unsigned_abs()) } else { ("", ns.unsigned_abs()) };
            for (unit, places) in [
                (TimeUnit::Second, 9usize), (TimeUnit::Milli, 6), (TimeUnit::Micro, 3),
            ] {
                let scale = 10u64.pow(u32::try_from(places).unwrap());
                let text = format!("{sign}{}.{:0places$}", abs / scale, abs % scale);
                prop_assert_eq!(nanos(&text, unit), Some(ns), "{}", text);
            }
            prop_assert_eq!(nanos(&ns.to_string(), TimeUnit::Nano), Some(ns));
            let exponent = format!("{sign}0.{abs:019}e10");
            prop_assert_eq!(nanos(&exponent, TimeUnit::Second), Some(ns), "{}", exponent);
            let time = EventTime::from_nanos(ns).unwrap();
            prop_assert_eq!(nanos(&time.to_string(), TimeUnit::Rfc3339), Some(ns));
            prop_assert_eq!(parse_lenient(&time.to_string()), Some(time));
        }

        #[test]
        fn never_panics(text in ".{0,40}", shape in "[-+0-9.eTZ: ]{0,40}") {
            for unit in [TimeUnit::Second, TimeUnit::Nano, TimeUnit::Rfc3339] {
                let _ = (parse(&text, unit), parse(&shape, unit));
            }
            let _ = (parse_lenient(&text), parse_lenient(&shape));
        }
    }
}
