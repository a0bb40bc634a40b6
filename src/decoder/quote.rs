//! Excerpts of payloads, safe to log.

use std::fmt::Write;

/// Longest result of [`quote`], in bytes.
pub const QUOTE_BYTES_MAX: usize = 80;

/// The start of `bytes` as printable ASCII between double quotes, at most [`QUOTE_BYTES_MAX`] bytes
/// in all; `"...` at the end says that more follows. Other characters, quotes and backslashes are
/// escaped as in Rust (`\n`, `\u{b0}`), bytes that are not UTF-8 as `\xff`: a payload can neither
/// colour a terminal nor forge a log line.
pub fn quote(bytes: &[u8]) -> String {
    const END: &str = "\"...";
    let mut quoted = String::with_capacity(QUOTE_BYTES_MAX);
    quoted.push('"');
    // The longest that still leaves room for END, should a later character not fit.
    let mut fits = quoted.len();
    // No character makes less than one byte of text, and none is longer than four.
    let head = &bytes[..bytes.len().min(4 * QUOTE_BYTES_MAX)];
    let mut escape = String::new();
    for chunk in head.utf8_chunks() {
        for c in chunk.valid().chars() {
            escape.clear();
            escape.extend(c.escape_default());
            if !append(&mut quoted, &mut fits, &escape) {
                return cut(quoted, fits);
            }
        }
        for byte in chunk.invalid() {
            escape.clear();
            // Writing to a String cannot fail.
            let _ = write!(escape, "\\x{byte:02x}");
            if !append(&mut quoted, &mut fits, &escape) {
                return cut(quoted, fits);
            }
        }
    }
    quoted.push('"');
    return quoted;

    fn append(quoted: &mut String, fits: &mut usize, escape: &str) -> bool {
        quoted.push_str(escape);
        if quoted.len() + END.len() <= QUOTE_BYTES_MAX {
            *fits = quoted.len();
        }
        quoted.len() < QUOTE_BYTES_MAX
    }

    fn cut(mut quoted: String, fits: usize) -> String {
        quoted.truncate(fits);
        quoted.push_str(END);
        quoted
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn quotes() {
        let check = |bytes: &[u8], expect: &str| assert_eq!(quote(bytes), expect);
        check(b"", r#""""#);
        check(b"21.5", r#""21.5""#);
        check(b"a\"b\\c", r#""a\"b\\c""#);
        check(b"\x1b[31mred\x1b[0m", r#""\u{1b}[31mred\u{1b}[0m""#);
        check(b"line\r\nERROR forged\0\x07", r#""line\r\nERROR forged\u{0}\u{7}""#);
        check("21 °C\u{202e}".as_bytes(), r#""21 \u{b0}C\u{202e}""#);
        check(b"ok\xff\xc3(", r#""ok\xff\xc3(""#);
    }

    #[test]
    fn long_payloads_are_cut() {
        let all = [b'x'; 78];
        assert_eq!(quote(&all), format!("\"{}\"", "x".repeat(78)));
        assert_eq!(quote(&[b'x'; 79]), format!("\"{}\"...", "x".repeat(75)));
        assert_eq!(quote(&[b'x'; 10_000]), format!("\"{}\"...", "x".repeat(75)));
        assert_eq!(quote(&[0xff; 10_000]), format!("\"{}\"...", "\\xff".repeat(18)));
    }

    proptest! {
        #[test]
        fn printable_and_short(bytes: Vec<u8>) {
            let quoted = quote(&bytes);
            prop_assert!(quoted.len() <= QUOTE_BYTES_MAX);
            prop_assert!(quoted.bytes().all(|b| (0x20..0x7f).contains(&b)));
        }
    }
}
