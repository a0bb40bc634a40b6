//! Durations and sizes as text with a unit. Pure and exact: decimals never go through a float.

const DURATION_UNITS: [(&str, i64); 9] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

const SIZE_UNITS: [(&str, i64); 7] = [
    ("b", 1),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
];

/// Nanoseconds of `"500ms"`, `"2s"`, `"1h30m"`, `"1.5h"`: one or more numbers, each with its unit
/// (ns, us, ms, s, m or min, h, d), added up.
///
/// # Errors
/// What is wrong with the text, without its place.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    if text.trim_start().starts_with('-') {
        return Err("a duration must be zero or more".to_owned());
    }
    parse(text, &DURATION_UNITS, "a duration", "ns, us, ms, s, m, h, d", true)
}

/// Bytes of `"256MiB"`, `"120KiB"`, `"10MB"`: a number and its unit (B, kB, MB, GB in powers of
/// 1000; KiB, MiB, GiB in powers of 1024; case does not matter).
///
/// # Errors
/// What is wrong with the text, without its place.
pub fn parse_size(text: &str) -> Result<u64, String> {
    if text.trim_start().starts_with('-') {
        return Err("a size must be zero or more".to_owned());
    }
    let bytes = parse(
        &text.to_ascii_lowercase(),
        &SIZE_UNITS,
        "a size",
        "B, kB, MB, GB, KiB, MiB, GiB",
        false,
    )?;
    Ok(bytes as u64)
}

fn parse(
    text: &str,
    units: &[(&str, i64)],
    a_thing: &str,
    known: &str,
    several: bool,
) -> Result<i64, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(format!("{a_thing} cannot be empty"));
    }
    let mut total: i128 = 0;
    let mut parts = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, tail) = rest.split_at(end);
        let tail = tail.trim_start();
        let unit_end = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        if number.is_empty() {
            return Err(format!("{a_thing} is a number with a unit ({known})"));
        }
        if unit.is_empty() {
            return Err(format!("the number {number} has no unit ({known})"));
        }
        let scale = units
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|&(_, scale)| scale)
            .ok_or_else(|| format!("\"{unit}\" is not a unit of {a_thing} ({known})"))?;
        let scaled = scaled(number, scale).ok_or_else(|| {
            format!(
                "{number}{unit} is no number, too long, or no whole number of the smallest unit"
            )
        })?;
        total += i128::from(scaled);
        parts += 1;
        rest = tail.trim_start();
    }
    if parts > 1 && !several {
        return Err(format!("{a_thing} is one number with a unit ({known})"));
    }
    i64::try_from(total).map_err(|_| "is too long".to_owned())
}

/// `number` (digits with at most one point) times `scale`, if that is a whole number.
fn scaled(number: &str, scale: i64) -> Option<i64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || fraction.len() > 18 {
        return None;
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let tens = 10_i128.pow(fraction.len() as u32);
    let fraction: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let sub = fraction * i128::from(scale);
    if sub % tens != 0 {
        return None;
    }
    i64::try_from(i128::from(whole) * i128::from(scale) + sub / tens).ok()
}

/// The shortest exact text of a duration in nanoseconds (≥ 0): `"1h30m"`, `"1d"`, `"500ms"`.
pub fn format_duration(nanos: i64) -> String {
    if nanos == 0 {
        return "0s".to_owned();
    }
    let mut text = String::new();
    let mut rest = nanos;
    for unit in ["d", "h", "m", "s", "ms", "us", "ns"] {
        let scale = DURATION_UNITS.iter().find(|(name, _)| *name == unit).map_or(1, |u| u.1);
        if rest / scale > 0 {
            text.push_str(&format!("{}{unit}", rest / scale));
            rest %= scale;
        }
    }
    text
}

/// The exact text of a size in bytes in the largest binary unit that divides it: `"256MiB"`.
pub fn format_size(bytes: u64) -> String {
    for (unit, scale) in [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= scale && bytes.is_multiple_of(scale) {
            return format!("{}{unit}", bytes / scale);
        }
    }
    format!("{bytes}B")
}

/// A size for people, two or three digits: `"47 MiB"`.
pub fn about_size(bytes: u64) -> String {
    for (unit, scale) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if bytes >= scale {
            let value = bytes as f64 / scale as f64;
            return if value < 10.0 {
                format!("{value:.1} {unit}")
            } else {
                format!("{value:.0} {unit}")
            };
        }
    }
    format!("{bytes} B")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations() {
        let check = |text, nanos| assert_eq!(parse_duration(text), Ok(nanos), "{text}");
        check("500ms", 500_000_000);
        check("2s", 2_000_000_000);
        check("1h30m", 5_400_000_000_000);
        check("1h 30min", 5_400_000_000_000);
        check("1.5h", 5_400_000_000_000);
        check("0.1s", 100_000_000);
        check("30d", 30 * 86_400_000_000_000);
        check("0s", 0);
        for bad in ["", "5", "s", "1x", "-5s", "1..5s", "0.5ns", "999999999d", "1h30", "1e3s", "."]
        {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes() {
        let check = |text, bytes| assert_eq!(parse_size(text), Ok(bytes), "{text}");
        check("256MiB", 256 << 20);
        check("120KiB", 120 << 10);
        check("10MB", 10_000_000);
        check("64kb", 64_000);
        check("1.5 GiB", 3 << 29);
        check("7B", 7);
        for bad in ["", "5", "MiB", "-1B", "1MiB2B", "99999999999GiB", "0.5B"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn durations_survive_the_round(nanos in 0..=i64::MAX) {
            prop_assert_eq!(parse_duration(&format_duration(nanos)), Ok(nanos));
        }

        #[test]
        fn sizes_survive_the_round(bytes in 0..=i64::MAX as u64) {
            prop_assert_eq!(parse_size(&format_size(bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text in "\\PC{0,20}") {
            let _ = (parse_duration(&text), parse_size(&text));
        }
    }
}
